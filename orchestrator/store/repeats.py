"""Repeated requests in the database: which copy of a request acts, and what it answered.

    (nothing) --claim--> acts --answer--> answered
                          | ^
                          | +--claim: it gave up, or has not answered within ``ACTS_S``
                          +--give_up--> waits for another copy

A copy that comes more than ``SAME_WITHIN_S`` after the first one is a request of its own, whatever the row says. The
clock is the database's, so it does not matter which process a copy comes to.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, cast

import sqlalchemy as sa

from orchestrator.model.json_text import Json, to_json_text
from orchestrator.store.creation import upsertable
from orchestrator.store.database import Database
from orchestrator.store.tables import later, now, repeats

SAME_WITHIN_S: Final = 60.0
ACTS_S: Final = 5.0
KEPT_S: Final = 3600.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Claim:
    """This copy acts. ``wish_id`` is the same for all copies of the request, also for one that acts after another."""

    wish_id: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Answered:
    """Another copy has acted, and this is what it answered."""

    answer: Mapping[str, Json]


class RepeatStore:
    """Knows the requests of the last hour that must not be done twice."""

    def __init__(self, database: Database) -> None:
        self.database = database

    def claim(self, digest: str) -> Claim | Answered | None:
        """Find out whether to act on a request; None if another copy is being acted on right now."""
        with self.database.begin() as connection:
            insert = upsertable(connection, repeats).values(
                digest=digest, wish_id=str(uuid.uuid4()), acts_until=later(ACTS_S)
            )
            is_another = repeats.c.began_at <= later(-SAME_WITHIN_S)
            is_left = sa.and_(repeats.c.answer.is_(None), repeats.c.acts_until <= now())
            taken = insert.on_conflict_do_update(
                index_elements=[repeats.c.digest],
                set_={
                    "wish_id": sa.case((is_another, insert.excluded.wish_id), else_=repeats.c.wish_id),
                    "began_at": sa.case((is_another, now()), else_=repeats.c.began_at),
                    "answer": None,
                    "acts_until": later(ACTS_S),
                },
                where=sa.or_(is_another, is_left),
            )
            wish_id = connection.execute(taken.returning(repeats.c.wish_id)).scalar_one_or_none()
            if wish_id is not None:
                return Claim(wish_id=wish_id)
            return _answered(connection, digest)

    def answer(self, digest: str, claim: Claim, answer: Mapping[str, Json]) -> Mapping[str, Json]:
        """Keep what was answered, for copies that are still to come.

        Returns:
            The answer that counts: that of another copy, if this one took so long that another one was faster.
        """
        with self.database.begin() as connection:
            kept = _open(digest, claim).values(answer=to_json_text(dict(answer)))
            is_kept = connection.execute(kept).rowcount == 1
            found = None if is_kept else _answered(connection, digest)
        return answer if found is None else found.answer

    def give_up(self, digest: str, claim: Claim) -> None:
        """Let the next copy act."""
        with self.database.begin() as connection:
            connection.execute(_open(digest, claim).values(acts_until=now()))

    def forget(self) -> None:
        """Delete what is older than ``KEPT_S``."""
        with self.database.begin(is_durable=False) as connection:
            connection.execute(sa.delete(repeats).where(repeats.c.began_at < later(-KEPT_S)))


def _open(digest: str, claim: Claim) -> sa.Update:
    """What changes the row of a request that is not answered yet."""
    is_same = sa.and_(repeats.c.digest == digest, repeats.c.wish_id == claim.wish_id)
    return sa.update(repeats).where(is_same, repeats.c.answer.is_(None))


def _answered(connection: sa.Connection, digest: str) -> Answered | None:
    found = sa.select(repeats.c.answer).where(repeats.c.digest == digest)
    answer = connection.execute(found).scalar_one_or_none()
    return None if answer is None else Answered(answer=cast("dict[str, Json]", json.loads(answer)))
