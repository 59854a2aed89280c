"""The discovery document of the installed client, and what ``wire/google/v1.json`` keeps of it.

``python -m tests.clients.google.discovered`` writes that file anew, for another version of the client.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import googleapiclient

import orchestrator.wire.google

DOCUMENT = json.loads(
    (Path(googleapiclient.__file__).parent / "discovery_cache/documents/integrations.v1.json").read_text()
)
KEPT = Path(orchestrator.wire.google.__file__).parent / "v1.json"


def methods(resource: Any = DOCUMENT) -> list[Any]:
    """All 129."""
    own = list(resource.get("methods", {}).values())
    return own + [each for below in resource.get("resources", {}).values() for each in methods(below)]


def surface() -> dict[str, Any]:
    """Each verb and path with the message that it answers, and the fields of those messages."""
    found = {(each["httpMethod"], template_of(each["flatPath"])): each["response"]["$ref"] for each in methods()}
    types: dict[str, dict[str, str]] = {}
    for message in found.values():
        _add_fields(message, types)
    return {
        "methods": [[verb, path, message] for (verb, path), message in sorted(found.items())],
        "types": dict(sorted(types.items())),
    }


def template_of(flat_path: str) -> str:
    """``/v1/projects/*/locations/*/integrations``, for the two trees alike."""
    return "/" + re.sub(r"\{\w+\}", "*", flat_path).replace("/products/*/", "/")


def _add_fields(message: str, types: dict[str, dict[str, str]]) -> None:
    if message in types:
        return
    types[message] = {}
    for name, field in DOCUMENT["schemas"][message].get("properties", {}).items():
        types[message][name] = written = _type_of(field)
        if written.strip("*"):
            _add_fields(written.strip("*"), types)


def _type_of(field: Any) -> str:
    """A message; ``*`` and a message: a map of them; ``*``: any JSON; blank: no fields."""
    if field.get("type") == "array":
        return _type_of(field["items"])
    if "additionalProperties" in field:
        return "*" + field["additionalProperties"].get("$ref", "")
    return "*" if field.get("type") == "any" else field.get("$ref", "")


def to_text() -> str:
    """A line for each method and message."""
    parts = surface()
    lines = [json.dumps(each) for each in parts["methods"]]
    types = [
        f"{json.dumps(name)}: {json.dumps(fields, separators=(',', ':'))}" for name, fields in parts["types"].items()
    ]
    return '{"methods": [\n' + ",\n".join(lines) + '\n],\n"types": {\n' + ",\n".join(types) + "\n}}\n"


if __name__ == "__main__":
    KEPT.write_text(to_text())
