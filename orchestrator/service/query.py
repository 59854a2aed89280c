"""Looking at executions: rows folded into the ``Execution`` that people and programs see.

Task states, attempts and snapshots are built from the history alone (``service.fold``); live attempts add what runs
right now. A reader may be asked again and again for the same tree: it then reads only what is new.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from orchestrator.model.execution import Execution, Facts
from orchestrator.model.snapshots import AttemptView, TaskView
from orchestrator.model.states import ExecutionState, TaskState
from orchestrator.service.fold import Fold, Snapshots, begin_fold
from orchestrator.service.plans import Plans
from orchestrator.store.facts import StoredFacts
from orchestrator.store.kinds import ParentLink, Phase
from orchestrator.store.queries import ExecutionQueries
from orchestrator.store.rows import LiveAttempt, StoredExecution


@dataclass(frozen=True, kw_only=True, slots=True)
class _Known:
    """What a look has found beside rows and histories."""

    live: Mapping[str, Mapping[int, LiveAttempt]]
    facts: StoredFacts | None


class TreeReader:
    """Reads one execution and everything below it."""

    def __init__(
        self,
        queries: ExecutionQueries,
        plans: Plans,
        *,
        snapshots: Snapshots = Snapshots.LAST,
        with_parameters: bool = True,
        with_history: bool = True,
        with_facts: bool = False,
    ) -> None:
        """Say what is to be read.

        Args:
            queries: where from.
            plans: of what is run.
            snapshots: which of them to build.
            with_parameters: False leaves the parameters out of snapshots.
            with_history: False leaves out tasks, attempts and snapshots, and reads rows alone.
            with_facts: True reads what lies beside rows and histories.
        """
        self._queries, self._plans = queries, plans
        self._snapshots, self._with_parameters = snapshots, with_parameters
        self._with_history, self._with_facts = with_history, with_facts
        self._folds: dict[str, Fold] = {}

    def read(self, execution_id: str) -> Execution:
        """The execution as it is now.

        Raises:
            ExecutionNotFound: there is none.
        """
        with self._queries.at_one_moment() as queries:  # or a state would not fit the tasks that it stands for
            tree = queries.tree(execution_id)
            known = self._look(tree, queries)
            relatives = _replays(tree[0], queries)
        return replace(self._assemble(tree, known), **relatives)

    def read_alone(self, execution_id: str) -> Execution:
        """Likewise, without what is below it.

        Raises:
            ExecutionNotFound: there is none.
        """
        with self._queries.at_one_moment() as queries:
            stored = queries.one(execution_id)
            known = self._look([stored], queries)
            relatives = _replays(stored, queries)
        return replace(self._execution(stored, known, ()), **relatives)

    def shallow(self, stored: StoredExecution) -> Execution:
        """A row that was read already, without what is below it."""
        return self._execution(stored, self._look([stored], self._queries), ())

    def page(self, rows: Sequence[StoredExecution]) -> list[Execution]:
        """Rows that were read already, without what is below them: as many statements for one as for hundreds.

        What they replay is taken to be there; what repeats them is told.
        """
        known = self._look(rows, self._queries)
        replays = self._queries.all_replays_of([each.id for each in rows])
        return [replace(self._execution(each, known, ()), replays=tuple(replays.get(each.id, ()))) for each in rows]

    def _look(self, stored: Sequence[StoredExecution], queries: ExecutionQueries) -> _Known:
        """What else is to be known of these executions, now."""
        facts = queries.facts(stored) if self._with_facts else None
        if not self._with_history:
            return _Known(live={}, facts=facts)
        self._catch_up(stored, queries)
        return _Known(live=queries.live([each.id for each in stored if not each.state.is_final]), facts=facts)

    def _catch_up(self, tree: Sequence[StoredExecution], queries: ExecutionQueries) -> None:
        new = [each for each in tree if each.id not in self._folds]
        ancestors = self._ancestors(new, queries)
        for each in new:
            self._folds[each.id] = self._begin(each, ancestors.get(each.id, ()))
        behind = {e.id: known for e in tree if (known := self._folds[e.id].revision) < e.revision}
        for execution_id, entries in queries.entries(behind).items():
            for entry in entries:
                self._folds[execution_id].add(entry)

    def _begin(self, stored: StoredExecution, ancestors: Sequence[ParentLink]) -> Fold:
        return begin_fold(
            stored,
            self._plans.get(stored.version_id, stored.trigger_id),
            ancestors=tuple(ancestors),
            snapshots=self._snapshots,
            with_parameters=self._with_parameters,
        )

    def _ancestors(
        self, new: Sequence[StoredExecution], queries: ExecutionQueries
    ) -> Mapping[str, Sequence[ParentLink]]:
        """What a snapshot tells of them. In a tree a parent is read before its children, so that no query is needed."""
        if self._snapshots is Snapshots.NONE:
            return {}
        above = {each: self._folds[each].ancestors for each in _parents(new) if each in self._folds}
        seen, alone = set(above), list[str]()
        for each in new:
            if each.parent is not None and each.parent.execution_id not in seen:
                alone.append(each.id)
            seen.add(each.id)
        far, found = queries.all_ancestors(alone), dict[str, Sequence[ParentLink]](above)
        for each in new:
            if each.parent is None:
                found[each.id] = ()
            else:
                found[each.id] = far[each.id] if each.id in far else (*found[each.parent.execution_id], each.parent)
        return found

    def _assemble(self, tree: Sequence[StoredExecution], known: _Known) -> Execution:
        """Children before parents, so that every execution is built once, however deep the tree."""
        children: dict[str, list[Execution]] = defaultdict(list)
        for each in reversed(tree[1:]):
            built = self._execution(each, known, tuple(reversed(children.pop(each.id, []))))
            assert each.parent is not None, "only the first of a tree has no parent in it"
            children[each.parent.execution_id].append(built)
        return self._execution(tree[0], known, tuple(reversed(children[tree[0].id])))

    def _execution(self, stored: StoredExecution, known: _Known, children: tuple[Execution, ...]) -> Execution:
        fold, live = self._folds.get(stored.id), known.live.get(stored.id, {})
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
            attempts=() if fold is None else fold.runs(stored),
            tasks=() if fold is None else tuple(with_live(each, live.get(each.number)) for each in fold.tasks.values()),
            snapshots=() if fold is None else fold.taken(),
            children=children,
            parent_id=None if stored.parent is None else stored.parent.execution_id,
            parent_task=None if stored.parent is None else stored.parent.number,
            replay_of=None if stored.replay is None else stored.replay.of,
            replay_mode="" if stored.replay is None else stored.replay.mode,
            replay_reason="" if stored.replay is None else stored.replay.reason,
            submitted_by=stored.submitted_by,
            facts=None if known.facts is None else self._facts(stored, known.facts),
        )

    def _facts(self, stored: StoredExecution, found: StoredFacts) -> Facts:
        above = () if stored.parent is None else (stored.parent.execution_id, stored.root_id)
        is_killed = stored.state is ExecutionState.CANCELLED
        reasons = [found.kill_messages.get(each, "") for each in (stored.id, *above) if is_killed]
        return Facts(
            version=self._plans.version(stored.version_id),
            version_state=found.version_states[stored.version_id],
            root_id=stored.root_id,
            request_id=stored.request_id,
            cancel_reason=next(filter(None, reasons), ""),
            next_at=found.next_at.get(stored.id),
        )


def _parents(new: Sequence[StoredExecution]) -> set[str]:
    return {each.parent.execution_id for each in new if each.parent is not None}


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
