import functools
import re
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from orchestrator.model.cron import InvalidCron, UnknownTimeZone, has_times, next_time, parse_cron, parse_time_zone

BERLIN = "Europe/Berlin"  # in 2026 the clocks go from 2 to 3 on 29 March, and from 3 back to 2 on 25 October
MARGINS = (timedelta(hours=-3), timedelta(hours=3))  # more than any clock is changed by
LIMITS = ((0, 59), (0, 23), (1, 31), (1, 12), (0, 7))


def at(text: str) -> datetime:
    return datetime.fromisoformat(text)


def times(cron, zone, after, count):
    """The next times, as the clock of the zone shows them."""
    found = []
    moment = at(after)
    for _ in range(count):
        moment = next_time(cron, zone, moment)
        found.append(moment.astimezone(ZoneInfo(zone)).strftime("%m-%d %H:%M %z"))
    return found


# -- a second opinion, minute by minute ----------------------------------------------------------------------------


def members(field: str, low: int, high: int) -> set[int]:
    """The numbers of one field made of numbers, ranges, steps, lists and stars."""
    found: set[int] = set()
    for term in field.split(","):
        whole, _, step = term.partition("/")
        first, _, last = whole.partition("-")
        begin = low if whole == "*" else int(first)
        end = high if whole == "*" or (step and not last) else int(last or first)
        found.update(range(begin, end + 1, int(step or 1)))
    return found


@functools.lru_cache(maxsize=10)
def parsed(cron: str) -> tuple[list[set[int]], bool]:
    """The members of each field, and whether both a day of the month and one of the week must fit."""
    fields = cron.split()
    minute, hour, day, month, weekday = (members(field, *LIMITS[i]) for i, field in enumerate(fields))
    is_both = fields[2].startswith("*") or fields[4].startswith("*")
    return [minute, hour, day, month, {each % 7 for each in weekday}], is_both


def names(cron: str, clock: datetime) -> bool:
    """Whether the expression names what the clock on the wall shows."""
    (minute, hour, day, month, weekday), is_both = parsed(cron)
    if clock.minute not in minute or clock.hour not in hour or clock.month not in month:
        return False
    fits = (clock.day in day, clock.isoweekday() % 7 in weekday)
    return all(fits) if is_both else any(fits)


def goes_by_time_passed(cron: str) -> bool:
    return any(field.startswith("*") for field in cron.split()[:2])


def all_times(cron: str, zone: ZoneInfo, begin: datetime, end: datetime) -> list[datetime]:
    """Every time in an interval, found by looking at each of its minutes."""
    if goes_by_time_passed(cron):
        found = {each for each in minutes(begin, end) if names(cron, each.astimezone(zone))}
    else:
        clocks = (each.astimezone(zone).replace(tzinfo=None) for each in (begin, end))
        clocks = minutes(*(each + margin for each, margin in zip(clocks, MARGINS, strict=True)))
        found = {of_the_clock(clock, zone) for clock in clocks if names(cron, clock)}
    return sorted(each for each in found if begin < each <= end)


