"""Running a chunk: sub-executions one after another in memory, each from its start to its end, written in parts.

    claim -> (start -> light tasks -> end), for ``BATCH_S`` or until the last -> one commit -> the next part

Each is decided and performed by what ``drive`` uses for any other execution, so its rows and its history are the same;
only nobody claims its attempts, because nobody else knows of it before it is over. A crash loses one part at most,
whose tasks have no side effects and run again. One that turns out to need more than this process - a retry that waits,
a suspension - is dropped as it stands and created like any other in the same commit; there it begins again.

What must not happen: a transaction within the guard's watch, which may end what it watches at any place. One watch is
around a whole part: of a part that is cut off, what was over counts and the rest has not begun.
"""

from __future__ import annotations

import functools
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from orchestrator.engine.decide import decide
from orchestrator.engine.decisions import Decision
from orchestrator.engine.events import Started
from orchestrator.engine.progress import pack
from orchestrator.failpoints import failpoint
from orchestrator.model.states import ExecutionState
from orchestrator.model.values import Value
from orchestrator.service.apply import start_held
from orchestrator.service.batch import Batch
from orchestrator.service.drive import BATCH_S
from orchestrator.service.guarding import AttemptEnded, Watch
from orchestrator.service.patience import patiently
from orchestrator.service.perform import Performer, Wishes, child_id
from orchestrator.service.pursue import pursue
from orchestrator.service.services import Services
from orchestrator.service.start import (
    NOTHING,
    chunk_message,
    join_message,
    new_execution,
    start_messages,
    to_outcome,
    with_system_variables,
)
from orchestrator.store.rows import (
    AttemptKey,
    ChunkKey,
    Claimed,
    ClaimedChunk,
    EndedChild,
    Fired,
    Method,
    NewExecution,
    ParentLink,
    Refusal,
    StoredExecution,
    load_parameters,
)

log = logging.getLogger(__name__)


def drive_chunk(key: ChunkKey, *, worker: str, services: Services) -> bool:
    """Do what the message of a chunk asks for.

    Returns:
        False if there was nothing to claim and the message was dropped.
    """
    claimed = patiently(lambda is_again: services.chunks.claim(key, worker=worker, is_again=is_again))
    if claimed is None:
        log.info("message dropped: chunk claimed before, over, or not waited for any more", extra={"key": key})
        return False
    failpoint("claim.committed")
    _ChunkDrive(claimed, services).run()
    return True


def let_go(claimed: ClaimedChunk, services: Services, *, is_loss: bool = False, may_end: bool = True) -> bool:
    """Take a chunk from the process that holds it, and do what follows: another one takes it, or it is gone.

    Args:
        claimed: the chunk.
        services: the stores, and the way to the broker.
        is_loss: whether the process died of it, perhaps.
        may_end: False if its code may run on: what is being ended is left to it then.

    Returns:
        Whether the process held it.
    """
    key = claimed.chunk.key
    gone = services.chunks.let_go(key, worker=claimed.worker, is_loss=is_loss, may_end=may_end)
    if gone is None:
        return False
    messages = [chunk_message(claimed.chunk)] if gone.is_wanted else [*map(join_message, gone.fired)]
    if gone.is_stopping:
        pursue(key.execution_id, services, start=start_held)
    elif messages:
        services.publisher.publish(messages)
    return True


def unpack(claimed: ClaimedChunk, services: Services, *, may_end: bool) -> None:
    """Make what is left of a chunk executions like any other: one of them may have killed the workers that had it."""
    siblings = Siblings(claimed, services)
    rest = [siblings.ordinary(index) for index in range(claimed.done, len(claimed.chunk.requests))]
    fired = services.chunks.unpack(claimed, rest)
    if fired is None:  # it is not waited for any more
        let_go(claimed, services, may_end=may_end)
    else:
        services.publisher.publish([*start_messages(rest, services.types), *map(join_message, fired)])


