"""Looking at executions: rows folded into the ``Execution`` that people and programs see.

Task states, attempts and snapshots are built from the history alone (``service.fold``); live attempts add what runs
right now. A reader may be asked again and again for the same tree: it then reads only what is new.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from orchestrator.model.execution import Execution
from orchestrator.model.snapshots import AttemptView, TaskView
from orchestrator.model.states import TaskState
from orchestrator.service.fold import Fold, Snapshots, begin_fold
from orchestrator.service.plans import Plans
from orchestrator.store.kinds import ParentLink, Phase
from orchestrator.store.queries import ExecutionQueries
from orchestrator.store.rows import LiveAttempt, StoredExecution


class TreeReader:
    """Reads one execution and everything below it."""

    def __init__(
        self,
        queries: ExecutionQueries,
        plans: Plans,
        *,
        snapshots: Snapshots = Snapshots.LAST,
        with_parameters: bool = True,
    ) -> None:
        self._queries, self._plans = queries, plans
        self._snapshots, self._with_parameters = snapshots, with_parameters
        self._folds: dict[str, Fold] = {}

    def read(self, execution_id: str) -> Execution:
        """The execution as it is now.

        Raises:
            ExecutionNotFound: there is none.
        """
        with self._queries.at_one_moment() as queries:  # or a state would not fit the tasks that it stands for
            tree = queries.tree(execution_id)
            self._catch_up(tree, queries)
            live = queries.live([each.id for each in tree if not each.state.is_final])
            relatives = _replays(tree[0], queries)
        return replace(self._assemble(tree, live), **relatives)

    def read_alone(self, execution_id: str) -> Execution:
        """Likewise, without what is below it.

        Raises:
            ExecutionNotFound: there is none.
        """
        with self._queries.at_one_moment() as queries:
            stored = queries.one(execution_id)
            self._catch_up([stored], queries)
            live = queries.live([] if stored.state.is_final else [stored.id])
            relatives = _replays(stored, queries)
        return replace(self._execution(stored, live.get(stored.id, {}), ()), **relatives)

    def shallow(self, stored: StoredExecution) -> Execution:
        """A row that was read already, without what is below it."""
        self._catch_up([stored], self._queries)
        live = {} if stored.state.is_final else self._queries.live([stored.id])
        return self._execution(stored, live.get(stored.id, {}), ())

    def _catch_up(self, tree: Sequence[StoredExecution], queries: ExecutionQueries) -> None:
        for each in tree:
            if each.id not in self._folds:
                self._folds[each.id] = self._begin(each, queries)
        behind = {e.id: known for e in tree if (known := self._folds[e.id].revision) < e.revision}
        for execution_id, entries in queries.entries(behind).items():
            for entry in entries:
                self._folds[execution_id].add(entry)

    def _begin(self, stored: StoredExecution, queries: ExecutionQueries) -> Fold:
        return begin_fold(
            stored,
            self._plans.get(stored.version_id, stored.trigger_id),
            ancestors=self._ancestors(stored, queries),
            snapshots=self._snapshots,
            with_parameters=self._with_parameters,
        )

    def _ancestors(self, stored: StoredExecution, queries: ExecutionQueries) -> tuple[ParentLink, ...]:
        """What a snapshot tells of them. A parent in the tree is read before its children."""
        if stored.parent is None or self._snapshots is Snapshots.NONE:
            return ()
        above = self._folds.get(stored.parent.execution_id)
        return (*above.ancestors, stored.parent) if above is not None else tuple(queries.ancestors(stored.id))

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
            attempts=fold.runs(stored),
            tasks=tuple(with_live(task, live.get(task.number)) for task in fold.tasks.values()),
            snapshots=fold.taken(),
            children=children,
            parent_id=None if stored.parent is None else stored.parent.execution_id,
            parent_task=None if stored.parent is None else stored.parent.number,
            replay_of=None if stored.replay is None else stored.replay.of,
            replay_mode="" if stored.replay is None else stored.replay.mode,
            replay_reason="" if stored.replay is None else stored.replay.reason,
            submitted_by=stored.submitted_by,
        )


def _replays(stored: StoredExecution, queries: ExecutionQueries) -> dict[str, Any]:
    """What repeats an execution, and whether what it repeats itself is still there."""
    is_gone = stored.replay is not None and not queries.is_there(stored.replay.of)
    return {"replays": queries.replays_of(stored.id), "is_original_gone": is_gone}


def with_live(task: TaskView, live: LiveAttempt | None) -> TaskView:
    """A task that a worker has claimed runs, and its attempt has begun. One that a worker gave back waits again."""
    if live is None or live.started_at is None or (live.worker is None and live.phase is Phase.RUN):
        return task
    attempt = AttemptView(attempt=live.key.attempt, started_at=live.started_at, worker=live.worker or "")
    is_rollback = task.state in (TaskState.PENDING_ROLLBACK, TaskState.ROLLBACK_IN_PROCESS)
    state = TaskState.ROLLBACK_IN_PROCESS if is_rollback else TaskState.IN_PROCESS
    return replace(task, state=state, attempts=(*task.attempts, attempt))
