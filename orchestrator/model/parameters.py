r"""References to parameters and templates: ``$order$``, ``$order.items$``, ``$`Task_2_isApproved`$``.

A reference is a dollar sign, a name, optionally a path of property names into a JSON value, and a dollar sign. System
variables stand in backticks, dots included, and are kept under their name with the backticks (``\`Task_1_status\```).
Where a text is exactly one reference it stands for the value itself, type and all; inside a longer text it is replaced
by the value's text.
"""

from __future__ import annotations

import re
from collections.abc import Container, Mapping
from typing import Final

from orchestrator.errors import InvalidValue
from orchestrator.model.json_text import Json
from orchestrator.model.values import DataType, Value, from_python, text_of

_REFERENCE: Final = re.compile(r"\$(?P<name>`[^`$\n]+`|[A-Za-z_][\w-]*(?:\[\d+\])?)(?P<path>(?:\.[^.$\s`\"{}]+)*)\$")

_INDEX: Final = re.compile(r"[0-9]{1,9}")  # int() refuses other digits (²) and very many of them


def look_up(parameters: Mapping[str, Value], reference: str) -> Value | None:
    r"""The value that ``$reference$`` stands for, or None if there is none.

    Args:
        parameters: the current values by name; system variables with their backticks.
        reference: without the dollar signs, e.g. ``order.items.sku``. A name that holds dots (``\`ErrorInfo.code\```)
            is looked up whole first, then as a path. A path step is a property name, or an index into a list
            (``items[0]`` or ``items.0``).
    """
    found = parameters.get(reference)
    if found is None and not reference.startswith("`"):
        found = parameters.get(f"`{reference}`")
    if found is not None:
        return found
    steps = _steps(reference)
    for taken in range(len(steps) - 1, 0, -1):
        name = ".".join(steps[:taken])
        root = parameters.get(name) or parameters.get(f"`{name}`")
        if root is not None:
            return _descend(root, steps[taken:])
    return None


def is_declared(reference: str, keys: Container[str]) -> bool:
    """Whether there is a parameter that ``look_up`` could take for this reference."""
    steps = _steps(reference)
    roots = [".".join(steps[:taken]) for taken in range(len(steps) - 1, 0, -1)]
    return reference in keys or any(root in keys or f"`{root}`" in keys for root in [reference, *roots])


def _steps(reference: str) -> list[str]:
    return [step for step in re.split(r"[.\[\]]+", reference.replace("`", "")) if step]


def _descend(root: Value, steps: list[str]) -> Value | None:
    document: Json = root.python
    for step in steps:
        if isinstance(document, dict) and step in document:
            document = document[step]
        elif isinstance(document, list) and _INDEX.fullmatch(step) and int(step) < len(document):
            document = document[int(step)]
        else:
            return None
    return _to_narrowest(document)


def _to_narrowest(document: Json) -> Value:
    """A part of a JSON document as a value of its own: JSON where no other type fits, such as an int past int64."""
    try:
        return from_python(document, "value")
    except InvalidValue:
        return Value(DataType.JSON, document)


def reference_in(text: str) -> str | None:
    """The reference that the whole text is (``"$order.id$"`` gives ``order.id``), or None."""
    match = _REFERENCE.fullmatch(text.strip())
    return None if match is None else match["name"] + match["path"]


def name_in(written: Value) -> str | None:
    """The name that a task is given for an output: a reference, or a list of one; None if it is neither."""
    first = written.data[0] if isinstance(written.data, tuple | list) and written.data else written.data
    return reference_in(first) if isinstance(first, str) else None


def references_in(text: str) -> list[str]:
    """Every reference in a template, in order."""
    return [match["name"] + match["path"] for match in _REFERENCE.finditer(text)]


def resolve_text(text: str, parameters: Mapping[str, Value]) -> str:
    """Replace every reference by its value's text. A reference without a value stays as it is written."""

    def replaced(match: re.Match[str]) -> str:
        value = look_up(parameters, match["name"] + match["path"])
        return match[0] if value is None else text_of(value)

    return _REFERENCE.sub(replaced, text)


def resolve(value: Value, parameters: Mapping[str, Value]) -> Value | None:
    """The value with its references replaced, also inside arrays and JSON documents.

    Returns:
        None if the value is one single reference to a parameter that has no value.
    """
    if value.type is DataType.STRING:
        reference = reference_in(str(value.data))
        if reference is not None:
            return look_up(parameters, reference)
        return Value(DataType.STRING, resolve_text(str(value.data), parameters))
    if value.type in (DataType.STRING_ARRAY, DataType.JSON):
        document = _resolve_json(value.python, parameters)
        if value.type is DataType.JSON:
            return from_python(document, "value", DataType.JSON)
        is_still_text = isinstance(document, list) and all(isinstance(item, str) for item in document)
        return from_python(document, "value", DataType.STRING_ARRAY) if is_still_text else _to_narrowest(document)
    return value


def _resolve_json(document: Json, parameters: Mapping[str, Value]) -> Json:
    match document:
        case str():
            resolved = resolve(Value(DataType.STRING, document), parameters)
            return None if resolved is None else resolved.python
        case list():
            return [_resolve_json(item, parameters) for item in document]
        case dict():
            return {key: _resolve_json(item, parameters) for key, item in document.items()}
        case _:
            return document
