"""Running integrations: ``execute``, ``schedule``, ``executeEvent``.

Decisions:

- ``execute`` answers within 55 s, because the client gives up after 60; ``?timeout=SECONDS`` makes it up to 120, the
  product's own limit, for clients that wait longer. An execution that is not over then goes on, and so does one that
  waits for a person: the answer is 200 with ``executionId`` and the state (``results``). To wait on:
  ``executions.get?wait=`` or ``:watch`` (``watch``), or the same ``execute`` with the same ``requestId``.
- ``-`` runs every published integration with the trigger. If there are several, ``execute`` waits for all of them; the
  answer is that of the first by name, without outputs, and all ids are in ```ExecutionIds```. One that failed is an
  error.
- A POST that was sent twice because the connection broke is one execution if it has a ``requestId`` or, for
  ``schedule``, a ``userGeneratedExecutionId``. Without, nobody can tell it from a second wish, and both run.
- ``executionId`` of ``execute`` starts an execution whose time has not come, and waits for it. It has its parameters
  already, so others are refused.
- ``executeEvent`` is asynchronous. The event becomes the value of one JSON parameter: ``service.calling`` says which.

Source: Integrations API v1 discovery document, revision 20261106.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import Response

from orchestrator.errors import InvalidValue
from orchestrator.model.json_text import Json
from orchestrator.model.keys import Caller
from orchestrator.model.values import DataType, Value
from orchestrator.service.calling import (
    Call,
    Result,
    event_parameter,
    find_called,
    read_result,
    start_now,
)
from orchestrator.service.services import Services
from orchestrator.wire.asking import Asked, Runner
from orchestrator.wire.google.bodies import Timestamp, body_by, body_of, parse_json_body
from orchestrator.wire.google.envelope import GoogleJson, GoogleRoute
from orchestrator.wire.google.inputs import INTEGRATION, WAIT_S, Inputs, Timeout, start
from orchestrator.wire.google.known import check_known
from orchestrator.wire.google.names import ExecutionName, IntegrationName, OfIntegration, check_id
from orchestrator.wire.google.queries import NO_QUERY, Query, query_of
from orchestrator.wire.google.results import IDS, failure_response, has_failed, to_outcome
from orchestrator.wire.waiting import until_at_rest

router = APIRouter(route_class=GoogleRoute)


# -- bodies --------------------------------------------------------------------------------------------------------


class Execute(Inputs):
    """``ExecuteIntegrationsRequest``."""

    request_id: str = ""
    execution_id: str = ""
    do_not_propagate_error: bool = False


class Schedule(Inputs):
    """``ScheduleIntegrationsRequest``."""

    schedule_time: Timestamp | None = None
    request_id: str = ""
    user_generated_execution_id: str = ""


# -- execute -------------------------------------------------------------------------------------------------------


@router.post(INTEGRATION + ":execute", dependencies=[Depends(query_of("timeout"))])
async def execute(
    *,
    request: Request,
    parent: OfIntegration,
    services: Asked,
    caller: Runner,
    body: Annotated[Execute, Depends(body_of(Execute))],
    timeout_s: Timeout = WAIT_S,
) -> Response:
    """Run an integration and wait for its end."""
    started = await run_in_threadpool(_begin, body, parent, services, caller=caller)
    await until_at_rest(request, services, started, wait_s=timeout_s)
    results = [await run_in_threadpool(read_result, each, services) for each in started]
    failed = [each for each in results if has_failed(each)]
    if failed and not body.do_not_propagate_error:
        return failure_response(failed[0])
    return GoogleJson(_to_answer(results))


def _begin(body: Execute, parent: IntegrationName, services: Services, *, caller: Caller) -> list[str]:
    if body.execution_id:
        if body.given:
            raise InvalidValue("inputParameters", "some", "none: the execution to be resumed has its own")
        check_id(body.execution_id, "execution", place="in execution_id")
        check_known(ExecutionName(parent, body.execution_id), services)
        start_now(body.execution_id, services)
        return [body.execution_id]
    wanted = Call(
        trigger_id=body.trigger,
        given=body.given,
        is_sync=True,
        request_id=body.request_id or None,
    )
    versions = find_called(parent.integration, body.trigger, services, place=parent.place)
    return start(versions, wanted, services, place=parent.place, caller=caller)


def _to_answer(results: Sequence[Result]) -> dict[str, Json]:
    first = next((each for each in results if has_failed(each)), results[0])
    if len(results) == 1:
        return to_outcome(first)
    ids = Value(DataType.STRING_ARRAY, tuple(each.id for each in results))
    without_outputs = Result(
        id=first.id,
        integration=first.integration,
        state=first.state,
        outputs={},
        error=first.error,
        is_chosen=first.is_chosen,
        is_sync=first.is_sync,
    )
    return to_outcome(without_outputs, {IDS: ids})


# -- schedule ------------------------------------------------------------------------------------------------------


@router.post(INTEGRATION + ":schedule", dependencies=[NO_QUERY])
def schedule(
    *,
    parent: OfIntegration,
    services: Asked,
    caller: Runner,
    body: Annotated[Schedule, Depends(body_of(Schedule))],
) -> dict[str, Any]:
    """Run an integration later, or now, without waiting for it."""
    wanted = Call(
        trigger_id=body.trigger,
        given=body.given,
        at=body.schedule_time,
        execution_id=body.user_generated_execution_id or None,
        request_id=body.request_id or None,
    )
    versions = find_called(parent.integration, body.trigger, services, place=parent.place)
    return {"executionInfoIds": start(versions, wanted, services, place=parent.place, caller=caller)}


@router.post(INTEGRATION + ":executeEvent")
def execute_event(
    *,
    parent: OfIntegration,
    services: Asked,
    caller: Runner,
    query: Annotated[Query, Depends(query_of("triggerId"))],
    event: Annotated[dict[str, Any], Depends(body_by(parse_json_body, lambda: {"type": "object"}))],
) -> dict[str, Any]:
    """Run an integration with an event, without waiting for it."""
    trigger_id = query.text("triggerId")
    if parent.is_any:
        raise InvalidValue("name", str(parent), "one integration: an event is for one")
    (version_id,) = find_called(parent.integration, trigger_id, services, place=parent.place)
    key = event_parameter(services.plans.version(version_id), trigger_id)
    wanted = Call(trigger_id=trigger_id, given={key: Value(DataType.JSON, event)})
    return {"executionId": start([version_id], wanted, services, place=parent.place, caller=caller)[0]}
