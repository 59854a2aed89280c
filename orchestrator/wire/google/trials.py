"""``test``: running a definition that is not published, the one in the body or the version in the path.

Decisions:

- An execution pins its version, so what is tried out is stored (``store.callable_versions``); nothing else finds it.
- A body whose ``integrationVersion`` has nothing but a name runs that version, of any state; without ``/versions/V`` in
  it the published one.
- A failure is no HTTP error: ``executionFailed`` says it. Otherwise the answer is that of ``execute``.
- ``testMode`` and ``configParameters`` are refused: edges and parameters would silently not be what was asked for.
  ``clientId`` and ``credentialMode`` mean nothing here.

Source: Integrations API v1 discovery document, revision 20261106.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from enum import StrEnum
from functools import partial
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import Response
from pydantic import Field

from orchestrator.errors import InvalidValue
from orchestrator.model.keys import Caller
from orchestrator.service.calling import Call, find_called, keep_trial, read_result, version_to_try
from orchestrator.service.services import Services
from orchestrator.wire.asking import Asked, Runner
from orchestrator.wire.google.bodies import Timestamp, body_of
from orchestrator.wire.google.envelope import UNIMPLEMENTED, GoogleJson, GoogleRoute, error_response
from orchestrator.wire.google.inputs import INTEGRATION, MAX_WAIT_S, WAIT_S, Inputs, Timeout, start
from orchestrator.wire.google.names import IntegrationName, OfIntegration, check_id
from orchestrator.wire.google.queries import query_of
from orchestrator.wire.google.results import to_outcome
from orchestrator.wire.waiting import until_at_rest

router = APIRouter(route_class=GoogleRoute)

_QUERY: Final = [Depends(query_of("timeout"))]


class CredentialMode(StrEnum):
    """Whose credentials a test has; there are none here."""

    UNSPECIFIED = "CREDENTIAL_MODE_UNSPECIFIED"
    CURRENT = "CREDENTIAL_MODE_CURRENT"
    HARDENED = "CREDENTIAL_MODE_HARDENED"


class Trial(Inputs):
    """``TestIntegrationsRequest``."""

    client_id: str = ""
    integration_version: dict[str, Any] = Field(default_factory=dict)
    config_parameters: dict[str, Any] = Field(default_factory=dict)
    test_mode: bool = False
    deadline_seconds_time: Timestamp | None = None
    async_execution: bool = False
    credential_mode: CredentialMode = CredentialMode.UNSPECIFIED


@router.post(INTEGRATION + ":test", dependencies=_QUERY)
@router.post(INTEGRATION + "/versions/{version}:test", dependencies=_QUERY)
async def try_out(
    *,
    request: Request,
    parent: OfIntegration,
    version: str = "",
    services: Asked,
    caller: Runner,
    body: Annotated[Trial, Depends(body_of(Trial))],
    timeout_s: Timeout = WAIT_S,
) -> Response:
    """Run a definition that is not published."""
    if body.test_mode or body.config_parameters:
        asked_for = "testMode" if body.test_mode else "configParameters"
        return error_response(
            UNIMPLEMENTED, f"{asked_for} is not supported; leave it out, and put it into the definition"
        )
    execution_id = await run_in_threadpool(partial(_begin, body, parent, version, services, caller=caller))
    if body.async_execution:
        return GoogleJson({"executionId": execution_id})
    if body.deadline_seconds_time is not None:
        left_s = (body.deadline_seconds_time - datetime.now(UTC)).total_seconds()
        timeout_s = min(max(left_s, 0.0), MAX_WAIT_S)
    await until_at_rest(request, services, [execution_id], wait_s=timeout_s)
    return GoogleJson(to_outcome(await run_in_threadpool(read_result, execution_id, services)))


def _begin(body: Trial, parent: IntegrationName, version: str, services: Services, *, caller: Caller) -> str:
    if parent.is_any:
        raise InvalidValue("name", str(parent), "one integration: a definition is tried out under its name")
    document, integration, place = body.integration_version, parent.integration, parent.place
    if document.keys() - {"name"}:
        version_id = keep_trial(document, integration, services, place=place)
    elif named := version or _version_in(document):
        check_id(named, "version", place="to be tried out")
        version_id = version_to_try(named, integration, services, place=place)
    else:
        (version_id,) = find_called(integration, body.trigger, services, place=place)
    wanted = Call(
        trigger_id=body.trigger_id,
        given=body.given,
        is_sync=not body.async_execution,
    )
    return start([version_id], wanted, services, place=place, caller=caller)[0]


def _version_in(document: Mapping[str, Any]) -> str:
    """The version that a document names, ``.../versions/V``; blank if it names none."""
    name = document.get("name", "")
    return name.rpartition("/versions/")[2] if isinstance(name, str) and "/versions/" in name else ""
