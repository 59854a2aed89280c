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
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert as postgresql_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert

from orchestrator.errors import ExecutionNotFound
from orchestrator.model.history import ErrorInfo
from orchestrator.model.json_text import to_json_text
from orchestrator.model.states import ExecutionState
from orchestrator.model.task_types import ChildOutcome
from orchestrator.model.values import Value, parse_value, to_value
from orchestrator.store.database import Database
from orchestrator.store.rows import (
    AttemptKey,
    Claimed,
    Commit,
    Fired,
    NewAttempt,
    NewExecution,
    ParentLink,
    Phase,
    Refusal,
    StoredExecution,
    dump_parameters,
    load_parameters,
    to_stored,
)
from orchestrator.store.tables import executions, history, later, live_attempts, now, parameters, timers

LEASE_S: Final = 60.0  # a worker that has not renewed its claim for this long counts as dead

_key = sa.and_(
    live_attempts.c.execution_id == sa.bindparam("b_id"),
    live_attempts.c.task_number == sa.bindparam("b_number"),
    live_attempts.c.attempt == sa.bindparam("b_attempt"),
    live_attempts.c.round == sa.bindparam("b_round"),
)
_CLAIM: Final = (
    sa.update(live_attempts)
    .where(_key, live_attempts.c.phase != Phase.WAIT.value, live_attempts.c.worker.is_(None))
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
_ADVANCE: Final = (
    sa.update(executions)
    .where(executions.c.id == sa.bindparam("b_id"), executions.c.revision == sa.bindparam("b_revision"))
    .values(
        state=sa.bindparam("b_state"),
        revision=sa.bindparam("b_next_revision"),
        progress=sa.bindparam("b_progress"),
        updated_at=now(),
    )
)
_END: Final = _ADVANCE.values(response=sa.bindparam("b_response"), error=sa.bindparam("b_error"), ended_at=now())
_RELEASE: Final = sa.delete(live_attempts).where(_key, live_attempts.c.worker == sa.bindparam("b_worker"))
_WAIT: Final = (
    sa.update(live_attempts)
    .where(
        live_attempts.c.execution_id == sa.bindparam("b_id"),
        live_attempts.c.task_number == sa.bindparam("b_number"),
        live_attempts.c.worker == sa.bindparam("b_worker"),
    )
    .values(
        phase=sa.bindparam("b_phase"),
        round=sa.bindparam("b_round"),
        children=sa.bindparam("b_children"),
        arrived=sa.bindparam("b_arrived"),
        first_position=sa.bindparam("b_first_position"),
        carry=sa.bindparam("b_carry"),
        worker=None,
        lease_until=None,
        queued_at=now(),
    )
    .returning(live_attempts.c.executor, live_attempts.c.attempt)
)
_ARRIVE: Final = (
    sa.update(live_attempts)
    .where(_key, live_attempts.c.phase == Phase.WAIT.value)
    .values(
        arrived=live_attempts.c.arrived + 1,
        phase=sa.case(
            (live_attempts.c.arrived + 1 >= live_attempts.c.children, Phase.JOIN.value), else_=Phase.WAIT.value
        ),
        queued_at=now(),
    )
    .returning(live_attempts.c.phase, live_attempts.c.executor)
)


class _Refused(Exception):
    """Rolls the transaction of a commit back."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal)
        self.refusal = refusal


class ExecutionStore:
    """Creates, claims and commits executions in one database."""

    def __init__(self, database: Database) -> None:
        self.database = database

    def create(self, new: Sequence[NewExecution]) -> None:
        """Store executions and their ready start tasks in one transaction."""
        with self.database.begin() as connection:
            _insert_executions(connection, new)

    def claim(self, key: AttemptKey, *, worker: str) -> Claimed | None:
        """Take a live attempt that nobody has.

        Returns:
            What to work on, or None: it was claimed before, is over, or is of another attempt or round. Drop the
            message then.
        """
        # Not durable: a claim that a crash of the database undoes leaves the attempt to be claimed again, and fences
        # off the worker that had it. Whatever the attempt leads to is committed after it, and so not kept without it.
        with self.database.begin(is_durable=False) as connection:
            taken = connection.execute(_CLAIM, _bind(key) | {"b_worker": worker}).one_or_none()
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
                return tuple(self._write(connection, change))
        except _Refused as refused:
            return refused.refusal

    def _write(self, connection: sa.Connection, change: Commit) -> Iterable[Fired]:
        _advance(connection, change)
        _release(connection, change)
        _record(connection, change)
        _insert_attempts(connection, change.execution.id, change.ready)
        _insert_executions(connection, change.children)
        _change_timers(connection, change)
        fired = list(_wait(connection, change))
        if change.outcome is None:
            self._keep_parameters(connection, change)
        else:
            connection.execute(sa.delete(parameters).where(parameters.c.execution_id == change.execution.id))
            fired += _arrive(connection, change.execution.parent)
        return fired

    def _keep_parameters(self, connection: sa.Connection, change: Commit) -> None:
        if not change.parameters:
            return
        insert: Any = sqlite_insert(parameters) if self.database.is_sqlite else postgresql_insert(parameters)
        rows = [
            {"execution_id": change.execution.id, "key": key, "value": to_json_text(to_value(value))}
            for key, value in change.parameters.items()
        ]
        connection.execute(
            insert.on_conflict_do_update(
                index_elements=[parameters.c.execution_id, parameters.c.key], set_={"value": insert.excluded.value}
            ),
            rows,
        )


def _outcome(row: Any) -> ChildOutcome:
    return ChildOutcome(
        execution_id=row.id,
        state=row.state,
        parameters=load_parameters(row.response),
        error=None if row.error is None else ErrorInfo.from_json(json.loads(row.error)).message,
    )


def _bind(key: AttemptKey) -> dict[str, Any]:
    return {"b_id": key.execution_id, "b_number": key.number, "b_attempt": key.attempt, "b_round": key.round}


def _parameters_of(connection: sa.Connection, stored: StoredExecution) -> dict[str, Value]:
    current = dict(stored.request)
    for key, value in connection.execute(_PARAMETERS, {"b_id": stored.id}):
        current[key] = parse_value(json.loads(value), key)
    return current


def _advance(connection: sa.Connection, change: Commit) -> None:
    """The compare-and-set on the revision: whoever comes second reads and decides again."""
    revision = change.execution.revision
    values: dict[str, Any] = {
        "b_id": change.execution.id,
        "b_revision": revision,
        "b_next_revision": revision + len(change.entries),
        "b_state": change.state.value,
        "b_progress": change.progress,
    }
    statement = _ADVANCE
    if change.outcome is not None:
        statement = _END
        error = change.outcome.error
        values["b_response"] = dump_parameters(change.outcome.response)
        values["b_error"] = None if error is None else to_json_text(error.to_json())
    if connection.execute(statement, values).rowcount != 1:
        raise _Refused(Refusal.STALE)


def _release(connection: sa.Connection, change: Commit) -> None:
    """The fence: what is not this worker's any more cannot be ended by it."""
    for key in change.released:
        if connection.execute(_RELEASE, _bind(key) | {"b_worker": change.worker}).rowcount != 1:
            raise _Refused(Refusal.FENCED)


def _record(connection: sa.Connection, change: Commit) -> None:
    first = change.execution.revision + 1
    rows = [
        {"execution_id": change.execution.id, "revision": revision, "entry": to_json_text(entry.to_json())}
        for revision, entry in enumerate(change.entries, first)
    ]
    if rows:
        connection.execute(sa.insert(history), rows)


def _insert_attempts(connection: sa.Connection, execution_id: str, ready: Sequence[NewAttempt]) -> None:
    rows = [_attempt_row(execution_id, attempt) for attempt in ready]
    unclaimed = [row for row in rows if row["worker"] is None]
    claimed = [row for row in rows if row["worker"] is not None]
    if unclaimed:
        connection.execute(sa.insert(live_attempts), unclaimed)
    if claimed:
        connection.execute(sa.insert(live_attempts).values(started_at=now(), lease_until=later(LEASE_S)), claimed)


def _attempt_row(execution_id: str, attempt: NewAttempt) -> dict[str, Any]:
    return {
        "execution_id": execution_id,
        "task_number": attempt.number,
        "attempt": attempt.attempt,
        "round": 0,
        "phase": Phase.RUN.value,
        "task_type": attempt.task_type,
        "executor": attempt.executor,
        "worker": attempt.worker,
    }


def _insert_executions(connection: sa.Connection, new: Sequence[NewExecution]) -> None:
    if begun := [_execution_row(each) for each in new if each.outcome is None]:
        connection.execute(sa.insert(executions), begun)
    if over := [_execution_row(each) for each in new if each.outcome is not None]:
        connection.execute(sa.insert(executions).values(ended_at=now()), over)
    if rows := [_attempt_row(each.id, attempt) for each in new for attempt in each.ready]:
        connection.execute(sa.insert(live_attempts), rows)


def _execution_row(new: NewExecution) -> dict[str, Any]:
    parent, outcome = new.parent, new.outcome
    return {
        "id": new.id,
        "project": new.project,
        "location": new.location,
        "integration": new.integration,
        "version_id": new.version_id,
        "trigger_id": new.trigger_id,
        "method": new.method.value,
        "executor": new.executor,
        "state": new.state.value,
        "revision": 0,
        "progress": new.progress,
        "request": dump_parameters(new.request),
        "response": None if outcome is None else dump_parameters(outcome.response),
        "root_id": new.root_id,
        "parent_id": parent and parent.execution_id,
        "parent_task": parent and parent.number,
        "parent_attempt": parent and parent.attempt,
        "parent_round": parent and parent.round,
        "position": parent and parent.position,
    }


def _change_timers(connection: sa.Connection, change: Commit) -> None:
    if change.fired_timers:
        connection.execute(
            sa.delete(timers).where(
                timers.c.execution_id == change.execution.id, timers.c.task_number.in_(change.fired_timers)
            )
        )
    for due in change.timers:
        connection.execute(
            sa.insert(timers).values(
                execution_id=change.execution.id,
                task_number=due.number,
                attempt=due.attempt,
                due_at=later(due.after_s),
            )
        )


def _wait(connection: sa.Connection, change: Commit) -> Iterable[Fired]:
    for wait in change.waits:
        is_due = wait.arrived >= wait.children
        row = connection.execute(
            _WAIT,
            {
                "b_id": change.execution.id,
                "b_number": wait.number,
                "b_worker": change.worker,
                "b_phase": (Phase.JOIN if is_due else Phase.WAIT).value,
                "b_round": wait.round,
                "b_children": wait.children,
                "b_arrived": wait.arrived,
                "b_first_position": wait.first_position,
                "b_carry": None if wait.carry is None else to_json_text(wait.carry),
            },
        ).one_or_none()
        if row is None:
            raise _Refused(Refusal.FENCED)
        if is_due:
            key = AttemptKey(
                execution_id=change.execution.id, number=wait.number, attempt=row.attempt, round=wait.round
            )
            yield Fired(key=key, executor=row.executor)


def _arrive(connection: sa.Connection, parent: ParentLink | None) -> Iterable[Fired]:
    """Count this execution in its parent's join. It cannot count twice: an execution becomes final once."""
    if parent is None or parent.round is None:
        return
    key = AttemptKey(execution_id=parent.execution_id, number=parent.number, attempt=parent.attempt, round=parent.round)
    row = connection.execute(_ARRIVE, _bind(key)).one_or_none()
    if row is not None and row.phase == Phase.JOIN:
        yield Fired(key=key, executor=row.executor)
