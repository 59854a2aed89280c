"""One database, SQLite or PostgreSQL: connections, transactions, and the schema's version.

SQLite runs in WAL mode and every writing transaction begins IMMEDIATE, because an upgrade from reading to writing in
the middle fails at once under load, however long the busy timeout. Connections never cross a fork: ``after_fork``
forgets the parent's.
"""

from __future__ import annotations

import functools
import math
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

import sqlalchemy as sa

from orchestrator.errors import SchemaOutdated, Unreachable
from orchestrator.store.forks import FORK_GATE

if TYPE_CHECKING:
    import sqlite3  # 1 MB: it is loaded where the database is one

    from orchestrator.store.direct import Direct

_BUSY_TIMEOUT_MS: Final = 30_000
_CONNECT_TIMEOUT_S: Final = 5
_PAUSE_S: Final = 1.0  # a connection that was not used for so long may be broken: the server had time to restart
# SQLITE_BUSY, LOCKED, READONLY, IOERR, FULL, CANTOPEN, PROTOCOL; what has no code is an SQLITE_ERROR.
_PASSING_SQLITE: Final = frozenset({5, 6, 8, 10, 13, 14, 15})
_SQLITE_ERROR: Final = 1
# PostgreSQL's classes: connection, rollback (deadlock, serialization), resources (disk full), shutdown, system error.
_PASSING_POSTGRESQL: Final = frozenset({"08", "40", "53", "57", "58"})
_VERSION: Final = sa.select(sa.column("version_num", sa.String)).select_from(sa.table("alembic_version"))
_CONFLICTS: Final = frozenset({"40P01", "40001"})  # PostgreSQL: deadlock detected, serialization failure
_READ_ONLY: Final = "orchestrator_read_only"
_AT_ONE_MOMENT: Final = "orchestrator_at_one_moment"


class Conflict(Unreachable):
    """The server has ended a transaction so that another one can go on: the same one may be tried again at once."""


