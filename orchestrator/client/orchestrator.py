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
from datetime import datetime
from pathlib import Path
from typing import TypeAlias

from orchestrator.client.control import Control, user
from orchestrator.client.schedules import Schedules
from orchestrator.client.suspensions import Suspensions
from orchestrator.engine.inputs import bind_inputs
from orchestrator.engine.replay import ReplayMode
from orchestrator.engine.validate import check_integration
from orchestrator.errors import UnreadableDefinition
from orchestrator.model.definition import parse_integration, read_definition
from orchestrator.model.execution import Execution
from orchestrator.model.integration import IntegrationVersion
from orchestrator.runtime.app import load_task_types
from orchestrator.service.reach import executors_in_reach
from orchestrator.service.replay import ReplayVersion, ReplayWish, executors_for, replay, version_for
from orchestrator.service.replay_preview import ReplayPreview, preview
from orchestrator.service.submit import Wishes, check_wishes, publish, submit, to_values
from orchestrator.store.limit_terms import LimitStore
from orchestrator.store.rows import DEFAULT_EXECUTOR, DEFAULT_PRIORITY, Method

Definition: TypeAlias = "Path | Mapping[str, object] | IntegrationVersion"


class Orchestrator(Control):
    """Publishes integrations, and starts, steers, watches and finds executions. Use it as a context manager.

    Args:
        settings: default: from the environment.
        say: gets a line for the user now and then (the embedded broker's fallback, warnings of a definition).
        place: project and location of everything it does.
    """

    # -- doing -----------------------------------------------------------------------------------------------------

    def read(self, definition: Definition, *, name: str = "") -> IntegrationVersion:
        """Read a definition: a file, a decoded document, or one that was read already.

        Raises:
            UnreadableDefinition, InvalidDefinition: it is none.
        """
        match definition:
            case IntegrationVersion():
                return definition
            case Path():
                return read_definition(_content(definition), name=name, source=str(definition))
            case _:
                return parse_integration(definition, name=name)

    def check(
        self,
        definition: Definition,
        parameters: Mapping[str, object] | None = None,
        *,
        trigger: str | None = None,
    ) -> tuple[str, ...]:
        """Find out whether ``publish`` would take this; with parameters, ``{}`` included, whether ``submit`` would.

        Nothing is connected, started or stored.

        Returns:
            The definition's warnings.

        Raises:
            DefinitionError, InputError: something does not fit.
        """
        version = self.read(definition)
        warnings = check_integration(version, load_task_types(self.settings.include), version.name)
        if parameters is not None:
            version.trigger(trigger)
            bind_inputs(version, to_values(version, parameters))
        return warnings

    def publish(self, definition: Definition, *, name: str = "") -> str:
        """Check a definition and make it the published version of its integration.

        Returns:
            The version's id.

        Raises:
            InvalidDefinition: it cannot run; nothing was stored.
        """
        version = self.read(definition, name=name)
        version_id, warnings = publish(version, self._open().services, place=self.place, source=version.name)
        for warning in warnings:
            self._say(f"{version.name}: {warning}")
        self._published_executors.update(task.executor_id for task in version.tasks if task.executor_id)
        if self._embedded is not None:
            self._running(())
        return version_id

    def submit(
        self,
        definition: Definition | str,
        parameters: Mapping[str, object] | None = None,
        *,
        trigger: str | None = None,
        executor: str = DEFAULT_EXECUTOR,
        method: Method = Method.POST_TO_QUEUE,
        at: datetime | None = None,
        deadline_s: float | None = None,
        priority: int = DEFAULT_PRIORITY,
        execution_id: str | None = None,
        request_id: str | None = None,
    ) -> str:
        """Start an execution, now or later, and come back at once.

        Args:
            definition: a definition, which is published first; or the name of a published integration.
            parameters: plain Python data or values, by name.
            trigger: default: the only API trigger.
            executor: where tasks go that name no executor of their own.
            method: POST runs it synchronously, which decides which failure policies apply.
            at: begin then, and not before; an aware datetime. One that has passed is now.
            deadline_s: it is FAILED if it is not over so many seconds from now, or from ``at``.
            priority: 0 to 9, the most urgent: which executions get a limit's next place, and a worker, first.
            execution_id: an id of your own: 1 to 36 letters, digits and hyphens.
            request_id: likewise; a second call with the same one for the same integration starts nothing.

        Returns:
            The execution's id; of the first one, if its ``request_id`` is known.

        Raises:
            DefinitionError, InputError: something does not fit; nothing was stored.
            IntegrationNotFound: no integration of this name is published.
            ExecutionExists: the chosen id is taken.
        """
        wishes = Wishes(
            method=method,
            executor=executor,
            at=at,
            deadline_s=deadline_s,
            priority=priority,
            execution_id=execution_id,
            request_id=request_id,
        )
        check_wishes(wishes)
        if isinstance(definition, str):
            version_id = self._find(definition)
            version = self._open().services.plans.version(version_id)
        else:
            version = self.read(definition)
            self.check(version, parameters or {}, trigger=trigger)
            version_id = self.publish(version)
        services = self._open().services
        executors = executors_in_reach(version_id, services, executor=executor, place=self.place)
        runtime = self._running(tuple(executors))
        return submit(
            version_id,
            to_values(version, parameters or {}),
            runtime.services,
            place=self.place,
            trigger_id=trigger,
            wishes=wishes,
        )

    def published(self, name: str) -> IntegrationVersion:
        """The published version of an integration.

        Raises:
            IntegrationNotFound: none of this name is published.
        """
        return self._open().services.plans.version(self._find(name))

    def _find(self, name: str) -> str:
        """The id of the published version of an integration."""
        versions = self._open().services.versions
        return versions.find(name, trigger_id="", project=self.place.project, location=self.place.location)

    def execute(
        self,
        definition: Definition | str,
        parameters: Mapping[str, object] | None = None,
        *,
        trigger: str | None = None,
        executor: str = DEFAULT_EXECUTOR,
        timeout_s: float | None = None,
    ) -> Execution:
        """Run an integration synchronously: ``submit`` and ``wait``.

        Returns:
            The execution: final, or SUSPENDED, or RETRY_ON_HOLD with a task in quarantine.

        Raises:
            WaitTimeout: it is not final after ``timeout_s`` seconds; it goes on.
            DefinitionError, InputError: something does not fit; nothing was stored.
        """
        execution_id = self.submit(definition, parameters, trigger=trigger, executor=executor, method=Method.POST)
        return self.wait(execution_id, timeout_s=timeout_s)

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
    def limits(self) -> LimitStore:
        """How many executions may run at once, which do, and which wait."""
        return LimitStore(self._open().database)

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


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UnreadableDefinition(str(path), f"cannot be read: {error.strerror}") from error
