"""``suspensions``: what waits for an answer within an execution, and the answer.

Decisions:

- The id of a suspension is ``TASK-ATTEMPT``; the task's number alone is its latest one, and ``-`` the only one that
  waits. What ``resolve`` gets in its body beside the state may be left out: the path says which one is meant. If it is
  there, it has to fit.
- ``lift`` of a question, whose task names a parameter for yes or no and none for a text, takes the two words of the
  product's documentation: ``Approved`` is yes, and ``Rejected`` is no, as if it were resolved so.
- There is one answer. A second one is FAILED_PRECONDITION and says what the first one was; but the same request of the
  same caller within a minute is taken for one that was sent twice, and answered as the first (``service.repeats``).
- The list shows all suspensions of the execution to whoever may read it; answering is left to those whom the task
  names. Timers are not in it: the clock alone ends them.
- A suspension that was cancelled with its execution has no state in the API: RESOLUTION_STATE_UNSPECIFIED.

Source: Integrations API v1 discovery document, GoogleCloudIntegrationsV1alphaSuspension and the types it uses.
"""

from __future__ import annotations

from datetime import timedelta
from enum import StrEnum
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Request
from pydantic import Field

from orchestrator.model.values import DataType, Value
from orchestrator.service.looking import Depth
from orchestrator.service.services import Services
from orchestrator.service.suspension_list import SuspensionWish, modified_at, read_suspensions
from orchestrator.service.suspensions import find as find_suspension
from orchestrator.service.suspensions import resolve
from orchestrator.store.kinds import SuspensionState
from orchestrator.store.suspensions import Suspension
from orchestrator.wire.asking import Asked, Controller, Reader
from orchestrator.wire.google.bodies import Body, body_of
from orchestrator.wire.google.envelope import GoogleRoute
from orchestrator.wire.google.executions import find
from orchestrator.wire.google.fields import timestamp
from orchestrator.wire.google.names import ANY, ExecutionName, OfExecution, OfSuspension, SuspensionName
from orchestrator.wire.google.queries import NO_QUERY, Query, query_of
from orchestrator.wire.google.violations import invalid
from orchestrator.wire.once import once

router = APIRouter(route_class=GoogleRoute)

_SUSPENSIONS: Final = (
    "/v1/projects/{project}/locations/{location}/integrations/{integration}/executions/{execution}/suspensions"
)
_ANSWERS: Final = {"approved": True, "true": True, "rejected": False, "false": False}
_ROW: Final = Depth(with_history=False, with_snapshots=False, with_children=False)


class ResolutionState(StrEnum):
    """What a suspension can be resolved to."""

    LIFTED = "LIFTED"
    REJECTED = "REJECTED"


class Lift(Body):
    """LiftSuspensionRequest."""

    suspension_result: str = ""


class Resolution(Body):
    """The Suspension of a ResolveSuspensionRequest. What the server alone sets is read and left alone."""

    state: ResolutionState
    name: str = ""
    task_id: str = ""
    event_execution_info_id: str = ""
    integration: str = ""
    create_time: Any = None
    last_modify_time: Any = None
    approval_config: Any = None
    audit: Any = None
    suspension_config: Any = None


class Resolve(Body):
    """ResolveSuspensionRequest."""

    suspension: Resolution = Field()


@router.get(_SUSPENSIONS)
def list_suspensions(
    parent: OfExecution,
    services: Asked,
    caller: Reader,  # noqa: ARG001 - says who may
    query: Annotated[Query, Depends(query_of("filter", "orderBy", "pageSize", "pageToken"))],
) -> dict[str, Any]:
    """One page of the suspensions of an execution."""
    name = _found(parent, services)
    wish = SuspensionWish(
        filter=query.text("filter"),
        order_by=query.text("orderBy"),
        page_size=query.page_size(),
        page_token=query.text("pageToken"),
    )
    page, next_token = read_suspensions(name.execution, wish, services)
    document: dict[str, Any] = {"suspensions": [to_document(each, name) for each in page]}
    return document | ({"nextPageToken": next_token} if next_token else {})


@router.post(_SUSPENSIONS + "/{suspension}:lift", dependencies=[NO_QUERY])
async def lift_suspension(
    request: Request,
    name: OfSuspension,
    services: Asked,
    caller: Controller,
    body: Annotated[Lift, Depends(body_of(Lift))],
) -> dict[str, Any]:
    """Let an execution go on, with a result or without one."""
    return await once(request, services, caller, lambda _: lift(name, body, services, actor=caller.actor))


@router.post(_SUSPENSIONS + "/{suspension}:resolve", dependencies=[NO_QUERY])
async def resolve_suspension(
    request: Request,
    name: OfSuspension,
    services: Asked,
    caller: Controller,
    body: Annotated[Resolve, Depends(body_of(Resolve))],
) -> dict[str, Any]:
    """Approve, or reject."""
    return await once(request, services, caller, lambda _: answer(name, body.suspension, services, actor=caller.actor))


