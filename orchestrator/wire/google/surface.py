"""What the API has: its methods by verb and path, and the fields of what they answer, out of ``v1.json``.

The file holds what this wire needs of the discovery document of version 1, which is no part of the installed package;
a test holds the two against each other.

Source: Integrations API v1 discovery document, revision 20261106.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from importlib import resources
from typing import Any, Final

_KEPT: Final[dict[str, Any]] = json.loads((resources.files("orchestrator.wire.google") / "v1.json").read_text())

TYPES: Final[Mapping[str, Mapping[str, str]]] = _KEPT["types"]
"""The fields of each message, and what they hold: another message; ``*`` before one: a map of them; ``*`` alone: any
JSON; blank: no fields."""

_ANSWERS: Final[dict[tuple[str, str], str]] = {(verb, path): message for verb, path, message in _KEPT["methods"]}
_PATHS: Final = [
    (verb, re.compile(re.escape(path).replace(r"\*", "[^/:]+")), path) for verb, path, _ in _KEPT["methods"]
]


def answer_of(verb: str, route: str) -> str:
    """The message that a route answers; blank if the API has no such method.

    Args:
        verb: such as ``GET``.
        route: a path with names in braces, such as ``/v1/projects/{project}/locations/{location}/integrations``.
    """
    return _ANSWERS.get((verb, re.sub(r"\{\w+\}", "*", route)), "")


def verbs_of(path: str) -> dict[str, str]:
    """The verbs that the API has at a path, with the pattern of the path; empty if it has no such path."""
    return {verb: pattern for verb, regex, pattern in _PATHS if regex.fullmatch(path)}
