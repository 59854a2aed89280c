"""What became of an execution, as the answer to whoever ran it: outputs, an error, or where it stands meanwhile.

Decisions:

- An execution that SUCCEEDED answers with its outputs and nothing else. Any other one has its state among them, in the
  system parameter ```ExecutionState```; one that FAILED also ``ErrorInfo``, as in ``responseParameters``, and
  ``PostWithTriggerIdExecutionException`` with the message in ``eventParameters``, where the product has it.
- As an HTTP error, a failure has the status that a Return task has chosen. Otherwise it is 400 FAILED_PRECONDITION if
  the same would fail again (an HTTP status of 4xx, a name that says so), and 500 INTERNAL if it may not: a service that
  is away, a worker that died, a bug. A client that tries again after 5xx starts another execution, unless its request
  has a ``requestId``. An execution that was CANCELLED is 499 CANCELLED.
- Which execution it was stands in ``details``, in a ``google.rpc.ErrorInfo``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from orchestrator.model.history import ErrorInfo
from orchestrator.model.json_text import Json
from orchestrator.model.states import ExecutionState
from orchestrator.model.values import DataType, Value
from orchestrator.service.calling import Result
from orchestrator.wire.google.envelope import (
    ALREADY_EXISTS,
    FAILED_PRECONDITION,
    INTERNAL,
    INVALID_ARGUMENT,
    NOT_FOUND,
    PERMISSION_DENIED,
    RESOURCE_EXHAUSTED,
    UNAUTHENTICATED,
    GoogleJson,
    Status,
    error_response,
)
from orchestrator.wire.google.fields import struct, to_value_type, value_types

STATE: Final = "`ExecutionState`"
IDS: Final = "`ExecutionIds`"
DOMAIN: Final = "integrations.googleapis.com"
_ERROR: Final = "ErrorInfo"
_EXCEPTION: Final = "PostWithTriggerIdExecutionException"
_CANCELLED: Final = Status(499, "CANCELLED")
_CHOSEN: Final = {
    each.code: each
    for each in (
        INVALID_ARGUMENT,
        UNAUTHENTICATED,
        PERMISSION_DENIED,
        NOT_FOUND,
        ALREADY_EXISTS,
        RESOURCE_EXHAUSTED,
        _CANCELLED,
    )
}
_PASSING: Final = frozenset({408, 425, 429})  # of the statuses of clients' errors: the same may succeed later
_PERMANENT: Final = frozenset({"INVALID_ARGUMENT", "FAILED_PRECONDITION", "VALIDATION_ERROR", "JSONNET_ERROR"})


def to_outcome(result: Result, others: Mapping[str, Value] | None = None) -> dict[str, Json]:
    """The fields that the answers of execute and of test have in common.

    Args:
        result: of the execution.
        others: system parameters to be added.
    """
    system = {**_system_parameters(result), **(others or {})}
    parameters = {**result.outputs, **system}
    entries = [_to_entry(key, value) for key, value in parameters.items() if key != _ERROR]
    if result.error is not None:
        entries.append(_to_entry(_EXCEPTION, Value(DataType.STRING, result.error.message)))
    return {
        "executionId": result.id,
        "executionFailed": has_failed(result),
        "outputParameters": struct(parameters),
        "parameters": value_types(parameters),
        "eventParameters": {"parameters": list[Json](entries)},
        "parameterEntries": list[Json](entries),
    }


def has_failed(result: Result) -> bool:
    """Whether it is over, and has not succeeded."""
    return result.state.is_final and result.state is not ExecutionState.SUCCEEDED


def failure_response(result: Result) -> GoogleJson:
    """A failed execution as an HTTP error."""
    status, message = _status_of(result), _message_of(result)
    metadata = {"executionId": result.id, "integration": result.integration, "state": result.state.value}
    if result.error is not None:
        metadata["errorCode"] = str(result.error.code)
        metadata |= {} if result.error.task_number is None else {"taskNumber": str(result.error.task_number)}
    details: list[dict[str, Any]] = [
        {
            "@type": "type.googleapis.com/google.rpc.ErrorInfo",
            "reason": _reason_of(result, status),
            "domain": DOMAIN,
            "metadata": metadata,
        }
    ]
    return error_response(status, message, details)


def _system_parameters(result: Result) -> dict[str, Value]:
    if result.state is ExecutionState.SUCCEEDED:
        return {}
    found = {STATE: Value(DataType.STRING, result.state.value)}
    return found if result.error is None else {**found, _ERROR: Value(DataType.JSON, _to_info(result.error))}


def _to_info(error: ErrorInfo) -> dict[str, Json]:
    info: dict[str, Json] = {"message": error.message, "code": error.code}
    return info if error.task_number is None else {**info, "taskNumber": error.task_number}


def _to_entry(key: str, value: Value) -> dict[str, Json]:
    return {"key": key, "dataType": value.type.value, "value": to_value_type(value)}


def _status_of(result: Result) -> Status:
    if result.state is ExecutionState.CANCELLED:
        return _CANCELLED
    code = "" if result.error is None else result.error.code
    if result.is_chosen and isinstance(code, int) and code in _CHOSEN:
        return _CHOSEN[code]
    is_refusal = isinstance(code, int) and 400 <= code < 500 and code not in _PASSING
    return FAILED_PRECONDITION if is_refusal or code in _PERMANENT else INTERNAL


def _message_of(result: Result) -> str:
    if result.error is not None and result.is_chosen:
        return result.error.message
    if result.error is None:
        return f"execution {result.id} of integration {result.integration!r} is {result.state}"
    where = "" if result.error.task_number is None else f", task {result.error.task_number}"
    return f"execution {result.id} of integration {result.integration!r}{where}: {result.error.message}"


def _reason_of(result: Result, status: Status) -> str:
    """The code as ``reason`` has to look: capitals, digits and underscores."""
    code = "" if result.error is None else result.error.code
    named = re.sub("[^A-Z0-9]+", "_", code.upper()).strip("_") if isinstance(code, str) else ""
    return named[:63] or ("HTTP_EXCEPTION" if isinstance(code, int) else status.name)
