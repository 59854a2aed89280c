"""Writing a commit: the steps of one transaction, in an order that lets the refusals come first.

compare-and-set on the revision -> fence on the held attempts -> history, ready tasks, sub-executions, timers
-> waits -> parameters, or at the end the parent's join counter.

Only ``ExecutionStore`` calls this; it owns the transaction.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert as postgresql_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert

from orchestrator.model.json_text import to_json_text
from orchestrator.model.values import to_value
from orchestrator.store.rows import (
    AttemptKey,
    Commit,
    Fired,
    NewAttempt,
    NewExecution,
    ParentLink,
    Phase,
    Refusal,
    dump_parameters,
)
from orchestrator.store.tables import executions, history, later, live_attempts, now, parameters, timers

LEASE_S: Final = 60.0  # a worker that has not renewed its claim for this long counts as dead

BY_KEY: Final = sa.and_(
    live_attempts.c.execution_id == sa.bindparam("b_id"),
    live_attempts.c.task_number == sa.bindparam("b_number"),
    live_attempts.c.attempt == sa.bindparam("b_attempt"),
    live_attempts.c.round == sa.bindparam("b_round"),
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
_RELEASE: Final = sa.delete(live_attempts).where(BY_KEY, live_attempts.c.worker == sa.bindparam("b_worker"))
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
    .where(BY_KEY, live_attempts.c.phase == Phase.WAIT.value)
    .values(
        arrived=live_attempts.c.arrived + 1,
        phase=sa.case(
            (live_attempts.c.arrived + 1 >= live_attempts.c.children, Phase.JOIN.value), else_=Phase.WAIT.value
        ),
        queued_at=now(),
    )
    .returning(live_attempts.c.phase, live_attempts.c.executor)
)


class Refused(Exception):
    """Rolls the transaction of a commit back."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal)
        self.refusal = refusal


def bind(key: AttemptKey) -> dict[str, Any]:
    """The variables of ``BY_KEY``."""
    return {"b_id": key.execution_id, "b_number": key.number, "b_attempt": key.attempt, "b_round": key.round}


def write(connection: sa.Connection, change: Commit) -> Iterable[Fired]:
    """Write one change; the joins that it made due.

    Raises:
    Refused: nothing may be written; roll back.
    """
    _advance(connection, change)
    _release(connection, change)
    _record(connection, change)
    _insert_attempts(connection, change.execution.id, change.ready)
    insert_executions(connection, change.children)
    _change_timers(connection, change)
    fired = list(_wait(connection, change))
    if change.outcome is None:
        _keep_parameters(connection, change)
    else:
        connection.execute(sa.delete(parameters).where(parameters.c.execution_id == change.execution.id))
        fired += _arrive(connection, change.execution.parent)
    return fired


def _keep_parameters(connection: sa.Connection, change: Commit) -> None:
    if not change.parameters:
        return
    insert: Any = sqlite_insert(parameters) if connection.dialect.name == "sqlite" else postgresql_insert(parameters)
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
        raise Refused(Refusal.STALE)


def _release(connection: sa.Connection, change: Commit) -> None:
    """The fence: what is not this worker's any more cannot be ended by it."""
    for key in change.released:
        if connection.execute(_RELEASE, bind(key) | {"b_worker": change.worker}).rowcount != 1:
            raise Refused(Refusal.FENCED)


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


def insert_executions(connection: sa.Connection, new: Sequence[NewExecution]) -> None:
    """Executions with their ready start tasks."""
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
            raise Refused(Refusal.FENCED)
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
    row = connection.execute(_ARRIVE, bind(key)).one_or_none()
    if row is not None and row.phase == Phase.JOIN:
        yield Fired(key=key, executor=row.executor)
