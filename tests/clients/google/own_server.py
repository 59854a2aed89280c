"""A second API server over the same system, whose services a test can look at."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

from orchestrator.runtime.app import Runtime, bootstrap
from orchestrator.service.services import Services
from tests.clients.serving import served
from tests.integration.system import System


@contextmanager
def served_openly(system: System) -> Iterator[tuple[str, Services]]:
    """The base URL of an API server, and its services."""
    made: list[Runtime] = []

    def keep(*args: Any, **more: Any) -> Runtime:
        made.append(bootstrap(*args, **more))
        return made[0]

    with mock.patch("tests.clients.serving.bootstrap", keep), served(system) as url:
        yield url, made[0].services
