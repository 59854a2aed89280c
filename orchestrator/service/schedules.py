"""Schedules: the cron triggers of published integrations start executions when their time comes.

Any worker may look, and any number of them at once: the execution is stored by the transaction that moves the schedule
on to its next time, and only one can do that. A crash before it leaves the schedule due. A crash after it leaves an
execution whose start was not published, which is what recovery looks for. So no time is lost, and none fires twice.

Decisions:

- Times that were missed, because no worker was there, are caught up by one execution for all of them: a night without
  workers must not end in a burst. It stands for the first that was missed; that is the one whose row waited.
- The id of an execution is made of its schedule and its time. So a time that comes again, after the clock was set back
  or the schedule was taken away and published anew, is known for what it is.
- What cannot be fired will not be fireable a minute later: a version never changes. Such a schedule stops, which shows
  as ``next_at`` None, and says so once. Publishing or resuming gives it another try.
"""

from __future__ import annotations

import json
import logging
import uuid
from dataclasses import replace
from datetime import datetime
from typing import Final

from orchestrator.errors import DefinitionError, InputError
from orchestrator.failpoints import failpoint
from orchestrator.model.cron import next_time
from orchestrator.service.services import Services
from orchestrator.service.start import new_execution, start_messages
from orchestrator.service.submit import Place
from orchestrator.store.changes import NewExecution
from orchestrator.store.kinds import DEFAULT_EXECUTOR, Method
from orchestrator.store.schedules import Schedule, ScheduleStore

log = logging.getLogger(__name__)

_AT_ONCE: Final = 100  # schedules a look; the rest is found by the next one
_NAMESPACE: Final = uuid.UUID("5f0c0f6e-7f6b-4c39-9f0e-6a3b6ad3a1d4")


def fire_due_schedules(services: Services) -> int:
    """Start an execution for every schedule whose time has come.

    Returns:
        How many this call has started. If it is not 0 there may be more.
    """
    store = ScheduleStore(services.store.database)
    due, now = store.due(limit=_AT_ONCE)
    return sum(_fire(schedule, now, store=store, services=services) for schedule in due)


def next_schedule_in_s(services: Services) -> float | None:
    """In how many seconds a schedule is due; None if none will be."""
    return ScheduleStore(services.store.database).next_in_s()


def list_schedules(services: Services, *, place: Place, integration: str | None = None) -> list[Schedule]:
    """The schedules of a place, or of one integration there, by name."""
    store = ScheduleStore(services.store.database)
    return store.list(project=place.project, location=place.location, integration=integration)


def pause_schedule(integration: str, trigger_id: str, services: Services, *, place: Place) -> Schedule:
    """Let a schedule fire no more until it is resumed. What it has started goes on; pausing twice is pausing once.

    Raises:
        ScheduleNotFound: there is none.
    """
    store = ScheduleStore(services.store.database)
    return store.pause(integration, trigger_id, project=place.project, location=place.location)


def resume_schedule(integration: str, trigger_id: str, services: Services, *, place: Place) -> Schedule:
    """Let a paused schedule fire again, from its next time on; nothing is caught up.

    Raises:
        ScheduleNotFound: there is none.
    """
    store = ScheduleStore(services.store.database)
    return store.resume(integration, trigger_id, project=place.project, location=place.location)


def execution_id_of(schedule: Schedule, at: datetime) -> str:
    """The id of the execution that a schedule starts for one time."""
    named = [schedule.project, schedule.location, schedule.integration, schedule.trigger_id, at.isoformat()]
    return str(uuid.uuid5(_NAMESPACE, json.dumps(named)))


def _fire(schedule: Schedule, now: datetime, *, store: ScheduleStore, services: Services) -> bool:
    try:
        next_at = next_time(schedule.cron, schedule.time_zone, now)
        new = _new_execution(schedule, services)
    except (DefinitionError, InputError) as error:
        fields = {"integration": schedule.integration, "trigger_id": schedule.trigger_id, "reason": str(error)}
        log.error("schedule stopped, it cannot be fired", extra=fields)
        store.advance(schedule, next_at=None, execution=None)
        return False
    failpoint("schedule.due")
    is_fired = store.advance(schedule, next_at=next_at, execution=new)
    failpoint("schedule.advanced")
    if is_fired:
        services.publisher.publish(start_messages([new], services.types))
    return is_fired


def _new_execution(schedule: Schedule, services: Services) -> NewExecution:
    assert schedule.next_at is not None, "a schedule that is due has a time"
    execution_id = execution_id_of(schedule, schedule.next_at)
    new = new_execution(
        services.plans.get(schedule.version_id, schedule.trigger_id),
        {},  # nobody hands in anything; validation saw to it that nothing is missing
        execution_id=execution_id,
        version_id=schedule.version_id,
        project=schedule.project,
        location=schedule.location,
        method=Method.SCHEDULE,
        executor=DEFAULT_EXECUTOR,
        root_id=execution_id,
    )
    return replace(new, scheduled_at=schedule.next_at)
