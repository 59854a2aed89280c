"""Commands about suspensions: what waits for an answer, and answering it."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import typer

from orchestrator.cli.app import app, print_json, say
from orchestrator.cli.arguments import AsJson, Concurrency, ExecutionId, Home, Include, Timeout, read_settings
from orchestrator.cli.definitions import act_and_go_on
from orchestrator.cli.executions import is_unused
from orchestrator.cli.printing import make_console
from orchestrator.errors import InvalidValue

if TYPE_CHECKING:
    from collections.abc import Callable

    from orchestrator.client import Orchestrator
    from orchestrator.model.json_text import Json
    from orchestrator.settings import Settings
    from orchestrator.store.suspensions import Suspension

Task = Annotated[
    str, typer.Option("--task", metavar="N", help="Which task's; not needed if only one waits. TASK-ATTEMPT will do.")
]
Actor = Annotated[str | None, typer.Option("--actor", metavar="NAME", help="Who answers; default: you.")]


@app.command()
def suspensions(
    is_all: Annotated[bool, typer.Option("--all", help="Also what has its answer, and what the clock ends.")] = False,
    limit: Annotated[int, typer.Option("--limit", metavar="N", min=1, help="At most so many.")] = 50,
    as_json: AsJson = False,
    home: Home = None,
) -> None:
    """List what waits for an answer, the oldest first: a table on a terminal, lines with tabs elsewhere."""
    from orchestrator.client import Orchestrator
    from orchestrator.store.kinds import SuspensionState

    settings, found = read_settings(home), []
    if not is_unused(settings):
        with Orchestrator(settings, say=say) as orchestrator:
            state = None if is_all else SuspensionState.PENDING
            found = orchestrator.suspensions.list(state=state, with_timers=is_all, limit=limit)
    if as_json:
        print_json({"suspensions": [_to_document(each) for each in found]})
    elif found:
        _print(found)
    else:
        say("nothing was suspended yet" if is_all else "nothing waits for an answer")


@app.command()
def lift(
    execution_id: ExecutionId,
    *,
    task: Task = "",
    result: Annotated[
        str | None, typer.Option("--result", metavar="JSON", help="What the task is told, instead of true.")
    ] = None,
    actor: Actor = None,
    as_json: AsJson = False,
    include: Include = None,
    concurrency: Concurrency = None,
    timeout_s: Timeout = None,
    home: Home = None,
) -> None:
    """Let a suspended execution go on: yes to the question that it asks.

    Without a configured broker the command goes on with the execution, and shows it until it ends or waits again.
    """
    data = _parse_result(result)
    settings = read_settings(home, include, concurrency=concurrency)
    _answer(
        execution_id,
        settings,
        lambda orchestrator: orchestrator.suspensions.lift(execution_id, data, name=task, actor=actor),
        timeout_s=timeout_s,
        as_json=as_json,
    )


@app.command()
def resolve(
    execution_id: ExecutionId,
    *,
    approve: Annotated[bool, typer.Option("--lift/--reject", help="Yes, or no.", show_default=False)],
    task: Task = "",
    actor: Actor = None,
    as_json: AsJson = False,
    include: Include = None,
    concurrency: Concurrency = None,
    timeout_s: Timeout = None,
    home: Home = None,
) -> None:
    """Say yes or no to a suspended execution. A no fails a task that asks no question, but only waits.

    Without a configured broker the command goes on with the execution, and shows it until it ends or waits again.
    """
    settings = read_settings(home, include, concurrency=concurrency)
    _answer(
        execution_id,
        settings,
        lambda orchestrator: orchestrator.suspensions.resolve(execution_id, approve=approve, name=task, actor=actor),
        timeout_s=timeout_s,
        as_json=as_json,
    )


def _answer(
    execution_id: str,
    settings: Settings,
    answer: Callable[[Orchestrator], Suspension],
    *,
    timeout_s: float | None,
    as_json: bool,
) -> None:
    def act(orchestrator: Orchestrator) -> str:
        answered = answer(orchestrator)
        return f"suspension {answered.id} of execution {execution_id}: {answered.state} by {answered.resolver}"

    act_and_go_on(execution_id, settings, act, timeout_s=timeout_s, as_json=as_json)


def _parse_result(text: str | None) -> Json:
    from orchestrator.model.json_text import parse_json_text

    if text is None:
        return None
    try:
        return parse_json_text(text, "--result")
    except InvalidValue as error:
        raise InvalidValue("--result", error.found, """JSON; a text stands in quotes: '"like this"'""") from None


# -- showing -------------------------------------------------------------------------------------------------------


def _print(found: list[Suspension]) -> None:
    from rich.table import Table
    from rich.text import Text

    console = make_console()
    if not console.is_terminal:
        for each in found:
            typer.echo("\t".join(_columns(each)))
        return
    table = Table(box=None, pad_edge=False)
    for name in ("EXECUTION", "TASK", "STATE", "SINCE", "UNTIL", "INTEGRATION", "WHO", "MESSAGE"):
        table.add_column(name, no_wrap=name in {"EXECUTION", "STATE"}, overflow="fold")
    for each in found:
        table.add_row(*map(Text, _columns(each)))
    console.print(table)


def _columns(each: Suspension) -> list[str]:
    from orchestrator.cli.render import clean

    who = each.resolver or ", ".join(each.who_may_resolve) or "-"
    times = (_shown_time(each.created_at), _shown_time(each.expires_at))
    return [each.execution_id, each.id, each.state.value, *times, *map(clean, (each.integration, who, each.message))]


def _shown_time(time: datetime | None) -> str:
    return "-" if time is None else time.isoformat(sep=" ", timespec="seconds").removesuffix("+00:00")


def _to_document(each: Suspension) -> dict[str, object]:
    from orchestrator.model.values import to_value

    return {
        "execution": each.execution_id,
        "integration": each.integration,
        "name": each.id,
        "taskId": str(each.task_number),
        "state": each.state.value,
        "isTimer": each.is_timer,
        "message": each.message,
        "whoMayResolve": list(each.who_may_resolve),
        "createTime": each.created_at.isoformat(),
        "expireTime": each.expires_at and each.expires_at.isoformat(),
        "resolver": each.resolver,
        "resolveTime": each.resolved_at and each.resolved_at.isoformat(),
        "result": None if each.result is None else to_value(each.result),
        "reminders": each.reminders,
    }
