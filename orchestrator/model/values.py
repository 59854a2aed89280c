"""Values of parameters: Google's ValueType, read, written and converted without loss.

A value has one of nine data types. Outside it is a JSON object with exactly one key (``{"intValue": "42"}``, int64 as
a string); inside it is a ``Value`` that holds plain Python data: ``str``, ``int``, ``float``, ``bool``, a tuple of one
of these, or, for JSON_VALUE, the decoded document.

What must not happen here: rounding an int64, letting NaN or an infinity in, or keeping text that no database takes.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, TypeAlias, cast

from orchestrator.errors import InvalidValue
from orchestrator.model.json_text import Json, check_json, parse_json_text, shown, to_json_text

Scalar: TypeAlias = "str | int | float | bool"

INT64_MIN: Final = -(2**63)
INT64_MAX: Final = 2**63 - 1


class DataType(StrEnum):
    """The data types of integration parameters, by the names that definitions use."""

    STRING = "STRING_VALUE"
    INT = "INT_VALUE"
    DOUBLE = "DOUBLE_VALUE"
    BOOLEAN = "BOOLEAN_VALUE"
    JSON = "JSON_VALUE"
    STRING_ARRAY = "STRING_ARRAY"
    INT_ARRAY = "INT_ARRAY"
    DOUBLE_ARRAY = "DOUBLE_ARRAY"
    BOOLEAN_ARRAY = "BOOLEAN_ARRAY"


@dataclass(frozen=True, slots=True)
class Value:
    """One typed value. ``data`` is a tuple for arrays and a decoded document for JSON; treat it as read-only."""

    type: DataType
    data: Scalar | tuple[Scalar, ...] | Json

    @property
    def python(self) -> Json:
        """The same as plain JSON data (arrays as lists); do not change it in place."""
        return cast("Json", list(self.data) if isinstance(self.data, tuple) else self.data)


_KEYS: Final[dict[str, DataType]] = {
    "stringValue": DataType.STRING,
    "intValue": DataType.INT,
    "doubleValue": DataType.DOUBLE,
    "booleanValue": DataType.BOOLEAN,
    "jsonValue": DataType.JSON,
    "stringArray": DataType.STRING_ARRAY,
    "intArray": DataType.INT_ARRAY,
    "doubleArray": DataType.DOUBLE_ARRAY,
    "booleanArray": DataType.BOOLEAN_ARRAY,
}
_KEY_OF: Final = {data_type: key for key, data_type in _KEYS.items()}
_ELEMENT: Final = {
    DataType.STRING_ARRAY: ("stringValues", DataType.STRING),
    DataType.INT_ARRAY: ("intValues", DataType.INT),
    DataType.DOUBLE_ARRAY: ("doubleValues", DataType.DOUBLE),
    DataType.BOOLEAN_ARRAY: ("booleanValues", DataType.BOOLEAN),
}


def key_of(data_type: DataType) -> str:
    """The key of a ValueType that holds this type."""
    return _KEY_OF[data_type]


def _camel(key: str) -> str:
    head, *rest = key.split("_")
    return head + "".join(word.capitalize() for word in rest)


def element_type(data_type: DataType) -> DataType | None:
    """The type of an array's elements, or None for a type that is no array."""
    return _ELEMENT[data_type][1] if data_type in _ELEMENT else None


# ASCII digits only: int() refuses some of what str.isdigit() takes, such as ².
_INTEGER: Final = re.compile(r"\s*[+-]?[0-9]{1,32}\s*")


def _parse_int(found: object, place: str) -> int:
    if type(found) is int and INT64_MIN <= found <= INT64_MAX:
        return found
    if isinstance(found, str) and _INTEGER.fullmatch(found):
        found = int(found)
    if isinstance(found, float) and found.is_integer():
        found = int(found)  # proto3 JSON takes 1.0 and 1e5 for an integer
    if isinstance(found, bool) or not isinstance(found, int):
        raise InvalidValue(place, shown(found), "an int64, as a number or a string of digits")
    if not INT64_MIN <= found <= INT64_MAX:
        raise InvalidValue(place, shown(found), f"an int64 (from {INT64_MIN} to {INT64_MAX})")
    return found


