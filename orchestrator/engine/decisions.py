"""Decisions: what ``decide`` answers. Values only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from orchestrator.engine.progress import Progress
from orchestrator.model.quick_dataclass import quick_dataclass
from orchestrator.model.states import TaskState
from orchestrator.model.timers import TimerKind
from orchestrator.model.values import Value


@dataclass(frozen=True, kw_only=True, slots=True)
class Dispatch:
    """A task has become ready: run this attempt of it, or of its rollback."""

    number: int
    attempt: int
    is_rollback: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Timer:
    """Come back to this attempt after ``after_s`` seconds: try the task again, or begin the execution again."""

    number: int
    attempt: int
    after_s: float
    kind: TimerKind = TimerKind.RETRY


@quick_dataclass
class Decision:
    """What an event means.

    Attributes:
        progress: where the execution stands now; ``progress.state`` tells whether it is over.
        states: the tasks whose state changed, and to what.
        edges: the edges that were decided, (source, target) to result; the trigger is 0, error catchers are negative.
        parameters: the parameters that changed.
        is_restart: all parameters are again those that the execution began with.
        dispatch: tasks that became ready.
        timers: retries and restarts to come.
        dropped: tasks that were held or suspended, and are not waited for any more.
        is_late: the event came too late and changed nothing.
    """

    progress: Progress
    states: Mapping[int, TaskState] = field(default_factory=dict)
    edges: Mapping[tuple[int, int], bool] = field(default_factory=dict)
    parameters: Mapping[str, Value] = field(default_factory=dict)
    is_restart: bool = False
    dispatch: tuple[Dispatch, ...] = ()
    timers: tuple[Timer, ...] = ()
    dropped: tuple[int, ...] = ()
    is_late: bool = False
