"""The table of mapping functions: families, and one row for each function.

A row says what a function is called, which types its parameters have, which type it gives, and points to the plain
Python function that does the work. A function sees plain Python data of the family's type (a ``str``, an ``int``, a
tuple, a decoded document) and never a ``Value``; it refuses with ``TaskError``.

    @STRINGS.row("SUBSTRING", INT, INT, gives=STRING)
    def substring(text: str, start: int, end: int) -> str: ...

What must not happen: a function that changes its input in place, or one whose result grows without being weighed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Final, TypeAlias, TypeVar, cast

from orchestrator.errors import InvalidValue, TaskError
from orchestrator.model.json_text import MAX_JSON_DEPTH, Json, parse_json_text
from orchestrator.model.values import DataType, Value, coerce, element_type, from_python

STRING: Final = DataType.STRING
INT: Final = DataType.INT
DOUBLE: Final = DataType.DOUBLE
BOOLEAN: Final = DataType.BOOLEAN
JSON: Final = DataType.JSON

MAX_WEIGHT: Final = 10_000_000
"""The largest result: characters of text plus number of values, about ten megabytes as JSON text."""


class Placeholder(Enum):
    """A type that is not the same for every row."""

    ARRAY = "the family's own array type"
    ELEMENT = "the type of the family's elements"
    LAMBDA = "an expression, evaluated once for each element"


ARRAY: Final = Placeholder.ARRAY
ELEMENT: Final = Placeholder.ELEMENT
LAMBDA: Final = Placeholder.LAMBDA

Takes: TypeAlias = DataType | Placeholder
Lambda: TypeAlias = Callable[[Value], Value | None]
F = TypeVar("F", bound=Callable[..., object])


class Missing(Enum):
    """What a function returns instead of a value that is not there (a JSON null is a value)."""

    MISSING = "missing"


MISSING: Final = Missing.MISSING


@dataclass(frozen=True, kw_only=True, slots=True)
class MappingFunction:
    """One row of the table.

    Attributes:
        label: for messages, ``string SUBSTRING``.
        input_type: what the work's first argument is converted to; None if that is the ``TaskContext``.
        takes: the types of the parameters.
        rest: the type of any number of further parameters; None if there may be none.
        optional: how many of ``takes``, from the end, may be left out.
        gives: the type of the result.
        grows: the result can be larger than what came in, so containers are weighed as well.
        with_parameters: the work is also given the execution's parameters, as its last argument.
        work: the plain function.
    """

    label: str
    input_type: DataType | None
    takes: tuple[Takes, ...]
    rest: Takes | None
    optional: int
    gives: DataType
    grows: bool
    with_parameters: bool
    work: Callable[..., object]

    def type_of_parameter(self, index: int) -> Takes:
        """The type of the parameter at ``index``; its count is known to fit."""
        return self.takes[index] if index < len(self.takes) else cast("Takes", self.rest)

    def count_problem(self, count: int) -> str | None:
        """A sentence if the function cannot take this many parameters."""
        least, most = len(self.takes) - self.optional, None if self.rest else len(self.takes)
        if count >= least and (most is None or count <= most):
            return None
        wanted = str(least) if least == most else f"{least} or more" if most is None else f"{least} to {most}"
        return f"{self.label} takes {wanted} parameter(s), {count} given"

    def to_result(self, data: object) -> Value | None:
        """What the work returned as a value of the declared type.

        Raises:
            InvalidValue: an int past int64, a double that is not finite.
            TaskError: it is too large.
        """
        if data is MISSING:
            return None
        if self.gives is INT or self.gives is DOUBLE:
            return from_python(data, "result", self.gives)
        if self.grows or isinstance(data, str):
            check_weight(data)
        return Value(self.gives, cast("Any", data))


@dataclass(frozen=True, slots=True)
class Family:
    """A family of functions: its key in a definition (``stringFunction``), the type of its input, and its rows."""

    key: str
    type: DataType | None
    rows: dict[str, MappingFunction] = field(default_factory=dict)

    def row(
        self,
        name: str,
        *takes: Takes,
        gives: Takes,
        rest: Takes | None = None,
        optional: int = 0,
        grows: bool = False,
        with_parameters: bool = False,
    ) -> Callable[[F], F]:
        """Register the decorated function under ``name``; the arguments are the attributes of ``MappingFunction``."""

        def register(work: F) -> F:
            self.rows[name] = MappingFunction(
                label=f"{self.key.removesuffix('Function')} {name}",
                input_type=self.type,
                takes=tuple(self._type(each) for each in takes),
                rest=None if rest is None else self._type(rest),
                optional=optional,
                gives=cast("DataType", self._type(gives)),
                grows=grows,
                with_parameters=with_parameters,
                work=work,
            )
            return work

        return register

    def _type(self, takes: Takes) -> Takes:
        if takes is ARRAY:
            return cast("DataType", self.type)
        if takes is ELEMENT:
            return cast("DataType", element_type(cast("DataType", self.type)))
        return takes


BASE: Final = Family("baseFunction", None)
STRINGS: Final = Family("stringFunction", STRING)
INTS: Final = Family("intFunction", INT)
DOUBLES: Final = Family("doubleFunction", DOUBLE)
BOOLEANS: Final = Family("booleanFunction", BOOLEAN)
STRING_ARRAYS: Final = Family("stringArrayFunction", DataType.STRING_ARRAY)
INT_ARRAYS: Final = Family("intArrayFunction", DataType.INT_ARRAY)
DOUBLE_ARRAYS: Final = Family("doubleArrayFunction", DataType.DOUBLE_ARRAY)
BOOLEAN_ARRAYS: Final = Family("booleanArrayFunction", DataType.BOOLEAN_ARRAY)
DOCUMENTS: Final = Family("jsonFunction", JSON)

NUMBER_ARRAYS: Final = (INT_ARRAYS, DOUBLE_ARRAYS)
ARRAYS: Final = (STRING_ARRAYS, BOOLEAN_ARRAYS, *NUMBER_ARRAYS)
FAMILIES: Final = {each.key: each for each in (BASE, STRINGS, INTS, DOUBLES, BOOLEANS, *ARRAYS, DOCUMENTS)}


def each_row(
    families: Iterable[Family], name: str, *takes: Takes, gives: Takes, rest: Takes | None = None, grows: bool = False
) -> Callable[[F], F]:
    """Register the decorated function in several families; ARRAY and ELEMENT mean each family's own types."""

    def register(work: F) -> F:
        for family in families:
            family.row(name, *takes, gives=gives, rest=rest, grows=grows)(work)
        return work

    return register


