r"""JSON documents as data and as text: what JSON can say, and nothing else.

Text may be strict JSON, or JSON with single-quoted strings: some exports of the product hold ``{'a': 'it\'s'}`` where
JSON is due, and the product takes it. Their quotes are rewritten and the result is read as strict JSON, so everything
else that JSON refuses stays refused, and nothing can grow on the way.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from typing import Final, TypeAlias, cast

from orchestrator.errors import InvalidValue

Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"

MAX_JSON_DEPTH: Final = 200  # nesting of a JSON document; Python's own decoder gives up near 1,000
_MAX_INT_BITS: Final = 14_000  # of an int in a JSON document: 4,214 digits, and Python writes at most 4,300
_STRING: Final = re.compile(r""""(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'""", re.DOTALL)
_INSIDE: Final = re.compile(r"""\\(.)|(")""", re.DOTALL)


def check_json(document: object, place: str) -> Json:
    """Refuse what JSON cannot say: NaN, infinities, keys that are no strings, nesting past ``MAX_JSON_DEPTH``."""
    level: list[object] = [document]
    is_plain = True
    for _ in range(MAX_JSON_DEPTH):
        below: list[object] = []
        for item in level:
            if item is None or isinstance(item, str):  # most of what there is comes first
                continue
            if isinstance(item, int):
                if item.bit_length() > _MAX_INT_BITS:
                    raise InvalidValue(place, shown(item), "a number that can be written as text")
                continue
            if isinstance(item, float) and not math.isfinite(item):
                raise InvalidValue(place, str(item), "a finite number: JSON has no NaN or infinity")
            if isinstance(item, tuple) or (isinstance(item, Mapping) and not isinstance(item, dict)):
                is_plain = False
            if isinstance(item, Mapping):
                if not all(isinstance(key, str) for key in item):
                    raise InvalidValue(place, shown(item), "an object whose keys are strings")
                below.extend(item.values())
            elif isinstance(item, list | tuple):
                below.extend(item)
            elif not isinstance(item, float):
                raise InvalidValue(place, shown(item), "JSON data")
        if not below:
            return cast("Json", document) if is_plain else _to_plain(document)
        level = below
    raise InvalidValue(place, f"more than {MAX_JSON_DEPTH} levels of nesting", "a flatter document")


def _to_plain(document: object) -> Json:
    """Lists for tuples and dicts for other mappings; the depth was checked."""
    if isinstance(document, Mapping):
        return {key: _to_plain(item) for key, item in document.items()}
    if isinstance(document, list | tuple):
        return [_to_plain(item) for item in document]
    return cast("Json", document)


def parse_json_text(text: str, place: str) -> Json:
    """Decode JSON text, strict or with single quotes.

    Raises:
        InvalidValue: it is neither, or nested too deeply, or holds NaN.
    """
    try:
        return check_json(_decode(text), place)
    except RecursionError:
        raise InvalidValue(place, "a document nested too deeply", f"at most {MAX_JSON_DEPTH} levels") from None
    except ValueError as error:
        raise InvalidValue(place, f"text that is not JSON ({error})", "a JSON document") from None


def text_in_quotes(quoted: str, place: str) -> str:
    """What a string says that is written between double or single quotes.

    Raises:
        InvalidValue: it has an escape that JSON does not have, or a control character.
    """
    return "".join(map(str, cast("list[Json]", parse_json_text(f"[{quoted}]", place))))


def _decode(text: str) -> object:
    try:
        return json.loads(text)
    except ValueError:
        if "'" not in text or not text.lstrip().startswith(("{", "[")):
            raise
        rewritten = _STRING.sub(_requoted, text)
    try:
        return json.loads(rewritten)
    except ValueError:
        return json.loads(text)  # so that the message speaks of the text as it is written


def _requoted(match: re.Match[str]) -> str:
    written = match[0]
    return written if written[0] == '"' else '"' + _INSIDE.sub(_escaped, written[1:-1]) + '"'


def _escaped(match: re.Match[str]) -> str:
    if match[2]:
        return '\\"'
    return "'" if match[1] == "'" else match[0]


# Without the look for cycles, which takes as long as the writing: what comes from outside is a tree (``check_json``).
_ENCODER: Final = json.JSONEncoder(separators=(",", ":"), allow_nan=False, check_circular=False)


def to_json_text(document: object) -> str:
    """JSON as text, exact and in ASCII: a NUL or a lone surrogate stays an escape that every database takes."""
    return _ENCODER.encode(document)


def shown(found: object) -> str:
    """What was found, short enough for a message."""
    try:
        text = repr(found)
    except ValueError:  # Python writes no int past 4,300 digits
        text = "too large to show"
    return f"{type(found).__name__} {text if len(text) <= 60 else text[:57] + '...'}"
