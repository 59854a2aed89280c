"""Lost attempts: what a worker process held when it died.

Its death is nobody's failure: the same attempt can be claimed again, and no retry policy counts it. But code that ends
its process every time must not do so for ever: an attempt is lost ``MAX_LOSSES`` times at most, then FAILED with the
code WORKER_LOST, under whatever policy it has. One that had its timeout behind it FAILED for that: its guard has ended
the process, because nothing else did. In an execution that is stopping the death is what was waited for.

Call this only if the process is known to be gone: what it held may run elsewhere from here on.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from orchestrator.engine.events import Failed, Returned, Stopped
from orchestrator.model.history import EntryKind, ErrorInfo
from orchestrator.service.apply import Standing, Step, apply
from orchestrator.service.perform import timeout_error
from orchestrator.service.services import Services
from orchestrator.service.start import live_message
from orchestrator.store.rows import LiveAttempt

MAX_LOSSES: Final = 3


def give_up(execution_id: str, services: Services, *, worker: str, reason: str) -> None:
    """Take back everything that a dead worker process held of one execution, and publish what can run again.

    Args:
        execution_id: what it worked on.
        services: the stores, and the way to the broker.
        worker: the name under which it had claimed.
        reason: how it died, for people.
    """

    def next_step(standing: Standing) -> Step | None:
        return _next_step(standing, services, worker, reason)

    while (done := apply(execution_id, services, next_step)) is not None:
        standing, _ = done
        lost = _held_by(standing, worker)
        assert lost is not None, "a step was made for it"
        services.publisher.publish(
            [live_message(lost, services.types, priority=standing.stored.priority)]
        )  # dropped by the claim if it is over


def _held_by(standing: Standing, worker: str) -> LiveAttempt | None:
    return next((each for each in standing.live.values() if each.worker == worker), None)


def _next_step(standing: Standing, services: Services, worker: str, reason: str) -> Step | None:
    lost = _held_by(standing, worker)
    if lost is None or standing.stored.state.is_final:
        return None
    number, attempt = lost.key.number, lost.key.attempt
    error = ErrorInfo(message=f"its worker {worker} died: {reason}", code="WORKER_LOST", task_number=number)
    is_rollback = standing.progress.status(number).is_rolling_back
    if standing.progress.stopping is not None and not is_rollback:
        stopped = Stopped(number=number, attempt=attempt, was_running=True)
        return _step(lost, EntryKind.STOPPED, stopped, error)
    timeout_ms = standing.plan.tasks[number].config.timeout_ms
    is_late = (
        timeout_ms is not None
        and lost.started_at is not None
        and (standing.now - lost.started_at >= timedelta(milliseconds=timeout_ms))
    )
    if is_late and timeout_ms is not None:
        error = timeout_error(timeout_ms / 1000)
    if is_late or lost.losses + 1 >= MAX_LOSSES:
        failed = Failed(number=number, attempt=attempt, error=error, jitter=services.jitter())
        return _step(lost, EntryKind.ROLLBACK_FAILED if is_rollback else EntryKind.FAILED, failed, error)
    return _step(lost, EntryKind.RETURNED, Returned(number=number, attempt=attempt), error)


def _step(lost: LiveAttempt, kind: EntryKind, event: Stopped | Failed | Returned, error: ErrorInfo) -> Step:
    is_returned = isinstance(event, Returned)
    return Step(
        event=event,
        kind=kind,
        number=lost.key.number,
        attempt=lost.key.attempt,
        worker=lost.worker or "",
        started_at=lost.started_at,
        error=error,
        returned=(lost.key,) if is_returned else (),
        revoked=() if is_returned else (lost.key,),
    )
