"""The command that repeats an execution: replay."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from orchestrator.cli.app import EXIT_CODES, app, print_json, say
from orchestrator.cli.arguments import AsJson, Concurrency, ExecutionId, Home, Include, read_settings
from orchestrator.cli.definitions import Param, Params, read_parameters, show_to_the_end
from orchestrator.cli.executions import is_unused
from orchestrator.errors import ExecutionNotFound

if TYPE_CHECKING:
    from orchestrator.engine.differences import Differences
    from orchestrator.model.values import Value
    from orchestrator.service.replay_preview import ReplayPreview, TaskPreview


@app.command()
def replay(
    execution_id: ExecutionId,
    *,
    from_failure: Annotated[
        bool, typer.Option("--from-failure", help="Only what failed or was not reached, and what follows that.")
    ] = False,
    param: Param = None,
    params: Params = None,
    only: Annotated[bool, typer.Option("--only", help="Leave the original parameters out.")] = False,
    published: Annotated[
        bool, typer.Option("--published", help="Run the version that is published now, not the original one.")
    ] = False,
    reason: Annotated[str, typer.Option("--reason", metavar="TEXT", help="Why; it is kept.")] = "",
    is_preview: Annotated[bool, typer.Option("--preview", help="Say what would run again, and start nothing.")] = False,
    as_json: AsJson = False,
    include: Include = None,
    concurrency: Concurrency = None,
    timeout_s: Annotated[
        float | None, typer.Option("--timeout", metavar="S", min=0, help="Give up waiting after so many seconds.")
    ] = None,
    home: Home = None,
) -> None:
    """Repeat an execution that is over, as a new one, and wait for its end.

    Exit code 0 SUCCEEDED, 1 FAILED or not possible, 2 invalid input, 3 CANCELLED, 4 SUSPENDED or in quarantine.
    """
    from orchestrator.client import Orchestrator
    from orchestrator.engine.replay import ReplayMode
    from orchestrator.runtime.children import signals_as_exit
    from orchestrator.service.replay import ReplayVersion

    settings = read_settings(home, include, concurrency=concurrency)
    if is_unused(settings):
        raise ExecutionNotFound(execution_id)
    mode = ReplayMode.POINT_OF_FAILURE if from_failure else ReplayMode.FROM_BEGINNING
    which = ReplayVersion.PUBLISHED if published else ReplayVersion.PINNED
    with signals_as_exit(), Orchestrator(settings, say=say) as orchestrator:
        version = orchestrator.version_of(execution_id, version=which)
        given = read_parameters(params, param or (), version)
        if is_preview:
            seen = orchestrator.preview_replay(execution_id, mode=mode, parameters=given, only=only, version=which)
            _print(seen, as_json=as_json)
            return
        started = orchestrator.replay(
            execution_id, mode=mode, parameters=given, only=only, version=which, reason=reason
        )
        execution = show_to_the_end(started, orchestrator, timeout_s=timeout_s, as_json=as_json)
    raise typer.Exit(EXIT_CODES[execution.state])


def _print(preview: ReplayPreview, *, as_json: bool) -> None:
    if as_json:
        print_json(preview.to_document())
        return
    for line in _lines(preview):
        typer.echo(line)


def _lines(preview: ReplayPreview) -> Iterator[str]:
    """What the replay would do; then what it would do otherwise than the original."""
    from orchestrator.cli.render import clean
    from orchestrator.engine.replay import ReplayMode

    where = "from the beginning" if preview.mode is ReplayMode.FROM_BEGINNING else "from its failure points"
    yield f"replay of {preview.execution_id} ({clean(preview.integration)!r}, {preview.state}) {where}"
    for task in preview.tasks:
        yield f"  task {task.number} {clean(task.name)!r} {_fate(task)}"
    before, after = preview.snapshot_numbers
    if before != after:
        yield f"runs version {after} of the definition; the original ran version {before}"
    yield from map(clean, _differences(preview.differences))
    for key, (old, new) in preview.inputs.items():
        yield f"parameter {clean(key)!r} is handed in otherwise: {_shown(old)} -> {_shown(new)}"


def _differences(differences: Differences) -> Iterator[str]:
    for number in differences.added:
        yield f"task {number} is added"
    for number in differences.removed:
        yield f"task {number} is removed"
    for number, keys in differences.changed.items():
        yield f"task {number} is changed: {', '.join(keys)}"
    yield from differences.others


def _fate(task: TaskPreview) -> str:
    from orchestrator.engine.replay import Reason

    if task.again is None:
        return f"is reused ({task.state})"
    verb = "may run" if task.again is Reason.CATCHES else "runs"
    return f"{verb}{' at once' if task.is_first else ''}: {task.again.value}"


def _shown(value: Value | None) -> str:
    from orchestrator.cli.render import shown

    return "nothing" if value is None else shown(value.python)
