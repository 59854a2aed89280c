"""Errors as Google's clients read them: ``{"error": {"code", "message", "status", "details"}}``, for whatever happens.

The client falls back to the HTTP phrase where the envelope is missing, and its user is left with nothing. So every
route of this wire is a ``GoogleRoute``, which answers all our errors this way.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Final

from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.routing import APIRoute

from orchestrator import errors
from orchestrator.wire.google.violations import InvalidRequest


@dataclass(frozen=True, slots=True)
class Status:
    """A canonical code: its HTTP status and its name."""

    code: int
    name: str


INVALID_ARGUMENT: Final = Status(400, "INVALID_ARGUMENT")
FAILED_PRECONDITION: Final = Status(400, "FAILED_PRECONDITION")
PERMISSION_DENIED: Final = Status(403, "PERMISSION_DENIED")
NOT_FOUND: Final = Status(404, "NOT_FOUND")
ALREADY_EXISTS: Final = Status(409, "ALREADY_EXISTS")
RESOURCE_EXHAUSTED: Final = Status(429, "RESOURCE_EXHAUSTED")
INTERNAL: Final = Status(500, "INTERNAL")
UNIMPLEMENTED: Final = Status(501, "UNIMPLEMENTED")
UNAVAILABLE: Final = Status(503, "UNAVAILABLE")

_STATUSES: Final[tuple[tuple[type[errors.OrchestratorError], Status], ...]] = (
    (errors.DefinitionError, INVALID_ARGUMENT),
    (errors.InputError, INVALID_ARGUMENT),
    (errors.AccessError, PERMISSION_DENIED),
    (errors.StateError, FAILED_PRECONDITION),
    (errors.ExecutionNotFound, NOT_FOUND),
    (errors.IntegrationNotFound, NOT_FOUND),
    (errors.ExecutionExists, ALREADY_EXISTS),
    (errors.QueueFull, RESOURCE_EXHAUSTED),
    (errors.Unreachable, UNAVAILABLE),
)
"""The first that fits; whatever fits none is a fault of ours: INTERNAL."""


def status_of(error: errors.OrchestratorError) -> Status:
    """The canonical code of one of our errors."""
    return next((status for family, status in _STATUSES if isinstance(error, family)), INTERNAL)


def error_response(status: Status, message: str, details: list[dict[str, Any]] | None = None) -> JSONResponse:
    """The envelope."""
    error: dict[str, Any] = {"code": status.code, "message": message, "status": status.name}
    if details:
        error["details"] = details
    return JSONResponse({"error": error}, status_code=status.code)


class GoogleRoute(APIRoute):
    """A route of this wire."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The handler, with its errors in the envelope."""
        handler = super().get_route_handler()

        async def handle(request: Request) -> Response:
            try:
                return await handler(request)
            except errors.OrchestratorError as error:
                details = error.details() if isinstance(error, InvalidRequest) else None
                return error_response(status_of(error), str(error), details)
            except RequestValidationError as error:
                lines = [f"{'.'.join(map(str, each['loc'][1:]))}: {each['msg']}" for each in error.errors()]
                return error_response(INVALID_ARGUMENT, "\n".join(lines))

        return handle
