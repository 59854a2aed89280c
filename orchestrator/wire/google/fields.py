"""How single fields look in Google's JSON: values, times and plain documents.

``model.values`` reads and writes ValueTypes; what this adds is the JSON of protocol buffers around them: an int64 is a
string, a time is RFC 3339 with ``Z`` and as many digits behind the point as it needs (none, 3 or 6), and the older
fields of the API count milliseconds since 1970.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Final

from orchestrator.errors import InvalidValue
from orchestrator.model.filter_fields import CREATE_TIME, Unfit, parse_operand
from orchestrator.model.json_text import Json, shown
from orchestrator.model.values import Value, parse_value, to_value

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def to_value_type(value: Value) -> dict[str, Json]:
    """A ValueType: an object with exactly one key, such as ``{"intValue": "42"}``."""
    return to_value(value)


def from_value_type(body: object, place: str) -> Value:
    """The inverse of ``to_value_type``; an int64 may be a number, and keys may be snake_case.

    Raises:
        InvalidValue: no key, several keys, an unknown key, or content that does not fit the key.
    """
    return parse_value(body, place)


def value_types(parameters: Mapping[str, Value]) -> dict[str, Json]:
    """A map of ValueTypes, such as ``requestParameters``."""
    return {key: to_value_type(value) for key, value in parameters.items()}


def struct(parameters: Mapping[str, Value]) -> dict[str, Json]:
    """A ``google.protobuf.Struct``: plain JSON, in which an int64 is a number."""
    return {key: value.python for key, value in parameters.items()}


def timestamp(at: datetime | None) -> str | None:
    """RFC 3339 in UTC, such as ``2026-01-31T12:00:00Z``, ``...00.500Z`` or ``...00.500001Z``; None for None."""
    if at is None:
        return None
    digits = "microseconds" if at.microsecond % 1000 else "milliseconds" if at.microsecond else "seconds"
    return at.astimezone(UTC).replace(tzinfo=None).isoformat(timespec=digits) + "Z"


def from_timestamp(found: object, place: str) -> datetime:
    """Read RFC 3339, with ``Z`` or another offset; a date alone is its midnight in UTC.

    Raises:
        InvalidValue: it is something else.
    """
    try:
        if not isinstance(found, str):
            raise Unfit("a time such as 2026-01-31T12:00:00Z")
        time = parse_operand(found, CREATE_TIME)
    except Unfit as unfit:
        raise InvalidValue(place, shown(found), str(unfit)) from None
    assert isinstance(time, datetime), "a field of times has times"
    return time


def epoch_ms(at: datetime | None) -> str | None:
    """Milliseconds since 1970, as a string of digits; None for None."""
    return None if at is None else str((at - _EPOCH) // timedelta(milliseconds=1))
