"""Steering executions: ``cancel`` and ``replay``. A copy of a request that comes within a minute does nothing again.

Decisions:

- ``cancel`` is KILL: it ends what runs as well, which the product refuses. ``isCanceled`` says that this request has
  done it: the execution and all below it end, within seconds where workers have something to end; none of it is
  CANCELLED before its code has stopped. For one that is over it is false, with 200, unless this caller has cancelled
  it for this very reason: then the request came twice.
- ``cancelReason`` may be missing: the product's own examples send no body.
- ``replay``: with ``updateMask`` the parameters that it names are those of ``modifiedParameters``, and all others are
  the original ones; without it, only ``modifiedParameters`` are used. Without either, all are the original ones, as the
  method's own description has it: no parameters at all and an empty map look the same.
- A replay of what ran synchronously is waited for, as ``execute`` does, and answered with its outputs. One that fails
  is no error: that it was started is what was asked for. Its state is among the outputs, unless it SUCCEEDED.
- Whoever wants two replays within a minute gives them different reasons.
"""

from __future__ import annotations

from enum import StrEnum
from functools import partial
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Request
from fastapi.concurrency import run_in_threadpool
from pydantic import Field

from orchestrator.engine.replay import ReplayMode
from orchestrator.errors import InvalidValue
from orchestrator.model.fields import is_storable, shown
from orchestrator.model.json_text import Json
from orchestrator.model.keys import Caller, check_executor
from orchestrator.model.states import ExecutionState
from orchestrator.model.values import Value
from orchestrator.service.calling import read_result
from orchestrator.service.control import ExecutionOver, kill
from orchestrator.service.replay import MAX_TEXT, ReplayWish, executors_for, replay
from orchestrator.service.services import Services
from orchestrator.store.signals import Audit
from orchestrator.wire.asking import Asked, Controller, Runner
from orchestrator.wire.google.bodies import Body, ValueType, body_of
from orchestrator.wire.google.envelope import GoogleRoute
from orchestrator.wire.google.inputs import INTEGRATION, WAIT_S, Timeout
from orchestrator.wire.google.known import known
from orchestrator.wire.google.names import OfExecution
from orchestrator.wire.google.queries import NO_QUERY, query_of
from orchestrator.wire.google.results import to_outcome
from orchestrator.wire.google.violations import invalid
from orchestrator.wire.once import once
from orchestrator.wire.waiting import until_at_rest

router = APIRouter(route_class=GoogleRoute)

_EXECUTION: Final = INTEGRATION + "/executions/{execution}"


# -- cancel --------------------------------------------------------------------------------------------------------


class Cancel(Body):
    """``CancelExecutionRequest``."""

    cancel_reason: str = ""


@router.post(_EXECUTION + ":cancel", dependencies=[NO_QUERY])
async def cancel_execution(
    *,
    request: Request,
    name: OfExecution,
    services: Asked,
    caller: Controller,
    body: Annotated[Cancel, Depends(body_of(Cancel))],
) -> dict[str, Any]:
    """End an execution and everything below it."""
    if not is_storable(body.cancel_reason) or len(body.cancel_reason) > MAX_TEXT:
        expected = f"at most {MAX_TEXT:,} characters, no NUL in it"
        raise InvalidValue("cancelReason", shown(body.cancel_reason), expected)
    execution_id = await known(name, services)
    audit = Audit(actor=caller.actor, message=body.cancel_reason or None)
    return await once(request, services, caller, lambda _: {"isCanceled": _cancel(execution_id, services, audit)})


def _cancel(execution_id: str, services: Services, audit: Audit) -> bool:
    try:
        kill(execution_id, services, audit=audit)
    except ExecutionOver as over:
        return over.state == ExecutionState.CANCELLED and services.signals.last(execution_id) == audit
    return True


# -- replay --------------------------------------------------------------------------------------------------------


class WantedMode(StrEnum):
    """``ReplayMode`` of the API."""

    UNSPECIFIED = "REPLAY_MODE_UNSPECIFIED"
    FROM_BEGINNING = "REPLAY_MODE_FROM_BEGINNING"
    POINT_OF_FAILURE = "REPLAY_MODE_POINT_OF_FAILURE"


class Replay(Body):
    """``ReplayExecutionRequest``."""

    replay_reason: str = ""
    replay_mode: WantedMode = WantedMode.UNSPECIFIED
    modified_parameters: dict[str, ValueType] = Field(default_factory=dict)
    update_mask: str = ""


@router.post(_EXECUTION + ":replay", dependencies=[Depends(query_of("timeout"))])
async def replay_execution(
    *,
    request: Request,
    name: OfExecution,
    services: Asked,
    caller: Runner,
    body: Annotated[Replay, Depends(body_of(Replay))],
    timeout_s: Timeout = WAIT_S,
) -> dict[str, Any]:
    """Repeat an execution that is over."""
    act = partial(_replay, await known(name, services), body, services, caller=caller)
    started = await once(request, services, caller, act)
    execution_id = str(started["executionId"])
    result = await run_in_threadpool(read_result, execution_id, services)
    if not result.is_sync:
        return started
    await until_at_rest(request, services, [execution_id], wait_s=timeout_s)
    outcome = to_outcome(await run_in_threadpool(read_result, execution_id, services))
    return started | {"outputParameters": outcome["outputParameters"]}


def _replay(execution_id: str, body: Replay, services: Services, wish_id: str, *, caller: Caller) -> dict[str, Json]:
    wish = ReplayWish(
        execution_id=execution_id,
        mode=_mode_of(body),
        parameters=_modified(body),
        only=bool(body.modified_parameters) and not body.update_mask.strip(),
        reason=_reason_of(body),
        actor=caller.actor,
        new_id=wish_id,
    )
    if caller.executor is not None:
        check_executor(caller, executors_for(wish, services))
    return {"executionId": replay(wish, services), "replayedExecutionId": execution_id}


def _mode_of(body: Replay) -> ReplayMode:
    is_unspecified = body.replay_mode is WantedMode.UNSPECIFIED
    return ReplayMode.FROM_BEGINNING if is_unspecified else ReplayMode(body.replay_mode.value)


def _reason_of(body: Replay) -> str:
    if not body.replay_reason.strip():
        raise invalid("replay_reason", "Required field 'replay_reason' is missing.")
    return body.replay_reason


def _modified(body: Replay) -> dict[str, Value]:
    names = [each.strip() for each in body.update_mask.split(",") if each.strip()]
    missing = [each for each in names if each not in body.modified_parameters]
    if missing:
        quoted = ", ".join(f"'{each[:100]}'" for each in missing)
        sentence = f"update_mask names {quoted}, and modified_parameters has no such value; a parameter is given whole."
        raise invalid("update_mask", sentence)
    return {each: body.modified_parameters[each] for each in names} if names else dict(body.modified_parameters)
