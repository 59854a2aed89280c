"""Lost attempts: what a worker process held when it died.

Its death is nobody's failure: the same attempt can be claimed again, and no retry policy counts it. But code that ends
its process every time must not do so for ever: an attempt is lost ``MAX_LOSSES`` times at most, then it is quarantined,
under whatever policy it has: a retry would only take the next worker along. One that had its timeout behind it FAILED
for that: its guard has ended the process, because nothing else did. In an execution that is stopping, and for a task
that was killed, the death is what was waited for. A chunk that is lost as often is unpacked: the one of its
sub-executions that does it is then found, and quarantined. A bundle falls apart at its first loss, for the same reason
(``store.bundles``).

Call this only if the process is known to be gone, or its lease to be over: what it held may run elsewhere from here on.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Final

from orchestrator.engine.events import Failed, Quarantined, Returned, Stopped, TaskOutcome
from orchestrator.model.history import EntryKind, ErrorInfo
from orchestrator.service.apply import apply
from orchestrator.service.chunks import let_go, unpack
from orchestrator.service.perform import timeout_error
from orchestrator.service.services import Services
from orchestrator.service.standing import Standing, Step, stand
from orchestrator.service.start import live_message
from orchestrator.store.kinds import proof_of_end
from orchestrator.store.rows import ClaimedChunk, LiveAttempt

log = logging.getLogger(__name__)

MAX_LOSSES: Final = 3


@dataclass(frozen=True, slots=True)
class Loss:
    """How a worker process came to its end.

    Attributes:
        reason: for people.
        is_loss: False if it was told to stop: that counts against nothing.
        has_ended: False if it may run on, cut off from the database: what is being stopped is left to it then.
    """

    reason: str
    is_loss: bool = True
    has_ended: bool = True


def give_up(execution_id: str, services: Services, *, worker: str, loss: Loss) -> bool:
    """Take back everything that a worker process held of one execution, and publish what can run again.

    Args:
        execution_id: what it worked on.
        services: the stores, and the way to the broker.
        worker: the name under which it had claimed.
        loss: how it ended.

    Returns:
        Whether it holds nothing any more.
    """

    def next_step(standing: Standing) -> Step | None:
        if not loss.has_ended and standing.progress.stopping is not None:
            return None
        return _next_step(standing, services, worker, loss)

    while (done := apply(execution_id, services, next_step)) is not None:
        standing, _ = done
        lost = _held_by(standing, worker)
        assert lost is not None, "a step was made for it"
        alone = replace(lost, rides_with=None)
        services.publisher.publish(
            [live_message(alone, services.types, priority=standing.stored.priority)]
        )  # dropped by the claim if it is over
    is_all = loss.has_ended or _held_by(stand(execution_id, services), worker) is None
    for chunk in services.chunks.held(execution_id, worker):
        is_all = _give_up_chunk(chunk, services, loss) and is_all
    return is_all


def give_up_all(services: Services, *, worker: str, loss: Loss) -> None:
    """Take back everything that a worker process held, as ``give_up``: a bundle is many executions."""
    for execution_id in services.workers.executions_of(worker):
        give_up(execution_id, services, worker=worker, loss=loss)


def _give_up_chunk(chunk: ClaimedChunk, services: Services, loss: Loss) -> bool:
    """Likewise a chunk. Whether it is not held any more."""
    if loss.is_loss and chunk.losses + 1 >= MAX_LOSSES:
        log.warning("chunk unpacked: it killed %d workers", MAX_LOSSES, extra={"key": chunk.chunk.key})
        unpack(chunk, services, may_end=loss.has_ended)
    else:
        let_go(chunk, services, is_loss=loss.is_loss, may_end=loss.has_ended)
    return not services.chunks.is_held(chunk)


def _held_by(standing: Standing, worker: str) -> LiveAttempt | None:
    return next((each for each in standing.live.values() if each.worker == worker), None)


def _next_step(standing: Standing, services: Services, worker: str, loss: Loss) -> Step | None:
    lost = _held_by(standing, worker)
    if lost is None or standing.stored.state.is_final:
        return None
    number, attempt = lost.key.number, lost.key.attempt
    error = ErrorInfo(message=f"its worker {worker} died: {loss.reason}", code="WORKER_LOST", task_number=number)
    status = standing.progress.status(number)
    is_rollback = status.is_rolling_back
    if status.is_killed or (standing.progress.stopping is not None and not is_rollback):
        stopped = Stopped(number=number, attempt=attempt, was_running=True)
        step = _step(lost, EntryKind.STOPPED, stopped, error)
        return replace(step, details=proof_of_end(worker, loss.reason))
    timeout_ms = standing.plan.tasks[number].config.timeout_ms
    is_late = (
        timeout_ms is not None
        and lost.started_at is not None
        and (standing.now - lost.started_at >= timedelta(milliseconds=timeout_ms))
    )
    if is_late and timeout_ms is not None:
        error = timeout_error(timeout_ms / 1000)
    if is_late:
        failed = Failed(number=number, attempt=attempt, error=error, jitter=services.jitter())
        return _step(lost, EntryKind.ROLLBACK_FAILED if is_rollback else EntryKind.FAILED, failed, error)
    if loss.is_loss and lost.losses + 1 >= MAX_LOSSES:
        message = f"it killed {MAX_LOSSES} workers; the last one, {worker}, died: {loss.reason}"
        quarantined = Quarantined(number=number, attempt=attempt)
        return _step(lost, EntryKind.QUARANTINED, quarantined, replace(error, message=message))
    returned = _step(lost, EntryKind.RETURNED, Returned(number=number, attempt=attempt), error)
    return returned if loss.is_loss else replace(returned, error=None, returned=(), given_back=(lost.key,))


def _step(lost: LiveAttempt, kind: EntryKind, event: TaskOutcome, error: ErrorInfo) -> Step:
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
