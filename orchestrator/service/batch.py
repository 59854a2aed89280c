"""A batch: results of one claimed execution that are decided and not written yet, and what writing them takes.

It stands on what the database said, takes results one by one, and turns into one ``Commit``. If somebody else moved
the execution on in the meantime, ``rebase`` decides its results again on what is there now. What this worker holds and
what no longer fits is noted as late; a light task that ran ahead of the commit and is not ready any more, or ready in
somebody else's hands, never began.

Knows no database and runs no code: ``drive`` does the first, ``perform`` the second.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import chain
from typing import Final

from orchestrator.engine.decide import decide_in_place
from orchestrator.engine.decisions import Decision, Dispatch
from orchestrator.engine.events import ChildrenStarted, Failed, Returned, Stopped, Succeeded, Suspended, TaskOutcome
from orchestrator.engine.plan import Plan
from orchestrator.engine.progress import pack, unpack
from orchestrator.model.history import Entry, EntryKind
from orchestrator.model.states import TaskState
from orchestrator.model.timers import TimerKind
from orchestrator.model.values import Value
from orchestrator.service.perform import Result
from orchestrator.service.start import (
    new_attempt,
    runs_sync,
    signal_of,
    to_due,
    to_outcome,
    with_system_variables,
)
from orchestrator.store.changes import Commit, Due, NewExecution, NewSuspension, Wait
from orchestrator.store.kinds import AttemptKey
from orchestrator.store.rows import Claimed, NewChunk, StoredExecution


class Batch:
    """What one worker knows and has not written of one execution."""

    def __init__(self, claimed: Claimed, plan: Plan, *, kept: Iterable[Dispatch] = ()) -> None:
        """``kept``: what this worker is to run in line from the beginning, where it did not claim one task alone."""
        self._plan, self._worker, self._executor = plan, claimed.worker, claimed.executor
        self._held = {claimed.key.number: claimed.key}  # live attempts whose row names this worker
        self._kept = {each.number: each for each in kept}  # those of them that are light and still to be run in line
        self._results: list[Result] = []
        self.rebase(claimed.execution, claimed.parameters)

    def __len__(self) -> int:
        return len(self._results)

    def is_to_end(self, number: int) -> bool:
        """Whether the code of this task is not to run: it was killed, or its execution waits for what runs to end."""
        status = self._progress.status(number)
        return status.is_killed or (self._progress.stopping is not None and not status.is_rolling_back)

    def is_rolling_back(self, number: int) -> bool:
        """Whether what this worker holds is the rollback of the task."""
        return self._progress.status(number).is_rolling_back

    def next_in_line(self) -> Dispatch | None:
        """A light task that this worker goes on with: kept from an earlier commit, or ready since."""
        waiting = {wait.number for wait in self._waits}
        for each in chain(self._kept.values(), filter(self._is_mine, self._ready.values())):
            if each.number not in self._over and each.number not in waiting:
                return each
        return None

    def _is_mine(self, dispatch: Dispatch) -> bool:
        task = self._plan.tasks[dispatch.number]
        return task.is_light and not dispatch.is_rollback and task.config.executor_id in (None, self._executor)

    def rebase(self, stored: StoredExecution, parameters: dict[str, Value]) -> None:
        """Stand on what the database says now; decide the results again on top of it."""
        self.stored = stored
        self._progress = unpack(self._plan, stored.progress, stored.state)
        self._is_sync = runs_sync(stored.method, self._progress)
        self.parameters = with_system_variables(parameters, is_sync=self._is_sync)
        self._clear_batch()
        results, self._results = self._results, []
        for result in results:
            if self._is_held(result.event):
                self._results.append(result)
                self._decide(result)

    def _is_held(self, event: TaskOutcome) -> bool:
        """Whether the attempt's row names this worker, or will with this batch: then nobody else can run it."""
        held = self._held.get(event.number) or self._ready.get(event.number)
        return held is not None and held.attempt == event.attempt

    def _clear_batch(self) -> None:
        self._entries: list[Entry] = []
        self._changed: dict[str, Value] = {}
        self._ready: dict[int, Dispatch] = {}
        self._over: set[int] = set()
        self._given_back: set[int] = set()
        self._waits: list[Wait] = []
        self._children: list[NewExecution] = []
        self._chunks: list[NewChunk] = []
        self._timers: list[Due] = []
        self._dropped: list[int] = []
        self._suspensions: list[NewSuspension] = []
        self._decision: Decision | None = None

    def add(self, result: Result) -> None:
        """Decide one more result."""
        self._results.append(result)
        self._decide(result)

    def _decide(self, result: Result) -> None:
        if self._progress.status(result.event.number).is_killed:
            result = _ended(result)
        elif self._progress.stopping is not None and (result.children or result.chunks):
            result = _without_children(result)
        event, was_rollback = result.event, self.is_rolling_back(result.event.number)
        decision = decide_in_place(self._plan, self._progress, event, parameters=self.parameters, is_sync=self._is_sync)
        self._entries.append(_entry(result, decision, worker=self._worker, was_rollback=was_rollback))
        if result.wait is None or decision.is_late:
            self._over.add(event.number)
            self._ready.pop(event.number, None)
        if decision.is_late:
            return
        if isinstance(event, Returned) and decision.progress.status(event.number).is_active:
            self._given_back.add(event.number)
        self._decision, self._progress = decision, decision.progress
        self._changed.update(decision.parameters)
        self._children.extend(result.children)
        self._chunks.extend(result.chunks)
        if result.wait is not None:
            self._waits.append(result.wait)
        self._ready.update({each.number: each for each in decision.dispatch})
        self._timers.extend(to_due(decision.timers))
        self._dropped.extend(decision.dropped)
        if result.suspension is not None and decision.states.get(event.number) is TaskState.SUSPENDED:
            self._suspensions.append(result.suspension)
            self._timers.extend(result.timers)

    def to_commit(self) -> Commit:
        """What writing the results takes."""
        progress, stored = self._progress, self.stored
        waiting = {wait.number for wait in self._waits}
        ready = []
        for each in self._ready.values():
            is_kept = each.number in waiting or self._is_mine(each)
            worker = self._worker if is_kept else None
            ready.append(new_attempt(self._plan, each, executor=stored.executor, worker=worker))
        is_over = progress.state.is_final and self._decision is not None
        ended = self._over - self._given_back
        return Commit(
            execution=stored,
            worker=self._worker,
            state=progress.state,
            progress=pack(self._plan, progress),
            entries=tuple(self._entries),
            signal=signal_of(progress),
            parameters=self._changed,
            released=tuple(key for number, key in self._held.items() if number in ended),
            given_back=tuple(key for number, key in self._held.items() if number in self._given_back),
            waits=tuple(self._waits),
            ready=tuple(ready),
            children=tuple(self._children),
            chunks=tuple(self._chunks),
            timers=tuple(self._timers),
            fired_timers=tuple(
                (kind, number)
                for number in self._over - self._ready.keys()  # a new attempt's timer takes the old one's place
                for kind in self._timeouts_of(number)
            ),
            dropped=tuple(self._dropped),
            suspensions=tuple(self._suspensions),
            outcome=to_outcome(self._plan, self._decision, self.parameters) if is_over and self._decision else None,
        )

    def _timeouts_of(self, number: int) -> Iterator[TimerKind]:
        """The timers that an attempt of this task may have left."""
        config = self._plan.tasks[number].config
        if config.timeout_ms is not None:
            yield TimerKind.TIMEOUT
        if config.queue_timeout_ms is not None:
            yield TimerKind.QUEUE

    def stand_on(self, change: Commit) -> None:
        """The commit is written: what follows builds on it."""
        waiting = {wait.number for wait in change.waits}
        for number in self._over | waiting:
            self._held.pop(number, None)
            self._kept.pop(number, None)
        for each in change.ready:
            if each.worker is not None and each.number not in waiting:
                self._kept[each.number] = Dispatch(number=each.number, attempt=each.attempt)
                self._held[each.number] = AttemptKey(
                    execution_id=self.stored.id, number=each.number, attempt=each.attempt
                )
        revision = self.stored.revision + len(change.entries)
        self.stored = replace(
            self.stored, revision=revision, state=change.state, progress=change.progress, signal=change.signal
        )
        self._results = []
        self._clear_batch()


