"""The servers of a measurement: private ones, gone with it, unless URLs name others.

PostgreSQL runs as it is shipped, with ``fsync``: what is measured as committed would outlive a power cut. All sides
use one Redis, each its own databases of it. (PostgreSQL refuses to run as root; then it runs as the user ``postgres``.)
"""

from __future__ import annotations

import functools
import os
import random
import shutil
import socket
import subprocess
import tempfile
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import sqlalchemy as sa

from benchmarks.usage import Roles, tree_cpu_s
from orchestrator.errors import OrchestratorError
from orchestrator.processes.leash import leashed
from orchestrator.runtime import redis_server
from orchestrator.runtime.children import start, stop, tail
from orchestrator.settings import Settings

POSTGRES: Final = "postgres"
SQLITE: Final = "sqlite"
START_LIMIT_S: Final = 60.0
GRACE_S: Final = 10.0
_PORTS: Final = range(20_000, 32_000)  # below those that the kernel hands out to clients
_OURS, _BARE, _RESULTS, _PEER, _PEER_RESULTS = range(5)  # databases of the private Redis


class NoService(OrchestratorError):
    """A server that a measurement needs cannot be had."""

    def __init__(self, service: str, reason: str) -> None:
        super().__init__(service, reason)
        self.service, self.reason = service, reason

    def __str__(self) -> str:
        return f"{self.service}: {self.reason}"


@dataclass(frozen=True, kw_only=True)
class Servers:
    """Where everything is, as URLs.

    Attributes:
        folder: for homes and logs; gone afterwards.
        database: empty, of ours alone.
        broker: of ours.
        bare_broker: of bare Celery: the same server.
        results: Redis; bare Celery's result backend, and where its last task says that it is done.
        peer_broker, peer_results: the same for a peer that needs them.
        redis: of the private one.
        redis_pid: its process.
        database_pid: the private PostgreSQL's; None if there is none.
        tapped: the numbers of the private Redis's databases that are brokers, by side.
    """

    folder: Path
    database: str
    broker: str
    bare_broker: str
    results: str
    peer_broker: str
    peer_results: str
    redis: Path
    redis_pid: int
    database_pid: int | None
    tapped: Mapping[str, int]

    @property
    def database_kind(self) -> str:
        """``postgresql`` or ``sqlite``."""
        return sa.make_url(self.database).get_backend_name()

    @property
    def broker_kind(self) -> str:
        """``redis`` or ``amqp``."""
        return self.broker.partition(":")[0].partition("+")[0]

    def roles(self) -> Roles:
        """The servers whose CPU time can be seen."""
        redis: Roles = {"Redis": functools.partial(tree_cpu_s, self.redis_pid)}
        if self.database_pid is None:
            return redis
        return {"PostgreSQL": functools.partial(tree_cpu_s, self.database_pid), **redis}

    @contextmanager
    def another_database(self) -> Iterator[str]:
        """The URL of an empty database beside ours, on the same server; dropped afterwards.

        Raises:
            NoService: the server lets nobody make one.
        """
        url, name = sa.make_url(self.database), f"bench_{uuid.uuid4().hex[:12]}"
        if self.database_kind == "sqlite":
            yield f"sqlite:///{self.folder / name}.db"
            return
        engine = sa.create_engine(url, isolation_level="AUTOCOMMIT")
        try:
            with engine.connect() as connection:
                connection.exec_driver_sql(f"CREATE DATABASE {name}")
        except sa.exc.DBAPIError as error:
            raise NoService("postgresql", f"no database beside ours can be made: {error.orig}") from error
        try:
            yield url.set(drivername="postgresql", database=name).render_as_string(hide_password=False)
        finally:
            with engine.connect() as connection:
                connection.exec_driver_sql(f"DROP DATABASE {name} WITH (FORCE)")
            engine.dispose()


