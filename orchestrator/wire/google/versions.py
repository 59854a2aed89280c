"""``integrations.versions``: definitions as Google's clients write, publish and read them.

``projects/P/locations/L/integrations/I/versions/V``, where V is the id of our version. ``-`` stands for any integration
where one is read. ``lockHolder`` is shown and blocks nobody (``service.versions``); it can be taken over where the
product has that method, under ``products``.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Response

from orchestrator.errors import InvalidValue
from orchestrator.model.definition_text import read_document
from orchestrator.model.definition_writing import FileFormat, to_text
from orchestrator.model.fields import is_storable, shown
from orchestrator.model.json_text import to_json_text
from orchestrator.service import versions as service
from orchestrator.service.submit import Place
from orchestrator.service.versions import VersionAddress, VersionListWish
from orchestrator.wire.asking import Asked, Definer, Reader
from orchestrator.wire.google.bodies import body_by, parse_json_body
from orchestrator.wire.google.definitions import read_message, schema_of
from orchestrator.wire.google.envelope import GoogleRoute
from orchestrator.wire.google.queries import NO_QUERY, Query, query_of
from orchestrator.wire.google.version_documents import (
    PLACE,
    masked,
    parse_mask,
    patched,
    read_definition_body,
    to_integration_version,
)
from orchestrator.wire.google.violations import invalid

router = APIRouter(route_class=GoogleRoute)

ANY_INTEGRATION: Final = "-"
_LOCATION: Final = "/v1/projects/{project}/locations/{location}"
_VERSIONS: Final = _LOCATION + "/integrations/{integration}/versions"
_VERSION: Final = _VERSIONS + "/{version}"
LISTED: Final = ("filter", "orderBy", "pageSize", "pageToken")
_JSON: Final = ("", "FILE_FORMAT_UNSPECIFIED", "JSON")
_FORMATS: Final = {**dict.fromkeys(_JSON, FileFormat.JSON), "YAML": FileFormat.YAML}


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


def list_wish(query: Query) -> VersionListWish:
    """Which page of a list is wanted.

    Raises:
        InvalidValue: its size is none.
    """
    return VersionListWish(
        filter=query.text("filter"),
        order_by=query.text("orderBy"),
        page_size=query.page_size(),
        page_token=query.text("pageToken"),
    )


# -- bodies ------------------------------------------------------------------------------------------------------------


def _message(name: str) -> Any:
    """What a handler depends on to be given a message of ``definitions``; an empty body is an empty one."""
    return Depends(body_by(lambda content: read_message(parse_json_body(content), name), partial(schema_of, name)))


def parse_definition_body(content: bytes) -> dict[str, object]:
    """A definition, whose body must be there: an empty one would be a version without anything.

    Raises:
        InvalidRequest: there is none, or it has fields that there are not.
    """
    if not content.strip():
        raise invalid(PLACE, f"Required field '{PLACE}' is missing.")
    return read_definition_body(parse_json_body(content))


Definition = Annotated[
    dict[str, object], Depends(body_by(parse_definition_body, partial(schema_of, "IntegrationVersion")))
]
Upload = Annotated[dict[str, object], _message("UploadIntegrationVersionRequest")]
Publish = Annotated[dict[str, object], _message("PublishIntegrationVersionRequest")]
Nothing = _message("UnpublishIntegrationVersionRequest")


def answer(document: Mapping[str, object]) -> Response:
    """JSON in ASCII: half of a surrogate pair, which a definition may have, stays an escape."""
    return Response(to_json_text(document), media_type="application/json")


# -- verbs that have a path of their own; before the plain paths, which would take them for ids ------------------------


@router.post(_VERSIONS + ":upload", dependencies=[NO_QUERY])
def upload_version(request: Upload, place: Within, integration: One, services: Asked, caller: Definer) -> Response:
    """Make a DRAFT of a definition in a text."""
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
    query: Annotated[Query, Depends(query_of("fileFormat", "files"))],
) -> Response:
    """A version as text."""
    chosen, files = _parse_format(query.text("fileFormat")), query.texts("files")
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


@router.post(_VERSION + ":publish", dependencies=[NO_QUERY])
def publish_version(address: Address, services: Asked, caller: Definer, request: Publish) -> Response:
    """Check a DRAFT or a SNAPSHOT, and make it the ACTIVE version."""
    config, validate_only = request.get("configParameters", {}), request.get("validateOnly", False)
    if not isinstance(config, Mapping) or not isinstance(validate_only, bool):
        raise InvalidValue("request", "other types", '{"configParameters": {...}, "validateOnly": true or false}')
    service.publish_version(address, services, actor=caller.actor, config=config, validate_only=validate_only)
    return answer({})


@router.post(_VERSION + ":unpublish", dependencies=[NO_QUERY, Nothing])
def unpublish_version(address: Address, services: Asked, caller: Definer) -> Response:
    """Make the ACTIVE version a SNAPSHOT."""
    service.unpublish_version(address, services, actor=caller.actor)
    return answer({})


@router.post(_VERSION + ":takeoverEditLock", dependencies=[NO_QUERY, Nothing])
def take_over_edit_lock(address: Address, services: Asked, caller: Definer) -> Response:
    """Become the one who edits a DRAFT."""
    stored = service.take_edit_lock(address, services, actor=caller.actor)
    return answer({"integrationVersion": to_integration_version(stored)})


# -- the plain paths -------------------------------------------------------------------------------------------------


@router.post(_VERSIONS)
def create_version(
    *,
    query: Annotated[Query, Depends(query_of("newIntegration", "createSampleIntegrations"))],
    document: Definition,
    place: Within,
    integration: One,
    services: Asked,
    caller: Definer,
) -> Response:
    """Make a DRAFT."""
    if query.flag("createSampleIntegrations"):
        raise InvalidValue("createSampleIntegrations", "true", "false: there are no samples here")
    created = service.create_draft(
        document,
        services,
        integration=integration,
        place=place,
        actor=caller.actor,
        is_new=query.flag("newIntegration"),
    )
    return answer(to_integration_version(created))


@router.get(_VERSIONS)
def list_versions(
    *,
    query: Annotated[Query, Depends(query_of(*LISTED, "fieldMask"))],
    place: Within,
    integration: OneOrAny,
    services: Asked,
    caller: Reader,  # noqa: ARG001 - says who may
) -> Response:
    """The versions of an integration, or of all (``-``), page by page."""
    mask = parse_mask(query.text("fieldMask"), "fieldMask")
    found, token = service.list_versions(list_wish(query), services, place=place, integration=integration)
    page = [masked(to_integration_version(each), mask) for each in found]
    return answer({"integrationVersions": page} | ({"nextPageToken": token} if token else {}))


@router.get(_VERSION, dependencies=[NO_QUERY])
def get_version(address: Address, services: Asked, caller: Reader) -> Response:  # noqa: ARG001 - says who may
    """One version, whatever its state."""
    return answer(to_integration_version(service.get_version(address, services)))


@router.patch(_VERSION)
def patch_version(
    query: Annotated[Query, Depends(query_of("updateMask"))],
    document: Definition,
    address: Address,
    services: Asked,
    caller: Definer,
) -> Response:
    """Change a DRAFT: the fields of the mask, or all that the body has."""
    paths = parse_mask(query.text("updateMask"), "updateMask")
    changed = service.patch_version(address, lambda old: patched(old, document, paths), services, actor=caller.actor)
    return answer(to_integration_version(changed))


@router.delete(_VERSION, dependencies=[NO_QUERY])
def delete_version(address: Address, services: Asked, caller: Definer) -> Response:
    """Make a DRAFT or a SNAPSHOT ARCHIVED."""
    service.delete_version(address, services, actor=caller.actor)
    return answer({})


def _parse_format(written: object) -> FileFormat:
    if written is not None and written not in _FORMATS:
        raise InvalidValue("fileFormat", shown(written), "JSON or YAML")
    return _FORMATS[str(written or "")]
