"""The Python API: ``Orchestrator``.

    with Orchestrator() as orchestrator:
        execution = orchestrator.execute(Path("order.json"), {"order_id": "42"})
        print(execution.state, execution.outputs)

Without settings it brings its own broker and workers, which live as long as the ``with`` block; what was executed stays
in the home folder's database. With ``ORCHESTRATOR_BROKER_URL`` set it starts nothing, and executions run on the workers
that are there.
"""

from __future__ import annotations

import getpass
import logging
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Final, Self, TypeAlias

from orchestrator.client.schedules import Schedules
from orchestrator.client.suspensions import Suspensions
from orchestrator.engine.inputs import bind_inputs
from orchestrator.engine.replay import ReplayMode
from orchestrator.engine.validate import check_integration
from orchestrator.errors import UnreadableDefinition, WaitTimeout, WorkerEnded
from orchestrator.model.definition import parse_integration, read_definition
from orchestrator.model.execution import Execution
from orchestrator.model.explanation import Explanation
from orchestrator.model.history import Entry
from orchestrator.model.integration import IntegrationVersion
from orchestrator.model.snapshots import Snapshot, SnapshotDifference
from orchestrator.model.states import FINAL_EXECUTION_STATES, ExecutionState
from orchestrator.runtime.app import Runtime, bootstrap, load_task_types
from orchestrator.runtime.embedded import EmbeddedServices
from orchestrator.service.control import kill
from orchestrator.service.explain import explain
from orchestrator.service.fold import Snapshots
from orchestrator.service.query import TreeReader
from orchestrator.service.replay import ReplayVersion, ReplayWish, executors_for, replay, version_for
from orchestrator.service.replay_preview import ReplayPreview, preview
from orchestrator.service.snapshots import Checkpoint, read_difference, read_history, read_snapshots
from orchestrator.service.submit import Place, Wishes, check_wishes, executors_of, publish, submit, to_values
from orchestrator.settings import Settings
from orchestrator.store.limit_terms import LimitStore
from orchestrator.store.queries import ExecutionQueries
from orchestrator.store.rows import DEFAULT_EXECUTOR, DEFAULT_PRIORITY, Method, SuspensionState
from orchestrator.store.signals import Audit

log = logging.getLogger(__name__)

Definition: TypeAlias = "Path | Mapping[str, object] | IntegrationVersion"

_POLL_S: Final = (0.005, 0.25)  # the first pause between two looks at the database, and the longest
_IDLE_GRACE_S: Final = 0.05  # Celery takes 2 s and more to end a worker that has nothing to do
_NOTICES_S: Final = 5.0  # embedded workers give notices within a second, unless they cannot


