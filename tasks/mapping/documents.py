"""JSON functions. Every function makes a new document and shares the parts that it did not touch.

A property is a name, or a path of names (``address.street``); an object that has the whole name as a property is taken
at its word. A property that an object does not have gives no value, like a reference to it; a position that a list does
not have is an error.

Source: Application Integration, "Data mapping functions reference", one page a function (SET_PROPERTY takes the value
first; REMOVE_PROPERTY takes a path; MERGE leaves out what is there already), and the public sample
remove-json-property, whose path goes through a list.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping
from typing import cast

from orchestrator.errors import InvalidValue
from orchestrator.model.json_text import MAX_JSON_DEPTH, Json, to_json_text
from orchestrator.model.parameters import resolve
from orchestrator.model.values import DataType, Scalar, Value, from_python, text_of
from tasks.mapping.arrays import check_index, is_kept
from tasks.mapping.registry import (
    BOOLEAN,
    DOCUMENTS,
    DOUBLE,
    INT,
    JSON,
    LAMBDA,
    MAX_WEIGHT,
    MISSING,
    STRING,
    Lambda,
    Missing,
    refusal,
    shown,
    too_large,
)
from tasks.mapping.strings import check_template, to_boolean, to_double, to_int


def kind_of(document: Json) -> str:
    """What a document is, for messages."""
    if document is None or isinstance(document, bool):
        return to_json_text(document)
    if isinstance(document, str):
        return "a string"
    return "an object" if isinstance(document, dict) else "a list" if isinstance(document, list) else "a number"


def _list(document: Json) -> list[Json]:
    if not isinstance(document, list):
        raise InvalidValue("input", kind_of(document), "a JSON list")
    return document


def _object(document: Json) -> dict[str, Json]:
    if not isinstance(document, dict):
        raise InvalidValue("input", kind_of(document), "a JSON object")
    return document


# -- properties ----------------------------------------------------------------------------------------------------


@DOCUMENTS.row("GET_PROPERTY", STRING, gives=JSON)
def get_property(document: Json, name: str) -> Json | Missing:
    """The value of a property; none if the object does not have it."""
    found: Json = _object(document)
    for step in _steps(found, name):
        if not isinstance(found, dict) or step not in found:
            return MISSING
        found = found[step]
    return found


@DOCUMENTS.row("SET_PROPERTY", JSON, STRING, gives=JSON, grows=True)
def set_property(document: Json, value: Json, name: str) -> Json:
    """The object with a property added or replaced; the objects on the way to it are made where they are missing."""
    return _with_property(_object(document), _steps(document, name), value)


def _with_property(document: Json, steps: list[str], value: Json) -> Json:
    if not steps:
        return value
    if not isinstance(document, dict):
        raise refusal(f"{shown(steps[0])} cannot be set in {kind_of(document)}")
    return {**document, steps[0]: _with_property(document.get(steps[0], {}), steps[1:], value)}


@DOCUMENTS.row("REMOVE_PROPERTY", STRING, gives=JSON)
def remove_property(document: Json, name: str) -> Json:
    """The document without a property; a list on the way means each of its elements.

    Nothing happens if the property is not there.
    """
    if isinstance(document, list):
        return [remove_property(each, name) for each in document]
    if not isinstance(document, dict):
        return document
    first, *rest = _steps(document, name)
    if not rest:
        return {key: value for key, value in document.items() if key != first}
    if first not in document:
        return document
    return {**document, first: remove_property(document[first], ".".join(rest))}


def _steps(document: Json, name: str) -> list[str]:
    """The path that a name means in this object: itself if the object has it."""
    if isinstance(document, dict) and name in document:
        return [name]
    if name.count(".") >= MAX_JSON_DEPTH:
        raise refusal(f"a path of {name.count('.') + 1} steps is deeper than a document may be ({MAX_JSON_DEPTH})")
    return name.split(".")


# -- lists ---------------------------------------------------------------------------------------------------------


@DOCUMENTS.row("GET_ELEMENT", INT, gives=JSON)
def get_element(document: Json, index: int) -> Json:
    """The element at a position, counted from 0."""
    items = _list(document)
    check_index(index, len(items))
    return items[index]


@DOCUMENTS.row("APPEND_ELEMENT", JSON, gives=JSON, grows=True)
def append_element(document: Json, value: Json) -> Json:
    """The list with one more element."""
    return [*_list(document), value]


@DOCUMENTS.row("SIZE", gives=INT)
def size(document: Json) -> int:
    """The number of a list's elements or of an object's properties."""
    if not isinstance(document, list | dict):
        raise InvalidValue("input", kind_of(document), "a JSON list or object")
    return len(document)


@DOCUMENTS.row("FLATTEN", gives=JSON)
def flatten(document: Json) -> Json:
    """One list of everything that is not a list, from every depth."""
    flat: list[Json] = []
    for item in _leaves(_list(document)):
        flat.append(item)
        if len(flat) > MAX_WEIGHT:  # lists inside may be shared, so the flat one can be far larger
            raise too_large()
    return flat


def _leaves(items: list[Json]) -> Iterator[Json]:
    for item in items:
        if isinstance(item, list):
            yield from _leaves(item)
        else:
            yield item


@DOCUMENTS.row("FLATTEN_ONCE", gives=JSON, grows=True)
def flatten_once(document: Json) -> Json:
    """The list with the lists directly in it opened."""
    return [each for item in _list(document) for each in (item if isinstance(item, list) else [item])]


@DOCUMENTS.row("MERGE", JSON, gives=JSON, grows=True)
def merge(document: Json, other: Json) -> Json:
    """Both objects' properties, the other's where both have one; or both lists' elements, each value once."""
    if isinstance(document, dict) and isinstance(other, dict):
        return {**document, **other}
    if isinstance(document, list) and isinstance(other, list):
        once: dict[Hashable, Json] = {}
        for each in [*document, *other]:
            once.setdefault(_canonical(each), each)
        return list(once.values())
    raise refusal(f"two objects or two lists can be merged, not {kind_of(document)} and {kind_of(other)}")


