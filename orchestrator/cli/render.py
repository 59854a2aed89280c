"""How executions look to people: a live tree on a terminal, plain lines elsewhere, a table for lists.

One walk through an execution (``rows``) feeds both forms. A fan-out shows its first sub-executions and sums up the
rest, so ten thousand of them take eleven rows, and a plain log grows by at most eleven lines for the rest.

Names and messages come from definitions and from the outside: they are never read as markup, and whatever could move a
terminal's cursor is shown as ``?``.

Must not: read a clock (``now`` is handed in), ask for executions, or decide on exit codes.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import islice
from typing import Final

from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from orchestrator.model.execution import Execution
from orchestrator.model.json_text import Json
from orchestrator.model.snapshots import TaskView
from orchestrator.model.states import FINAL_EXECUTION_STATES, ExecutionState, TaskState

MAX_CHILDREN: Final = 10  # sub-executions of one task that are shown one by one
MAX_TASKS: Final = 40  # tasks of one execution in a tree; a plain log has no such limit
MAX_LEVELS: Final = 50  # of sub-executions; deeper ones are not shown
MAX_VALUE: Final = 2_000  # characters of one response parameter
_STYLES: Final = {
    "SUCCEEDED": "green", "SUCCEED": "green", "FAILED": "bold red", "FATAL": "bold red", "CANCELLED": "magenta",
    "PROCESSING": "cyan", "IN_PROCESS": "cyan", "RETRY_ON_HOLD": "yellow", "SUSPENDED": "yellow", "SKIPPED": "dim",
    "PENDING": "dim", "PENDING_EXECUTION": "dim", "PENDING_ROLLBACK": "yellow", "ROLLBACK_IN_PROCESS": "yellow",
    "ROLLEDBACK": "magenta",
}  # fmt: skip
_SETTLED: Final = frozenset({"SUCCEEDED", "SUCCEED", "SKIPPED", "CANCELLED", "ROLLEDBACK", "PENDING_EXECUTION"})


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One line of a tree.

    Attributes:
        path: what it stands below, without the top: ``("task 2", "sub-execution 1")``.
        level: 0 for the top, 1 for its tasks, 2 for what those have started.
        label: what it is: ``task 3 'Charge card'``.
        state: of the execution or the task; empty for a line that sums up.
        facts: ``attempt 1, 0.03 s``.
        mark: a plain log gets a new line for this row whenever its mark changes; None is never logged.
        error: why it failed.
    """

    path: tuple[str, ...]
    level: int
    label: str
    state: str = ""
    facts: str = ""
    mark: object = None
    error: str = ""

    @property
    def is_execution(self) -> bool:
        """Whether this is an execution: they alternate with tasks."""
        return self.level % 2 == 0 and bool(self.state)


# -- the walk ------------------------------------------------------------------------------------------------------


def rows(
    execution: Execution, *, now: datetime | None = None, levels: int = MAX_LEVELS, max_tasks: int | None = None
) -> Iterator[Row]:
    """The lines of an execution: itself, its tasks, and below each task the sub-executions it has started.

    Args:
        execution: the top.
        now: for the durations of what still runs; None leaves them out.
        levels: how many levels of sub-executions to show; what is below the last one is summed up.
        max_tasks: how many tasks of one execution to show; None for all.
    """
    yield _execution_row(execution, (), f"execution of {clean(execution.integration)!r}", now=now)
    yield from _below(execution, (), now=now, levels=levels, max_tasks=max_tasks)


def _execution_row(execution: Execution, path: tuple[str, ...], label: str, *, now: datetime | None) -> Row:
    ended_at = execution.ended_at or (None if execution.state is ExecutionState.PENDING else now)
    seconds = (ended_at - execution.created_at).total_seconds() if ended_at else None
    is_news = not path or execution.state is not ExecutionState.PENDING
    return Row(
        path=path,
        level=len(path) + 1 if path else 0,
        label=label,
        state=execution.state.value,
        facts=", ".join(filter(None, [_seconds(seconds), *([] if path else _names(execution))])),
        mark=execution.state if is_news else None,
        error=clean(execution.error.message) if path and execution.error else "",
    )


def _names(execution: Execution) -> Iterator[str]:
    yield execution.id
    if execution.replay_of:
        yield f"replay of {execution.replay_of}{', which was deleted' if execution.is_original_gone else ''}"