def minutes(begin: datetime, end: datetime) -> list[datetime]:
    return [begin + timedelta(minutes=number) for number in range(int((end - begin).total_seconds() // 60) + 1)]


def of_the_clock(clock: datetime, zone: ZoneInfo) -> datetime:
    """When the clock shows this first; what it never shows is taken at the end of the gap."""
    while (moment := clock.replace(tzinfo=zone).astimezone(UTC)).astimezone(zone).replace(tzinfo=None) != clock:
        clock += timedelta(minutes=1)
    return moment


@st.composite
def fields(draw, low, high):
    number = st.integers(low, high)
    pair = st.tuples(number, number).map(sorted)
    step = st.integers(1, 20)
    return draw(
        st.just("*")
        | step.map("*/{}".format)
        | st.lists(number, min_size=1, max_size=3).map(lambda chosen: ",".join(map(str, chosen)))
        | pair.map(lambda ends: "{}-{}".format(*ends))
        | st.tuples(pair, step).map(lambda term: f"{term[0][0]}-{term[0][1]}/{term[1]}")
    )


crons = st.tuples(*(fields(*limits) for limits in LIMITS)).map(" ".join)
moments = st.datetimes(datetime(2000, 1, 1), datetime(2090, 1, 1), timezones=st.just(UTC))
zones = st.sampled_from(
    # midnight changes (Havana, Santiago, Cairo), half hours (Lord Howe), three quarters (Chatham), a change that
    # comes back a month later (Casablanca), and none
    [
        *("UTC", BERLIN, "America/Havana", "America/Santiago", "Africa/Cairo", "Australia/Lord_Howe"),
        *("Pacific/Chatham", "Africa/Casablanca", "Asia/Kathmandu"),
    ]
)


@given(cron=crons, zone=zones, after=moments)
def test_the_next_time_is_later_and_is_one_that_the_expression_names(cron, zone, after):
    found = next_time(cron, zone, after)

    if found is None:
        assert not has_times(cron)
        return
    assert found > after
    assert found.tzinfo is UTC
    assert (found.second, found.microsecond) == (0, 0)
    clock = found.astimezone(ZoneInfo(zone)).replace(tzinfo=None)
    minute = timedelta(minutes=1)
    is_end_of_gap = (found - minute).astimezone(ZoneInfo(zone)).replace(tzinfo=None) != clock - minute
    assert names(cron, clock) or (is_end_of_gap and not goes_by_time_passed(cron))


@given(cron=crons, after=moments)
def test_the_next_time_in_utc_is_the_first_one_of_the_following_day_or_there_is_none_in_it(cron, after):
    day = after + timedelta(days=1)
    found = next_time(cron, "UTC", after)

    expected = all_times(cron, ZoneInfo("UTC"), after.replace(second=0, microsecond=0), day)

    assert (found if found is not None and found <= day else None) == (expected[0] if expected else None)


CHANGES = {
    BERLIN: ("2026-03-29T01:00Z", "2026-10-25T01:00Z"),
    "America/Havana": ("2026-03-08T05:00Z", "2026-11-01T05:00Z"),
    "America/Santiago": ("2026-04-05T03:00Z", "2026-09-06T04:00Z"),
    "Australia/Lord_Howe": ("2026-04-04T15:00Z", "2026-10-03T15:30Z"),
    "Pacific/Chatham": ("2026-04-04T14:00Z", "2026-09-26T14:00Z"),
}


@pytest.mark.parametrize("zone", CHANGES)
@pytest.mark.parametrize(
    "cron",
    [
        *("30 2 * * *", "0 0 * * *", "0,30 0-3 * * *", "15 1,2 * * SUN", "59 23 * * *"),
        *("*/15 * * * *", "0 * * * *", "30 * * * *", "*/20 2 * * *", "*/20 0 * * *", "*/20 23 * * *", "* 1,3 5-8 * *"),
    ],
)
def test_over_a_change_of_the_clocks_no_time_is_left_out_and_none_comes_twice(cron, zone):
    """Against a look at every minute of two days around each change."""
    second_opinion = cron.replace("SUN", "0")
    for change in map(at, CHANGES[zone]):
        begin, end = change - timedelta(hours=24, minutes=7), change + timedelta(hours=24)

        found, moment = [], begin
        while (moment := next_time(cron, zone, moment)) is not None and moment <= end:
            found.append(moment)

        assert found == all_times(second_opinion, ZoneInfo(zone), begin, end)


# -- the clocks of Berlin ------------------------------------------------------------------------------------------


def test_a_daily_time_keeps_its_hour_over_the_changes_of_the_clocks():
    assert times("0 9 * * *", BERLIN, "2026-03-28T00:00Z", 2) == ["03-28 09:00 +0100", "03-29 09:00 +0200"]
    assert times("0 9 * * *", BERLIN, "2026-10-24T00:00Z", 2) == ["10-24 09:00 +0200", "10-25 09:00 +0100"]


def test_a_time_that_the_clock_leaves_out_comes_at_the_end_of_the_gap():
    found = times("30 2 * * *", BERLIN, "2026-03-28T00:00Z", 3)

    assert found == ["03-28 02:30 +0100", "03-29 03:00 +0200", "03-30 02:30 +0200"]


def test_several_times_that_the_clock_leaves_out_come_once():
    found = times("10,20,30 2 * * *", BERLIN, "2026-03-28T02:00Z", 2)

    assert found == ["03-29 03:00 +0200", "03-30 02:10 +0200"]


def test_a_time_that_the_clock_shows_twice_comes_the_first_time_only():
    found = times("30 2 * * *", BERLIN, "2026-10-24T12:00Z", 2)

    assert found == ["10-25 02:30 +0200", "10-26 02:30 +0100"]


@pytest.mark.parametrize("after", ["2026-10-25T00:30Z", "2026-10-25T00:59Z", "2026-10-25T01:10Z", "2026-10-25T01:45Z"])
def test_within_the_hour_that_comes_twice_a_time_does_not_come_again(after):
    assert times("30 2 * * *", BERLIN, after, 1) == ["10-26 02:30 +0100"]


def test_every_half_hour_goes_on_through_the_gap_and_through_the_hour_that_comes_twice():
    spring = times("*/30 * * * *", BERLIN, "2026-03-29T00:00Z", 4)
    autumn = times("*/30 * * * *", BERLIN, "2026-10-24T23:45Z", 5)

    assert [each[6:] for each in spring] == ["01:30 +0100", "03:00 +0200", "03:30 +0200", "04:00 +0200"]
    assert [each[6:] for each in autumn] == [
        *("02:00 +0200", "02:30 +0200", "02:00 +0100", "02:30 +0100", "03:00 +0100"),
    ]


def test_the_time_to_come_is_later_than_the_one_that_is_now_also_by_a_microsecond():
    noon = at("2026-01-31T12:00Z")

    assert next_time("0 12 * * *", "UTC", noon) == noon + timedelta(days=1)
    assert next_time("0 12 * * *", "UTC", noon - timedelta(microseconds=1)) == noon
    assert next_time("0 12 * * *", "UTC", noon + timedelta(microseconds=1)) == noon + timedelta(days=1)


def test_the_moment_to_look_from_may_be_in_any_zone():
    assert next_time("0 9 * * *", BERLIN, at("2026-01-31T23:30-05:00")) == at("2026-02-01T08:00Z")


# -- days ----------------------------------------------------------------------------------------------------------


def test_a_leap_day_comes_every_four_years_and_not_in_2100():
    assert times("0 0 29 2 *", "UTC", "2026-01-01T00:00Z", 2) == ["02-29 00:00 +0000"] * 2
    assert next_time("0 0 29 2 *", "UTC", at("2026-01-01T00:00Z")) == at("2028-02-29T00:00Z")
    assert next_time("0 0 29 2 *", "UTC", at("2096-03-01T00:00Z")) == at("2104-02-29T00:00Z")


def test_the_rarest_days_are_found_wherever_the_search_begins():
    """A leap day that is a Sunday: 28 years apart, and 40 over 2100."""
    found = next_time("*/7 5 29 2 */7", BERLIN, at("2088-03-01T00:00Z"))

    assert found == at("2128-02-29T04:00Z")


def test_a_range_of_one_number_with_a_step_is_that_number():
    found = times("5-5/10 7 * * MON-MON/2", "UTC", "2026-02-02T12:00Z", 2)

    assert found == ["02-09 07:05 +0000", "02-16 07:05 +0000"]


@pytest.mark.parametrize("cron", ["0 0 30 2 *", "0 0 31 2,4,6,9,11 *", "*/5 * 31 4 *", "0 0 */30 4 MON#5"])
def test_a_date_that_no_calendar_has_never_comes(cron):
    assert next_time(cron, BERLIN, at("2026-01-01T00:00Z")) is None
    assert not has_times(cron)


@pytest.mark.parametrize(
    ("cron", "expected"),
    [
        ("0 0 L * *", "2026-02-28"),
        ("0 0 LW * *", "2026-02-27"),
        ("0 0 * * 5L", "2026-02-27"),
        ("0 0 * * MON#2", "2026-02-09"),
        ("0 0 13 * FRI", "2026-02-06"),  # the 13th or a Friday
        ("0 0 * JUN-AUG *", "2026-06-01"),
        ("0 0 * * 7", "2026-02-08"),
    ],
)
def test_a_day_may_be_named_in_many_ways(cron, expected):
    assert next_time(cron, "UTC", at("2026-02-02T12:00Z")).date().isoformat() == expected


# -- nonsense ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "cron '': found 0 field(s), expected 5: minute, hour, day of the month, month, day of the week"),
        ("@daily", "cron '@daily': found 1 field(s), expected 5: minute"),
        ("0 * * * * *", "cron '0 * * * * *': found 6 field(s), expected 5: minute"),
        ("60 * * * *", "cron '60 * * * *': found minute '60', expected 0 to 59, also as a list (1,2)"),
        ("* 24 * * *", "found hour '24', expected 0 to 23"),
        ("* * 0 * *", "found day of the month '0', expected 1 to 31"),
        ("* * * 13 *", "found month '13', expected 1 to 12 or JAN to DEC"),
        ("* * * * 8", "found day of the week '8', expected 0 to 7 or SUN to SAT"),
        ("*/0 * * * *", "found minute '*/0'"),
        ("5-1 * * * *", "found minute '5-1'"),
        ("1,,2 * * * *", "found minute '1,,2'"),
        ("every day at nine pm", "found minute 'every'"),
        (f"* * * * {'9' * 5000}", "found 5008 characters, expected at most 256"),
    ],
)
def test_what_is_no_expression_is_refused_with_its_field_and_what_is_expected(text, message):
    with pytest.raises(InvalidCron, match=re.escape(message)) as caught:
        parse_cron(text)

    assert type(caught.value)(*caught.value.args).args == caught.value.args
    assert len(str(caught.value)) < 400


@given(text=st.text() | st.lists(st.text("0123456789*/,-#LWMON ", max_size=6), min_size=5, max_size=5).map(" ".join))
@example("* * * * 5L/2")
@example("* * L/2 * *")
@example("\u00b2 * * * *")
def test_any_text_is_an_expression_or_is_refused(text):
    try:
        cron = parse_cron(text)
    except InvalidCron:
        return

    assert parse_cron(cron) == cron
    assert len(cron.split(" ")) == 5
    next_time(cron, BERLIN, at("2026-01-01T00:00Z"))


def test_spaces_do_not_count():
    assert parse_cron("  10 \t12 * *\n* ") == "10 12 * * *"


@pytest.mark.parametrize("name", ["", "Europe", "europe/berlin", "Mars/Base", "../UTC", "/etc/passwd", "\0", "\ud800"])
def test_what_is_no_time_zone_is_refused(name):
    with pytest.raises(UnknownTimeZone, match="there is no time zone"):
        next_time("0 0 * * *", name, at("2026-01-01T00:00Z"))


def test_the_zone_of_the_machine_is_no_time_zone():
    """Two workers may have two of them."""
    with pytest.raises(UnknownTimeZone):
        parse_time_zone("localtime")
