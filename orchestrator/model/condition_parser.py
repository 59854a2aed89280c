r"""The grammar of conditions: from text to a tree that says what was written, and nothing of what it means.

    condition  =  nothing  |  either
    either     =  all { "OR" all }                    OR binds loosest
    all        =  part { "AND" part }
    part       =  { "NOT" } ( "(" either ")" | term ) NOT binds tightest
    term       =  "exists" "(" variable ")"  |  operand operator operand  |  variable  |  "true"  |  "false"
    operator   =  "="  "!="  "<"  "<="  ">"  ">="  ":"
    operand    =  variable  |  string  |  number  |  "true"  |  "false"  |  word  |  "[" [ operand { "," operand } ] "]"
    variable   =  "$order.quantity$"  |  "$`Task_2_isApproved`$"      what ``parameters.reference_in`` takes
    string     =  between " or between ', with JSON's backslash escapes and \'
    number     =  an int64 or a double, in ASCII digits
    word       =  letters, digits and . _ + -, beginning with a letter, a digit or _, such as foo-bar_1.2

Keywords and functions are case-sensitive. Every Unicode space counts as space: a published sample has U+00A0 after AND.

Decisions: the product's page ("Edge and edge conditions") has a table of functions that we could not read; its samples
show ``exists`` alone, so any other function is refused. The word null is refused rather than read as the text "null",
because ``$x$ != null`` would then hold whatever happens. Text of strangers comes in here: length, nesting and number
of terms are limited, and the recursion is at most two calls a level. Never hand a condition to eval.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Final, TypeAlias

from orchestrator.errors import ConditionSyntax
from orchestrator.model.parameters import reference_in
from orchestrator.model.values import INT64_MAX, INT64_MIN

MAX_LENGTH: Final = 20_000  # characters
MAX_DEPTH: Final = 100  # levels of parentheses, NOT and lists together
MAX_TERMS: Final = 1_000  # comparisons, exists() and operands that stand alone

# -- the tree (positional fields: the parser and every ``match`` read like the grammar) ------------------------------


@dataclass(frozen=True, slots=True)
class Literal:
    """A string, a word, a number, true or false."""

    data: str | int | float | bool


@dataclass(frozen=True, slots=True)
class Reference:
    """A variable, by the name that ``parameters.look_up`` takes: no dollar signs, backticks kept."""

    name: str


@dataclass(frozen=True, slots=True)
class ListOf:
    """A list literal."""

    items: tuple[Operand, ...]


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two operands around an operator."""

    left: Operand
    operator: str
    right: Operand


@dataclass(frozen=True, slots=True)
class Exists:
    """``exists($name$)``."""

    reference: Reference


@dataclass(frozen=True, slots=True)
class Alone:
    """A variable, true or false that stands without an operator."""

    operand: Reference | Literal


@dataclass(frozen=True, slots=True)
class Not:
    """The opposite of a part."""

    part: Node


@dataclass(frozen=True, slots=True)
class And:
    """Two or more parts, all of them."""

    parts: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Or:
    """Two or more parts, any of them."""

    parts: tuple[Node, ...]


Operand: TypeAlias = Literal | Reference | ListOf
Node: TypeAlias = Comparison | Exists | Alone | Not | And | Or

# -- the tokens ------------------------------------------------------------------------------------------------------

_SPACE: Final = re.compile(r"\s*")
_TOKEN: Final = re.compile(
    r"""(?P<reference>\$[^$]*\$)
      | (?P<string>"[^"\\]*(?:\\.[^"\\]*)*"|'[^'\\]*(?:\\.[^'\\]*)*')
      | (?P<operator>!=|<=|>=|[=<>:])
      | (?P<mark>[()\[\],])
      | (?P<word>[\w.+-]+)""",
    re.VERBOSE | re.DOTALL,
)
_INTEGER: Final = re.compile(r"[+-]?[0-9]+")
_DOUBLE: Final = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_MAX_DIGITS: Final = 1_000  # of a number in a text; Python itself refuses to read an int past 4,300
_ESCAPE: Final = re.compile(r"\\(?:u(?P<code>[0-9a-fA-F]{4})|(?P<one>.))", re.DOTALL)
_ESCAPES: Final = {'"': '"', "'": "'", "\\": "\\", "/": "/", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}
_RESERVED: Final = ("AND", "OR", "NOT", "null")


