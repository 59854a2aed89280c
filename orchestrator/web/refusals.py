"""How a request is refused outside of its handler: in the envelope for Google's paths, as plain JSON elsewhere.

What a handler refuses, its wire says in its own words. This is for whatever happens before one is found or after it has
failed: a path that is none, a body that is too large, a fault of ours. Plain JSON is
``{"error": "what and why", "requestId": "..."}``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from fastapi import Request
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException
from starlette.types import Scope

from orchestrator.wire.google import envelope
from orchestrator.wire.google.envelope import Status

_GOOGLES: Final = ("/v1/projects/", "/v2/projects/", "/batch")
_REQUEST_INFO: Final = "type.googleapis.com/google.rpc.RequestInfo"

_STATUSES: Final = {
    401: envelope.UNAUTHENTICATED,
    403: envelope.PERMISSION_DENIED,
    404: envelope.NOT_FOUND,
    405: Status(405, "UNIMPLEMENTED"),
}


def refusal(scope: Scope, status: Status, message: str, headers: Mapping[str, str] | None = None) -> Response:
    """The answer.

    Args:
        scope: of the request, with its id in ``state`` if ``RequestIds`` has seen it.
        status: its code, and the name by which Google's clients know it.
        message: what was found, and what to do.
        headers: more of them.
    """
    request_id = request_id_of(scope)
    if scope["path"].startswith(_GOOGLES):
        details = [{"@type": _REQUEST_INFO, "requestId": request_id}] if request_id else None
        answer: JSONResponse = envelope.error_response(status, message, details)
    else:
        answer = JSONResponse({"error": message, "requestId": request_id}, status_code=status.code)
    answer.headers.update(headers or {})
    return answer


def request_id_of(scope: Scope) -> str | None:
    """The request's id; None where nobody has given it one."""
    found = scope.get("state", {}).get("request_id")
    return None if found is None else str(found)


async def refuse_as_told(request: Request, error: Exception) -> Response:
    """What FastAPI itself refuses: a path or a method that is none."""
    assert isinstance(error, HTTPException), "it is registered for these"
    fallback = envelope.INTERNAL if error.status_code >= 500 else envelope.INVALID_ARGUMENT
    status = _STATUSES.get(error.status_code, Status(error.status_code, fallback.name))
    message = f"{request.method} {request.url.path}: {error.detail}"
    return refusal(request.scope, status, message, error.headers)
