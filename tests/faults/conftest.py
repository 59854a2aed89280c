"""The servers of the fault tests, and the rig of a module: a test puts right again what it breaks."""

import tempfile
from pathlib import Path

import pytest

from tests.faults.proxy import Proxy
from tests.faults.rig import running_rig
from tests.faults.servers import PrivatePostgres, PrivateRabbit, PrivateRedis


@pytest.fixture(scope="session")
def servers_folder():
    """One that PostgreSQL's user can enter, too; pytest's own is closed to others again by every pytest that starts."""
    with tempfile.TemporaryDirectory(prefix="faults-") as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


@pytest.fixture(scope="session")
def postgres_server(servers_folder):
    with PrivatePostgres(servers_folder / "postgres") as server:
        yield server


@pytest.fixture(scope="session")
def rabbit_server(servers_folder):
    with PrivateRabbit(servers_folder / "rabbit") as server:
        yield server


@pytest.fixture(scope="module")
def redis_server(tmp_path_factory):
    with PrivateRedis(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture(scope="module")
def redis_proxy(redis_server):
    with Proxy(redis_server.port) as proxy:
        yield proxy


@pytest.fixture(scope="module")
def sqlite_url(tmp_path_factory):
    return f"sqlite:///{tmp_path_factory.mktemp('database')}/test.db"


@pytest.fixture(scope="module")
def sqlite_rig(tmp_path_factory, redis_server, sqlite_url):
    """On SQLite and Redis, without workers."""
    with running_rig(tmp_path_factory.mktemp("rig"), broker_url=redis_server.url(), database_url=sqlite_url) as rig:
        yield rig


@pytest.fixture(scope="module")
def postgres_rig(tmp_path_factory, redis_server, postgres_server):
    """On a PostgreSQL and a Redis of its own, without workers."""
    url = postgres_server.url(postgres_server.new_database())
    with running_rig(tmp_path_factory.mktemp("rig"), broker_url=redis_server.url(), database_url=url) as rig:
        yield rig
