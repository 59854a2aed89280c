r"""Filters of executions: from text to a tree of tests on fields, and nothing of where the fields are kept.

    filter    =  nothing  |  either
    either    =  all { "OR" all }                    OR binds loosest, as in conditions
    all       =  part { "AND" part }
    part      =  { "NOT" | "-" } ( "(" either ")" | term )
    term      =  field operator value  |  field ":*"           ":*" is: the field is filled
    operator  =  "="  "!="  "<"  "<="  ">"  ">="  ":"
    field     =  a name of ``filter_fields``, or "parameter." and the name of a parameter, bare or quoted
    value     =  string | bare
    string    =  between " or between ', with JSON's backslash escapes and \'
    bare      =  letters, digits and . _ + - / : @ % ~, such as api_trigger/order or 2026-01-31T12:00:00Z

On text ``:`` is "contains", on everything else the same as ``=``. A value that an execution does not have fits no
test, and ``NOT`` and ``!=`` are the exact opposite of what they deny: every execution fits a filter or its NOT.

Decisions: the product's reference names AND, OR and NOT, and says neither what binds tighter nor what two terms side by
side mean. So AND binds tighter, as in its conditions, and terms side by side are refused: a filter also says what is
killed. Keywords are case-sensitive. Text of strangers comes in here: length, nesting and number of terms are limited.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final, TypeAlias, assert_never

from orchestrator.errors import FilterSyntax, InvalidValue
from orchestrator.model.filter_fields import (
    FIELDS,
    PARAMETER,
    Field,
    Kind,
    Operand,
    Unfit,
    find_field,
    parse_operand,
    parse_parameter_name,
)
from orchestrator.model.json_text import text_in_quotes

MAX_LENGTH: Final = 10_000  # characters
MAX_DEPTH: Final = 10  # levels of parentheses and NOT together
MAX_TERMS: Final = 50

# -- the tree (positional fields, as that of conditions) -------------------------------------------------------------


class Operator(StrEnum):
    """How a field is compared. ``!=`` is ``Not`` of EQUAL, and ``:`` is CONTAINS on text and EQUAL elsewhere."""

    EQUAL = "="
    LESS = "<"
    AT_MOST = "<="
    GREATER = ">"
    AT_LEAST = ">="
    CONTAINS = ":"


@dataclass(frozen=True, slots=True)
class Comparison:
    """A field and what it is compared with. ``name`` is that of the parameter, if the field is PARAMETER."""

    field: Field
    operator: Operator
    value: Operand
    name: str = ""


@dataclass(frozen=True, slots=True)
class Filled:
    """The execution has a value here."""

    field: Field
    name: str = ""


@dataclass(frozen=True, slots=True)
class Not:
    """The opposite of a part."""

    part: Node


@dataclass(frozen=True, slots=True)
class And:
    """All parts; without any, everything."""

    parts: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Or:
    """Any of the parts; without any, nothing."""

    parts: tuple[Node, ...]


Node: TypeAlias = Comparison | Filled | Not | And | Or

EVERYTHING: Final = And(())

# -- the tokens ------------------------------------------------------------------------------------------------------

_SPACE: Final = re.compile(r"\s*")
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_STRING: Final = re.compile(r""""[^"\\]*(?:\\.[^"\\]*)*"|'[^'\\]*(?:\\.[^'\\]*)*'""", re.DOTALL)
_BARE: Final = re.compile(r"[\w.+\-/:@%~]+")
_PARAMETER_NAME: Final = re.compile(r"[\w.`-]+")
_OPERATOR: Final = re.compile(r"!=|<=|>=|[=<>:]")
_KEYWORDS: Final = ("AND", "OR", "NOT")


class _Parser:
    """One text on its way into a tree. What a token may be depends on where it stands: a value may be 12:00."""

    def __init__(self, text: str, fields: Sequence[Field]) -> None:
        self._text, self._fields = text, fields
        self._at = 0
        self._depth = 0
        self._terms = 0

    def _refusal(self, expected: str, at: int | None = None) -> FilterSyntax:
        return FilterSyntax(self._text, (self._at if at is None else at) + 1, expected)

    def _skip_space(self) -> None:
        space = _SPACE.match(self._text, self._at)
        self._at = space.end() if space else self._at

    def _find(self, token: re.Pattern[str]) -> str | None:
        """The next token if it is such a one, and go past it."""
        self._skip_space()
        found = token.match(self._text, self._at)
        if found is None:
            return None
        self._at = found.end()
        return found[0]

    def _has(self, mark: str) -> bool:
        """Whether the next character is this one; go past it."""
        self._skip_space()
        if not self._text.startswith(mark, self._at):
            return False
        self._at += len(mark)
        return True

    def _has_word(self, word: str) -> bool:
        """Whether the next name is this keyword; go past it."""
        self._skip_space()
        found = _NAME.match(self._text, self._at)
        if found is None or found[0] != word:
            return False
        self._at = found.end()
        return True

    # -- one method a rule of the grammar ------------------------------------------------------------------------

    def whole(self) -> Node:
        self._skip_space()
        if self._at == len(self._text):
            return EVERYTHING
        tree = self._either()
        self._skip_space()
        if self._at < len(self._text):
            raise self._refusal("AND, OR (in capitals) or the end of the filter")
        return tree

    def _either(self) -> Node:
        parts = [self._all()]
        while self._has_word("OR"):
            parts.append(self._all())
        return parts[0] if len(parts) == 1 else Or(tuple(parts))

    def _all(self) -> Node:
        parts = [self._part()]
        while self._has_word("AND"):
            parts.append(self._part())
        return parts[0] if len(parts) == 1 else And(tuple(parts))

    def _part(self) -> Node:
        outside, negations = self._depth, 0
        while self._has_word("NOT") or self._has("-"):
            self._go_deeper()
            negations += 1
        if self._has("("):
            self._go_deeper()
            part = self._either()
            if not self._has(")"):
                raise self._refusal("AND, OR or )")
        else:
            part = self._term()
        self._depth = outside
        for _ in range(negations):
            part = Not(part)
        return part

    def _go_deeper(self) -> None:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise self._refusal(f"at most {MAX_DEPTH} levels of parentheses and NOT", self._at - 1)

    def _term(self) -> Node:
        self._skip_space()
        self._terms += 1
        if self._terms > MAX_TERMS:
            raise self._refusal(f"at most {MAX_TERMS} terms")
        field, name = self._field()
        self._skip_space()
        start = self._at
        operator = self._find(_OPERATOR)
        if operator is None:
            raise self._refusal(f"one of = != < <= > >= : after {field.name}")
        if operator == ":" and self._has("*"):
            return Filled(field, name)
        if operator.startswith(("<", ">")) and not field.kind.is_ordered:
            raise self._refusal(f"= != or : ({field.name} has no order)", start)
        value = self._value(field)
        if operator == "!=":
            return Not(Comparison(field, Operator.EQUAL, value, name))
        is_equality = operator == ":" and (field.kind is not Kind.TEXT)
        return Comparison(field, Operator.EQUAL if is_equality else Operator(operator), value, name)

    def _field(self) -> tuple[Field, str]:
        self._skip_space()
        start = self._at
        spelling = self._find(_NAME)
        if spelling is None or spelling in _KEYWORDS:
            raise self._refusal("a field, NOT or (", start)
        field = find_field(spelling, self._fields)
        if field is None:
            raise self._refusal(f"one of the fields {', '.join(each.name for each in self._fields)}", start)
        if field is not PARAMETER:
            return field, ""
        if not self._text.startswith(".", self._at):
            raise self._refusal(f"a dot and the name of a parameter after {spelling}")
        self._at += 1
        return field, self._parameter_name()

    def _parameter_name(self) -> str:
        start = self._at
        try:
            name = self._string() if self._text[start : start + 1] in ("'", '"') else self._find(_PARAMETER_NAME)
            if name is None or self._text[start : start + 1].isspace():
                raise Unfit("the name of a parameter")
            return parse_parameter_name(name)
        except Unfit as unfit:
            raise self._refusal(str(unfit), start) from None

    def _value(self, field: Field) -> Operand:
        self._skip_space()
        start = self._at
        try:
            return parse_operand(self._text_of_value(field), field)
        except Unfit as unfit:
            raise self._refusal(str(unfit), start) from None

    def _text_of_value(self, field: Field) -> str:
        if self._text[self._at : self._at + 1] in ("'", '"'):
            return self._string()
        bare = self._find(_BARE)
        if bare is None or bare in _KEYWORDS:
            raise Unfit(f"a value ({field.kind}), in quotes unless it is letters, digits and . _ + - / : @ % ~")
        return bare

    def _string(self) -> str:
        quoted = self._find(_STRING)
        if quoted is None:
            raise Unfit(f"a closing {self._text[self._at]}")
        try:
            return text_in_quotes(quoted, "string")
        except InvalidValue:
            raise Unfit("a string with the escapes of JSON") from None


def parse_filter(text: str, fields: Sequence[Field] = FIELDS) -> Node:
    """The tree of a filter; ``EVERYTHING`` for a blank one.

    Args:
        text: what somebody wrote.
        fields: what it may speak of; those of executions, unless it is a filter of something else.

    Raises:
        FilterSyntax: the text does not follow the grammar, is beyond a limit, or asks a field for what it never has.
    """
    if len(text) > MAX_LENGTH:
        raise FilterSyntax(text, MAX_LENGTH + 1, f"at most {MAX_LENGTH:,} characters")
    return _Parser(text, fields).whole()


_ORDERS: Final[dict[Operator, Callable[[Any, Any], bool]]] = {
    Operator.EQUAL: operator.eq,
    Operator.LESS: operator.lt,
    Operator.AT_MOST: operator.le,
    Operator.GREATER: operator.gt,
    Operator.AT_LEAST: operator.ge,
    Operator.CONTAINS: operator.contains,
}


def fits(node: Node, values: Mapping[Field, Operand | None]) -> bool:
    """Whether something that is in memory fits a filter; ``values`` has each of its fields, None where it has none."""
    match node:
        case Comparison(field=field, operator=sign, value=value):
            found = values[field]
            return found is not None and _ORDERS[sign](found, value)
        case Filled(field=field):
            return values[field] is not None
        case Not(part=part):
            return not fits(part, values)
        case And(parts=parts):
            return all(fits(part, values) for part in parts)
        case Or(parts=parts):
            return any(fits(part, values) for part in parts)
        case _:
            assert_never(node)
