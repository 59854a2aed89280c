"""Dates of the Jsonnet library: ``dateFormat``, with Moment-like elements and the Java spellings of some."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from typing import Final, TypeAlias
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from orchestrator.model.json_text import Json
from tasks.jsonnet_arguments import text_of

Function: TypeAlias = Callable[..., Json]

MAX_XML_DEPTH: Final = 100  # nesting of elements; JSON gets two levels for each, and 200 is the model's limit


_MONTHS: Final = (
    *("January", "February", "March", "April", "May", "June"),
    *("July", "August", "September", "October", "November", "December"),
)
_DAYS: Final = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")

# Longest first, so that MMMM is not read as MM and MM. Letters inside [] or '' are written as they are.
_ELEMENT: Final = re.compile(
    r"\[(?P<bracketed>[^\]]*)\]|'(?P<quoted>[^']*)'"
    r"|YYYY|yyyy|YY|yy|M{1,4}|dddd|ddd|DD?|dd?|HH?|hh?|mm?|ss?|S{1,3}|A|a|ZZ?",
)


def _offset(moment: datetime, separator: str) -> str:
    minutes = int((moment.utcoffset() or timedelta()).total_seconds() // 60)
    return f"{'-' if minutes < 0 else '+'}{abs(minutes) // 60:02}{separator}{abs(minutes) % 60:02}"


# A format element is what it writes and the pattern by which it is read back ("" if it is only written).
_ELEMENTS: Final[dict[str, tuple[Callable[[datetime], str], str]]] = {
    "YYYY": (lambda t: f"{t.year:04}", r"(?P<year>\d{4})"),
    "YY": (lambda t: f"{t.year % 100:02}", r"(?P<short_year>\d{2})"),
    "MMMM": (lambda t: _MONTHS[t.month - 1], r"(?P<month_name>[A-Za-z]+)"),
    "MMM": (lambda t: _MONTHS[t.month - 1][:3], r"(?P<month_name>[A-Za-z]{3})"),
    "MM": (lambda t: f"{t.month:02}", r"(?P<month>\d{2})"),
    "M": (lambda t: str(t.month), r"(?P<month>\d{1,2})"),
    "dddd": (lambda t: _DAYS[t.weekday()], r"[A-Za-z]+"),
    "ddd": (lambda t: _DAYS[t.weekday()][:3], r"[A-Za-z]{3}"),
    "DD": (lambda t: f"{t.day:02}", r"(?P<day>\d{2})"),
    "D": (lambda t: str(t.day), r"(?P<day>\d{1,2})"),
    "HH": (lambda t: f"{t.hour:02}", r"(?P<hour>\d{2})"),
    "H": (lambda t: str(t.hour), r"(?P<hour>\d{1,2})"),
    "hh": (lambda t: f"{t.hour % 12 or 12:02}", r"(?P<hour>\d{2})"),
    "h": (lambda t: str(t.hour % 12 or 12), r"(?P<hour>\d{1,2})"),
    "mm": (lambda t: f"{t.minute:02}", r"(?P<minute>\d{2})"),
    "m": (lambda t: str(t.minute), r"(?P<minute>\d{1,2})"),
    "ss": (lambda t: f"{t.second:02}", r"(?P<second>\d{2})"),
    "s": (lambda t: str(t.second), r"(?P<second>\d{1,2})"),
    "SSS": (lambda t: f"{t.microsecond // 1000:03}", r"(?P<fraction>\d{3})"),
    "SS": (lambda t: f"{t.microsecond // 10_000:02}", r"(?P<fraction>\d{2})"),
    "S": (lambda t: str(t.microsecond // 100_000), r"(?P<fraction>\d)"),
    "A": (lambda t: "AM" if t.hour < 12 else "PM", r"(?P<half>[AaPp][Mm])"),
    "a": (lambda t: "am" if t.hour < 12 else "pm", r"(?P<half>[AaPp][Mm])"),
    "Z": (lambda t: _offset(t, ":"), r"(?P<zone>Z|[+-]\d{2}:?\d{2})"),
    "ZZ": (lambda t: _offset(t, ""), r"(?P<zone>Z|[+-]\d{2}:?\d{2})"),
}
# The spellings of java.time mean the same here: templates use both.
_ELEMENTS.update({java: _ELEMENTS[java.upper()] for java in ("yyyy", "yy", "dd", "d")})


def date_format(timestamp: Json, format_string: str, zone_name: str, current_format: str | None) -> Json:
    """Write a timestamp in another format, as the time of day in the zone.

    Args:
        timestamp: text in ``current_format``, or without one ISO 8601; or a number, milliseconds since 1970.
        format_string: elements YYYY YY MMMM MMM MM M DD D dddd ddd HH H hh h mm m ss s SSS A a Z ZZ.
        zone_name: ``Europe/Berlin``, ``UTC`` or ``+02:00``: the zone of a timestamp that names none, and of the result.
        current_format: the format of a text, by the same elements.
    """
    zone = _zone(zone_name)
    if isinstance(timestamp, int | float) and not isinstance(timestamp, bool):
        moment = datetime.fromtimestamp(timestamp / 1000, tz=zone)
    elif current_format is None:
        moment = datetime.fromisoformat(text_of(timestamp))
    else:
        moment = _parse_date(text_of(timestamp), current_format)
    moment = moment.astimezone(zone) if moment.tzinfo else moment.replace(tzinfo=zone)

    def written(found: re.Match[str]) -> str:
        literal = found["bracketed"] if found["bracketed"] is not None else found["quoted"]
        return _ELEMENTS[found[0]][0](moment) if literal is None else literal

    return _ELEMENT.sub(written, text_of(format_string))


def _zone(name: str) -> tzinfo:
    if name.upper() in ("Z", "UTC", "GMT"):
        return UTC
    offset = re.fullmatch(r"([+-])(\d{2}):?(\d{2})", name)
    if offset:
        span = timedelta(hours=int(offset[2]), minutes=int(offset[3]))
        return timezone(-span if offset[1] == "-" else span)
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError(f"there is no time zone {name!r}") from None


def _parse_date(text: str, current_format: str) -> datetime:
    match = re.fullmatch(_pattern_of(current_format), text)
    if match is None:
        raise ValueError(f"timestamp {text!r} is not in the format {current_format!r}")
    found = {key: value for key, value in match.groupdict().items() if value is not None}
    hour = int(found.get("hour", 0))
    if "half" in found:
        hour = hour % 12 + (12 if found["half"].lower() == "pm" else 0)
    return datetime(
        _year(found),
        _month(found),
        int(found.get("day", 1)),
        hour,
        int(found.get("minute", 0)),
        int(found.get("second", 0)),
        int(found.get("fraction", "0").ljust(6, "0")),
        tzinfo=_zone(found["zone"]) if "zone" in found else None,
    )


def _pattern_of(current_format: str) -> str:
    pattern, end = "", 0
    for found in _ELEMENT.finditer(current_format):
        pattern += re.escape(current_format[end : found.start()])
        literal = found["bracketed"] if found["bracketed"] is not None else found["quoted"]
        pattern += _ELEMENTS[found[0]][1] if literal is None else re.escape(literal)
        end = found.end()
    return pattern + re.escape(current_format[end:])


def _year(found: Mapping[str, str]) -> int:
    if "short_year" in found:
        short = int(found["short_year"])
        return short + (1900 if short >= 69 else 2000)  # POSIX's pivot
    return int(found.get("year", 1970))


def _month(found: Mapping[str, str]) -> int:
    if "month_name" in found:
        name = found["month_name"].title()
        return next(i for i, month in enumerate(_MONTHS, 1) if name in (month, month[:3]))
    return int(found.get("month", 1))
