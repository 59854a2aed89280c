"""Prepared statements on libpq itself: they say what psycopg's cursors say, and leave no connection half-way."""

import signal
import threading
import time
from contextlib import contextmanager
from datetime import UTC

import psycopg
import pytest
import sqlalchemy as sa

from orchestrator.errors import Unreachable
from orchestrator.store import direct
from orchestrator.store.arrays import to_array
from tests.services import postgres_database

pytestmark = pytest.mark.services

LIMIT_S = 20.0
MEGABYTE = 1 << 20


@pytest.fixture(scope="module")
def database():
    """A worker's, which keeps its connection between statements."""
    with postgres_database() as made:
        made.keep_connection()
        yield made


@pytest.fixture
def table(database):
    """Numbers that must be different; some of which only when the transaction ends."""
    with database.begin() as connection:
        connection.execute(sa.text("DROP TABLE IF EXISTS direct_tries"))
        connection.execute(
            sa.text("CREATE TABLE direct_tries (number int UNIQUE, late int UNIQUE DEFERRABLE INITIALLY DEFERRED)")
        )
    yield database
    with database.begin() as connection:
        connection.execute(sa.text("DROP TABLE direct_tries"))


INSERT = "INSERT INTO direct_tries VALUES (%(number)s, %(late)s) RETURNING number"
COUNT = "SELECT count(*) FROM direct_tries"


def row(number, late=None):
    return {"number": number, "late": late}


def run(database, text, values=None):
    with database.autocommit() as connection:
        return connection.run(text, values)


def run_both(database, first, second):
    with database.autocommit() as connection:
        return connection.run_both(first, second)


def numbers(database):
    with database.read() as connection:
        return connection.execute(sa.text("SELECT number FROM direct_tries ORDER BY number")).scalars().all()


def pid(database):
    return run(database, "SELECT pg_backend_pid()")[0][0]


# -- what goes in and comes out ------------------------------------------------------------------------------------

KINDS = [
    ("text", "ä'\"\\ \n%s %% $1 {}"),
    ("text", ""),
    ("text", None),
    ("int", 7),
    ("int", None),
    ("bigint", -(2**62)),
    ("float8", 0.1),
    ("float8", 1e300),
    ("boolean", True),
    ("boolean", False),
]


@pytest.mark.parametrize(("kind", "value"), KINDS)
def test_a_value_comes_back_as_it_was(database, kind, value):
    assert run(database, f"SELECT %(it)s::{kind}", {"it": value}) == [(value,)]


@pytest.mark.parametrize("texts", [[], ["a"], ["", 'q"uote', "back\\slash", "com,ma", "{brace}", "NULL", "ä\n", None]])
def test_arrays_are_texts(database, texts):
    values = {"texts": to_array(texts)}

    assert run(database, "SELECT %(texts)s::text[]", values) == [(texts,)]
    assert run(database, "SELECT each FROM unnest(%(texts)s::text[]) AS each", values) == [(each,) for each in texts]


def test_a_parameter_may_stand_twice_and_others_not_at_all(database):
    text = "SELECT %(a)s::int, %(b)s::text, %(a)s::int + 1"

    assert run(database, text, {"b": "x", "unused": "y", "a": 1}) == [(1, "x", 2)]


def test_percent_signs_are_written_twice(database):
    assert run(database, "SELECT 'ab' LIKE 'a%%', 7 %% 4, '%%(a)s'") == [(True, 3, "%(a)s")]


def test_a_text_with_a_nul_is_refused_and_nothing_is_sent(database):
    with pytest.raises(psycopg.DataError, match="NUL"):
        run(database, "SELECT %(it)s::text", {"it": "a\0b"})
    assert run(database, "SELECT %(it)s::text", {"it": "ab"}) == [("ab",)]


def test_rows_are_those_of_a_cursor(database):
    text = """SELECT clock, clock AT TIME ZONE 'UTC', clock::date, 1.5::numeric, NULL, '{"a": [1]}'::json, 2::smallint,
        ARRAY[1, NULL], interval '1 s', gen.id FROM generate_series(1, 3) AS gen (id),
        (SELECT timestamptz '2026-07-01 12:00:00.123456+02' AS clock) AS clocks"""
    with database.read() as connection:
        expected = [tuple(each) for each in connection.exec_driver_sql(text)]

    found = run(database, text)

    assert found == expected
    assert [type(each) for each in found[0]] == [type(each) for each in expected[0]]
    assert found[0][0].astimezone(UTC).isoformat() == "2026-07-01T10:00:00.123456+00:00"


