"""Creating rows: executions with what belongs to them, chunks of them, attempts that became ready, timers.

Submissions do this, and commits that start sub-executions or make tasks ready: always within a transaction of theirs.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert as postgresql_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert

from orchestrator.errors import StoreError
from orchestrator.model.json_text import to_json_text
from orchestrator.model.states import ExecutionState
from orchestrator.model.timers import TimerKind
from orchestrator.model.values import Value, to_value
from orchestrator.model.version_states import VersionState
from orchestrator.store.changes import Due, NewAttempt, NewExecution
from orchestrator.store.inserts import insert_rows
from orchestrator.store.kinds import Hold, Phase, owner_of
from orchestrator.store.limits import Entrant, enter
from orchestrator.store.rows import NewChunk, dump_parameters
from orchestrator.store.tables import (
    chunks,
    executions,
    history,
    later,
    live_attempts,
    now,
    parameters,
    timers,
    versions,
)

_IS_PUBLISHED: Final = sa.select(versions.c.id).where(
    versions.c.id == sa.bindparam("b_id"), versions.c.state == VersionState.ACTIVE.value
)
_OVER: Final = sa.insert(executions).values(ended_at=now())
_UNCLAIMED: Final = sa.insert(live_attempts)
_CLAIMED: Final = sa.insert(live_attempts).values(started_at=now())


class NotPublished(StoreError):
    """A version is not the published one of its integration any more."""

    def __init__(self, version_id: str) -> None:
        super().__init__(version_id)
        self.version_id = version_id

    def __str__(self) -> str:
        return f"version {self.version_id} is not published any more; look up the one that is"


def check_published(connection: sa.Connection, new: Iterable[NewExecution]) -> None:
    """Make sure that each of these runs what is published.

    Raises:
        NotPublished: one does not.
    """
    for version_id in {each.version_id for each in new}:
        if connection.execute(_IS_PUBLISHED, {"b_id": version_id}).one_or_none() is None:
            raise NotPublished(version_id)


def insert_executions(connection: sa.Connection, new: Sequence[NewExecution]) -> Sequence[NewExecution]:
    """Executions with their ready start tasks.

    Returns:
        The same as they were stored: one that has to wait for a limit has nothing ready.
    """
    new = _admitted(connection, new)
    clock = _Clock(connection)
    if begun := [execution_row(each, _deadline(each, clock)) for each in new if each.outcome is None]:
        insert_rows(connection, executions, begun)
    if over := [execution_row(each, None) for each in new if each.outcome is not None]:
        connection.execute(_OVER, over)
    insert_rows(connection, live_attempts, [attempt_row(each.id, attempt) for each in new for attempt in each.ready])
    insert_rows(connection, timers, [row for each in new for row in _timer_rows(each, clock)])
    insert_rows(connection, history, [_history_row(each) for each in new if each.recorded is not None])
    going_on = [each for each in new if each.outcome is None]
    insert_rows(connection, parameters, [row for each in going_on for row in parameter_rows(each.id, each.parameters)])
    return new


def _admitted(connection: sa.Connection, new: Sequence[NewExecution]) -> Sequence[NewExecution]:
    """Those that a limit holds for take their slots, or wait with nothing decided."""
    entrants = [
        Entrant(
            execution_id=each.id,
            needs=each.needs,
            priority=each.priority,
            awaited_by=each.parent.execution_id if each.parent and each.parent.round is not None else None,
        )
        for each in new
        if each.needs
    ]
    answers = enter(connection, entrants) if entrants else {}
    if not answers:
        return new
    return [each if (may_start := answers.get(each.id)) is None else _limited(each, may_start) for each in new]


def _limited(new: NewExecution, may_start: bool) -> NewExecution:
    if may_start:
        return replace(new, is_limited=True)
    return replace(
        new, is_limited=True, hold=Hold.LIMITED, progress=new.undecided, ready=(), state=ExecutionState.PENDING
    )


class _Clock:
    """The database's clock: read once, and only where something is due so many seconds from now."""

    def __init__(self, connection: sa.Connection) -> None:
        self._connection = connection

    @functools.cached_property
    def _now(self) -> datetime:
        read: datetime = self._connection.execute(sa.select(now())).scalar_one()
        return read

    def later(self, seconds: float) -> datetime:
        return self._now + timedelta(seconds=seconds)


def execution_row(new: NewExecution, deadline_at: datetime | None) -> dict[str, Any]:
    """A row of ``executions``."""
    parent, outcome = new.parent, new.outcome
    row = {
        "id": new.id,
        "project": new.project,
        "location": new.location,
        "integration": new.integration,
        "version_id": new.version_id,
        "trigger_id": new.trigger_id,
        "method": new.method.value,
        "executor": new.executor,
        "state": new.state.value,
        "revision": 0 if new.recorded is None else 1,
        "progress": new.progress,
        "request": dump_parameters(new.request),
        "response": None if outcome is None else dump_parameters(outcome.response),
        "root_id": new.root_id,
        "parent_id": parent and parent.execution_id,
        "parent_task": parent and parent.number,
        "parent_attempt": parent and parent.attempt,
        "parent_round": parent and parent.round,
        "position": parent and parent.position,
        "priority": new.priority,
        "hold": None if new.hold is None else new.hold.value,
        "is_limited": new.is_limited,
        "is_start_recorded": new.recorded is not None or new.hold is not None,
        "scheduled_at": new.scheduled_at,
        "deadline_at": deadline_at,
        "request_id": new.request_id,
        "replay_of": new.replay and new.replay.of,
        "replay_mode": new.replay and new.replay.mode,
        "replay_reason": new.replay and new.replay.reason,
        "submitted_by": new.submitted_by,
    }
    if deadline_at is not None and new.deadline_s is not None and new.scheduled_at is None:
        row["created_at"] = deadline_at - timedelta(seconds=new.deadline_s)  # one look at the clock for both
    return row


