"""String functions. Positions count characters (code points) from 0.

Source: Application Integration, "Data mapping functions reference", one page a function.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections import Counter
from collections.abc import Mapping
from typing import Final

from orchestrator.errors import InvalidValue
from orchestrator.model.json_text import Json, parse_json_text
from orchestrator.model.parameters import look_up, references_in, resolve_text
from orchestrator.model.values import DataType, Value, text_of
from tasks.mapping.registry import BOOLEAN, DOUBLE, INT, JSON, MAX_WEIGHT, STRING, STRINGS, refusal, shown, too_large

_INT: Final = re.compile(r"[+-]?[0-9]{1,19}")
_DOUBLE: Final = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]{1,4})?")
_BOOLEANS: Final = {"true": True, "false": False}
# Each alternative ends where it started or moves on for good, so that a long text takes time in proportion.
_STRING_OR_BARE_KEY: Final = re.compile(
    r'"(?:[^"\\]|\\(?:.|\Z))*+(?:"|\Z)|(?<!\w)(?P<key>[A-Za-z_]\w*+)(?=\s*:)', re.DOTALL
)


@STRINGS.row("CONCAT", STRING, gives=STRING)
def concat(text: str, more: str) -> str:
    """The text followed by ``more``."""
    return text + more


@STRINGS.row("TO_UPPERCASE", gives=STRING)
def to_uppercase(text: str) -> str:
    """The text in capital letters."""
    return text.upper()


@STRINGS.row("TO_LOWERCASE", gives=STRING)
def to_lowercase(text: str) -> str:
    """The text in small letters."""
    return text.lower()


@STRINGS.row("CONTAINS", STRING, gives=BOOLEAN)
def contains(text: str, part: str) -> bool:
    """Whether ``part`` occurs in the text."""
    return part in text


@STRINGS.row("SPLIT", STRING, gives=DataType.STRING_ARRAY)
def split(text: str, delimiter: str) -> tuple[str, ...]:
    """The pieces between the delimiters, empty ones too. The delimiter is literal; an empty one gives characters."""
    return tuple(text.split(delimiter) if delimiter else text)


@STRINGS.row("LENGTH", gives=INT)
def length(text: str) -> int:
    """The number of characters."""
    return len(text)


@STRINGS.row("EQUALS", STRING, gives=BOOLEAN)
def equals(text: str, other: str) -> bool:
    """Whether both are the same."""
    return text == other


@STRINGS.row("EQUALS_IGNORE_CASE", STRING, gives=BOOLEAN)
def equals_ignore_case(text: str, other: str) -> bool:
    """Whether both are the same but for capital letters."""
    return text.casefold() == other.casefold()


@STRINGS.row("TO_INT", gives=INT)
def to_int(text: str) -> int:
    """The int that the text writes in decimal digits."""
    if not _INT.fullmatch(text.strip()):
        raise refusal(f"{shown(text)} is not an integer")
    return int(text)


@STRINGS.row("TO_DOUBLE", gives=DOUBLE)
def to_double(text: str) -> float:
    """The number that the text writes; NaN and infinities are none."""
    if not _DOUBLE.fullmatch(text.strip()):
        raise refusal(f"{shown(text)} is not a number")
    return float(text)


@STRINGS.row("TO_BOOLEAN", gives=BOOLEAN)
def to_boolean(text: str) -> bool:
    """``true`` or ``false`` in any case; nothing else is guessed."""
    known = _BOOLEANS.get(text.strip().lower())
    if known is None:
        raise refusal(f"{shown(text)} is neither true nor false")
    return known


@STRINGS.row("TO_BASE_64", gives=STRING)
def to_base_64(text: str) -> str:
    """The text's UTF-8 bytes in base64, with padding."""
    try:
        return base64.b64encode(text.encode()).decode("ascii")
    except UnicodeEncodeError as error:
        raise refusal(f"{shown(text)} cannot be written in UTF-8 ({error.reason})") from None


@STRINGS.row("DECODE_BASE64_STRING", gives=STRING)
def decode_base64_string(text: str) -> str:
    """The UTF-8 text that a base64 text holds; line breaks in it are skipped."""
    try:
        return base64.b64decode("".join(text.split()), validate=True).decode()
    except (binascii.Error, ValueError) as error:
        raise refusal(f"{shown(text)} is not base64 of a UTF-8 text ({error})") from None


@STRINGS.row("TO_JSON", gives=JSON)
def to_json(text: str) -> Json:
    """The document that the text writes. Single quotes and names without quotes are taken.

    A text that is no JSON and does not start like an object or a list is a JSON string; one that starts like it is
    refused, because half an answer of a server must not pass for a document.
    """
    try:
        return parse_json_text(text, "text")
    except InvalidValue as error:
        if text.lstrip()[:1] not in ("{", "["):
            return text
        first_error = error
    try:
        return parse_json_text(_STRING_OR_BARE_KEY.sub(_quoted, text), "text")
    except InvalidValue:
        raise first_error from None


def _quoted(match: re.Match[str]) -> str:
    return match[0] if match["key"] is None else f'"{match["key"]}"'


@STRINGS.row("REPLACE_ALL", STRING, STRING, gives=STRING)
def replace_all(text: str, part: str, replacement: str) -> str:
    """The text with every ``part`` replaced. The page speaks of substrings, so ``part`` is literal and no pattern."""
    if text.count(part) * len(replacement) > MAX_WEIGHT:
        raise too_large()
    return text.replace(part, replacement)


@STRINGS.row("SUBSTRING", INT, INT, gives=STRING)
def substring(text: str, start: int, end: int) -> str:
    """The characters from ``start`` to before ``end``."""
    if not 0 <= start <= end <= len(text):
        raise refusal(f"there is no part from {start} to {end} in a text of {len(text)} characters")
    return text[start:end]


@STRINGS.row("RESOLVE_TEMPLATE", gives=STRING, with_parameters=True)
def resolve_template(text: str, parameters: Mapping[str, Value]) -> str:
    """The text with its ``$references$`` replaced by their values' text; one without a value stays as written."""
    check_template(text, parameters)
    return resolve_text(text, parameters)


def check_template(text: str, parameters: Mapping[str, Value]) -> None:
    """Refuse a template whose references would make it too large, before anything is built."""
    weight = 0
    for reference, times in Counter(references_in(text)).items():
        value = look_up(parameters, reference)
        weight += 0 if value is None else times * len(text_of(value))
    if weight > MAX_WEIGHT:
        raise too_large()
