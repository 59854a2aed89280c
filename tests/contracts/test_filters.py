"""Filters in SQL: one meaning on every database, nothing of a caller's in the statement, and indexes that are used."""

from contextlib import contextmanager, suppress
from datetime import timedelta

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orchestrator.errors import FilterSyntax
from orchestrator.model.filters import parse_filter
from orchestrator.model.json_text import to_json_text
from orchestrator.model.states import ExecutionState
from orchestrator.model.values import DataType, Value
from orchestrator.service.listing import ListWish, read_page
from orchestrator.service.submit import Place
from orchestrator.store.queries import ExecutionQueries
from orchestrator.store.rows import dump_parameters
from orchestrator.store.tables import executions
from tests.contracts.filter_cases import CASES, NOON, ROWS, TEXTS, quoted, to_columns
from tests.contracts.stored import publish
from tests.services import postgres_database

made_up = settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
HERE = Place()


class Undo(Exception):
    """Takes back what a test wrote."""


@contextmanager
def undone(database):
    with suppress(Undo), database.begin() as connection:
        yield connection
        raise Undo


@pytest.fixture
def version_id(database):
    return publish(database)


def insert(connection, version_id, rows):
    """Rows of executions, with whatever they leave out; their ids are their numbers."""
    usual = {
        "project": "default",
        "location": "local",
        "integration": "flow",
        "version_id": version_id,
        "trigger_id": "api_trigger/flow",
        "method": "POST",
        "executor": "default",
        "state": "SUCCEEDED",
        "revision": 0,
        "progress": "",
        "request": "{}",
        "root_id": "0",
        "parent_id": None,
        "created_at": NOON,
        "updated_at": NOON,
    }
    numbered = [usual | {"id": f"{number:05}"} | row for number, row in enumerate(rows)]
    connection.execute(sa.insert(executions), numbered)


def found(connection, database, text, **more):
    return [each.id for each in ExecutionQueries(database, connection).list(parse_filter(text), limit=10_000, **more)]


# -- one meaning ---------------------------------------------------------------------------------------------------


@made_up
@given(cases=st.lists(CASES, min_size=1, max_size=8), rows=st.lists(ROWS, min_size=1, max_size=6))
def test_a_filter_finds_what_it_means(database, version_id, cases, rows):
    with undone(database) as connection:
        insert(connection, version_id, map(to_columns, rows))

        for case in cases:
            fitting = {f"{number:05}" for number, row in enumerate(rows) if case.fits(row)}
            assert set(found(connection, database, case.text)) == fitting, case.text


@made_up
@given(case=CASES, rows=st.lists(ROWS, min_size=1, max_size=6))
def test_every_execution_fits_a_filter_or_its_opposite(database, version_id, case, rows):
    with undone(database) as connection:
        insert(connection, version_id, map(to_columns, rows))

        fitting = found(connection, database, case.text)
        others = found(connection, database, f"NOT ({case.text})")

    assert sorted(fitting + others) == [f"{number:05}" for number in range(len(rows))]


@pytest.mark.parametrize(
    "text",
    [
        "priority < 70000",
        "priority != 9223372036854775807",
        "duration < 99999999d",
        "create_time > 0001-01-01T00:00:00Z AND create_time < 9999-12-31T23:59:59Z",
        "NOT parameter.n = 1e308",
        f"NOT parameter.n = {'9' * 500}",
        "NOT parameter.n = 9223372036854775808",
    ],
)
def test_what_no_column_holds_can_be_compared_with(database, version_id, text):
    with undone(database) as connection:
        insert(connection, version_id, [{"ended_at": NOON}])

        assert found(connection, database, text) == ["00000"]


@pytest.mark.parametrize(
    ("start", "end", "us"), [(0, 1, 1), (999_999, 1_000_000, 1), (1, 1_000_000, 999_999), (500_000, 86_400_499_999, -1)]
)
def test_durations_are_exact_to_the_microsecond(database, version_id, start, end, us):
    times = {"created_at": NOON + timedelta(microseconds=start), "ended_at": NOON + timedelta(microseconds=end)}
    exact = {1: "0.000001s", 999_999: "0.999999s", -1: "86399.999999s"}[us]
    with undone(database) as connection:
        insert(connection, version_id, [times])

        assert found(connection, database, f"duration = {exact}") == ["00000"]


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (Value(DataType.DOUBLE, 0.0), "0 0.0 -0.0"),
        (Value(DataType.DOUBLE, -0.0), "0 0.0 -0.0"),
        (Value(DataType.DOUBLE, 5.0), "5 5.0 +5 5e0"),
        (Value(DataType.DOUBLE, 1e300), "1e300 1e+300"),
        (Value(DataType.INT, 5), "5 +5 05"),
        (Value(DataType.INT, -(2**63)), "-9223372036854775808"),
        (Value(DataType.STRING, "05"), "05"),
        (Value(DataType.BOOLEAN, True), "true"),
    ],
    ids=str,
)
def test_a_parameter_is_found_by_whatever_is_written_for_its_value(database, version_id, value, written):
    with undone(database) as connection:
        insert(connection, version_id, [{"request": dump_parameters({"n": value})}])

        for text in written.split():
            assert found(connection, database, f"parameter.n = {text}") == ["00000"], text
        assert found(connection, database, "parameter.n = 6 OR parameter.n = 0.5 OR parameter.n = false") == []