class Database:
    """Where the truth is. Cheap to make; connects when first used."""

    def __init__(self, url: str) -> None:
        self.url = sa.make_url(url)
        self.engine = _engine(self.url)
        self._driver: Any = self.engine.dialect.dbapi
        self._keeper: int | None = None  # the thread that keeps a connection
        self._kept: Any = None
        self._kept_at = 0.0

    @property
    def is_sqlite(self) -> bool:
        """Whether this is the embedded database."""
        return self.url.get_backend_name() == "sqlite"

    @contextmanager
    def begin(self, *, is_durable: bool = True) -> Iterator[sa.Connection]:
        """A transaction that writes: committed at the end, rolled back on any exception.

        Args:
            is_durable: False for a change that may be undone by a crash of the database server, within a second of its
                commit and never without everything that was committed after it: PostgreSQL then does not wait for the
                disk.
        """
        with self._connect() as connection, connection.begin():
            if not is_durable and not self.is_sqlite:
                connection.exec_driver_sql("SET LOCAL synchronous_commit = off")
            yield connection

    @contextmanager
    def autocommit(self) -> Iterator[Direct]:
        """A connection to PostgreSQL; each statement is a transaction of its own.

        Without SQLAlchemy around it, which takes longer over a small statement than the server.
        """
        connection = None
        try:
            connection = self._take()
            yield self._direct(connection)
        except self._driver.Error as error:
            if isinstance(error, self._driver.IntegrityError):
                raise sa.exc.IntegrityError(None, None, error) from error  # as from every other statement
            if not self._is_passing(error):
                raise
            raise self._away(error) from error
        finally:
            if connection is not None:
                if not self._direct(connection).is_idle:
                    connection.invalidate()
                self._put_back(connection)

    def _direct(self, connection: Any) -> Direct:
        direct = connection.info.get("direct")
        if direct is None:
            from orchestrator.store.direct import Direct  # imports the driver

            direct = connection.info["direct"] = Direct(connection.driver_connection)
        return cast("Direct", direct)

    def keep_connection(self) -> None:
        """Have this thread keep a connection between its ``autocommit`` statements, until it does something else here.

        To take one out of SQLAlchemy's pool and to put it back is a tenth of what a small task costs, or a submission.
        """
        self._keeper = threading.get_ident()

    def _take(self) -> Any:
        """A connection for ``autocommit``: the kept one, unless it was not used for so long that it may be broken."""
        if threading.get_ident() != self._keeper or self._kept is None:
            return self.engine.raw_connection()
        if time.monotonic() - self._kept_at >= _PAUSE_S:
            self._give_up()
            return self.engine.raw_connection()
        connection, self._kept = self._kept, None
        return connection

    def _put_back(self, connection: Any) -> None:
        if threading.get_ident() != self._keeper or not connection.is_valid:
            connection.close()
            return
        self._kept, self._kept_at = connection, time.monotonic()

    def _give_up(self) -> None:
        """Put the kept connection back into the pool."""
        connection, self._kept = self._kept, None
        if connection is not None:
            info = connection.info
            connection.close()
            info["used_at"] = self._kept_at  # not now, when it was put back

    @contextmanager
    def read(self, *, at_one_moment: bool = False) -> Iterator[sa.Connection]:
        """For statements that only read, and block nobody.

        Args:
            at_one_moment: all statements see the database as it is at the first; on SQLite they do so anyway. On
                PostgreSQL each of them would see its own moment in a common transaction too, so there is none.
        """
        with self._connect() as connected:
            connection = connected.execution_options(**{_READ_ONLY: True, _AT_ONE_MOMENT: at_one_moment})
            with connection.begin():
                yield connection

    @contextmanager
    def _connect(self) -> Iterator[sa.Connection]:
        if threading.get_ident() == self._keeper:
            self._give_up()  # so that this thread never has two
        with FORK_GATE.transaction() if self.is_sqlite else nullcontext():
            try:
                with self.engine.connect() as connection:
                    yield connection
            except sa.exc.DBAPIError as error:
                if not (error.connection_invalidated or self._is_passing(error.orig)):
                    raise
                raise self._away(error.orig) from error

    def _is_passing(self, cause: BaseException | None) -> bool:
        """Whether the same may succeed later: the server or the disk was away or full, or others were in the way.

        Whether the transaction was written is not known then, if it was its commit that failed.
        """
        if isinstance(cause, self._driver.OperationalError) and self.is_sqlite:
            return getattr(cause, "sqlite_errorcode", _SQLITE_ERROR) & 0xFF in _PASSING_SQLITE
        if isinstance(cause, self._driver.OperationalError):
            state = getattr(cause, "sqlstate", None)
            return state is None or state[:2] in _PASSING_POSTGRESQL
        return isinstance(cause, self._driver.InterfaceError)

    def _away(self, cause: BaseException | None) -> Unreachable:
        kind = Conflict if getattr(cause, "sqlstate", None) in _CONFLICTS else Unreachable
        reason = (str(cause).strip() or type(cause).__name__).splitlines()[0]
        return kind("the database", self.url.render_as_string(), reason)

    def after_fork(self) -> None:
        """Forget the parent's connections without closing them: they are still the parent's."""
        self.engine.dispose(close=False)

    def close(self) -> None:
        """Close all idle connections, and the one that a thread keeps."""
        self._give_up()
        self.engine.dispose()

    def lock(self, connection: sa.Connection, what: str) -> None:
        """Let one transaction at a time past this line, until it ends. SQLite's BEGIN IMMEDIATE has done so already."""
        if not self.is_sqlite:
            connection.execute(sa.text("SELECT pg_advisory_xact_lock(hashtextextended(:what, 0))"), {"what": what})

    # -- schema ----------------------------------------------------------------------------------------------------

    def upgrade(self) -> None:
        """Bring the schema to this code's version; safe to call at any time, also by several processes at once."""
        if self.is_sqlite and self.url.database not in (None, "", ":memory:"):
            Path(str(self.url.database)).parent.mkdir(parents=True, exist_ok=True)
        if self.schema_version() == _newest_version():
            return
        from orchestrator.store.migrate import migrate  # imports alembic

        with self.begin() as connection:
            self.lock(connection, "orchestrator migrations")
            migrate(connection)

    def schema_version(self) -> str | None:
        """The schema's version in this database, or None if it has none yet."""
        with self.read() as connection:
            if not sa.inspect(connection).has_table("alembic_version"):
                return None
            return connection.execute(_VERSION).scalar_one_or_none()

    def check_schema(self) -> None:
        """Make sure that code and schema fit.

        Raises:
            SchemaOutdated: they do not.
            Unreachable: no answer.
        """
        found, expected = self.schema_version(), _newest_version()
        if found != expected:
            raise SchemaOutdated(found or "empty", expected)

    def make_ready(self) -> None:
        """Before the first use of a process: an embedded database is brought to this version, a server's must be at it.

        Raises:
            SchemaOutdated, Unreachable: it is not ready.
        """
        if self.is_sqlite:
            self.upgrade()
        else:
            self.check_schema()


