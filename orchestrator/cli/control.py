"""Commands that start and steer executions on workers that run elsewhere: publish, submit, kill."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from orchestrator.cli.app import app, print_json, say
from orchestrator.cli.arguments import AsJson, ExecutionId, Executor, File, Home, Include, Name, read_settings
from orchestrator.cli.definitions import Param, Params, Trigger, read_parameters
from orchestrator.cli.printing import follow, make_console
from orchestrator.errors import InvalidSetting, InvalidValue

if TYPE_CHECKING:
    from orchestrator.client import Orchestrator
    from orchestrator.model.integration import IntegrationVersion
    from orchestrator.settings import Settings


@app.command()
def publish(file: File, name: Name = "", include: Include = None, home: Home = None) -> None:
    """Check a definition and make it the published version of its integration; its cron triggers begin to fire."""
    from orchestrator.client import Orchestrator

    with Orchestrator(read_settings(home, include), say=say) as orchestrator:
        version = orchestrator.read(file, name=name)
        orchestrator.publish(version)
    typer.echo(f"{version.name} is published")


@app.command()
def submit(
    what: Annotated[
        str, typer.Argument(metavar="FILE|NAME", help="A definition, or a published integration.", show_default=False)
    ],
    *,
    trigger: Trigger = None,
    param: Param = None,
    params: Params = None,
    at: Annotated[
        str | None, typer.Option("--at", metavar="TIME", help="Not before: 2026-01-31T12:00:00Z, or +90 (seconds).")
    ] = None,
    deadline_s: Annotated[
        float | None, typer.Option("--deadline", metavar="S", help="FAILED if it is not over after so many seconds.")
    ] = None,
    priority: Annotated[int, typer.Option("--priority", metavar="N", help="0 to 9, the most urgent.")] = 4,
    execution_id: Annotated[str | None, typer.Option("--id", metavar="ID", help="An id of your own.")] = None,
    request_id: Annotated[
        str | None, typer.Option("--request-id", metavar="ID", help="The same one again starts nothing.")
    ] = None,
    executor: Executor = "default",
    include: Include = None,
    home: Home = None,
) -> None:
    """Start an execution on the workers that are there, now or later, and print its id."""
    from orchestrator.client import Orchestrator

    settings = read_settings(home, include)
    _need_broker(settings)
    with Orchestrator(settings, say=say) as orchestrator:
        definition, version = _find(what, orchestrator)
        started = orchestrator.submit(
            definition,
            read_parameters(params, param or (), version),
            trigger=trigger,
            executor=executor,
            at=_parse_time(at),
            deadline_s=deadline_s,
            priority=priority,
            execution_id=execution_id,
            request_id=request_id,
        )
    typer.echo(started)


@app.command()
def kill(
    execution_id: ExecutionId,
    *,
    message: Annotated[str | None, typer.Option("--message", "-m", metavar="TEXT", help="Why; it is kept.")] = None,
    actor: Annotated[str | None, typer.Option("--actor", metavar="NAME", help="Who wants it; default: you.")] = None,
    rolls_back: Annotated[bool, typer.Option("--rollback", help="Undo what has a rollback first.")] = False,
    as_json: AsJson = False,
    home: Home = None,
) -> None:
    """End an execution and everything below it. Each is CANCELLED once no code of it runs: seconds at most."""
    from orchestrator.client import Orchestrator

    with Orchestrator(read_settings(home), say=say) as orchestrator:
        execution = orchestrator.kill(execution_id, message=message, actor=actor, rolls_back=rolls_back)
    if as_json:
        print_json(execution.to_document())
    else:
        follow(iter([execution]), make_console())


def _need_broker(settings: Settings) -> None:
    if settings.is_embedded:
        expected = "the broker that your workers read: without one, `orchestrator run` brings its own and waits"
        raise InvalidSetting("ORCHESTRATOR_BROKER_URL", "nothing", expected)


def _find(what: str, orchestrator: Orchestrator) -> tuple[IntegrationVersion | str, IntegrationVersion]:
    """A file's definition, or a published one by its name."""
    if Path(what).is_file() or Path(what).suffix in (".json", ".yaml", ".yml"):
        version = orchestrator.read(Path(what))
        return version, version
    return what, orchestrator.published(what)


def _parse_time(text: str | None) -> datetime | None:
    """An aware time; ``+90`` is in 90 seconds."""
    if text is None:
        return None
    try:
        if text.startswith("+"):
            return datetime.now(UTC) + timedelta(seconds=float(text[1:]))
        return datetime.fromisoformat(text)
    except (ValueError, OverflowError):
        expected = "a time such as 2026-01-31T12:00:00Z, or +90 for in 90 seconds"
        raise InvalidValue("--at", repr(text), expected) from None
