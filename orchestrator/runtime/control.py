"""Celery's remote control, with a revoke that lasts.

A revoke is a broadcast: who is not there does not hear it, and who hears it forgets it at its end. For a task of ours
it is written down first, as a KILL of that task. So whoever revokes through this app - ``AsyncResult.revoke``, Flower's
buttons - ends it for good, also if no worker is up.

As in Celery, a task that runs is left alone unless ``terminate`` is asked for. One that is over, or being ended, stays
as it is. The id of a bundle stands for all of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from celery.app.control import Control

from orchestrator.engine.canvas import JOIN_TASK, is_bundle_id, parse_celery_id
from orchestrator.errors import ExecutionNotFound, StateError
from orchestrator.service.services import Services
from orchestrator.service.task_control import kill_task
from orchestrator.store.kinds import AttemptKey
from orchestrator.store.signals import Audit

REVOKED = Audit(actor="celery", message="revoked")


class LastingControl(Control):
    """The ``control`` of our app. It finds the services on the app's tasks (``runtime.app``)."""

    def revoke(
        self,
        task_id: str | Sequence[str],
        destination: Any = None,
        terminate: bool = False,
        signal: str = "SIGTERM",
        **more: Any,
    ) -> Any:
        """Kill what is ours, and tell the workers.

        Raises:
            Unreachable: the database does not answer; nobody was told.
        """
        ids = [task_id] if isinstance(task_id, str) else list(task_id)
        task: Any = self.app.tasks.get(JOIN_TASK)
        if task is not None:
            for each in ids:
                _kill(each, task.services, terminate=terminate)
        return super().revoke(ids, destination, terminate, signal, **more)


def _kill(celery_id: str, services: Services, *, terminate: bool) -> None:
    parsed = parse_celery_id(celery_id)
    if parsed is None:
        return
    execution_id, number, attempt, _ = parsed
    keys = [AttemptKey(execution_id=execution_id, number=number, attempt=attempt)]
    if is_bundle_id(celery_id):
        keys = services.bundles.members(execution_id)
    for key in keys:
        for found in services.store.find([key.execution_id]):
            live = found.live.get(key.number)
            if terminate or live is None or live.worker is None:
                with suppress(StateError, ExecutionNotFound):
                    kill_task(key.execution_id, key.number, services, audit=REVOKED, attempt=key.attempt)
