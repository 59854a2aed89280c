"""Errors as Google's clients read them: ``{"error": {"code", "message", "status", "details"}}``, for whatever happens.

The client falls back to the HTTP phrase where the envelope is missing, and its user is left with nothing. So every
route of this wire is a ``GoogleRoute``, which answers all our errors this way.

What every method takes is done here too: ``alt``, which can only be ``json``, and ``fields``, which cuts the answer
down. ``key``, ``quotaUser``, ``prettyPrint`` and the other parameters that every method has change no answer.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import unquote

from fastapi import HTTPException, Request, Response
from fastapi.datastructures import DefaultPlaceholder
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.routing import APIRoute
from starlette.routing import Match
from starlette.types import Scope

from orchestrator import errors
from orchestrator.model.json_text import to_json_text
from orchestrator.service.suspensions import MayNotResolve, SuspensionNotFound
from orchestrator.wire.google import masks
from orchestrator.wire.google.arguments import Plain
from orchestrator.wire.google.openapi import ERRORS, described
from orchestrator.wire.google.surface import answer_of
from orchestrator.wire.google.violations import InvalidRequest


@dataclass(frozen=True, slots=True)
class Status:
    """A canonical code: its HTTP status and its name."""

    code: int
    name: str


INVALID_ARGUMENT: Final = Status(400, "INVALID_ARGUMENT")
FAILED_PRECONDITION: Final = Status(400, "FAILED_PRECONDITION")
UNAUTHENTICATED: Final = Status(401, "UNAUTHENTICATED")
PERMISSION_DENIED: Final = Status(403, "PERMISSION_DENIED")
NOT_FOUND: Final = Status(404, "NOT_FOUND")
ALREADY_EXISTS: Final = Status(409, "ALREADY_EXISTS")
ABORTED: Final = Status(409, "ABORTED")
TOO_LARGE: Final = Status(413, "INVALID_ARGUMENT")
RESOURCE_EXHAUSTED: Final = Status(429, "RESOURCE_EXHAUSTED")
INTERNAL: Final = Status(500, "INTERNAL")
UNIMPLEMENTED: Final = Status(501, "UNIMPLEMENTED")
UNAVAILABLE: Final = Status(503, "UNAVAILABLE")

_NAMES: Final = {
    400: INVALID_ARGUMENT.name,
    401: "UNAUTHENTICATED",
    403: PERMISSION_DENIED.name,
    404: NOT_FOUND.name,
    413: INVALID_ARGUMENT.name,
    415: INVALID_ARGUMENT.name,
    429: RESOURCE_EXHAUSTED.name,
    503: UNAVAILABLE.name,
}
"""Of what the framework refuses by itself."""

log = logging.getLogger(__name__)

_STATUSES: Final[tuple[tuple[type[errors.OrchestratorError], Status], ...]] = (
    (SuspensionNotFound, NOT_FOUND),
    (MayNotResolve, PERMISSION_DENIED),
    (errors.DefinitionError, INVALID_ARGUMENT),
    (errors.InputError, INVALID_ARGUMENT),
    (errors.AccessError, PERMISSION_DENIED),
    (errors.VersionInTheWay, ABORTED),
    (errors.StateError, FAILED_PRECONDITION),
    (errors.VersionNotFound, NOT_FOUND),
    (errors.NoSuchIntegration, NOT_FOUND),
    (errors.IntegrationExists, ALREADY_EXISTS),
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


class GoogleJson(JSONResponse):
    """JSON in ASCII: parameters may hold a lone surrogate, which only an escape can carry."""

    def render(self, content: Any) -> bytes:
        """The body."""
        return to_json_text(content).encode()


class Written(Response):
    """JSON that was written already, and cut to ``fields``: ``written``."""

    media_type = "application/json"


def written(document: Any, mask: masks.Mask | None) -> bytes:
    """What a mask leaves of a document, as the body of an answer."""
    return to_json_text(masks.apply(mask, document)).encode()


def error_response(status: Status, message: str, details: list[dict[str, Any]] | None = None) -> GoogleJson:
    """The envelope."""
    error: dict[str, Any] = {"code": status.code, "message": message, "status": status.name}
    if details:
        error["details"] = details
    return GoogleJson({"error": error}, status_code=status.code)


RAW: Final = "orchestrator.raw"
"""The key of a request's scope that says that its path was routed as it was sent, so ids in it are to be decoded."""


def fields_of(request: Request) -> masks.Mask | None:
    """The mask of a request for the message that its route answers; None if the whole is wanted.

    Raises:
        InvalidRequest: it cannot be read, or the message has no such field.
    """
    text = request.query_params.get("fields")
    if not text:
        return None
    route = request.scope.get("route")
    message = answer_of(request.method, route.path) if isinstance(route, GoogleRoute) else ""
    return masks.fit(masks.parse_fields(text), message or "*")


def _check_alt(request: Request) -> None:
    for name in ("alt", "$alt"):
        if (alt := request.query_params.get(name, "json")) != "json":
            raise errors.InvalidValue(name, repr(alt[:60]), "json")


def _masked(response: Response, mask: masks.Mask | None) -> Response:
    if isinstance(response, Written):
        return response
    body = getattr(response, "body", None)  # a stream has none
    if mask is not None and response.status_code == 200 and response.media_type == "application/json" and body:
        response.body = written(json.loads(body), mask)
        response.headers["content-length"] = str(len(response.body))
    return response


class GoogleRoute(APIRoute):
    """A route of this wire. No id in its path has a colon, unless ``takes_colons``: a verb stands behind one."""

    takes_colons = False

    def __init__(self, path: str, endpoint: Callable[..., Any], **options: Any) -> None:
        """As ever, with ``GoogleJson`` unless something else is asked for, and with its body and query described."""
        if isinstance(options.get("response_class"), DefaultPlaceholder):
            options["response_class"] = GoogleJson
        options["responses"] = {"default": ERRORS, **(options.get("responses") or {})}
        super().__init__(path, endpoint, **options)
        self.openapi_extra = described(self.dependant)

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """As ever, but ``{execution}`` is not ``ID:cancel``."""
        match, child = super().matches(scope)
        ids = child.get("path_params", {}).values()
        if match is not Match.NONE and not self.takes_colons and any(":" in str(each) for each in ids):
            return Match.NONE, {}
        return match, child

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The handler, with its errors in the envelope and its answer within ``fields``."""
        handler, plain = super().get_route_handler(), Plain.of(self.endpoint, self.path, self.dependencies)

        async def handle(request: Request) -> Response:
            if request.scope.get(RAW):
                ids = {name: unquote(each) for name, each in request.scope["path_params"].items()}
                request.scope["path_params"] = ids
            try:
                _check_alt(request)
                mask = fields_of(request)
                answer = plain.answer if plain is not None and plain.fits(request) else handler
                return _masked(await answer(request), mask)
            except errors.OrchestratorError as error:
                details = error.details() if isinstance(error, InvalidRequest) else None
                return error_response(status_of(error), str(error), details)
            except RequestValidationError as error:
                lines = [f"{'.'.join(map(str, each['loc'][1:]))}: {each['msg']}" for each in error.errors()]
                return error_response(INVALID_ARGUMENT, "\n".join(lines))
            except HTTPException as error:
                status = Status(error.status_code, _NAMES.get(error.status_code, INTERNAL.name))
                return error_response(status, str(error.detail))
            except Exception:
                log.exception("a request failed", extra={"verb": request.method, "path": request.scope["path"]})
                return error_response(INTERNAL, "this is a fault of the server, and its log says more")

        return handle