def test_a_nul_in_a_parameter_hinders_no_list(database, version_id):
    """PostgreSQL's JSON functions would refuse the whole statement."""
    with undone(database) as connection:
        with_nul = '{"a":{"stringValue":"\\u0000"},"b":{"intValue":"5"}}'
        insert(connection, version_id, [{"request": with_nul}, {"response": '{"b":{"intValue":"6"}}'}])

        assert found(connection, database, "parameter.b = 5 AND parameter_key = a") == ["00000"]


# -- nothing of a caller's in the statement ------------------------------------------------------------------------

ATTACKS = [
    *("' OR '1'='1", "'; DROP TABLE executions; --", '" OR ""="', "1 OR 1=1", "x' UNION SELECT NULL --", "%' --"),
    *("\\' OR 1=1 --", "admin'/*", "1; SELECT pg_sleep(9)", "')) OR ((1=1", "%(a)s", ":a", "{a}", "$1", "?", "%s"),
    *("0x27", "' || (SELECT 1) || '", "a' AND SLEEP(9) AND 'a", "*/ OR 1=1", "\N{FULLWIDTH APOSTROPHE} OR 1=1"),
]


@contextmanager
def statements_of(database):
    seen = []

    def note(connection, cursor, statement, parameters, context, executemany):
        seen.append(statement)

    sa.event.listen(database.engine, "before_cursor_execute", note)
    try:
        yield seen
    finally:
        sa.event.remove(database.engine, "before_cursor_execute", note)


@pytest.mark.parametrize("attack", ATTACKS)
def test_an_attack_is_refused_or_is_a_text_like_any_other(database, version_id, attack):
    with database.begin() as connection:
        kept = to_json_text({"a": {"stringValue": attack}})
        insert(connection, version_id, [{"integration": attack, "request": kept}, {}])
    queries = ExecutionQueries(database)
    as_text = to_json_text(attack)

    with pytest.raises(FilterSyntax):
        parse_filter(f"integration = x {attack}")
    for field in ("integration =", "integration :", "parameter.a =", "parameter_value ="):
        assert [each.id for each in queries.list(parse_filter(f"{field} {as_text}"))] == ["00000"]
    assert len(queries.list(parse_filter("state:*"))) == 2


@made_up
@given(mark=TEXTS, data=st.data())
def test_no_text_of_a_caller_is_in_the_statement(database, mark, data):
    marked = f"MARK{mark}MARK"
    terms = [f"integration = {data.draw(quoted(marked))}", f"trigger : {data.draw(quoted(marked))}"]
    terms += [
        f"parameter.{to_json_text(marked)} = {data.draw(quoted(marked))}",
        f"parameter_key : {to_json_text(marked)}",
    ]

    with statements_of(database) as seen:
        ExecutionQueries(database).list(parse_filter(" OR ".join(terms)))

    assert any("FROM executions" in each for each in seen)
    assert not any("MARK" in each for each in seen)


# -- pages ---------------------------------------------------------------------------------------------------------


def walk(queries, *, between=lambda: None, **wish):
    """The ids on all pages."""
    token, ids = "", []
    while True:
        page, token = read_page(ListWish(**wish, page_token=token), queries, place=HERE)
        assert len(page) <= wish["page_size"]
        ids += [each.id for each in page]
        assert len(set(ids)) == len(ids)
        if not token:
            return ids
        between()


