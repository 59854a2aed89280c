"""Bundles: the start tasks of many new executions that one message has claimed together, by one statement.

``live_attempts.rides_with`` names the execution whose message it is, the *first* of the bundle; the first rides with
itself. Everything else about such a row is as of any other: a single message may claim it, a KILL withdraws it, a dead
worker's successor takes it back. Who gives one back takes it out of its bundle, because what is left of a bundle may
be what has killed its worker: from there on each goes on by itself, and only the one that does it is quarantined.

A row that rides needs no message of its own as long as the first is there and unclaimed (``HAS_NO_RIDE``). That is all
that recovery has to know: whatever becomes of the first, the others then count on their own (``store.outbox``).

The message names the first alone and the rows are found by an index. It could have carried their ids: it would then
hold 20 at most in 2 KB, and a hundred to a claim and a commit take half the time. The index has no row but those of
bundles, and no claim changes what it has of them.

What must not happen: a row that rides and was decided on since its execution was made. A claim hands out the request
as its parameters, and takes what all of a bundle have in common from one of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import sqlalchemy as sa

from orchestrator.failpoints import failpoint
from orchestrator.model.states import ExecutionState
from orchestrator.store import fused_many
from orchestrator.store.bulk import write_many
from orchestrator.store.changes import Commit, Written
from orchestrator.store.commits import IDS
from orchestrator.store.database import Database
from orchestrator.store.kinds import AttemptKey, Phase, owner_of
from orchestrator.store.rows import Claimed, to_stored
from orchestrator.store.tables import executions, live_attempts, now

_first: Final = live_attempts.alias("first_of_bundle")
HAS_NO_RIDE: Final = ~sa.exists().where(
    _first.c.execution_id == live_attempts.c.rides_with,
    _first.c.rides_with == _first.c.execution_id,
    _first.c.execution_id != live_attempts.c.execution_id,
    _first.c.worker.is_(None),
)
"""Whether a row of ``live_attempts`` is not claimed by the message of another one."""

_RIDES: Final = live_attempts.c.rides_with == sa.bindparam("b_first")
_UNMARKED: Final = (
    sa.select(executions.c.id)
    .where(executions.c.id == live_attempts.c.execution_id, executions.c.signal.is_(None))
    .exists()
)
_CLAIM: Final = (
    sa.update(live_attempts)
    .where(_RIDES, live_attempts.c.phase == Phase.RUN.value, _UNMARKED)
    .values(worker=sa.bindparam("b_worker"), owner=sa.bindparam("b_owner"), started_at=now())
    .returning(live_attempts, now().label("clock"))
)
_CLAIM_FREE: Final = _CLAIM.where(live_attempts.c.worker.is_(None))
_CLAIM_AGAIN: Final = _CLAIM.where(
    sa.or_(live_attempts.c.worker.is_(None), live_attempts.c.worker == sa.bindparam("b_worker"))
)
_BEGIN: Final = (
    sa.update(executions)
    .where(executions.c.id.in_(IDS), executions.c.state == ExecutionState.PENDING.value)
    .values(state=ExecutionState.PROCESSING.value, updated_at=now())
)
_READ: Final = sa.select(executions).where(executions.c.id.in_(IDS)).order_by(executions.c.id)
_MEMBERS: Final = (
    sa.select(live_attempts.c.execution_id, live_attempts.c.task_number, live_attempts.c.attempt)
    .where(_RIDES)
    .order_by(live_attempts.c.execution_id)
)
_MOVED_ON: Final = sa.select(executions.c.id).where(
    executions.c.id.in_(IDS), sa.or_(executions.c.signal.is_not(None), executions.c.revision > 0)
)


class BundleStore:
    """Claims the executions of a bundle together, and writes the ends of many."""

    def __init__(self, database: Database) -> None:
        self.database = database

    def claim(self, first_id: str, *, worker: str, is_again: bool = False) -> list[Claimed]:
        """Take whatever of a bundle nobody has; arguments as of ``ExecutionStore.claim``.

        Returns:
            What to work on, in the order of the ids: none that was claimed before, is marked or is over.
        """
        if not self.database.is_sqlite:
            return fused_many.claim(self.database, first_id, worker=worker, is_again=is_again)
        statement = _CLAIM_AGAIN if is_again else _CLAIM_FREE
        values = {"b_first": first_id, "b_worker": worker, "b_owner": owner_of(worker)}
        with self.database.begin(is_durable=False) as connection:
            taken = {row.execution_id: row for row in connection.execute(statement, values)}
            connection.execute(_BEGIN, {"b_ids": [*taken]})
            rows = connection.execute(_READ, {"b_ids": [*taken]}).all()
        found = [(replace(to_stored(row), state=ExecutionState.PROCESSING), taken[row.id]) for row in rows]
        return [
            Claimed(
                key=AttemptKey(execution_id=stored.id, number=row.task_number, attempt=row.attempt),
                worker=worker,
                executor=row.executor,
                execution=stored,
                parameters=dict(stored.request),
                started_at=row.started_at,
                now=row.clock,
                next_position=0,
                carry=None,
            )
            for stored, row in found
        ]

    def members(self, first_id: str) -> list[AttemptKey]:
        """What is in a bundle and not over, claimed or not."""
        with self.database.read() as connection:
            rows = connection.execute(_MEMBERS, {"b_first": first_id}).all()
        return [AttemptKey(execution_id=row.execution_id, number=row.task_number, attempt=row.attempt) for row in rows]

    def moved_on(self, execution_ids: Sequence[str]) -> frozenset[str]:
        """Those of these executions of which something was decided since they were made, or is to be."""
        with self.database.read() as connection:
            return frozenset(connection.execute(_MOVED_ON, {"b_ids": [*execution_ids]}).scalars())

    def commit(self, changes: Sequence[Commit]) -> Written:
        """Write the ends of executions at once: each as a whole, or not at all.

        Args:
            changes: each of them is what ``fused_many.is_common`` asks for.

        Returns:
            Those not written. To know why, commit them one by one.
        """
        failpoint("commit.before")
        if self.database.is_sqlite:
            with self.database.begin() as connection:
                written = write_many(connection, changes)
                failpoint("commit.inside")
        else:
            failpoint("commit.inside")  # a statement has no inside
            written = fused_many.commit(self.database, changes)
        failpoint("commit.after")
        return written
