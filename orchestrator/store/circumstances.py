"""Circumstances: what else the database says of one execution at a moment, for whoever asks why it stands as it does.

What is due and when, how far its sub-executions are, which limits it waits for and who holds those, which workers are
alive. Reading it locks nothing and changes nothing.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import sqlalchemy as sa

from orchestrator.model.limits import Rate
from orchestrator.model.states import ExecutionState
from orchestrator.model.timers import TimerKind
from orchestrator.store.limit_terms import Standing, Terms, terms_of
from orchestrator.store.rows import LiveAttempt
from orchestrator.store.tables import chunks, executions, limit_holders, limit_waiters, now, timers
from orchestrator.store.workers import LiveWorker, live_workers

_SHOWN: Final = 5  # holders of a limit that are named


@dataclass(frozen=True, kw_only=True, slots=True)
class SetTimer:
    """A timer that is set. ``number`` 0 is the execution as a whole."""

    kind: TimerKind
    number: int
    attempt: int
    due_at: datetime


@dataclass(frozen=True, kw_only=True, slots=True)
class Line:
    """The line that an execution stands in.

    Attributes:
        limit: the limit's name, as ``engine.limits`` writes it.
        max_running: how many may run at once; None for any number.
        rate: how many may start in a time; None for any number.
        running: how many run.
        holders: the first of those, the longest first.
        ahead: how many are before it in the line.
    """

    limit: str
    max_running: int | None
    rate: Rate | None
    running: int
    holders: tuple[str, ...]
    ahead: int


@dataclass(frozen=True, kw_only=True, slots=True)
class InChunks:
    """How many sub-executions of a round have no rows yet: in chunks that nobody has claimed, and in those that run."""

    unclaimed: int = 0
    running: int = 0
    executor: str = ""

    @property
    def total(self) -> int:
        """All of them."""
        return self.unclaimed + self.running


_NO_CHUNKS: Final = InChunks()


@dataclass(frozen=True, kw_only=True, slots=True)
class Circumstances:
    """All of it. ``children`` counts, by task, attempt and round, the sub-executions that are awaited, by state.

    ``in_chunks`` counts in the same way those that are not begun, or not written.
    """

    timers: tuple[SetTimer, ...]
    children: Mapping[tuple[int, int, int], Mapping[ExecutionState, int]]
    in_chunks: Mapping[tuple[int, int, int], InChunks]
    line: Line | None
    workers: tuple[LiveWorker, ...]
    now: datetime

    def timer(self, kind: TimerKind, number: int = 0) -> SetTimer | None:
        """The timer of this kind of a task, or of the execution."""
        return next((each for each in self.timers if each.kind is kind and each.number == number), None)

    def children_of(self, live: LiveAttempt) -> Mapping[ExecutionState, int]:
        """The sub-executions of the present round of an attempt."""
        return self.children.get(_round(live), {})

    def chunks_of(self, live: LiveAttempt) -> InChunks:
        """Those of them that are not begun, or not written."""
        return self.in_chunks.get(_round(live), _NO_CHUNKS)


def _round(live: LiveAttempt) -> tuple[int, int, int]:
    return live.key.number, live.key.attempt, live.key.round


def read_circumstances(connection: sa.Connection, execution_id: str) -> Circumstances:
    """Read them within a transaction that began with the execution itself."""
    return Circumstances(
        timers=_timers(connection, execution_id),
        children=_children(connection, execution_id),
        in_chunks=_in_chunks(connection, execution_id),
        line=_line(connection, execution_id),
        workers=live_workers(connection),
        now=connection.execute(sa.select(now())).scalar_one(),
    )


def _timers(connection: sa.Connection, execution_id: str) -> tuple[SetTimer, ...]:
    rows = connection.execute(sa.select(timers).where(timers.c.execution_id == execution_id).order_by(timers.c.due_at))
    return tuple(
        SetTimer(kind=TimerKind(row.kind), number=row.task_number, attempt=row.attempt, due_at=row.due_at)
        for row in rows
    )


def _children(connection: sa.Connection, execution_id: str) -> dict[tuple[int, int, int], Mapping[ExecutionState, int]]:
    of_round = (executions.c.parent_task, executions.c.parent_attempt, executions.c.parent_round)
    counted = sa.select(*of_round, executions.c.state, sa.func.count().label("number")).where(
        executions.c.parent_id == execution_id, executions.c.parent_round.is_not(None)
    )
    found: dict[tuple[int, int, int], Counter[ExecutionState]] = defaultdict(Counter)
    for row in connection.execute(counted.group_by(*of_round, executions.c.state)):
        found[row.parent_task, row.parent_attempt, row.parent_round][ExecutionState(row.state)] = row.number
    return dict(found)


def _in_chunks(connection: sa.Connection, execution_id: str) -> dict[tuple[int, int, int], InChunks]:
    of_round, left = (chunks.c.task_number, chunks.c.attempt, chunks.c.round), chunks.c.size - chunks.c.done
    counted = sa.select(
        *of_round,
        sa.func.min(chunks.c.executor).label("executor"),
        sa.func.sum(sa.case((chunks.c.worker.is_(None), left), else_=0)).label("unclaimed"),
        sa.func.sum(sa.case((chunks.c.worker.is_(None), 0), else_=left)).label("running"),
    ).where(chunks.c.execution_id == execution_id)
    return {
        (row.task_number, row.attempt, row.round): InChunks(
            unclaimed=row.unclaimed, running=row.running, executor=row.executor
        )
        for row in connection.execute(counted.group_by(*of_round))
    }


def _line(connection: sa.Connection, execution_id: str) -> Line | None:
    mine = sa.select(limit_waiters).where(
        limit_waiters.c.execution_id == execution_id, limit_waiters.c.standing == Standing.IN_LINE.value
    )
    place = connection.execute(mine).one_or_none()
    if place is None:
        return None
    held = sa.select(limit_holders.c.execution_id).where(limit_holders.c.limit_name == place.limit_name)
    order = sa.tuple_(limit_waiters.c.rank, limit_waiters.c.since, limit_waiters.c.execution_id)
    before = sa.select(sa.func.count()).where(
        limit_waiters.c.limit_name == place.limit_name,
        limit_waiters.c.standing == Standing.IN_LINE.value,
        order < sa.tuple_(place.rank, sa.literal(place.since, limit_waiters.c.since.type), place.execution_id),
    )
    terms = terms_of(connection, [place.limit_name]).get(place.limit_name, Terms())
    first = held.order_by(limit_holders.c.since, limit_holders.c.execution_id).limit(_SHOWN)
    return Line(
        limit=place.limit_name,
        max_running=terms.max_running,
        rate=terms.rate,
        running=connection.execute(sa.select(sa.func.count()).select_from(held.subquery())).scalar_one(),
        holders=tuple(connection.execute(first).scalars()),
        ahead=connection.execute(before).scalar_one(),
    )
