"""The command that starts everything on one machine: up.

    the private broker, if none is configured
      the database, brought to this version
        a worker for each executor
          Flower, if wanted
            the API

Where there is no valid key yet, the first one is made and shown, for callers on this machine; a server that others can
reach has none that was on a screen.

What ends is started again: an operator expects that of it, and ``runtime.kept`` says how often. If something ends
before it was up, or again and again, or the private broker ends, everything is stopped, and the exit code is 1. On
Ctrl-C and SIGTERM everything ends from the inside out, and the exit code is 0: the API answers whoever it let in,
workers give back what they cannot end in time, and the broker goes last. Nothing outlives this process, not even after
``kill -9``.
"""

from __future__ import annotations

import os
import shlex
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import TYPE_CHECKING, Annotated, Final

import typer

from orchestrator.cli.api import Host, NoAuth, Port
from orchestrator.cli.app import app, say
from orchestrator.cli.arguments import Home, Include, read_settings
from orchestrator.errors import ProcessEnded, Unprotected

if TYPE_CHECKING:
    import subprocess

    from orchestrator.runtime.embedded import EmbeddedServices, Worker
    from orchestrator.runtime.flower import FlowerCommand
    from orchestrator.runtime.kept import Kept
    from orchestrator.settings import Settings
    from orchestrator.store.workers import WorkerStore

START_LIMIT_S: Final = 120.0
STOP_GRACE_S: Final = 10.0  # beyond ORCHESTRATOR_DRAIN_S
FLOWER_GRACE_S: Final = 5.0
_LOOK_S: Final = 0.1
_MOST_PROCESSES: Final = 1024


@app.command()
def up(
    executors: Annotated[
        list[str] | None,
        typer.Option("--executor", metavar="NAME[=N]", help="A worker with N processes; may be repeated."),
    ] = None,
    *,
    host: Host = "127.0.0.1",
    port: Port = 8080,
    flower: Annotated[bool, typer.Option("--flower", help="Flower too, on the loopback, behind a password.")] = False,
    flower_port: Annotated[int, typer.Option("--flower-port", metavar="PORT", min=1, max=65535)] = 5555,
    no_auth: NoAuth = False,
    include: Include = None,
    home: Home = None,
) -> None:
    """Start everything on this machine, and keep it up: broker, database, workers, the API. Ctrl-C ends it.

    Without --executor there is one worker, of the executor "default", with a process for each core.
    """
    from orchestrator.runtime.embedded import EmbeddedServices
    from orchestrator.runtime.flower import is_loopback
    from orchestrator.web.server import bound

    settings = read_settings(home, include)
    wanted = _parse_executors(executors or ["default"], settings)
    if no_auth and not is_loopback(host):
        raise Unprotected(host)
    for address in [(host, port), *([("127.0.0.1", flower_port)] if flower else [])]:
        with bound(*address) as listener:  # said before anything is started
            port = listener.getsockname()[1] if address[1] == 0 else port
    with (
        _until_told_to_end(),
        EmbeddedServices(settings, say=say, grace_s=settings.drain_s + STOP_GRACE_S) as services,
        ExitStack() as ends,
    ):
        say("starting ...")
        store = _make_database_ready(services.settings, ends)
        key = first_key(services.settings) if is_loopback(host) and not no_auth else None
        kept = [_keep_worker(name, count, services, store) for name, count in wanted.items()]
        shown = _flower(services.settings, flower_port) if flower else None
        if shown is not None:
            kept.append(_keep_flower(shown, flower_port, services.settings, ends))
        kept.append(_keep_api(host, port, services.settings, ends, no_auth=no_auth))
        _wait_until_up(kept, services)
        _print_places(services.settings, wanted, host=host, port=port, no_auth=no_auth, is_private=settings.is_embedded)
        if key is not None:
            _print("key", f"{key} (allows everything, and is shown this once)")
        if shown is not None:
            _print_flower(shown, flower_port)
        typer.echo("Ctrl-C ends it all.")
        while True:
            _look(kept, services)


def _parse_executors(texts: Sequence[str], settings: Settings) -> dict[str, int]:
    """Executor -> how many processes."""
    from orchestrator.model.integration import EXECUTOR_ID

    counts: dict[str, int] = {}
    for text in texts:
        name, equals, number = text.partition("=")
        count = int(number) if number.isdecimal() else 0 if equals else _default_concurrency(settings)
        if not EXECUTOR_ID.fullmatch(name) or not 1 <= count <= _MOST_PROCESSES or name in counts:
            expected = f"NAME or NAME=N, each NAME once; N is 1 to {_MOST_PROCESSES}"
            raise typer.BadParameter(f"found {text!r}, expected {expected}", param_hint="--executor")
        counts[name] = count
    return counts


def _default_concurrency(settings: Settings) -> int:
    if "concurrency" in settings.given:
        return settings.concurrency
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def _until_told_to_end() -> Iterator[None]:
    """Ctrl-C and SIGTERM end the block as they should: that is no error."""
    from orchestrator.runtime.children import signals_as_exit

    try:
        with signals_as_exit():
            yield
    except (KeyboardInterrupt, SystemExit):
        say("ended")


def _make_database_ready(settings: Settings, ends: ExitStack) -> WorkerStore:
    from orchestrator.store.database import Database
    from orchestrator.store.workers import WorkerStore

    database = Database(settings.resolved_database_url)
    ends.callback(database.close)
    database.upgrade()
    return WorkerStore(database)


