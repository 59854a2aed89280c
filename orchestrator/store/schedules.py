"""Schedules in the database: when the cron triggers of the published versions fire next.

A row is one cron trigger of the version that is published now. ``sync`` keeps that so within the transaction that
publishes; ``advance`` fires a row once for each time, whoever looks, because it compares and sets ``next_at``.

    ACTIVE --pause--> PAUSED --resume--> ACTIVE

``next_at`` is NULL for what is PAUSED and for what has no time to come. The clock is the database's.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

import sqlalchemy as sa

from orchestrator.errors import StoreError
from orchestrator.model.cron import next_time, parse_cron
from orchestrator.model.integration import CRON_TRIGGER_PREFIX, TriggerConfig
from orchestrator.store.changes import NewExecution
from orchestrator.store.creation import insert_executions
from orchestrator.store.database import Database
from orchestrator.store.tables import executions, now, schedules, versions

_IN_ORDER = (schedules.c.project, schedules.c.location, schedules.c.integration, schedules.c.trigger_id)


class ScheduleState(StrEnum):
    """Whether a schedule fires."""

    ACTIVE = "ACTIVE"
    PAUSED = "PAUSED"


class ScheduleNotFound(StoreError):
    """The published version of the integration has no such cron trigger, or none is published."""

    def __init__(self, integration: str, trigger_id: str, known: Sequence[str]) -> None:
        super().__init__(integration, trigger_id, tuple(known))
        self.integration, self.trigger_id, self.known = integration, trigger_id, tuple(known)

    def __str__(self) -> str:
        return (
            f"integration {self.integration!r} has no schedule {self.trigger_id!r}; its published version has: "
            f"{', '.join(self.known) or 'none'}"
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Schedule:
    """A cron trigger of a published version.

    Attributes:
        next_at: when it fires next; None if it is PAUSED, or has no time to come.
        last_at: the time that it was fired for last. After a time without workers it is earlier than the firing.
        last_execution_id: the execution that this started.
    """

    project: str
    location: str
    integration: str
    trigger_id: str
    version_id: str
    cron: str
    time_zone: str
    state: ScheduleState
    next_at: datetime | None
    last_at: datetime | None
    last_execution_id: str | None


class ScheduleStore:
    """Reads and moves schedules."""

    def __init__(self, database: Database) -> None:
        self.database = database

    def due(self, *, limit: int) -> tuple[list[Schedule], datetime]:
        """Schedules whose time has come, the longest overdue first, and the database's clock."""
        statement = (
            _to_fire(sa.select(schedules))
            .where(schedules.c.next_at <= now())
            .order_by(schedules.c.next_at, *_IN_ORDER)
            .limit(limit)
        )
        with self.database.read() as connection:
            found = [_to_schedule(row) for row in connection.execute(statement)]
            return found, _clock(connection)

    def next_in_s(self) -> float | None:
        """In how many seconds the next schedule is due, 0 at least; None if none will be."""
        statement = _to_fire(sa.select(sa.func.min(schedules.c.next_at), now()))
        with self.database.read() as connection:
            first, clock = connection.execute(statement).one()
        return None if first is None else max((first - clock).total_seconds(), 0.0)

    def advance(self, seen: Schedule, *, next_at: datetime | None, execution: NewExecution | None) -> bool:
        """Fire a due schedule: store the execution and set the next time, both or neither.

        Args:
            seen: as ``due`` gave it. If it fired, paused, or was published anew since, nothing is changed.
            next_at: its next time.
            execution: what the time that has come starts; None for nothing.

        Returns:
            Whether the execution was stored by this call: then its messages are to be published.
        """
        values: dict[str, Any] = {"next_at": next_at, "updated_at": now()}
        if execution is not None:
            values |= {"last_at": seen.next_at, "last_execution_id": execution.id}
        guarded = sa.update(schedules).where(
            *_is(_key(seen)),
            schedules.c.next_at == seen.next_at,  # NULL by now if it is PAUSED
            schedules.c.version_id == seen.version_id,
        )
        with self.database.begin() as connection:
            if connection.execute(guarded.values(**values)).rowcount != 1 or execution is None:
                return False
            if _is_stored(connection, execution.id):  # the clock was set back, and this time has come before
                return False
            insert_executions(connection, [execution])
        return True

    def pause(self, integration: str, trigger_id: str, *, project: str, location: str) -> Schedule:
        """Let it fire no more until it is resumed; once this returns, nothing more is stored for it.

        Raises:
            ScheduleNotFound: there is none.
        """
        key = _named(integration, trigger_id, project=project, location=location)
        with self.database.begin() as connection:
            _lock(connection, key)
            return _change(connection, key, state=ScheduleState.PAUSED.value, next_at=None)

    def resume(self, integration: str, trigger_id: str, *, project: str, location: str) -> Schedule:
        """Let it fire again, from its next time on: what it missed is not caught up.

        Raises:
            ScheduleNotFound: there is none.
        """
        key = _named(integration, trigger_id, project=project, location=location)
        with self.database.begin() as connection:
            found = _lock(connection, key)
            if found.state is ScheduleState.ACTIVE and found.next_at is not None:
                return found
            next_at = next_time(found.cron, found.time_zone, _clock(connection))
            return _change(connection, key, state=ScheduleState.ACTIVE.value, next_at=next_at)

    def list(self, *, project: str, location: str, integration: str | None = None) -> list[Schedule]:
        """The schedules of a place, or of one integration there, by name."""
        statement = sa.select(schedules).where(schedules.c.project == project, schedules.c.location == location)
        if integration is not None:
            statement = statement.where(schedules.c.integration == integration)
        with self.database.read() as connection:
            return [_to_schedule(row) for row in connection.execute(statement.order_by(*_IN_ORDER))]


