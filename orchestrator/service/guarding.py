"""Guarding: ending the code of an attempt that takes too long, or is to stop, alone or with its execution. A port.

The real guard is ``runtime.guard``: it lives in the process that runs the code, and ends that process if nothing else
helps. What an ending means for the task is decided by the caller, who catches ``AttemptEnded``.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from enum import StrEnum
from typing import Final, Protocol

CUT_OFF_S: Final = 45.0
"""A worker that has not reached the database for so long ends the code that it runs."""
ENDED_S: Final = 60.0
"""One that has been silent for so long has done so, if it is alive at all."""


class Ending(StrEnum):
    """Why an attempt ended before its code did."""

    TIMEOUT = "timeout"
    STOP = "stop"


class AttemptEnded(BaseException):
    """The attempt has ended; raised in its code.

    Not an ``Exception``, so that task code which catches whatever goes wrong does not swallow it. So it is no error of
    the tree either: nobody but the caller of ``Guard.watch`` may catch it, and for good.
    """

    def __init__(self, ending: Ending) -> None:
        super().__init__(ending)
        self.ending = ending

    def __str__(self) -> str:
        return "the attempt took too long" if self.ending is Ending.TIMEOUT else "the attempt is to stop"


class Watch(Protocol):
    """One attempt that is being watched."""

    def is_cancelled(self) -> bool:
        """Whether the attempt is to end, for either reason: what task code is told that asks.

        A stop is known within about a second of the mark, and not before the attempt has run for about a second.
        """

    def set_grace(self, grace_s: float) -> None:
        """How long the code may take to end once it has been told to, before its process is ended.

        It has no effect once the attempt is to end.
        """


class Guard(Protocol):
    """Watches the code of attempts."""

    def watch(self, *, timeout_s: float | None, is_wanted: Callable[[], bool]) -> AbstractContextManager[Watch]:
        """Watch the body of the with statement.

        The body must hold the task's code and nothing else: a transaction of ours in it could be ended half-way.

        Args:
            timeout_s: how long the body may take; None for as long as it likes.
            is_wanted: asked about once a second, in another thread: False once the attempt is to stop. It may raise
                (the database is away): then it is asked again later.

        Raises:
            AttemptEnded: out of the with statement, also if the body swallowed it or was through too late.
        """
