"""What a filter of executions may speak of: the fields, how their names are spelled, and how their values are written.

A name is taken in camelCase and in snake_case: case and underscores do not count. The product's names and ours lead to
the same field. What is not in ``FIELDS`` cannot be asked for: ``store.filters`` has a column for each of these, and
nothing that a caller writes gets into SQL but as a bound value. ``version_fields`` has the fields of versions.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from functools import cache
from typing import Final, TypeAlias

from orchestrator.model.fields import is_storable
from orchestrator.model.states import ExecutionState
from orchestrator.model.values import INT64_MAX, INT64_MIN, DataType

Operand: TypeAlias = "str | int | datetime | timedelta"


class Kind(StrEnum):
    """What the values of a field are."""

    TEXT = "text"
    CHOICE = "choice"  # one of a closed set of words
    WHOLE = "whole number"
    TIME = "time"
    DURATION = "duration"
    PARAMETER = "parameter"  # one of many: the field holds if any of an execution's parameters fits

    @property
    def is_ordered(self) -> bool:
        """Whether its values can be greater and less. Texts cannot: every database has another order of letters."""
        return self in (Kind.WHOLE, Kind.TIME, Kind.DURATION)


@dataclass(frozen=True, slots=True)
class Field:
    """One field. ``choices`` are the words that it may be compared with, and what they mean."""

    name: str
    kind: Kind
    also: tuple[str, ...] = field(default=(), repr=False)
    choices: tuple[tuple[str, str], ...] = field(default=(), repr=False)


_STATES: Final = (
    *((state.value, state.value) for state in ExecutionState),
    ("ON_HOLD", ExecutionState.PENDING.value),  # these three are the product's older names
    ("IN_PROCESS", ExecutionState.PROCESSING.value),
    ("CANCELED", ExecutionState.CANCELLED.value),
)
_METHODS: Final = tuple((method, method) for method in ("POST", "POST_TO_QUEUE", "SCHEDULE"))
_TYPES: Final = tuple((data_type.value, data_type.value) for data_type in DataType)

PROJECT: Final = Field("project", Kind.TEXT)
LOCATION: Final = Field("location", Kind.TEXT)
EXECUTION_ID: Final = Field("execution_id", Kind.TEXT, ("id",))
INTEGRATION: Final = Field("integration", Kind.TEXT, ("integration_name", "workflow_name"))
TRIGGER_ID: Final = Field("trigger_id", Kind.TEXT, ("trigger",))
EXECUTOR: Final = Field("executor", Kind.TEXT, ("executor_id",))
PARENT_ID: Final = Field("parent_id", Kind.TEXT, ("parent",))
ROOT_ID: Final = Field("root_id", Kind.TEXT, ("root",))
REQUEST_ID: Final = Field("request_id", Kind.TEXT)
SUBMITTED_BY: Final = Field("submitted_by", Kind.TEXT)
REPLAY_OF: Final = Field("replay_of", Kind.TEXT, ("original_execution_info_id",))
STATE: Final = Field("state", Kind.CHOICE, ("event_execution_state",), _STATES)
METHOD: Final = Field("execution_method", Kind.CHOICE, ("method",), _METHODS)
PRIORITY: Final = Field("priority", Kind.WHOLE)
CREATE_TIME: Final = Field("create_time", Kind.TIME, ("created_at", "create_timestamp"))
UPDATE_TIME: Final = Field("update_time", Kind.TIME, ("updated_at", "last_modified_time"))
END_TIME: Final = Field("end_time", Kind.TIME, ("ended_at",))
SCHEDULE_TIME: Final = Field("schedule_time", Kind.TIME, ("scheduled_at",))
DURATION: Final = Field("duration", Kind.DURATION)
PARAMETER_KEY: Final = Field("parameter_key", Kind.PARAMETER)
PARAMETER_VALUE: Final = Field("parameter_value", Kind.PARAMETER)
PARAMETER_TYPE: Final = Field("parameter_type", Kind.PARAMETER, (), _TYPES)
PARAMETER: Final = Field("parameter", Kind.PARAMETER)  # ``parameter.NAME``: the value of the one of this name

FIELDS: Final = (
    *(EXECUTION_ID, INTEGRATION, TRIGGER_ID, STATE, EXECUTOR, METHOD, PRIORITY),
    *(CREATE_TIME, UPDATE_TIME, END_TIME, SCHEDULE_TIME, DURATION),
    *(PARENT_ID, ROOT_ID, REQUEST_ID, SUBMITTED_BY, REPLAY_OF, PROJECT, LOCATION),
    *(PARAMETER, PARAMETER_KEY, PARAMETER_VALUE, PARAMETER_TYPE),
)


def _folded(spelling: str) -> str:
    return spelling.replace("_", "").lower()


@cache
def _by_spelling(among: tuple[Field, ...]) -> dict[str, Field]:
    return {_folded(spelling): each for each in among for spelling in (each.name, *each.also)}


def find_field(spelling: str, among: Sequence[Field] = FIELDS) -> Field | None:
    """The field of this name, however it is spelled; None if there is none."""
    return _by_spelling(tuple(among)).get(_folded(spelling))


class Unfit(ValueError):
    """A text is no value of a field. The message says what was expected."""


_WHOLE: Final = re.compile(r"[+-]?[0-9]{1,19}")
_DATE: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_TIME: Final = re.compile(_DATE.pattern + r"[Tt ][0-9:]{8}(?:\.[0-9]{1,9})?(?:[Zz]|[+-][0-9]{2}:[0-9]{2})")
_DURATION: Final = re.compile(r"(?P<number>[0-9]{1,12}(?:\.[0-9]{1,6})?)(?P<unit>[smhd])")
_UNIT_S: Final = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}


def parse_operand(text: str, wanted: Field) -> Operand:
    """Read what a field is compared with.

    Returns:
        A str for text, a choice or a parameter; an int within int64; an aware UTC datetime; a timedelta.

    Raises:
        Unfit: the field has no such value.
    """
    if wanted.choices:
        return _parse_choice(text, wanted)
    if wanted is PARAMETER_KEY:
        return parse_parameter_name(text)
    match wanted.kind:
        case Kind.WHOLE:
            return _parse_whole(text)
        case Kind.TIME:
            return _parse_time(text)
        case Kind.DURATION:
            return parse_duration(text)
    if not is_storable(text):
        raise Unfit("text without NUL and lone surrogates, which no database keeps")
    return text


def parse_parameter_name(text: str) -> str:
    """Read the name of a parameter, such that ``store.filters`` finds those of this name and no others.

    Raises:
        Unfit: it begins with a character that may follow a string in JSON text, or no database keeps it.
    """
    if text.startswith((",", ":", "]", "}")) or not is_storable(text):
        raise Unfit("the name of a parameter, which begins with none of , : ] }")
    return text


def _parse_choice(text: str, wanted: Field) -> str:
    found = dict(wanted.choices).get(text)
    if found is None:
        raise Unfit(f"one of {', '.join(word for word, _ in wanted.choices)}")
    return found


def _parse_whole(text: str) -> int:
    if not _WHOLE.fullmatch(text) or not INT64_MIN <= int(text) <= INT64_MAX:
        raise Unfit("a whole number")
    return int(text)


def _parse_time(text: str) -> datetime:
    try:
        if _DATE.fullmatch(text):
            return datetime.fromisoformat(text).replace(tzinfo=UTC)
        if not _TIME.fullmatch(text):
            raise ValueError
        return datetime.fromisoformat(text.upper()).astimezone(UTC)
    except (ValueError, OverflowError):  # the 30th of February; a zone that leads out of the year 9999
        raise Unfit("a time such as 2026-01-31T12:00:00Z or 2026-01-31 (midnight in UTC)") from None


def parse_duration(text: str) -> timedelta:
    """Read a time such as ``90s``, ``1.5s``, ``15m``, ``2h`` or ``1d``.

    Raises:
        Unfit: it is none.
    """
    found = _DURATION.fullmatch(text)
    microseconds = int(Decimal(found["number"]) * _UNIT_S[found["unit"]] * 1_000_000) if found else None
    if microseconds is None or microseconds > INT64_MAX:
        raise Unfit("a duration such as 90s, 1.5s, 15m, 2h or 1d")
    return timedelta(microseconds=microseconds)
