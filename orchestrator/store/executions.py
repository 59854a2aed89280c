"""The write path of executions: create, claim, commit. Everything that moves a state goes through here.

* ``create``  execution rows with their ready start tasks.
* ``claim``   one guarded UPDATE: only a live attempt that nobody has claimed, of this attempt and round. A message that
              comes twice, late, or for something that is over finds no such row and is dropped.
* ``commit``  compare-and-set on the execution's revision, and on the live attempts the worker holds. States, history,
              parameters, ready tasks, sub-executions and the parent's join counter change together or not at all.

The caller publishes what a commit made ready after it returned. What was committed and never published is still in
``live_attempts`` without a worker.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, Final

import sqlalchemy as sa

from orchestrator.errors import ExecutionNotFound
from orchestrator.model.history import ErrorInfo
from orchestrator.model.states import ExecutionState
from orchestrator.model.task_types import ChildOutcome
from orchestrator.model.values import Value, parse_value
from orchestrator.store.commits import BY_KEY, LEASE_S, Refused, bind, insert_executions, write
from orchestrator.store.database import Database
from orchestrator.store.rows import (
    AttemptKey,
    Claimed,
    Commit,
    Fired,
    NewExecution,
    Phase,
    Refusal,
    StoredExecution,
    load_parameters,
    to_stored,
)
from orchestrator.store.tables import executions, later, live_attempts, now, parameters, timers

_CLAIM: Final = (
    sa.update(live_attempts)
    .where(BY_KEY, live_attempts.c.phase != Phase.WAIT.value, live_attempts.c.worker.is_(None))
    .values(
        worker=sa.bindparam("b_worker"),
        started_at=sa.func.coalesce(live_attempts.c.started_at, now()),
        lease_until=later(LEASE_S),
    )
    .returning(
        live_attempts.c.started_at,
        (live_attempts.c.first_position + live_attempts.c.children).label("next_position"),
        live_attempts.c.carry,
        live_attempts.c.executor,
        now().label("now"),
    )
)
_SELECT: Final = sa.select(executions).where(executions.c.id == sa.bindparam("b_id"))
_START: Final = (
    sa.update(executions)
    .where(executions.c.id == sa.bindparam("b_id"), executions.c.state == ExecutionState.PENDING.value)
    .values(state=ExecutionState.PROCESSING.value, updated_at=now())
)
_PARAMETERS: Final = sa.select(parameters.c.key, parameters.c.value).where(
    parameters.c.execution_id == sa.bindparam("b_id")
)


class ExecutionStore:
    """Creates, claims and commits executions in one database."""

    def __init__(self, database: Database) -> None:
        self.database = database

    def create(self, new: Sequence[NewExecution]) -> None:
        """Store executions and their ready start tasks in one transaction."""
        with self.database.begin() as connection:
            insert_executions(connection, new)

    def claim(self, key: AttemptKey, *, worker: str) -> Claimed | None:
        """Take a live attempt that nobody has.

        Returns:
            What to work on, or None: it was claimed before, is over, or is of another attempt or round. Drop the
            message then.
        """
        # Not durable: a claim that a crash of the database undoes leaves the attempt to be claimed again, and fences
        # off the worker that had it. Whatever the attempt leads to is committed after it, and so not kept without it.
        with self.database.begin(is_durable=False) as connection:
            taken = connection.execute(_CLAIM, bind(key) | {"b_worker": worker}).one_or_none()
            if taken is None:
                return None
            stored = to_stored(connection.execute(_SELECT, {"b_id": key.execution_id}).one())
            if stored.state is ExecutionState.PENDING:
                connection.execute(_START, {"b_id": key.execution_id})
                stored = replace(stored, state=ExecutionState.PROCESSING)
            return Claimed(
                key=key,
                worker=worker,
                executor=taken.executor,
                execution=stored,
                parameters=_parameters_of(connection, stored),
                started_at=taken.started_at,
                now=taken.now,
                next_position=taken.next_position,
                carry=json.loads(taken.carry) if taken.carry else None,
            )

    def read(self, execution_id: str) -> tuple[StoredExecution, dict[str, Value]]:
        """An execution and its current parameters.

        Raises:
            ExecutionNotFound: there is none.
        """
        with self.database.read() as connection:
            row = connection.execute(_SELECT, {"b_id": execution_id}).one_or_none()
            if row is None:
                raise ExecutionNotFound(execution_id)
            stored = to_stored(row)
            return stored, _parameters_of(connection, stored)

    def outcomes(self, key: AttemptKey, *, every_round: bool = False) -> list[ChildOutcome]:
        """How the sub-executions of an attempt ended, in order: of one round, or of all of them."""
        statement = sa.select(executions.c.id, executions.c.state, executions.c.response, executions.c.error).where(
            executions.c.parent_id == key.execution_id,
            executions.c.parent_task == key.number,
            executions.c.parent_attempt == key.attempt,
        )
        if not every_round:
            statement = statement.where(executions.c.parent_round == key.round)
        with self.database.read() as connection:
            return [_outcome(row) for row in connection.execute(statement.order_by(executions.c.position))]

    def has_claims(self) -> bool:
        """Whether any worker holds a live attempt."""
        held = sa.select(live_attempts.c.worker).where(live_attempts.c.worker.is_not(None)).limit(1)
        with self.database.read() as connection:
            return connection.execute(held).one_or_none() is not None

    def due_timers(self, *, limit: int) -> tuple[list[AttemptKey], datetime]:
        """Timers that are due, the oldest first, and the database's clock. Taking one is the commit that fires it."""
        statement = sa.select(timers).where(timers.c.due_at <= now())
        with self.database.read() as connection:
            clock = connection.execute(sa.select(now())).scalar_one()
            rows = connection.execute(statement.order_by(timers.c.due_at).limit(limit)).all()
        return [
            AttemptKey(execution_id=row.execution_id, number=row.task_number, attempt=row.attempt) for row in rows
        ], clock

    def drop_timer(self, key: AttemptKey) -> None:
        """Forget a timer that nothing waits for any more."""
        with self.database.begin() as connection:
            connection.execute(
                sa.delete(timers).where(
                    timers.c.execution_id == key.execution_id,
                    timers.c.task_number == key.number,
                    timers.c.attempt == key.attempt,
                )
            )

    def commit(self, change: Commit) -> tuple[Fired, ...] | Refusal:
        """Write one change.

        Returns:
            The joins that it made due, to be published now; or why nothing was written.
        """
        try:
            with self.database.begin() as connection:
                return tuple(write(connection, change))
        except Refused as refused:
            return refused.refusal


def _outcome(row: Any) -> ChildOutcome:
    return ChildOutcome(
        execution_id=row.id,
        state=row.state,
        parameters=load_parameters(row.response),
        error=None if row.error is None else ErrorInfo.from_json(json.loads(row.error)).message,
    )


def _parameters_of(connection: sa.Connection, stored: StoredExecution) -> dict[str, Value]:
    current = dict(stored.request)
    for key, value in connection.execute(_PARAMETERS, {"b_id": stored.id}):
        current[key] = parse_value(json.loads(value), key)
    return current