def lift(name: SuspensionName, body: Lift, services: Services, *, actor: str) -> dict[str, Any]:
    """What ``lift`` does and answers, for whoever may."""
    execution = _found(name.parent, services)
    found = find_suspension(execution.execution, services, name=_id_of(name))
    text, is_lifted = body.suspension_result, True
    if found.result_name is not None and found.payload_name is None and text.strip().lower() in _ANSWERS:
        text, is_lifted = "", _ANSWERS[text.strip().lower()]
    result = Value(DataType.STRING, text) if text else None
    resolve(execution.execution, services, is_lifted=is_lifted, actor=actor, name=found.id, result=result)
    return {"eventExecutionInfoId": execution.execution}


def answer(name: SuspensionName, body: Resolution, services: Services, *, actor: str) -> dict[str, Any]:
    """What ``resolve`` does and answers, for whoever may."""
    execution = _found(name.parent, services)
    found = find_suspension(execution.execution, services, name=_id_of(name))
    _check(body, found, execution)
    is_lifted = body.state is ResolutionState.LIFTED
    resolve(execution.execution, services, is_lifted=is_lifted, actor=actor, name=found.id)
    return {}


def to_document(suspension: Suspension, execution: ExecutionName) -> dict[str, Any]:
    """A Suspension."""
    is_cancelled = suspension.state is SuspensionState.CANCELLED
    document: dict[str, Any] = {
        "name": str(SuspensionName(execution, suspension.id)),
        "state": "RESOLUTION_STATE_UNSPECIFIED" if is_cancelled else suspension.state.value,
        "taskId": str(suspension.task_number),
        "eventExecutionInfoId": suspension.execution_id,
        "integration": suspension.integration,
        "createTime": timestamp(suspension.created_at),
        "lastModifyTime": timestamp(modified_at(suspension)),
        "approvalConfig": {
            "customMessage": suspension.message,
            "emailAddresses": list(suspension.who_may_resolve),
            "expiration": _expiration(suspension),
        },
        "suspensionConfig": {
            "customMessage": suspension.message,
            "whoMayResolve": [{"gaiaIdentity": {"emailAddress": each}} for each in suspension.who_may_resolve],
            "suspensionExpiration": _old_expiration(suspension),
        },
    }
    if suspension.resolved_at is not None and not is_cancelled:
        audit = {"resolver": suspension.resolver or "", "resolveTime": timestamp(suspension.resolved_at)}
        document["audit"] = audit
    return document


def _expiration(suspension: Suspension) -> dict[str, Any]:
    expiration: dict[str, Any] = {"liftWhenExpired": suspension.is_lifted_when_expired}
    if suspension.expires_at is not None:
        expiration["expireTime"] = timestamp(suspension.expires_at)
    if suspension.remind_after_s is not None and suspension.state is SuspensionState.PENDING:
        interval = timedelta(seconds=suspension.remind_after_s)
        expiration["remindTime"] = timestamp(suspension.created_at + interval * (suspension.reminders + 1))
    return expiration


def _old_expiration(suspension: Suspension) -> dict[str, Any]:
    expiration: dict[str, Any] = {"liftWhenExpired": suspension.is_lifted_when_expired}
    if suspension.expires_at is not None:
        expiration["expireAfterMs"] = (suspension.expires_at - suspension.created_at) // timedelta(milliseconds=1)
    if suspension.remind_after_s is not None:
        expiration["remindAfterMs"] = int(suspension.remind_after_s * 1000)
    return expiration


def _found(name: ExecutionName, services: Services) -> ExecutionName:
    """The full name of the execution.

    Raises:
        ExecutionNotFound: there is none.
    """
    return ExecutionName.of(find(name, services, depth=_ROW))


def _id_of(name: SuspensionName) -> str:
    return "" if name.suspension == ANY else name.suspension


def _check(body: Resolution, found: Suspension, execution: ExecutionName) -> None:
    """What the body says of the suspension is so.

    Raises:
        InvalidRequest: it is of another one.
    """
    meant = {
        "name": (body.name, str(SuspensionName(execution, found.id))),
        "task_id": (body.task_id, str(found.task_number)),
        "event_execution_info_id": (body.event_execution_info_id, found.execution_id),
        "integration": (body.integration, found.integration),
    }
    for field, (given, expected) in meant.items():
        fits = given.split("/")[-1] == found.id if field == "name" else given == expected
        if given and not fits:
            sentence = f"Invalid value at 'suspension.{field}': found {given[:200]!r}, and the path says {expected!r}."
            raise invalid(f"suspension.{field}", sentence)
