"""Glances: how executions stand, in as few columns as tell whether anything has changed. Any number in one query."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import sqlalchemy as sa

from orchestrator.model.states import ExecutionState
from orchestrator.store.database import Database
from orchestrator.store.tables import executions, live_attempts, texts_of

_OF_IT: Final = live_attempts.c.execution_id == executions.c.id
_BEGUN: Final = sa.select(sa.func.max(live_attempts.c.started_at)).where(_OF_IT, live_attempts.c.worker.is_not(None))
_ARRIVED: Final = sa.select(sa.func.coalesce(sa.func.sum(live_attempts.c.arrived), 0)).where(_OF_IT)
_LOOK: Final = sa.select(
    executions.c.id,
    executions.c.state,
    executions.c.revision,
    _BEGUN.scalar_subquery().label("begun_at"),
    _ARRIVED.scalar_subquery().label("arrived"),
).where(executions.c.id.in_(texts_of("b_ids")))


@dataclass(frozen=True, kw_only=True, slots=True)
class Glance:
    """How an execution stands; if two are equal, nothing has happened in between that anybody would see.

    Attributes:
        state: of the execution.
        revision: the number of entries in its history.
        begun_at: when the last of the attempts that run now began: a begin is no entry.
        arrived: of the sub-executions that are waited for now, how many are over.
    """

    state: ExecutionState
    revision: int
    begun_at: datetime | None
    arrived: int


class GlanceStore:
    """Glances at executions."""

    def __init__(self, database: Database) -> None:
        self.database = database

    def look(self, execution_ids: Sequence[str]) -> dict[str, Glance]:
        """How these stand; those that are not there are left out."""
        with self.database.read() as connection:
            return {
                row.id: Glance(
                    state=ExecutionState(row.state),
                    revision=row.revision,
                    begun_at=row.begun_at,
                    arrived=row.arrived,
                )
                for row in connection.execute(_LOOK, {"b_ids": list(execution_ids)})
            }
