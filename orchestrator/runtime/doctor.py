"""Whether everything that a command needs is there, and what to do about what is not.

Knows: how to ask each service in a few seconds, whatever is wrong with it. A check that hangs all the same (a name
server, a half-open connection) is given up by the clock and its thread is left behind. ``orchestrator doctor`` looks at
everything once; a server that says whether it is ready asks ``service_checks`` again and again.

Must not: change anything (a missing database is reported, not made), raise, or show a password.
"""

from __future__ import annotations

import os
import re
import smtplib
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from celery import Celery
from kombu import Connection
from sqlalchemy import create_engine, make_url, text
from sqlalchemy.pool import NullPool

from orchestrator.errors import SchemaOutdated
from orchestrator.runtime import file_broker
from orchestrator.runtime.redis_server import OLDEST_REDIS, find_redis_server
from orchestrator.settings import Settings, masked_url, scheme_of, unknown_variables
from orchestrator.store.database import Database

CONNECT_LIMIT_S: Final = 3
CHECK_LIMIT_S: Final = 5.0  # longer than any single timeout, so that the service's own words are seen first
INSPECT_LIMIT_S: Final = 1.0
PYTHON_FROM: Final = (3, 11)
PYTHON_BEFORE: Final = (3, 14)


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """What one check found. ``ok`` is None for a warning; ``remedy`` is empty if there is nothing to do."""

    name: str
    ok: bool | None
    message: str
    remedy: str = ""


def examine(
    settings: Settings,
    *,
    app: Celery | None = None,
    schema_check: Callable[[], str | None] | None = None,
    task_type_count: int | None = None,
) -> list[Finding]:
    """Look at everything that a command needs; about 3 s for each service that does not answer.

    Args:
        settings: what to look at.
        app: asks the live workers for their queues, if the broker answers.
        schema_check: a sentence on what is wrong with the schema, None if nothing is. Called if the database answers.
        task_type_count: how many task types this process knows.
    """
    return list(_findings(settings, app=app, schema_check=schema_check, task_type_count=task_type_count))


def _findings(
    settings: Settings,
    *,
    app: Celery | None,
    schema_check: Callable[[], str | None] | None,
    task_type_count: int | None,
) -> Iterator[Finding]:
    yield _python()
    yield from _misspelt()
    yield _home(settings.home)
    yield _redis_binary(settings)
    broker = _limited("broker", lambda: _broker(settings))
    yield broker
    if app is not None and broker.ok and not settings.is_embedded:
        yield _limited("workers", lambda: _workers(app))
    database = _limited("database", lambda: _database(settings))
    yield database
    if schema_check is not None and database.ok and not _is_missing(settings):
        yield _limited("schema", lambda: _schema(schema_check))
    yield _limited("mail", lambda: _mail(settings))
    if task_type_count is not None:
        yield _task_types(task_type_count)


def service_checks(settings: Settings) -> list[Check]:
    """What a server cannot do without: broker, database, and its schema."""
    return [
        Check("broker", lambda: _broker(settings)),
        Check("database", lambda: _database(settings)),
        Check("schema", lambda: _schema(lambda: schema_problem(settings))),
    ]


class Check:
    """One look at something, which may be asked for again and again: there is never a second one beside a first."""

    def __init__(self, name: str, look: Callable[[], Finding]) -> None:
        self.name, self._look = name, look
        self._found: list[Finding] = []
        self._thread: threading.Thread | None = None
        self._asked_at = 0.0

    def begin(self) -> None:
        """Look, in a thread; or go on with a look that has not come back yet."""
        self._asked_at = time.monotonic()
        if self._thread is None or not self._thread.is_alive():
            self._found = []
            self._thread = threading.Thread(
                target=self._run, args=(self._found,), name=f"check-{self.name}", daemon=True
            )
            self._thread.start()

    def _run(self, found: list[Finding]) -> None:
        try:
            found.append(self._look())
        except Exception as error:  # whatever a service or its library does is a finding
            found.append(Finding(name=self.name, ok=False, message=_reason(error), remedy="see the message"))

    def finding(self, limit_s: float) -> Finding:
        """What it found, or that it raised, or that it did not come back within the time since ``begin``."""
        assert self._thread is not None, "a check is begun before it is asked"
        self._thread.join(max(0.0, self._asked_at + limit_s - time.monotonic()))
        if self._found:
            return self._found[0]
        remedy = "check the address and the network"
        return Finding(name=self.name, ok=False, message=f"no answer within {limit_s:g} s", remedy=remedy)