def _parse_double(found: object, place: str) -> float:
    if isinstance(found, str):
        try:
            found = float(found)
        except ValueError:
            raise InvalidValue(place, shown(found), "a number") from None
    if isinstance(found, bool) or not isinstance(found, int | float):
        raise InvalidValue(place, shown(found), "a number")
    try:
        number = float(found)
    except OverflowError:
        raise InvalidValue(place, shown(found), "a number that a double can hold") from None
    if not math.isfinite(number):
        raise InvalidValue(place, str(number), "a finite number: NaN and infinities cannot be kept")
    return number


def _parse_string(found: object, place: str) -> str:
    if not isinstance(found, str):
        raise InvalidValue(place, shown(found), "a string")
    return found


def _parse_boolean(found: object, place: str) -> bool:
    if not isinstance(found, bool):
        raise InvalidValue(place, shown(found), "true or false")
    return found


_SCALARS: Final[dict[DataType, Callable[[object, str], Scalar]]] = {
    DataType.STRING: _parse_string,
    DataType.INT: _parse_int,
    DataType.DOUBLE: _parse_double,
    DataType.BOOLEAN: _parse_boolean,
}


def parse_value(body: object, place: str) -> Value:
    r"""Read one ValueType.

    Args:
        body: an object with exactly one of the nine keys, camelCase or snake_case, e.g. ``{"intValue": "42"}``,
            ``{"string_array": {"string_values": ["a"]}}``, ``{"jsonValue": "{\"a\": 1}"}``.
        place: where it stands, for the message.

    Raises:
        InvalidValue: no key, several keys, an unknown key, or content that does not fit the key.

    Source: Integrations API v1 discovery document, GoogleCloudIntegrationsV1alphaValueType.
    """
    if type(body) is dict and len(body) == 1:  # as we write it ourselves: nearly all of them
        ((key, content),) = body.items()
        if content is not None and key in _KEYS:
            return _parse_content(_KEYS[key], content, place)
    if not isinstance(body, Mapping):
        raise InvalidValue(place, shown(body), 'a value such as {"stringValue": "x"}')
    filled = [(str(key), content) for key, content in body.items() if content is not None]
    if len(filled) != 1:
        found = ", ".join(key for key, _ in filled) or "an empty object"
        raise InvalidValue(place, found, f"exactly one of {', '.join(_KEYS)}")
    key, content = filled[0]
    data_type = _KEYS.get(_camel(key))
    if data_type is None:
        raise InvalidValue(place, f"key {key!r}", f"one of {', '.join(_KEYS)}")
    return _parse_content(data_type, content, place)


def _parse_content(data_type: DataType, content: object, place: str) -> Value:
    if data_type is DataType.JSON:
        if isinstance(content, str):
            return Value(DataType.JSON, parse_json_text(content, place))
        return Value(DataType.JSON, check_json(content, place))
    if data_type in _ELEMENT:
        name, _ = _ELEMENT[data_type]
        if not isinstance(content, Mapping):
            raise InvalidValue(place, shown(content), f'an object such as {{"{name}": [...]}}')
        unknown = [key for key in content if _camel(str(key)) != name]
        if unknown:
            raise InvalidValue(place, f"key {unknown[0]!r}", name)
        items: object = next((items for items in content.values() if items is not None), [])
        return _parse_array(data_type, items, place)
    return Value(data_type, _SCALARS[data_type](content, place))


def _parse_array(data_type: DataType, items: object, place: str) -> Value:
    name, element = _ELEMENT[data_type]
    if not isinstance(items, list | tuple):
        raise InvalidValue(place, shown(items), f"a list of {name} ({data_type})")
    return Value(data_type, tuple(_SCALARS[element](item, f"{place}[{i}]") for i, item in enumerate(items)))


def to_value(value: Value) -> dict[str, Json]:
    """Write one ValueType: the inverse of ``parse_value``."""
    key = _KEY_OF[value.type]
    if value.type is DataType.JSON:
        return {key: to_json_text(value.data)}
    if value.type in _ELEMENT:
        name, element = _ELEMENT[value.type]
        items = cast("tuple[Scalar, ...]", value.data)
        return {key: {name: [str(i) if element is DataType.INT else i for i in items]}}
    return {key: str(value.data) if value.type is DataType.INT else cast("Scalar", value.data)}


