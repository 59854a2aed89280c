"""Return: end with an HTTP error of one's own choice.

What it takes from the task: ``httpErrorCode``, one of the 4xx codes below, and ``errorMessage``. The attempt fails
with both, so a synchronous run answers with this status and message. Without a code of 400 or above it does nothing.

Source: Application Integration documentation, "Return task"; parameter names from the public sample
vertex-agents-bigquery.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Final

from orchestrator.errors import TaskError
from orchestrator.model.task_types import TASK_TYPES, Done, TaskContext, TaskType
from orchestrator.model.values import Value, text_of

CANONICAL: Final[dict[int, str]] = {
    400: "INVALID_ARGUMENT",  # the documentation lists OUT_OF_RANGE under 400 too
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    409: "ALREADY_EXISTS",
    429: "RESOURCE_EXHAUSTED",
    499: "CANCELLED",
}


def run(context: TaskContext) -> Done:
    """Fail with the chosen code and message.

    Raises:
        TaskError: always, if the code is 400 or above.
    """
    code = _code(context.value("httpErrorCode"))
    if code is None or code < 400:
        return Done()
    message = context.value("errorMessage")
    raise TaskError((text_of(message) if message else "") or CANONICAL.get(code, f"HTTP {code}"), code)


def check(config: Mapping[str, Value]) -> Iterable[str]:
    """A code that is written out must be a documented one."""
    code = _code(config.get("httpErrorCode"))
    if code and code not in CANONICAL:
        yield f"httpErrorCode is {code}; it can be: {', '.join(map(str, CANONICAL))}"


def _code(value: Value | None) -> int | None:
    """The code as a number; None if there is none, or if it is still a reference."""
    text = "" if value is None else text_of(value).strip().removesuffix(".0")
    return int(text) if re.fullmatch("[0-9]{1,9}", text) else None


TASK_TYPES.add(TaskType(name="ReturnTask", run=run, light=True, celery_name="tasks.return", check=check))