def test_a_statement_without_rows_has_none(table):
    assert run(table, "INSERT INTO direct_tries VALUES (1)") == []
    assert numbers(table) == [1]


def test_large_values_are_sent_as_fast_as_they_are_taken(database, monkeypatch):
    """A socket takes a megabyte or so at a time: what waits is room there, and not an answer."""
    monkeypatch.setattr(direct, "_LOOK_MS", 60_000)
    large = "x" * (32 * MEGABYTE)
    text = "SELECT length(%(large)s::text)"
    run(database, text, {"large": ""})
    began = time.monotonic()

    assert run(database, text, {"large": large}) == [(len(large),)]
    assert run_both(database, (text, {"large": large}), (text, {"large": large})) == ([(len(large),)],) * 2

    assert time.monotonic() - began < LIMIT_S


# -- errors --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "state"), [("SELECT 1 / 0", "22012"), ("SELECT nothing", "42703"), ("SELEC", "42601")]
)
def test_errors_are_those_of_a_cursor(database, text, state):
    for _ in range(2):
        with pytest.raises(psycopg.Error) as caught:
            run(database, text)
        assert caught.value.sqlstate == state
    assert isinstance(caught.value, psycopg.errors.lookup(state))
    assert run(database, "SELECT 1") == [(1,)]


def test_what_is_there_already_is_an_integrity_error_as_from_every_statement(table):
    run(table, INSERT, row(1))

    with pytest.raises(sa.exc.IntegrityError) as caught:
        run(table, INSERT, row(1))

    assert caught.value.orig.sqlstate == "23505"
    assert run(table, INSERT, row(2)) == [(2,)]


@pytest.mark.parametrize("forget", ["DEALLOCATE ALL", "DISCARD ALL"])
def test_what_was_thrown_away_is_prepared_again(table, forget):
    run(table, INSERT, row(1))
    run_both(table, (INSERT, row(2)), (COUNT, None))
    kept = pid(table)
    run(table, forget)

    assert run(table, INSERT, row(3)) == [(3,)]
    run(table, forget)
    assert run_both(table, (INSERT, row(4)), (COUNT, None)) == ([(4,)], [(4,)])
    assert pid(table) == kept
    table.close()  # psycopg's cursors do not know that theirs are gone, too
    assert numbers(table) == [1, 2, 3, 4]


# -- two statements ------------------------------------------------------------------------------------------------


def test_the_second_statement_sees_what_the_first_one_wrote(table):
    assert run_both(table, (INSERT, row(1)), (COUNT, None)) == ([(1,)], [(1,)])


def test_two_statements_are_one_transaction(table):
    text = "INSERT INTO direct_tries SELECT %(number)s::int RETURNING number, pg_current_xact_id()::text"

    (first,), (second,) = run_both(table, (text, {"number": 1}), (text, {"number": 2}))

    assert first[1] == second[1]


@pytest.mark.parametrize(
    "both", [[(INSERT, row(0)), (INSERT, row(5))], [(INSERT, row(5)), (INSERT, row(0))]], ids=["first", "second"]
)
def test_an_error_in_either_undoes_both(table, both):
    run(table, INSERT, row(0))

    with pytest.raises(sa.exc.IntegrityError):
        run_both(table, *both)

    assert numbers(table) == [0]
    assert run_both(table, (INSERT, row(1)), (INSERT, row(2))) == ([(1,)], [(2,)])


def test_an_error_at_the_very_end_undoes_both(table):
    """The statements are fine; what they have written together is not."""
    with pytest.raises(sa.exc.IntegrityError):
        run_both(table, (INSERT, row(1, 1)), (INSERT, row(2, 1)))

    assert numbers(table) == []
    assert run_both(table, (INSERT, row(1, 1)), (INSERT, row(2, 2))) == ([(1,)], [(2,)])


