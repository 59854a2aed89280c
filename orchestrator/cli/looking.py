"""Commands that look into executions: snapshots, logs, why."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from orchestrator.cli.app import app, print_json, say
from orchestrator.cli.arguments import AsJson, ExecutionId, Home, read_settings
from orchestrator.cli.executions import is_unused
from orchestrator.errors import ExecutionNotFound, InvalidValue

if TYPE_CHECKING:
    from orchestrator.client import Orchestrator
    from orchestrator.service.snapshots import Checkpoint

Task = Annotated[int | None, typer.Argument(metavar="TASK", help="The number of a task.", show_default=False)]
_CHECKPOINT: Final = re.compile(r"(?P<task>[0-9]{1,18})-(?P<attempt>[0-9]{1,18})|(?P<index>-?[0-9]{1,18})")


@app.command()
def snapshots(
    execution_id: ExecutionId,
    *,
    task: Annotated[int | None, typer.Option("--task", metavar="N", help="Only those at this task.")] = None,
    no_parameters: Annotated[bool, typer.Option("--no-parameters", help="Without the parameters.")] = False,
    diff: Annotated[
        tuple[str, str] | None,
        typer.Option("--diff", metavar="A B", help="What differs: two of 0, 1, -1 (the last), or TASK-ATTEMPT."),
    ] = None,
    as_json: AsJson = False,
    home: Home = None,
) -> None:
    """Show an execution after each of its checkpoints, or what differs between two of them."""
    from orchestrator.cli import telling

    compared = None if diff is None else [_parse_checkpoint(text) for text in diff]
    with _looking(execution_id, home) as orchestrator:
        if compared is not None:
            found = orchestrator.difference(execution_id, *compared)
            _print(found.to_document(), telling.difference_lines(found), as_json=as_json)
            return
        taken = orchestrator.snapshots(execution_id, task=task, with_parameters=not no_parameters)
    document = {"executionSnapshots": [each.to_document() for each in taken]}
    _print(document, telling.snapshot_lines(taken), as_json=as_json)


@app.command()
def logs(
    execution_id: ExecutionId,
    task: Task = None,
    *,
    tracebacks: Annotated[bool, typer.Option("--tracebacks", help="With the tracebacks of errors.")] = False,
    as_json: AsJson = False,
    home: Home = None,
) -> None:
    """Show what happened to an execution, or to one task of it, in order."""
    from orchestrator.cli import telling
    from orchestrator.service.fold import Snapshots

    with _looking(execution_id, home) as orchestrator:
        entries = orchestrator.history(execution_id, task=task)
        execution = orchestrator.get(execution_id, snapshots=Snapshots.NONE, with_children=False)
    document = {"execution": execution_id, "entries": [entry.to_json() for entry in entries]}
    _print(document, telling.log_lines(execution, entries, tracebacks=tracebacks), as_json=as_json)


@app.command()
def why(execution_id: ExecutionId, task: Task = None, *, as_json: AsJson = False, home: Home = None) -> None:
    """Say why an execution stands as it does, and why each of its tasks does."""
    from orchestrator.cli import telling

    with _looking(execution_id, home) as orchestrator:
        found = orchestrator.explain(execution_id, task)
    document = {"explanations": [each.to_document() for each in found]}
    _print(document, telling.explanation_lines(found), as_json=as_json)


@contextmanager
def _looking(execution_id: str, home: Path | None) -> Iterator[Orchestrator]:
    """The database of a home that has one."""
    from orchestrator.client import Orchestrator

    settings = read_settings(home)
    if is_unused(settings):
        raise ExecutionNotFound(execution_id)
    with Orchestrator(settings, say=say) as orchestrator:
        yield orchestrator


def _parse_checkpoint(text: str) -> Checkpoint:
    parts = _CHECKPOINT.fullmatch(text)
    if parts is None:
        raise InvalidValue("--diff", repr(text), "an index such as 0 or -1, or TASK-ATTEMPT")
    return int(parts["index"]) if parts["index"] else (int(parts["task"]), int(parts["attempt"]))


def _print(document: Mapping[str, object], lines: Iterable[str], *, as_json: bool) -> None:
    if as_json:
        print_json(document)
        return
    for line in lines:
        typer.echo(line)
