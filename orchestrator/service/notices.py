"""Notices: telling those who may answer that a suspension waits.

    suspended, or reminded --> a timer NOTIFY --> a message to a worker --> the worker deletes the timer --> the task
                                                                            type's ``notify``, mail for instance

So neither the commit that suspends nor the thread that looks at timers waits for a mail server. Whoever deletes the
timer tells, so nobody is told twice. If a worker dies over it, or it fails, nobody is told, and the suspension waits
all the same. A message that got lost is published again.
"""

from __future__ import annotations

import logging
from typing import Final

from orchestrator.engine.canvas import NOTIFY_TASK, Message
from orchestrator.model.task_types import Notice, Notify, TaskContext
from orchestrator.model.timers import TimerKind
from orchestrator.service.services import Services
from orchestrator.service.standing import Standing, stand
from orchestrator.service.suspensions import pending
from orchestrator.store.changes import Due
from orchestrator.store.kinds import AttemptKey
from orchestrator.store.rows import DueTimer
from orchestrator.store.suspensions import Suspension

log = logging.getLogger(__name__)

REMIND_EVERY_S: Final = 60.0  # reminders come at most so often: they are mail, and a definition may be wrong
AGAIN_AFTER_S: Final = 300.0  # for a message that no worker took; if it was only slow, the second one finds no timer


def remind(due: DueTimer, services: Services) -> bool:
    """It is time to remind those who may answer; again and again, in the same interval. False at the end."""
    key, found = due.key, pending(due.key, services)
    if found is None or found.remind_after_s is None:
        return False
    again_s = max(found.remind_after_s, REMIND_EVERY_S)
    timers = [Due(kind=TimerKind.REMIND, number=key.number, attempt=key.attempt, after_s=again_s)]
    if found.who_may_resolve:
        timers.append(Due(kind=TimerKind.NOTIFY, number=key.number, attempt=key.attempt, after_s=0.0))
    return services.suspensions.count_reminder(key, timers)


def publish_notice(due: DueTimer, services: Services) -> bool:
    """Have a worker tell those who may answer; False if there is nobody or nothing to tell."""
    key, found = due.key, pending(due.key, services)
    if found is None:
        return False
    standing = stand(key.execution_id, services)
    if _teller(standing, key.number, services) is None:
        return False
    again = Due(kind=TimerKind.NOTIFY, number=key.number, attempt=key.attempt, after_s=AGAIN_AFTER_S)
    services.store.set_timer(key.execution_id, again)
    executor = standing.plan.tasks[key.number].config.executor_id or standing.stored.executor
    services.publisher.publish(
        [
            Message(
                name=NOTIFY_TASK,
                execution_id=key.execution_id,
                number=key.number,
                attempt=key.attempt,
                round=found.reminders,
                executor=executor,
            )
        ]
    )
    return True


def notify(key: AttemptKey, services: Services) -> bool:
    """Tell those who may answer, in a worker; False if that was done before, is not needed any more, or failed."""
    if not services.suspensions.take_notice(key):
        return False
    found = pending(key, services)
    if found is None:
        return False
    standing = stand(key.execution_id, services)
    tell = _teller(standing, key.number, services)
    if tell is None:
        return False
    try:
        tell(_context(standing, key, services), _to_notice(found))
    except Exception:  # whatever it raises: the suspension waits, whether anybody was told or not
        log.exception("notice not given", extra={"key": key})
        return False
    return True


def _teller(standing: Standing, number: int, services: Services) -> Notify | None:
    task_type = services.types.get(standing.plan.tasks[number].config.task)
    return None if task_type is None else task_type.notify


def _context(standing: Standing, key: AttemptKey, services: Services) -> TaskContext:
    stored = standing.stored
    return TaskContext(
        execution_id=stored.id,
        integration=stored.integration,
        project=stored.project,
        location=stored.location,
        task_number=key.number,
        attempt=key.attempt,
        now=standing.now,
        config=standing.plan.tasks[key.number].config.parameters,
        parameters=standing.parameters,
        surroundings=services.surroundings,
        is_sync=standing.is_sync,
    )


def _to_notice(found: Suspension) -> Notice:
    return Notice(
        name=found.id,
        message=found.message,
        addressees=found.who_may_resolve,
        expires_at=found.expires_at,
        reminder=found.reminders,
    )
