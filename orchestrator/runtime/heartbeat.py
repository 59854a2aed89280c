"""The heartbeat of a worker: a thread of the main process that keeps the worker's row in ``workers`` new.

It beats for as long as the main process lives, also while the pool is busy, a task hangs or the worker drains: what the
worker holds is leased to it by these beats (``store.workers``). The first one is written before the first message is
taken. At the very end, when no process of the pool is left, what they still held is given back, and the row goes.
"""

from __future__ import annotations

import atexit
import logging
import os
import threading
from collections.abc import Callable, Sequence
from typing import Any, Final

from celery import bootsteps

from orchestrator.errors import OrchestratorError
from orchestrator.runtime.identity import Identity, end_children
from orchestrator.service.recovery import give_back
from orchestrator.service.services import Services
from orchestrator.store.kinds import WorkerState
from orchestrator.store.workers import BEAT_S, Boot

log = logging.getLogger(__name__)

LEAVE_LIMIT_S: Final = 5.0  # a database that is away must not hold up the stop of a worker


class Heart:
    """The beating thread of one worker, and what it says."""

    def __init__(self, services: Services, boot: Boot, queues: Callable[[], Sequence[str]]) -> None:
        self._services, self._boot, self._queues = services, boot, queues
        self._state = WorkerState.READY
        self._wakes = threading.Event()
        self._has_stopped = False
        self._thread = threading.Thread(target=self._beat_on, name="heartbeat", daemon=True)

    def start(self) -> None:
        """Beat once, and from then on in a thread."""
        _try(self._services.workers.forget_lost)
        self.beat()
        self._thread.start()

    def say(self, state: WorkerState) -> None:
        """Have the thread say what the worker is about; a signal handler may call this."""
        self._state = state
        self._wakes.set()

    def beat(self, state: WorkerState | None = None) -> None:
        """Beat now, in this thread."""
        self._state = state or self._state
        _try(lambda: self._services.workers.beat(self._boot, self._queues(), self._state))

    def stop(self) -> None:
        """No beat after this."""
        self._has_stopped = True
        self._wakes.set()
        self._thread.join(LEAVE_LIMIT_S)

    def _beat_on(self) -> None:
        while not self._has_stopped:
            self._wakes.wait(BEAT_S)
            self._wakes.clear()
            if not self._has_stopped:
                self.beat()


def heartbeat_step(services: Services, identity: Identity) -> type[bootsteps.StartStopStep]:
    """The worker's boot step. It also puts the heart on the worker, for the steps that follow."""

    class Heartbeat(bootsteps.StartStopStep):
        """Starts the thread once the pool is up, so that no connection of it is forked."""

        requires = ("celery.worker.components:Pool",)

        def __init__(self, parent: Any, **options: Any) -> None:
            super().__init__(parent, **options)
            boot = identity.take(parent.hostname)  # the pool's processes are forked later, and have it, too

            def queues() -> list[str]:  # asked for at every beat: a worker can be told to consume more, or less
                return sorted(parent.app.amqp.queues.consume_from)

            parent.heart = Heart(services, boot, queues)
            self._boot = boot

        def start(self, parent: Any) -> None:
            parent.heart.start()
            atexit.register(_say_farewell, parent.heart, services, self._boot)

        def stop(self, parent: Any) -> None:
            """Not the end yet: the pool is still to end what it has, and that is held for as long as we beat."""
            parent.heart.say(WorkerState.DRAINING)

        terminate = stop

    return Heartbeat


def _say_farewell(heart: Heart, services: Services, boot: Boot) -> None:
    """The last thing that a main process does. Its pool is gone, however it was stopped."""
    if os.getpid() != boot.pid:  # a process of the pool
        return
    heart.stop()
    end_children()
    _try(lambda: give_back(services, boot))
    _try(lambda: services.outbox.leave(boot.id))
    _try(lambda: services.workers.leave(boot.id))


def _try(do: Callable[[], object]) -> None:
    try:
        do()
    except OrchestratorError as error:
        log.warning("heartbeat not written: %s", error)
    except Exception:  # the thread must outlive whatever a database driver raises
        log.exception("heartbeat not written")
