"""Cron expressions: which are well formed, and when one comes next in a time zone. ``cronsim`` reads the fields.

No clock is read here: ``next_time`` is told from when on to look.

Over a change of the clocks:

- An expression that names minute and hour (``30 2 * * *``) goes by the clock on the wall, and means once a day. A time
  that the clock leaves out is taken at the end of the gap, of one that it shows twice the first is taken.
- An expression whose minute or hour begins with a star (``*/15 * * * *``) goes by time passed: nothing comes in a gap,
  and what the clock shows twice comes twice.

That is what Debian's cron does. The walk of ``cronsim`` over a change of the clocks serves the first kind
alone: for the second it may step over times where the change is at midnight, or not by a whole hour. So that walk is
ours: along the wall clock as if there were no change, and again from each change that lies on the way.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from cronsim import CronSim, CronSimError

from orchestrator.errors import DefinitionError

MAX_CRON: Final = 256  # characters; the column's width
_NUMBERS: Final = "also as a list (1,2), a range (1-5), a step (*/5) or *"
_FIELDS: Final = (
    ("minute", f"0 to 59, {_NUMBERS}"),
    ("hour", f"0 to 23, {_NUMBERS}"),
    ("day of the month", f"1 to 31, {_NUMBERS}; L is the last day, LW the last working day"),
    ("month", f"1 to 12 or JAN to DEC, {_NUMBERS}"),
    ("day of the week", f"0 to 7 or SUN to SAT, {_NUMBERS}; 5L is the last Friday, 5#2 the second one"),
)
_ONE_MEMBER: Final = re.compile(r"\b([0-9A-Z]+)-\1/[0-9]+", re.ASCII | re.IGNORECASE)
_DAY: Final = timedelta(days=1)
_SECOND: Final = timedelta(seconds=1)
# Years repeat after 28 of these, in each way a year can begin and with each 29th of February.
_WHOLE_CYCLE_FROM: Final = datetime(2000, 1, 1, tzinfo=UTC)


class InvalidCron(DefinitionError):
    """An expression is none of ours. A definition error, because only definitions have them."""

    def __init__(self, expression: str, found: str, expected: str) -> None:
        super().__init__(expression, found, expected)
        self.expression, self.found, self.expected = expression, found, expected

    def __str__(self) -> str:
        shown = self.expression if len(self.expression) <= 80 else self.expression[:77] + "..."
        return f"cron {shown!r}: found {self.found}, expected {self.expected}"


class UnknownTimeZone(DefinitionError):
    """The time zone database has no zone of this name."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name

    def __str__(self) -> str:
        return f"there is no time zone {self.name[:80]!r}; expected a name such as Europe/Berlin, or UTC"


@dataclass(frozen=True, kw_only=True, slots=True)
class CronSchedule:
    """What a trigger says about its times, as it is written: validation looks whether it makes sense."""

    expression: str
    time_zone: str = "UTC"


def parse_cron(text: str) -> str:
    """The expression with one space between its five fields.

    Raises:
        InvalidCron: it does not have five, or one of them cannot be read.
    """
    fields = text.split()
    if len(fields) != len(_FIELDS):
        names = ", ".join(name for name, _ in _FIELDS)
        raise InvalidCron(text, f"{len(fields)} field(s)", f"{len(_FIELDS)}: {names}")
    expression = " ".join(fields)
    if len(expression) > MAX_CRON:
        raise InvalidCron(text, f"{len(expression)} characters", f"at most {MAX_CRON}")
    for position, (name, expected) in enumerate(_FIELDS):
        # One at a time, to tell which one it is: that they go together is not asked here (see ``has_times``).
        alone = ["*"] * len(_FIELDS)
        alone[position] = fields[position]
        try:
            CronSim(" ".join(alone), _WHOLE_CYCLE_FROM)
        except CronSimError:
            raise InvalidCron(text, f"{name} {fields[position][:40]!r}", expected) from None
    return expression


def parse_time_zone(name: str) -> ZoneInfo:
    """The zone of this name.

    Raises:
        UnknownTimeZone: there is none.
    """
    if name == "localtime":  # a file on many machines, and not the same one
        raise UnknownTimeZone(name)
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):  # the last: a folder of zones, such as "Europe"
        raise UnknownTimeZone(name) from None


def has_times(cron: str) -> bool:
    """Whether there is any time that it names: ``0 0 30 2 *`` is well formed, and names none.

    Raises:
        InvalidCron: it is not well formed.
    """
    return next_time(cron, "UTC", _WHOLE_CYCLE_FROM) is not None


def next_time(cron: str, time_zone: str, after: datetime) -> datetime | None:
    """The first time that the expression names after this one.

    Args:
        cron: five fields.
        time_zone: whose clock they mean.
        after: aware; the result is later than it, also where it is named itself.

    Returns:
        Aware UTC, a whole minute; None if there is none within 50 years.

    Raises:
        InvalidCron: the expression is not well formed.
        UnknownTimeZone: there is no such zone.
    """
    expression, zone = parse_cron(cron), parse_time_zone(time_zone)
    minute, hour, *_ = expression.split()
    begin = after.astimezone(UTC).replace(microsecond=0)
    if minute.startswith("*") or hour.startswith("*"):
        return _next_by_time_passed(expression, zone, begin)
    return _next_by_the_clock(expression, zone, begin)


def _next_by_the_clock(expression: str, zone: tzinfo, after: datetime) -> datetime | None:
    for found in _times(expression, after.astimezone(zone)):
        moment = found.astimezone(UTC)
        if moment > after:  # within an hour that comes twice, cronsim goes by the first one
            return moment
    return None


def _next_by_time_passed(expression: str, zone: tzinfo, after: datetime) -> datetime | None:
    begin, clock = after, _clock(after, zone)
    while True:
        found = next(_times(expression, clock), None)
        if found is None:
            return None
        moment = (found - _offset(begin, zone)).replace(tzinfo=UTC)
        change = _next_change(zone, begin, until=moment)
        if change is None:
            return moment
        begin, clock = change, _clock(change, zone) - _SECOND  # the moment of the change may be a time itself


def _times(expression: str, after: datetime) -> Iterator[datetime]:
    try:
        # cronsim takes the step of a range with one member, 5-5/10, for one that goes on to the end, as in 5/10.
        yield from CronSim(_ONE_MEMBER.sub(r"\1", expression), after)
    except CronSimError:  # each field can be read, so it is this: no month has as many days
        return


def _next_change(zone: tzinfo, begin: datetime, *, until: datetime) -> datetime | None:
    """The first moment after ``begin``, and not after ``until``, at which the clocks are changed; all in UTC.

    Days are looked at one by one: no zone changes its clocks twice within one.
    """
    while begin < until:
        end = min(begin + _DAY, until)
        if _offset(end, zone) != _offset(begin, zone):
            return _change_between(zone, begin, end)
        begin = end
    return None


def _change_between(zone: tzinfo, before: datetime, changed: datetime) -> datetime:
    old = _offset(before, zone)
    while changed - before > _SECOND:
        middle = before + (changed - before) // 2 // _SECOND * _SECOND
        if _offset(middle, zone) == old:
            before = middle
        else:
            changed = middle
    return changed


def _offset(moment: datetime, zone: tzinfo) -> timedelta:
    return _clock(moment, zone) - moment.replace(tzinfo=None)


def _clock(moment: datetime, zone: tzinfo) -> datetime:
    """What the clock on the wall shows, without its zone."""
    return moment.astimezone(zone).replace(tzinfo=None)
