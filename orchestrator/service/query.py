"""Looking at executions: rows folded into the ``Execution`` that people and programs see.

Task states, attempts and snapshots are built from the history alone; live attempts add what runs right now. A reader
may be asked again and again for the same tree: it then reads only what is new.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum

from orchestrator.engine.decide import decide
from orchestrator.engine.decisions import Decision
from orchestrator.engine.events import Started
from orchestrator.engine.plan import TRIGGER, Plan
from orchestrator.engine.progress import Progress
from orchestrator.model.execution import AttemptView, Execution, Snapshot, TaskView
from orchestrator.model.history import Entry, EntryKind
from orchestrator.model.states import TaskState
from orchestrator.model.values import Value
from orchestrator.service.plans import Plans
from orchestrator.service.start import with_system_variables
from orchestrator.store.queries import ExecutionQueries
from orchestrator.store.rows import LiveAttempt, Method, StoredExecution


class Snapshots(StrEnum):
    """Which snapshots to build. All of them take time and room in proportion to tasks times parameters."""

    NONE = "none"
    LAST = "last"
    ALL = "all"


class TreeReader:
    """Reads one execution and everything below it."""

    def __init__(self, queries: ExecutionQueries, plans: Plans, *, snapshots: Snapshots = Snapshots.LAST) -> None:
        self._queries, self._plans, self._snapshots = queries, plans, snapshots
        self._folds: dict[str, _Fold] = {}

    def read(self, execution_id: str) -> Execution:
        """The execution as it is now.

        Raises:
            ExecutionNotFound: there is none.
        """
        with self._queries.at_one_moment() as queries:  # or a state would not fit the tasks that it stands for
            tree = queries.tree(execution_id)
            self._catch_up(tree, queries)
            live = queries.live([each.id for each in tree if not each.state.is_final])
        return self._assemble(tree, live)

    def shallow(self, stored: StoredExecution) -> Execution:
        """A row that was read already, without what is below it."""
        self._catch_up([stored], self._queries)
        live = {} if stored.state.is_final else self._queries.live([stored.id])
        return self._execution(stored, live.get(stored.id, {}), ())

    def _catch_up(self, tree: Sequence[StoredExecution], queries: ExecutionQueries) -> None:
        for each in tree:
            if each.id not in self._folds:
                self._folds[each.id] = self._begin(each)
        behind = {e.id: known for e in tree if (known := self._folds[e.id].revision) < e.revision}
        for execution_id, entries in queries.entries(behind).items():
            for entry in entries:
                self._folds[execution_id].add(entry)

    def _begin(self, stored: StoredExecution) -> _Fold:
        """Where the history starts: what the start decided is not in it, and follows from the request alone."""
        plan = self._plans.get(stored.version_id, stored.trigger_id)
        if stored.is_start_recorded:
            return _Fold(plan, Decision(progress=Progress()), parameters=dict(stored.request), keep=self._snapshots)
        is_sync = stored.method is Method.POST
        parameters = with_system_variables(stored.request, is_sync=is_sync)
        started = decide(plan, Progress(), Started(), parameters=parameters, is_sync=is_sync)
        return _Fold(plan, started, parameters=dict(stored.request), keep=self._snapshots)

    def _assemble(self, tree: Sequence[StoredExecution], live: dict[str, dict[int, LiveAttempt]]) -> Execution:
        """Children before parents, so that every execution is built once, however deep the tree."""
        children: dict[str, list[Execution]] = defaultdict(list)
        for each in reversed(tree[1:]):
            built = self._execution(each, live.get(each.id, {}), tuple(reversed(children.pop(each.id, []))))
            assert each.parent is not None, "only the first of a tree has no parent in it"
            children[each.parent.execution_id].append(built)
        return self._execution(tree[0], live.get(tree[0].id, {}), tuple(reversed(children[tree[0].id])))

    def _execution(
        self, stored: StoredExecution, live: dict[int, LiveAttempt], children: tuple[Execution, ...]
    ) -> Execution:
        fold = self._folds[stored.id]
        return Execution(
            id=stored.id,
            project=stored.project,
            location=stored.location,
            integration=stored.integration,
            trigger_id=stored.trigger_id,
            method=stored.method.value,
            state=stored.state,
            created_at=stored.created_at,
            updated_at=stored.updated_at,
            ended_at=stored.ended_at,
            request=stored.request,
            response=stored.response,
            error=stored.error,
            snapshot_number=self._plans.snapshot_number(stored.version_id),
            tasks=tuple(_with_live(task, live.get(task.number)) for task in fold.tasks.values()),
            snapshots=fold.taken(),
            children=children,
            parent_id=None if stored.parent is None else stored.parent.execution_id,
            parent_task=None if stored.parent is None else stored.parent.number,
        )


@dataclass(slots=True)
class _Fold:
    """The history of one execution, folded so far."""

    plan: Plan
    started: Decision
    parameters: dict[str, Value]
    keep: Snapshots
    revision: int = 0
    request: dict[str, Value] = field(init=False)
    tasks: dict[int, TaskView] = field(init=False)
    edges: dict[tuple[int, int], bool] = field(init=False)
    snapshots: list[Snapshot] = field(default_factory=list)
    latest: Entry | None = None  # the checkpoint whose snapshot is still to be built
    began: dict[int, datetime] = field(default_factory=dict)  # attempts that wait for sub-executions

    def __post_init__(self) -> None:
        self.tasks = {
            number: TaskView(number=number, type=task.config.task, name=task.config.display_name or task.config.task)
            for number, task in self.plan.tasks.items()
        }
        for number, state in self.started.states.items():
            self.tasks[number] = replace(self.tasks[number], state=state)
        self.request = self.parameters
        self.edges = _between_tasks(self.started.edges)

    def add(self, entry: Entry) -> None:
        """Apply the next entry."""
        if not entry.kind.is_checkpoint:
            self._build()  # before what happens now: it is no part of that snapshot
        self.revision += 1
        if entry.kind is EntryKind.RESTARTED:
            self.parameters, self.edges = self.request, {}
        for number, state in entry.states.items():
            self.tasks[number] = replace(self.tasks[number], state=state)
        if entry.parameters:
            self.parameters = {**self.parameters, **entry.parameters}
        self.edges.update(_between_tasks(entry.edges))
        if entry.kind is EntryKind.CHILDREN_STARTED:
            self.began.setdefault(entry.task_number, entry.started_at)
        if entry.kind.ends_attempt:
            self._end_attempt(entry)
        if entry.kind.is_checkpoint:
            self.latest = entry
            if self.keep is Snapshots.ALL:
                self._build()

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

    def taken(self) -> tuple[Snapshot, ...]:
        """The snapshots to show."""
        self._build()
        return tuple(self.snapshots)

    def _build(self) -> None:
        """Build the latest snapshot if that is still to be done; each one costs as much as there are tasks."""
        if self.keep is Snapshots.LAST and self.latest is not None:
            self.snapshots.clear()
        if self.keep is not Snapshots.NONE and self.latest is not None:
            self.snapshots.append(self._snapshot(self.latest))
        self.latest = None

    def _snapshot(self, entry: Entry) -> Snapshot:
        return Snapshot(
            task_number=entry.task_number,
            task_attempt=entry.attempt,
            taken_at=entry.ended_at,
            parameters=self.parameters,
            tasks=tuple(self.tasks.values()),
            edges=dict(self.edges),
        )


def _between_tasks(edges: Mapping[tuple[int, int], bool]) -> dict[tuple[int, int], bool]:
    """Without those that come from the trigger or from an error catcher."""
    return {edge: result for edge, result in edges.items() if edge[0] > TRIGGER}


def _with_live(task: TaskView, live: LiveAttempt | None) -> TaskView:
    """A task that a worker has claimed runs, and its attempt has begun."""
    if live is None or live.started_at is None:
        return task
    attempt = AttemptView(attempt=live.key.attempt, started_at=live.started_at, worker=live.worker or "")
    is_rollback = task.state in (TaskState.PENDING_ROLLBACK, TaskState.ROLLBACK_IN_PROCESS)
    state = TaskState.ROLLBACK_IN_PROCESS if is_rollback else TaskState.IN_PROCESS
    return replace(task, state=state, attempts=(*task.attempts, attempt))