@DOCUMENTS.row("FOR_EACH", LAMBDA, gives=JSON, grows=True)
def for_each(document: Json, change: Lambda) -> Json:
    """What the expression gives for each element of a list; nothing becomes null."""
    changed = (change(Value(JSON, each)) for each in _list(document))
    return [None if each is None else each.python for each in changed]


@DOCUMENTS.row("FILTER_ELEMENTS", LAMBDA, gives=JSON)
def filter_elements(document: Json, keep: Lambda) -> Json:
    """The elements of a list for which the expression gives true."""
    return [each for each in _list(document) if is_kept(keep, Value(JSON, each))]


# -- comparison and templates --------------------------------------------------------------------------------------


@DOCUMENTS.row("EQUALS", JSON, gives=BOOLEAN)
def equals(document: Json, other: Json) -> bool:
    """Whether both say the same; the order of properties does not matter, and 1 is 1.0 but not true."""
    return _canonical(document) == _canonical(other)


def _canonical(document: Json) -> Hashable:
    match document:
        case bool():
            return ("boolean", document)
        case dict():
            return frozenset((key, _canonical(value)) for key, value in document.items())
        case list():
            return tuple(_canonical(each) for each in document)
        case _:
            return document


@DOCUMENTS.row("RESOLVE_TEMPLATE", gives=JSON, grows=True, with_parameters=True)
def resolve_template(document: Json, parameters: Mapping[str, Value]) -> Json:
    """The document with the ``$references$`` in its strings replaced; a string that is one reference takes its type."""
    check_template(to_json_text(document), parameters)
    resolved = resolve(Value(JSON, document), parameters)
    return None if resolved is None else resolved.python


# -- conversion ----------------------------------------------------------------------------------------------------


@DOCUMENTS.row("TO_STRING", gives=STRING)
def to_string(document: Json) -> str:
    """A string as it is; anything else as JSON text."""
    return text_of(Value(JSON, document))


@DOCUMENTS.row("TO_INT", gives=INT)
def json_to_int(document: Json) -> int:
    """The whole number that the document is or, as a string, writes."""
    return to_int(document) if isinstance(document, str) else cast("int", _scalar(document, INT))


@DOCUMENTS.row("TO_DOUBLE", gives=DOUBLE)
def json_to_double(document: Json) -> float:
    """The number that the document is or, as a string, writes."""
    return to_double(document) if isinstance(document, str) else cast("float", _scalar(document, DOUBLE))


@DOCUMENTS.row("TO_BOOLEAN", gives=BOOLEAN)
def json_to_boolean(document: Json) -> bool:
    """The boolean that the document is or, as a string, writes."""
    return to_boolean(document) if isinstance(document, str) else cast("bool", _scalar(document, BOOLEAN))


def _scalar(document: Json, data_type: DataType) -> Scalar:
    return cast("Scalar", from_python(document, "input", data_type).data)


@DOCUMENTS.row("TO_STRING_ARRAY", gives=DataType.STRING_ARRAY, grows=True)
def to_string_array(document: Json) -> tuple[str, ...]:
    """Each element of a list as TO_STRING writes it."""
    return tuple(to_string(each) for each in _list(document))


@DOCUMENTS.row("TO_INT_ARRAY", gives=DataType.INT_ARRAY)
def to_int_array(document: Json) -> tuple[int, ...]:
    """Each element of a list as TO_INT reads it."""
    return tuple(cast("int", _scalar(json_to_int(each), INT)) for each in _list(document))


@DOCUMENTS.row("TO_DOUBLE_ARRAY", gives=DataType.DOUBLE_ARRAY)
def to_double_array(document: Json) -> tuple[float, ...]:
    """Each element of a list as TO_DOUBLE reads it."""
    return tuple(cast("float", _scalar(json_to_double(each), DOUBLE)) for each in _list(document))


@DOCUMENTS.row("TO_BOOLEAN_ARRAY", gives=DataType.BOOLEAN_ARRAY)
def to_boolean_array(document: Json) -> tuple[bool, ...]:
    """Each element of a list as TO_BOOLEAN reads it."""
    return tuple(json_to_boolean(each) for each in _list(document))


@DOCUMENTS.row("TO_PROTO", STRING, gives=JSON, optional=1)
def to_proto(document: Json, _type_name: str = "") -> Json:
    """The object unchanged: there are no protocol buffers here, and JSON is how one is written."""
    return _object(document)


@DOCUMENTS.row("TO_PROTO_ARRAY", STRING, gives=JSON, optional=1)
def to_proto_array(document: Json, _type_name: str = "") -> Json:
    """The list of objects unchanged, likewise."""
    return [_object(each) for each in _list(document)]
