"""The outbox: what is ready for a worker, and for which there may be no message any more.

There is no table of messages: a live attempt, or a chunk, that nobody has claimed is what a message is to be sent for.
Whether it was sent, or lost with its broker, is not written down, because that would be a write for each message; it
shows when fewer messages wait in a queue than attempts and chunks for it do (``service.recovery``). An attempt that
rides with another one needs no message as long as that one waits for its own (``store.bundles``).

What must not happen: a row that is taken twice within ``AGAIN_S``, or by a worker whose turn is over.
"""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa

from orchestrator.store.bundles import HAS_NO_RIDE
from orchestrator.store.database import Database
from orchestrator.store.duties import DutyStore, check
from orchestrator.store.kinds import Phase, Signal
from orchestrator.store.rows import LiveAttempt, NewChunk, to_chunk, to_live
from orchestrator.store.tables import chunks, executions, later, live_attempts, now

SETTLED_S: Final = 2.0  # what was committed more recently is still being published, or claimed
AGAIN_S: Final = 30.0
_IS_READY: Final = sa.and_(
    live_attempts.c.executor == sa.bindparam("b_executor"),
    live_attempts.c.worker.is_(None),
    live_attempts.c.phase != Phase.WAIT.value,
    live_attempts.c.queued_at < later(-SETTLED_S),
    HAS_NO_RIDE,
)

_IS_CHUNK_READY: Final = sa.and_(
    chunks.c.executor == sa.bindparam("b_executor"), chunks.c.worker.is_(None), chunks.c.queued_at < later(-SETTLED_S)
)


class Outbox:
    """What is ready and may have no message. ``turn`` gives one worker at a time the right to publish it again."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self._duties = DutyStore(database)

    def has_ready(self, executor: str) -> bool:
        """Whether anything has been ready for so long that its message could be lost."""
        return self.count_ready(executor, up_to=1) > 0

    def count_ready(self, executor: str, *, up_to: int) -> int:
        """How many attempts and chunks have been, counted no further than ``up_to``."""
        both = sa.union_all(*(sa.select(sa.literal(1)).where(each) for each in (_IS_READY, _IS_CHUNK_READY)))
        ready = both.limit(up_to).subquery()
        with self.database.read() as connection:
            counted = connection.execute(sa.select(sa.func.count()).select_from(ready), {"b_executor": executor})
            return int(counted.scalar_one())

    def turn(self, executor: str, holder: str) -> int | None:
        """The term in which this worker may publish again for an executor; None if another one sees to it."""
        return self._duties.take(_duty(executor), holder)

    def leave(self, holder: str) -> None:
        """Leave all turns to others."""
        self._duties.leave(holder)

    def take(self, executor: str, *, holder: str, term: int, limit: int) -> list[tuple[LiveAttempt, int]]:
        """Attempts to publish again, each with the priority of its execution: those that are ready for longest.

        Raises:
            TermOver: the turn is somebody else's by now; nothing was taken.
        """
        is_due = _is_due(live_attempts)
        # The few that are marked are looked for, and not the mark of each.
        is_marked = sa.exists().where(
            executions.c.id == live_attempts.c.execution_id,
            executions.c.signal.is_not(None),
            executions.c.signal != Signal.STOPPING.value,
        )
        chosen = (
            sa.select(live_attempts.c.execution_id, live_attempts.c.task_number)
            .where(_IS_READY, is_due, ~is_marked)
            .order_by(live_attempts.c.queued_at)
            .limit(limit)
        )
        key = sa.tuple_(live_attempts.c.execution_id, live_attempts.c.task_number)
        priority = sa.select(executions.c.priority).where(executions.c.id == live_attempts.c.execution_id)
        marking = (
            sa.update(live_attempts)
            .where(key.in_(chosen), live_attempts.c.worker.is_(None))
            .values(published_at=now())
            .returning(live_attempts, priority.scalar_subquery().label("priority"))
        )
        with self.database.begin(is_durable=False) as connection:
            check(connection, _duty(executor), holder, term)
            return [(to_live(row), row.priority) for row in connection.execute(marking, {"b_executor": executor})]

    def take_chunks(self, executor: str, *, holder: str, term: int, limit: int) -> list[NewChunk]:
        """The same of chunks, which have their priority with them."""
        key = sa.tuple_(chunks.c.execution_id, chunks.c.task_number, chunks.c.attempt, chunks.c.first_position)
        chosen = sa.select(*key).where(_IS_CHUNK_READY, _is_due(chunks)).order_by(chunks.c.queued_at).limit(limit)
        marking = (
            sa.update(chunks)
            .where(key.in_(chosen), chunks.c.worker.is_(None))
            .values(published_at=now())
            .returning(chunks)
        )
        with self.database.begin(is_durable=False) as connection:
            check(connection, _duty(executor), holder, term)
            return [to_chunk(row) for row in connection.execute(marking, {"b_executor": executor})]


def _is_due(table: sa.Table) -> sa.ColumnElement[bool]:
    return sa.or_(table.c.published_at.is_(None), table.c.published_at < later(-AGAIN_S))


def _duty(executor: str) -> str:
    return f"publish {executor}"
