"""Base functions: those that start an expression and build on no value. They read the task's context.

Source: Application Integration, "Data mapping functions reference", base functions (NOW_IN_MILLIS, INT_LIST,
GET_EXECUTION_ID, GET_INTEGRATION_NAME, GET_REGION, GET_UUID, GET_PROJECT_ID); ENVIRONMENT has no page.
"""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta
from typing import Final

from orchestrator.model.task_types import TaskContext
from orchestrator.model.values import DataType
from tasks.mapping.registry import BASE, INT, STRING, refusal

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
MAX_INTS: Final = 1_000_000


@BASE.row("NOW_IN_MILLIS", gives=INT)
def now_in_millis(context: TaskContext) -> int:
    """Unix time in milliseconds, at the start of the attempt: all fields of one task see the same."""
    return (context.now - _EPOCH) // timedelta(milliseconds=1)


@BASE.row("INT_LIST", INT, INT, gives=DataType.INT_ARRAY)
def int_list(_: TaskContext, start: int, end: int) -> tuple[int, ...]:
    """The ints from ``start`` to before ``end``; none if ``end`` is not larger."""
    if end - start > MAX_INTS:
        raise refusal(f"a list of {end - start:,} ints is too long; {MAX_INTS:,} are the most")
    return tuple(range(start, end))


@BASE.row("ENVIRONMENT", gives=STRING)
def environment(context: TaskContext) -> str:
    """The project: here it is what tells a test installation from production.

    The product does not document this function. It must not read the process's environment, which holds secrets.
    """
    return context.project


@BASE.row("GET_EXECUTION_ID", gives=STRING)
def get_execution_id(context: TaskContext) -> str:
    """The id of this execution."""
    return context.execution_id


@BASE.row("GET_INTEGRATION_NAME", gives=STRING)
def get_integration_name(context: TaskContext) -> str:
    """The name of this integration."""
    return context.integration


@BASE.row("GET_REGION", gives=STRING)
def get_region(context: TaskContext) -> str:
    """The location of this integration."""
    return context.location


@BASE.row("GET_UUID", gives=STRING)
def get_uuid(_: TaskContext) -> str:
    """A random UUID. A task that runs again after a crash makes another one."""
    return str(uuid.uuid4())


@BASE.row("GET_PROJECT_ID", gives=STRING)
def get_project_id(context: TaskContext) -> str:
    """The project of this integration."""
    return context.project
