"""What the worker's main process does about a message whose process is gone, that broke off, or that is revoked.

Celery tells it through ``Request.on_failure``, in the main process. If the process is gone, the kernel has reported its
exit: the death is certain, and what the process held can be taken back at once. If our own handling raised (task code
cannot: whatever it raises is an outcome), the attempt would be held for ever by a process that does not work on it.

A revoke is what Celery's users, and Flower, end a task by; it is a KILL of the task here. It is also how a KILL hurries
(``publisher.nudge``): the process that runs the attempt looks at once whether it is to end. Celery would send it a
SIGTERM, which may hit what it has gone on to.

A bundle is many attempts: those that its process still holds are taken back, and those that are not over are killed.

The main process must not wait for the database: what it cannot take back at once - a bundle never - and what is to be
killed, is left to the worker's upkeep.
"""

from __future__ import annotations

import logging
import os
from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

from celery.exceptions import InvalidTaskError
from celery.worker.request import Request

from orchestrator.engine.canvas import BUNDLE_TASK, CHUNK_TASK
from orchestrator.errors import OrchestratorError, StateError, StoreError
from orchestrator.runtime.control import REVOKED
from orchestrator.runtime.guard import LOOK_SIGNAL
from orchestrator.runtime.identity import Identity
from orchestrator.runtime.parcel_runs import Order
from orchestrator.service.lost import Loss, give_up, give_up_all
from orchestrator.service.services import Services
from orchestrator.service.task_control import end_unclaimed, kill_task
from orchestrator.store.kinds import AttemptKey

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Left:
    """Something to be taken back: of one execution, or, None, whatever the process held."""

    execution_id: str | None
    worker: str
    loss: Loss


_LEFT: Final[deque[_Left]] = deque()
_REVOKED: Final[deque[tuple[AttemptKey, bool]]] = deque()  # and whether it is the first of a bundle


class AttemptRequest(Request):
    """Takes back what a pool process held. Its task carries ``services`` and ``identity`` (``runtime.app``)."""

    _is_revoked = False

    def __init__(self, message: Any, **options: Any) -> None:
        """Celery's, but for a body of the wrong shape: it would end the worker, and the next one that gets it back."""
        try:
            super().__init__(message, **options)
            execution_id, *numbers = self.args
        except (TypeError, ValueError) as error:
            raise InvalidTaskError(f"the body of the message is not that of a task: {error}") from error
        is_chunk = self.name == CHUNK_TASK
        if not isinstance(execution_id, str) or [type(each) for each in numbers] != [int] * (4 if is_chunk else 3):
            expected = "execution, task, attempt, round" + (", first position" if is_chunk else "")
            raise InvalidTaskError(f"the message has not the ids of a task: {expected}")

    def order(self) -> Order:
        """What a process of the pool needs to run it."""
        task: Any = self.task
        body = self._payload  # type: ignore[attr-defined]  # its types leave it out
        return Order(name=self.type, id=self.id, request=self.request_dict, body=body, is_light=task.is_light)

    def on_failure(self, exc_info: Any, send_failed_event: bool = True, return_ok: bool = False) -> Any:
        """Celery's, with our part before it: its requeued message then finds the attempt free."""
        self.take_back(exc_info)
        return super().on_failure(exc_info, send_failed_event=send_failed_event, return_ok=return_ok)

    def take_back(self, exc_info: Any) -> None:
        """Have what the process held of this message be free."""
        error = getattr(exc_info.exception, "exc", exc_info.exception)  # billiard wraps it with its traceback
        if self.worker_pid:
            task: Any = self.task
            identity: Identity = task.identity
            worker = identity.process_name(self.hostname, int(self.worker_pid))
            loss = Loss(str(error) or type(error).__name__)
            if self.name == BUNDLE_TASK:
                _LEFT.append(_Left(execution_id=None, worker=worker, loss=loss))
            else:
                _take_back(_Left(execution_id=self.args[0], worker=worker, loss=loss), task.services)

    def revoked(self) -> bool:
        """Celery's, for a message that is about to be taken; a revoke is a KILL."""
        is_revoked = bool(super().revoked())
        if is_revoked:
            self._note_revoke()
        return is_revoked

    def terminate(self, pool: Any, signal: Any = None) -> None:  # noqa: ARG002 - Celery's signature
        """Not Celery's: see above."""
        self._is_revoked = True
        self._note_revoke()
        if self.worker_pid:
            with suppress(ProcessLookupError):
                os.kill(int(self.worker_pid), LOOK_SIGNAL)

    def _note_revoke(self) -> None:
        execution_id, number, attempt, *_ = self.args
        key = AttemptKey(execution_id=execution_id, number=number, attempt=attempt)
        _REVOKED.append((key, self.name == BUNDLE_TASK))

    def send_event(self, type: str, **fields: Any) -> Any:  # noqa: A002 - Celery's name
        """Celery's, with the time at which it happened: what a process runs of a parcel is told when all of it is over.

        Of a revoke Flower is told when the code has ended, which is no success.
        """
        if type == "task-started":
            fields["timestamp"] = self.time_start
        elif type == "task-succeeded" and fields.get("runtime") is not None:
            fields["timestamp"] = self.time_start + fields["runtime"]
        if type == "task-succeeded" and self._is_revoked:
            type, fields = "task-revoked", {"terminated": True, "signum": None, "expired": False}  # noqa: A001
        return super().send_event(type, **fields)


def obey_revokes(services: Services) -> None:
    """Kill the tasks that were revoked. One that is ended already, or is not there any more, is left alone."""
    while _REVOKED:
        key, is_bundle = _REVOKED[0]
        for each in services.bundles.members(key.execution_id) if is_bundle else [key]:
            _kill(each, services)
        _REVOKED.popleft()


def _kill(key: AttemptKey, services: Services) -> None:
    with suppress(StoreError):  # there is no such execution, or task
        with suppress(StateError):
            kill_task(key.execution_id, key.number, services, audit=REVOKED, attempt=key.attempt)
        end_unclaimed(key.execution_id, key.number, services)  # the message that would do so may have the revoked id


def take_back_what_is_left(services: Services) -> None:
    """Try again what failed before."""
    for _ in range(len(_LEFT)):
        _take_back(_LEFT.popleft(), services)


def _take_back(left: _Left, services: Services) -> None:
    try:
        if left.execution_id is None:
            give_up_all(services, worker=left.worker, loss=left.loss)
        else:
            give_up(left.execution_id, services, worker=left.worker, loss=left.loss)
    except OrchestratorError as failure:
        log.warning("lost attempt not taken back yet: %s", failure, extra={"worker": left.worker})
        _LEFT.append(left)
    except Exception:  # the worker's event loop must outlive whatever a database driver raises
        log.exception("lost attempt not taken back yet", extra={"worker": left.worker})
        _LEFT.append(left)
