"""What the store takes and gives: rows of executions and live attempts as values."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, Final

import sqlalchemy as sa

from orchestrator.model.history import Entry, ErrorInfo, Outcome
from orchestrator.model.json_text import Json, to_json_text
from orchestrator.model.quick_dataclass import quick_dataclass
from orchestrator.model.states import ExecutionState
from orchestrator.model.timers import TimerKind
from orchestrator.model.values import Value, parse_parameters, to_parameters

DEFAULT_PROJECT: Final = "default"
DEFAULT_LOCATION: Final = "local"
DEFAULT_EXECUTOR: Final = "default"
DEFAULT_PRIORITY: Final = 4  # of 0 to 9, the most urgent
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


class Signal(StrEnum):
    """What an execution was told and has not come to the end of. Nothing of it can be claimed before it is obeyed."""

    KILL = "KILL"
    KILL_AND_ROLL_BACK = "KILL_AND_ROLL_BACK"
    STOPPING = "STOPPING"  # obeyed: what runs is being ended


class Hold(StrEnum):
    """Why the start of an execution is not decided yet."""

    SCHEDULED = "SCHEDULED"
    LIMITED = "LIMITED"


class WorkerState(StrEnum):
    """What a worker is about."""

    READY = "READY"
    DRAINING = "DRAINING"  # it takes nothing new, and ends what it has
    LEAVING = "LEAVING"  # ... and gives back what it has not ended
    LOST = "LOST"  # it died, or is cut off; what it held was taken from it


class Wish(StrEnum):
    """What is wanted of a process that runs an attempt."""

    GO_ON = "go on"
    STOP = "stop"
    GIVE_BACK = "give back"


class SuspensionState(StrEnum):
    """What has become of a suspension."""

    PENDING = "PENDING"
    LIFTED = "LIFTED"
    REJECTED = "REJECTED"
    CANCELLED = "CANCELLED"  # with its task, or its execution


@dataclass(frozen=True, kw_only=True, slots=True)
class AttemptKey:
    """One phase of one attempt of one task: what a message names and a worker claims. ``round`` 0 is the run itself."""

    execution_id: str
    number: int
    attempt: int
    round: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class ChunkKey:
    """One chunk of a round of sub-executions: what a message names and a worker claims."""

    execution_id: str
    number: int
    attempt: int
    round: int
    first_position: int

    @property
    def join(self) -> AttemptKey:
        """The join that waits for it."""
        return AttemptKey(execution_id=self.execution_id, number=self.number, attempt=self.attempt, round=self.round)


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
    queue_timeout_s: float | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Replay:
    """Which execution this one repeats, how and why."""

    of: str
    mode: str  # REPLAY_MODE_FROM_BEGINNING, REPLAY_MODE_POINT_OF_FAILURE
    reason: str = ""


@quick_dataclass
class NewExecution:
    """An execution to create, with its start already decided unless it is held; undone if it has to wait for a limit.

    ``recorded`` is the entry that its history begins with, where the start does not follow from the request alone.
    """

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
    priority: int = DEFAULT_PRIORITY
    hold: Hold | None = None
    scheduled_at: datetime | None = None
    deadline_s: float | None = None  # from its creation, or from the time it is scheduled for
    request_id: str | None = None
    replay: Replay | None = None
    recorded: Entry | None = None
    needs: tuple[str, ...] = ()  # the limits that may hold for it: engine.limits
    is_limited: bool = False  # one of them does
    undecided: str = ""  # its progress if it has to wait for one of them
    parameters: Mapping[str, Value] = field(default_factory=dict)  # that differ from the request: a replay's


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
    since when whoever runs it is asked to end it. ``has_begun``: in a worker that died or gave it back.
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
class EndedChild:
    """A sub-execution that ran from its start to its end before it was written. ``request`` is its column's text."""

    id: str
    position: int
    request: str
    progress: str
    outcome: Outcome
    entries: tuple[Entry, ...]
    began_at: datetime
    ended_at: datetime


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
    """A timer to set, ``after_s`` seconds from the commit. ``number`` 0 is the execution as a whole."""

    kind: TimerKind
    number: int
    attempt: int
    after_s: float


@dataclass(frozen=True, kw_only=True, slots=True)
class DueTimer:
    """A timer that was taken to be fired. ``now`` is the database's clock at that time."""

    kind: TimerKind
    key: AttemptKey
    due_at: datetime
    now: datetime


@dataclass(frozen=True, kw_only=True, slots=True)
class NewSuspension:
    """A task that waits for an answer. ``terms`` as the task type gave them."""

    number: int
    attempt: int
    terms: Mapping[str, Json]
    expire_after_s: float | None = None
    is_timer: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Resolution:
    """The answer to a suspension; ``resolver`` is who gave it, or the clock."""

    number: int
    attempt: int
    state: SuspensionState
    resolver: str
    result: Value | None = None


