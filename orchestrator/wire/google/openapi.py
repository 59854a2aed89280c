"""What ``/openapi.json`` says of routes beyond what FastAPI sees: bodies and queries are read by this wire itself.

Routes are described by what they depend on: ``bodies.body_of`` and ``body_by`` for the body, ``queries.query_of`` for
the query. All names are in camelCase; that snake_case is taken as well, and what every method takes, is in no schema.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any, Final

from fastapi.dependencies.models import Dependant

from orchestrator.wire.google.bodies import read_body
from orchestrator.wire.google.queries import read_query

_BOOLEAN: Final = {"type": "boolean"}
_TEXT: Final = {"type": "string"}
_PARAMETERS: Final[Mapping[str, Mapping[str, Any]]] = {
    "pageSize": {"type": "integer", "minimum": 0},
    "files": {"type": "array", "items": _TEXT},
    "newIntegration": _BOOLEAN,
    "createSampleIntegrations": _BOOLEAN,
    "refreshAcl": _BOOLEAN,
    "snapshotMetadataWithoutParams": _BOOLEAN,
    "truncateParams": _BOOLEAN,
}
"""Those that are no single texts."""
_ERROR: Final = {
    "type": "object",
    "properties": {
        "code": {"type": "integer"},
        "message": {"type": "string"},
        "status": {"type": "string"},
        "details": {"type": "array", "items": {"type": "object"}},
    },
    "required": ["code", "message", "status"],
}
ERRORS: Final[dict[str, Any]] = {
    "description": "What went wrong, in Google's envelope",
    "content": {
        "application/json": {"schema": {"type": "object", "properties": {"error": _ERROR}, "required": ["error"]}}
    },
}
"""Every answer but the good one."""


def described(dependant: Dependant) -> dict[str, Any]:
    """The fields of an operation that FastAPI leaves out.

    Args:
        dependant: of the route, with all that it depends on.
    """
    parts = list(_parts_of(dependant))
    seen = {field.alias for each in parts for field in each.query_params}
    operation: dict[str, Any] = {}
    for each in parts:
        match each.call:
            case partial(func=func, args=(_, schema)) if func is read_body:
                operation["requestBody"] = {"content": {"application/json": {"schema": _in_one_piece(schema())}}}
            case partial(func=func, args=(names,)) if func is read_query:
                own = [name for name in names if name not in seen and not name.endswith("*")]
                operation["parameters"] = [
                    {"name": name, "in": "query", "required": False, "schema": dict(_PARAMETERS.get(name, _TEXT))}
                    for name in own
                ]
    return operation


def _parts_of(dependant: Dependant) -> Iterator[Dependant]:
    yield dependant
    for each in dependant.dependencies:
        yield from _parts_of(each)


def _in_one_piece(schema: dict[str, Any]) -> dict[str, Any]:
    """A schema with its definitions where they are referred to: an operation has no place for them."""
    known = schema.pop("$defs", {})

    def inside(found: Any) -> Any:
        if isinstance(found, list):
            return [inside(each) for each in found]
        if not isinstance(found, Mapping):
            return found
        if "$ref" in found:
            return inside(known[found["$ref"].rpartition("/")[2]])
        return {key: inside(each) for key, each in found.items()}

    whole: dict[str, Any] = inside(schema)
    return whole
