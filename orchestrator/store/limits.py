"""Slots: who holds one of a limit, who waits, and who takes the next. Whose turn it is, ``engine.limits`` decides.

    enter      a new execution takes a slot of each of its limits, or stands in line: in the transaction that creates it
    leave      an execution that is over, or was withdrawn, gives back what it has: in the transaction that ends it
    take_turn  those in line take what has become free: in a transaction after that. The caller starts them then

How many run is the number of rows in ``limit_holders``: there is no counter that could drift. ``enter`` and
``take_turn`` lock the limits that they decide about (``limit_rooms``). ``leave`` locks none: what it deletes is seen by
whoever decides after its commit. ``take_turn`` waits for no row, so it cannot be part of a deadlock: an execution that
somebody else is withdrawing is passed over.

An execution needs no slot of a limit that an ancestor holds, as long as each waits for the next: it would wait for that
very ancestor. One that nobody waits for needs its own: else an integration could start itself for ever, past its limit.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import sqlalchemy as sa

from orchestrator.engine.canvas import MOST_URGENT
from orchestrator.engine.limits import Turn, Turns, Waiter, full_limit, give_turns, is_kept
from orchestrator.model.states import FINAL_EXECUTION_STATES
from orchestrator.store.kinds import DEFAULT_PRIORITY, Hold
from orchestrator.store.limit_rooms import IN_LINE, IN_ORDER, first_in_lines, lock_limits, rate_of, rooms_of
from orchestrator.store.limit_terms import Standing, Terms, chunks, terms_of
from orchestrator.store.tables import executions, later, limit_holders, limit_starts, limit_waiters, now

FEW: Final = 2  # of a line, looked at beyond the free slots: some go over to other lines
MANY: Final = 200  # when few were not enough
_LATEST: Final = datetime.max.replace(tzinfo=UTC)
_FINAL: Final = [state.value for state in FINAL_EXECUTION_STATES]


@dataclass(frozen=True, kw_only=True, slots=True)
class Entrant:
    """A new execution. ``needs`` is what ``limits_for`` says; ``awaited_by`` the parent, if it waits for this one."""

    execution_id: str
    needs: tuple[str, ...]
    priority: int = DEFAULT_PRIORITY
    awaited_by: str | None = None

    @property
    def rank(self) -> int:
        """The most urgent has the lowest."""
        return MOST_URGENT - self.priority


@dataclass(frozen=True, kw_only=True, slots=True)
class Admission:
    """Who took a turn, in order; and, unless all is done, the limits to take turns at again and how many to look at."""

    admitted: tuple[str, ...] = ()
    again: frozenset[str] = frozenset()
    look_at: int = FEW


# -- coming and going ----------------------------------------------------------------------------------------------


def enter(connection: sa.Connection, entrants: Sequence[Entrant]) -> dict[str, bool]:
    """Ask for the slots of new executions, before their rows are written or after.

    Returns:
        Of those that a limit holds for: whether they may start now, or have to wait. The others are left out.
    """
    terms = terms_of(connection, {need for each in entrants for need in each.needs})
    asking = _asking(connection, entrants, terms) if terms else []
    if not asking:
        return {}
    names = {need for _, needs in asking for need in needs}
    lock_limits(connection, names)
    rooms = rooms_of(connection, names, terms)
    for name, turn in first_in_lines(connection, [name for name in names if rooms[name].is_open]).items():
        rooms[name].first_in_line = turn
    admitted: list[tuple[str, tuple[str, ...]]] = []
    waiting: list[tuple[Entrant, tuple[str, ...], str]] = []
    for entrant, needs in asking:
        turn = (entrant.rank, _LATEST, entrant.execution_id)
        line = full_limit(needs, rooms, turn)
        if line is not None:
            waiting.append((entrant, needs, line))
            continue
        admitted.append((entrant.execution_id, needs))
        for name in needs:
            rooms[name].take(turn)
    _hold(connection, admitted, terms)
    _wait(connection, waiting)
    return {execution_id: True for execution_id, _ in admitted} | {each.execution_id: False for each, *_ in waiting}


def enter_late(connection: sa.Connection, entrant: Entrant) -> bool:
    """Ask for the slots of an execution whose start was put off until now. It is LIMITED from now on, if it has limits.

    Returns:
        Whether it may start. False also if it is not put off any more: then somebody else sees to it.
    """
    is_it = executions.c.id == entrant.execution_id
    put_off = (
        sa.select(executions.c.hold).where(is_it, executions.c.state.not_in(_FINAL)).with_for_update(key_share=True)
    )
    if connection.execute(put_off).scalar_one_or_none() != Hold.SCHEDULED:
        return False
    answer = enter(connection, [entrant])
    if not answer:
        return True
    connection.execute(sa.update(executions).where(is_it).values(hold=Hold.LIMITED.value, is_limited=True))
    return answer[entrant.execution_id]


def leave(connection: sa.Connection, *execution_ids: str) -> frozenset[str]:
    """Give back the slots of executions that are over, and let them stand in no line.

    Call it last in the transaction, or at least after the rows of ``executions`` are locked.

    Returns:
        The limits at which it may be somebody's turn after the commit.
    """
    freed: set[str] = set()
    for chunk in chunks(execution_ids):
        # Locked in order, so that two who withdraw the same ones do not wait for each other.
        mine = limit_waiters.c.execution_id.in_(chunk)
        in_order = sa.select(limit_waiters.c.limit_name).where(mine)
        in_order = in_order.order_by(limit_waiters.c.execution_id, limit_waiters.c.limit_name).with_for_update()
        freed |= set(connection.execute(in_order).scalars())
        connection.execute(sa.delete(limit_waiters).where(mine))
        # A statement of its own, after the lock: it sees what a turn has made of them meanwhile.
        held = sa.delete(limit_holders).where(limit_holders.c.execution_id.in_(chunk))
        freed |= set(connection.execute(held.returning(limit_holders.c.limit_name)).scalars())
    return frozenset(freed)


def _asking(
    connection: sa.Connection, entrants: Sequence[Entrant], terms: Mapping[str, Terms]
) -> list[tuple[Entrant, tuple[str, ...]]]:
    """Whom a limit holds for, and which."""
    above: dict[str, set[str]] = {}
    asking = []
    for each in entrants:
        needs = [name for name in each.needs if name in terms]
        if needs and each.awaited_by is not None:
            if each.awaited_by not in above:
                above[each.awaited_by] = _held_from(connection, each.awaited_by)
            needs = [name for name in needs if name not in above[each.awaited_by]]
        if needs:
            asking.append((each, tuple(needs)))
    return asking


def _held_from(connection: sa.Connection, execution_id: str) -> set[str]:
    """The limits held by an execution and by all that wait for it, up to the root."""
    awaited_by = sa.case((executions.c.parent_round.is_not(None), executions.c.parent_id))
    up = sa.select(executions.c.id, awaited_by.label("above")).where(executions.c.id == execution_id)
    up_cte = up.cte("up", recursive=True)
    up_cte = up_cte.union_all(sa.select(executions.c.id, awaited_by).join(up_cte, executions.c.id == up_cte.c.above))
    held = sa.select(limit_holders.c.limit_name).join(up_cte, limit_holders.c.execution_id == up_cte.c.id)
    return set(connection.execute(held).scalars())


def _hold(
    connection: sa.Connection, admitted: Iterable[tuple[str, tuple[str, ...]]], terms: Mapping[str, Terms]
) -> None:
    rows = [{"limit_name": name, "execution_id": execution_id} for execution_id, needs in admitted for name in needs]
    if not rows:
        return
    connection.execute(sa.insert(limit_holders), rows)
    rates = {name: rate for name in {row["limit_name"] for row in rows} if (rate := rate_of(name, terms)) is not None}
    if not rates:
        return
    connection.execute(sa.insert(limit_starts), [row for row in rows if row["limit_name"] in rates])
    for name, rate in rates.items():
        starts = sa.delete(limit_starts).where(limit_starts.c.limit_name == name)
        connection.execute(starts.where(limit_starts.c.started_at <= later(-rate.period_s)))


def _wait(connection: sa.Connection, waiting: Sequence[tuple[Entrant, tuple[str, ...], str]]) -> None:
    if not waiting:
        return
    first = _next_since(connection, {(line, entrant.rank) for entrant, _, line in waiting})
    rows = [
        {
            "limit_name": name,
            "execution_id": entrant.execution_id,
            "rank": entrant.rank,
            "since": first + timedelta(microseconds=position),  # those that come together keep their order
            "needs": len(needs),
            "standing": (Standing.IN_LINE if name == line else Standing.ELSEWHERE).value,
        }
        for position, (entrant, needs, line) in enumerate(waiting)
        for name in needs
    ]
    connection.execute(sa.insert(limit_waiters), rows)


def _next_since(connection: sa.Connection, joined: Iterable[tuple[str, int]]) -> datetime:
    """The clock; on SQLite, which counts milliseconds, past those of the same rank who came within this one."""
    clock: datetime = connection.execute(sa.select(now())).scalar_one()
    if connection.dialect.name != "sqlite":
        return clock
    for line, rank in joined:
        same = sa.select(limit_waiters.c.since).where(limit_waiters.c.limit_name == line, limit_waiters.c.rank == rank)
        same = same.where(IN_LINE).order_by(limit_waiters.c.since.desc()).limit(1)
        last = connection.execute(same).scalar_one_or_none()
        if last is not None and last >= clock:
            clock = last + timedelta(microseconds=1)
    return clock


# -- turns ---------------------------------------------------------------------------------------------------------


def take_turn(connection: sa.Connection, names: Collection[str], *, look_at: int = FEW) -> Admission:
    """Let those in line at these limits take what is free there, in order.

    Args:
        connection: of a transaction of its own, soon after the one that made room.
        names: the limits that may have room.
        look_at: how many of a line are looked at beyond the free slots.

    Returns:
        Whom to start, after the commit. If there is an ``again``, go on with that at once.
    """
    lock_limits(connection, names)
    terms = terms_of(connection, names)
    rooms = rooms_of(connection, names, terms)
    lines = {
        name: _line(connection, name, min(MANY if room.free is None else room.free, MANY) + look_at)
        for name, room in rooms.items()
        if room.is_open
    }
    if not any(line.turns for line in lines.values()):
        return Admission()
    found = _load(connection, [turn[2] for line in lines.values() for turn in line.turns])
    # Whose other limits are not locked here has its turn once more, with those; nobody passes it meanwhile.
    later_on = [each for each in found.waiters if not rooms.keys() >= set(each.needs)]
    for name, line in lines.items():
        rooms[name].first_in_line = min(
            [*line.beyond, *(each.turn for each in later_on if each.line == name)], default=None
        )
    turns = give_turns([each for each in found.waiters if each not in later_on], rooms)
    _write(connection, turns, terms)
    for chunk in chunks(found.over):
        connection.execute(sa.delete(limit_waiters).where(limit_waiters.c.execution_id.in_(chunk)))
    again = {name for each in later_on for name in (*names, *each.needs)}
    if turns.admitted or turns.moved or found.over:
        again |= {need for name, line in lines.items() if line.beyond and rooms[name].is_open for need in names}
    return Admission(
        admitted=tuple(each.execution_id for each in turns.admitted),
        again=frozenset(again),
        look_at=min(4 * look_at, MANY),
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class _Line:
    """The front of a line, and the first behind it, if anybody is."""

    turns: list[Turn]
    beyond: list[Turn]


@dataclass(frozen=True, kw_only=True, slots=True)
class _Found:
    """Those in front: who waits, and whose execution is over."""

    waiters: list[Waiter] = field(default_factory=list)
    over: list[str] = field(default_factory=list)


def _line(connection: sa.Connection, name: str, length: int) -> _Line:
    in_line = sa.select(*IN_ORDER).where(limit_waiters.c.limit_name == name, IN_LINE)
    rows = connection.execute(in_line.order_by(*IN_ORDER).limit(length + 1))
    turns = [(row.rank, row.since, row.execution_id) for row in rows]
    return _Line(turns=turns[:length], beyond=turns[length:])


def _load(connection: sa.Connection, execution_ids: Collection[str]) -> _Found:
    """Read and lock those that wait. Whom somebody else has locked, or has told to end, is left out: it is going."""
    rows_of: dict[str, list[Any]] = defaultdict(list)
    states: dict[str, Any] = {}
    for chunk in chunks(execution_ids):
        mine = sa.select(limit_waiters).where(limit_waiters.c.execution_id.in_(chunk))
        for row in connection.execute(mine.with_for_update(skip_locked=True)):
            rows_of[row.execution_id].append(row)
        # Not joined: a server that has no statistics yet would read all executions for it.
        found_states = sa.select(executions.c.id, executions.c.state, executions.c.signal)
        states |= {row.id: row for row in connection.execute(found_states.where(executions.c.id.in_(chunk)))}
    found = _Found()
    for execution_id, rows in rows_of.items():
        if len(rows) != rows[0].needs:
            continue
        if states[execution_id].state in _FINAL:
            found.over.append(execution_id)
        elif states[execution_id].signal is None:
            found.waiters.append(_to_waiter(rows))
    return found


def _to_waiter(rows: Sequence[Any]) -> Waiter:
    line = next(row for row in rows if row.standing == Standing.IN_LINE)
    return Waiter(
        execution_id=line.execution_id,
        rank=line.rank,
        since=line.since,
        needs=tuple(row.limit_name for row in rows),
        line=line.limit_name,
        lost=line.lost,
    )


def _write(connection: sa.Connection, turns: Turns, terms: Mapping[str, Terms]) -> None:
    for chunk in chunks([each.execution_id for each in turns.admitted]):
        connection.execute(sa.delete(limit_waiters).where(limit_waiters.c.execution_id.in_(chunk)))
    _hold(connection, [(each.execution_id, each.needs) for each in turns.admitted], terms)
    leaving: dict[tuple[str, bool], list[str]] = defaultdict(list)
    joining: dict[str, list[str]] = defaultdict(list)
    for each, line in turns.moved:
        leaving[each.line, is_kept(each.line, each.lost + 1)].append(each.execution_id)
        joining[line].append(each.execution_id)
    for (line, is_now_kept), ids in leaving.items():
        standing = Standing.KEPT if is_now_kept else Standing.ELSEWHERE
        _stand(connection, line, ids, standing=standing.value, lost=limit_waiters.c.lost + 1)
    for line, ids in joining.items():
        _stand(connection, line, ids, standing=Standing.IN_LINE.value)


def _stand(connection: sa.Connection, line: str, execution_ids: Collection[str], **values: Any) -> None:
    for chunk in chunks(execution_ids):
        mine = sa.and_(limit_waiters.c.limit_name == line, limit_waiters.c.execution_id.in_(chunk))
        connection.execute(sa.update(limit_waiters).where(mine).values(**values))