def _limited(name: str, look: Callable[[], Finding]) -> Finding:
    check = Check(name, look)
    check.begin()
    return check.finding(CHECK_LIMIT_S)


def _reason(error: BaseException) -> str:
    """A library's words on one line; it may quote the URL that it was given."""
    first_line = next(iter(str(error).strip().splitlines()), "")
    return masked_url(re.sub(r"\s+", " ", first_line)) or type(error).__name__


# -- this machine --------------------------------------------------------------------------------------------------


def _python() -> Finding:
    ok = PYTHON_FROM <= sys.version_info[:2] < PYTHON_BEFORE
    version = ".".join(map(str, sys.version_info[:3]))
    remedy = "" if ok else f"use Python 3.{PYTHON_FROM[1]} to 3.{PYTHON_BEFORE[1] - 1}"
    return Finding(name="python", ok=ok, message=f"{version} at {sys.executable}", remedy=remedy)


def _misspelt() -> Iterator[Finding]:
    for name in unknown_variables():
        yield Finding(name="environment", ok=None, message=f"no setting reads {name}", remedy="check its spelling")


def _home(home: Path) -> Finding:
    nearest = next(each for each in (home, *home.parents) if each.exists())
    if not nearest.is_dir() or not os.access(nearest, os.W_OK | os.X_OK):
        return Finding(
            name="home",
            ok=False,
            message=f"{nearest} cannot be written",
            remedy="set ORCHESTRATOR_HOME to another folder",
        )
    return Finding(name="home", ok=True, message=str(home) if nearest == home else f"{home} (made when needed)")


def _redis_binary(settings: Settings) -> Finding:
    server = find_redis_server()
    if server:
        return Finding(name="redis-server", ok=True, message=f"{server.version} from {server.origin}: {server.path}")
    needed = "" if settings.is_embedded else ", and none is needed: a broker is configured"
    return Finding(
        name="redis-server",
        ok=None if settings.is_embedded else True,
        message=f"none of version {'.'.join(map(str, OLDEST_REDIS))} or newer{needed}",
        remedy="install one: without it messages go through files, which is slow" if settings.is_embedded else "",
    )


def _task_types(count: int) -> Finding:
    remedy = (
        "" if count else "install this package with its entry points (pip install -e .), or set ORCHESTRATOR_INCLUDE"
    )
    return Finding(name="task types", ok=count > 0, message=f"{count} found", remedy=remedy)


# -- services ------------------------------------------------------------------------------------------------------


def _broker(settings: Settings) -> Finding:
    if settings.broker_url is None:
        return Finding(name="broker", ok=True, message="none configured: each command starts a private one")
    shown = masked_url(settings.broker_url)
    try:
        with Connection(settings.broker_url, **_broker_options(settings.broker_url)) as connection:
            connection.ensure_connection(max_retries=1, interval_start=0, timeout=CONNECT_LIMIT_S)
            _ = connection.default_channel  # Redis is spoken to when the first channel is made
    except Exception as error:  # each transport has errors of its own
        return Finding(
            name="broker",
            ok=False,
            message=f"{shown} does not answer: {_reason(error)}",
            remedy="start it, or correct ORCHESTRATOR_BROKER_URL; unset it for a private one",
        )
    return Finding(name="broker", ok=True, message=f"{shown} answers")