@contextmanager
def servers(database: str | None = None, broker: str | None = None) -> Iterator[Servers]:
    """What is not given is brought along: a PostgreSQL, or SQLite where there is no server binary, and a Redis.

    Args:
        database: ``postgres`` or ``sqlite`` for a private one of this kind, or the URL of an empty one.
        broker: the URL of one that nobody else uses.

    Raises:
        NoService: there is no redis-server, no PostgreSQL where one is asked for, or a server does not start.
    """
    if database is None:
        database = POSTGRES if _programs() else SQLITE
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-", ignore_cleanup_errors=True)))
        folder.chmod(0o755)  # the user postgres has to get through it
        socket_path, redis_pid = stack.enter_context(_redis(folder))
        url, database_pid = database, None
        if database == POSTGRES:
            url, database_pid = stack.enter_context(_postgres(folder / "postgres"))
        elif database == SQLITE:
            url = f"sqlite:///{folder / 'bench.db'}"
        yield Servers(
            folder=folder,
            database=str(Settings(database_url=url).database_url),
            broker=broker or _numbered(socket_path, _OURS),
            bare_broker=broker or _numbered(socket_path, _BARE),
            results=_numbered(socket_path, _RESULTS),
            peer_broker=_numbered(socket_path, _PEER),
            peer_results=_numbered(socket_path, _PEER_RESULTS),
            redis=socket_path,
            redis_pid=redis_pid,
            database_pid=database_pid,
            tapped={} if broker else {"ours": _OURS, "bare": _BARE},
        )


# -- Redis ---------------------------------------------------------------------------------------------------------


@contextmanager
def _redis(folder: Path) -> Iterator[tuple[Path, int]]:
    """Its socket and its process."""
    server = redis_server.find_redis_server()
    if server is None:
        raise NoService("redis", "no redis-server on the PATH; bare Celery needs one for its results")
    path, log_file = folder / "redis.sock", folder / "redis.log"
    process = start(redis_server.redis_command(server, path, log_file=log_file), log_file, environment=None)
    try:
        redis_server.wait_for_redis(process, path, log_file=log_file)
        yield path, process.pid
    finally:
        stop([process], grace_s=GRACE_S)


def _numbered(path: Path, number: int) -> str:
    return f"{redis_server.to_url(path)}?virtual_host={number}"


# -- PostgreSQL ----------------------------------------------------------------------------------------------------


@contextmanager
def _postgres(folder: Path) -> Iterator[tuple[str, int]]:
    """Its URL and its process."""
    if _programs() is None:
        raise NoService("postgresql", "no initdb on the PATH or in /usr/lib/postgresql (or, for root, no setpriv)")
    folder.mkdir()
    if os.geteuid() == 0:
        shutil.chown(folder, "postgres", "postgres")
    data, port, log_file = folder / "data", _free_port(), folder.parent / "postgres.log"
    made = ["initdb", "--pgdata", str(data), "--auth=trust", "--username=postgres", "--locale=C", "--encoding=UTF8"]
    subprocess.run(_as_postgres(made), cwd=folder, check=True, capture_output=True)
    settings = {"port": port, "listen_addresses": "127.0.0.1", "unix_socket_directories": ""}
    options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
    # Its working folder is its own: as another user it may not enter ours.
    process = start(_as_postgres(["postgres", "-D", str(data), *options], dies=True), log_file, environment=None)
    url = f"postgresql+psycopg://postgres@127.0.0.1:{port}/postgres"
    try:
        _wait_for(url, process, log_file)
        yield url, process.pid
    finally:
        stop([process], grace_s=GRACE_S)


def _wait_for(url: str, process: subprocess.Popen[bytes], log_file: Path) -> None:
    engine = sa.create_engine(url, connect_args={"connect_timeout": 3})
    deadline = time.monotonic() + START_LIMIT_S
    while process.poll() is None and time.monotonic() < deadline:
        with suppress(sa.exc.OperationalError), engine.connect():
            engine.dispose()
            return
        with suppress(subprocess.TimeoutExpired):
            process.wait(0.02)  # a pause that ends early if it gives up
    raise NoService("postgresql", f"it did not start: {tail(log_file)}")


def _programs() -> Path | None:
    """The folder of PostgreSQL's server programs."""
    found = shutil.which("initdb")
    folders = [Path(found).resolve().parent] if found else sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    is_usable = folders and (os.geteuid() != 0 or shutil.which("setpriv"))
    return folders[-1] if is_usable else None


def _as_postgres(command: list[str], *, dies: bool = False) -> list[str]:
    """The command as a user that PostgreSQL takes; ``dies``: with this process."""
    program = [str((_programs() or Path()) / command[0]), *command[1:]]
    if os.geteuid() != 0:
        return leashed(program) if dies else program
    user = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"]
    return [*user, *(["--pdeathsig=QUIT"] if dies else []), *program]


def _free_port() -> int:
    while True:
        port = random.choice(_PORTS)
        with closing(socket.socket()) as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
