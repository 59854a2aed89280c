"""Processes that are kept up: what ends by itself is started again, ever later, and given up if it keeps ending.

    ends before it was ready for the first time     given up at once: it would do the same again
    ends later                                      started again after 1, 2, 4, 8 and 16 s
    ends for the sixth time in a row                given up
    has lived for a minute                          its next end counts as the first

Given up means ``ProcessEnded``, and whoever keeps them stops everything then: a machine on which one executor is
missing looks alive, and its executions wait for ever. Losing a process loses nothing else: what it held is taken over.

Must not: know what the processes are for.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from orchestrator.errors import ProcessEnded
from orchestrator.runtime.children import exit_status, stop, tail

FIRST_PAUSE_S: Final = 1.0
MOST_ENDS: Final = 5
STEADY_S: Final = 60.0


@dataclass(frozen=True, slots=True)
class Backoff:
    """How often in a row a process has ended by itself."""

    ends: int = 0

    def after(self, lived_s: float) -> tuple[Self, float | None]:
        """It has ended again; and how long to wait before the next start, None for no start any more."""
        ends = 1 if lived_s >= STEADY_S else self.ends + 1
        return type(self)(ends), None if ends > MOST_ENDS else FIRST_PAUSE_S * 2.0 ** (ends - 1)


class Kept:
    """One process that is kept up.

    Args:
        name: what it is, to people.
        start: starts it.
        log_file: where its last words are.
        is_up: whether it can do its work; asked now and then until it says so once. May raise what a service raises
            that is not there yet.
        clean: takes away what a dead one has left, before another is started.
    """

    def __init__(
        self,
        name: str,
        start: Callable[[], subprocess.Popen[bytes]],
        *,
        log_file: Path,
        is_up: Callable[[], bool],
        clean: Callable[[subprocess.Popen[bytes]], None] = lambda process: stop([process], grace_s=0),
    ) -> None:
        self.name, self.log_file, self.is_ready = name, log_file, False
        self._start, self._is_up, self._clean = start, is_up, clean
        self._backoff, self._begun_at = Backoff(), time.monotonic()
        self._again_at = 0.0  # when it is started, if it does not run
        self.process: subprocess.Popen[bytes] | None = start()

    def look(self) -> str | None:
        """Start it again if it has ended and the pause is over; a sentence if something happened.

        Raises:
            ProcessEnded: it has ended, and is given up.
        """
        now = time.monotonic()
        if self.process is None:
            if now >= self._again_at:
                self.process, self._begun_at = self._start(), now
                return f"{self.name} is started again"
            return None
        status = exit_status(self.process)
        if status is None:
            self.is_ready = self.is_ready or self._is_up()
            return None
        return self._note_end(self.process, status, now)

    def _note_end(self, process: subprocess.Popen[bytes], status: int, now: float) -> str:
        end = f"{self.name} ended with {status}; {self.log_file} ends: {tail(self.log_file)}"
        self._backoff, pause_s = self._backoff.after(now - self._begun_at)
        if not self.is_ready or pause_s is None:
            raise ProcessEnded(end)
        self._clean(process)
        self.process, self._again_at = None, now + pause_s
        return f"{end}; it is started again in {pause_s:g} s"

    def stop(self, grace_s: float) -> None:
        """End it, and keep it up no more."""
        if self.process is not None:
            stop([self.process], grace_s=grace_s)
            self.process = None
