"""Recovery: what somebody else has left undone goes on.

* ``take_over``   what a dead worker held can be claimed again.
* ``give_back``   likewise what a worker holds that ends: nobody counts that as a loss.
* ``Republisher`` what is ready and has no message gets one.

Every worker does both, and it does no harm if several do at a time: taking back is a commit that only one can win, and
a message too many is dropped by its claim. Publishing again is one worker's turn a queue all the same, because only one
that looks alone can count.

How a lost message is known: the broker says how many messages wait in a queue, the database how many attempts are ready
for it. If there are fewer messages, twice in a row, as many attempts are published again as are missing, those that
wait for longest first: a queue is first in, first out, so the lost ones end up there. Messages that a busy worker has
fetched and not begun count as lost: another worker may be free for them.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from typing import Final

from orchestrator.errors import Unreachable
from orchestrator.failpoints import failpoint
from orchestrator.service.guarding import ENDED_S
from orchestrator.service.lost import Loss, give_up
from orchestrator.service.services import Services
from orchestrator.service.start import chunk_message, live_message
from orchestrator.store.duties import TermOver
from orchestrator.store.workers import Boot, Held, Suspect

log = logging.getLogger(__name__)

_AT_ONCE: Final = 100
_MOST: Final = 1000  # messages a look


def take_over(services: Services, judge: Boot, *, is_gone: Callable[[Boot], bool]) -> None:
    """Take back what dead workers held.

    Args:
        services: the stores, and the way to the broker.
        judge: the worker that looks.
        is_gone: whether a worker of the judge's own machine is dead.
    """
    for suspect in services.workers.suspects(judge):
        is_proved = suspect.boot.machine == judge.machine
        is_dead = is_gone(suspect.boot) if is_proved else suspect.may_be_judged
        if is_dead and _take_from(suspect, services, is_proved=is_proved):
            services.workers.mark_lost(suspect.boot.id)


def give_back(services: Services, boot: Boot) -> None:
    """Give back what a worker still holds. No process of it runs anything any more."""
    _take_back(boot, services, Loss("its worker stops", is_loss=False))


def _take_from(suspect: Suspect, services: Services, *, is_proved: bool) -> bool:
    """Take back what a dead worker held; whether that was all."""
    name = suspect.boot.name
    if is_proved:
        return _take_back(suspect.boot, services, Loss(f"{name} was killed"))
    # What is to be CANCELLED waits until its code has ended for certain: silence alone does not say so.
    has_ended = suspect.silent_s > ENDED_S
    return _take_back(
        suspect.boot, services, Loss(f"no heartbeat of {name} for {suspect.silent_s:.0f} s", has_ended=has_ended)
    )


def _take_back(boot: Boot, services: Services, loss: Loss) -> bool:
    after, is_all = None, True
    while held := services.workers.held_by(boot.id, after=after, limit=_AT_ONCE):
        for each in held:
            is_all = _give_up(each, services, loss) and is_all
        after = held[-1]
    if after is not None:
        log.warning("taken back from a worker: %s", loss.reason, extra={"worker": boot.name})
    return is_all


def _give_up(held: Held, services: Services, loss: Loss) -> bool:
    failpoint("takeover.begun")
    try:
        return give_up(held.execution_id, services, worker=held.worker, loss=loss)
    except Unreachable:  # nor would the others get through
        raise
    except Exception:  # one that cannot be taken back must not keep the others from it
        log.exception("not taken over; it is tried again later", extra={"execution_id": held.execution_id})
        return False


class Republisher:
    """Publishes again what has no message. One a worker: it remembers what was missing at its last look."""

    def __init__(self, holder: str) -> None:
        self._holder = holder
        self._missing: dict[str, int] = {}

    def look(self, services: Services, executors: Iterable[str]) -> None:
        """Look at the queues of these executors."""
        for each in executors:
            before, self._missing[each] = self._missing.get(each, 0), 0
            if not services.outbox.has_ready(each):
                continue
            term = services.outbox.turn(each, self._holder)
            if term is None:
                continue
            self._missing[each] = _missing(each, services)
            if again := min(before, self._missing[each]):
                self._publish(each, services, term=term, limit=again)

    def _publish(self, executor: str, services: Services, *, term: int, limit: int) -> None:
        try:
            taken = services.outbox.take(executor, holder=self._holder, term=term, limit=limit)
            chunks = services.outbox.take_chunks(executor, holder=self._holder, term=term, limit=limit)
        except TermOver:  # this process slept for a while
            return
        messages = [live_message(live, services.types, priority=priority) for live, priority in taken]
        messages += map(chunk_message, chunks)
        if messages:
            failpoint("republish.taken")
            log.info("published again", extra={"executor": executor, "count": len(messages)})
            services.publisher.publish(messages)


def _missing(executor: str, services: Services) -> int:
    """How many more attempts are ready for an executor than messages wait for it."""
    waiting = services.publisher.depth(executor)
    if waiting is None:
        return 0
    return max(services.outbox.count_ready(executor, up_to=waiting + _MOST) - waiting, 0)
