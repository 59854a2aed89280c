"""Suspensions: what waits, or waited, for a person or an outside system, or for a time. ``store.commits`` writes them.

Whom to tell stands in the timers: one of the kind NOTIFY says that a notice is owed. Whoever deletes it gives the
notice; so it is given at most once, and one whose message was lost is still there to be published again.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import sqlalchemy as sa

from orchestrator.model.json_text import Json
from orchestrator.model.timers import TimerKind
from orchestrator.model.values import Value, parse_value
from orchestrator.store.changes import Due
from orchestrator.store.creation import insert_timers
from orchestrator.store.database import Database
from orchestrator.store.kinds import AttemptKey, SuspensionState
from orchestrator.store.tables import executions, suspensions, timers


@dataclass(frozen=True, kw_only=True, slots=True)
class Suspension:
    """One suspension. ``terms`` are those of the task type; ``result`` is the answer once there is one."""

    execution_id: str
    integration: str
    task_number: int
    attempt: int
    state: SuspensionState
    terms: Mapping[str, Json]
    is_timer: bool
    created_at: datetime
    expires_at: datetime | None
    resolved_at: datetime | None
    resolver: str | None
    result: Value | None
    reminders: int

    @property
    def id(self) -> str:
        """Its name within its execution: ``TASK-ATTEMPT``."""
        return f"{self.task_number}-{self.attempt}"

    @property
    def message(self) -> str:
        """What those who may answer are asked."""
        return str(self.terms.get("message", ""))

    @property
    def result_name(self) -> str | None:
        """The parameter that takes the answer; with one this is a question."""
        return self._name("resultName")

    @property
    def payload_name(self) -> str | None:
        """The parameter that takes what it is lifted with."""
        return self._name("payloadName")

    @property
    def who_may_resolve(self) -> tuple[str, ...]:
        """Who may answer; empty for anybody."""
        names = self.terms.get("whoMayResolve")
        return tuple(map(str, names)) if isinstance(names, list) else ()

    @property
    def remind_after_s(self) -> float | None:
        """How often those who may answer are reminded."""
        interval = self.terms.get("remindAfterS")
        return float(interval) if isinstance(interval, int | float) else None

    @property
    def is_lifted_when_expired(self) -> bool:
        """What becomes of it at the end of its time."""
        return self.terms.get("liftWhenExpired") is True

    def _name(self, key: str) -> str | None:
        name = self.terms.get(key)
        return name if isinstance(name, str) else None


class SuspensionStore:
    """Finds suspensions, and keeps what is owed to those who may answer."""

    def __init__(self, database: Database) -> None:
        self.database = database

    def find(self, key: AttemptKey) -> Suspension | None:
        """The suspension of one attempt."""
        found = self._select(_of(key))
        return found[0] if found else None

    def of_execution(self, execution_id: str) -> list[Suspension]:
        """All suspensions of an execution, timers included, the oldest first."""
        return self._select(suspensions.c.execution_id == execution_id)

    def find_all(
        self,
        *,
        state: SuspensionState | None = None,
        execution_id: str | None = None,
        with_timers: bool = False,
        limit: int = 50,
    ) -> list[Suspension]:
        """Suspensions, the oldest first.

        Args:
            state: only in this state.
            execution_id: only of this execution; else of all.
            with_timers: those as well that the clock ends and nobody else.
            limit: at most so many.
        """
        where: list[sa.ColumnElement[bool]] = [] if with_timers else [suspensions.c.is_timer.is_(False)]
        if state is not None:
            where.append(suspensions.c.state == state.value)
        if execution_id is not None:
            where.append(suspensions.c.execution_id == execution_id)
        return self._select(*where, limit=limit)

    def awaits_answer(self, execution_id: str) -> bool:
        """Whether an execution waits for somebody, not only for a time."""
        asked = sa.select(suspensions.c.attempt).where(
            suspensions.c.execution_id == execution_id, _IS_PENDING, suspensions.c.is_timer.is_(False)
        )
        with self.database.read() as connection:
            return connection.execute(asked.limit(1)).one_or_none() is not None

    # -- notices ---------------------------------------------------------------------------------------------------

    def count_reminder(self, key: AttemptKey, due: Sequence[Due]) -> bool:
        """Note that it is time to remind somebody, and set these timers; False if there is an answer meanwhile."""
        # The timers first, like a commit that answers: two that lock the same rows in two orders wait for ever.
        try:
            with self.database.begin() as connection:
                insert_timers(connection, key.execution_id, due)
                counted = sa.update(suspensions).where(_of(key), _IS_PENDING)
                if connection.execute(counted.values(reminders=suspensions.c.reminders + 1)).rowcount != 1:
                    raise _Answered
        except _Answered:
            return False
        return True

    def take_notice(self, key: AttemptKey) -> bool:
        """Take over to tell those who may answer; False if somebody has, or nobody is to be told."""
        owed = sa.delete(timers).where(
            timers.c.execution_id == key.execution_id,
            timers.c.task_number == key.number,
            timers.c.attempt == key.attempt,
            timers.c.kind == TimerKind.NOTIFY.value,
        )
        with self.database.begin() as connection:
            return connection.execute(owed).rowcount == 1

    def owes_notices(self, execution_ids: Collection[str]) -> bool:
        """Whether somebody is still to be told of what waits in these executions."""
        owed = sa.select(timers.c.attempt).where(
            timers.c.kind == TimerKind.NOTIFY.value, timers.c.execution_id.in_(execution_ids)
        )
        with self.database.read() as connection:
            return connection.execute(owed.limit(1)).one_or_none() is not None

    def _select(self, *where: sa.ColumnElement[bool], limit: int | None = None) -> list[Suspension]:
        statement = (
            sa.select(suspensions, executions.c.integration)
            .join(executions, executions.c.id == suspensions.c.execution_id)
            .where(*where)
            .order_by(
                suspensions.c.created_at,
                suspensions.c.execution_id,
                suspensions.c.task_number,
                suspensions.c.attempt,  # two attempts may suspend within one tick of the clock
            )
        )
        with self.database.read() as connection:
            return [_to_suspension(row) for row in connection.execute(statement.limit(limit))]


class _Answered(Exception):
    """Rolls the transaction of a reminder back."""


_IS_PENDING: Final = suspensions.c.state == SuspensionState.PENDING.value


def _of(key: AttemptKey) -> sa.ColumnElement[bool]:
    return sa.and_(
        suspensions.c.execution_id == key.execution_id,
        suspensions.c.task_number == key.number,
        suspensions.c.attempt == key.attempt,
    )


def _to_suspension(row: sa.Row[Any]) -> Suspension:
    return Suspension(
        execution_id=row.execution_id,
        integration=row.integration,
        task_number=row.task_number,
        attempt=row.attempt,
        state=SuspensionState(row.state),
        terms=json.loads(row.terms),
        is_timer=row.is_timer,
        created_at=row.created_at,
        expires_at=row.expires_at,
        resolved_at=row.resolved_at,
        resolver=row.resolver,
        result=None if row.result is None else parse_value(json.loads(row.result), "result"),
        reminders=row.reminders,
    )
