"""How snapshots, the history and reasons look to people: plain lines, on a terminal as elsewhere.

Must not: ask for anything, or print. What comes from definitions and from the outside goes through ``clean``.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Final

from orchestrator.cli.render import clean
from orchestrator.model.execution import Execution
from orchestrator.model.explanation import Explanation
from orchestrator.model.history import Entry, EntryKind
from orchestrator.model.snapshots import Snapshot, SnapshotDifference
from orchestrator.model.values import Value

_MOST_SHOWN: Final = 200  # characters of a value
_MOST_TASKS: Final = 5  # that one line of a log names besides its own
_INDENT: Final = "    "
_KIND_WIDTH: Final = max(map(len, EntryKind))
_STATE_WIDTH: Final = len("ROLLBACK_IN_PROCESS")


def snapshot_lines(taken: Iterable[Snapshot]) -> Iterator[str]:
    """One line for each snapshot, and below it what it holds."""
    for each in taken:
        states = Counter(task.state.value for task in each.tasks)
        yield f"{each.index}  {_time(each.taken_at)}  {each.kind}  {_checkpoint(each)}"
        yield f"{_INDENT}tasks: {', '.join(f'{count} {state}' for state, count in states.items())}"
        yield from (f"{_INDENT}{clean(key)} = {_shown(value)}" for key, value in each.parameters.items())


def _checkpoint(snapshot: Snapshot) -> str:
    run = f", run {snapshot.execution_attempt}" if snapshot.execution_attempt > 1 else ""
    return f"task {snapshot.task_number} {clean(snapshot.task_name)!r} attempt {snapshot.task_attempt}{run}"


def difference_lines(found: SnapshotDifference) -> Iterator[str]:
    """What is otherwise in the second snapshot: parameters, then tasks, then edges."""
    names = {task.number: clean(task.name) for task in found.other.tasks}
    yield f"from snapshot {found.one.index}, {_checkpoint(found.one)}"
    yield f"to snapshot {found.other.index}, {_checkpoint(found.other)}"
    yield from (f"+ {clean(key)} = {_shown(value)}" for key, value in found.added.items())
    yield from (f"- {clean(key)} = {_shown(value)}" for key, value in found.removed.items())
    for key, (before, after) in found.changed.items():
        yield f"~ {clean(key)}: {_shown(before)} -> {_shown(after)}"
    for number, (was, is_now) in found.states.items():
        yield f"task {number} {names[number]!r}: {was} -> {is_now}"
    for (source, target), result in found.edges.items():
        yield f"edge from task {source} to task {target}: {'true' if result else 'false'}"


def log_lines(execution: Execution, entries: Sequence[Entry], *, tracebacks: bool) -> Iterator[str]:
    """One line for each entry, between those of the beginning and the end of the execution."""
    names = {task.number: clean(task.name) for task in execution.tasks}
    by = "" if execution.submitted_by is None else f"by {clean(execution.submitted_by)}"
    yield _line(execution.created_at, "execution created", [f"of {clean(execution.integration)!r}", by])
    for entry in entries:
        yield _line(entry.ended_at, entry.kind, _entry_facts(entry, names))
        if tracebacks and entry.error is not None and entry.error.traceback:
            yield from (f"{_INDENT}{_printable(line)}" for line in entry.error.traceback.splitlines())
    if execution.ended_at is not None:
        error = "" if execution.error is None else clean(execution.error.message)
        yield _line(execution.ended_at, "execution over", [str(execution.state), error])


def _line(at: datetime, kind: str, facts: Iterable[str]) -> str:
    return f"{_time(at)}  {kind:{_KIND_WIDTH}}  {', '.join(filter(None, facts))}".rstrip()


def _entry_facts(entry: Entry, names: Mapping[int, str]) -> Iterator[str]:
    if entry.task_number:
        yield f"task {entry.task_number} {names.get(entry.task_number, '')!r} attempt {entry.attempt}"
    if entry.worker:
        yield f"on {clean(entry.worker)}"
    if entry.actor:
        yield f"by {clean(entry.actor)}"
    yield from (f"{clean(key)}: {_cut(_text(content))}" for key, content in entry.details.items())
    if entry.error is not None:
        kind = f"{entry.error.type}: " if entry.error.type else ""
        yield f"{kind}{clean(entry.error.message)} ({clean(str(entry.error.code))})"
    others = [f"task {n} {state}" for n, state in sorted(entry.states.items()) if n != entry.task_number]
    if others:
        more = [f"{len(others) - _MOST_TASKS} more"] if len(others) > _MOST_TASKS else []
        yield f"so {', '.join([*others[:_MOST_TASKS], *more])}"


def explanation_lines(found: Iterable[Explanation]) -> Iterator[str]:
    """The state, and the sentence beside it."""
    return (f"{each.state:{_STATE_WIDTH}}  {clean(each.sentence)}" for each in found)


def _time(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(sep=" ", timespec="milliseconds").removesuffix("+00:00")


def _shown(value: Value) -> str:
    return _cut(json.dumps(value.python, ensure_ascii=False))


def _text(content: object) -> str:
    return content if isinstance(content, str) and content.isprintable() else json.dumps(content, ensure_ascii=False)


def _cut(text: str) -> str:
    text = clean(text)
    return text if len(text) <= _MOST_SHOWN else f"{text[:_MOST_SHOWN]}... ({len(text):,} characters)"


def _printable(line: str) -> str:
    """As ``clean``, with its indentation."""
    return "".join(char if char.isprintable() else "?" for char in line)
