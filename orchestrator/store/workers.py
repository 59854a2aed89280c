"""The workers that are alive, by their heartbeat: every worker keeps a row of its own new, and takes it with it.

A worker that was killed leaves its row; it counts for ``LIVE_BEATS`` beats more, and the row goes when another worker
starts a day later. Nothing that matters hangs on these rows: an attempt is taken from a worker by its lease alone. They
are for people who ask why nothing happens.

What must not happen: a look at any other clock than the database's, or more than one statement a beat.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert as postgresql_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert

from orchestrator.store.database import Database
from orchestrator.store.tables import later, now, workers

BEAT_S: Final = 5.0
LIVE_BEATS: Final = 3  # one may be late, two while the database restarts
_FORGOTTEN_S: Final = 86_400.0
_IS_LIVE: Final = workers.c.beat_at > later(-BEAT_S * LIVE_BEATS)


@dataclass(frozen=True, kw_only=True, slots=True)
class LiveWorker:
    """A worker that beats. ``id`` is Celery's node name and the number of its main process: ``default@host/4711``."""

    id: str
    queues: tuple[str, ...]
    started_at: datetime
    beat_at: datetime


class WorkerStore:
    """Keeps and finds the workers that are alive."""

    def __init__(self, database: Database) -> None:
        self.database = database

    def beat(self, worker: str, queues: Sequence[str]) -> None:
        """Say that a worker is there and what it consumes."""
        insert: Any = sqlite_insert(workers) if self.database.is_sqlite else postgresql_insert(workers)
        insert = insert.values(id=worker, queues=json.dumps(list(queues)))
        beat = insert.on_conflict_do_update(
            index_elements=[workers.c.id], set_={"queues": insert.excluded.queues, "beat_at": now()}
        )
        with self.database.begin(is_durable=False) as connection:
            connection.execute(beat)

    def leave(self, worker: str) -> None:
        """Say that a worker stops."""
        with self.database.begin(is_durable=False) as connection:
            connection.execute(sa.delete(workers).where(workers.c.id == worker))

    def forget_lost(self) -> None:
        """Drop the rows of those that were killed long ago."""
        with self.database.begin(is_durable=False) as connection:
            connection.execute(sa.delete(workers).where(workers.c.beat_at < later(-_FORGOTTEN_S)))

    def live(self) -> tuple[LiveWorker, ...]:
        """The workers that are alive, by name."""
        with self.database.read() as connection:
            return live_workers(connection)


def live_workers(connection: sa.Connection) -> tuple[LiveWorker, ...]:
    """Likewise, within a transaction."""
    rows = connection.execute(sa.select(workers).where(_IS_LIVE).order_by(workers.c.id))
    return tuple(
        LiveWorker(id=row.id, queues=tuple(json.loads(row.queues)), started_at=row.started_at, beat_at=row.beat_at)
        for row in rows
    )
