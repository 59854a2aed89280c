"""Running a bundle: executions that were claimed together, one after another in memory, written in parts.

A bundle is made when many executions are submitted at once: then one message stands for all of them. Or it comes about
in a worker, of messages for single executions that reach a process together (``service.ahead``).

    claim -> (light tasks -> end), for ``BATCH_S`` or until the last -> one commit -> the next part

A crash loses one part at most, whose tasks have no side effects and run again. What is not over by then - a long chain,
a retry that waits, a result that the database refuses - goes on alone, as if a message of its own had claimed it
(``drive``), when the others of its part are written.

What must not happen: a transaction within the guard's watch, which may end what it watches at any place. One watch is
around a whole part, and asks for the execution whose code runs. One that was ended half-way has not begun: before the
next part it is seen what was killed meanwhile.
"""

from __future__ import annotations

import logging
import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace

from orchestrator.engine.decisions import Dispatch
from orchestrator.failpoints import failpoint
from orchestrator.service.ahead import AHEAD
from orchestrator.service.chunking import is_chunkable
from orchestrator.service.clock import CarriedClock
from orchestrator.service.drive import BATCH_S, begin_again, go_on
from orchestrator.service.guarding import AttemptEnded
from orchestrator.service.patience import patiently
from orchestrator.service.perform import Result
from orchestrator.service.services import Services
from orchestrator.service.ways import Ways, WithinAPart, uncollected
from orchestrator.store.changes import Commit
from orchestrator.store.fused_many import is_common
from orchestrator.store.kinds import AttemptKey
from orchestrator.store.rows import Claimed

log = logging.getLogger(__name__)


def drive_bundle(first_id: str, *, worker: str, services: Services) -> bool:
    """Do what the message of a bundle asks for.

    Args:
        first_id: the execution that the bundle is named after.
        worker: the process that does it.
        services: the stores, the task types, and the way to the broker.

    Returns:
        False if there was nothing to claim and the message was dropped.
    """
    claimed = patiently(lambda is_again: services.bundles.claim(first_id, worker=worker, is_again=is_again))
    if not claimed:
        log.info("message dropped: all of its bundle is claimed or over", extra={"execution_id": first_id})
        return False
    failpoint("claim.committed")
    _BundleDrive(claimed, services).run()
    return True


def drive_together(keys: Sequence[AttemptKey], *, worker: str, services: Services) -> None:
    """Do what several messages ask for, each of which is for a light task.

    Executions that are new, and bound to run through, are run as a bundle. What else is claimed goes on by itself, and
    what is not is left to its own message.
    """
    claimed = patiently(lambda is_again: services.store.claim_each(keys, worker=worker, is_again=is_again))
    if claimed:
        failpoint("claim.committed")
    AHEAD.hold(claimed)
    bundled: dict[tuple[str, str], list[Claimed]] = defaultdict(list)
    for each in _single(claimed):
        stored = each.execution
        plan = services.plans.get(stored.version_id, stored.trigger_id)
        is_new = stored.parent is None and stored.revision == 0
        if is_new and is_chunkable(plan, services.types, executor=each.executor):
            bundled[stored.version_id, stored.trigger_id].append(each)
    for bundle in bundled.values():
        _BundleDrive(bundle, services).run()
        AHEAD.finish(each.key for each in bundle)
    for each in claimed:
        if AHEAD.take(each.key) is not None:
            go_on(each, services)
            AHEAD.finish([each.key])


def _single(claimed: Sequence[Claimed]) -> list[Claimed]:
    """Those of whose execution nothing else was claimed."""
    counts = Counter(each.execution.id for each in claimed)
    return [each for each in claimed if counts[each.execution.id] == 1]


@dataclass(kw_only=True, slots=True)
class _Part:
    """What became of some of a bundle: what can be written together, and what goes on alone."""

    ended: list[tuple[Claimed, Commit, list[Result]]] = field(default_factory=list)
    unfinished: list[tuple[Claimed, list[Result]]] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.ended) + len(self.unfinished)


class _BundleDrive:
    """One bundle, in memory until its last commit."""

    def __init__(self, claimed: Sequence[Claimed], services: Services) -> None:
        self._claimed, self._services = claimed, services
        first = claimed[0]
        plan = services.plans.get(first.execution.version_id, first.execution.trigger_id)
        self._guard = WithinAPart()
        self._ways = Ways(plan, replace(services, guard=self._guard), clock=CarriedClock(first.now))

    def run(self) -> None:
        ahead = [*self._claimed]
        while ahead:
            part = self._run_part(ahead)
            self._settle(part)
            del ahead[: len(part)]
            if ahead:
                ahead = self._still_to_begin(ahead)

    def _run_part(self, ahead: Sequence[Claimed]) -> _Part:
        part, began = _Part(), time.monotonic()
        watched = self._services.guard.watch(timeout_s=None, is_wanted=self._guard.is_wanted)
        with uncollected(), suppress(AttemptEnded), watched as watch:
            self._guard.part = watch
            for claimed in ahead:
                results: list[Result] = []
                kept = Dispatch(number=claimed.key.number, attempt=claimed.key.attempt)
                end = self._ways.run(claimed, [kept], results)
                if watch.is_cancelled():  # so it may have been ended half-way
                    break
                change = None if end is None else end.to_commit(claimed)
                if change is None or not is_common(change):
                    part.unfinished.append((claimed, results))
                else:
                    part.ended.append((claimed, change, results))
                failpoint("bundle.execution")
                if time.monotonic() - began >= BATCH_S:
                    break
        return part

    def _settle(self, part: _Part) -> None:
        """Write it, and have everything else of it go on alone."""
        written = self._write([change for _, change, _ in part.ended])
        for claimed, change, results in part.ended:
            if change.execution.id not in written:
                go_on(claimed, self._services, results)
        for claimed, results in part.unfinished:
            go_on(claimed, self._services, results)

    def _write(self, changes: Sequence[Commit]) -> frozenset[str]:
        """Write what is over, once: the answer to the first time may be all that was lost. Which of it is written."""

        def write(is_again: bool) -> frozenset[str]:
            with uncollected():
                refused = self._services.bundles.commit(changes).refused
            kept = (each for each in changes if each.execution.id not in refused or (is_again and self._is_kept(each)))
            return frozenset(each.execution.id for each in kept)

        return patiently(write) if changes else frozenset()

    def _is_kept(self, change: Commit) -> bool:
        stored, _ = self._services.store.read(change.execution.id)
        following = change.execution.revision + len(change.entries)
        return stored.revision == following and stored.progress == change.progress

    def _still_to_begin(self, ahead: Sequence[Claimed]) -> list[Claimed]:
        """Without what was killed since it was claimed: nothing of that begins any more."""
        ids = [each.execution.id for each in ahead]
        moved_on = patiently(lambda _: self._services.bundles.moved_on(ids))
        for each in ahead:
            if each.execution.id in moved_on:
                begin_again(each, self._services)
        return [each for each in ahead if each.execution.id not in moved_on]
