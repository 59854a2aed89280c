"""Int and double functions. Ints are exact int64 and doubles are finite: the registry refuses any other result.

Division of ints cuts the fraction off, and MOD has the sign of the number, both as in Java. An int EXPONENT takes no
negative power: the result would be no int.

Source: Application Integration, "Data mapping functions reference", one page a function (DIVIDE: 16 by 3 is 5;
EXPONENT: 5 to the power of 3 is 125; ROUND gives an integer).
"""

from __future__ import annotations

import math
from typing import TypeVar

from tasks.mapping.registry import BOOLEAN, DOUBLE, DOUBLES, INT, INTS, JSON, STRING, refusal
from tasks.mapping.times import format_epoch

N = TypeVar("N", int, float)


# -- arithmetic ----------------------------------------------------------------------------------------------------


@INTS.row("ADD", INT, gives=INT)
@DOUBLES.row("ADD", DOUBLE, gives=DOUBLE)
def add(number: N, other: N) -> N:
    """The sum."""
    return number + other


@INTS.row("SUBTRACT", INT, gives=INT)
@DOUBLES.row("SUBTRACT", DOUBLE, gives=DOUBLE)
def subtract(number: N, other: N) -> N:
    """The number less the other."""
    return number - other


@INTS.row("MULTIPLY", INT, gives=INT)
@DOUBLES.row("MULTIPLY", DOUBLE, gives=DOUBLE)
def multiply(number: N, other: N) -> N:
    """The product."""
    return number * other


@INTS.row("DIVIDE", INT, gives=INT)
def divide_ints(number: int, divisor: int) -> int:
    """The quotient without its fraction: -7 by 2 is -3."""
    if divisor == 0:
        raise refusal(f"{number} cannot be divided by zero")
    quotient = abs(number) // abs(divisor)
    return quotient if (number < 0) == (divisor < 0) else -quotient


@DOUBLES.row("DIVIDE", DOUBLE, gives=DOUBLE)
def divide_doubles(number: float, divisor: float) -> float:
    """The quotient."""
    if divisor == 0:
        raise refusal(f"{number} cannot be divided by zero")
    return number / divisor


@INTS.row("MOD", INT, gives=INT)
def mod_ints(number: int, divisor: int) -> int:
    """What the division leaves, with the number's sign: -7 by 3 leaves -1."""
    return number - divisor * divide_ints(number, divisor)


@DOUBLES.row("MOD", DOUBLE, gives=DOUBLE)
def mod_doubles(number: float, divisor: float) -> float:
    """What the division leaves, with the number's sign."""
    if divisor == 0:
        raise refusal(f"{number} cannot be divided by zero")
    return math.fmod(number, divisor)


@INTS.row("EXPONENT", INT, gives=INT)
def exponent_ints(number: int, power: int) -> int:
    """The number to a power that is not negative."""
    if power < 0:
        raise refusal(f"{number} to the power of {power} is not an integer; use the double EXPONENT")
    if abs(number) <= 1:
        return int(number ** min(power, 2 + power % 2))  # 0, 1 and -1 only tell even powers from odd ones
    if power > 63:  # 2**64 is past int64 already, and a huge power would take for ever
        raise refusal(f"{number} to the power of {power} is past int64")
    return int(number**power)


@DOUBLES.row("EXPONENT", DOUBLE, gives=DOUBLE)
def exponent_doubles(number: float, power: float) -> float:
    """The number to a power."""
    try:
        return math.pow(number, power)
    except (OverflowError, ValueError):
        raise refusal(f"{number} to the power of {power} is not a finite number") from None


# -- comparison ----------------------------------------------------------------------------------------------------


@INTS.row("EQUALS", INT, gives=BOOLEAN)
@DOUBLES.row("EQUALS", DOUBLE, gives=BOOLEAN)
def equals(number: N, other: N) -> bool:
    """Whether both are the same number."""
    return number == other


@INTS.row("GREATER_THAN", INT, gives=BOOLEAN)
@DOUBLES.row("GREATER_THAN", DOUBLE, gives=BOOLEAN)
def greater_than(number: N, other: N) -> bool:
    """Whether the number is larger."""
    return number > other


@INTS.row("GREATER_THAN_EQUAL_TO", INT, gives=BOOLEAN)
@DOUBLES.row("GREATER_THAN_EQUALS", DOUBLE, gives=BOOLEAN)
def greater_than_equals(number: N, other: N) -> bool:
    """Whether the number is larger or the same."""
    return number >= other


@INTS.row("LESS_THAN", INT, gives=BOOLEAN)
@DOUBLES.row("LESS_THAN", DOUBLE, gives=BOOLEAN)
def less_than(number: N, other: N) -> bool:
    """Whether the number is smaller."""
    return number < other


@INTS.row("LESS_THAN_EQUAL_TO", INT, gives=BOOLEAN)
@DOUBLES.row("LESS_THAN_EQUALS", DOUBLE, gives=BOOLEAN)
def less_than_equals(number: N, other: N) -> bool:
    """Whether the number is smaller or the same."""
    return number <= other


# -- conversion ----------------------------------------------------------------------------------------------------


@INTS.row("TO_DOUBLE", gives=DOUBLE)
def to_double(number: int) -> float:
    """The nearest double; past 2**53 it may differ."""
    return float(number)


@INTS.row("TO_STRING", gives=STRING)
@DOUBLES.row("TO_STRING", gives=STRING)
def to_string(number: float) -> str:
    """The number as JSON writes it."""
    return repr(number)


@INTS.row("TO_JSON", gives=JSON)
@DOUBLES.row("TO_JSON", gives=JSON)
def to_json(number: N) -> N:
    """The number as a JSON document."""
    return number


@DOUBLES.row("ROUND", gives=INT)
def round_half_up(number: float) -> int:
    """The nearest integer; a half goes up, as in Java: 2.5 gives 3, -2.5 gives -2."""
    below = math.floor(number)
    return below + 1 if number - below >= 0.5 else below


@DOUBLES.row("FLOOR", gives=INT)
def floor(number: float) -> int:
    """The largest integer that is not larger."""
    return math.floor(number)


@DOUBLES.row("CEIL", gives=INT)
def ceil(number: float) -> int:
    """The smallest integer that is not smaller."""
    return math.ceil(number)


@INTS.row("EPOCH_TO_HUMAN_READABLE_TIME", STRING, STRING, gives=STRING)
def epoch_to_human_readable_time(epoch_ms: int, pattern: str, zone: str) -> str:
    """Unix time in milliseconds, written after a Java date pattern in a time zone."""
    return format_epoch(epoch_ms, pattern=pattern, zone=zone)
