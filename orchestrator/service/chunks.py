"""Running a chunk: sub-executions one after another in memory, each from its start to its end, written in parts.

    claim -> (start -> light tasks -> end), for ``BATCH_S`` or until the last -> one commit -> the next part

A crash loses one part at most, whose tasks have no side effects and run again. A sub-execution that turns out to need
more than this process - a retry that waits, a suspension - is dropped as it stands and created like any other in the
same commit; there it begins again.

What must not happen: a transaction within the guard's watch, which may end what it watches at any place. One watch is
around a whole part: of a part that is cut off, what was over counts and the rest has not begun.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace

from orchestrator.failpoints import failpoint
from orchestrator.service.apply import start_held
from orchestrator.service.clock import CarriedClock
from orchestrator.service.drive import BATCH_S
from orchestrator.service.guarding import AttemptEnded
from orchestrator.service.patience import patiently
from orchestrator.service.perform import Wishes
from orchestrator.service.pursue import pursue
from orchestrator.service.services import Services
from orchestrator.service.siblings import Siblings
from orchestrator.service.start import chunk_message, join_message, start_messages
from orchestrator.service.ways import WithinAPart, uncollected
from orchestrator.store.changes import EndedChild, Fired, NewExecution, Refusal
from orchestrator.store.kinds import ChunkKey
from orchestrator.store.rows import ClaimedChunk

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
    siblings = Siblings(claimed, services, clock=lambda: claimed.now)
    rest = [siblings.ordinary(index) for index in range(claimed.done, len(claimed.chunk.requests))]
    fired = services.chunks.unpack(claimed, rest)
    if fired is None:  # it is not waited for any more
        let_go(claimed, services, may_end=may_end)
    else:
        services.publisher.publish([*start_messages(rest, services.types), *map(join_message, fired)])


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
        self._key = claimed.chunk.key
        clock = CarriedClock(claimed.now)
        self._guard = WithinAPart()
        self._siblings = Siblings(claimed, replace(services, guard=self._guard), clock=clock)
        self._wishes = Wishes(lambda: services.chunks.wish(self._key, worker=claimed.worker))

    def run(self) -> None:
        done, size = self._claimed.done, len(self._claimed.chunk.requests)
        while done < size:
            with uncollected():  # around all of it: what a part has made is gone when the collector is back
                done, goes_on = self._do_part(done, size)
            if not goes_on:
                patiently(lambda _: let_go(self._claimed, self._services))
                return

    def _do_part(self, done: int, size: int) -> tuple[int, bool]:
        """Run and write a part; how many have rows then, and whether the next one may begin."""
        part = self._run_part(range(done, size))
        done += len(part)
        written = self._write(part, done)
        if isinstance(written, Refusal):
            log.warning("results refused: the chunk is not this worker's any more", extra={"key": self._key})
        elif messages := [*start_messages(part.begun, self._services.types), *map(join_message, written)]:
            self._services.publisher.publish(messages)
        return done, not (part.is_cut_off or isinstance(written, Refusal))

    def _run_part(self, indexes: Sequence[int]) -> _Part:
        part, began = _Part(), time.monotonic()
        watched = self._services.guard.watch(timeout_s=None, is_wanted=self._wishes.is_wanted)
        with suppress(AttemptEnded), watched as watch:
            self._guard.part = watch
            for index in indexes:
                child = self._siblings.run(index)
                if watch.is_cancelled():  # so it may have been ended half-way
                    break
                part.add(child)
                failpoint("chunk.child")
                if time.monotonic() - began >= BATCH_S:
                    break
        part.is_cut_off = watch.is_cancelled()
        return part

    def _write(self, part: _Part, done: int) -> tuple[Fired, ...] | Refusal:
        """Write it, once: the answer to the first time may be all that was lost. Its join is published again then."""

        def write(is_again: bool) -> tuple[Fired, ...] | Refusal:
            written = self._services.chunks.write(self._claimed, part.ended, part.begun, done=done)
            if is_again and isinstance(written, Refusal) and self._services.chunks.is_written(self._claimed, done=done):
                return ()
            return written

        return patiently(write) if len(part) else ()