def _below(
    execution: Execution, path: tuple[str, ...], *, now: datetime | None, levels: int, max_tasks: int | None
) -> Iterator[Row]:
    started: dict[int | None, list[Execution]] = defaultdict(list)
    for child in execution.children:
        started[child.parent_task].append(child)
    shown, hidden = _split(sorted(execution.tasks, key=lambda task: task.number), max_tasks)
    for task in shown:
        yield _task_row(task, path, now=now)
        children = started.get(task.number, [])
        below = (*path, f"task {task.number}")
        for position, child in enumerate(children[:MAX_CHILDREN] if levels else (), 1):
            label = f"sub-execution {position} of {clean(child.integration)!r}"
            yield _execution_row(child, below, label, now=now)
            inner = (*below, f"sub-execution {position}")
            yield from _below(child, inner, now=now, levels=levels - 1, max_tasks=max_tasks)
        if rest := children[MAX_CHILDREN if levels else 0 :]:
            what = "... and {:,} more" if levels else "{:,} sub-executions"
            yield _rest_row((child.state for child in rest), below, what=what)
    if hidden:
        yield _rest_row((task.state for task in hidden), path, what="... and {:,} more tasks")


def _split(tasks: Sequence[TaskView], most: int | None) -> tuple[Sequence[TaskView], Sequence[TaskView]]:
    """The tasks to show, in order: where there are too many, those first that run, wait or failed."""
    if most is None or len(tasks) <= most:
        return tasks, ()
    chosen = {task.number for task in islice((task for task in tasks if task.state not in _SETTLED), most)}
    chosen |= {task.number for task in islice((t for t in tasks if t.number not in chosen), most - len(chosen))}
    return [t for t in tasks if t.number in chosen], [t for t in tasks if t.number not in chosen]


def _task_row(task: TaskView, path: tuple[str, ...], *, now: datetime | None) -> Row:
    last = task.attempts[-1] if task.attempts else None
    seconds = task.duration_s
    if seconds is None and last is not None and last.started_at and last.ended_at is None and now:
        seconds = (now - last.started_at).total_seconds()
    facts = [f"attempt {last.attempt}", *filter(None, [_seconds(seconds)])] if last else []
    facts += ["reused"] if task.is_reused else []
    is_news = task.state is not TaskState.PENDING_EXECUTION
    return Row(
        path=path,
        level=len(path) + 1,
        label=f"task {task.number} {clean(task.name)!r}",
        state=task.state.value,
        facts=", ".join(facts),
        mark=(task.state, last.attempt if last else 0) if is_news else None,
        error=clean(last.error.message) if last and last.error else "",
    )


def _rest_row(states: Iterable[str], path: tuple[str, ...], *, what: str) -> Row:
    counts = Counter(str(state) for state in states)
    total, settled = counts.total(), sum(counts[state] for state in _SETTLED | {"FAILED"})
    return Row(
        path=path,
        level=len(path) + 1,
        label=f"{what.format(total)}: " + ", ".join(f"{count:,} {state}" for state, count in counts.most_common()),
        mark=settled * 10 // total,  # so a log gets a line for every tenth of them, not for each
    )


# -- forms ---------------------------------------------------------------------------------------------------------


def to_tree(execution: Execution, *, now: datetime | None = None, max_rows: int = 200) -> Tree:
    """A tree of at most about ``max_rows`` rows: as many levels as fit."""
    chosen: list[Row] = []
    for levels in range(MAX_LEVELS + 1):
        walk = rows(execution, now=now, levels=levels, max_tasks=min(MAX_TASKS, max_rows))
        found = list(islice(walk, max_rows + 1))
        if chosen and (len(found) > max_rows or len(found) == len(chosen)):
            break
        chosen = found
    tree = Tree(to_text(chosen[0], no_wrap=False))  # the id has to be there, on two lines if need be
    branches = [tree]
    for row in chosen[1:]:
        del branches[row.level :]
        branches.append(branches[-1].add(to_text(row)))
    return tree


def to_text(row: Row, *, no_wrap: bool = True) -> Text:
    """A row in colours."""
    text = Text(row.label, no_wrap=no_wrap, overflow="ellipsis")
    if row.state:
        text.append(" ").append(row.state, style=_STYLES.get(row.state, ""))
    if row.facts:
        text.append(f" ({row.facts})", style="dim")
    if row.error:
        text.append(f": {row.error}", style="red")
    return text


def to_line(row: Row) -> str:
    """A row that stands alone, so with its path."""
    line = " > ".join([*row.path, row.label])
    if row.state:
        line += f" {row.state}"
    if row.facts:
        line += f" ({row.facts})"
    return f"{line}: {row.error}" if row.error else line


