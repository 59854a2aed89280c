"""Siblings: the sub-executions of one chunk, each run from its start to its end in memory, or made to be created.

Each is decided and performed by what ``drive`` uses for any other execution, so its rows and its history are the same;
only nobody claims its attempts, because nobody else knows of it before it is over.

Where no edge of the plan has a condition, parameters decide nothing: all whose tasks SUCCEED go the same way, which is
decided for the first of them. The others perform its tasks and take over what was decided. One that leaves the way, by
a failure for instance, is decided like the first, from what it has performed so far; a test holds both to the same.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from orchestrator.engine.decide import decide
from orchestrator.engine.decisions import Decision
from orchestrator.engine.events import Started, Succeeded
from orchestrator.engine.progress import pack
from orchestrator.model.history import Entry, EntryKind, Outcome
from orchestrator.model.states import ExecutionState
from orchestrator.model.values import Value
from orchestrator.service.batch import Batch
from orchestrator.service.perform import Performer, Result, child_id
from orchestrator.service.services import Services
from orchestrator.service.start import NOTHING, new_execution, to_outcome, with_system_variables
from orchestrator.store.changes import EndedChild, NewExecution
from orchestrator.store.kinds import AttemptKey, Method, ParentLink
from orchestrator.store.rows import Claimed, ClaimedChunk, StoredExecution, load_parameters


@dataclass(frozen=True, slots=True)
class _End:
    """How one came to its end; of the first one whose tasks all SUCCEEDed it is the way of the others."""

    progress: str
    outcome: Outcome
    entries: tuple[Entry, ...]


class Siblings:
    """The sub-executions of one chunk, by their index in it. ``clock`` gives the database's time."""

    def __init__(self, claimed: ClaimedChunk, services: Services, *, clock: Callable[[], datetime]) -> None:
        chunk = claimed.chunk
        self._claimed, self._services, self._clock = claimed, services, clock
        self._plan = services.plans.get(chunk.version_id, chunk.trigger_id)
        self._shared: dict[str, Any] = {
            "version_id": chunk.version_id,
            "project": claimed.project,
            "location": claimed.location,
            "method": Method.POST,
            "executor": chunk.executor,
            "root_id": claimed.root_id,
            "priority": chunk.priority,
        }
        self._are_alike = all(edge.condition is None for edge in self._plan.edges)
        self._way: _End | None = None

    def ordinary(self, index: int) -> NewExecution:
        """One to be created like any other."""
        link = self._link(index)
        return new_execution(
            self._plan,
            self._request(index),
            execution_id=child_id(link.execution_id, link.number, link.attempt, link.position),
            parent=link,
            **self._shared,
        )

    def run(self, index: int) -> EndedChild | NewExecution:
        """Run one to its end, or find that it needs more than this process."""
        began_at, link, request = self._clock(), self._link(index), self._request(index)
        execution_id = child_id(link.execution_id, link.number, link.attempt, link.position)
        seen = with_system_variables(request, is_sync=True)
        start, progress = self._start if self._are_alike else self._decide_start(seen)
        if start.progress.state.is_final:  # no start condition held
            end: _End | None = _End(progress, to_outcome(self._plan, start, seen), ())
        else:
            claimed = self._claim(execution_id, link, request=request, start=start, progress=progress, at=began_at)
            end = self._run_tasks(claimed, start, seen)
        if end is None:
            return self.ordinary(index)
        return EndedChild(
            id=execution_id,
            position=link.position,
            request=self._claimed.chunk.requests[index],
            progress=end.progress,
            outcome=end.outcome,
            entries=end.entries,
            began_at=began_at,
            ended_at=self._clock(),
        )

    def _run_tasks(self, claimed: Claimed, start: Decision, seen: Mapping[str, Value]) -> _End | None:
        """Everything from the start to the end; None if there is more to it than light tasks."""
        performer = Performer(claimed, self._plan, self._services, clock=self._clock)
        results: list[Result] = []
        if self._way is not None:
            end = self._follow(self._way, performer, seen, results)
            if end is not None:
                return end
        batch = Batch(claimed, self._plan, kept=start.dispatch)
        for result in results:
            batch.add(result)
        while (ahead := batch.next_in_line()) is not None:
            batch.add(performer.perform(ahead.number, ahead.attempt, 0, parameters=batch.parameters))
        change = batch.to_commit()
        if change.outcome is None or change.children or change.chunks:
            return None
        end = _End(change.progress, change.outcome, change.entries)
        if self._are_alike and all(entry.kind is EntryKind.SUCCEEDED for entry in end.entries):
            self._way = end
        return end

    def _follow(self, way: _End, performer: Performer, seen: Mapping[str, Value], results: list[Result]) -> _End | None:
        """Perform the tasks of the way; None if one of them leaves it. ``results`` takes what came of each."""
        parameters, entries = dict(seen), []
        for step in way.entries:
            result = performer.perform(step.task_number, step.attempt, 0, parameters=parameters)
            results.append(result)
            if not isinstance(result.event, Succeeded) or result.children:
                return None
            parameters.update(result.event.outputs)
            entries.append(
                Entry(
                    kind=step.kind,
                    task_number=step.task_number,
                    attempt=step.attempt,
                    started_at=result.started_at,
                    ended_at=result.ended_at,
                    worker=step.worker,
                    states=step.states,
                    edges=step.edges,
                    parameters=result.event.outputs,
                    details=result.details or {},
                )
            )
        response = {key: value for key, value in parameters.items() if key in self._plan.output_keys}
        return _End(way.progress, Outcome(state=way.outcome.state, response=response), tuple(entries))

    @functools.cached_property
    def _start(self) -> tuple[Decision, str]:
        return self._decide_start({})

    def _decide_start(self, seen: Mapping[str, Value]) -> tuple[Decision, str]:
        """The start, and the progress that it makes as text."""
        start = decide(self._plan, NOTHING, Started(), parameters=seen, is_sync=True)
        return start, pack(self._plan, start.progress)

    def _link(self, index: int) -> ParentLink:
        key = self._claimed.chunk.key
        return ParentLink(
            execution_id=key.execution_id,
            number=key.number,
            attempt=key.attempt,
            round=key.round,
            position=key.first_position + index,
        )

    def _request(self, index: int) -> dict[str, Value]:
        return load_parameters(self._claimed.chunk.requests[index])

    def _claim(
        self,
        execution_id: str,
        link: ParentLink,
        *,
        request: Mapping[str, Value],
        start: Decision,
        progress: str,
        at: datetime,
    ) -> Claimed:
        """What a claim of its start task would hand out."""
        chunk = self._claimed.chunk
        stored = StoredExecution(
            id=execution_id,
            integration=self._claimed.integration,
            trigger_id=chunk.trigger_id,
            state=ExecutionState.PROCESSING,
            revision=0,
            progress=progress,
            request=request,
            response={},
            error=None,
            parent=link,
            created_at=at,
            updated_at=at,
            ended_at=None,
            signal=None,
            hold=None,
            is_start_recorded=False,
            is_limited=False,
            scheduled_at=None,
            deadline_at=None,
            request_id=None,
            replay=None,
            submitted_by=None,
            **self._shared,
        )
        first = start.dispatch[0]
        return Claimed(
            key=AttemptKey(execution_id=execution_id, number=first.number, attempt=first.attempt),
            worker=self._claimed.worker,
            executor=chunk.executor,
            execution=stored,
            parameters=dict(request),
            started_at=at,
            now=at,
            next_position=0,
            carry=None,
        )
