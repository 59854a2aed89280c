"""``integrations.versions``: definitions as Google's clients write, publish and read them.

``projects/P/locations/L/integrations/I/versions/V``, where V is the id of our version. ``-`` stands for any integration
where one is read. ``lockHolder`` is shown and blocks nobody (``service.versions``); it can be taken over where the
product has that method, under ``products``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final

from fastapi import APIRouter, Body, Depends, Query, Response

from orchestrator.errors import InvalidValue
from orchestrator.model.definition_text import read_document
from orchestrator.model.definition_writing import FileFormat, to_text
from orchestrator.model.fields import is_storable, shown
from orchestrator.model.json_text import to_json_text
from orchestrator.service import versions as service
from orchestrator.service.submit import Place
from orchestrator.service.versions import VersionAddress, VersionListWish
from orchestrator.wire.asking import Asked, Definer, Reader
from orchestrator.wire.google.definitions import read_message
from orchestrator.wire.google.envelope import GoogleRoute
from orchestrator.wire.google.version_documents import (
    masked,
    parse_mask,
    patched,
    read_definition_body,
    to_integration_version,
)

router = APIRouter(route_class=GoogleRoute)

ANY_INTEGRATION: Final = "-"
_LOCATION: Final = "/v1/projects/{project}/locations/{location}"
_VERSIONS: Final = _LOCATION + "/integrations/{integration}/versions"
_VERSION: Final = _VERSIONS + "/{version}"
_JSON: Final = ("", "FILE_FORMAT_UNSPECIFIED", "JSON")
_FORMATS: Final = {**dict.fromkeys(_JSON, FileFormat.JSON), "YAML": FileFormat.YAML}

Document = Annotated[dict[str, Any], Body()]


# -- what a request names ----------------------------------------------------------------------------------------------


def place_of(project: str, location: str) -> Place:
    """Where.

    Raises:
        InvalidValue: nothing could be there.
    """
    if not all(0 < len(each) <= 64 and is_storable(each) for each in (project, location)):
        raise InvalidValue("project and location", repr((project, location))[:100], "1 to 64 characters each")
    return Place(project=project, location=location)


Within = Annotated[Place, Depends(place_of)]


def integration_of(integration: str) -> str | None:
    """Of which integration; None for any.

    Raises:
        InvalidValue: it could not have that name.
    """
    if not is_storable(integration):
        raise InvalidValue("integration", repr(integration)[:60], "text without NUL")
    return None if integration == ANY_INTEGRATION else integration


def _named_integration(integration: Annotated[str | None, Depends(integration_of)]) -> str:
    if integration is None:
        raise InvalidValue("integration", "any (-)", "the name of one")
    return integration


OneOrAny = Annotated[str | None, Depends(integration_of)]
One = Annotated[str, Depends(_named_integration)]


def _address(place: Within, integration: OneOrAny, version: str) -> VersionAddress:
    if not is_storable(version):
        raise InvalidValue("version", repr(version)[:60], "text without NUL")
    return VersionAddress(place=place, integration=integration, id=version)


Address = Annotated[VersionAddress, Depends(_address)]


def _list_wish(
    *,
    wanted: Annotated[str, Query(alias="filter")] = "",
    order_by: Annotated[str, Query(alias="orderBy")] = "",
    page_size: Annotated[int, Query(alias="pageSize")] = 0,
    page_token: Annotated[str, Query(alias="pageToken")] = "",
) -> VersionListWish:
    return VersionListWish(filter=wanted, order_by=order_by, page_size=page_size, page_token=page_token)


ListWish = Annotated[VersionListWish, Depends(_list_wish)]


def answer(document: Mapping[str, object]) -> Response:
    """JSON in ASCII: half of a surrogate pair, which a definition may have, stays an escape."""
    return Response(to_json_text(document), media_type="application/json")


# -- verbs that have a path of their own; before the plain paths, which would take them for ids ------------------------


@router.post(_VERSIONS + ":upload")
def upload_version(body: Document, place: Within, integration: One, services: Asked, caller: Definer) -> Response:
    """Make a DRAFT of a definition in a text."""
    request = read_message(body, "UploadIntegrationVersionRequest")
    _parse_format(request.get("fileFormat"))
    content = request.get("content")
    if not isinstance(content, str):
        raise InvalidValue("content", shown(content), "the text of a definition, JSON or YAML")
    document = read_definition_body(read_document(content.encode(errors="surrogatepass"), "content"))
    created = service.create_draft(document, services, integration=integration, place=place, actor=caller.actor)
    return answer({"integrationVersion": to_integration_version(created)})


@router.get(_VERSION + ":download")
def download_version(
    address: Address,
    services: Asked,
    caller: Reader,  # noqa: ARG001 - says who may
    file_format: Annotated[str, Query(alias="fileFormat")] = "",
    files: Annotated[list[str] | None, Query()] = None,
) -> Response:
    """A version as text."""
    chosen = _parse_format(file_format)
    resource = to_integration_version(service.get_version(address, services))
    content = to_text(resource, chosen)
    if not files:
        return answer({"content": content})
    return answer({"content": content, "files": [_file(each, resource, chosen) for each in files]})


def _file(name: str, resource: Mapping[str, Any], file_format: FileFormat) -> dict[str, str]:
    match name:
        case "INTEGRATION":
            return {"file": name, "content": to_text(resource, file_format)}
        case "INTEGRATION_CONFIG_VARIABLES":
            entries = resource.get("integrationConfigParameters", [])
            values = {each["parameter"]["key"]: each.get("value", {}) for each in entries}
            return {"file": name, "content": to_text(values, file_format)}
    raise InvalidValue("files", repr(name)[:60], "INTEGRATION or INTEGRATION_CONFIG_VARIABLES")


@router.post(_VERSION + ":publish")
def publish_version(
    address: Address, services: Asked, caller: Definer, body: Annotated[dict[str, Any] | None, Body()] = None
) -> Response:
    """Check a DRAFT or a SNAPSHOT, and make it the ACTIVE version."""
    request = read_message(body or {}, "PublishIntegrationVersionRequest")
    config, validate_only = request.get("configParameters", {}), request.get("validateOnly", False)
    if not isinstance(config, Mapping) or not isinstance(validate_only, bool):
        raise InvalidValue("request", "other types", '{"configParameters": {...}, "validateOnly": true or false}')
    service.publish_version(address, services, actor=caller.actor, config=config, validate_only=validate_only)
    return answer({})


@router.post(_VERSION + ":unpublish")
def unpublish_version(address: Address, services: Asked, caller: Definer) -> Response:
    """Make the ACTIVE version a SNAPSHOT."""
    service.unpublish_version(address, services, actor=caller.actor)
    return answer({})


@router.post(_VERSION + ":takeoverEditLock")
def take_over_edit_lock(address: Address, services: Asked, caller: Definer) -> Response:
    """Become the one who edits a DRAFT."""
    stored = service.take_edit_lock(address, services, actor=caller.actor)
    return answer({"integrationVersion": to_integration_version(stored)})


# -- the plain paths -------------------------------------------------------------------------------------------------


@router.post(_VERSIONS)
def create_version(
    *,
    body: Document,
    place: Within,
    integration: One,
    services: Asked,
    caller: Definer,
    new_integration: Annotated[bool, Query(alias="newIntegration")] = False,
    samples: Annotated[bool, Query(alias="createSampleIntegrations")] = False,
) -> Response:
    """Make a DRAFT."""
    if samples:
        raise InvalidValue("createSampleIntegrations", "true", "false: there are no samples here")
    created = service.create_draft(
        read_definition_body(body),
        services,
        integration=integration,
        place=place,
        actor=caller.actor,
        is_new=new_integration,
    )
    return answer(to_integration_version(created))


@router.get(_VERSIONS)
def list_versions(
    *,
    wish: ListWish,
    place: Within,
    integration: OneOrAny,
    services: Asked,
    caller: Reader,  # noqa: ARG001 - says who may
    field_mask: Annotated[str, Query(alias="fieldMask")] = "",
) -> Response:
    """The versions of an integration, or of all (``-``), page by page."""
    mask = parse_mask(field_mask, "fieldMask")
    found, token = service.list_versions(wish, services, place=place, integration=integration)
    page = [masked(to_integration_version(each), mask) for each in found]
    return answer({"integrationVersions": page} | ({"nextPageToken": token} if token else {}))


@router.get(_VERSION)
def get_version(address: Address, services: Asked, caller: Reader) -> Response:  # noqa: ARG001 - says who may
    """One version, whatever its state."""
    return answer(to_integration_version(service.get_version(address, services)))


@router.patch(_VERSION)
def patch_version(
    body: Document,
    address: Address,
    services: Asked,
    caller: Definer,
    update_mask: Annotated[str, Query(alias="updateMask")] = "",
) -> Response:
    """Change a DRAFT: the fields of the mask, or all that the body has."""
    new, paths = read_definition_body(body), parse_mask(update_mask, "updateMask")
    changed = service.patch_version(address, lambda old: patched(old, new, paths), services, actor=caller.actor)
    return answer(to_integration_version(changed))


@router.delete(_VERSION)
def delete_version(address: Address, services: Asked, caller: Definer) -> Response:
    """Make a DRAFT or a SNAPSHOT ARCHIVED."""
    service.delete_version(address, services, actor=caller.actor)
    return answer({})


def _parse_format(written: object) -> FileFormat:
    if written is not None and written not in _FORMATS:
        raise InvalidValue("fileFormat", shown(written), "JSON or YAML")
    return _FORMATS[str(written or "")]
