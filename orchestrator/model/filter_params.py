"""The structured filter of the product, ``filterParams.*``, as the same tree that a filter's text becomes.

All its parts are to hold at once. ``eventStatuses`` are alternatives; a pair of key and value is one parameter.

Decisions: the reference gives no unit of ``startTime`` and ``endTime``; we read milliseconds since 1970, as in its
other int64 times, and mean the time of creation, both ends included. ``taskStatuses`` is refused: it is deprecated, and
a filter that is silently left out would show, or kill, too much.

Source: Integrations API v1 discovery document, parameters of projects.locations.integrations.executions.list.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

from orchestrator.errors import InvalidValue
from orchestrator.model.filter_fields import (
    CREATE_TIME,
    EXECUTION_ID,
    INTEGRATION,
    PARAMETER,
    PARAMETER_KEY,
    PARAMETER_TYPE,
    PARAMETER_VALUE,
    STATE,
    Unfit,
    parse_operand,
    parse_parameter_name,
)
from orchestrator.model.filters import MAX_TERMS, And, Comparison, Node, Operator, Or, parse_filter

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_COMPARED: Final = {
    "executionId": (EXECUTION_ID, Operator.EQUAL),
    "workflowName": (INTEGRATION, Operator.EQUAL),
    "eventStatuses": (STATE, Operator.EQUAL),
    "parameterType": (PARAMETER_TYPE, Operator.EQUAL),
    "parameterKey": (PARAMETER_KEY, Operator.EQUAL),
    "parameterValue": (PARAMETER_VALUE, Operator.EQUAL),
    "parameterPairKey": (PARAMETER_KEY, Operator.EQUAL),
    "parameterPairValue": (PARAMETER_VALUE, Operator.EQUAL),
    "startTime": (CREATE_TIME, Operator.AT_LEAST),
    "endTime": (CREATE_TIME, Operator.AT_MOST),
}
_KEYS: Final = ("customFilter", *_COMPARED)
_REPEATED: Final = "eventStatuses"


def parse_filter_params(params: Mapping[str, Sequence[str]]) -> Node:
    """The tree of a structured filter.

    Args:
        params: what was given of each, by its name without ``filterParams.``, in camelCase or snake_case; empty texts
            count as not given.

    Raises:
        InvalidValue: a name that there is not, one that was given twice, or a value that its place does not take.
        FilterSyntax: ``customFilter`` is no filter.
    """
    given = _read(params)
    parts = [parse_filter(text) for text in given.pop("customFilter", ())]
    if "parameterPairKey" in given and "parameterPairValue" in given:
        (name,), (value,) = given.pop("parameterPairKey"), given.pop("parameterPairValue")
        parts.append(_pair(name, value))
    for key, texts in given.items():
        alternatives = tuple(_compared(key, text) for text in texts)
        parts.append(alternatives[0] if len(alternatives) == 1 else Or(alternatives))
    return parts[0] if len(parts) == 1 else And(tuple(parts))


def _read(params: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    """What was given, by its name in camelCase."""
    by_spelling, given = {key.lower(): key for key in _KEYS}, dict[str, list[str]]()
    for spelling, texts in params.items():
        key = by_spelling.get(spelling.replace("_", "").lower())
        if key is None:
            raise InvalidValue("filterParams", repr(spelling[:60]), f"one of {', '.join(_KEYS)}")
        given.setdefault(key, []).extend(text for text in texts if text)
        if key != _REPEATED and len(given[key]) > 1:
            raise InvalidValue(f"filterParams.{key}", f"{len(given[key])} values", "one")
        if len(given[key]) > MAX_TERMS:
            raise InvalidValue(f"filterParams.{key}", f"{len(given[key])} values", f"at most {MAX_TERMS}")
    return {key: texts for key, texts in given.items() if texts}


def _compared(key: str, text: str) -> Node:
    field, operator = _COMPARED[key]
    try:
        return Comparison(field, operator, _parse_millis(text) if field is CREATE_TIME else parse_operand(text, field))
    except Unfit as unfit:
        raise InvalidValue(f"filterParams.{key}", repr(text[:60]), str(unfit)) from None


def _pair(name: str, value: str) -> Node:
    try:
        return Comparison(PARAMETER, Operator.EQUAL, parse_operand(value, PARAMETER), parse_parameter_name(name))
    except Unfit as unfit:
        raise InvalidValue("filterParams.parameterPairKey, parameterPairValue", repr(name[:60]), str(unfit)) from None


def _parse_millis(text: str) -> datetime:
    try:
        return _EPOCH + timedelta(milliseconds=int(text))
    except (ValueError, OverflowError):
        raise Unfit("a time in milliseconds since 1970") from None