def read_number(text: str) -> int | float | None:
    """The number that a text is: an int of any size if it has only digits, else the nearest double; None if it is none.

    Words such as NaN and inf are no numbers, and neither is what overflows a double.
    """
    if len(text) > _MAX_DIGITS:
        return None
    if _INTEGER.fullmatch(text):
        return int(text)
    if _DOUBLE.fullmatch(text) and math.isfinite(number := float(text)):
        return number
    return None


class _Parser:
    """One text on its way into a tree: the current token, and what has been counted so far."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._depth = 0
        self._terms = 0
        self._end = 0
        self._advance()

    # The current token is (_kind, _found) and begins at _start; at the end of the text its kind is "end".

    def _advance(self) -> None:
        space = _SPACE.match(self._text, self._end)
        self._start = space.end() if space else self._end
        match = _TOKEN.match(self._text, self._start)
        if match is not None:
            self._kind, self._found, self._end = str(match.lastgroup), match[0], match.end()
        elif self._start == len(self._text):
            self._kind, self._found, self._end = "end", "", self._start
        else:
            raise self._refusal(self._start, _expected_instead(self._text[self._start]))

    def _refusal(self, start: int, expected: str) -> ConditionSyntax:
        return ConditionSyntax(self._text, start + 1, expected)

    def _take(self, token: str, expected: str) -> None:
        if self._found != token:
            raise self._refusal(self._start, expected)
        self._advance()

    def _is(self, *tokens: str) -> bool:
        return self._found in tokens  # a string that holds one of them still has its quotes here

    def _go_deeper(self) -> None:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise self._refusal(self._start, f"at most {MAX_DEPTH} levels of parentheses, NOT and lists")
        self._advance()

    # -- one method a rule of the grammar ------------------------------------------------------------------------

    def whole(self) -> Node | None:
        if self._kind == "end":
            return None
        tree = self._either()
        if self._kind != "end":
            raise self._refusal(self._start, "AND, OR or the end of the condition")
        return tree

    def only_operand(self) -> Operand:
        operand = self._operand()
        if self._kind != "end":
            raise self._refusal(self._start, "nothing after the value")
        return operand

    def _either(self) -> Node:
        """AND and OR in one loop, so that a level of parentheses costs two calls."""
        alternatives: list[Node] = []
        together = [self._part()]
        while self._is("AND", "OR"):
            if self._found == "OR":
                alternatives.append(together[0] if len(together) == 1 else And(tuple(together)))
                together = []
            self._advance()
            together.append(self._part())
        alternatives.append(together[0] if len(together) == 1 else And(tuple(together)))
        return alternatives[0] if len(alternatives) == 1 else Or(tuple(alternatives))

    def _part(self) -> Node:
        outside = self._depth
        while self._is("NOT"):
            self._go_deeper()
        negations = self._depth - outside
        if self._is("("):
            self._go_deeper()
            part = self._either()
            self._take(")", "AND, OR or )")
        else:
            part = self._term()
        self._depth = outside
        for _ in range(negations):
            part = Not(part)
        return part

    def _term(self) -> Node:
        self._terms += 1
        if self._terms > MAX_TERMS:
            raise self._refusal(self._start, f"at most {MAX_TERMS} terms")
        start, word = self._start, self._found if self._kind == "word" else ""
        left = self._operand()
        if word and self._is("("):
            return self._function(word, start)
        if self._kind == "operator":
            operator = self._found
            self._advance()
            return Comparison(left, operator, self._operand())
        if isinstance(left, Reference) or (isinstance(left, Literal) and isinstance(left.data, bool)):
            return Alone(left)
        raise self._refusal(self._start, "one of = != < <= > >= : (only a variable, true or false stands alone)")

    def _function(self, name: str, start: int) -> Node:
        if name != "exists":
            raise self._refusal(start, "exists($name$), the only function")
        self._take("(", "(")
        argument = self._operand() if self._kind == "reference" else None
        if not isinstance(argument, Reference):
            raise self._refusal(self._start, "a variable such as $order.total$")
        self._take(")", ") after the variable")
        return Exists(argument)

    def _operand(self) -> Operand:
        if self._is("["):
            return self._list()
        operand: Operand
        match self._kind:
            case "reference":
                operand = Reference(self._name())
            case "string":
                operand = Literal(self._unescaped())
            case "word":
                operand = Literal(self._word())
            case _:
                raise self._refusal(self._start, "a value: a variable, a string, a number, a word or a list")
        self._advance()
        return operand

    def _list(self) -> ListOf:
        items: list[Operand] = []
        self._go_deeper()
        while not self._is("]"):
            if items:
                self._take(",", ", or ]")
            items.append(self._operand())
        self._advance()
        self._depth -= 1
        return ListOf(tuple(items))

    # -- what a token says ---------------------------------------------------------------------------------------

    def _name(self) -> str:
        name = reference_in(self._found)
        if name is None:
            raise self._refusal(self._start, "a variable such as $total$, $order.total$ or $`Task_1_status`$")
        return name

    def _unescaped(self) -> str:
        body = self._found[1:-1]
        if "\\" not in body:
            return body
        # The two halves of an escaped surrogate pair become one character, as in JSON; a lone half stays.
        return _ESCAPE.sub(self._meant, body).encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")

    def _meant(self, escape: re.Match[str]) -> str:
        if escape["code"]:
            return chr(int(escape["code"], 16))
        if escape["one"] not in _ESCAPES:
            raise self._refusal(
                self._start + 1 + escape.start(), r"one of the escapes \" \' \\ \/ \b \f \n \r \t \u00e9"
            )
        return _ESCAPES[escape["one"]]

    def _word(self) -> str | int | float | bool:
        word = self._found
        if word in ("true", "false"):
            return word == "true"
        if word in _RESERVED:
            wanted = "exists($name$) or a quoted string: there is no null" if word == "null" else "a value"
            raise self._refusal(self._start, wanted)
        if _DOUBLE.fullmatch(word):
            return self._number(word)
        if word[0] in ".+-":
            raise self._refusal(self._start, "a number, or a word that begins with a letter")
        return word

    def _number(self, word: str) -> int | float:
        number = read_number(word)
        if number is None:
            raise self._refusal(self._start, "a number that a double can hold")
        if isinstance(number, int) and not INT64_MIN <= number <= INT64_MAX:
            raise self._refusal(self._start, f"an int64 (from {INT64_MIN} to {INT64_MAX})")
        return number


def _expected_instead(character: str) -> str:
    if character == "$":
        return "a second $ after the variable's name"
    if character in "\"'":
        return f"a closing {character}"
    return "a variable, a value, an operator or a parenthesis"


def parse_tree(text: str) -> Node | None:
    """The tree of a condition, or None for a blank one.

    Raises:
        ConditionSyntax: the text does not follow the grammar, or is beyond a limit.
    """
    return _parser(text).whole()


def parse_operand(text: str) -> Operand:
    """The tree of one operand that stands alone: a variable, a literal, or a list of them.

    Raises:
        ConditionSyntax: the text is anything else, or is beyond a limit.
    """
    return _parser(text).only_operand()


def _parser(text: str) -> _Parser:
    if len(text) > MAX_LENGTH:
        raise ConditionSyntax(text, MAX_LENGTH + 1, f"at most {MAX_LENGTH} characters")
    return _Parser(text)
