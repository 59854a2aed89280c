"""``integrations``: the list of them, and deleting one with all its versions."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Response

from orchestrator.service import versions as service
from orchestrator.wire.asking import Asked, Definer, Reader
from orchestrator.wire.google.envelope import GoogleRoute
from orchestrator.wire.google.queries import NO_QUERY, Query, query_of
from orchestrator.wire.google.version_documents import to_integration
from orchestrator.wire.google.versions import LISTED, One, Within, answer, list_wish

router = APIRouter(route_class=GoogleRoute)


@router.get("/v1/projects/{project}/locations/{location}/integrations")
def list_integrations(
    query: Annotated[Query, Depends(query_of(*LISTED))],
    place: Within,
    services: Asked,
    caller: Reader,  # noqa: ARG001 - says who may
) -> Response:
    """The integrations that have a version which is not archived, page by page."""
    found, token = service.list_integrations(list_wish(query), services, place=place)
    page = [to_integration(each, place) for each in found]
    return answer({"integrations": page} | ({"nextPageToken": token} if token else {}))


@router.delete("/v1/projects/{project}/locations/{location}/integrations/{integration}", dependencies=[NO_QUERY])
def delete_integration(place: Within, integration: One, services: Asked, caller: Definer) -> Response:
    """Unpublish it, and archive all its versions."""
    service.delete_integration(integration, services, place=place, actor=caller.actor)
    return answer({})
