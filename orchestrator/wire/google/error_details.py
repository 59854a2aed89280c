"""The errors of an execution, as ``ErrorDetail`` has them: every failed attempt of a task, and why the whole FAILED.

The API has 63 names for codes. What has none of them is UNHANDLED_TASK_ERROR; the message has our own code in any case
where it is a name.
"""

from __future__ import annotations

from typing import Any, Final

from orchestrator.model.execution import Execution
from orchestrator.model.history import ErrorInfo
from orchestrator.model.snapshots import TaskView
from orchestrator.model.states import TaskState

_THEIRS: Final = frozenset(
    {"ALREADY_EXISTS", "CONVERSION", "EXECUTION_TIMEOUT", "FAILED_PRECONDITION", "HTTP_EXCEPTION", "INVALID_PARAMETER"}
    | {"MISSING_PARAMETER", "NOT_FOUND", "NOT_SUPPORTED_DATA_TYPE", "QUOTA_THROTTLED", "RESUME_ERROR"}
    | {"RETRYABLE_TASK_ERROR", "TASK_NOT_FOUND", "TRANSFORM_EXPRESSION_EVALUATION_ERROR", "UNIMPLEMENTED"}
    | {"VALIDATION_ERROR", "WORKFLOW_NOT_FOUND", "EXECUTION_CANCELLED", "SCRIPT_TASK_RUNTIME_ERROR"}
)
_OURS: Final = {
    "CANCELLED": "EXECUTION_CANCELLED",
    "QUEUE_TIMEOUT": "EXECUTION_TIMEOUT",
    "INVALID_ARGUMENT": "INVALID_PARAMETER",
    "SUSPENSION_REJECTED": "RESUME_ERROR",
    "WORKER_LOST": "UNHANDLED_EVENTBUS_ERROR",
}
_UNKNOWN: Final = "UNHANDLED_TASK_ERROR"
_FAILED: Final = (TaskState.FAILED, TaskState.FATAL)


def common_code(code: str | int) -> str:
    """The API's name for one of our codes. A number is the HTTP status of something that a task asked."""
    if isinstance(code, int) or code.isdecimal():
        return "HTTP_EXCEPTION"
    return code if code in _THEIRS else _OURS.get(code, _UNKNOWN)


def errors_of(execution: Execution) -> list[dict[str, Any]]:
    """In the order of tasks and attempts. A failure that was tried again, or ignored, is a warning."""
    found = [each for task in execution.tasks for each in _of_task(task)]
    error = execution.error
    if error is not None and (error.task_number is None or not found):
        found.append(_detail(error, error.task_number or 0, is_final=True))
    return found


def _of_task(task: TaskView) -> list[dict[str, Any]]:
    last = task.attempts[-1] if task.attempts else None
    return [
        _detail(each.error, task.number, is_final=each is last and task.state in _FAILED)
        for each in task.attempts
        if each.error is not None
    ]


def _detail(error: ErrorInfo, number: int, *, is_final: bool) -> dict[str, Any]:
    return {
        "errorCode": {"commonErrorCode": common_code(error.code)},
        "errorMessage": error.message,
        "severity": "ERROR" if is_final else "WARN",
        "taskNumber": number,
    }