def test_one_that_cannot_be_prepared_leaves_the_other_undone(table):
    with pytest.raises(psycopg.errors.UndefinedTable):
        run_both(table, (INSERT, row(1)), ("SELECT * FROM nothing", None))
    assert numbers(table) == []


# -- broken off ----------------------------------------------------------------------------------------------------

SLEEP = "SELECT pg_sleep(%(seconds)s)"
LONG = {"seconds": 2 * LIMIT_S}
WAYS = {
    "one": lambda database: run(database, SLEEP, LONG),
    "the first of both": lambda database: run_both(database, (SLEEP, LONG), (COUNT, None)),
    "the second of both": lambda database: run_both(database, (INSERT, row(1)), (SLEEP, LONG)),
}


class Ended(BaseException):
    """What a signal's handler raises."""


@contextmanager
def ended_soon(after_s=0.2):
    def end(number, frame):
        raise Ended

    before = signal.signal(signal.SIGALRM, end)
    signal.setitimer(signal.ITIMER_REAL, after_s)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@pytest.mark.parametrize("way", WAYS)
def test_who_breaks_off_leaves_no_connection_half_way(table, way):
    broken, began = pid(table), time.monotonic()

    with pytest.raises(Ended), ended_soon():
        WAYS[way](table)

    assert time.monotonic() - began < LIMIT_S
    assert pid(table) != broken
    assert numbers(table) == []


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("place", ["_together", "_encoded", "_rows", "_check"])
def test_wherever_that_is(table, monkeypatch, place, way):
    """A handler runs between any two lines."""
    real = getattr(direct.Direct, place)

    def broken(*arguments):
        real(*arguments)
        raise Ended

    monkeypatch.setitem(LONG, "seconds", 0)
    monkeypatch.setattr(direct.Direct, place, broken)
    with pytest.raises(Ended):
        WAYS[way](table)
    monkeypatch.undo()

    assert run(table, COUNT) == [(len(numbers(table)),)]


@pytest.mark.parametrize("both", [False, True])
@pytest.mark.parametrize("place", ["flush", "get_result", "is_busy"])
def test_even_between_what_is_sent_and_what_comes(table, both, place):
    """Whatever is broken off, the exception is that of the handler, and the next statement works."""
    pid(table)

    def break_off():
        with table.autocommit() as breaking:
            breaking._pgconn = BreaksOff(breaking._pgconn, place)
            if both:
                breaking.run_both((COUNT, None), (COUNT, None))
            else:
                breaking.run(COUNT)

    with pytest.raises(Ended):
        break_off()

    assert run(table, COUNT) == [(0,)]
    assert run_both(table, (INSERT, row(1)), (COUNT, None)) == ([(1,)], [(1,)])


class BreaksOff:
    """A connection of libpq at which a signal's handler raises in the middle of a query."""

    def __init__(self, pgconn, place):
        self._pgconn, self._place, self._is_sent = pgconn, place, False

    def __getattr__(self, name):
        if self._is_sent and name == self._place:
            raise Ended
        self._is_sent |= name == "send_query_prepared"
        return getattr(self._pgconn, name)


@pytest.mark.parametrize("way", WAYS)
def test_a_connection_that_the_server_ends_is_away_and_the_next_one_works(table, way):
    ended = pid(table)
    killer = threading.Timer(0.3, end, args=(table, ended))
    killer.start()
    began = time.monotonic()

    with pytest.raises(Unreachable):
        WAYS[way](table)

    killer.join()
    assert time.monotonic() - began < LIMIT_S
    assert pid(table) != ended
    assert numbers(table) == []


@pytest.mark.parametrize("way", WAYS)
def test_so_is_one_that_was_ended_before(table, way):
    ended = pid(table)
    thread = threading.Thread(target=end, args=(table, ended))
    thread.start()
    thread.join()

    with pytest.raises(Unreachable):
        WAYS[way](table)

    assert pid(table) != ended
    assert numbers(table) == []


def end(database, ended):
    """From a thread of its own, which has a connection of its own."""
    with database.read() as connection:
        connection.execute(sa.text("SELECT pg_terminate_backend(:pid, 5000)"), {"pid": ended})
