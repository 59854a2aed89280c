"""``integrations``: the list of them, and deleting one with all its versions."""

from __future__ import annotations

from fastapi import APIRouter, Response

from orchestrator.service import versions as service
from orchestrator.wire.asking import Asked, Definer, Reader
from orchestrator.wire.google.envelope import GoogleRoute
from orchestrator.wire.google.version_documents import to_integration
from orchestrator.wire.google.versions import ListWish, One, Within, answer

router = APIRouter(route_class=GoogleRoute)


@router.get("/v1/projects/{project}/locations/{location}/integrations")
def list_integrations(wish: ListWish, place: Within, services: Asked, caller: Reader) -> Response:  # noqa: ARG001
    """The integrations that have a version which is not archived, page by page."""
    found, token = service.list_integrations(wish, services, place=place)
    page = [to_integration(each, place) for each in found]
    return answer({"integrations": page} | ({"nextPageToken": token} if token else {}))


@router.delete("/v1/projects/{project}/locations/{location}/integrations/{integration}")
def delete_integration(place: Within, integration: One, services: Asked, caller: Definer) -> Response:
    """Unpublish it, and archive all its versions."""
    service.delete_integration(integration, services, place=place, actor=caller.actor)
    return answer({})
