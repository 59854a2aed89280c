"""Commands that start and steer executions on workers that run elsewhere: publish, submit, kill, release."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from orchestrator.cli.app import app, print_json, say
from orchestrator.cli.arguments import (
    AsJson,
    Concurrency,
    ExecutionId,
    Executor,
    File,
    Home,
    Include,
    Name,
    Timeout,
    read_settings,
)
from orchestrator.cli.definitions import Param, Params, Trigger, act_and_go_on, read_parameters
from orchestrator.cli.each import read_lines, submit_lines
from orchestrator.cli.printing import follow, make_console, print_ids
from orchestrator.errors import InvalidSetting, InvalidValue

Actor = Annotated[str | None, typer.Option("--actor", metavar="NAME", help="Who wants it; default: you.")]

if TYPE_CHECKING:
    from orchestrator.client import Orchestrator
    from orchestrator.model.integration import IntegrationVersion
    from orchestrator.model.states import TaskState
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
    each: Annotated[
        Path | None,
        typer.Option("--each", metavar="FILE", help="One for each line, a JSON object of parameters; '-' is stdin."),
    ] = None,
    wait_s: Annotated[
        float, typer.Option("--wait", metavar="S", min=0, help="Wait so long for room if a queue is full.")
    ] = 0.0,
    executor: Executor = "default",
    include: Include = None,
    home: Home = None,
) -> None:
    """Start an execution on the workers that are there, now or later, and print its id.

    With --each it starts one for each line of a file and prints the ids in order. --param and --params are for all of
    them then, and --request-id ID gives line 7 the request id ID-7: so the same command can be given again if it broke
    off, and starts what is missing.
    """
    from orchestrator.client import Orchestrator

    if each is not None and execution_id is not None:
        raise InvalidValue("--id", "--each as well", "one of them: each execution has an id of its own")
    settings = read_settings(home, include)
    _need_broker(settings)
    lines = None if each is None else read_lines(each)
    wishes: dict[str, Any] = {
        "trigger": trigger,
        "executor": executor,
        "at": _parse_time(at),
        "deadline_s": deadline_s,
        "priority": priority,
        "wait_s": wait_s,
    }
    with Orchestrator(settings, say=say) as orchestrator:
        definition, version = _find(what, orchestrator)
        given = read_parameters(params, param or (), version)
        if lines is None:
            ids = [orchestrator.submit(definition, given, execution_id=execution_id, request_id=request_id, **wishes)]
        else:
            ids = submit_lines(lines, definition, orchestrator, common=given, request_id=request_id, **wishes)
    print_ids(ids)


@app.command()
def kill(
    execution_id: Annotated[str | None, typer.Argument(metavar="EXECUTION", help="Its id.", show_default=False)] = None,
    *,
    task: Annotated[
        int | None, typer.Option("--task", metavar="N", help="End this task alone; the execution goes on.")
    ] = None,
    wanted: Annotated[
        str | None, typer.Option("--filter", metavar="EXPR", help="All live ones that fit; 'state:*' is every one.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what --filter would kill.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask before --filter kills.")] = False,
    message: Annotated[str | None, typer.Option("--message", "-m", metavar="TEXT", help="Why; it is kept.")] = None,
    actor: Actor = None,
    rolls_back: Annotated[bool, typer.Option("--rollback", help="Undo what has a rollback first.")] = False,
    as_json: AsJson = False,
    include: Include = None,
    timeout_s: Timeout = None,
    home: Home = None,
) -> None:
    """End an execution and everything below it. Each is CANCELLED once no code of it runs: seconds at most.

    With --task it ends that task and what only leads on from it. The rest goes on: without a configured broker this
    command goes on with it, and shows it until it ends or waits. With --filter it ends all that fit.
    """
    if (execution_id is None) == (wanted is None):
        raise InvalidValue("kill", "both" if execution_id else "neither", "an EXECUTION or a --filter")
    if wanted is not None:
        from orchestrator.cli.kill_many import kill_by_filter

        if task is not None:
            raise InvalidValue("--task", "a --filter", "an EXECUTION")
        kill_by_filter(
            wanted,
            message=message,
            actor=actor,
            rolls_back=rolls_back,
            dry_run=dry_run,
            yes=yes,
            as_json=as_json,
            home=home,
        )
        return
    if dry_run:
        raise InvalidValue("--dry-run", "an EXECUTION", "a --filter")
    assert execution_id is not None
    settings = read_settings(home, include)
    if task is None:
        _kill_one(execution_id, settings, message=message, actor=actor, rolls_back=rolls_back, as_json=as_json)
    elif rolls_back:
        raise InvalidValue("--rollback", "--task as well", "one of them: a task is not undone alone")
    else:
        _kill_task(execution_id, task, settings, message=message, actor=actor, timeout_s=timeout_s, as_json=as_json)


def _kill_one(
    execution_id: str, settings: Settings, *, message: str | None, actor: str | None, rolls_back: bool, as_json: bool
) -> None:
    from orchestrator.client import Orchestrator

    with Orchestrator(settings, say=say) as orchestrator:
        execution = orchestrator.kill(execution_id, message=message, actor=actor, rolls_back=rolls_back)
    if as_json:
        print_json(execution.to_document())
    else:
        follow(iter([execution]), make_console())


def _kill_task(
    execution_id: str,
    task: int,
    settings: Settings,
    *,
    message: str | None,
    actor: str | None,
    timeout_s: float | None,
    as_json: bool,
) -> None:
    def end_task(orchestrator: Orchestrator) -> str:
        execution = orchestrator.kill(execution_id, task=task, message=message, actor=actor)
        return f"task {task} of execution {execution_id}: {_end_of(execution.task(task).state)}"

    act_and_go_on(execution_id, settings, end_task, timeout_s=timeout_s, as_json=as_json)


def _end_of(state: TaskState) -> str:
    return state.value if state.is_final else f"{state}, and being ended"


@app.command()
def release(
    execution_id: ExecutionId,
    task: Annotated[int, typer.Argument(metavar="TASK", help="Its number.", show_default=False)],
    *,
    actor: Actor = None,
    as_json: AsJson = False,
    include: Include = None,
    concurrency: Concurrency = None,
    timeout_s: Timeout = None,
    home: Home = None,
) -> None:
    """Let a task run again that killed its workers and is in quarantine for that.

    Without a configured broker the command goes on with the execution, and shows it until it ends or waits again.
    """

    def run_again(orchestrator: Orchestrator) -> str:
        orchestrator.release(execution_id, task, actor=actor)
        return f"task {task} of execution {execution_id} is released"

    settings = read_settings(home, include, concurrency=concurrency)
    act_and_go_on(execution_id, settings, run_again, timeout_s=timeout_s, as_json=as_json)


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
