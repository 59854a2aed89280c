"""What conditions mean: those of edges, of while loops and of retry policies.

``parse_condition`` reads one (grammar and limits: ``condition_parser``), ``Condition.holds`` answers it. An answer
depends on the parameters alone and is never an exception: a condition decides the way of an execution, and a surprising
type in a task's result must lead along one edge or the other.

| left and right                          | ``=`` (``!=`` is always its opposite)      | ``<  <=  >  >=``             |
|-----------------------------------------|--------------------------------------------|------------------------------|
| two numbers                             | by exact value: 1 = 1.0; no int64 is       | by exact value               |
|                                         | rounded to a double                        |                              |
| a number and a string                   | the string read as a number (spaces around | likewise; no number: false   |
|                                         | it do not count); no number: unequal       |                              |
| two strings (a bare word is a string)   | the same characters                        | by code points: "10" < "9"   |
| two booleans; a boolean and the string  | the same truth                             | false                        |
| "true" or "false"                       |                                            |                              |
| two lists; two objects                  | by structure, numbers by value; nothing    | false                        |
|                                         | inside is converted: ["1"] is not [1]      |                              |
| anything and a variable without a value | false (so ``!=`` is true), also if neither | false                        |
|                                         | side has a value                           |                              |
| any other pair                          | false                                      | false                        |

``left : right`` asks whether a string contains the text of a string, number or boolean, or whether a list has an
element that ``=`` a string, number or boolean; everything else is false.
``exists($v$)``: the variable has a value. The empty string, the empty list, 0 and false are values; JSON null is none.
``$v$`` alone is ``$v$ = true``. A blank condition always holds.

Sources: product page "Edge and edge conditions" (operators), the published samples (``exists``, bare words); both are
silent on mixed types and on variables without a value, so there the table is our decision.
"""

from __future__ import annotations

import json
import operator
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final, TypeAlias, assert_never

from orchestrator.model.condition_parser import (
    Alone,
    And,
    Comparison,
    Exists,
    ListOf,
    Literal,
    Node,
    Not,
    Operand,
    Or,
    Reference,
    parse_tree,
    read_number,
)
from orchestrator.model.parameters import look_up
from orchestrator.model.values import Value

Parameters: TypeAlias = Mapping[str, Value]
_Test: TypeAlias = Callable[[Parameters], bool]
_Data: TypeAlias = object  # plain JSON data, tuples for arrays; None for no value

_MOST_REASONS: Final = 3  # that one sentence of ``explain`` strings together
_MOST_SHOWN: Final = 60  # characters of a value in a sentence


@dataclass(frozen=True)
class Condition:
    """One condition, ready to be asked. Two are equal if their texts are."""

    text: str
    tree: Node | None = field(compare=False)
    references: tuple[str, ...] = field(compare=False)  # what it reads, each once, in order; as ``look_up`` takes them
    _test: _Test = field(compare=False, repr=False)

    def holds(self, parameters: Parameters) -> bool:
        """Whether it is true for these values. Never raises."""
        return self._test(parameters)

    def explain(self, parameters: Parameters) -> str:
        """Why it is true or false, e.g. "`$total$ = 80` is not > 100".

        Values appear in the sentence: whoever shows it hands in masked values where a variable is masked.
        """
        return "there is no condition" if self.tree is None else _reason(self.tree, parameters)

    def __reduce__(self) -> tuple[Callable[[str], Condition], tuple[str]]:
        return parse_condition, (self.text,)  # closures do not pickle; the text says it all


def parse_condition(text: str) -> Condition:
    """Read a condition; blank text gives the one that always holds.

    Raises:
        ConditionSyntax: the text does not follow the grammar or is beyond a limit; its column counts from 1.
    """
    tree = parse_tree(text)
    if tree is None:
        return Condition(text, None, (), lambda _: True)
    return Condition(text, tree, tuple(dict.fromkeys(_references(tree))), _compile(tree))


