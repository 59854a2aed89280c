"""The part of the Python API that publishes integrations and starts executions: one, or thousands at a time."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import TypeAlias

from orchestrator.client.control import Control, user
from orchestrator.engine.inputs import bind_inputs
from orchestrator.engine.validate import check_integration
from orchestrator.errors import InputError, UnreadableDefinition
from orchestrator.model.definition import parse_integration, read_definition
from orchestrator.model.execution import Execution
from orchestrator.model.integration import IntegrationVersion
from orchestrator.runtime.app import load_task_types
from orchestrator.service.reach import executors_in_reach
from orchestrator.service.services import Services
from orchestrator.service.submit import Wishes, check_wishes, publish, submit, to_values
from orchestrator.service.submit_many import check_items, submit_many
from orchestrator.store.creation import NotPublished
from orchestrator.store.kinds import DEFAULT_EXECUTOR, DEFAULT_PRIORITY, Method

Definition: TypeAlias = "Path | Mapping[str, object] | IntegrationVersion"


class Submitting(Control):
    """Publishes integrations and starts executions."""

    # -- definitions -----------------------------------------------------------------------------------------------

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
        services, source = self._open().services, version.name
        version_id, warnings = publish(version, services, place=self.place, source=source, actor=user())
        for warning in warnings:
            self._say(f"{version.name}: {warning}")
        self._published_executors.update(task.executor_id for task in version.tasks if task.executor_id)
        if self._embedded is not None:
            self._running(())
        return version_id

    def published(self, name: str) -> IntegrationVersion:
        """The published version of an integration.

        Raises:
            IntegrationNotFound: none of this name is published.
        """
        return self._open().services.plans.version(self._find(name))

    def _find(self, name: str) -> str:
        """The id of the published version of an integration."""
        versions = self._open().services.versions
        found = versions.find(name, trigger_id="", project=self.place.project, location=self.place.location)
        self._found[name] = found
        return found

    # -- executions ------------------------------------------------------------------------------------------------

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
        wait_s: float = 0.0,
        actor: str | None = None,
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
            wait_s: how long to wait for room if ``max_queue_depth`` is set and a queue that it starts in is full.
            actor: who wants it, kept; default: this operating system's user.

        Returns:
            The execution's id; of the first one, if its ``request_id`` is known.

        Raises:
            DefinitionError, InputError: something does not fit; nothing was stored.
            IntegrationNotFound: no integration of this name is published.
            QueueFull: a queue that it starts in is full, and was for ``wait_s``; no execution was stored.
            ExecutionExists: the chosen id is taken.
            Unreachable: the database, or the broker. The execution may be stored, and then it runs once both are back.
        """
        wishes = Wishes(
            method=method,
            executor=executor,
            at=at,
            deadline_s=deadline_s,
            priority=priority,
            execution_id=execution_id,
            request_id=request_id,
            wait_s=wait_s,
            actor=actor or user(),
        )
        check_wishes(wishes)
        with suppress(InputError, NotPublished):  # of a version that may have been replaced
            if (version_id := self._remembered(definition)) is not None:
                return self._submit_published(version_id, parameters or {}, trigger=trigger, wishes=wishes)
        version, version_id = self._find_or_read(definition, trigger=trigger)
        given = to_values(version, parameters or {})
        bind_inputs(version, given)
        version_id = version_id or self.publish(version)
        return submit(
            version_id,
            given,
            self._able_to_run(version_id, executor),
            place=self.place,
            trigger_id=trigger,
            wishes=wishes,
        )

    def submit_many(
        self,
        definition: Definition | str,
        inputs: Iterable[Mapping[str, object]],
        *,
        execution_ids: Sequence[str | None] | None = None,
        request_ids: Sequence[str | None] | None = None,
        trigger: str | None = None,
        executor: str = DEFAULT_EXECUTOR,
        method: Method = Method.POST_TO_QUEUE,
        at: datetime | None = None,
        deadline_s: float | None = None,
        priority: int = DEFAULT_PRIORITY,
        wait_s: float = 0.0,
        actor: str | None = None,
    ) -> list[str]:
        """Start an execution for each of many inputs, several times as quick as one by one.

        All inputs are checked before anything is stored. Then chunks of 1,000 executions are stored, each as a whole or
        not at all, and started. So if a service goes away in the middle, whole chunks are stored, and what is stored
        runs, also what the broker was not told of any more: workers find it in the database. With ``request_ids`` the
        call can simply be made again: what is stored is not stored twice.

        Args:
            definition: a definition, which is published first; or the name of a published integration.
            inputs: the parameters of each execution: plain Python data or values, by name.
            execution_ids: ids of your own, one for each input; None for one that is made.
            request_ids: likewise; one that is known, or that an earlier input has, starts nothing.
            trigger: of all of them, as for ``submit``, and so are the others below.
            executor: where tasks go that name no executor of their own.
            method: POST runs them synchronously.
            at: begin then, and not before.
            deadline_s: FAILED if not over so many seconds from now, or from ``at``.
            priority: 0 to 9, the most urgent.
            wait_s: how long to wait for room each time that ``max_queue_depth`` is reached; what fits is started
                meanwhile. Without it there has to be room for all.
            actor: who wants them.

        Returns:
            The executions' ids, in the order of the inputs; of the first one, where a request id is known.

        Raises:
            InvalidItem: an input does not fit; ``position`` says which. No execution was stored, here and below.
            DefinitionError, InputError: something else does not fit.
            IntegrationNotFound: no integration of this name is published.
            QueueFull: there is no room for all, or after ``wait_s`` for none.
            ExecutionExists: a chosen id is taken.
            Unreachable: the database does not answer. If its last answer was lost, the first chunk may be stored.
            PartlySubmitted: one of the last three, or a broker that does not answer, after some executions were stored:
                those in ``ids``.
        """
        wishes = Wishes(
            method=method,
            executor=executor,
            at=at,
            deadline_s=deadline_s,
            priority=priority,
            wait_s=wait_s,
            actor=actor or user(),
        )
        check_wishes(wishes)
        version, version_id = self._find_or_read(definition, trigger=trigger)
        items = check_items(version, [*inputs], execution_ids=execution_ids, request_ids=request_ids)
        version_id = version_id or self.publish(version)
        return submit_many(
            version_id,
            items,
            self._able_to_run(version_id, executor),
            place=self.place,
            trigger_id=trigger,
            wishes=wishes,
        )

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

    def _find_or_read(
        self, definition: Definition | str, *, trigger: str | None
    ) -> tuple[IntegrationVersion, str | None]:
        """What is to run, with this trigger; and the id of its version, if it is published."""
        if isinstance(definition, str):
            version_id = self._find(definition)
            version = self._open().services.plans.version(version_id)
        else:
            version_id, version = None, self.read(definition)
            self.check(version)
        version.trigger(trigger)
        return version, version_id

    def _remembered(self, definition: Definition | str) -> str | None:
        """The version that was last found under this name; not where workers have to be started for it."""
        if self.settings.is_embedded or not isinstance(definition, str):
            return None
        return self._found.get(definition)

    def _submit_published(
        self, version_id: str, parameters: Mapping[str, object], *, trigger: str | None, wishes: Wishes
    ) -> str:
        """Start an execution of a version if it is still published: a look for what is takes as long as to store it.

        Raises:
            NotPublished: it is not; nothing was stored.
        """
        services = self._open().services
        given = to_values(services.plans.version(version_id), parameters)
        return submit(
            version_id,
            given,
            services,
            place=self.place,
            trigger_id=trigger,
            wishes=wishes,
            only_published=True,
        )

    def _able_to_run(self, version_id: str, executor: str) -> Services:
        """What is needed to run a version: where nobody else brings workers, they are started."""
        if not self.settings.is_embedded:
            return self._open().services
        executors = executors_in_reach(version_id, self._open().services, executor=executor, place=self.place)
        return self._running(tuple(executors)).services


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UnreadableDefinition(str(path), f"cannot be read: {error.strerror}") from error
