"""What the store takes and gives: rows of executions and live attempts as values."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, Final

import sqlalchemy as sa

from orchestrator.model.history import Entry, ErrorInfo, Outcome
from orchestrator.model.json_text import Json, to_json_text
from orchestrator.model.states import ExecutionState
from orchestrator.model.values import Value, parse_parameters, to_parameters

DEFAULT_PROJECT: Final = "default"
DEFAULT_LOCATION: Final = "local"
DEFAULT_EXECUTOR: Final = "default"
MAX_NAME: Final = 512  # characters of a parameter's name; the column's width


class Method(StrEnum):
    """How an execution was asked for (ExecutionMethod)."""

    POST = "POST"  # the caller waits: a synchronous run
    POST_TO_QUEUE = "POST_TO_QUEUE"
    SCHEDULE = "SCHEDULE"


class Phase(StrEnum):
    """What a live attempt is about to do, or doing."""

    RUN = "run"
    WAIT = "wait"  # for sub-executions; nobody may claim it
    JOIN = "join"


@dataclass(frozen=True, kw_only=True, slots=True)
class AttemptKey:
    """One phase of one attempt of one task: what a message names and a worker claims. ``round`` 0 is the run itself."""

    execution_id: str
    number: int
    attempt: int
    round: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class ParentLink:
    """Which attempt of which task started an execution. ``round`` is None if it does not wait for it."""

    execution_id: str
    number: int
    attempt: int
    round: int | None
    position: int


@dataclass(frozen=True, kw_only=True, slots=True)
class NewAttempt:
    """A task that became ready. ``worker`` is set if whoever commits this goes on with it in line."""

    number: int
    attempt: int
    task_type: str
    executor: str
    worker: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class NewExecution:
    """An execution to create, with its start already decided."""

    id: str
    project: str
    location: str
    integration: str
    version_id: str
    trigger_id: str
    method: Method
    executor: str
    progress: str
    request: Mapping[str, Value]
    root_id: str
    state: ExecutionState = ExecutionState.PENDING
    parent: ParentLink | None = None
    ready: tuple[NewAttempt, ...] = ()
    outcome: Outcome | None = None  # it is over already: no start condition held


@dataclass(frozen=True, kw_only=True, slots=True)
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
class Wait:
    """A task that waits for a round of sub-executions. ``arrived`` of them are over already."""

    number: int
    attempt: int
    round: int
    executor: str
    children: int
    arrived: int
    first_position: int
    carry: Json


@dataclass(frozen=True, kw_only=True, slots=True)
class Due:
    """A retry to come, ``after_s`` seconds from the commit."""

    number: int
    attempt: int
    after_s: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Commit:
    """One change of one execution, written in one transaction or not at all.

    ``released`` are the live attempts that the committing worker holds and that are over with this.
    """

    execution: StoredExecution
    worker: str
    state: ExecutionState
    progress: str
    entries: tuple[Entry, ...]
    parameters: Mapping[str, Value] = field(default_factory=dict)
    released: tuple[AttemptKey, ...] = ()
    waits: tuple[Wait, ...] = ()
    ready: tuple[NewAttempt, ...] = ()
    children: tuple[NewExecution, ...] = ()
    timers: tuple[Due, ...] = ()
    fired_timers: tuple[int, ...] = ()  # the tasks whose timers this answers
    outcome: Outcome | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Fired:
    """A join that a commit has made due: the parent's, or the execution's own if no child is left to wait for."""

    key: AttemptKey
    executor: str


class Refusal(StrEnum):
    """Why a commit changed nothing."""

    STALE = "stale"  # someone else moved the execution on: read again and decide again
    FENCED = "fenced"  # the attempt is not this worker's any more: drop the result


def dump_parameters(parameters: Mapping[str, Value]) -> str:
    """Parameters as a column holds them."""
    return to_json_text(to_parameters(parameters))


def load_parameters(text: str | None) -> dict[str, Value]:
    """The inverse of ``dump_parameters``; NULL is no parameters."""
    return parse_parameters(json.loads(text), "stored parameters") if text else {}


def to_stored(row: sa.Row[Any]) -> StoredExecution:
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
    )
