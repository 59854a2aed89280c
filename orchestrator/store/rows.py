"""Rows of executions, live attempts and chunks as values, and what a claim hands out."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from orchestrator.model.history import ErrorInfo
from orchestrator.model.json_text import Json
from orchestrator.model.quick_dataclass import quick_dataclass
from orchestrator.model.states import ExecutionState
from orchestrator.model.timers import TimerKind
from orchestrator.model.values import Value, parse_parameters, to_parameters_text
from orchestrator.store.kinds import AttemptKey, ChunkKey, Hold, Method, ParentLink, Phase, Replay, Signal


@dataclass(frozen=True, kw_only=True, slots=True)
class NewChunk:
    """Sub-executions that are to run and have no rows yet.

    ``requests`` holds what each starts with, as ``dump_parameters`` writes it, in the order of their positions.
    """

    key: ChunkKey
    requests: tuple[str, ...]
    version_id: str
    trigger_id: str
    executor: str
    priority: int


@quick_dataclass
class StoredExecution:
    """An execution's row."""

    id: str
    project: str
    location: str
    integration: str
    version_id: str
    trigger_id: str
    method: Method
    executor: str
    state: ExecutionState
    revision: int
    progress: str
    request: Mapping[str, Value]
    response: Mapping[str, Value]
    error: ErrorInfo | None
    root_id: str
    parent: ParentLink | None
    created_at: datetime
    updated_at: datetime
    ended_at: datetime | None
    priority: int
    signal: Signal | None
    hold: Hold | None
    is_start_recorded: bool
    is_limited: bool
    scheduled_at: datetime | None
    deadline_at: datetime | None
    request_id: str | None
    replay: Replay | None
    submitted_by: str | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Match:
    """What is known of an execution that a filter has found, before something is done to all of them.

    ``above`` has the ids of the others that were found, and that it is below of.
    """

    id: str
    integration: str
    state: ExecutionState
    created_at: datetime
    above: frozenset[str] = frozenset()


@dataclass(frozen=True, kw_only=True, slots=True)
class LiveAttempt:
    """A task that is ready, running or waiting for sub-executions.

    ``worker`` is None if nobody has claimed this phase, ``started_at`` if nobody has claimed the attempt. ``stop_at``:
    since when whoever runs it is asked to end it. ``has_begun``: in a worker that died or gave it back. ``rides_with``:
    the execution whose message claims it, too.
    """

    key: AttemptKey
    phase: Phase
    task_type: str
    executor: str
    worker: str | None
    queued_at: datetime
    started_at: datetime | None
    stop_at: datetime | None
    losses: int
    has_begun: bool
    rides_with: str | None = None

    @property
    def was_running(self) -> bool:
        """Whether code of the attempt has run, here or in a worker that has it no more."""
        return self.started_at is not None or self.has_begun


@dataclass(frozen=True, kw_only=True, slots=True)
class Found:
    """An execution, its current parameters, its live attempts by task, and the database's clock: at one moment."""

    stored: StoredExecution
    parameters: dict[str, Value]
    live: dict[int, LiveAttempt]
    now: datetime


@dataclass(frozen=True, kw_only=True, slots=True)
class Claimed:
    """What a claim hands out: the execution to decide on, its parameters, and what the attempt knows of itself.

    ``now`` is the database's clock at the claim.
    """

    key: AttemptKey
    worker: str
    executor: str
    execution: StoredExecution
    parameters: dict[str, Value]
    started_at: datetime
    now: datetime
    next_position: int
    carry: Json


@dataclass(frozen=True, kw_only=True, slots=True)
class ClaimedChunk:
    """What is left of a chunk that a worker holds, with what its sub-executions have from their parent.

    ``chunk`` is as it was made; the first ``done`` of its sub-executions have rows. ``now`` is the database's clock.
    """

    chunk: NewChunk
    worker: str
    done: int
    losses: int
    project: str
    location: str
    root_id: str
    integration: str
    now: datetime


@dataclass(frozen=True, kw_only=True, slots=True)
class DueTimer:
    """A timer that was taken to be fired. ``now`` is the database's clock at that time."""

    kind: TimerKind
    key: AttemptKey
    due_at: datetime
    now: datetime


def dump_parameters(parameters: Mapping[str, Value]) -> str:
    """Parameters as a column holds them."""
    return to_parameters_text(parameters)


def load_parameters(text: str | None) -> dict[str, Value]:
    """The inverse of ``dump_parameters``; NULL is no parameters."""
    return parse_parameters(json.loads(text), "stored parameters") if text and text != "{}" else {}


def to_chunk_key(row: sa.Row[Any]) -> ChunkKey:
    """Which chunk a row of ``chunks`` is."""
    return ChunkKey(
        execution_id=row.execution_id,
        number=row.task_number,
        attempt=row.attempt,
        round=row.round,
        first_position=row.first_position,
    )


def to_chunk(row: sa.Row[Any]) -> NewChunk:
    """Read a row of ``chunks``: what it was made of."""
    return NewChunk(
        key=to_chunk_key(row),
        requests=tuple(json.loads(row.inputs)),
        version_id=row.version_id,
        trigger_id=row.trigger_id,
        executor=row.executor,
        priority=row.priority,
    )


def to_live(row: sa.Row[Any]) -> LiveAttempt:
    """Read a row of ``live_attempts``."""
    return LiveAttempt(
        key=AttemptKey(execution_id=row.execution_id, number=row.task_number, attempt=row.attempt, round=row.round),
        phase=Phase(row.phase),
        task_type=row.task_type,
        executor=row.executor,
        worker=row.worker,
        queued_at=row.queued_at,
        started_at=row.started_at,
        stop_at=row.stop_at,
        losses=row.losses,
        has_begun=row.has_begun,
        rides_with=row.rides_with,
    )


def to_stored(row: Any) -> StoredExecution:
    """Read a row of ``executions``."""
    parent = None
    if row.parent_id is not None:
        parent = ParentLink(
            execution_id=row.parent_id,
            number=row.parent_task,
            attempt=row.parent_attempt,
            round=row.parent_round,
            position=row.position,
        )
    return StoredExecution(
        id=row.id,
        project=row.project,
        location=row.location,
        integration=row.integration,
        version_id=row.version_id,
        trigger_id=row.trigger_id,
        method=Method(row.method),
        executor=row.executor,
        state=ExecutionState(row.state),
        revision=row.revision,
        progress=row.progress,
        request=load_parameters(row.request),
        response=load_parameters(row.response),
        error=None if row.error is None else ErrorInfo.from_json(json.loads(row.error)),
        root_id=row.root_id,
        parent=parent,
        created_at=row.created_at,
        updated_at=row.updated_at,
        ended_at=row.ended_at,
        priority=row.priority,
        signal=None if row.signal is None else Signal(row.signal),
        hold=None if row.hold is None else Hold(row.hold),
        is_start_recorded=row.is_start_recorded,
        is_limited=row.is_limited,
        scheduled_at=row.scheduled_at,
        deadline_at=row.deadline_at,
        request_id=row.request_id,
        replay=_to_replay(row),
        submitted_by=row.submitted_by,
    )


def _to_replay(row: Any) -> Replay | None:
    if row.replay_of is None:
        return None
    return Replay(of=row.replay_of, mode=row.replay_mode, reason=row.replay_reason or "")