# -- what a function is given --------------------------------------------------------------------------------------


def to_input(value: Value | None, data_type: DataType, place: str) -> object:
    """The plain data of a value, converted to the type that a function asks for.

    Raises:
        InvalidValue: there is no value, or it does not fit the type.
    """
    if value is None or (value.data is None and data_type is not JSON):
        raise InvalidValue(place, "no value", str(data_type))
    if value.type is data_type:
        return value.data
    if data_type is JSON:
        return to_document(value)
    return coerce(value, data_type, place).data


def to_argument(value: Value | None, data_type: DataType, place: str) -> object:
    """Like ``to_input``; one single element stands for an array of one, so APPEND_ALL takes both."""
    if value is not None and element_type(data_type) is not None:
        is_list = isinstance(value.data, tuple | list)
        value = value if is_list else Value(JSON, [value.python])
    return to_input(value, data_type, place)


def to_document(value: Value) -> Json:
    """The value as a JSON document.

    A string that is the text of an object or a list becomes that document, so that a literal can say ``{"a": 1}``. Any
    other string stays a string: a zip code must not become a number on its way into a property.
    """
    if value.type is STRING:
        return document_in(cast("str", value.data))
    return value.python


def document_in(text: str) -> Json:
    """The object or list that a text holds, or the text itself."""
    if text.lstrip()[:1] not in ("{", "["):
        return text
    try:
        return parse_json_text(text, "text")
    except InvalidValue:
        return text


def check_weight(data: object) -> int:
    """Weigh a result: its characters and values.

    A few definitions can double a value again and again (``$s$ = $s$.CONCAT($s$)``), and parts of a document may be
    shared, so that it is small in memory and endless as text. The walk stops as soon as it has seen too much.

    Raises:
        TaskError: it is past ``MAX_WEIGHT``, or nested deeper than a document may be.
    """
    weight, level = 0, [data]
    for _ in range(MAX_JSON_DEPTH):
        below: list[object] = []
        for item in level:
            if isinstance(item, str):
                weight += len(item)
            elif isinstance(item, dict):
                weight += sum(map(len, item))
                below.extend(item.values())
            elif isinstance(item, list | tuple):
                below.extend(item)
            if weight + len(below) > MAX_WEIGHT:
                raise too_large()
        if not below:
            return weight + len(level)
        weight += len(level)
        level = below
    raise refusal(f"the result would be nested deeper than {MAX_JSON_DEPTH} levels")


def too_large() -> TaskError:
    """The error for a result past ``MAX_WEIGHT``."""
    return refusal(f"the result would be larger than {MAX_WEIGHT:,} characters and values; map less at a time")


def refusal(message: str) -> TaskError:
    """The error of a function that cannot work with what it was given."""
    return TaskError(message, "INVALID_ARGUMENT")


def shown(text: str) -> str:
    """A text as it appears in a message: in quotes, and never long."""
    return repr(text if len(text) <= 60 else text[:57] + "...")