@functools.cache
def _newest_version() -> str:
    """The version that the newest migration is named after."""
    names = [each.name for each in resources.files("orchestrator.store.migrations.versions").iterdir()]
    return max(name.partition("_")[0] for name in names if name[0].isdecimal())


def _engine(url: sa.URL) -> sa.Engine:
    if url.get_backend_name() == "sqlite":
        engine = sa.create_engine(url, connect_args={"timeout": _BUSY_TIMEOUT_MS / 1000, "check_same_thread": False})
        sa.event.listen(engine, "connect", _prepare_sqlite)
        sa.event.listen(engine, "begin", _begin_sqlite)
        FORK_GATE.engines.add(engine)
        return engine
    engine = sa.create_engine(url, connect_args={"connect_timeout": _CONNECT_TIMEOUT_S})
    sa.event.listen(engine, "connect", _prepare_postgresql)
    sa.event.listen(engine, "begin", _begin_postgresql)
    sa.event.listen(engine, "checkin", _note_use)
    sa.event.listen(engine, "checkout", functools.partial(_look_after_pause, engine.dialect))
    return engine


def _note_use(connection: object, record: Any) -> None:  # noqa: ARG001 - SQLAlchemy's signature
    record.info["used_at"] = time.monotonic()


def _look_after_pause(dialect: sa.Dialect, connection: Any, record: Any, proxy: object) -> None:  # noqa: ARG001
    """Replace a connection that broke while nobody used it. One in constant use is not asked: that is a round trip."""
    if time.monotonic() - record.info.get("used_at", math.inf) < _PAUSE_S:
        return
    assert dialect.dbapi is not None, "the dialect of an engine has its driver"
    try:
        dialect.do_ping(connection)
    except dialect.dbapi.Error as error:
        raise sa.exc.DisconnectionError from error  # the pool opens another one


def _prepare_postgresql(connection: Any, record: object) -> None:  # noqa: ARG001 - SQLAlchemy's signature
    connection.autocommit = True  # BEGIN is ours


def _begin_postgresql(connection: sa.Connection) -> None:
    options = connection.get_execution_options()
    if options.get(_AT_ONE_MOMENT, False):
        connection.exec_driver_sql("BEGIN ISOLATION LEVEL REPEATABLE READ")
    elif not options.get(_READ_ONLY, False):
        connection.exec_driver_sql("BEGIN")


def _prepare_sqlite(connection: Any, record: object) -> None:  # noqa: ARG001 - SQLAlchemy's signature
    connection.isolation_level = None  # BEGIN is ours
    cursor = connection.cursor()
    cursor.execute(f"PRAGMA busy_timeout = {_BUSY_TIMEOUT_MS}")
    _use_wal(cursor)
    cursor.execute("PRAGMA synchronous = NORMAL")  # WAL keeps every commit over a crash of any process with it
    cursor.execute("PRAGMA foreign_keys = ON")
    cursor.close()


def _use_wal(cursor: sqlite3.Cursor) -> None:
    """Switch a new file to WAL. The busy timeout does not hold here, so we wait for other first users ourselves."""
    import sqlite3

    deadline = time.monotonic() + _BUSY_TIMEOUT_MS / 1000
    while True:
        try:
            cursor.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            is_busy = error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY
            if not is_busy or time.monotonic() >= deadline:
                raise
            time.sleep(0.01)  # a pause between two tries
        else:
            return


def _begin_sqlite(connection: sa.Connection) -> None:
    is_read_only = connection.get_execution_options().get(_READ_ONLY, False)
    connection.exec_driver_sql("BEGIN" if is_read_only else "BEGIN IMMEDIATE")