@pytest.mark.parametrize("order_by", ["", "create_time", "update_time desc", "priority", "priority desc"])
@pytest.mark.parametrize("text", ["", "priority != 3", "state = FAILED OR parent:*"])
def test_pages_are_the_list_cut_into_pieces(database, version_id, order_by, text):
    rows = [
        {
            "created_at": NOON + timedelta(microseconds=number % 4),
            "updated_at": NOON - timedelta(seconds=number % 3),
            "priority": number % 5,
            "state": "FAILED" if number % 2 else "PENDING",
            "parent_id": "00000" if number % 7 == 1 else None,
        }
        for number in range(23)
    ]
    with database.begin() as connection:
        insert(connection, version_id, rows)
    queries = ExecutionQueries(database)

    whole = walk(queries, filter=text, order_by=order_by, page_size=1_000)

    assert len(whole) >= 10
    for page_size in (1, 4, len(whole)):
        assert walk(queries, filter=text, order_by=order_by, page_size=page_size) == whole


def test_what_is_created_between_two_pages_moves_nothing(database, version_id):
    with database.begin() as connection:
        insert(connection, version_id, [{"created_at": NOON + timedelta(seconds=each)} for each in range(10)])
    queries, new = ExecutionQueries(database), iter(range(100, 200))

    def create():
        with database.begin() as connection:
            rows = [{"id": f"{next(new):05}", "created_at": NOON + timedelta(days=1)} for _ in range(3)]
            insert(connection, version_id, rows)

    assert walk(queries, page_size=2, between=create) == [f"{each:05}" for each in reversed(range(10))]


def test_a_list_shows_roots_unless_there_is_a_filter_or_it_is_told(database, version_id):
    with database.begin() as connection:
        insert(connection, version_id, [{}, {"parent_id": "00000"}, {"project": "another"}])

    def ids(**wish):
        return sorted(each.id for each in read_page(ListWish(**wish), ExecutionQueries(database), place=HERE)[0])

    assert ids() == ids(filter="state:*", with_children=False) == ids(integration="flow") == ["00000"]
    assert ids(filter="state:*") == ids(with_children=True) == ["00000", "00001"]
    assert ids(filter="parent = 00000") == ["00001"]


# -- indexes -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def full():
    """PostgreSQL with some thousand executions, and their statistics."""
    with postgres_database() as database:
        version_id = publish(database)
        with database.begin() as connection:
            rows = [
                {
                    "integration": f"flow-{number % 200}",
                    "state": "FAILED" if number % 100 == 0 else "SUCCEEDED",
                    "created_at": NOON + timedelta(seconds=number),
                    "progress": "s" * 200,
                }
                for number in range(5_000)
            ]
            insert(connection, version_id, rows)
            connection.execute(sa.text("ANALYZE executions"))
        yield database


def plan_of(database, call):
    """How PostgreSQL would run the statement of a call."""
    seen = []

    def note(connection, cursor, statement, parameters, context, executemany):
        seen.append((statement, parameters))

    sa.event.listen(database.engine, "before_cursor_execute", note)
    try:
        call()
    finally:
        sa.event.remove(database.engine, "before_cursor_execute", note)
    statement, parameters = next(each for each in seen if "FROM executions" in each[0])
    with database.read() as connection:
        return "\n".join(connection.exec_driver_sql(f"EXPLAIN {statement}", parameters).scalars())


@pytest.mark.services
@pytest.mark.parametrize(
    "wish",
    [
        ListWish(),
        ListWish(filter="state = FAILED"),
        ListWish(filter="workflow_name = flow-7"),
        ListWish(filter="create_time >= 2026-01-31T12:30:00Z AND create_time < 2026-01-31T12:31:00Z"),
        ListWish(filter="state = FAILED AND integration = flow-100 AND create_time > 2026-01-31T13:00:00Z"),
        ListWish(filter="id = 00007"),
        ListWish(filter="parent = 00007"),
        ListWish(state=ExecutionState.FAILED, order_by="create_time"),
    ],
    ids=str,
)
def test_the_usual_filters_are_answered_by_an_index(full, wish):
    queries = ExecutionQueries(full)

    plan = plan_of(full, lambda: read_page(wish, queries, place=HERE))

    assert "Index" in plan
    assert "Seq Scan" not in plan


@pytest.mark.services
def test_a_later_page_begins_where_the_index_says(full):
    queries = ExecutionQueries(full)
    _, token = read_page(ListWish(), queries, place=HERE)

    plan = plan_of(full, lambda: read_page(ListWish(page_token=token), queries, place=HERE))

    assert "Index Cond: (ROW(created_at, (id)::text) < ROW(" in plan


@pytest.mark.services
def test_what_is_live_is_found_by_its_index(full):
    plan = plan_of(full, lambda: ExecutionQueries(full).live_matches(parse_filter("integration : flow")))

    assert "executions_stage_ix" in plan