def _references(part: Node | Operand) -> Iterator[str]:
    match part:
        case Reference(name):
            yield name
        case Exists(inner) | Alone(inner) | Not(inner):
            yield from _references(inner)
        case And(parts) | Or(parts) | ListOf(parts):
            for below in parts:
                yield from _references(below)
        case Comparison(left, _, right):
            yield from _references(left)
            yield from _references(right)
        case Literal():
            return
        case _:
            assert_never(part)


# -- from the tree to closures: the tree is walked once, and ``holds`` only calls ------------------------------------


def _compile(node: Node) -> _Test:
    match node:
        case Comparison(left, sign, right):
            return _compile_comparison(_OPERATORS[sign], _compile_operand(left), _compile_operand(right))
        case Exists(Reference(name)):
            return lambda parameters: _data_of(name, parameters) is not None
        case Alone(operand):
            return _compile_comparison(_is_equal, _compile_operand(operand), lambda _: True)
        case Not(part):
            test = _compile(part)
            return lambda parameters: not test(parameters)
        case And(parts):
            return _compile_all([_compile(part) for part in parts], until=False)
        case Or(parts):
            return _compile_all([_compile(part) for part in parts], until=True)
        case _:
            assert_never(node)


def _compile_comparison(
    compare: Callable[[_Data, _Data], bool], left: Callable[[Parameters], _Data], right: Callable[[Parameters], _Data]
) -> _Test:
    return lambda parameters: compare(left(parameters), right(parameters))


def _compile_all(tests: list[_Test], *, until: bool) -> _Test:
    def ask_in_turn(parameters: Parameters) -> bool:
        for test in tests:  # a loop, because any() and all() would put a generator's frame on every level
            if test(parameters) is until:
                return until
        return not until

    return ask_in_turn


def _compile_operand(operand: Operand) -> Callable[[Parameters], _Data]:
    match operand:
        case Literal(data):
            return lambda _: data
        case Reference(name):
            return partial(_data_of, name)
        case ListOf(items):
            readers = [_compile_operand(item) for item in items]
            return lambda parameters: [read(parameters) for read in readers]
        case _:
            assert_never(operand)


def _data_of(name: str, parameters: Parameters) -> _Data:
    value = look_up(parameters, name)
    return None if value is None else value.data


# -- comparing two values: the table above ---------------------------------------------------------------------------


def _is_number(data: _Data) -> bool:
    return isinstance(data, int | float) and not isinstance(data, bool)


def _read_like(text: str, other: _Data) -> _Data:
    """A string beside a number or a boolean is read as one, where it is one."""
    if isinstance(other, bool):
        return {"true": True, "false": False}.get(text, text)
    if isinstance(other, int | float):
        number = read_number(text.strip())
        return text if number is None else number
    return text


def _to_common_type(left: _Data, right: _Data) -> tuple[_Data, _Data]:
    if isinstance(left, str):
        return (left, right) if isinstance(right, str) else (_read_like(left, right), right)
    return (left, _read_like(right, left)) if isinstance(right, str) else (left, right)


def _is_equal(left: _Data, right: _Data) -> bool:
    if left is None or right is None:
        return False
    return _has_same_structure(*_to_common_type(left, right))


def _is_unequal(left: _Data, right: _Data) -> bool:
    return not _is_equal(left, right)


def _has_same_structure(left: _Data, right: _Data) -> bool:
    """Equality of JSON data. Python's own would take true for 1; a stack, because documents may be deep."""
    pairs = [(left, right)]
    while pairs:
        one, other = pairs.pop()
        if isinstance(one, list | tuple) and isinstance(other, list | tuple) and len(one) == len(other):
            pairs.extend(zip(one, other, strict=True))
        elif isinstance(one, dict) and isinstance(other, dict) and one.keys() == other.keys():
            pairs.extend((item, other[key]) for key, item in one.items())
        elif not _is_same_scalar(one, other):
            return False
    return True


