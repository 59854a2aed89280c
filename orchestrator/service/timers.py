"""Timers: what is due now. Waits lie in the database, so they survive every process.

Any worker may look, and any number of them at once: each takes other timers, for some seconds; firing one is a commit
that only one can win, and that deletes it. One that nothing waits for any more is dropped.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Final

from orchestrator.engine.events import DeadlinePassed, Failed, RestartDue, RetryDue
from orchestrator.errors import Unreachable
from orchestrator.failpoints import failpoint
from orchestrator.model.history import EntryKind, ErrorInfo
from orchestrator.model.timers import TimerKind
from orchestrator.service.apply import apply, start_held
from orchestrator.service.limits import may_begin
from orchestrator.service.notices import publish_notice, remind
from orchestrator.service.perform import timeout_error
from orchestrator.service.services import Services
from orchestrator.service.standing import Standing, Step
from orchestrator.service.start import with_system_variables
from orchestrator.service.suspensions import expire
from orchestrator.store.changes import Due
from orchestrator.store.kinds import AttemptKey, Hold
from orchestrator.store.rows import DueTimer, LiveAttempt

log = logging.getLogger(__name__)

_AT_ONCE: Final = 100  # timers a look; the rest is found by the next one, at once
HARD_AFTER_S: Final = 10.0  # how long after its timeout an attempt that is still running is taken from its worker


def fire_due_timers(services: Services) -> float | None:
    """Fire what is due.

    Returns:
        In how many seconds to look again: 0 if there may be more, None if no timer is set.
    """
    due, next_in_s = services.store.take_timers(limit=_AT_ONCE)
    for each in due:
        failpoint("timer.taken")
        try:
            if not _FIRE[each.kind](each, services):
                services.store.drop_timer(each)
        except Unreachable:  # nor would the others get through
            raise
        except Exception:  # one that cannot be fired must not hold up those that are due after it, again and again
            log.exception("timer not fired; it is tried again later", extra={"timer": each})
        failpoint("timer.fired")
    return next_in_s


def _fire_start(due: DueTimer, services: Services) -> bool:
    stored, _ = services.store.read(due.key.execution_id)
    is_put_off = stored.hold is Hold.SCHEDULED and not stored.state.is_final
    # One that has to wait for a limit is started when it has its slot: its own timer is over.
    return is_put_off and may_begin(stored, services) and start_held([stored.id], services) > 0


def _stepping(next_step: Callable[[DueTimer, Standing, Services], Step | None]) -> Callable[[DueTimer, Services], bool]:
    """Apply the step that a timer asks for; whether it changed anything."""

    def fire(due: DueTimer, services: Services) -> bool:
        done = apply(due.key.execution_id, services, lambda standing: next_step(due, standing, services))
        return done is not None

    return fire


def _retry(due: DueTimer, standing: Standing, services: Services) -> Step:  # noqa: ARG001 - one signature for all
    key = due.key
    return Step(
        event=RetryDue(number=key.number, attempt=key.attempt),
        kind=EntryKind.RETRY_DUE,
        number=key.number,
        attempt=key.attempt,
        fired_timers=((TimerKind.RETRY, key.number),),
    )


def _restart(due: DueTimer, standing: Standing, services: Services) -> Step:  # noqa: ARG001
    key = due.key
    initial = with_system_variables(standing.stored.request, is_sync=standing.is_sync)
    return Step(
        event=RestartDue(number=key.number, attempt=key.attempt, parameters=initial),
        kind=EntryKind.RESTARTED,
        fired_timers=((TimerKind.RESTART, key.number),),
    )


def _deadline(due: DueTimer, standing: Standing, services: Services) -> Step:  # noqa: ARG001
    stored = standing.stored
    spent_s = ((stored.deadline_at or due.due_at) - (stored.scheduled_at or stored.created_at)).total_seconds()
    message = f"the execution was not over {round(spent_s, 1):g} s after it began"
    error = ErrorInfo(message=message, code="EXECUTION_TIMEOUT")
    return Step(
        event=DeadlinePassed(error=error),
        kind=EntryKind.DEADLINE_PASSED,
        error=error,
        fired_timers=((TimerKind.DEADLINE, 0),),
    )


def _timeout(due: DueTimer, standing: Standing, services: Services) -> Step | None:
    """The worker that runs an attempt ends it in time (``runtime.guard``); this is for one that cannot any more.

    An attempt that waits for its sub-executions is nobody's to end but ours.
    """
    live = standing.live.get(due.key.number)
    if live is None or live.key.attempt != due.key.attempt or live.started_at is None:
        return None
    config = standing.plan.tasks[live.key.number].config
    if config.timeout_ms is None:
        return None
    timeout_s = config.timeout_ms / 1000
    hard_at = live.started_at + timedelta(seconds=timeout_s + HARD_AFTER_S)
    if live.worker is not None and standing.now < hard_at:
        after_s = (hard_at - standing.now).total_seconds()
        again = Due(kind=TimerKind.TIMEOUT, number=live.key.number, attempt=live.key.attempt, after_s=after_s)
        services.store.set_timer(standing.stored.id, again)
        return None
    return _fail(live, standing, services, timeout_error(timeout_s), TimerKind.TIMEOUT)


def _queue(due: DueTimer, standing: Standing, services: Services) -> Step | None:
    live = standing.live.get(due.key.number)
    if live is None or live.key.attempt != due.key.attempt or live.was_running:
        return None
    waited_s = (standing.now - live.queued_at).total_seconds()
    message = f"no worker took it from executor {live.executor!r} for {waited_s:.1f} s"
    return _fail(live, standing, services, ErrorInfo(message=message, code="QUEUE_TIMEOUT"), TimerKind.QUEUE)


def _fail(live: LiveAttempt, standing: Standing, services: Services, error: ErrorInfo, kind: TimerKind) -> Step:
    key: AttemptKey = live.key
    started_at: datetime = live.started_at or standing.now
    status = standing.progress.status(key.number)
    failed = EntryKind.ROLLBACK_FAILED if status.is_rolling_back else EntryKind.FAILED
    return Step(
        event=Failed(number=key.number, attempt=key.attempt, error=error, jitter=services.jitter()),
        kind=EntryKind.STOPPED if status.is_killed else failed,  # it is CANCELLED then: nothing else ended it
        number=key.number,
        attempt=key.attempt,
        worker=live.worker or "",
        started_at=started_at,
        error=error,
        fired_timers=((kind, key.number),),
        withdrawn=(key,) if kind is TimerKind.QUEUE else (),
        revoked=() if kind is TimerKind.QUEUE else (key,),
    )


_FIRE: Final[Mapping[TimerKind, Callable[[DueTimer, Services], bool]]] = {
    TimerKind.RETRY: _stepping(_retry),
    TimerKind.RESTART: _stepping(_restart),
    TimerKind.START: _fire_start,
    TimerKind.DEADLINE: _stepping(_deadline),
    TimerKind.TIMEOUT: _stepping(_timeout),
    TimerKind.QUEUE: _stepping(_queue),
    TimerKind.EXPIRE: expire,
    TimerKind.REMIND: remind,
    TimerKind.NOTIFY: publish_notice,
}
