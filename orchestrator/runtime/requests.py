"""What the worker's main process does about a message whose pool process is gone.

Celery tells it through ``Request.on_failure``, in the main process, once the kernel has reported the exit: so the death
is certain, and what the process held can be taken back at once, without waiting for its lease.
"""

from __future__ import annotations

import logging
from typing import Any, Final

from billiard.exceptions import Terminated, WorkerLostError
from celery.worker.request import Request

from orchestrator.errors import OrchestratorError
from orchestrator.service.lost import give_up
from orchestrator.service.services import Services

log = logging.getLogger(__name__)

_DEATHS: Final = (WorkerLostError, Terminated, SystemExit, KeyboardInterrupt)


class AttemptRequest(Request):
    """Takes back what a dead pool process held. Its task carries ``services`` (``runtime.app`` puts them there)."""

    def on_failure(self, exc_info: Any, send_failed_event: bool = True, return_ok: bool = False) -> Any:
        """Celery's, with our part before it: its requeued message then finds the attempt free."""
        error = getattr(exc_info.exception, "exc", exc_info.exception)  # billiard wraps it with its traceback
        if isinstance(error, _DEATHS) and self.worker_pid:
            _take_back(self, error)
        return super().on_failure(exc_info, send_failed_event=send_failed_event, return_ok=return_ok)


def _take_back(request: Any, error: BaseException) -> None:
    services: Services = request.task.services
    worker = f"{request.hostname}/{request.worker_pid}"  # the name under which it claimed (``runtime.app``)
    try:
        give_up(request.args[0], services, worker=worker, reason=str(error) or type(error).__name__)
    except OrchestratorError as failure:
        log.warning("lost attempt not taken back: %s", failure, extra={"worker": worker})
    except Exception:  # the worker's event loop must outlive whatever a database driver raises
        log.exception("lost attempt not taken back", extra={"worker": worker})
