"""The Python API: ``Orchestrator``.

    with Orchestrator() as orchestrator:
        execution = orchestrator.execute(Path("order.json"), {"order_id": "42"})
        print(execution.state, execution.outputs)

Without settings it brings its own broker and workers, which live as long as the ``with`` block; what was executed stays
in the home folder's database. With ``ORCHESTRATOR_BROKER_URL`` set it starts nothing, and executions run on the workers
that are there.
"""

from __future__ import annotations

from collections.abc import Mapping

from orchestrator.client.control import user
from orchestrator.client.keys import Keys
from orchestrator.client.schedules import Schedules
from orchestrator.client.submitting import Submitting
from orchestrator.client.suspensions import Suspensions
from orchestrator.client.versions import Versions
from orchestrator.engine.replay import ReplayMode
from orchestrator.model.integration import IntegrationVersion
from orchestrator.service.replay import ReplayVersion, ReplayWish, executors_for, replay, version_for
from orchestrator.service.replay_preview import ReplayPreview, preview
from orchestrator.store.limit_terms import LimitStore


class Orchestrator(Submitting):
    """Publishes integrations, and starts, steers, watches and finds executions. Use it as a context manager.

    Args:
        settings: default: from the environment.
        say: gets a line for the user now and then (the embedded broker's fallback, warnings of a definition).
        place: project and location of everything it does.
    """

    # -- groups ----------------------------------------------------------------------------------------------------

    @property
    def schedules(self) -> Schedules:
        """The schedules of published integrations."""
        return Schedules(lambda: self._open().services, place=self.place)

    @property
    def suspensions(self) -> Suspensions:
        """What waits for an answer."""
        return Suspensions(
            lambda: self._open().services, running=lambda executors: self._running(executors).services, user=user
        )

    @property
    def versions(self) -> Versions:
        """Drafts, published and former versions of integrations."""
        return Versions(lambda: self._open().services, place=self.place, user=user)

    @property
    def limits(self) -> LimitStore:
        """How many executions may run at once, which do, and which wait."""
        return LimitStore(self._open().database)

    @property
    def keys(self) -> Keys:
        """Who may ask over the network."""
        return Keys(lambda: self._open().services, user=user)

    # -- steering --------------------------------------------------------------------------------------------------

    def replay(
        self,
        execution_id: str,
        *,
        mode: ReplayMode = ReplayMode.FROM_BEGINNING,
        parameters: Mapping[str, object] | None = None,
        only: bool = False,
        version: ReplayVersion = ReplayVersion.PINNED,
        reason: str = "",
        actor: str | None = None,
    ) -> str:
        """Start a new execution that repeats one that is over, and come back at once.

        Args:
            execution_id: of which execution; a sub-execution's replay is a root of its own.
            mode: everything again; or, with POINT_OF_FAILURE, only what failed or was not reached, and what follows.
            parameters: in place of those of the original request, by name, and of what reused tasks put out.
            only: leave the original request out.
            version: of the integration: the one that the original ran, or the published one.
            reason: why; kept.
            actor: who wants it; default: this operating system's user.

        Returns:
            The id of the new execution.

        Raises:
            NotOver: the execution goes on; nothing was stored, here and below.
            NoFailurePoint: it is to go on where it failed, and nothing did.
            ExecutionNotFound, IntegrationNotFound: there is no such execution, or no published version.
            InputError: the parameters do not fit, or the version lacks the trigger.
        """
        wish = ReplayWish(
            execution_id=execution_id,
            mode=mode,
            parameters=parameters or {},
            only=only,
            version=version,
            reason=reason,
            actor=actor or user(),
        )
        executors = executors_for(wish, self._open().services)  # refuses whatever cannot be, before anything is started
        return replay(wish, self._running(tuple(executors)).services)

    def preview_replay(
        self,
        execution_id: str,
        *,
        mode: ReplayMode = ReplayMode.FROM_BEGINNING,
        parameters: Mapping[str, object] | None = None,
        only: bool = False,
        version: ReplayVersion = ReplayVersion.PINNED,
    ) -> ReplayPreview:
        """What ``replay`` would do: which tasks run again, which are reused, what differs. Nothing is stored.

        Raises:
            StateError, StoreError, InputError: as ``replay``.
        """
        wish = ReplayWish(execution_id=execution_id, mode=mode, parameters=parameters or {}, only=only, version=version)
        return preview(wish, self._open().services)

    def version_of(self, execution_id: str, *, version: ReplayVersion = ReplayVersion.PINNED) -> IntegrationVersion:
        """The version that an execution runs or ran; or the one of its integration that is published now.

        Raises:
            ExecutionNotFound, IntegrationNotFound: there is none.
        """
        return version_for(execution_id, self._open().services, version=version)
