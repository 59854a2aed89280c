"""Real services for tests: PostgreSQL and RabbitMQ are found, a private Redis is started once a session.

``require("postgres")`` skips the test, with the reason, where the service is not there, and fails it where
``REQUIRE_SERVICES=1`` is set, as in CI.
"""

from __future__ import annotations

import atexit
import functools
import itertools
import os
import random
import shutil
import socket
import sqlite3
import subprocess
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import pytest
import redis
import sqlalchemy as sa
from kombu import Connection

from orchestrator.errors import StoreError
from orchestrator.store.database import Database
from orchestrator.store.tables import metadata

POSTGRES = "postgresql+psycopg://postgres@127.0.0.1:5432/postgres"
RABBITMQ = "amqp://guest:guest@127.0.0.1:5672//"
START_LIMIT_S = 60.0
STOP_LIMIT_S = 10.0
REDIS_DATABASES = 1000


class Missing(Exception):
    """The service cannot be had here."""


def require(service: str) -> None:
    """Go on only if the service ("postgres", "redis" or "rabbitmq") is there."""
    try:
        _SERVICES[service]()
    except Missing as missing:
        if os.environ.get("REQUIRE_SERVICES") == "1":
            pytest.fail(f"{service}: {missing}")
        pytest.skip(f"{service}: {missing}")


# -- PostgreSQL ----------------------------------------------------------------------------------------------------


@functools.cache
def _postgres() -> str:
    url = os.environ.get("TEST_POSTGRES_URL", POSTGRES)
    try:
        with _admin(url) as connection:
            connection.execute(sa.text("SELECT 1"))
    except sa.exc.OperationalError as error:
        raise Missing(str(error.orig).splitlines()[0]) from error
    return url


@contextmanager
def _admin(url: str) -> Iterator[sa.Connection]:
    engine = sa.create_engine(url, isolation_level="AUTOCOMMIT", connect_args={"connect_timeout": 3})
    try:
        with engine.connect() as connection:
            yield connection
    finally:
        engine.dispose()


@contextmanager
def postgres_url(*, template: str = "template0") -> Iterator[str]:
    """The URL of a new, empty database that is dropped afterwards, whoever is still connected."""
    require("postgres")
    name = _create(template)
    try:
        yield _url_of(name)
    finally:
        _drop(name)


@contextmanager
def postgres_database() -> Iterator[Database]:
    """A database with our schema and nothing in it. One that a test has left behind is emptied and used again."""
    require("postgres")
    name = _emptied() or _create(_migrated())
    database = Database(_url_of(name))
    try:
        yield database
    finally:
        database.close()
        _free.append(name)


_free: list[str] = []  # databases that no test uses


def _emptied() -> str | None:
    """A free database without rows, because that takes a tenth of a copy's time; None if there is none."""
    while _free:
        name = _free.pop()
        with _admin(_postgres()) as connection:  # what a test has left behind, a worker for instance
            others = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = :name"
            connection.execute(sa.text(others), {"name": name})
        try:
            with closing(Database(_url_of(name))) as database:
                database.check_schema()
                with database.begin() as connection:
                    for table in reversed(metadata.sorted_tables):
                        connection.execute(sa.delete(table))
        except (StoreError, sa.exc.DBAPIError):  # the test was about the schema itself
            _drop(name)
            continue
        return name
    return None


@atexit.register
def _drop_all() -> None:
    while _free:
        _drop(_free.pop())


@functools.cache
def _migrated() -> str:
    """A database with our schema to copy, because a copy takes half of a migration's time."""
    name = _create("template0")
    atexit.register(_drop, name)
    database = Database(_url_of(name))
    database.upgrade()
    database.close()
    return name


def _create(template: str) -> str:
    name = f"test_{uuid.uuid4().hex}"
    with _admin(_postgres()) as connection:
        connection.execute(sa.text(f"CREATE DATABASE {name} TEMPLATE {template}"))
    return name


def _drop(name: str) -> None:
    with _admin(_postgres()) as connection:
        connection.execute(sa.text(f"DROP DATABASE {name} WITH (FORCE)"))


def _url_of(name: str) -> str:
    return sa.make_url(_postgres()).set(database=name).render_as_string(hide_password=False)


