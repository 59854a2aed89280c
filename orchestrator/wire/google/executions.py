"""``executions``: how an execution looks to Google's clients, and what they can do with one."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter

from orchestrator.errors import ExecutionNotFound
from orchestrator.wire.asking import Asked, Reader
from orchestrator.wire.google.envelope import GoogleRoute

router = APIRouter(route_class=GoogleRoute)


@router.get("/v1/projects/{project}/locations/{location}/integrations/{integration}/executions/{execution}")
def get_execution(execution: str, services: Asked, caller: Reader) -> dict[str, Any]:  # noqa: ARG001
    """One execution, with everything below it."""
    raise ExecutionNotFound(execution)
