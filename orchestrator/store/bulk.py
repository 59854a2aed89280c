"""Writing many changes in one transaction: of each what ``store.commits`` writes of one, in a few statements for all.

lock the executions, then the attempts that end -> leave out what is not as its decision saw it -> write the rest ->
count them in their parents' joins -> give back the slots.

A single commit finds out by writing that it comes too late, and rolls back. Here that would take the others with it: so
everything that can refuse a change is locked and looked at first, and a change that is left out is not touched.

What must not happen: two of these, or one and a single commit, that wait for each other. Everybody locks executions
before live attempts, and a parent's attempt last; here each of the three in order. Who marks a tree goes from the top
down, and may meet us half-way where a page holds executions of several levels: the server then ends one of the two, and
``ExecutionStore`` tries again.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from operator import attrgetter
from typing import Any, Final

import sqlalchemy as sa

from orchestrator.store.changes import Commit, Fired, Refusal, Written
from orchestrator.store.commits import (
    ADVANCE,
    BEGIN,
    END,
    IDS,
    NUMBERS,
    advanced,
    arrive,
    change_suspensions,
    change_timers,
    join_of,
    keep_parameters,
    record,
)
from orchestrator.store.creation import insert_attempts
from orchestrator.store.kinds import AttemptKey
from orchestrator.store.limits import leave
from orchestrator.store.tables import executions, live_attempts, parameters

MOST_AT_ONCE: Final = 400  # executions: the values of one IN list, and how long others wait for their rows

_LOCK: Final = (
    sa.select(executions.c.id, executions.c.revision, executions.c.signal)
    .where(executions.c.id.in_(IDS))
    .order_by(executions.c.id)
    .with_for_update(key_share=True)
)
_LOCK_ATTEMPTS: Final = (
    sa.select(live_attempts)
    .where(live_attempts.c.execution_id.in_(IDS))
    .order_by(live_attempts.c.execution_id, live_attempts.c.task_number)
    .with_for_update()
)
_TAKE_AWAY: Final = sa.delete(live_attempts).where(
    live_attempts.c.execution_id.in_(IDS), live_attempts.c.task_number.in_(NUMBERS)
)
_FORGET_PARAMETERS: Final = sa.delete(parameters).where(parameters.c.execution_id.in_(IDS))


def write_many(connection: sa.Connection, changes: Sequence[Commit]) -> Written:
    """Write those of the changes that are still as they were decided; each as a whole.

    Args:
        connection: of a transaction that nothing was written in.
        changes: of different executions, at most ``MOST_AT_ONCE``, all of them plain.
    """
    assert len(changes) <= MOST_AT_ONCE, "others wait for what is written here"
    assert all(each.is_plain for each in changes), "nothing else could refuse one of them half-way"
    refused = _look(connection, changes)
    changes = [each for each in changes if each.execution.id not in refused]
    if not changes:
        return Written(refused=refused)
    over = [each for each in changes if each.outcome is not None]
    going_on = [each for each in changes if each.outcome is None]
    _advance(connection, over, going_on)
    _end_attempts(connection, changes)
    record(connection, changes)
    for each in changes:
        insert_attempts(connection, each.execution.id, each.ready)
    change_timers(connection, changes)
    change_suspensions(connection, changes)
    if forgetting := [each.execution.id for each in changes if each.outcome is not None or each.is_restart]:
        connection.execute(_FORGET_PARAMETERS, {"b_ids": forgetting})
    keep_parameters(connection, going_on)
    fired = _arrive(connection, over)
    if limited := [each.execution.id for each in over if each.execution.is_limited]:
        leave(connection, *limited)
    return Written(fired=fired, refused=refused)


def _look(connection: sa.Connection, changes: Sequence[Commit]) -> dict[str, Refusal]:
    """Lock what is to change; which of it is not as it was seen."""
    rows = {row.id: row for row in connection.execute(_LOCK, {"b_ids": [each.execution.id for each in changes]})}
    stale = {each.execution.id for each in changes if not _is_as_seen(each, rows.get(each.execution.id))}
    refused = dict.fromkeys(stale, Refusal.STALE)
    ending = [each for each in changes if each.execution.id not in stale and (each.released or each.withdrawn)]
    if not ending:
        return refused
    found = connection.execute(_LOCK_ATTEMPTS, {"b_ids": [each.execution.id for each in ending]})
    holders = {_key(row): row.worker for row in found}
    for each in ending:
        if any(holders.get(key) != each.worker for key in each.released):
            refused[each.execution.id] = Refusal.FENCED
        elif any(key not in holders or holders[key] is not None for key in each.withdrawn):
            refused[each.execution.id] = Refusal.STALE
    return refused


def _is_as_seen(change: Commit, row: Any) -> bool:
    seen = change.execution
    return row is not None and row.revision == seen.revision and row.signal == seen.signal


def _key(row: Any) -> AttemptKey:
    return AttemptKey(execution_id=row.execution_id, number=row.task_number, attempt=row.attempt, round=row.round)


def _advance(connection: sa.Connection, over: Sequence[Commit], going_on: Sequence[Commit]) -> None:
    for statement, some in ((END, over), (ADVANCE, going_on)):
        if some:
            connection.execute(statement, [advanced(each) for each in some])
    if begun := [{"b_id": each.execution.id} for each in (*over, *going_on) if each.begins]:
        connection.execute(BEGIN, begun)


def _end_attempts(connection: sa.Connection, changes: Sequence[Commit]) -> None:
    """Attempts that are over, all of the same tasks together: most changes of a page are alike."""
    ids_of: dict[tuple[int, ...], list[str]] = defaultdict(list)
    for each in changes:
        if keys := each.released + each.withdrawn:
            ids_of[tuple(sorted(key.number for key in keys))].append(each.execution.id)
    for numbers, ids in ids_of.items():
        connection.execute(_TAKE_AWAY, {"b_ids": ids, "b_numbers": numbers})


def _arrive(connection: sa.Connection, over: Sequence[Commit]) -> tuple[Fired, ...]:
    """Count each in its parent's join: one update for all children of a round."""
    counts = Counter(join for each in over if (join := join_of(each)) is not None)
    in_order = sorted(counts, key=attrgetter("execution_id", "number"))
    return tuple(fired for join in in_order for fired in arrive(connection, join, count=counts[join]))
