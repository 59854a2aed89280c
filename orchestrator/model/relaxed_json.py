r"""JSON text as exports write it: strict, or with single-quoted strings.

Some exports of the product hold ``{'a': 'it\'s'}`` where JSON is due, and the product takes it. The quotes are
rewritten and the result is read as strict JSON: everything else that JSON refuses stays refused, and nothing can grow
on the way (a YAML reader would take most such texts, but not the ``\'``, and it would bring aliases along).
"""

from __future__ import annotations

import json
import re
from typing import Final

from orchestrator.errors import InvalidValue
from orchestrator.model.values import MAX_JSON_DEPTH, Json, check_json

_STRING: Final = re.compile(r""""(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'""", re.DOTALL)
_INSIDE: Final = re.compile(r"""\\(.)|(")""", re.DOTALL)


def decode_json(text: str, place: str) -> Json:
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


def _decode(text: str) -> object:
    try:
        return json.loads(text)
    except ValueError:
        if "'" not in text:
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
