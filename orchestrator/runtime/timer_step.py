"""The part of every worker that looks for due timers: a thread of the main process, with connections of its own."""

from __future__ import annotations

import logging
import threading
from typing import Any, Final

from celery import bootsteps

from orchestrator.errors import OrchestratorError
from orchestrator.service.services import Services
from orchestrator.service.timers import fire_due_timers

log = logging.getLogger(__name__)

LOOK_EVERY_S: Final = 0.5


def timer_step(services: Services) -> type[bootsteps.StartStopStep]:
    """The worker's boot step for these services."""

    class Timers(bootsteps.StartStopStep):
        """Starts the thread once the pool is up, so that no connection of it is forked."""

        requires = ("celery.worker.components:Pool",)

        def __init__(self, parent: Any, **options: Any) -> None:
            super().__init__(parent, **options)
            self._stopped = threading.Event()
            self._thread = threading.Thread(target=_look, args=(services, self._stopped), name="timers", daemon=True)

        def start(self, parent: Any) -> None:  # noqa: ARG002 - Celery's signature
            self._thread.start()

        def stop(self, parent: Any) -> None:  # noqa: ARG002
            self._stopped.set()

    return Timers


def _look(services: Services, stopped: threading.Event) -> None:
    pause_s = LOOK_EVERY_S
    while not stopped.wait(pause_s):
        pause_s = LOOK_EVERY_S
        try:
            next_in_s = fire_due_timers(services)
            pause_s = LOOK_EVERY_S if next_in_s is None else min(next_in_s, LOOK_EVERY_S)
        except OrchestratorError as error:
            log.warning("timers not looked at: %s", error)
        except Exception:  # the thread must outlive whatever a database driver raises
            log.exception("timers not looked at")
