"""A version as ``IntegrationVersion`` JSON, and back into the document that is stored.

What somebody uploads is kept as it is, but for the fields that only we can know. They are taken out on the way in, so
that an export can be uploaded as it stands, and put in on the way out. ``lockHolder`` and ``lastModifierEmail`` hold
who it was as the audit trail names them: the name of a key, which need not be a mail address.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from orchestrator.errors import InvalidValue
from orchestrator.service.submit import Place
from orchestrator.store.version_queries import StoredIntegration
from orchestrator.store.version_rows import StoredVersion
from orchestrator.wire.google.case import snake_to_camel
from orchestrator.wire.google.definitions import MESSAGES, camel_definition, read_message

OURS_TO_SAY: Final = frozenset(
    {
        *("name", "state", "status", "snapshotNumber", "createTime", "updateTime"),
        *("lastModifierEmail", "lockHolder", "eucHardeningDisposition"),
    }
)
PLACE: Final = "integration_version"


def to_integration_version(stored: StoredVersion) -> dict[str, Any]:
    """The resource."""
    document = camel_definition(stored.document)
    said = {
        "state": stored.state.value,
        "status": stored.state.value,  # the deprecated twin
        "snapshotNumber": str(stored.snapshot_number),
        "createTime": to_timestamp(stored.created_at),
        "updateTime": to_timestamp(stored.updated_at),
        "lockHolder": stored.lock_holder,
        "lastModifierEmail": stored.last_modifier,
    }
    name = f"{to_integration_name(stored.project, stored.location, stored.integration)}/versions/{stored.id}"
    kept = {key: content for key, content in document.items() if key not in OURS_TO_SAY}
    return {"name": name, **kept, **{key: content for key, content in said.items() if content is not None}}


def to_integration(stored: StoredIntegration, place: Place) -> dict[str, Any]:
    """The resource ``Integration``: what lists show."""
    found = {
        "name": to_integration_name(place.project, place.location, stored.name),
        "description": stored.description or None,
        "active": stored.is_active,
        "createTime": to_timestamp(stored.created_at),
        "updateTime": to_timestamp(stored.updated_at),
        "lastModifierEmail": stored.last_modifier,
    }
    return {key: content for key, content in found.items() if content is not None}


def to_integration_name(project: str, location: str, integration: str) -> str:
    """The resource name of an integration."""
    return f"projects/{project}/locations/{location}/integrations/{integration}"


def to_timestamp(at: datetime) -> str:
    """RFC 3339 in UTC, to the microsecond."""
    return at.isoformat().replace("+00:00", "Z")


def read_definition_body(body: object) -> dict[str, object]:
    """The document of an ``IntegrationVersion`` that came in.

    Raises:
        InvalidRequest: it has fields that there are not.
    """
    read = read_message(body, "IntegrationVersion", place=PLACE)
    return {key: content for key, content in read.items() if key not in OURS_TO_SAY}


def portable(document: Mapping[str, object], name: str) -> dict[str, object]:
    """A definition as a file that can go anywhere: its fields in camelCase, and of ours the short name alone."""
    read = camel_definition(document)
    return {"name": name, **{key: content for key, content in read.items() if key not in OURS_TO_SAY}}


# -- masks ---------------------------------------------------------------------------------------------------------


def parse_mask(text: str, place: str) -> tuple[tuple[str, ...], ...]:
    """Read a mask over ``IntegrationVersion``: ``description,cloudLoggingDetails.enableCloudLogging``, or ``*``.

    Returns:
        One path a field, in camelCase; ``("*",)`` is all of them.

    Raises:
        InvalidValue: there is no such field, or it goes into a list or a map.
    """
    return tuple(_parse_path(path.strip(), place) for path in text.split(",") if path.strip())


def _parse_path(path: str, place: str) -> tuple[str, ...]:
    if path == "*":
        return ("*",)
    names = tuple(snake_to_camel(name) for name in path.split("."))
    message = "IntegrationVersion"
    for position, name in enumerate(names):
        known = MESSAGES.get(message, {}).get(name)
        is_last = position == len(names) - 1
        if known is None or (known.kind != ">" and not is_last):
            raise InvalidValue(place, repr(path)[:200], "fields of IntegrationVersion, and of single messages in it")
        message = known.message
    return names


def patched(
    old: Mapping[str, object], new: Mapping[str, object], paths: Sequence[tuple[str, ...]]
) -> dict[str, object]:
    """A document with the fields of a mask taken from another one; what that one lacks is taken away.

    Without a mask, every field that the other one has is taken.
    """
    if ("*",) in paths:
        return dict(new)
    document: dict[str, object] = dict(camel_definition(old))
    for path in paths or [(key,) for key in new]:
        if path[0] not in OURS_TO_SAY:
            document = _taken(document, new, path)
    return document


def _taken(document: Mapping[str, object], new: object, path: Sequence[str]) -> dict[str, object]:
    key, below = path[0], path[1:]
    found = new.get(key) if isinstance(new, Mapping) else None
    rest = {name: content for name, content in document.items() if name != key}
    if not below:
        return rest if found is None else _in_place(document, key, found)
    inner = document.get(key)
    content = _taken(inner if isinstance(inner, Mapping) else {}, found, below)
    return _in_place(document, key, content) if content else rest


def _in_place(document: Mapping[str, object], key: str, content: object) -> dict[str, object]:
    """The keys stay in their order."""
    return {**document, key: content}


def masked(document: Mapping[str, Any], paths: Sequence[tuple[str, ...]]) -> dict[str, Any]:
    """A resource with the fields of a mask alone; all of them without one."""
    if not paths or ("*",) in paths:
        return dict(document)
    return _kept(document, paths)


def _kept(document: Mapping[str, Any], paths: Sequence[tuple[str, ...]]) -> dict[str, Any]:
    kept: dict[str, Any] = {}
    for key, content in document.items():
        below = [path[1:] for path in paths if path[0] == key]
        if () in below or (below and not isinstance(content, Mapping)):
            kept[key] = content
        elif below:
            kept[key] = _kept(content, below)
    return kept