# -- publishing ----------------------------------------------------------------------------------------------------


def is_in_step(
    connection: sa.Connection, triggers: Iterable[TriggerConfig], *, version_id: str, place: Mapping[str, str]
) -> bool:
    """Whether ``sync`` would change nothing."""
    rows = connection.execute(sa.select(schedules).where(*_is(place))).all()
    if any(row.state == ScheduleState.ACTIVE and row.next_at is None for row in rows):
        return False  # one that has stopped gets another try
    found = {(row.trigger_id, row.version_id, row.cron, row.time_zone) for row in rows}
    return found == {(key, version_id, *times) for key, times in _wanted(triggers).items()}


def sync(
    connection: sa.Connection, triggers: Iterable[TriggerConfig], *, version_id: str, place: Mapping[str, str]
) -> None:
    """Make the schedules of an integration those of the version that is published by this transaction.

    A schedule whose times stay the same goes on as it is. If they change, its next time is found anew; what is PAUSED
    stays so, also where a changed expression has changed the trigger's id, as the product derives it.

    Args:
        connection: of the transaction.
        triggers: of the version; none to take all schedules away.
        version_id: the version.
        place: project, location and integration.

    Raises:
        InvalidCron, UnknownTimeZone: a trigger says so; roll back.
    """
    select = sa.select(schedules).where(*_is(place)).order_by(*_IN_ORDER)
    old = {row.trigger_id: _to_schedule(row) for row in connection.execute(select.with_for_update())}
    wanted = _wanted(triggers)
    kept = {trigger_id: old.pop(trigger_id) for trigger_id in wanted if trigger_id in old}
    for trigger_id in [each for each in wanted if each not in kept]:
        predecessor = next((each for each in old if _timer_of(each) == _timer_of(trigger_id)), None)
        if predecessor is not None:
            kept[trigger_id] = old.pop(predecessor)
    for gone in old.values():
        connection.execute(sa.delete(schedules).where(*_is(_key(gone))))
    at = _clock(connection)
    for trigger_id, (cron, time_zone) in wanted.items():
        values = {"trigger_id": trigger_id, "version_id": version_id, "cron": cron, "time_zone": time_zone}
        _put(connection, kept.get(trigger_id), {**place, **values}, at=at)


