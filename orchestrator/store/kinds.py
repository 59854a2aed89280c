"""What the columns of the store say in a word, and what its rows are found by."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from orchestrator.model.json_text import Json

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
class Replay:
    """Which execution this one repeats, how and why."""

    of: str
    mode: str  # REPLAY_MODE_FROM_BEGINNING, REPLAY_MODE_POINT_OF_FAILURE
    reason: str = ""


def owner_of(worker: str) -> str:
    """The worker that a process belongs to: its name ends in that id (``runtime.identity``)."""
    return worker.rpartition("/")[2]


def proof_of_end(worker: str, how: str) -> dict[str, Json]:
    """What is noted of an attempt whose code was ended from outside: the process that ran it, and how that was."""
    pid = worker.split("/")[-2:-1]
    return {"ended": {"pid": int(pid[0]) if pid and pid[0].isdecimal() else None, "how": how}}