@dataclass(slots=True)
class PlainLog:
    """What is new, line by line: one line for each change of a state."""

    _seen: dict[tuple[str, ...], object] = field(default_factory=dict)

    def news(self, execution: Execution) -> Iterator[str]:
        """The lines of what has changed since the last call; everything in the first."""
        for row in _ends_last(rows(execution)):
            # A label that sums up changes with every count: its mark says which one it is.
            key = (*row.path, row.label if row.state else "...")
            if row.mark is not None and self._seen.get(key) != row.mark:
                self._seen[key] = row.mark
                yield to_line(row)


def _ends_last(walk: Iterable[Row]) -> Iterator[Row]:
    """An execution that is over comes after what is below it: in a log, an end stands at the end."""
    held: list[Row] = []
    for row in walk:
        while held and row.level <= held[-1].level:
            yield held.pop()
        if row.state in FINAL_EXECUTION_STATES and row.is_execution:
            held.append(row)
        else:
            yield row
    yield from reversed(held)


def to_table(executions: Iterable[Execution]) -> Table:
    """A list for a terminal."""
    table = Table(box=None, pad_edge=False)
    for name in ("EXECUTION", "STATE", "CREATED", "DURATION", "INTEGRATION", "TRIGGER"):
        table.add_column(name, no_wrap=name in {"EXECUTION", "STATE", "CREATED"}, overflow="fold")
    for each in executions:
        execution_id, state, *others = map(Text, _columns(each))
        state.stylize(_STYLES.get(state.plain, ""))
        table.add_row(execution_id, state, *others)
    return table


def to_tabs(executions: Iterable[Execution]) -> Iterator[str]:
    """A list for a program: one line an execution, columns separated by tabs, no headings."""
    return ("\t".join(_columns(each)) for each in executions)


def _columns(execution: Execution) -> list[str]:
    ended_at = execution.ended_at
    return [
        execution.id,
        execution.state.value,
        execution.created_at.isoformat(sep=" ", timespec="seconds").removesuffix("+00:00"),
        _seconds((ended_at - execution.created_at).total_seconds()) if ended_at else "-",
        clean(execution.integration),
        clean(execution.trigger_id),
    ]


# -- the end -------------------------------------------------------------------------------------------------------


def to_outcome(execution: Execution) -> Iterator[str]:
    """How it ended: the response parameters, then what failed or what is waited for."""
    for key, data in execution.outputs.items():
        yield f"{clean(key)} = {shown(data)}"
    match execution.state:
        case ExecutionState.FAILED:
            yield from failure(execution)
        case ExecutionState.SUSPENDED:
            yield from waiting(execution)


def failure(execution: Execution) -> Iterator[str]:
    """Which task failed and why, from the top down to where it came from."""
    place = ""
    for _ in range(MAX_LEVELS):
        error = execution.error
        task = next((t for t in execution.tasks if error and t.number == error.task_number), None)
        where = f"{place}task {task.number} {clean(task.name)!r}" if task else f"{place}the execution"
        yield f"{where} FAILED: {clean(error.message)} ({clean(str(error.code))})" if error else f"{where} FAILED"
        children = [child for child in execution.children if task and child.parent_task == task.number]
        failed = next((c for c in enumerate(children, 1) if c[1].state is ExecutionState.FAILED), None)
        if failed is None or task is None:
            return
        place += f"task {task.number} > sub-execution {failed[0]} > "
        execution = failed[1]


def waiting(execution: Execution) -> Iterator[str]:
    """The tasks that wait for a person or an outside system."""
    for row in rows(execution):
        if row.state == TaskState.SUSPENDED and not row.is_execution:
            yield f"{' > '.join([*row.path, row.label])} waits for a person or an outside system"


# -- text ----------------------------------------------------------------------------------------------------------


def clean(text: str) -> str:
    """Text of others on one line, with nothing in it that a terminal would obey."""
    return "".join(char if char.isprintable() else "?" for char in " ".join(text.split()))


def _seconds(seconds: float | None) -> str:
    """``0.03 s``, ``12.3 s``, ``3 min 20 s``, ``2 h 05 min``; empty for None."""
    if seconds is None:
        return ""
    seconds = max(0.0, seconds)  # the database's clock and ours may differ a little
    if seconds < 59.95:
        return f"{seconds:.2f} s" if seconds < 9.995 else f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02} min"


def shown(data: Json) -> str:
    """Data as short JSON."""
    text = clean(json.dumps(data, ensure_ascii=False))
    return text if len(text) <= MAX_VALUE else f"{text[:MAX_VALUE]}... ({len(text):,} characters; --json has them all)"
