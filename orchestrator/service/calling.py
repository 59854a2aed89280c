"""Calling integrations by their name and a trigger, as clients of an API do.

Decisions:

- The name alone finds an integration: a client that misspells it is told so, even if exactly one other integration has
  the trigger. The name ``-`` stands for all published integrations with the trigger; if one of them does not take the
  parameters, none is started.
- A request id is one for each integration, so a repeated call of ``-`` finds for each of them what it started.
- An execution id of the caller's own is refused if it is taken; but not if it was taken by the same call, which came
  twice then: that one is the answer.
- Without a request id nobody can tell a call that came twice from two that are wanted: both run.
- An execution whose time has not come can be started before it. It stays what it is: its parameters are those that it
  was scheduled with, and its failure policies those of an asynchronous run.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from orchestrator.engine.inputs import bind_inputs
from orchestrator.engine.validate import check_integration
from orchestrator.errors import ExecutionExists, IntegrationNotFound, InvalidValue, StateError
from orchestrator.model.definition import parse_integration
from orchestrator.model.history import ErrorInfo
from orchestrator.model.integration import IntegrationVersion
from orchestrator.model.states import ExecutionState
from orchestrator.model.values import DataType, Value
from orchestrator.model.version_states import VersionState
from orchestrator.service.apply import start_held
from orchestrator.service.services import Services
from orchestrator.service.submit import Place, Wishes, submit, to_new
from orchestrator.store.callable_versions import CallableVersions
from orchestrator.store.kinds import DEFAULT_EXECUTOR, Hold, Method
from orchestrator.store.queries import ExecutionQueries
from orchestrator.store.rows import StoredExecution

ALL: Final = "-"
RETURN_TASK: Final = "ReturnTask"  # the task type with which a flow chooses its failure


class NotOnHold(StateError):
    """It has begun, so it cannot be started."""

    def __init__(self, execution_id: str, state: str) -> None:
        super().__init__(execution_id, state)
        self.execution_id, self.state = execution_id, state

    def __str__(self) -> str:
        return f"execution {self.execution_id} is {self.state}, and only one whose time has not come can be started now"


@dataclass(frozen=True, kw_only=True, slots=True)
class Call:
    """What is wanted.

    Attributes:
        trigger_id: by which trigger.
        given: the parameters.
        is_sync: whether the caller waits, which decides which failure policies apply.
        executor: where tasks go that name none.
        at, execution_id, request_id, actor: as in ``Wishes``.
    """

    trigger_id: str
    given: Mapping[str, Value] = field(default_factory=dict)
    is_sync: bool = False
    executor: str = DEFAULT_EXECUTOR
    at: datetime | None = None
    execution_id: str | None = None
    request_id: str | None = None
    actor: str | None = None

    @property
    def wishes(self) -> Wishes:
        """The same as a wish."""
        return Wishes(
            method=Method.POST if self.is_sync else Method.POST_TO_QUEUE,
            executor=self.executor,
            at=self.at,
            execution_id=self.execution_id,
            request_id=self.request_id,
            actor=self.actor,
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Result:
    """What became of an execution so far.

    Attributes:
        outputs: what it answers, once it is over.
        error: why it FAILED.
        is_chosen: a Return task has chosen the error's code, an HTTP status.
        is_sync: somebody waited for it, or is to.
    """

    id: str
    integration: str
    state: ExecutionState
    outputs: Mapping[str, Value]
    error: ErrorInfo | None
    is_chosen: bool
    is_sync: bool


# -- starting ------------------------------------------------------------------------------------------------------


def find_called(integration: str, trigger_id: str, services: Services, *, place: Place) -> Sequence[str]:
    """The ids of the versions that a call runs; for ``-`` there may be several.

    Raises:
        InvalidValue: no trigger is named.
        IntegrationNotFound: there is none.
    """
    if not trigger_id:
        raise InvalidValue("triggerId", "nothing", "the id of a trigger, such as api_trigger/NAME")
    where = {"project": place.project, "location": place.location}
    if integration == ALL:
        found = CallableVersions(services.store.database).published_with(trigger_id, **where)
    else:
        named = services.versions.published(integration, **where)
        found = () if named is None else (named,)
    if not found:
        raise IntegrationNotFound(integration, trigger_id)
    return found


def call(version_ids: Sequence[str], wanted: Call, services: Services, *, place: Place) -> list[str]:
    """Start an execution of each of some versions.

    Returns:
        Their ids, in order.

    Raises:
        InputError: the trigger, the parameters or the ids do not fit one of them; nothing was stored.
        QueueFull: too much waits for an executor; the executions of earlier versions are started.
        ExecutionExists: the chosen id is taken by something else.
        Unreachable: the database, or after it was stored, the broker.
    """
    if wanted.execution_id is not None and len(version_ids) > 1:
        raise InvalidValue("execution id", f"one for {len(version_ids)} executions", "none, or a single integration")
    for each in version_ids:
        plan = services.plans.get(each, wanted.trigger_id)
        bind_inputs(plan.version, wanted.given)
    return [_start(each, wanted, services, place=place) for each in version_ids]


def _start(version_id: str, wanted: Call, services: Services, *, place: Place) -> str:
    trigger_id, wishes = wanted.trigger_id, wanted.wishes
    try:
        return submit(version_id, wanted.given, services, place=place, trigger_id=trigger_id, wishes=wishes)
    except ExecutionExists as taken:
        stored = ExecutionQueries(services.store.database).one(taken.execution_id)
        plan = services.plans.get(version_id, trigger_id)
        new = to_new(plan, wanted.given, version_id=version_id, place=place, wishes=wishes)
        if _wish_of(stored) != (new.project, new.location, new.integration, new.trigger_id, new.request):
            raise
        return stored.id


def _wish_of(stored: StoredExecution) -> tuple[object, ...]:
    return stored.project, stored.location, stored.integration, stored.trigger_id, stored.request


def start_now(execution_id: str, services: Services) -> None:
    """Start an execution whose time has not come.

    Raises:
        NotOnHold: it waits for no time.
        ExecutionNotFound: there is none.
    """
    stored = ExecutionQueries(services.store.database).one(execution_id)
    is_held = stored.hold is Hold.SCHEDULED and not stored.state.is_final
    if not is_held or not start_held([execution_id], services):
        raise NotOnHold(execution_id, stored.state.value)


# -- trials --------------------------------------------------------------------------------------------------------


def version_to_try(version_id: str, integration: str, services: Services, *, place: Place) -> str:
    """The id of the version that a trial of a version runs: of a draft, which may change, it is a copy.

    Raises:
        InvalidDefinition: the draft cannot run.
        VersionNotFound: there is none.
    """
    where = {"project": place.project, "location": place.location}
    found = services.versions.one(version_id, integration=integration, **where)
    may_change = found.state is VersionState.DRAFT
    return keep_trial(found.document, integration, services, place=place) if may_change else found.id


def keep_trial(document: Mapping[str, object], integration: str, services: Services, *, place: Place) -> str:
    """Keep a definition that is to be run and not published; the id of its version.

    Raises:
        InvalidDefinition: it cannot run; nothing was stored.
    """
    version = parse_integration(document, name=integration, source=integration)
    check_integration(version, services.types, integration)
    store = CallableVersions(services.store.database)
    return store.keep_trial(version, project=place.project, location=place.location)


# -- events --------------------------------------------------------------------------------------------------------


def event_parameter(version: IntegrationVersion, trigger_id: str) -> str:
    """The parameter that takes an event's JSON.

    It is the only input variable of the trigger, else the only JSON parameter that is an input, else the only JSON
    parameter of all.

    Raises:
        UnknownTrigger: there is no such trigger.
        InvalidValue: that names none, or several.
    """
    trigger = version.trigger(trigger_id)
    documents = [each for each in version.parameters if each.data_type is DataType.JSON]
    inputs = [each.key for each in documents if each.direction.is_input]
    choices: tuple[Sequence[str], ...] = (trigger.input_variables, inputs, [each.key for each in documents])
    for keys in choices:
        if len(keys) == 1:
            return keys[0]
    found = ", ".join(choices[1] or choices[2]) or "none"
    expected = f"one JSON parameter for the event, or the only one in inputVariables of trigger {trigger.id!r}"
    raise InvalidValue(f"integration {version.name!r}", f"JSON parameters: {found}", expected)


# -- results -------------------------------------------------------------------------------------------------------


def read_result(execution_id: str, services: Services) -> Result:
    """What became of an execution so far.

    Raises:
        ExecutionNotFound: there is none.
    """
    stored = ExecutionQueries(services.store.database).one(execution_id)
    return Result(
        id=stored.id,
        integration=stored.integration,
        state=stored.state,
        outputs=stored.response,
        error=stored.error,
        is_chosen=_is_chosen(stored, services),
        is_sync=stored.method is Method.POST,
    )


def _is_chosen(stored: StoredExecution, services: Services) -> bool:
    error = stored.error
    if error is None or error.task_number is None or not isinstance(error.code, int):
        return False
    return services.plans.version(stored.version_id).task(error.task_number).task == RETURN_TASK
