"""Suspensions: what waits, or waited, for a person or an outside system. They are written by ``store.commits``."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from orchestrator.model.json_text import Json
from orchestrator.model.values import Value, parse_value
from orchestrator.store.database import Database
from orchestrator.store.rows import SuspensionState
from orchestrator.store.tables import executions, suspensions


@dataclass(frozen=True, kw_only=True, slots=True)
class Suspension:
    """One suspension. ``terms`` are those of the task type; ``result`` is the answer once there is one."""

    execution_id: str
    integration: str
    task_number: int
    attempt: int
    state: SuspensionState
    terms: Mapping[str, Json]
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
        """The parameter that takes the answer."""
        name = self.terms.get("resultName")
        return name if isinstance(name, str) else None

    @property
    def who_may_resolve(self) -> tuple[str, ...]:
        """Who may answer; empty for anybody."""
        names = self.terms.get("whoMayResolve")
        return tuple(map(str, names)) if isinstance(names, list) else ()

    @property
    def is_lifted_when_expired(self) -> bool:
        """What becomes of it at the end of its time."""
        return self.terms.get("liftWhenExpired") is True


class SuspensionStore:
    """Finds suspensions."""

    def __init__(self, database: Database) -> None:
        self.database = database

    def find(self, execution_id: str, number: int, attempt: int) -> Suspension | None:
        """One suspension."""
        found = self._select(
            suspensions.c.execution_id == execution_id,
            suspensions.c.task_number == number,
            suspensions.c.attempt == attempt,
        )
        return found[0] if found else None

    def of_execution(self, execution_id: str) -> list[Suspension]:
        """All suspensions of an execution, the oldest first."""
        return self._select(suspensions.c.execution_id == execution_id)

    def find_all(self, *, state: SuspensionState | None, limit: int) -> list[Suspension]:
        """Suspensions of all executions, the oldest first; None for those in any state."""
        return self._select(*(() if state is None else (suspensions.c.state == state.value,)), limit=limit)

    def count_reminder(self, execution_id: str, number: int, attempt: int) -> None:
        """Note that somebody was reminded."""
        with self.database.begin() as connection:
            connection.execute(
                sa.update(suspensions)
                .where(
                    suspensions.c.execution_id == execution_id,
                    suspensions.c.task_number == number,
                    suspensions.c.attempt == attempt,
                )
                .values(reminders=suspensions.c.reminders + 1)
            )

    def _select(self, *where: sa.ColumnElement[bool], limit: int | None = None) -> list[Suspension]:
        statement = (
            sa.select(suspensions, executions.c.integration)
            .join(executions, executions.c.id == suspensions.c.execution_id)
            .where(*where)
            .order_by(suspensions.c.created_at, suspensions.c.execution_id, suspensions.c.task_number)
        )
        with self.database.read() as connection:
            return [_to_suspension(row) for row in connection.execute(statement.limit(limit))]


def _to_suspension(row: sa.Row[Any]) -> Suspension:
    return Suspension(
        execution_id=row.execution_id,
        integration=row.integration,
        task_number=row.task_number,
        attempt=row.attempt,
        state=SuspensionState(row.state),
        terms=json.loads(row.terms),
        created_at=row.created_at,
        expires_at=row.expires_at,
        resolved_at=row.resolved_at,
        resolver=row.resolver,
        result=None if row.result is None else parse_value(json.loads(row.result), "result"),
        reminders=row.reminders,
    )