def from_python(data: object, place: str, data_type: DataType | None = None) -> Value:
    """Give plain Python data a type.

    Args:
        data: what JSON can say; tuples count as lists.
        place: for the message.
        data_type: the type to make it; without one, the narrowest that fits (a list of strings is STRING_ARRAY, a
            dict, None, an empty or a mixed list is JSON).

    Raises:
        InvalidValue: the data does not fit the type, or cannot be kept exactly.
    """
    if data_type is None:
        data_type = _type_of(data)
    if data_type is DataType.JSON:
        return Value(DataType.JSON, check_json(list(data) if isinstance(data, tuple) else data, place))
    if data_type in _ELEMENT:
        if not isinstance(data, list | tuple):
            raise InvalidValue(place, shown(data), f"a list ({data_type})")
        element = _ELEMENT[data_type][1]
        return Value(data_type, tuple(_SCALARS[element](item, f"{place}[{i}]") for i, item in enumerate(data)))
    return Value(data_type, _SCALARS[data_type](data, place))


_EXACTLY: Final = {int: DataType.INT, str: DataType.STRING, float: DataType.DOUBLE, bool: DataType.BOOLEAN}


def _type_of(data: object) -> DataType:
    scalar = _EXACTLY.get(type(data)) or _scalar_type_of(data)
    if scalar is not None:
        return scalar
    if isinstance(data, list | tuple) and data:
        kinds = {_scalar_type_of(item) for item in data}
        if len(kinds) == 1:
            kind = kinds.pop()
            return next((array for array, (_, element) in _ELEMENT.items() if element is kind), DataType.JSON)
    return DataType.JSON


def _scalar_type_of(data: object) -> DataType | None:
    if isinstance(data, bool):
        return DataType.BOOLEAN
    if isinstance(data, int):
        return DataType.INT
    if isinstance(data, float):
        return DataType.DOUBLE
    return DataType.STRING if isinstance(data, str) else None


def coerce(value: Value, data_type: DataType, place: str) -> Value:
    """The same content as another data type, where nothing is lost.

    JSON takes everything; a JSON value becomes any type that its document fits; an int becomes a double that
    holds it exactly; a whole double becomes an int; arrays convert element by element. A scalar that is no string
    becomes a string as JSON writes it, and a string that is JSON becomes JSON (any other string becomes a JSON string).

    Raises:
        InvalidValue: the content does not fit.
    """
    if value.type is data_type:
        return value
    if data_type is DataType.JSON:
        if value.type is DataType.STRING:
            try:
                return Value(DataType.JSON, parse_json_text(cast("str", value.data), place))
            except InvalidValue:
                pass
        return Value(DataType.JSON, value.python)
    if data_type is DataType.STRING:
        return Value(DataType.STRING, text_of(value))
    converted = from_python(value.python, place, data_type)
    if value.type in (DataType.INT, DataType.INT_ARRAY) and converted.data != value.data:
        raise InvalidValue(place, shown(value.python), "an int that a double holds exactly (up to 2**53)")
    return converted


def text_of(value: Value) -> str:
    """The value as text, as it appears inside a template: a string as it is, everything else as JSON."""
    python = value.python
    return python if isinstance(python, str) else to_json_text(python)


def parse_parameters(body: Mapping[str, object], place: str) -> dict[str, Value]:
    """Read a map of ValueTypes, such as ``inputParameters``."""
    return {key: parse_value(content, f"{place}[{key!r}]") for key, content in body.items()}


def to_parameters(parameters: Mapping[str, Value]) -> dict[str, Json]:
    """Write a map of ValueTypes."""
    return {key: to_value(value) for key, value in parameters.items()}


def to_parameters_text(parameters: Mapping[str, Value]) -> str:
    """``to_parameters`` as JSON text; thousands of children have an int or a text each."""
    return "{" + ",".join([f"{to_json_text(key)}:{_to_text(value)}" for key, value in parameters.items()]) + "}"


def _to_text(value: Value) -> str:
    if value.type is DataType.INT:
        return f'{{"intValue":"{value.data}"}}'
    if value.type is DataType.STRING:
        return f'{{"stringValue":{to_json_text(value.data)}}}'
    return to_json_text(to_value(value))