def _broker_options(url: str) -> dict[str, Any]:
    if scheme_of(url) == "filesystem":
        options = file_broker.celery_settings(url)
        return {"transport": options["broker_transport"], "transport_options": options["broker_transport_options"]}
    if scheme_of(url) in {"amqp", "amqps"}:
        return {"connect_timeout": CONNECT_LIMIT_S}
    timeouts = {"socket_timeout": CONNECT_LIMIT_S, "socket_connect_timeout": CONNECT_LIMIT_S}
    return {"connect_timeout": CONNECT_LIMIT_S, "transport_options": timeouts}


def _workers(app: Celery) -> Finding:
    queues_of = app.control.inspect(timeout=INSPECT_LIMIT_S).active_queues() or {}
    counts: dict[str, int] = {}
    for queues in queues_of.values():
        for queue in queues:
            counts[queue["name"]] = counts.get(queue["name"], 0) + 1
    if not counts:
        remedy = "start one: orchestrator worker --executor default"
        return Finding(name="workers", ok=None, message="no live worker", remedy=remedy)
    shown = ", ".join(f"{name} ({count})" for name, count in sorted(counts.items()))
    return Finding(name="workers", ok=True, message=f"{len(queues_of)} live; queues: {shown}")


def _is_missing(settings: Settings) -> bool:
    """Whether the database is a SQLite file that is not there yet. To connect would make it."""
    url = make_url(settings.resolved_database_url)
    return url.get_backend_name() == "sqlite" and not Path(url.database or "").exists()


def _database(settings: Settings) -> Finding:
    url = make_url(settings.resolved_database_url)
    shown = masked_url(settings.resolved_database_url)
    if _is_missing(settings):
        return Finding(name="database", ok=True, message=f"{shown} is not there yet; made when needed")
    is_sqlite = url.get_backend_name() == "sqlite"
    limits = {"timeout": CONNECT_LIMIT_S} if is_sqlite else {"connect_timeout": CONNECT_LIMIT_S}
    engine = create_engine(url, connect_args=limits, poolclass=NullPool)
    try:
        with engine.connect() as connection:
            # SQLite answers SELECT 1 without a look at the file.
            connection.execute(text("PRAGMA schema_version" if is_sqlite else "SELECT 1"))
    except Exception as error:  # a driver's errors are not all wrapped
        return Finding(
            name="database",
            ok=False,
            message=f"{shown} does not answer: {_reason(getattr(error, 'orig', None) or error)}",
            remedy="start it, or correct ORCHESTRATOR_DATABASE_URL; unset it for a SQLite file",
        )
    finally:
        engine.dispose()
    return Finding(name="database", ok=True, message=f"{shown} answers")


def _schema(check: Callable[[], str | None]) -> Finding:
    problem = check()
    if problem:
        return Finding(name="schema", ok=False, message=problem, remedy="run `orchestrator db upgrade`")
    return Finding(name="schema", ok=True, message="as this version needs it")


def schema_problem(settings: Settings) -> str | None:
    """A sentence on what is wrong with the schema; None if nothing is."""
    if _is_missing(settings):
        return "the database is not there"
    database = Database(settings.resolved_database_url)
    try:
        database.check_schema()
    except SchemaOutdated as error:
        return f"is {error.found}, this version needs {error.expected}"
    finally:
        database.close()
    return None


def _mail(settings: Settings) -> Finding:
    mail = settings.surroundings().mail
    if mail.host is None:
        return Finding(name="mail", ok=True, message=f"no server configured: written to {mail.outbox}")
    try:
        with smtplib.SMTP(mail.host, mail.port, timeout=CONNECT_LIMIT_S) as server:
            if mail.starttls:
                server.starttls()
            if mail.user:
                server.login(mail.user, mail.password or "")
            server.noop()
    except (OSError, smtplib.SMTPException) as error:
        return Finding(
            name="mail",
            ok=False,
            message=f"{mail.host}:{mail.port} refuses: {_reason(error)}",
            remedy="correct ORCHESTRATOR_SMTP_HOST, _PORT, _USER, _PASSWORD and _STARTTLS",
        )
    return Finding(name="mail", ok=True, message=f"{mail.host}:{mail.port} answers")
