"""A running system, and the real client of Google Application Integration in front of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from google.auth.credentials import AnonymousCredentials
from googleapiclient import discovery

from tests.clients.serving import served
from tests.integration.steering import INCLUDE
from tests.integration.system import System, running_system
from tests.services import redis_url

LOCATION = "projects/default/locations/local"


@dataclass
class Google:
    """``client`` is what ``googleapiclient.discovery.build`` gives; ``url`` is the server that it asks."""

    system: System
    url: str
    client: Any

    @property
    def integrations(self) -> Any:
        return self.client.projects().locations().integrations()

    @property
    def executions(self) -> Any:
        return self.integrations.executions()

    @property
    def versions(self) -> Any:
        return self.integrations.versions()


@pytest.fixture(scope="module")
def google(tmp_path_factory) -> Iterator[Google]:
    """SQLite, a private Redis, a worker of the executor "default", the API server, no keys wanted."""
    with running_google(tmp_path_factory.mktemp("google"), database="sqlite") as found:
        yield found


@contextmanager
def running_google(folder: Path, *, database: str, **more: Any) -> Iterator[Google]:
    """The same over "sqlite" or "postgres", with more settings."""
    options = {"broker_url": redis_url(), "include": INCLUDE, "workers": 0, **more}
    with running_system(folder, database=database, **options) as system:
        system.start_worker("default")
        with served(system) as url, client_of(url) as client:
            yield Google(system, url, client)


def client_of(url: str, **more: Any) -> Any:
    """The client, as its users build it."""
    credentials = {} if more.keys() & {"http", "credentials"} else {"credentials": AnonymousCredentials()}
    return discovery.build(
        "integrations",
        "v1",
        static_discovery=True,
        cache_discovery=False,
        client_options={"api_endpoint": url},
        **credentials,
        **more,
    )
