"""Commands that run the system and look after it: worker, workers, flower, doctor, db upgrade."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Annotated, Final

import typer

from orchestrator.cli.app import EXIT_PROBLEM, app, print_json, say
from orchestrator.cli.arguments import AsJson, Concurrency, Executor, Home, Include, read_settings
from orchestrator.errors import SettingsError

if TYPE_CHECKING:
    from orchestrator.runtime.doctor import Finding
    from orchestrator.settings import Settings
    from orchestrator.store.workers import LiveWorker

LEVELS: Final = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")

database_commands = typer.Typer(no_args_is_help=True, help="Look after the database.")
app.add_typer(database_commands, name="db")


def _checked_level(name: str) -> str:
    if name.upper() not in LEVELS:
        raise typer.BadParameter(f"one of {', '.join(LEVELS)}")
    return name.upper()


@app.command()
def worker(
    executor: Executor = "default",
    concurrency: Concurrency = None,
    include: Include = None,
    home: Home = None,
    log_level: Annotated[
        str, typer.Option("--log-level", metavar="LEVEL", callback=_checked_level, help=", ".join(LEVELS))
    ] = "INFO",
) -> None:
    """Work for an executor until told to stop. Needs a configured broker."""
    from orchestrator.runtime.worker import worker_command

    settings = read_settings(home, include, concurrency=concurrency)
    command = worker_command(settings, executor, concurrency=settings.concurrency, log_level=log_level)
    sys.stdout.flush()
    sys.stderr.flush()
    os.execve(command[0], command, settings.to_environment())  # noqa: S606 - the worker gets our signals


@app.command()
def workers(as_json: AsJson = False, home: Home = None) -> None:
    """List the workers that are alive: name, state, since when, and the queues that they read."""
    from orchestrator.client import Orchestrator

    with Orchestrator(read_settings(home)) as orchestrator:
        found = orchestrator.workers()
    if as_json:
        print_json({"workers": [_to_document(each) for each in found]})
        return
    for each in found:
        since = each.started_at.isoformat(timespec="seconds")
        typer.echo("\t".join([each.name, each.state.value, since, ",".join(each.queues)]))


def _to_document(worker: LiveWorker) -> dict[str, object]:
    return {
        "id": worker.id,
        "name": worker.name,
        "state": worker.state.value,
        "queues": list(worker.queues),
        "startTime": worker.started_at.isoformat(),
        "heartbeatTime": worker.beat_at.isoformat(),
    }


@app.command()
def doctor(include: Include = None, home: Home = None) -> None:
    """Say what is reachable, what is not and what to do. Exit code 0 if nothing is broken, else 1."""
    from orchestrator.runtime.app import make_app
    from orchestrator.runtime.doctor import examine, schema_problem

    settings = read_settings(home, include)
    findings = examine(
        settings,
        app=None if settings.is_embedded else make_app(settings),
        schema_check=lambda: schema_problem(settings),
        task_type_count=_count_task_types(settings),
    )
    for finding in findings:
        _print_finding(finding)
    raise typer.Exit(EXIT_PROBLEM if any(finding.ok is False for finding in findings) else 0)


def _count_task_types(settings: Settings) -> int:
    """How many task types there are; none if a module of ``include`` cannot be imported."""
    from orchestrator.runtime.app import load_task_types

    try:
        return sum(1 for _ in load_task_types(settings.include))
    except SettingsError as error:
        say(f"error: {error}")  # and go on: this is the command that looks at everything
        return 0


def _print_finding(finding: Finding) -> None:
    word, colour = {True: ("ok", "green"), None: ("warning", "yellow"), False: ("broken", "red")}[finding.ok]
    typer.echo(f"{typer.style(f'{word:8}', fg=colour)} {finding.name}: {finding.message}")
    if finding.remedy:
        typer.echo(f"{'':8} -> {finding.remedy}")


@database_commands.command()
def upgrade(home: Home = None) -> None:
    """Bring the database's schema to this version; safe at any time."""
    from orchestrator.settings import masked_url
    from orchestrator.store.database import Database

    url = read_settings(home).resolved_database_url
    database = Database(url)
    try:
        database.upgrade()
        typer.echo(f"{masked_url(url)}: schema is {database.schema_version()}")
    finally:
        database.close()


@app.command()
def flower(
    port: Annotated[int, typer.Option("--port", metavar="PORT", min=1, max=65535, help="Where it listens.")] = 5555,
    address: Annotated[str, typer.Option("--address", metavar="ADDRESS", help="Where it listens.")] = "127.0.0.1",
) -> None:
    """Run Flower for the configured broker, behind a login; one is made up and shown if none is configured."""
    from orchestrator.runtime.flower import USER, flower_command

    command = flower_command(read_settings(), port=port, address=address)
    say(f"Flower: http://{address}:{port}")
    if command.generated_password:
        say(f"user {USER}, password {command.generated_password} (made up for this run)")
    sys.stderr.flush()
    os.execve(command.arguments[0], command.arguments, command.environment)  # noqa: S606 - Flower gets our signals
