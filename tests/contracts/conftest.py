"""The ports' implementations: each contract test runs against all of them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.store.database import Database
from tests.services import postgres_database, sqlite_database


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.services)])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    """A migrated database of this test's own, on each kind of server."""
    with sqlite_database(tmp_path) if request.param == "sqlite" else postgres_database() as made:
        yield made
