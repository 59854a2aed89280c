"""Limits of a definition, our extension ``limits``: how many of its executions may run at once, and start in a time.

    {"maxConcurrent": 5, "key": "$customer_id$", "maxConcurrentPerKey": 7, "rate": {"count": 100, "perSeconds": 60}}

What is read is shape and type only; ``engine.validate`` refuses what makes no sense. The key is one operand of the
condition language: a variable, or a list of operands for a key of several parts. Its value as JSON text tells keys
apart, and is written so that equal values have equal texts: 1.0 is 1, an object's order does not count, and a variable
without a value is null, which is a key like any other. Nothing is converted: "1" and 1 are two keys.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, assert_never

from orchestrator.model.condition_parser import ListOf, Literal, Operand, Reference, parse_operand
from orchestrator.model.fields import Fields
from orchestrator.model.json_text import Json
from orchestrator.model.parameters import look_up
from orchestrator.model.values import Value

MAX_RUNNING: Final = 1_000_000  # of a limit, and the longest time of a rate in seconds; far above both, and a safe int
MAX_RATE: Final = 10_000  # starts in the time of a rate: each of them is a row for as long


@dataclass(frozen=True, kw_only=True, slots=True)
class Rate:
    """At most ``count`` starts in any ``period_s`` seconds."""

    count: int
    period_s: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """What a definition says. ``key`` is as it is written, empty if there is none."""

    max_running: int | None = None
    key: str = ""
    max_running_per_key: int | None = None
    rate: Rate | None = None


def parse_limits(fields: Fields | None) -> Limits | None:
    """Read ``limits``; None if there are none."""
    if fields is None:
        return None
    return Limits(
        max_running=fields.whole("maxConcurrent"),
        key=fields.text("key"),
        max_running_per_key=fields.whole("maxConcurrentPerKey"),
        rate=_parse_rate(fields.nested("rate")),
    )


def _parse_rate(fields: Fields | None) -> Rate | None:
    if fields is None:
        return None
    return Rate(
        count=fields.required_whole("count", "how many executions may start"),
        period_s=fields.required_whole("perSeconds", "in how many seconds"),
    )


# -- keys ----------------------------------------------------------------------------------------------------------


@lru_cache(maxsize=512)
def parse_key(text: str) -> Operand:
    """Read the expression of a key.

    Raises:
        ConditionSyntax: it is no operand of the condition language.
    """
    return parse_operand(text)


def references_of(key: Operand) -> Iterator[str]:
    """The variables that a key reads, as ``look_up`` takes them."""
    match key:
        case Reference(name):
            yield name
        case ListOf(items):
            for item in items:
                yield from references_of(item)
        case Literal():
            return
        case _:
            assert_never(key)


def key_text(key: Operand, values: Mapping[str, Value]) -> str:
    """The key of an execution that starts with these values, as canonical JSON text in ASCII."""
    return json.dumps(_canonical(_data_of(key, values)), sort_keys=True, separators=(",", ":"), allow_nan=False)


def _data_of(key: Operand, values: Mapping[str, Value]) -> Json:
    match key:
        case Literal(data):
            return data
        case Reference(name):
            value = look_up(values, name)
            return None if value is None else value.python
        case ListOf(items):
            return [_data_of(item, values) for item in items]
        case _:
            assert_never(key)


def _canonical(document: Json) -> Json:
    match document:
        case float():
            return int(document) if document.is_integer() else document
        case list():
            return [_canonical(item) for item in document]
        case dict():
            return {key: _canonical(item) for key, item in document.items()}
        case _:
            return document
