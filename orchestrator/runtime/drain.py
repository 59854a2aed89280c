"""Draining: how a worker stops without losing time or work.

    SIGTERM    it is not ready any more, and takes no new message; what runs may end by itself for ``drain_s`` seconds
    + drain_s  what still runs is given back: its code is ended as by a stop, its subprocesses with it, and the attempt
               can be claimed elsewhere; nobody counts that as a failure or a loss
    + grace    a pool process that did not let go is killed; what it held is given back by the worker's last word
    SIGQUIT    cold, at any time: the pool is ended at once, also what does not listen, and everything given back

Celery's warm shutdown would wait for running tasks for ever, and a supervisor's SIGKILL then costs a takeover.
``drain_s`` (ORCHESTRATOR_DRAIN_S) must be shorter than the supervisor's grace by some ten seconds.
"""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from contextlib import suppress
from types import FrameType
from typing import Any, Final

from celery import bootsteps, signals

from orchestrator.runtime.guard import GRACE_S, LOOK_SIGNAL
from orchestrator.store.kinds import WorkerState

log = logging.getLogger(__name__)

COLD_S: Final = 1.0  # between Celery's SIGTERM to the pool, or its own end, and SIGKILL
LET_GO_S: Final = GRACE_S + 2.0  # the guard ends the process itself before that; this is for one that hangs in a commit


def drain_step(drain_s: float) -> type[bootsteps.StartStopStep]:
    """The worker's boot step."""

    class Drain(bootsteps.StartStopStep):
        """Waits in a thread for the order to stop; a signal handler must not do more than wake it."""

        requires = ("celery.worker.components:Pool",)

        def __init__(self, parent: Any, **options: Any) -> None:
            super().__init__(parent, **options)
            self._told, self._is_cold = threading.Event(), threading.Event()

        def start(self, parent: Any) -> None:
            thread = threading.Thread(target=self._drain, args=(parent,), name="drain", daemon=True)
            thread.start()

            def begin(*_: object, **__: object) -> None:
                parent.heart.say(WorkerState.DRAINING)
                self._told.set()

            def begin_cold(number: int, frame: FrameType | None) -> None:
                self._is_cold.set()
                begin()
                cold(number, frame)

            signals.worker_shutting_down.connect(begin, weak=False)
            cold: Any = signal.getsignal(signal.SIGQUIT)
            if callable(cold):  # Celery's, which waits for the pool before it tells anybody
                signal.signal(signal.SIGQUIT, begin_cold)

        def stop(self, parent: Any) -> None:  # noqa: ARG002 - Celery's signature
            self._told.set()

        def _drain(self, parent: Any) -> None:
            """Once nothing runs any more this process ends, and this thread with it."""
            self._told.wait()
            if not self._is_cold.wait(drain_s):
                log.warning("drained for %g s; what still runs is given back", drain_s)
                parent.heart.beat(WorkerState.LEAVING)
                _signal_pool(parent.pool, LOOK_SIGNAL)
                self._is_cold.wait(LET_GO_S)
            time.sleep(COLD_S)
            log.warning("processes of the pool did not let go of what they run; they are killed")
            _signal_pool(parent.pool, signal.SIGKILL)

    return Drain


def _signal_pool(pool: Any, number: int) -> None:
    """Send a signal to every process of a prefork pool."""
    for process in list(getattr(getattr(pool, "_pool", None), "_pool", None) or ()):
        with suppress(ProcessLookupError):
            os.kill(process.pid, number)
