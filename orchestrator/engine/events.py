"""Events: what can happen to an execution. ``decide`` says what each of them means."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from orchestrator.model.history import ErrorInfo
from orchestrator.model.quick_dataclass import quick_dataclass
from orchestrator.model.values import Value


@dataclass(frozen=True, kw_only=True, slots=True)
class Started:
    """The execution begins: the trigger's edges are decided. A replay may begin with tasks that are over already."""


@quick_dataclass
class Succeeded:
    """An attempt did its work. ``outputs`` have the declared types already."""

    number: int
    attempt: int
    outputs: Mapping[str, Value] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class Failed:
    """An attempt failed. ``jitter`` is a random number in [0, 1) for a retry's delay."""

    number: int
    attempt: int
    error: ErrorInfo
    jitter: float = 0.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Suspended:
    """An attempt left a suspension behind."""

    number: int
    attempt: int
    outputs: Mapping[str, Value] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class ChildrenStarted:
    """An attempt waits for sub-executions. It stays IN_PROCESS; its join will bring the next event."""

    number: int
    attempt: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Stopped:
    """A task did not run, or was ended: it or its execution is to stop. ``was_running``: its code had started."""

    number: int
    attempt: int
    was_running: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Quarantined:
    """An attempt has killed its worker so often that nobody is to run it again before somebody releases it."""

    number: int
    attempt: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Returned:
    """The worker of an attempt died, or gave it back: the same attempt can be claimed again. No policy counts it."""

    number: int
    attempt: int


@dataclass(frozen=True, kw_only=True, slots=True)
class RetryDue:
    """The wait after the failed attempt ``attempt`` is over."""

    number: int
    attempt: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Released:
    """Somebody lets a task out of its quarantine after the attempt ``attempt``."""

    number: int
    attempt: int


@dataclass(frozen=True, kw_only=True, slots=True)
class RestartDue:
    """The wait before the execution begins again is over; ``parameters`` are those it began with."""

    number: int
    attempt: int
    parameters: Mapping[str, Value] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class Lifted:
    """Somebody let a suspended task go on. ``outputs`` hold the answer, in the declared types."""

    number: int
    attempt: int
    outputs: Mapping[str, Value] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class Rejected:
    """Somebody refused to let a suspended task go on, and no parameter takes that as an answer."""

    number: int
    attempt: int
    error: ErrorInfo


@dataclass(frozen=True, kw_only=True, slots=True)
class Killed:
    """The execution is to end CANCELLED. ``rolls_back``: what it did is to be undone first."""

    rolls_back: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class TaskKilled:
    """One task is to end, and the rest goes on. ``error`` is what counts if the execution FAILED because of it."""

    number: int
    error: ErrorInfo


@dataclass(frozen=True, kw_only=True, slots=True)
class DeadlinePassed:
    """The execution took longer than it may."""

    error: ErrorInfo


TaskOutcome: TypeAlias = Succeeded | Failed | Suspended | ChildrenStarted | Stopped | Quarantined | Returned
Answer: TypeAlias = Lifted | Rejected
Change: TypeAlias = Started | RetryDue | Released | RestartDue | Answer | TaskKilled | Killed | DeadlinePassed
Event: TypeAlias = TaskOutcome | Change
