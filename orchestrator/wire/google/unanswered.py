"""What of the API is not answered: every other path and verb under ``/v1/projects``, in the envelope all the same.

It comes after all other routes. A method that the API has and we have not is UNIMPLEMENTED; a path that it does not
have is NOT_FOUND, and so is a verb that it does not have at a path. Paths under ``/v1`` that are no ``projects`` may
belong to other wires; of those the API has two.
"""

from __future__ import annotations

from fastapi import APIRouter, Request

from orchestrator.wire.google.envelope import NOT_FOUND, UNIMPLEMENTED, GoogleJson, GoogleRoute, error_response
from orchestrator.wire.google.surface import verbs_of

router = APIRouter(route_class=GoogleRoute)

_VERBS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]


class AnyPath(GoogleRoute):
    """A route that takes what is left, colons and all."""

    takes_colons = True


async def unanswered(request: Request) -> GoogleJson:
    """Say what is wrong with a path or its verb."""
    path, verb = request.scope["path"], request.method
    version = path.split("/", 2)[1]
    if version != "v1":
        message = f"version {version} of the API is not answered here; use v1"
        return error_response(UNIMPLEMENTED, message)
    verbs = verbs_of(path)
    if verb in verbs:
        return error_response(
            UNIMPLEMENTED, f"{verb} {verbs[verb]} is not answered here; docs/google-api.md has what is"
        )
    if verbs:
        return error_response(NOT_FOUND, f"the API has no {verb} {path[:300]}; it has {', '.join(verbs)}")
    return error_response(NOT_FOUND, f"the API has no path {path[:300]}")


for _path in ("/v1/projects/{rest:path}", "/v1alpha/projects/{rest:path}", "/v2/projects/{rest:path}"):
    router.add_api_route(_path, unanswered, methods=_VERBS, include_in_schema=False, route_class_override=AnyPath)
for _path in ("/v1/projects", "/v1/callback:generateToken", "/v1/connectorPlatformRegions:enumerate"):
    router.add_api_route(_path, unanswered, methods=_VERBS, include_in_schema=False)
