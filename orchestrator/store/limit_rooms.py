"""Room: what is free of limits, and who is first in line; and what nobody was told of: see ``look``.

On PostgreSQL whoever decides about limits locks them, all at once and in order, with advisory locks: a key has no row
of its own that could be locked. Names are spread over ``_STRIPES`` locks, because a transaction may ask for ten
thousand keys, and the server has room for some thousand locks. On SQLite there is one writer at a time.
"""

from __future__ import annotations

import zlib
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Final

import sqlalchemy as sa

from orchestrator.engine.limits import PATIENCE, Room, Turn, is_kept
from orchestrator.model.limits import Rate
from orchestrator.model.states import FINAL_EXECUTION_STATES
from orchestrator.store.kinds import Hold
from orchestrator.store.limit_terms import Standing, Terms, chunks, terms_of
from orchestrator.store.tables import executions, later, limit_holders, limit_starts, limit_waiters, now

UNSTARTED_S: Final = 5.0  # whoever admits an execution starts it within milliseconds
IN_LINE: Final = limit_waiters.c.standing == Standing.IN_LINE.value
IN_ORDER: Final = (limit_waiters.c.rank, limit_waiters.c.since, limit_waiters.c.execution_id)
_STRIPES: Final = 512
_LOCK_SPACE: Final = zlib.crc32(b"orchestrator limits") >> 1  # apart from the other advisory locks; a positive int4
_FINAL: Final = [state.value for state in FINAL_EXECUTION_STATES]


@dataclass(frozen=True, kw_only=True, slots=True)
class Look:
    """What there is to do without a cause.

    Attributes:
        open: limits that have room, and a line.
        unstarted: executions that were admitted, and that somebody should have started.
        over: executions that are over, and still hold a slot.
        next_in_s: in how many seconds a rate lets the next one start.
    """

    open: frozenset[str]
    unstarted: tuple[str, ...]
    over: tuple[str, ...]
    next_in_s: float | None


def lock_limits(connection: sa.Connection, names: Iterable[str]) -> None:
    """Let one transaction at a time decide about these limits, until it ends."""
    if connection.dialect.name == "sqlite":
        return  # BEGIN IMMEDIATE has done so already
    stripes = sorted({zlib.crc32(name.encode()) % _STRIPES for name in names})
    each = sa.text("SELECT pg_advisory_xact_lock(:space, stripe) FROM unnest(CAST(:stripes AS int[])) AS stripe")
    connection.execute(each, {"space": _LOCK_SPACE, "stripes": stripes})


def rooms_of(connection: sa.Connection, names: Collection[str], terms: Mapping[str, Terms]) -> dict[str, Room]:
    """What is free of these limits, and kept; nobody is in line as yet."""
    running: dict[str, int] = {}
    for chunk in chunks(names):
        held = sa.select(limit_holders.c.limit_name, sa.func.count()).where(limit_holders.c.limit_name.in_(chunk))
        running |= {row.limit_name: row[1] for row in connection.execute(held.group_by(limit_holders.c.limit_name))}
    rooms = {}
    for name in names:
        mine, rate = terms.get(name, Terms()), rate_of(name, terms)
        free = [] if mine.max_running is None else [mine.max_running - running.get(name, 0)]
        if rate is not None:
            free.append(rate.count - _started(connection, name, rate))
        rooms[name] = Room(free=min(free, default=None))
    for name, turn in _kept(connection, [name for name in names if is_kept(name, PATIENCE) and rooms[name].is_open]):
        rooms[name].kept_for.append(turn)
    return rooms


def rate_of(name: str, terms: Mapping[str, Terms]) -> Rate | None:
    """How many may start in a time under this limit; None for any number."""
    return terms[name].rate if name in terms else None


def _started(connection: sa.Connection, name: str, rate: Rate) -> int:
    """How many have started in the time of the rate that ends now."""
    lately = sa.select(sa.func.count()).where(
        limit_starts.c.limit_name == name, limit_starts.c.started_at > later(-rate.period_s)
    )
    return int(connection.execute(lately).scalar_one())


