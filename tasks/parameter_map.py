"""Reading the pairs that several task types take: headers, query strings, and which parameter goes where.

The product writes them as a ParameterMap, ``{"@type": ..., "entries": [{"key": K, "value": V}]}``, where K and V are
``{"literalValue": {"stringValue": "x"}}`` or ``{"referenceKey": "$x$"}``. A plain JSON object, a list of entries, the
JSON text of either, and ``name: value`` lines are taken as well.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import parse_qsl

from orchestrator.errors import InvalidValue
from orchestrator.model.json_text import Json, parse_json_text
from orchestrator.model.values import Value, parse_value

Pairs = list[tuple[str, Json]]

_LINE = re.compile(r"[^\s:=&?]+:")  # the start of "name: value", and of no query string


def parse_pairs(value: Value | None, place: str) -> Pairs:
    """Read the pairs of one task parameter.

    Args:
        value: absent, empty, one of the JSON shapes above, or text.
        place: for the message.

    Returns:
        Names and values in order; a value is None where a reference led to nothing.

    Raises:
        InvalidValue: the value has another shape.
    """
    if value is None:
        return []
    document = value.python
    if isinstance(document, str):
        if document.lstrip()[:1] not in ("{", "["):
            return _pairs_of_text(document, place)
        document = parse_json_text(document, place)
    return _pairs_of_json(document, place)


def _pairs_of_json(document: Json, place: str) -> Pairs:
    if isinstance(document, dict) and ("entries" in document or "@type" in document):
        document = document.get("entries")
    match document:
        case None:
            return []
        case dict():
            return list(document.items())
        case list():
            return [_pair(entry, f"{place}[{i}]") for i, entry in enumerate(document)]
        case _:
            raise InvalidValue(place, repr(document)[:60], "a ParameterMap with entries, or an object")


def _pair(entry: Json, place: str) -> tuple[str, Json]:
    if not isinstance(entry, dict) or "key" not in entry:
        raise InvalidValue(place, repr(entry)[:60], 'an entry such as {"key": ..., "value": ...}')
    key = _field(entry["key"], f"{place}.key")
    if not isinstance(key, str) or not key:
        raise InvalidValue(f"{place}.key", repr(key)[:60], "a name")
    return key, _field(entry.get("value"), f"{place}.value")


def _field(field: Json, place: str) -> Json:
    match field:
        case {"literalValue": literal}:
            return parse_value(literal, place).python
        case {"referenceKey": reference}:
            return reference
        case _:
            return field


def _pairs_of_text(text: str, place: str) -> Pairs:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if not lines:
        return []
    if _LINE.match(lines[0]):
        return [_pair_of_line(line, place) for line in lines]
    return list(parse_qsl("&".join(lines).lstrip("?&"), keep_blank_values=True))


def _pair_of_line(line: str, place: str) -> tuple[str, Json]:
    name, colon, content = line.partition(":")
    if not colon or not name.strip():
        raise InvalidValue(place, repr(line)[:60], 'lines such as "name: value"')
    return name.strip(), content.strip()


# -- mappings: from one parameter's name to another's --------------------------------------------------------------


def parse_mapping(config: Mapping[str, Value], key: str) -> list[tuple[str, str]]:
    """Read a mapping of parameters, such as ``requestParameterMapping``, from the task's parameters as written.

    Returns:
        (from, to) in order. Names lose their dollar signs and keep their backticks.

    Raises:
        InvalidValue: it has another shape, or a name is no text.
    """
    return [(bare_name(source), _target(target, key)) for source, target in parse_pairs(config.get(key), key)]


def _target(target: Json, key: str) -> str:
    if not isinstance(target, str) or not bare_name(target):
        raise InvalidValue(key, repr(target)[:60], "the name of a parameter")
    return bare_name(target)


def bare_name(name: str) -> str:
    """A parameter's name without the dollar signs that make it a reference."""
    return name.strip().removeprefix("$").removesuffix("$")
