"""Folding: the history of one execution, entry by entry, into its tasks, attempts, parameters and snapshots.

The entries say what changed. Where they begin, two things are known without them: the plan, and, of an execution whose
start followed from its request alone, what that start decided.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum

from orchestrator.engine.decide import decide
from orchestrator.engine.decisions import Decision
from orchestrator.engine.events import Started
from orchestrator.engine.plan import TRIGGER, Plan
from orchestrator.engine.progress import Progress
from orchestrator.model.history import Entry, EntryKind
from orchestrator.model.snapshots import AttemptView, Snapshot, TaskView
from orchestrator.model.states import TaskState
from orchestrator.model.values import Value
from orchestrator.service.start import with_system_variables
from orchestrator.store.kinds import Hold, Method, ParentLink
from orchestrator.store.rows import StoredExecution


class Snapshots(StrEnum):
    """Which snapshots to build. All of them take time and room in proportion to tasks times parameters."""

    NONE = "none"
    LAST = "last"
    ALL = "all"


def first_decision(stored: StoredExecution, plan: Plan) -> Decision:
    """What the start decided, if that is not in the history."""
    if stored.is_start_recorded:
        return Decision(progress=Progress())
    is_sync = stored.method is Method.POST
    parameters = with_system_variables(stored.request, is_sync=is_sync)
    return decide(plan, Progress(), Started(), parameters=parameters, is_sync=is_sync)


def begin_fold(
    stored: StoredExecution,
    plan: Plan,
    *,
    ancestors: tuple[ParentLink, ...] = (),
    snapshots: Snapshots = Snapshots.NONE,
    with_parameters: bool = True,
    is_wanted: Callable[[int, Entry], bool] = lambda index, entry: True,  # noqa: ARG005
) -> Fold:
    """A fold before the first entry.

    Args:
        stored: the execution; of what changes, nothing is taken from it.
        plan: its plan.
        ancestors: for a sub-execution, how it came to be, from the root down.
        snapshots: which to build.
        with_parameters: False leaves them out of snapshots.
        is_wanted: which of all snapshots, by index and entry.
    """
    started = first_decision(stored, plan)
    tasks = {
        number: TaskView(number=number, type=task.config.task, name=task.config.display_name or task.config.task)
        for number, task in plan.tasks.items()
    }
    for number, state in started.states.items():
        tasks[number] = replace(tasks[number], state=state)
    return Fold(
        integration=stored.integration,
        request=dict(stored.request),
        parameters=dict(stored.request),
        tasks=tasks,
        edges=_between_tasks(started.edges),
        run_began_at=stored.created_at,
        ancestors=ancestors,
        keep=snapshots,
        with_parameters=with_parameters,
        is_wanted=is_wanted,
    )


@dataclass(slots=True)
class Fold:
    """What is known after ``revision`` entries."""

    integration: str
    request: Mapping[str, Value]
    parameters: Mapping[str, Value]
    tasks: dict[int, TaskView]
    edges: dict[tuple[int, int], bool]
    run_began_at: datetime
    ancestors: tuple[ParentLink, ...]
    keep: Snapshots
    with_parameters: bool
    is_wanted: Callable[[int, Entry], bool]
    revision: int = 0
    snapshots: list[Snapshot] = field(default_factory=list)
    checkpoints: int = 0
    latest: Entry | None = None  # the checkpoint whose snapshot is still to be built
    began: dict[int, datetime] = field(default_factory=dict)  # attempts that wait for sub-executions
    earlier_runs: list[AttemptView] = field(default_factory=list)
    last_ended_at: datetime | None = None

    def add(self, entry: Entry) -> None:
        """Apply the next entry."""
        if not entry.kind.is_checkpoint:
            self._build()  # before what happens now: it is no part of that snapshot
        self.revision += 1
        if entry.kind is EntryKind.RESTARTED:
            self._begin_again()
        if entry.kind in (EntryKind.STARTED, EntryKind.RESTARTED):
            self.run_began_at = entry.ended_at
        is_taken_over = entry.kind is EntryKind.REPLAYED
        for number, state in entry.states.items():
            is_reused = is_taken_over and state is not TaskState.SKIPPED
            self.tasks[number] = replace(self.tasks[number], state=state, is_reused=is_reused)
        if entry.parameters:
            self.parameters = {**self.parameters, **entry.parameters}
        self.edges.update(_between_tasks(entry.edges))
        if entry.kind is EntryKind.CHILDREN_STARTED:
            self.began.setdefault(entry.task_number, entry.started_at)
        if entry.kind.ends_attempt:
            self._end_attempt(entry)
        if entry.kind.is_checkpoint:
            self._check(entry)

    def taken(self) -> tuple[Snapshot, ...]:
        """The snapshots that were asked for, as far as there are any."""
        self._build()
        return tuple(self.snapshots)

    def runs(self, stored: StoredExecution) -> tuple[AttemptView, ...]:
        """The attempts of the execution as a whole: one more for each restart."""
        is_to_come = stored.hold is Hold.SCHEDULED and not stored.state.is_final
        began_at = stored.scheduled_at if is_to_come else self.run_began_at
        this_one = AttemptView(
            attempt=len(self.earlier_runs) + 1, started_at=began_at, ended_at=stored.ended_at, error=stored.error
        )
        return (*self.earlier_runs, this_one)

    def _begin_again(self) -> None:
        held = next((task for task in self.tasks.values() if task.state is TaskState.RETRY_ON_HOLD), None)
        ended = AttemptView(
            attempt=len(self.earlier_runs) + 1,
            started_at=self.run_began_at,
            ended_at=self.last_ended_at,
            error=held.attempts[-1].error if held is not None and held.attempts else None,
        )
        self.earlier_runs.append(ended)
        self.parameters, self.edges = self.request, {}

    def _end_attempt(self, entry: Entry) -> None:
        attempt = AttemptView(
            attempt=entry.attempt,
            started_at=self.began.pop(entry.task_number, entry.started_at),
            ended_at=entry.ended_at,
            worker=entry.worker,
            error=entry.error,
        )
        task = self.tasks[entry.task_number]
        self.tasks[entry.task_number] = replace(task, attempts=(*task.attempts, attempt))
        self.last_ended_at = entry.ended_at

    def _check(self, entry: Entry) -> None:
        """This was a checkpoint. The last snapshot alone is not built before it is known to be the last."""
        self.checkpoints += 1
        if self.keep is Snapshots.LAST:
            self.latest = entry
        elif self.keep is Snapshots.ALL and self.is_wanted(self.checkpoints - 1, entry):
            self.snapshots.append(self._snapshot(entry))

    def _build(self) -> None:
        """Build the last snapshot if that is still to be done; each one costs as much as there are tasks."""
        if self.latest is not None:
            self.snapshots[:] = [self._snapshot(self.latest)]
            self.latest = None

    def _snapshot(self, entry: Entry) -> Snapshot:
        checkpoint = self.tasks[entry.task_number]
        return Snapshot(
            index=self.checkpoints - 1,
            kind=entry.kind,
            integration=self.integration,
            task_number=entry.task_number,
            task_type=checkpoint.type,
            task_name=checkpoint.name,
            execution_attempt=len(self.earlier_runs) + 1,
            task_attempt=entry.attempt,
            taken_at=entry.ended_at,
            ancestor_tasks=tuple(link.number for link in self.ancestors),
            ancestor_iterations=tuple(link.position + 1 for link in self.ancestors),
            parameters=self.parameters if self.with_parameters else {},
            tasks=tuple(self.tasks.values()),
            edges=dict(self.edges),
        )


def _between_tasks(edges: Mapping[tuple[int, int], bool]) -> dict[tuple[int, int], bool]:
    """Without those that come from the trigger or from an error catcher."""
    return {edge: result for edge, result in edges.items() if edge[0] > TRIGGER}