def _kept(connection: sa.Connection, names: Collection[str]) -> Iterable[tuple[str, Turn]]:
    for chunk in chunks(names):
        kept = sa.select(limit_waiters.c.limit_name, *IN_ORDER).where(
            limit_waiters.c.limit_name.in_(chunk), limit_waiters.c.standing == Standing.KEPT.value
        )
        for row in connection.execute(kept):
            yield row.limit_name, (row.rank, row.since, row.execution_id)


def first_in_lines(connection: sa.Connection, names: Collection[str]) -> dict[str, Turn]:
    """Who is first in each line. Lines are short where there is room."""
    found: dict[str, Turn] = {}
    place = sa.func.row_number().over(partition_by=limit_waiters.c.limit_name, order_by=IN_ORDER).label("place")
    for chunk in chunks(names):
        in_line = sa.select(limit_waiters.c.limit_name, *IN_ORDER, place)
        placed = in_line.where(limit_waiters.c.limit_name.in_(chunk), IN_LINE).subquery()
        for row in connection.execute(sa.select(placed).where(placed.c.place == 1)):
            found[row.limit_name] = (row.rank, row.since, row.execution_id)
    return found


def look(connection: sa.Connection) -> Look:
    """See what a crash has left undone, and which rates let somebody start now. Locks nothing, changes nothing."""
    names = _names_in_line(connection)
    terms = terms_of(connection, names)
    rooms = rooms_of(connection, names, terms)
    waits = [
        _wait_s(connection, name, rate)
        for name in names
        if not rooms[name].is_open and (rate := rate_of(name, terms)) is not None
    ]
    stranded = (
        sa.select(executions.c.id, executions.c.state)
        .where(executions.c.id == limit_holders.c.execution_id)
        .where(
            sa.or_(
                executions.c.state.in_(_FINAL),
                sa.and_(
                    executions.c.hold == Hold.LIMITED.value,
                    executions.c.signal.is_(None),  # one that is told to end never starts
                    limit_holders.c.since <= later(-UNSTARTED_S),
                ),
            )
        )
    )
    # In order here and not there: SQLite would go through all executions for it, in the order of their keys.
    rows = sorted({(row.id, row.state) for row in connection.execute(stranded)})
    return Look(
        open=frozenset(name for name in names if rooms[name].is_open),
        unstarted=tuple(execution_id for execution_id, state in rows if state not in _FINAL),
        over=tuple(execution_id for execution_id, state in rows if state in _FINAL),
        next_in_s=min((wait for wait in waits if wait is not None), default=None),
    )


def _names_in_line(connection: sa.Connection) -> list[str]:
    """The limits that have a line: one step along the index for each, however long the lines are."""
    first = sa.select(sa.func.min(limit_waiters.c.limit_name).label("name")).where(IN_LINE)
    names = first.cte("names", recursive=True)
    following = sa.select(sa.func.min(limit_waiters.c.limit_name)).where(
        IN_LINE, limit_waiters.c.limit_name > names.c.name
    )
    names = names.union_all(sa.select(following.scalar_subquery()).where(names.c.name.is_not(None)))
    return list(connection.execute(sa.select(names.c.name).where(names.c.name.is_not(None))).scalars())


def _wait_s(connection: sa.Connection, name: str, rate: Rate) -> float | None:
    """In how many seconds the rate lets the next one start; None if it does now."""
    recent = sa.select(limit_starts.c.started_at, now().label("clock")).where(limit_starts.c.limit_name == name)
    recent = recent.order_by(limit_starts.c.started_at.desc()).offset(rate.count - 1).limit(1)
    row = connection.execute(recent).one_or_none()
    wait_s = 0.0 if row is None else rate.period_s - (row.clock - row.started_at).total_seconds()
    return wait_s if wait_s > 0 else None
