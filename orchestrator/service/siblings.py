"""Siblings: the sub-executions of one chunk, each run from its start to its end in memory, or made to be created.

They run like any executions that are claimed together (``ways``); only nobody claims their attempts, because nobody
else knows of one before it is over.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from orchestrator.engine.decide import decide
from orchestrator.engine.decisions import Decision
from orchestrator.engine.events import Started
from orchestrator.engine.progress import pack
from orchestrator.model.states import ExecutionState
from orchestrator.model.values import Value
from orchestrator.service.perform import child_id
from orchestrator.service.services import Services
from orchestrator.service.start import NOTHING, new_execution, to_outcome, with_system_variables
from orchestrator.service.ways import End, Ways
from orchestrator.store.changes import EndedChild, NewExecution
from orchestrator.store.kinds import AttemptKey, Method, ParentLink
from orchestrator.store.rows import Claimed, ClaimedChunk, StoredExecution, load_parameters


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
        self._ways = Ways(self._plan, services, clock=clock)

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
            end: End | None = End(progress, to_outcome(self._plan, start, seen), ())
        else:
            claimed = self._claim(execution_id, link, request=request, start=start, progress=progress, at=began_at)
            end = self._ways.run(claimed, start.dispatch, [])
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