def _is_same_scalar(one: _Data, other: _Data) -> bool:
    if isinstance(one, str):
        return isinstance(other, str) and one == other
    if _is_number(one):
        return _is_number(other) and one == other  # Python compares an int with a float exactly
    return one is other  # True, False, and null inside a document


def _compile_order(test: Callable[[Any, Any], bool]) -> Callable[[_Data, _Data], bool]:
    def compare(left: _Data, right: _Data) -> bool:
        one, other = _to_common_type(left, right)
        comparable = (_is_number(one) and _is_number(other)) or (isinstance(one, str) and isinstance(other, str))
        return comparable and test(one, other)

    return compare


def _has(left: _Data, right: _Data) -> bool:
    if not isinstance(right, str | int | float):  # bool is an int
        return False
    if isinstance(left, str):
        return _text_of(right) in left
    return isinstance(left, list | tuple) and any(_is_equal(item, right) for item in left)


def _text_of(primitive: str | int | float) -> str:
    if isinstance(primitive, int) and primitive.bit_length() > 10_000:
        return hex(primitive)  # no text holds it in decimal: Python refuses to write an int past 4,300 digits
    return primitive if isinstance(primitive, str) else json.dumps(primitive)


_OPERATORS: Final[Mapping[str, Callable[[_Data, _Data], bool]]] = {
    "=": _is_equal,
    "!=": _is_unequal,
    "<": _compile_order(operator.lt),
    "<=": _compile_order(operator.le),
    ">": _compile_order(operator.gt),
    ">=": _compile_order(operator.ge),
    ":": _has,
}


# -- reasons ---------------------------------------------------------------------------------------------------------


def _reason(node: Node, parameters: Parameters) -> str:
    match node:
        case Comparison(left, sign, right):
            verb = _verb(sign, holds=_compile(node)(parameters))
            return f"{_shown(left, parameters)} {verb} {_shown(right, parameters)}"
        case Exists(Reference(name)):
            return f"`${name}$` has {'no' if _data_of(name, parameters) is None else 'a'} value"
        case Alone(operand):
            return f"{_shown(operand, parameters)} {'is' if _compile(node)(parameters) else 'is not'} true"
        case Not(part):
            return _reason(part, parameters)
        case And(parts) | Or(parts):
            return _deciding_reasons(parts, parameters, until=isinstance(node, Or))
        case _:
            assert_never(node)


def _verb(sign: str, *, holds: bool) -> str:
    if sign == ":":
        return "contains" if holds else "does not contain"
    return f"is {sign}" if holds else f"is not {sign}"


def _deciding_reasons(parts: tuple[Node, ...], parameters: Parameters, *, until: bool) -> str:
    """The first part that decided alone, or else all of them: an AND is false by one part and true by all."""
    for part in parts:
        if _compile(part)(parameters) is until:
            return _reason(part, parameters)
    reasons = [_reason(part, parameters) for part in parts[:_MOST_REASONS]]
    more = [f"{len(parts) - _MOST_REASONS} more"] if len(parts) > _MOST_REASONS else []
    return " and ".join([*reasons, *more])


def _shown(operand: Operand, parameters: Parameters) -> str:
    match operand:
        case Literal(data):
            return _shown_data(data)
        case Reference(name):
            value = _data_of(name, parameters)
            return f"`${name}$` (no value)" if value is None else f"`${name}$ = {_shown_data(value)}`"
        case ListOf(items):
            return f"[{', '.join(_shown(item, parameters) for item in items)}]"
        case _:
            assert_never(operand)


def _shown_data(data: _Data) -> str:
    text = json.dumps(data, ensure_ascii=False, default=str).encode(errors="backslashreplace").decode()
    return text if len(text) <= _MOST_SHOWN else f"{text[: _MOST_SHOWN - 3]}..."