@contextmanager
def sqlite_database(folder: Path) -> Iterator[Database]:
    """The same in a file."""
    file = folder / "test.db"
    shutil.copyfile(_migrated_file(), file)
    database = Database(f"sqlite:///{file}")
    try:
        yield database
    finally:
        database.close()


@functools.cache
def _migrated_file() -> Path:
    """A file with our schema to copy: a migration takes thirty times as long."""
    folder = Path(tempfile.mkdtemp(prefix="orchestrator-tests-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    with closing(Database(f"sqlite:///{folder / 'migrated.db'}")) as database:
        database.upgrade()
    with closing(sqlite3.connect(folder / "migrated.db")) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return folder / "migrated.db"


# -- Redis ---------------------------------------------------------------------------------------------------------


@functools.cache
def _redis() -> Path:
    server = shutil.which("redis-server")
    if server is None:
        raise Missing("no redis-server on the PATH")
    folder = _folder()
    path = folder / "redis.sock"
    options = {"port": 0, "unixsocket": path, "databases": REDIS_DATABASES, "save": "", "dir": folder}
    command = [server, *(part for name, value in options.items() for part in (f"--{name}", str(value)))]
    _start(command, folder, is_up=lambda: _answers(path))
    return path


def _answers(path: Path) -> bool:
    with suppress(redis.RedisError), closing(redis.Redis(unix_socket_path=str(path))) as client:
        return bool(client.ping())
    return False


_redis_numbers = itertools.count()


def redis_url() -> str:
    """A broker URL: a private server on a socket, and in it a database that nobody else has."""
    require("redis")
    return f"redis+socket://{_redis()}?virtual_host={next(_redis_numbers) % REDIS_DATABASES}"


# -- RabbitMQ ------------------------------------------------------------------------------------------------------


@functools.cache
def _rabbitmq() -> str:
    url = os.environ.get("TEST_RABBITMQ_URL", RABBITMQ)
    try:
        with Connection(url, connect_timeout=3) as connection:
            connection.connect()
    except OSError as error:
        raise Missing(str(error)) from error
    return url


def rabbitmq_url() -> str:
    """A broker URL. Everybody shares it, so name your queues uniquely."""
    require("rabbitmq")
    return _rabbitmq()


# -- ports ---------------------------------------------------------------------------------------------------------

_PORTS = range(20_000, 32_000)  # below those that the kernel hands out to clients
_reserved: list[socket.socket] = []


def free_port() -> int:
    """A port that nobody listens at, and that no other process of tests gets as long as this one lives.

    Each that is given away is a name in the kernel's list of sockets, which goes with the process: a server may start
    at its port late, and be away from it for a while.
    """
    while True:
        port = random.choice(_PORTS)
        reservation = socket.socket(socket.AF_UNIX)
        try:
            reservation.bind(f"\0orchestrator-tests-port-{port}")
            with closing(socket.socket()) as probe:
                probe.bind(("127.0.0.1", port))
        except OSError:
            reservation.close()
        else:
            _reserved.append(reservation)
            return port


# -- processes -----------------------------------------------------------------------------------------------------


def _folder() -> Path:
    """Short enough for a socket, and removed at the end."""
    folder = Path(tempfile.mkdtemp(prefix="test-", dir="/tmp"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def _start(command: list[str], folder: Path, *, is_up: Callable[[], bool]) -> None:
    log_file = folder / "output.log"
    with log_file.open("wb") as output:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
        )
    atexit.register(stop, process)
    deadline = time.monotonic() + START_LIMIT_S
    while not is_up():
        with suppress(subprocess.TimeoutExpired):
            process.wait(0.02)  # a pause that ends early if it gives up
        if process.returncode is not None or time.monotonic() > deadline:
            raise Missing(f"{command[0]} did not start: {log_file.read_text(errors='replace')[-500:]}")


def stop(process: subprocess.Popen[bytes]) -> None:
    """SIGTERM, and SIGKILL if that is not heard."""
    process.terminate()
    try:
        process.wait(STOP_LIMIT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


_SERVICES: dict[str, Callable[[], object]] = {"postgres": _postgres, "redis": _redis, "rabbitmq": _rabbitmq}
