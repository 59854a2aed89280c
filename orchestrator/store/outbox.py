"""The outbox: what is ready for a worker, and for which there may be no message any more.

There is no table of messages: a live attempt that nobody has claimed is what a message is to be sent for. Whether it
was sent, or lost with its broker, is not written down, because that would be a write for each message; it shows when
fewer messages wait in a queue than attempts for it do (``service.recovery``).

What must not happen: a row that is taken twice within ``AGAIN_S``, or by a worker whose turn is over.
"""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa

from orchestrator.store.database import Database
from orchestrator.store.duties import DutyStore, check
from orchestrator.store.rows import LiveAttempt, Phase, Signal, to_live
from orchestrator.store.tables import executions, later, live_attempts, now

SETTLED_S: Final = 2.0  # what was committed more recently is still being published, or claimed
AGAIN_S: Final = 30.0
_IS_READY: Final = sa.and_(
    live_attempts.c.executor == sa.bindparam("b_executor"),
    live_attempts.c.worker.is_(None),
    live_attempts.c.phase != Phase.WAIT.value,
    live_attempts.c.queued_at < later(-SETTLED_S),
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
        """How many attempts have been, counted no further than ``up_to``."""
        ready = sa.select(sa.literal(1)).where(_IS_READY).limit(up_to).subquery()
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
        is_due = sa.or_(live_attempts.c.published_at.is_(None), live_attempts.c.published_at < later(-AGAIN_S))
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


def _duty(executor: str) -> str:
    return f"publish {executor}"