def _deadline(new: NewExecution, clock: _Clock) -> datetime | None:
    if new.deadline_s is None or new.outcome is not None:
        return None
    if new.scheduled_at is not None:
        return new.scheduled_at + timedelta(seconds=new.deadline_s)
    return clock.later(new.deadline_s)


def _timer_rows(new: NewExecution, clock: _Clock) -> list[dict[str, Any]]:
    due = [(each.kind, each.number, each.attempt, clock.later(each.after_s)) for each in _queue_timers(new.ready)]
    if new.hold is Hold.SCHEDULED and new.scheduled_at is not None:
        due.append((TimerKind.START, 0, 0, new.scheduled_at))
    if (deadline_at := _deadline(new, clock)) is not None:
        due.append((TimerKind.DEADLINE, 0, 0, deadline_at))
    return [
        {"execution_id": new.id, "task_number": number, "attempt": attempt, "kind": kind.value, "due_at": due_at}
        for kind, number, attempt, due_at in due
    ]


def _history_row(new: NewExecution) -> dict[str, Any]:
    assert new.recorded is not None, "its history begins with something"
    return {"execution_id": new.id, "revision": 1, "entry": to_json_text(new.recorded.to_json())}


def insert_attempts(connection: sa.Connection, execution_id: str, ready: Sequence[NewAttempt]) -> None:
    """Attempts for workers to claim, or claimed already by whoever commits them; and how long they may wait."""
    rows = [attempt_row(execution_id, attempt) for attempt in ready]
    insert_timers(connection, execution_id, _queue_timers(ready))
    unclaimed = [row for row in rows if row["worker"] is None]
    claimed = [row for row in rows if row["worker"] is not None]
    if unclaimed:
        connection.execute(_UNCLAIMED, unclaimed)
    if claimed:
        connection.execute(_CLAIMED, claimed)


def insert_chunks(connection: sa.Connection, new: Sequence[NewChunk]) -> None:
    """Chunks for workers to claim."""
    rows = [
        {
            "execution_id": each.key.execution_id,
            "task_number": each.key.number,
            "attempt": each.key.attempt,
            "round": each.key.round,
            "first_position": each.key.first_position,
            "size": len(each.requests),
            "inputs": to_json_text(each.requests),
            "version_id": each.version_id,
            "trigger_id": each.trigger_id,
            "executor": each.executor,
            "priority": each.priority,
        }
        for each in new
    ]
    if rows:
        connection.execute(sa.insert(chunks), rows)


def attempt_row(execution_id: str, attempt: NewAttempt) -> dict[str, Any]:
    """A row of ``live_attempts``."""
    return {
        "execution_id": execution_id,
        "task_number": attempt.number,
        "attempt": attempt.attempt,
        "round": 0,
        "phase": Phase.RUN.value,
        "task_type": attempt.task_type,
        "executor": attempt.executor,
        "worker": attempt.worker,
        "owner": attempt.worker and owner_of(attempt.worker),
        "rides_with": attempt.rides_with,
    }


def _queue_timers(ready: Iterable[NewAttempt]) -> list[Due]:
    """How long attempts may wait for a worker."""
    return [
        Due(kind=TimerKind.QUEUE, number=each.number, attempt=each.attempt, after_s=each.queue_timeout_s)
        for each in ready
        if each.worker is None and each.queue_timeout_s is not None
    ]


def insert_timers(connection: sa.Connection, execution_id: str, due: Iterable[Due]) -> None:
    """A task has one timer of each kind: a new one replaces what an earlier attempt has left."""
    for each in due:
        insert = upsertable(connection, timers).values(
            execution_id=execution_id,
            task_number=each.number,
            kind=each.kind.value,
            attempt=each.attempt,
            due_at=later(each.after_s),
        )
        replaced = {"attempt": insert.excluded.attempt, "due_at": insert.excluded.due_at, "taken_until": None}
        connection.execute(insert.on_conflict_do_update(index_elements=list(timers.primary_key), set_=replaced))


def parameter_rows(execution_id: str, changed: Mapping[str, Value]) -> list[dict[str, Any]]:
    """Rows of ``parameters``."""
    return [
        {"execution_id": execution_id, "key": key, "value": to_json_text(to_value(value))}
        for key, value in changed.items()
    ]


def upsertable(connection: sa.Connection, table: sa.Table) -> Any:
    """An insert that can be turned into an upsert."""
    return sqlite_insert(table) if connection.dialect.name == "sqlite" else postgresql_insert(table)
