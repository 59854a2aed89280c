"""The inputs of many executions: a file, or stdin, with one JSON object of parameters a line. Blank lines do not count.

What must not happen: a refusal that does not say in which line.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from orchestrator.cli.printing import print_ids
from orchestrator.errors import InvalidItem, InvalidValue, PartlySubmitted, UnreadableDefinition

if TYPE_CHECKING:
    from orchestrator.client import Orchestrator
    from orchestrator.model.integration import IntegrationVersion

_STDIN: Final = Path("-")


@dataclass(frozen=True, kw_only=True, slots=True)
class Line:
    """One line; ``number`` counts from 1."""

    number: int
    place: str
    parameters: Mapping[str, object]


def read_lines(path: Path) -> list[Line]:
    """Read all lines.

    Args:
        path: of a file; ``-`` is stdin.

    Raises:
        InvalidValue: there is no such file, or one of the lines is no JSON object.
    """
    name = "stdin" if path == _STDIN else str(path)
    try:
        content = sys.stdin.buffer.read() if path == _STDIN else path.read_bytes()
    except OSError as error:
        raise InvalidValue(name, f"nothing to read ({error.strerror})", "a file of JSON lines") from None
    written = enumerate(content.removeprefix(b"\xef\xbb\xbf").split(b"\n"), start=1)
    return [_read(text, number, f"{name}, line {number}") for number, text in written if text.strip()]


def _read(text: bytes, number: int, place: str) -> Line:
    from orchestrator.model.definition_text import read_document

    if text.lstrip()[:1] not in (b"{", b"["):  # or it would be read as YAML
        found = text.strip()[:60].decode(errors="backslashreplace")
        raise InvalidValue(place, repr(found), "a JSON object of parameters")
    try:
        return Line(number=number, place=place, parameters=read_document(text, place))
    except UnreadableDefinition as error:
        reason = error.reason.removeprefix("line 1, ").replace("an object with taskConfigs", "an object")
        raise InvalidValue(place, reason, "a JSON object of parameters") from None


def submit_lines(
    lines: Sequence[Line],
    definition: IntegrationVersion | str,
    orchestrator: Orchestrator,
    *,
    common: Mapping[str, object],
    request_id: str | None,
    **wishes: Any,
) -> list[str]:
    """Start an execution for each line; if that breaks off, the ids of those that are stored are printed.

    Args:
        lines: what ``read_lines`` has read.
        definition: what they run.
        orchestrator: starts them.
        common: parameters of all of them, where a line has none of its own.
        request_id: makes one for each line, with its number behind it.
        wishes: as for ``Orchestrator.submit_many``.

    Returns:
        The executions' ids.
    """
    inputs = [{**common, **each.parameters} for each in lines]
    request_ids = None if request_id is None else [f"{request_id}-{each.number}" for each in lines]
    try:
        return orchestrator.submit_many(definition, inputs, request_ids=request_ids, **wishes)
    except InvalidItem as error:
        raise InvalidItem(error.position, error.reason, lines[error.position].place) from error
    except PartlySubmitted as error:
        print_ids(error.ids)
        raise
