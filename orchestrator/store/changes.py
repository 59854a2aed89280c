"""What the store is given to write, and what it answers: new executions, and the changes of those that go on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from orchestrator.model.history import Entry, Outcome
from orchestrator.model.json_text import Json
from orchestrator.model.quick_dataclass import quick_dataclass
from orchestrator.model.states import ExecutionState
from orchestrator.model.timers import TimerKind
from orchestrator.model.values import Value
from orchestrator.store.kinds import (
    DEFAULT_PRIORITY,
    AttemptKey,
    Hold,
    Method,
    ParentLink,
    Replay,
    Signal,
    SuspensionState,
)
from orchestrator.store.rows import NewChunk, StoredExecution


@dataclass(frozen=True, kw_only=True, slots=True)
class NewAttempt:
    """A task that became ready. ``worker`` is set if whoever commits this goes on with it in line.

    ``rides_with``: the execution whose message claims it, too, if it is in a bundle (``store.bundles``).
    """

    number: int
    attempt: int
    task_type: str
    executor: str
    worker: str | None = None
    queue_timeout_s: float | None = None
    rides_with: str | None = None


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
    submitted_by: str | None = None  # who wanted it, if it is not the clock or its parent


@quick_dataclass
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