@quick_dataclass
class Commit:
    """One change of one execution, written in one transaction or not at all.

    Attributes:
        released: live attempts that the committing worker holds and that are over with this.
        withdrawn: live attempts that nobody has claimed, and that are over with this.
        revoked: live attempts that are over with this, whoever holds them: what their worker brings later is refused.
        returned: live attempts that ``worker`` held, which died, and that can be claimed again.
        given_back: live attempts that the committing worker holds, and that can be claimed again: it is to stop.
        asked_to_end: live attempts that stay, and are to end: who runs them is told, and what they wait for is killed.
        timers, fired_timers: to set; and that this answers.
        dropped: tasks whose timers and suspensions are void.
        is_restart: the parameters are again those of the request.
        begins: the execution's start is decided with this: it is not held any more.
    """

    execution: StoredExecution
    worker: str
    state: ExecutionState
    progress: str
    entries: tuple[Entry, ...]
    signal: Signal | None = None
    parameters: Mapping[str, Value] = field(default_factory=dict)
    is_restart: bool = False
    begins: bool = False
    released: tuple[AttemptKey, ...] = ()
    withdrawn: tuple[AttemptKey, ...] = ()
    revoked: tuple[AttemptKey, ...] = ()
    returned: tuple[AttemptKey, ...] = ()
    given_back: tuple[AttemptKey, ...] = ()
    asked_to_end: tuple[AttemptKey, ...] = ()
    waits: tuple[Wait, ...] = ()
    ready: tuple[NewAttempt, ...] = ()
    children: tuple[NewExecution, ...] = ()
    chunks: tuple[NewChunk, ...] = ()
    timers: tuple[Due, ...] = ()
    fired_timers: tuple[tuple[TimerKind, int], ...] = ()
    dropped: tuple[int, ...] = ()
    suspensions: tuple[NewSuspension, ...] = ()
    resolutions: tuple[Resolution, ...] = ()
    outcome: Outcome | None = None

    @property
    def begins_to_stop(self) -> bool:
        """Whether what runs of the execution, and below it, is asked to end with this."""
        return self.signal is Signal.STOPPING and self.execution.signal is not Signal.STOPPING

    @property
    def is_plain(self) -> bool:
        """Whether it may be written together with others (``store.bulk``).

        It starts and ends nothing below its execution, and nothing can refuse it but the revision, the signal and the
        attempts that end with it.
        """
        kept = self.returned or self.given_back or self.asked_to_end
        others = self.children or self.chunks or self.waits or self.revoked or kept or self.resolutions
        return not (others or self.begins_to_stop)


@dataclass(frozen=True, kw_only=True, slots=True)
class Fired:
    """A join that a commit has made due: the parent's, or the execution's own if no child is left to wait for."""

    key: AttemptKey
    executor: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Written:
    """What became of changes that were written together: the joins that they made due, and those not written.

    ``refused`` is by execution.
    """

    fired: tuple[Fired, ...] = ()
    refused: Mapping[str, Refusal] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class Created:
    """What became of new executions: ``new`` are those stored, as they were; one that waits for a limit is held.

    The others were not: an execution with their request id was there. ``known`` has its id, by request id.
    """

    new: Sequence[NewExecution] = ()
    known: Mapping[str, str] = field(default_factory=dict)

    def id_of(self, wanted: NewExecution) -> str:
        """The id of an execution that was to be created, or of the first one with its request id."""
        return wanted.id if wanted.request_id is None else self.known.get(wanted.request_id, wanted.id)


class Refusal(StrEnum):
    """Why a commit changed nothing."""

    STALE = "stale"  # someone else moved the execution on: read again and decide again
    FENCED = "fenced"  # the attempt is not this worker's any more: drop the result


def owner_of(worker: str) -> str:
    """The worker that a process belongs to: its name ends in that id (``runtime.identity``)."""
    return worker.rpartition("/")[2]


def proof_of_end(worker: str, how: str) -> dict[str, Json]:
    """What is noted of an attempt whose code was ended from outside: the process that ran it, and how that was."""
    pid = worker.split("/")[-2:-1]
    return {"ended": {"pid": int(pid[0]) if pid and pid[0].isdecimal() else None, "how": how}}


def dump_parameters(parameters: Mapping[str, Value]) -> str:
    """Parameters as a column holds them."""
    return to_json_text(to_parameters(parameters))


def load_parameters(text: str | None) -> dict[str, Value]:
    """The inverse of ``dump_parameters``; NULL is no parameters."""
    return parse_parameters(json.loads(text), "stored parameters") if text else {}


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
    )


def _to_replay(row: Any) -> Replay | None:
    if row.replay_of is None:
        return None
    return Replay(of=row.replay_of, mode=row.replay_mode, reason=row.replay_reason or "")
