"""The workers, by their heartbeat: every start of a worker keeps a row of its own new.

A claimed attempt, or chunk, names its owner, and is leased to it for as long as the owner's heartbeat lasts: one small
write a worker and beat, however much it holds. So a row is never dropped while its worker holds anything.

Whether a worker is gone is judged by two rules:

* On the same machine the process table knows: a worker is gone if its process is, at once; and as long as it is there
  nobody else may take what it holds, however long it is silent.
* Of another machine there is only the heartbeat: after ``LEASE_S`` of silence a worker counts as gone. But a judge must
  have beaten steadily for as long itself; otherwise it is the database that was away, for everybody.

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
from orchestrator.store.kinds import WorkerState
from orchestrator.store.tables import chunks, later, live_attempts, now, workers

BEAT_S: Final = 5.0
LEASE_S: Final = 9.0  # one beat may be late; and work goes on elsewhere within two
_LATE_CLAIM_S: Final = 60.0  # what a dying process had on its way to the database was written by then
_FORGOTTEN_S: Final = 86_400.0
_IS_SILENT: Final = workers.c.beat_at < later(-LEASE_S)
_IS_LIVE: Final = sa.and_(sa.not_(_IS_SILENT), workers.c.state != WorkerState.LOST.value)
_HOLDS: Final = sa.or_(
    sa.exists().where(live_attempts.c.owner == workers.c.id), sa.exists().where(chunks.c.owner == workers.c.id)
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Boot:
    """One start of a worker.

    Attributes:
        id: of this start; what it claims is owned by it.
        name: Celery's node name, the same after every start.
        machine: whose process table has its main process.
        pid, began: of its main process; ``began`` in clock ticks since the machine did.
    """

    id: str
    name: str
    machine: str
    pid: int
    began: int


@dataclass(frozen=True, kw_only=True, slots=True)
class LiveWorker:
    """A worker that beats."""

    id: str
    name: str
    state: WorkerState
    queues: tuple[str, ...]
    started_at: datetime
    beat_at: datetime


@dataclass(frozen=True, kw_only=True, slots=True)
class Suspect:
    """A worker that may be gone.

    Attributes:
        boot: which one.
        silent_s: how long ago its last beat was.
        may_be_judged: whether its silence counts: it lasts, and the judge has heard everything meanwhile.
    """

    boot: Boot
    silent_s: float
    may_be_judged: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Held:
    """A process of some worker that holds something of an execution."""

    execution_id: str
    worker: str


class WorkerStore:
    """Keeps and finds the workers, and what they hold."""

    def __init__(self, database: Database) -> None:
        self.database = database

    def beat(self, boot: Boot, queues: Sequence[str], state: WorkerState = WorkerState.READY) -> None:
        """Say that a worker is there, what it consumes and what it is about."""
        insert: Any = sqlite_insert(workers) if self.database.is_sqlite else postgresql_insert(workers)
        insert = insert.values(
            id=boot.id,
            name=boot.name,
            machine=boot.machine,
            pid=boot.pid,
            began=boot.began,
            queues=json.dumps(list(queues)),
            state=state.value,
            beat_at=now(),
            steady_since=now(),
        )
        renewed = {
            "queues": insert.excluded.queues,
            "state": insert.excluded.state,
            "beat_at": now(),
            "steady_since": sa.case((_IS_SILENT, now()), else_=workers.c.steady_since),
        }
        with self.database.begin(is_durable=False) as connection:
            connection.execute(insert.on_conflict_do_update(index_elements=[workers.c.id], set_=renewed))

    def leave(self, worker_id: str) -> None:
        """Say that a worker is gone. One that holds something still stays to be judged."""
        with self.database.begin(is_durable=False) as connection:
            connection.execute(sa.delete(workers).where(workers.c.id == worker_id, sa.not_(_HOLDS)))

    def forget_lost(self) -> None:
        """Drop the rows of those that were killed long ago."""
        with self.database.begin(is_durable=False) as connection:
            connection.execute(sa.delete(workers).where(workers.c.beat_at < later(-_FORGOTTEN_S), sa.not_(_HOLDS)))

    def live(self) -> tuple[LiveWorker, ...]:
        """The workers that are alive, by name."""
        with self.database.read() as connection:
            return live_workers(connection)

    # -- who is gone -----------------------------------------------------------------------------------------------

    def suspects(self, judge: Boot) -> list[Suspect]:
        """Workers that are silent, or that the judge's own process table knows, but for the judge."""
        own = workers.alias()
        is_steady = sa.exists().where(own.c.id == judge.id, own.c.steady_since < later(-LEASE_S))
        statement = sa.select(
            workers, now().label("clock"), sa.and_(_IS_SILENT, is_steady).label("may_be_judged")
        ).where(
            workers.c.id != judge.id,
            sa.or_(workers.c.machine == judge.machine, _IS_SILENT),
            sa.or_(workers.c.state != WorkerState.LOST.value, workers.c.beat_at > later(-_LATE_CLAIM_S)),
        )
        with self.database.read() as connection:
            return [
                Suspect(
                    boot=Boot(id=row.id, name=row.name, machine=row.machine, pid=row.pid, began=row.began),
                    silent_s=(row.clock - row.beat_at).total_seconds(),
                    may_be_judged=bool(row.may_be_judged),
                )
                for row in connection.execute(statement)
            ]

    def held_by(self, worker_id: str, *, limit: int, after: Held | None = None) -> list[Held]:
        """What a worker holds, an entry for each execution and process, in order; a page of it."""
        found = [
            sa.select(table.c.execution_id, table.c.worker).where(table.c.owner == worker_id)
            for table in (live_attempts, chunks)
        ]
        held = sa.union(*found).subquery()
        statement = sa.select(held).order_by(held.c.execution_id, held.c.worker).limit(limit)
        if after is not None:
            place = sa.tuple_(held.c.execution_id, held.c.worker)
            statement = statement.where(place > (after.execution_id, after.worker))
        with self.database.read() as connection:
            return [Held(execution_id=row.execution_id, worker=row.worker) for row in connection.execute(statement)]

    def executions_of(self, worker: str) -> list[str]:
        """The executions that a process of some worker holds something of."""
        found = [sa.select(table.c.execution_id).where(table.c.worker == worker) for table in (live_attempts, chunks)]
        with self.database.read() as connection:
            return [*connection.execute(sa.union(*found)).scalars()]

    def mark_lost(self, worker_id: str) -> None:
        """What it held was taken from it. If it beats again it counts again."""
        with self.database.begin(is_durable=False) as connection:
            connection.execute(sa.update(workers).where(workers.c.id == worker_id).values(state=WorkerState.LOST.value))


def live_workers(connection: sa.Connection) -> tuple[LiveWorker, ...]:
    """The workers that are alive, by name; within a transaction."""
    rows = connection.execute(sa.select(workers).where(_IS_LIVE).order_by(workers.c.name, workers.c.id))
    return tuple(
        LiveWorker(
            id=row.id,
            name=row.name,
            state=WorkerState(row.state),
            queues=tuple(json.loads(row.queues)),
            started_at=row.started_at,
            beat_at=row.beat_at,
        )
        for row in rows
    )