class Orchestrator:
    """Publishes integrations, and starts, watches and finds executions. Use it as a context manager.

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
        self._published_executors: set[str] = set()  # of what was published here: sub-executions may need them
        self._asked: set[str] = set()  # executions that came to rest here because it is somebody's turn

    # -- life ------------------------------------------------------------------------------------------------------

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
            self._runtime.app.pool.force_close_all(close_pool=False)  # type: ignore[attr-defined]
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
            time.sleep(_POLL_S[0])
        return is_needed

    def _open(self) -> Runtime:
        """Connect to the database, bringing an embedded one up to date."""
        if self._runtime is None:
            self._runtime = self._bootstrap(self.settings)
        return self._runtime

    def _bootstrap(self, settings: Settings) -> Runtime:
        runtime = bootstrap(settings, raises=True)
        if runtime.database.is_sqlite:
            runtime.database.upgrade()
        else:
            runtime.database.check_schema()
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
        runtime = self._running(tuple(executors_of(version, executor)))
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
            The execution, final or SUSPENDED.

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

    def kill(
        self, execution_id: str, *, message: str | None = None, actor: str | None = None, rolls_back: bool = False
    ) -> Execution:
        """End an execution and everything live below it; each is CANCELLED once no code of it runs.

        Args:
            execution_id: of which execution.
            message: why; kept with who and when.
            actor: who wants it; default: this operating system's user.
            rolls_back: undo what SUCCEEDed and has a rollback before it is CANCELLED.

        Returns:
            The execution as it is now: CANCELLED, or still live while a worker ends what it runs; ``wait`` for that.

        Raises:
            ExecutionOver: it is final already; nothing was changed.
            ExecutionNotFound: there is none.
        """
        runtime = self._running(())
        kill(execution_id, runtime.services, audit=Audit(actor=actor or user(), message=message), rolls_back=rolls_back)
        return self.get(execution_id)

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

    # -- looking ---------------------------------------------------------------------------------------------------

    def get(
        self,
        execution_id: str,
        *,
        snapshots: Snapshots = Snapshots.LAST,
        with_parameters: bool = True,
        with_children: bool = True,
    ) -> Execution:
        """An execution as it is now, with everything below it.

        Args:
            execution_id: of which execution.
            snapshots: which of them to build.
            with_parameters: False leaves the parameters out of snapshots.
            with_children: False leaves out what is below it.

        Raises:
            ExecutionNotFound: there is none.
        """
        reader = self._reader(snapshots, with_parameters=with_parameters)
        return reader.read(execution_id) if with_children else reader.read_alone(execution_id)

    def snapshots(
        self, execution_id: str, *, task: int | None = None, attempt: int | None = None, with_parameters: bool = True
    ) -> tuple[Snapshot, ...]:
        """The execution after every checkpoint: each attempt's end, each answer to a suspension.

        Args:
            execution_id: of which execution.
            task: only those that were taken at this task.
            attempt: only those of this attempt.
            with_parameters: False leaves the parameters out.

        Raises:
            ExecutionNotFound: there is none.
            TaskNotFound: it has no such task.
        """
        services = self._open().services
        return read_snapshots(execution_id, services, task=task, attempt=attempt, with_parameters=with_parameters)

    def difference(self, execution_id: str, one: Checkpoint, other: Checkpoint) -> SnapshotDifference:
        """What is otherwise in the snapshot ``other`` than in ``one``: parameters, task states, edges decided.

        Args:
            execution_id: of which execution.
            one: an index (from 0, or from -1 backwards), or a task and an attempt of it.
            other: likewise.

        Raises:
            ExecutionNotFound: there is none.
            SnapshotNotFound: it has no such snapshot.
        """
        return read_difference(execution_id, one, other, self._open().services)

    def history(self, execution_id: str, *, task: int | None = None) -> tuple[Entry, ...]:
        """What happened to an execution, entry by entry; with a task, what happened to that and to the whole.

        Raises:
            ExecutionNotFound: there is none.
            TaskNotFound: it has no such task.
        """
        return read_history(execution_id, self._open().services, task=task)

    def explain(self, execution_id: str, task: int | None = None) -> tuple[Explanation, ...]:
        """Why an execution stands as it does: first the whole, then each task; or one task alone.

        Raises:
            ExecutionNotFound: there is none.
            TaskNotFound: it has no such task.
        """
        return explain(execution_id, self._open().services, task=task)

    def list(
        self,
        *,
        integration: str | None = None,
        state: ExecutionState | None = None,
        with_children: bool = False,
        limit: int = 50,
    ) -> list[Execution]:
        """The newest executions, without what is below them.

        Args:
            integration: only of this one.
            state: only in this state.
            with_children: sub-executions as well.
            limit: at most so many.
        """
        rows = self._queries().list(integration=integration, state=state, with_children=with_children, limit=limit)
        reader = self._reader(Snapshots.NONE)
        return [reader.shallow(row) for row in rows]

    def wait(self, execution_id: str, *, timeout_s: float | None = None) -> Execution:
        """Wait until an execution is final, or SUSPENDED and somebody else's turn: for timers it goes on waiting.

        Raises:
            WaitTimeout: it is neither after ``timeout_s`` seconds; it goes on.
            WorkerEnded: an embedded worker has ended, so nothing would ever happen.
            ExecutionNotFound: there is none.
        """
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        queries, pause_s = self._queries(), _POLL_S[0]
        while not self._is_at_rest(execution_id, state := queries.state(execution_id)):
            if deadline is not None and time.monotonic() >= deadline:
                raise WaitTimeout(execution_id, timeout_s or 0.0, state)
            self._check_workers()
            time.sleep(pause_s)
            pause_s = min(pause_s * 1.2, _POLL_S[1])
        return self.get(execution_id)

    def watch(
        self, execution_id: str, *, interval_s: float = 0.1, timeout_s: float | None = None
    ) -> Iterator[Execution]:
        """The execution again and again, whenever it has changed, until it rests as for ``wait``.

        A big tree is read less often than every ``interval_s`` seconds: reading takes at most a quarter of the time.

        Raises:
            WaitTimeout: it is neither after ``timeout_s`` seconds; it goes on.
            WorkerEnded: an embedded worker has ended, so nothing would ever happen.
            ExecutionNotFound: there is none.
        """
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        reader, seen = self._reader(Snapshots.LAST), None
        while True:
            began = time.monotonic()
            execution = reader.read(execution_id)
            pause_s = max(interval_s, 3 * (time.monotonic() - began))
            if execution != seen:
                yield execution
            if self._is_at_rest(execution_id, execution.state):
                return
            seen, now = execution, time.monotonic()
            if deadline is not None and now >= deadline:
                raise WaitTimeout(execution_id, timeout_s or 0.0, execution.state)
            self._check_workers()
            time.sleep(pause_s if deadline is None else min(pause_s, deadline - now))

    def _is_at_rest(self, execution_id: str, state: ExecutionState) -> bool:
        """Whether nothing happens to it by itself: it is over, or it is somebody's turn. A timer ends by itself."""
        if state is not ExecutionState.SUSPENDED:
            return state in FINAL_EXECUTION_STATES
        is_asked = self._open().services.suspensions.awaits_answer(execution_id)
        if is_asked:
            self._asked.add(execution_id)
        return is_asked

    def _check_workers(self) -> None:
        if self._embedded is not None and (ended := self._embedded.ended_workers()):
            raise WorkerEnded("; ".join(ended))

    def _queries(self) -> ExecutionQueries:
        return ExecutionQueries(self._open().database)

    def _reader(self, snapshots: Snapshots, *, with_parameters: bool = True) -> TreeReader:
        plans = self._open().services.plans
        return TreeReader(self._queries(), plans, snapshots=snapshots, with_parameters=with_parameters)


def user() -> str:
    """Who acts, where no other name is given: this operating system's user."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # no name for this uid, as in many containers
        return f"uid {os.getuid()}"


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UnreadableDefinition(str(path), f"cannot be read: {error.strerror}") from error
