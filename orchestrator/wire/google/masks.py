r"""Partial responses: the parameter ``fields`` that every method takes, such as ``name,executions(name,triggerId)``.

    mask   =  part { "," part }
    part   =  step { ("/" | ".") step } [ "(" mask ")" ]
    step   =  a name in camelCase or snake_case, or "*" for every name

A mask takes away and never adds. A name that the answer's message does not have is refused: whoever misspells one would
go on without the field.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final, TypeAlias

from pydantic.alias_generators import to_camel

from orchestrator.wire.google.surface import TYPES
from orchestrator.wire.google.violations import InvalidRequest, invalid

Mask: TypeAlias = "dict[str, Mask | None]"
"""What is shown of an object: its fields, and of each a mask, or None for all of it. ``*`` is every field."""

MAX_LENGTH: Final = 5_000  # characters
MAX_DEPTH: Final = 20
EVERY: Final = "*"
_STEP: Final = re.compile(r"\*|[A-Za-z@$_][\w@$\-]*")


def parse_fields(text: str) -> Mask:
    """Read a mask.

    Raises:
        InvalidRequest: it does not follow the grammar, or is too long or too deep.
    """
    if len(text) > MAX_LENGTH:
        raise _refusal(f"it has {len(text):,} characters; at most {MAX_LENGTH:,} are read")
    parser = _Parser(text)
    mask = parser.mask(0)
    if parser.at < len(text):
        raise parser.refusal("a comma or the end")
    return mask


class _Parser:
    def __init__(self, text: str) -> None:
        self.text, self.at = text, 0

    def refusal(self, expected: str) -> InvalidRequest:
        return _refusal(f"column {self.at + 1}: expected {expected}")

    def mask(self, depth: int) -> Mask:
        found: Mask = {}
        while True:
            _add(found, *self._part(depth))
            if not self._has(","):
                return found

    def _part(self, depth: int) -> tuple[list[str], Mask | None]:
        steps = [self._step()]
        while self._has("/") or self._has("."):
            steps.append(self._step())
        if depth + len(steps) > MAX_DEPTH:
            raise self.refusal(f"at most {MAX_DEPTH} levels")
        if not self._has("("):
            return steps, None
        below = self.mask(depth + len(steps))
        if not self._has(")"):
            raise self.refusal("a comma or )")
        return steps, below

    def _step(self) -> str:
        self._skip_space()
        found = _STEP.match(self.text, self.at)
        if found is None:
            raise self.refusal("the name of a field, or *")
        self.at = found.end()
        return found[0]

    def _has(self, mark: str) -> bool:
        self._skip_space()
        if not self.text.startswith(mark, self.at):
            return False
        self.at += 1
        return True

    def _skip_space(self) -> None:
        while self.at < len(self.text) and self.text[self.at].isspace():
            self.at += 1


def _add(mask: Mask, steps: list[str], below: Mask | None) -> None:
    """A second mention of a field shows more of it, never less."""
    first, *rest = steps
    if not rest and below is None:
        mask[first] = None
        return
    inside = mask.setdefault(first, {})
    if inside is None:
        return
    if rest:
        _add(inside, rest, below)
        return
    for name, each in (below or {}).items():
        _merge(inside, name, each)


def _merge(mask: Mask, name: str, below: Mask | None) -> None:
    if below is None:
        mask[name] = None
        return
    inside = mask.setdefault(name, {})
    if inside is not None:
        for each, deeper in below.items():
            _merge(inside, each, deeper)


def fit(mask: Mask, message: str, *, place: str = "") -> Mask:
    """The same mask with the names that a message has, in camelCase.

    Args:
        mask: as it was parsed.
        message: what is masked, as ``surface.TYPES`` names it.
        place: where it stands.

    Raises:
        InvalidRequest: the message has no such field.
    """
    fitted: Mask = {}
    for name, below in mask.items():
        path = f"{place}/{name}" if place else name
        field, inside = (name, "*") if name == EVERY else _field_of(message, name)
        if inside == "" and below:
            inside, path = None, f"{path}/{next(iter(below))}"
        if inside is None:
            raise _refusal(f"Cannot find matching fields for path '{path[:100]}'.")
        _merge(fitted, field, None if below is None else fit(below, inside, place=path))
    return fitted


def _field_of(message: str, name: str) -> tuple[str, str | None]:
    """A field's name as the message has it, and what it holds; None if there is none."""
    if message.startswith("*"):
        return name, message[1:] or "*"
    fields = TYPES.get(message, {})
    field = name if name in fields else to_camel(name)
    return field, fields.get(field)


def apply(mask: Mask | None, document: Any) -> Any:
    """What a mask leaves of a document; of a list, of each of its items."""
    if mask is None:
        return document
    if isinstance(document, list):
        return [apply(mask, each) for each in document]
    if not isinstance(document, Mapping):
        return document
    return {
        name: apply(inside_of(mask, name), each) for name, each in document.items() if name in mask or EVERY in mask
    }


def shows(mask: Mask | None, *path: str) -> bool:
    """Whether a mask leaves anything of the field at this path."""
    for name in path:
        if mask is None:
            return True
        if name not in mask and EVERY not in mask:
            return False
        mask = inside_of(mask, name)
    return True


def inside_of(mask: Mask, name: str) -> Mask | None:
    """What is shown of a field that is shown; ``*`` may show more of it."""
    found = [mask[key] for key in (name, EVERY) if key in mask]
    if any(each is None for each in found) or not found:
        return None
    both: Mask = {}
    for each in found:
        for key, below in (each or {}).items():
            _merge(both, key, below)
    return both


def _refusal(description: str) -> InvalidRequest:
    return invalid("fields", f"Error expanding 'fields' parameter. {description}")
