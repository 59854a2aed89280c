"""JSON schemas of parameters: whether one is sound, and what a document does against it.

Drafts 3 to 2020-12 by ``$schema``; without it draft 4, because that is what the product's editor writes. A reference
that leads out of the schema is never fetched: a definition must not make a server open connections.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final, cast

if TYPE_CHECKING:
    from jsonschema import SchemaError, ValidationError
    from jsonschema.protocols import Validator

# The library is imported where it is used: it takes 50 ms, and most integrations have no schema.

_DEPTH: Final = "it is nested too deeply, or refers to itself without end"


def schema_problem(schema: object) -> str | None:
    """Why this schema cannot be used, or None."""
    from jsonschema import SchemaError

    if not isinstance(schema, Mapping):
        return "a JSON schema is an object"
    try:
        _validator_class(schema).check_schema(cast("Any", schema))
    except SchemaError as error:
        return f"{_path(error)}: {error.message[:200]} (the draft is named in $schema; without it, it is draft 4)"
    except RecursionError:
        return _DEPTH
    except (ValueError, TypeError, AttributeError) as error:  # a $schema or $id that is no URI
        return f"it cannot be read ({error})"
    remote = next(_remote_references(schema), None)
    return None if remote is None else f"it refers to {remote[:200]!r}, and schemas are never fetched; put it inside"


def schema_violation(document: object, schema: object) -> str | None:
    """The most telling way in which the document breaks the schema, with its path; None if it does not."""
    from jsonschema.exceptions import best_match
    from referencing import Registry
    from referencing.exceptions import Unresolvable

    sound = cast("Mapping[str, Any]", schema)
    unconnected: Registry[Any] = Registry()  # a plain registry has no way to fetch anything
    try:
        found = best_match(_validator_class(sound)(sound, registry=unconnected).iter_errors(cast("Any", document)))
    except RecursionError:
        return _DEPTH
    except Unresolvable as error:
        return f"its schema has a reference that leads nowhere ({error.ref[:200]})"
    return None if found is None else f"{_path(found)}: {found.message[:200]}"


def _validator_class(schema: Mapping[str, object]) -> type[Validator]:
    from jsonschema import Draft4Validator
    from jsonschema.validators import validator_for

    return validator_for(cast("Any", schema), default=Draft4Validator)


def _path(error: ValidationError | SchemaError) -> str:
    return error.json_path[:200]


def _remote_references(schema: object) -> Iterator[str]:
    """The absolute references that no ``$id`` of this document answers."""
    references: list[str] = []
    known: set[str] = set()
    ahead = [schema]
    while ahead:
        item = ahead.pop()
        if isinstance(item, Mapping):
            ahead.extend(item.values())
            known |= {name for key in ("$id", "id") if isinstance(name := item.get(key), str)}
            reference = item.get("$ref")
            if isinstance(reference, str) and "://" in reference.partition("#")[0]:
                references.append(reference)
        elif isinstance(item, list | tuple):
            ahead.extend(item)
    bare = {name.partition("#")[0] for name in known}
    return (reference for reference in references if reference.partition("#")[0] not in bare)
