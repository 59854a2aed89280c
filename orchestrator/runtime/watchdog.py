"""The watchdog: ends this process at a given moment, whatever it is doing.

It is the C thread of ``faulthandler``: it needs neither the interpreter nor its lock, so it also ends C code that
never gives the lock back. It leaves the traceback of every thread on standard error, which is the worker's log, and
the exit code 1; Celery's main process then sees a lost worker.

There is one in a process, so the deadlines of all who need it are kept here and the earliest is armed. Who else calls
``faulthandler.dump_traceback_later`` in this process takes it away.

Must not: be called by two threads at once (the caller has a lock), or be armed during a fork: the child would inherit
a lock that its missing thread holds, and hang at its exit. Hence ``pause``.
"""

from __future__ import annotations

import faulthandler
import time
from typing import Final

LOG_FD: Final = 2  # not sys.stderr: Celery replaces that with a logger, which has no file
SHORTEST_S: Final = 0.001


class Watchdog:
    """The deadlines of this process, as ``time.monotonic`` counts, by owner."""

    def __init__(self) -> None:
        self._deadlines: dict[object, float] = {}
        self._armed_at: float | None = None

    def end_process_at(self, at: float, owner: object) -> None:
        """Set the owner's deadline; one that is earlier stays."""
        self._deadlines[owner] = min(at, self._deadlines.get(owner, at))
        self._arm()

    def let_go(self, owner: object) -> None:
        """Forget the owner's deadline, if it has one."""
        if self._deadlines.pop(owner, None) is not None:
            self._arm()

    def pause(self) -> None:
        """Before a fork: nothing is armed until ``resume``."""
        if self._armed_at is not None:
            faulthandler.cancel_dump_traceback_later()
            self._armed_at = None

    def resume(self) -> None:
        """After a fork, in the parent."""
        self._arm()

    def forget(self) -> None:
        """After a fork, in the child: the deadlines are the parent's."""
        self._deadlines.clear()

    def _arm(self) -> None:
        earliest = min(self._deadlines.values(), default=None)
        if earliest == self._armed_at:
            return
        if earliest is None:
            faulthandler.cancel_dump_traceback_later()
        else:
            remaining_s = max(earliest - time.monotonic(), SHORTEST_S)
            faulthandler.dump_traceback_later(remaining_s, exit=True, file=LOG_FD)
        self._armed_at = earliest
