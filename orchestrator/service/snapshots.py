"""Snapshots of one execution, what differs between two of them, and the history that they are built from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TypeAlias

from orchestrator.errors import StoreError
from orchestrator.model.history import Entry, EntryKind
from orchestrator.model.json_text import Json
from orchestrator.model.snapshots import Snapshot, SnapshotDifference, difference
from orchestrator.service.fold import Fold, Snapshots, begin_fold
from orchestrator.service.services import Services
from orchestrator.store.queries import ExecutionQueries

Checkpoint: TypeAlias = "int | tuple[int, int]"
"""Which snapshot: its index, counted from the end if it is negative; or a task and an attempt of it."""


class TaskNotFound(StoreError):
    """The execution has no task of this number."""

    def __init__(self, execution_id: str, number: int, known: Sequence[int]) -> None:
        super().__init__(execution_id, number, tuple(known))
        self.execution_id, self.number, self.known = execution_id, number, tuple(known)

    def __str__(self) -> str:
        known = ", ".join(map(str, self.known[:20])) + (", ..." if len(self.known) > 20 else "")
        return f"execution {self.execution_id} has no task {self.number}; it has: {known or 'none'}"


class SnapshotNotFound(StoreError):
    """The execution has no such snapshot."""

    def __init__(self, execution_id: str, wanted: str, count: int) -> None:
        super().__init__(execution_id, wanted, count)
        self.execution_id, self.wanted, self.count = execution_id, wanted, count

    def __str__(self) -> str:
        has = f"it has {self.count}, from 0" if self.count else "it has none yet"
        return f"execution {self.execution_id} has no snapshot {self.wanted}; {has}"


def read_snapshots(
    execution_id: str,
    services: Services,
    *,
    task: int | None = None,
    attempt: int | None = None,
    with_parameters: bool = True,
) -> tuple[Snapshot, ...]:
    """The snapshots of an execution, in order.

    Args:
        execution_id: of which execution.
        services: the stores.
        task: only those that were taken at this task.
        attempt: only those of this attempt; of the task, if one is named.
        with_parameters: False leaves the parameters out.

    Raises:
        ExecutionNotFound: there is none.
        TaskNotFound: it has no such task.
    """

    def is_wanted(index: int, entry: Entry) -> bool:  # noqa: ARG001 - one signature for all
        return task in (None, entry.task_number) and attempt in (None, entry.attempt)

    fold, entries = _begin(execution_id, services, with_parameters=with_parameters, is_wanted=is_wanted)
    _check_task(execution_id, fold, task)
    return _folded(fold, entries).taken()


def read_difference(execution_id: str, one: Checkpoint, other: Checkpoint, services: Services) -> SnapshotDifference:
    """What is otherwise in the second snapshot than in the first.

    Raises:
        ExecutionNotFound: there is none.
        SnapshotNotFound: it has no such snapshot.
    """
    wanted: set[int] = set()
    fold, entries = _begin(execution_id, services, is_wanted=lambda index, _: index in wanted)
    checkpoints = [(entry.task_number, entry.attempt) for entry in entries if entry.kind.is_checkpoint]
    indexes = [_to_index(execution_id, each, checkpoints) for each in (one, other)]
    wanted.update(indexes)
    taken = {each.index: each for each in _folded(fold, entries).taken()}
    return difference(*(taken[index] for index in indexes))


def read_history(execution_id: str, services: Services, *, task: int | None = None) -> tuple[Entry, ...]:
    """What happened to an execution, in order; to one task of it, and to the whole, if a task is named.

    Who killed it, and why, stands with the signal: it is filled in here.

    Raises:
        ExecutionNotFound: there is none.
        TaskNotFound: it has no such task.
    """
    fold, entries = _begin(execution_id, services)
    _check_task(execution_id, fold, task)
    wanted = (each for each in entries if task is None or each.task_number in (0, task) or task in each.states)
    return tuple(signed(execution_id, each, services) for each in wanted)


def signed(execution_id: str, entry: Entry, services: Services) -> Entry:
    """An entry, with who killed the execution, and why, if it tells of that."""
    if entry.kind is not EntryKind.KILLED or entry.actor:
        return entry
    audit = services.signals.last(execution_id)
    if audit is None:  # it was killed with an execution above it
        return entry
    message: dict[str, Json] = {"message": audit.message} if audit.message else {}
    return replace(entry, actor=audit.actor, details={**entry.details, **message})


def _begin(
    execution_id: str,
    services: Services,
    *,
    with_parameters: bool = True,
    is_wanted: Callable[[int, Entry], bool] = lambda index, entry: False,  # noqa: ARG005
) -> tuple[Fold, Sequence[Entry]]:
    """A fold before the first entry, and the entries."""
    with ExecutionQueries(services.store.database).at_one_moment() as queries:
        stored = queries.one(execution_id)
        ancestors = () if stored.parent is None else tuple(queries.ancestors(execution_id))
        entries = queries.entries({execution_id: 0}).get(execution_id, [])
    fold = begin_fold(
        stored,
        services.plans.get(stored.version_id, stored.trigger_id),
        ancestors=ancestors,
        snapshots=Snapshots.ALL,
        with_parameters=with_parameters,
        is_wanted=is_wanted,
    )
    return fold, entries


def _folded(fold: Fold, entries: Sequence[Entry]) -> Fold:
    for entry in entries:
        fold.add(entry)
    return fold


def _check_task(execution_id: str, fold: Fold, task: int | None) -> None:
    if task is not None and task not in fold.tasks:
        raise TaskNotFound(execution_id, task, sorted(fold.tasks))


def _to_index(execution_id: str, wanted: Checkpoint, checkpoints: Sequence[tuple[int, int]]) -> int:
    count = len(checkpoints)
    if isinstance(wanted, int):
        if -count <= wanted < count:
            return wanted % count
        raise SnapshotNotFound(execution_id, str(wanted), count)
    found = [index for index, checkpoint in enumerate(checkpoints) if checkpoint == tuple(wanted)]
    if not found:
        raise SnapshotNotFound(execution_id, "of task {}, attempt {}".format(*wanted), count)
    return found[-1]