class Siblings:
    """The sub-executions of one chunk, by their index in it."""

    def __init__(self, claimed: ClaimedChunk, services: Services) -> None:
        chunk = claimed.chunk
        self._claimed, self._services = claimed, services
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
        self._is_start_alike = all(edge.condition is None for edge in self._plan.start_edges)

    def ordinary(self, index: int) -> NewExecution:
        """One to be created like any other."""
        link = self._link(index)
        return new_execution(self._plan, self._request(index), execution_id=_id_of(link), parent=link, **self._shared)

    def run(self, index: int, *, clock: Callable[[], datetime]) -> EndedChild | NewExecution:
        """Run one to its end, or find that it needs more than this process.

        Args:
            index: which one.
            clock: gives the database's time.
        """
        began_at, link, request = clock(), self._link(index), self._request(index)
        seen = with_system_variables(request, is_sync=True)
        start = self._start if self._is_start_alike else self._decide_start(seen)
        end = functools.partial(
            EndedChild, id=_id_of(link), position=link.position, request=self._claimed.chunk.requests[index]
        )
        if start.progress.state.is_final:  # no start condition held
            outcome = to_outcome(self._plan, start, seen)
            return end(
                progress=pack(self._plan, start.progress),
                outcome=outcome,
                entries=(),
                began_at=began_at,
                ended_at=began_at,
            )
        batch = self._performed(self._claim(link, request, start, began_at), start, clock)
        change = batch.to_commit()
        if change.outcome is None:
            return self.ordinary(index)
        return end(
            progress=change.progress,
            outcome=change.outcome,
            entries=change.entries,
            began_at=began_at,
            ended_at=clock(),
        )

    def _performed(self, claimed: Claimed, start: Decision, clock: Callable[[], datetime]) -> Batch:
        """All light tasks of one, up to its end or to where it needs more."""
        batch = Batch(claimed, self._plan, kept=start.dispatch)
        performer = Performer(claimed, self._plan, self._services, clock=clock)
        while (ahead := batch.next_in_line()) is not None:
            batch.add(performer.perform(ahead.number, ahead.attempt, 0, parameters=batch.parameters))
        return batch

    @functools.cached_property
    def _start(self) -> Decision:
        """The start of all, where no condition tells them apart."""
        return self._decide_start({})

    def _decide_start(self, seen: Mapping[str, Value]) -> Decision:
        return decide(self._plan, NOTHING, Started(), parameters=seen, is_sync=True)

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

    def _claim(self, link: ParentLink, request: Mapping[str, Value], start: Decision, at: datetime) -> Claimed:
        """What a claim of its start task would hand out."""
        execution_id, chunk = _id_of(link), self._claimed.chunk
        stored = StoredExecution(
            id=execution_id,
            integration=self._claimed.integration,
            trigger_id=chunk.trigger_id,
            state=ExecutionState.PROCESSING,
            revision=0,
            progress=pack(self._plan, start.progress),
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


def _id_of(link: ParentLink) -> str:
    return child_id(link.execution_id, link.number, link.attempt, link.position)


@dataclass(kw_only=True, slots=True)
class _Part:
    """What became of some sub-executions of a chunk. ``is_cut_off``: the process is to let go of the rest."""

    ended: list[EndedChild] = field(default_factory=list)
    begun: list[NewExecution] = field(default_factory=list)
    is_cut_off: bool = False

    def __len__(self) -> int:
        return len(self.ended) + len(self.begun)

    def add(self, child: EndedChild | NewExecution) -> None:
        if isinstance(child, EndedChild):
            self.ended.append(child)
        else:
            self.begun.append(child)


class _ChunkDrive:
    """One claimed chunk, in memory until the last commit."""

    def __init__(self, claimed: ClaimedChunk, services: Services) -> None:
        self._claimed, self._services = claimed, services
        self._clock_zero = time.monotonic()
        self._siblings = Siblings(claimed, replace(services, guard=_WatchedAsAPart()))
        key = claimed.chunk.key
        self._wishes = Wishes(lambda: services.chunks.wish(key, worker=claimed.worker))

    def run(self) -> None:
        done, size = self._claimed.done, len(self._claimed.chunk.requests)
        while done < size:
            part = self._run_part(range(done, size))
            done += len(part)
            written = self._write(part, done)
            if isinstance(written, Refusal):
                log.warning(
                    "results refused: the chunk is not this worker's any more", extra={"key": self._claimed.chunk.key}
                )
            elif messages := [*start_messages(part.begun, self._services.types), *map(join_message, written)]:
                self._services.publisher.publish(messages)
            if part.is_cut_off or isinstance(written, Refusal):
                patiently(lambda _: let_go(self._claimed, self._services))
                return

    def _run_part(self, indexes: Sequence[int]) -> _Part:
        part, began = _Part(), time.monotonic()
        with suppress(AttemptEnded), self._watched() as watch:
            for index in indexes:
                child = self._siblings.run(index, clock=self._now)
                if watch.is_cancelled():  # so it may have been ended half-way
                    break
                part.add(child)
                failpoint("chunk.child")
                if time.monotonic() - began >= BATCH_S:
                    break
        part.is_cut_off = watch.is_cancelled()
        return part

    def _watched(self) -> AbstractContextManager[Watch]:
        return self._services.guard.watch(timeout_s=None, is_wanted=self._wishes.is_wanted)

    def _now(self) -> datetime:
        """The database's clock, carried on by this machine's monotonic one."""
        return self._claimed.now + timedelta(seconds=time.monotonic() - self._clock_zero)

    def _write(self, part: _Part, done: int) -> tuple[Fired, ...] | Refusal:
        """Write it, once: the answer to the first time may be all that was lost. Its join is published again then."""

        def write(is_again: bool) -> tuple[Fired, ...] | Refusal:
            written = self._services.chunks.write(self._claimed, part.ended, part.begun, done=done)
            if is_again and isinstance(written, Refusal) and self._services.chunks.is_written(self._claimed, done=done):
                return ()
            return written

        return patiently(write) if len(part) else ()


class _WatchedAsAPart:
    """The guard of tasks that run within a watch already."""

    def watch(self, **_: object) -> AbstractContextManager[Watch]:
        """See ``Guard.watch``."""
        return nullcontext(self)

    def is_cancelled(self) -> bool:
        return False

    def set_grace(self, grace_s: float) -> None:
        """The grace is the part's."""
