"""Siblings: the sub-executions of one chunk, each run from its start to its end in memory, or made to be created.

They run like any executions that are claimed together (``ways``); only nobody claims their attempts, because nobody
else knows of one before it is over.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from orchestrator.engine.decide import decide
from orchestrator.engine.decisions import Decision
from orchestrator.engine.events import Started
from orchestrator.engine.progress import pack
from orchestrator.model.states import ExecutionState
from orchestrator.model.values import Value, parse_parameters
from orchestrator.service.perform import Performer, Result, child_ids
from orchestrator.service.services import Services
from orchestrator.service.start import NOTHING, new_execution, to_outcome, with_system_variables
from orchestrator.service.ways import End, Ways
from orchestrator.store.changes import EndedChild, NewExecution
from orchestrator.store.kinds import AttemptKey, Method, ParentLink
from orchestrator.store.rows import Claimed, ClaimedChunk, StoredExecution


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
        self._performer: Performer | None = None  # of the first one: that of the others differs little
        self._requests = json.loads(f"[{','.join(chunk.requests)}]")  # together, in a quarter of the time
        self._id_of = child_ids(chunk.key.execution_id, chunk.key.number, chunk.key.attempt)

    def ordinary(self, index: int) -> NewExecution:
        """One to be created like any other."""
        link = self._link(index)
        return new_execution(
            self._plan,
            self._request(index),
            execution_id=self._id_of(link.position),
            parent=link,
            **self._shared,
        )

    def run(self, index: int) -> EndedChild | NewExecution:
        """Run one to its end, or find that it needs more than this process."""
        end, chunk = self._to_end(index), self._claimed.chunk
        if end is None:
            return self.ordinary(index)
        position = chunk.key.first_position + index
        began_at = end.entries[0].started_at if end.entries else self._clock()
        return EndedChild(
            id=self._id_of(position),
            position=position,
            request=chunk.requests[index],
            progress=end.progress,
            outcome=end.outcome,
            entries=end.entries,
            began_at=began_at,
            ended_at=end.entries[-1].ended_at if end.entries else began_at,
        )

    def _to_end(self, index: int) -> End | None:
        """How one ends. Once the way is known nothing is made of it but what its tasks ask for."""
        request, results = self._request(index), list[Result]()
        start, progress = self._start if self._are_alike else self._decide_start(request)
        if start.progress.state.is_final:  # no start condition held
            outcome = to_outcome(self._plan, start, with_system_variables(request, is_sync=True))
            return End(progress=progress, outcome=outcome, entries=())
        if self._performer is not None and self._ways.leads_on(progress):
            performer = self._performer.of_sibling(self._id_of(self._claimed.chunk.key.first_position + index))
            end = self._ways.follow(performer, request, results, is_sync=True)
            if end is not None:
                return end
        claimed = self._claim(index, request=request, start=start, progress=progress)
        self._performer = self._ways.performer(claimed)
        return self._ways.find(self._performer, claimed, start.dispatch, results)

    @functools.cached_property
    def _start(self) -> tuple[Decision, str]:
        return self._decide_start({})

    def _decide_start(self, request: Mapping[str, Value]) -> tuple[Decision, str]:
        """The start, and the progress that it makes as text."""
        seen = with_system_variables(request, is_sync=True)
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
        return parse_parameters(self._requests[index], "stored parameters")

    def _claim(
        self,
        index: int,
        *,
        request: Mapping[str, Value],
        start: Decision,
        progress: str,
    ) -> Claimed:
        """What a claim of its start task would hand out."""
        chunk, link, at = self._claimed.chunk, self._link(index), self._clock()
        execution_id = self._id_of(link.position)
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
