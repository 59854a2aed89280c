"""Functions of string, int, double and boolean arrays. Positions count from 0; every function makes a new array.

FOR_EACH gives a JSON list, because its expression may give any type; the samples turn it back with TO_STRING_ARRAY.

Source: Application Integration, "Data mapping functions reference", one page a function (APPEND_ALL takes any number
of values; SET the index, then the value; AVG gives a double; FOR_EACH and FILTER take an expression on the element).
"""

from __future__ import annotations

import math
from typing import TypeVar

from orchestrator.model.json_text import Json
from orchestrator.model.values import Scalar, Value, from_python
from tasks.mapping.registry import (
    ARRAY,
    ARRAYS,
    BOOLEAN,
    DOUBLE,
    DOUBLE_ARRAYS,
    ELEMENT,
    INT,
    INT_ARRAYS,
    JSON,
    LAMBDA,
    NUMBER_ARRAYS,
    STRING_ARRAYS,
    Lambda,
    document_in,
    each_row,
    refusal,
)

T = TypeVar("T", bound=Scalar)
OTHER_ARRAYS = tuple(each for each in ARRAYS if each is not STRING_ARRAYS)


def check_index(index: int, size: int) -> None:
    """Refuse a position that the array does not have."""
    if not 0 <= index < size:
        raise refusal(f"there is no element {index}; the array has {size}, counted from 0")


def is_kept(keep: Lambda, element: Value) -> bool:
    """What a filter's expression says of one element; it must be true or false."""
    answer = keep(element)
    if answer is None or not isinstance(answer.data, bool):
        found = "no value" if answer is None else str(answer.type)
        raise refusal(f"the filter must give true or false, not {found}")
    return answer.data


@each_row(ARRAYS, "GET", INT, gives=ELEMENT)
def get(array: tuple[T, ...], index: int) -> T:
    """The element at a position."""
    check_index(index, len(array))
    return array[index]


@each_row(ARRAYS, "SET", INT, ELEMENT, gives=ARRAY)
def set_(array: tuple[T, ...], index: int, value: T) -> tuple[T, ...]:
    """The array with another element at a position that it has."""
    check_index(index, len(array))
    return (*array[:index], value, *array[index + 1 :])


@each_row(ARRAYS, "SIZE", gives=INT)
def size(array: tuple[T, ...]) -> int:
    """The number of elements."""
    return len(array)


@each_row(ARRAYS, "CONTAINS", ELEMENT, gives=BOOLEAN)
def contains(array: tuple[T, ...], value: T) -> bool:
    """Whether the array has this element."""
    return value in array


@each_row(ARRAYS, "APPEND", ELEMENT, gives=ARRAY, grows=True)
def append(array: tuple[T, ...], value: T) -> tuple[T, ...]:
    """The array with one more element."""
    return (*array, value)


@each_row(ARRAYS, "APPEND_ALL", gives=ARRAY, rest=ARRAY, grows=True)
def append_all(array: tuple[T, ...], *more: tuple[T, ...]) -> tuple[T, ...]:
    """The array with all the values, each of which may be an element or an array."""
    return tuple(value for part in (array, *more) for value in part)


@each_row(ARRAYS, "REMOVE", ELEMENT, gives=ARRAY)
def remove(array: tuple[T, ...], value: T) -> tuple[T, ...]:
    """The array without this value, wherever it occurs."""
    return tuple(each for each in array if each != value)


@each_row(ARRAYS, "REMOVE_AT", INT, gives=ARRAY)
def remove_at(array: tuple[T, ...], index: int) -> tuple[T, ...]:
    """The array without the element at a position that it has."""
    check_index(index, len(array))
    return array[:index] + array[index + 1 :]


@each_row(ARRAYS, "TO_SET", gives=ARRAY)
def to_set(array: tuple[T, ...]) -> tuple[T, ...]:
    """Each element once, where it first occurs."""
    return tuple(dict.fromkeys(array))


@each_row((STRING_ARRAYS,), "TO_JSON", gives=JSON)
def strings_to_json(array: tuple[str, ...]) -> list[Json]:
    """A JSON list; a string that is the text of an object or a list becomes it, the way back from TO_STRING_ARRAY."""
    return [document_in(text) for text in array]


@each_row(OTHER_ARRAYS, "TO_JSON", gives=JSON)
def to_json(array: tuple[T, ...]) -> list[T]:
    """A JSON list."""
    return list(array)


@each_row(ARRAYS, "FOR_EACH", LAMBDA, gives=JSON, grows=True)
def for_each(array: tuple[T, ...], change: Lambda) -> list[Json]:
    """What the expression gives for each element, as a JSON list; nothing becomes null."""
    changed = (change(_element(each)) for each in array)
    return [None if each is None else each.python for each in changed]


@each_row(ARRAYS, "FILTER", LAMBDA, gives=ARRAY)
def filter_(array: tuple[T, ...], keep: Lambda) -> tuple[T, ...]:
    """The elements for which the expression gives true."""
    return tuple(each for each in array if is_kept(keep, _element(each)))


def _element(element: Scalar) -> Value:
    return from_python(element, "element")


# -- arrays of numbers ---------------------------------------------------------------------------------------------


@each_row((INT_ARRAYS,), "SUM", gives=INT)
def sum_ints(array: tuple[int, ...]) -> int:
    """The exact sum, 0 for no element."""
    return sum(array)


@each_row((DOUBLE_ARRAYS,), "SUM", gives=DOUBLE)
def sum_doubles(array: tuple[float, ...]) -> float:
    """The sum, rounded once, 0.0 for no element."""
    try:
        return math.fsum(array)
    except OverflowError:
        raise refusal("the sum is not a finite number") from None


@each_row((INT_ARRAYS,), "AVG", gives=DOUBLE)
def average_ints(array: tuple[int, ...]) -> float:
    """The mean as a double."""
    _check_not_empty(array)
    return sum(array) / len(array)


@each_row((DOUBLE_ARRAYS,), "AVG", gives=DOUBLE)
def average_doubles(array: tuple[float, ...]) -> float:
    """The mean."""
    _check_not_empty(array)
    return sum_doubles(array) / len(array)


@each_row(NUMBER_ARRAYS, "MAX", gives=ELEMENT)
def largest(array: tuple[float, ...]) -> float:
    """The largest element."""
    _check_not_empty(array)
    return max(array)


@each_row(NUMBER_ARRAYS, "MIN", gives=ELEMENT)
def smallest(array: tuple[float, ...]) -> float:
    """The smallest element."""
    _check_not_empty(array)
    return min(array)


def _check_not_empty(array: tuple[float, ...]) -> None:
    if not array:
        raise refusal("the array is empty")
