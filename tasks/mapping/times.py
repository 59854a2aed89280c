"""Date patterns: a moment written after a Java pattern such as ``EEE, d MMM yyyy HH:mm:ss z``, in English.

Source: Application Integration, "EPOCH_TO_HUMAN_READABLE_TIME function" (pattern and time zone; UTC and GMT are the
only short zone names); the letters follow java.text.SimpleDateFormat. Letters whose meaning differs between Java's two
formatters or between countries (Y, u, w, W, F, c, e) are refused instead of guessed.
"""

from __future__ import annotations

import functools
import re
import zoneinfo
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from typing import Final

from tasks.mapping.registry import refusal, shown

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_DAYS: Final = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_MONTHS: Final = (
    *("January", "February", "March", "April", "May", "June"),
    *("July", "August", "September", "October", "November", "December"),
)
_TOKEN: Final = re.compile(
    r"'(?P<quoted>(?:[^']|'')*)'|(?P<letters>(?P<letter>[A-Za-z])(?P=letter)*)|(?P<plain>[^A-Za-z']+)"
)
_OFFSET: Final = re.compile(r"(?:UTC|GMT)?(?P<sign>[+-])(?P<hours>\d{1,2})(?::?(?P<minutes>\d{2}))?")


def format_epoch(epoch_ms: int, *, pattern: str, zone: str) -> str:
    """Write a moment.

    Args:
        epoch_ms: Unix time in milliseconds.
        pattern: letters in runs, other characters as they are, text in single quotes.
        zone: ``UTC``, ``GMT``, either with an offset (``UTC+05:30``), or a name of the tz database.

    Raises:
        TaskError: an unknown letter or zone, a quote without its end, or a moment outside the years 1 to 9999.
    """
    if len(pattern) > 1000:
        raise refusal(f"a date pattern of {len(pattern)} characters is too long; 1000 are the most")
    if len(zone) > 100:
        raise refusal(f"time zone {shown(zone)} is not known")
    time_zone = _zone(zone)
    try:
        moment = (_EPOCH + timedelta(milliseconds=epoch_ms)).astimezone(time_zone)
    except (OverflowError, ValueError):
        raise refusal(f"{epoch_ms} ms is outside the years 1 to 9999") from None
    return "".join(_written(token, moment, pattern) for token in _tokens(pattern))


@functools.lru_cache(maxsize=128)
def _zone(name: str) -> tzinfo:
    offset = _OFFSET.fullmatch(name)
    if offset is not None:
        delta = timedelta(hours=int(offset["hours"]), minutes=int(offset["minutes"] or 0))
        if delta <= timedelta(hours=18):  # the widest offset of Java's ZoneOffset
            return timezone(-delta if offset["sign"] == "-" else delta, name)
    try:
        return zoneinfo.ZoneInfo(name)
    except (KeyError, ValueError, OSError):  # OSError: the name of a folder in the tz database, "America"
        raise refusal(
            f"time zone {name!r} is not known; write UTC, GMT or a name such as Australia/Melbourne"
        ) from None


def _tokens(pattern: str) -> list[re.Match[str]]:
    tokens = list(_TOKEN.finditer(pattern))
    if sum(len(token[0]) for token in tokens) != len(pattern):
        raise refusal(f"date pattern {pattern!r} has a quote without its end")
    return tokens


def _written(token: re.Match[str], moment: datetime, pattern: str) -> str:
    if token["letters"] is None:
        return token["plain"] or token["quoted"].replace("''", "'") or "'"
    field = _FIELDS.get(token["letter"])
    if field is None:
        known = " ".join(_FIELDS)
        raise refusal(f"date pattern {pattern!r}: the letter {token['letter']!r} is not known; known are {known}")
    return field(moment, len(token["letters"]))


def _number(read: Callable[[datetime], int]) -> Callable[[datetime, int], str]:
    return lambda moment, width: str(read(moment)).zfill(width)


def _year(moment: datetime, width: int) -> str:
    return f"{moment.year % 100:02}" if width == 2 else str(moment.year).zfill(width)


def _month(moment: datetime, width: int) -> str:
    name = _MONTHS[moment.month - 1]
    return str(moment.month).zfill(width) if width < 3 else name[:3] if width == 3 else name


def _day_name(moment: datetime, width: int) -> str:
    name = _DAYS[moment.weekday()]
    return name[:3] if width < 4 else name


def _offset(moment: datetime, colon: str = "") -> str:
    minutes = int((moment.utcoffset() or timedelta()).total_seconds()) // 60
    return f"{'-' if minutes < 0 else '+'}{abs(minutes) // 60:02}{colon}{abs(minutes) % 60:02}"


def _iso_offset(moment: datetime, width: int) -> str:
    if not moment.utcoffset():
        return "Z"
    return _offset(moment)[:3] if width == 1 else _offset(moment, ":" if width == 3 else "")


_FIELDS: Final[dict[str, Callable[[datetime, int], str]]] = {
    "G": lambda _, __: "AD",
    "y": _year,
    "M": _month,
    "L": _month,
    "d": _number(lambda moment: moment.day),
    "D": _number(lambda moment: moment.timetuple().tm_yday),
    "E": _day_name,
    "a": lambda moment, _: "AM" if moment.hour < 12 else "PM",
    "H": _number(lambda moment: moment.hour),
    "k": _number(lambda moment: moment.hour or 24),
    "K": _number(lambda moment: moment.hour % 12),
    "h": _number(lambda moment: moment.hour % 12 or 12),
    "m": _number(lambda moment: moment.minute),
    "s": _number(lambda moment: moment.second),
    "S": _number(lambda moment: moment.microsecond // 1000),
    "z": lambda moment, _: moment.tzname() or "",
    "Z": lambda moment, _: _offset(moment),
    "X": _iso_offset,
}
