"""What can be due later. Waits lie in the database, so they outlive every process; ``service.timers`` fires them."""

from __future__ import annotations

from enum import StrEnum


class TimerKind(StrEnum):
    """Why a timer was set. A task has at most one of each kind; those of the whole execution stand at task 0."""

    RETRY = "RETRY"  # the next attempt of a task that failed, or of its rollback
    RESTART = "RESTART"  # the whole execution, from the beginning
    START = "START"  # a scheduled execution
    DEADLINE = "DEADLINE"  # of the execution
    TIMEOUT = "TIMEOUT"  # of an attempt that has begun
    QUEUE = "QUEUE"  # of an attempt that no worker has taken
    EXPIRE = "EXPIRE"  # of a suspension
    REMIND = "REMIND"  # those who may end a suspension, again
    NOTIFY = "NOTIFY"  # those who may end a suspension: a worker is to tell them