def _without_children(result: Result) -> Result:
    """The execution began to stop while the task decided to start sub-executions: they do not begin."""
    stopped = Stopped(number=result.event.number, attempt=result.event.attempt, was_running=True)
    return replace(result, event=stopped, children=(), chunks=(), wait=None, details=None)


def _ended(result: Result) -> Result:
    """The task was killed while its code ran. What would have come of it is kept for people."""
    if isinstance(result.event, Stopped):
        return result
    stopped = Stopped(number=result.event.number, attempt=result.event.attempt, was_running=True)
    outcome = {"outcome": _KINDS[type(result.event)].value}
    return Result(event=stopped, started_at=result.started_at, ended_at=result.ended_at, details=outcome)


_KINDS: Final[dict[type[TaskOutcome], EntryKind]] = {
    Succeeded: EntryKind.SUCCEEDED,
    Failed: EntryKind.FAILED,
    Suspended: EntryKind.SUSPENDED,
    ChildrenStarted: EntryKind.CHILDREN_STARTED,
    Stopped: EntryKind.STOPPED,
    Returned: EntryKind.RETURNED,
}


def _kind(event: TaskOutcome, decision: Decision, *, was_rollback: bool) -> EntryKind:
    if decision.is_late:
        return EntryKind.LATE
    if not was_rollback or isinstance(event, ChildrenStarted | Returned):
        return _KINDS[type(event)]
    return EntryKind.ROLLED_BACK if isinstance(event, Succeeded) else EntryKind.ROLLBACK_FAILED


def _entry(result: Result, decision: Decision, *, worker: str, was_rollback: bool) -> Entry:
    event = result.event
    return Entry(
        kind=_kind(event, decision, was_rollback=was_rollback),
        task_number=event.number,
        attempt=event.attempt,
        started_at=result.started_at,
        ended_at=result.ended_at,
        worker=worker,
        states=decision.states,
        edges=decision.edges,
        parameters=decision.parameters,
        error=event.error if isinstance(event, Failed) else None,
        details=result.details or {},
    )
