"""Duties: what one worker does for all of them, and whose turn it is.

A duty is held for some seconds and renewed by its holder; once that is over, anyone may take it. Each new holder begins
a new term. One that was stopped and goes on later finds that its term is over: what it writes under it is refused
(``check``, within its transaction). So nothing hangs on clocks that agree, or on a process that knows that it sleeps.
"""

from __future__ import annotations

from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert as postgresql_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert

from orchestrator.store.database import Database
from orchestrator.store.tables import duties, later, now

TURN_S: Final = 8.0


class TermOver(Exception):
    """Somebody else has the duty by now: rolls the transaction back."""


class DutyStore:
    """Who holds which duty."""

    def __init__(self, database: Database) -> None:
        self.database = database

    def take(self, name: str, holder: str) -> int | None:
        """Take a duty, or keep it for another ``TURN_S`` seconds.

        Returns:
            The term, or None if it is somebody else's.
        """
        insert: Any = sqlite_insert(duties) if self.database.is_sqlite else postgresql_insert(duties)
        insert = insert.values(name=name, holder=holder, term=1, until=later(TURN_S))
        is_mine = duties.c.holder == holder
        taking = insert.on_conflict_do_update(
            index_elements=[duties.c.name],
            set_={
                "holder": holder,
                "term": sa.case((is_mine, duties.c.term), else_=duties.c.term + 1),
                "until": later(TURN_S),
            },
            where=sa.or_(is_mine, duties.c.until <= now()),
        ).returning(duties.c.term)
        with self.database.begin(is_durable=False) as connection:
            return connection.execute(taking).scalar_one_or_none()

    def leave(self, holder: str) -> None:
        """Leave all duties to the next one; terms are counted on."""
        with self.database.begin(is_durable=False) as connection:
            connection.execute(sa.update(duties).where(duties.c.holder == holder).values(until=now()))


def check(connection: sa.Connection, name: str, holder: str, term: int) -> None:
    """Let the transaction go on only if the term still is; it cannot end before the transaction does.

    Raises:
        TermOver: roll back.
    """
    held = sa.select(duties.c.term).where(duties.c.name == name, duties.c.holder == holder, duties.c.term == term)
    if connection.execute(held.with_for_update()).one_or_none() is None:
        raise TermOver
