"""The life of a client: what it connects to, and the broker and workers that it brings if none are configured."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, Final, Self

from orchestrator.errors import WorkerEnded
from orchestrator.runtime.app import Runtime, bootstrap
from orchestrator.runtime.embedded import EmbeddedServices
from orchestrator.service.submit import Place
from orchestrator.settings import Settings
from orchestrator.store.kinds import SuspensionState

log = logging.getLogger(__name__)

_IDLE_GRACE_S: Final = 0.05  # Celery takes 2 s and more to end a worker that has nothing to do
_LOOK_S: Final = 0.005  # the pause between two looks
_NOTICES_S: Final = 5.0  # embedded workers give notices within a second, unless they cannot


class Session:
    """Connects when it has to. Use it as a context manager.

    Args:
        settings: default: from the environment.
        say: gets a line for the user now and then (the embedded broker's fallback, warnings of a definition).
        place: project and location of everything it does.
    """

    def __init__(
        self,
        settings: Settings | None = None,
        *,
        say: Callable[[str], object] = log.warning,
        place: Place | None = None,
    ) -> None:
        self.settings = settings or Settings()
        self.place = place or Place()
        self._say = say
        self._embedded: EmbeddedServices | None = None
        self._runtime: Runtime | None = None
        self._found: dict[str, str] = {}  # the id of the version that was last found published, by integration
        self._published_executors: set[str] = set()  # of what was published here: sub-executions may need them
        self._asked: set[str] = set()  # executions that came to rest here because it is somebody's turn

    def __enter__(self) -> Self:
        self._open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._embedded is not None:
            if kind is None and self._gives_notices():
                pass  # a mail may be on its way: the workers end by themselves
            elif self._is_idle():
                self._embedded.grace_s = _IDLE_GRACE_S
            self._embedded.__exit__(kind, error, trace)
            self._embedded = None
        if self._runtime is not None:
            self._runtime.app.close()
            pool: Any = self._runtime.app.pool
            pool.resize(
                pool.limit, reset=True
            )  # closed but not left empty: kombu has one pool a broker for all clients
            self._runtime.database.close()
            self._runtime = None

    def _is_idle(self) -> bool:
        """Whether no worker holds anything, so that there is nothing to wait for."""
        return self._runtime is not None and not self._runtime.services.store.has_claims()

    def _gives_notices(self) -> bool:
        """Leave embedded workers the time to take over what they are to tell; whether there was anything to tell."""
        store, deadline = self._open().services.suspensions, time.monotonic() + _NOTICES_S
        found = [each for execution_id in self._asked for each in store.of_execution(execution_id)]
        is_needed = any(each.who_may_resolve and each.state is SuspensionState.PENDING for each in found)
        while is_needed and store.owes_notices(self._asked) and time.monotonic() < deadline:
            time.sleep(_LOOK_S)
        return is_needed

    def _open(self) -> Runtime:
        """Connect to the database, bringing an embedded one up to date."""
        if self._runtime is None:
            self._runtime = self._bootstrap(self.settings)
        return self._runtime

    def _bootstrap(self, settings: Settings) -> Runtime:
        runtime = bootstrap(settings, raises=True)
        runtime.database.make_ready()
        runtime.database.keep_connection()
        return runtime

    def _running(self, executors: Sequence[str]) -> Runtime:
        """What is needed to run something: with no broker configured, one of our own, and a worker an executor."""
        if not self.settings.is_embedded:
            return self._open()
        if self._embedded is None:
            self._embedded = EmbeddedServices(self.settings, say=self._say).__enter__()
            if self._runtime is not None:
                self._runtime.database.close()
            self._runtime = self._bootstrap(self._embedded.settings)
        wanted = self._published_executors.union(executors)
        for executor in sorted(wanted - {worker.executor for worker in self._embedded.workers}):
            self._embedded.start_worker(executor)
        return self._open()

    def _check_workers(self) -> None:
        if self._embedded is not None and (ended := self._embedded.ended_workers()):
            raise WorkerEnded("; ".join(ended))