def _wanted(triggers: Iterable[TriggerConfig]) -> dict[str, tuple[str, str]]:
    """The expression and the time zone of each cron trigger."""
    timed = ((each.id, each.cron) for each in triggers)
    return {trigger_id: (parse_cron(cron.expression), cron.time_zone) for trigger_id, cron in timed if cron is not None}


def _put(connection: sa.Connection, old: Schedule | None, values: Mapping[str, str], *, at: datetime) -> None:
    next_at = next_time(values["cron"], values["time_zone"], at)
    if old is None:
        row = {**values, "state": ScheduleState.ACTIVE.value, "next_at": next_at}
        connection.execute(sa.insert(schedules).values(row))
        return
    is_same = (old.cron, old.time_zone) == (values["cron"], values["time_zone"])
    if old.state is ScheduleState.PAUSED or (is_same and old.next_at is not None):
        next_at = old.next_at  # it may be due this moment, and is fired as soon as this is committed
    _change(connection, _key(old), **values, next_at=next_at)


def _timer_of(trigger_id: str) -> str:
    """What stays the same of a derived id, ``cron_trigger/NAME/10+12+*+*+*``, when the expression is changed."""
    if not trigger_id.startswith(CRON_TRIGGER_PREFIX):
        return trigger_id
    return CRON_TRIGGER_PREFIX + trigger_id.removeprefix(CRON_TRIGGER_PREFIX).partition("/")[0]


# -- rows ----------------------------------------------------------------------------------------------------------


def _lock(connection: sa.Connection, key: Mapping[str, str]) -> Schedule:
    """The row as it is until this transaction ends."""
    row = connection.execute(sa.select(schedules).where(*_is(key)).with_for_update()).one_or_none()
    if row is None:
        place = {name: content for name, content in key.items() if name != "trigger_id"}
        known = connection.execute(sa.select(schedules.c.trigger_id).where(*_is(place)).order_by("trigger_id"))
        raise ScheduleNotFound(key["integration"], key["trigger_id"], known.scalars().all())
    return _to_schedule(row)


def _change(connection: sa.Connection, key: Mapping[str, str], **values: Any) -> Schedule:
    statement = sa.update(schedules).where(*_is(key)).values(**values, updated_at=now()).returning(schedules)
    return _to_schedule(connection.execute(statement).one())


def _named(integration: str, trigger_id: str, *, project: str, location: str) -> dict[str, str]:
    return {"project": project, "location": location, "integration": integration, "trigger_id": trigger_id}


def _key(schedule: Schedule) -> dict[str, str]:
    return _named(schedule.integration, schedule.trigger_id, project=schedule.project, location=schedule.location)


def _is(key: Mapping[str, str]) -> tuple[sa.ColumnElement[bool], ...]:
    return tuple(schedules.c[column] == content for column, content in key.items())


def _is_stored(connection: sa.Connection, execution_id: str) -> bool:
    found = connection.execute(sa.select(executions.c.id).where(executions.c.id == execution_id))
    return found.one_or_none() is not None


def _to_fire(statement: Any) -> Any:
    """What will fire; whoever takes a version back need not know of schedules."""
    return statement.join(versions, versions.c.id == schedules.c.version_id).where(
        schedules.c.state == ScheduleState.ACTIVE.value, versions.c.state == "ACTIVE"
    )


def _clock(connection: sa.Connection) -> datetime:
    return connection.execute(sa.select(now())).scalar_one()


def _to_schedule(row: sa.Row[Any]) -> Schedule:
    return Schedule(
        project=row.project,
        location=row.location,
        integration=row.integration,
        trigger_id=row.trigger_id,
        version_id=row.version_id,
        cron=row.cron,
        time_zone=row.time_zone,
        state=ScheduleState(row.state),
        next_at=row.next_at,
        last_at=row.last_at,
        last_execution_id=row.last_execution_id,
    )
