"""The heartbeat of a worker: a thread of the main process that keeps the worker's row in ``workers`` new.

It beats for as long as the main process lives, also while the pool is busy or a task hangs: what it says is that there
is a worker for these queues, not that it has a process to spare. At a clean stop the row goes as soon as the worker
takes no new messages; what it still runs has a lease of its own.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Sequence
from typing import Any, Final

from celery import bootsteps

from orchestrator.errors import OrchestratorError
from orchestrator.store.database import Database
from orchestrator.store.workers import BEAT_S, WorkerStore

log = logging.getLogger(__name__)

LEAVE_LIMIT_S: Final = 5.0  # a database that is away must not hold up the stop of a worker


def heartbeat_step(database: Database) -> type[bootsteps.StartStopStep]:
    """The worker's boot step for this database."""
    store = WorkerStore(database)

    class Heartbeat(bootsteps.StartStopStep):
        """Starts the thread once the pool is up, so that no connection of it is forked."""

        requires = ("celery.worker.components:Pool",)

        def __init__(self, parent: Any, **options: Any) -> None:
            super().__init__(parent, **options)
            self._stopped = threading.Event()
            self._thread: threading.Thread | None = None

        def start(self, parent: Any) -> None:
            def queues() -> list[str]:  # asked for at every beat: a worker can be told to consume more, or less
                return sorted(parent.app.amqp.queues.consume_from)

            arguments = (store, f"{parent.hostname}/{os.getpid()}", queues, self._stopped)
            self._thread = threading.Thread(target=_beat, args=arguments, name="heartbeat", daemon=True)
            self._thread.start()

        def stop(self, parent: Any) -> None:  # noqa: ARG002 - Celery's signature
            self._stopped.set()
            if self._thread is not None:
                self._thread.join(LEAVE_LIMIT_S)

        terminate = stop

    return Heartbeat


def _beat(store: WorkerStore, worker: str, queues: Callable[[], Sequence[str]], stopped: threading.Event) -> None:
    _try(store.forget_lost)
    while not stopped.is_set():
        _try(lambda: store.beat(worker, queues()))
        stopped.wait(BEAT_S)
    _try(lambda: store.leave(worker))


def _try(do: Callable[[], object]) -> None:
    try:
        do()
    except OrchestratorError as error:
        log.warning("heartbeat not written: %s", error)
    except Exception:  # the thread must outlive whatever a database driver raises
        log.exception("heartbeat not written")