def first_key(settings: Settings) -> str | None:
    """A key that allows everything, where there is none that is valid; else None: nobody is shown one again."""
    from orchestrator.client import Orchestrator
    from orchestrator.model.keys import Scope
    from orchestrator.store.keys import KeyState

    with Orchestrator(settings) as orchestrator:
        if any(each.state is KeyState.VALID for each in orchestrator.keys.list()):
            return None
        return orchestrator.keys.create("up", scopes=[Scope.ADMIN]).text


# -- what is kept up -----------------------------------------------------------------------------------------------


def _keep_worker(executor: str, count: int, services: EmbeddedServices, store: WorkerStore) -> Kept:
    from orchestrator.runtime.kept import Kept

    started: list[Worker] = []

    def start() -> subprocess.Popen[bytes]:
        started[:] = [services.start_worker(executor, concurrency=count)]
        return started[0].process

    before = {worker.id for worker in store.live()}

    def is_up() -> bool:
        return any(each.name.startswith(f"{executor}@") and each.id not in before for each in store.live())

    def clean(_: subprocess.Popen[bytes]) -> None:
        services.stop_worker(started[0], grace_s=0)

    name = f"the worker of executor {executor!r}"
    return Kept(name, start, log_file=services.log_file_of(executor), is_up=is_up, clean=clean)


def _flower(settings: Settings, port: int) -> FlowerCommand:
    from orchestrator.runtime.flower import flower_command

    return flower_command(settings, port=port)


def _keep_flower(command: FlowerCommand, port: int, settings: Settings, ends: ExitStack) -> Kept:
    from orchestrator.runtime.children import start
    from orchestrator.runtime.kept import Kept

    log_file = settings.home / "log" / "flower.log"
    begin = partial(start, command.arguments, log_file, environment=command.environment)
    kept = Kept("Flower", begin, log_file=log_file, is_up=partial(_answers, "127.0.0.1", port, "/healthcheck"))
    ends.callback(kept.stop, FLOWER_GRACE_S)
    return kept


def _keep_api(host: str, port: int, settings: Settings, ends: ExitStack, *, no_auth: bool) -> Kept:
    from orchestrator.runtime.children import start
    from orchestrator.runtime.kept import Kept

    log_file = settings.home / "log" / "api.log"
    command = [
        sys.executable,
        "-m",
        "orchestrator",
        "api",
        "--host",
        host,
        "--port",
        str(port),
        *(["--no-auth"] if no_auth else []),
    ]
    begin = partial(start, command, log_file, environment=settings.to_environment())
    kept = Kept("the API server", begin, log_file=log_file, is_up=partial(_answers, host, port, "/healthz"))
    ends.callback(kept.stop, settings.drain_s + STOP_GRACE_S)
    return kept


def _answers(host: str, port: int, path: str) -> bool:
    from http import HTTPStatus
    from http.client import HTTPConnection, HTTPException

    connection = HTTPConnection(_reached_as(host), port, timeout=1)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == HTTPStatus.OK
    except (OSError, HTTPException):
        return False
    finally:
        connection.close()


def _look(kept: Sequence[Kept], services: EmbeddedServices) -> None:
    """Look after everything once, then pause."""
    for each in kept:
        if said := each.look():
            say(said)
    if ended := services.ended_broker():
        raise ProcessEnded(ended)
    time.sleep(_LOOK_S)


def _wait_until_up(kept: Sequence[Kept], services: EmbeddedServices) -> None:
    deadline = time.monotonic() + START_LIMIT_S
    while missing := [each for each in kept if not each.is_ready]:
        if time.monotonic() > deadline:
            raise ProcessEnded(f"{missing[0].name} is not up after {START_LIMIT_S:g} s; see {missing[0].log_file}")
        _look(kept, services)


# -- what is said --------------------------------------------------------------------------------------------------


def _reached_as(host: str) -> str:
    """How this machine reaches a server that listens there."""
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - compared, not bound


def _print_places(
    settings: Settings, wanted: dict[str, int], *, host: str, port: int, no_auth: bool, is_private: bool
) -> None:
    from orchestrator.web.server import url_of

    keys = "everybody on this machine may do everything" if no_auth else "`orchestrator keys create` makes keys for it"
    executors = ", ".join(f"{name} ({count} process{'es' * (count > 1)})" for name, count in wanted.items())
    places = [f"ORCHESTRATOR_HOME={shlex.quote(str(settings.home))}"]
    if is_private:  # else it is in the environment already, with its password
        places.append(f"ORCHESTRATOR_BROKER_URL={shlex.quote(settings.broker_url or '')}")
    _print("API", f"{url_of(_reached_as(host), port)} ({keys})")
    _print("executors", executors)
    _print("logs", str(settings.home / "log"))
    _print("elsewhere", f"export {' '.join(places)}")


def _print_flower(command: FlowerCommand, port: int) -> None:
    from orchestrator.runtime.flower import USER

    login = f"user {USER}, password {command.generated_password}" if command.generated_password else "your own login"
    _print("Flower", f"http://127.0.0.1:{port} ({login})")


def _print(name: str, text: str) -> None:
    typer.echo(f"{name:10} {text}")
