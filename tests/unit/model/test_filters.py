"""Filters: what their text means, and at which column it is refused; and that docs/looking.md says the same."""

import re
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.errors import FilterSyntax, InputError
from orchestrator.model import filter_fields as fields
from orchestrator.model.filters import (
    EVERYTHING,
    MAX_DEPTH,
    MAX_LENGTH,
    MAX_TERMS,
    And,
    Comparison,
    Filled,
    Not,
    Operator,
    Or,
    fits,
    parse_filter,
)

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)


def state(name):
    return Comparison(fields.STATE, Operator.EQUAL, name)


def refusal_of(text):
    with pytest.raises(FilterSyntax) as refused:
        parse_filter(text)
    return refused.value.column, refused.value.expected


A, B, C = state("FAILED"), state("PENDING"), state("SUCCEEDED")
TEXTS = {A: "state=FAILED", B: "state=PENDING", C: "state=SUCCEEDED"}
a, b, c = TEXTS.values()


# -- the tree ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["", " ", "\n\t\N{NO-BREAK SPACE}"])
def test_a_blank_filter_is_everything(text):
    assert parse_filter(text) == EVERYTHING


@pytest.mark.parametrize(
    ("text", "tree"),
    [
        (a, A),
        (f"{a} AND {b} AND {c}", And((A, B, C))),
        (f"{a} OR {b} AND {c}", Or((A, And((B, C))))),
        (f"{a} AND {b} OR {c}", Or((And((A, B)), C))),
        (f"({a} OR {b}) AND {c}", And((Or((A, B)), C))),
        (f"NOT {a} AND {b}", And((Not(A), B))),
        (f"NOT ({a} AND {b})", Not(And((A, B)))),
        (f"-{a} OR - ({b})", Or((Not(A), Not(B)))),
        (f"NOT -NOT(({a}))", Not(Not(Not(A)))),
        (f"\N{NO-BREAK SPACE}{a}\nAND\N{NO-BREAK SPACE}{b} ", And((A, B))),
    ],
)
def test_not_binds_tightest_and_or_loosest(text, tree):
    assert parse_filter(text) == tree


@pytest.mark.parametrize("sign", ["=", "<", "<=", ">", ">="])
def test_what_has_an_order_can_be_compared_in_every_way(sign):
    assert parse_filter(f"priority {sign} 5") == Comparison(fields.PRIORITY, Operator(sign), 5)


def test_unequal_is_the_opposite_of_equal():
    assert parse_filter("parent_id != x") == Not(parse_filter("parent_id = x"))


def test_a_colon_is_contains_on_text_and_equal_elsewhere():
    assert parse_filter("integration:ord") == Comparison(fields.INTEGRATION, Operator.CONTAINS, "ord")
    assert parse_filter("state:FAILED") == parse_filter("state=FAILED")
    assert parse_filter("parameter_key:a") == parse_filter("parameter_key=a")


def test_a_colon_and_a_star_ask_whether_there_is_a_value():
    assert parse_filter("parent:*") == Filled(fields.PARENT_ID)
    assert parse_filter("parameter.total : *") == Filled(fields.PARAMETER, "total")
    assert parse_filter("integration:'*'") == Comparison(fields.INTEGRATION, Operator.CONTAINS, "*")


# -- fields --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("field", "spellings"),
    [
        (fields.INTEGRATION, "integration workflow_name workflowName integration_name integrationName"),
        (fields.STATE, "state event_execution_state eventExecutionState"),
        (fields.CREATE_TIME, "create_time createTime CreateTimestamp created_at createdAt"),
        (fields.UPDATE_TIME, "update_time updateTime last_modified_time lastModifiedTime updated_at"),
        (fields.END_TIME, "end_time endTime ended_at endedAt"),
        (fields.EXECUTION_ID, "execution_id executionId id"),
        (fields.TRIGGER_ID, "trigger_id triggerId trigger"),
        (fields.PARAMETER_TYPE, "parameter_type parameterType"),
        (fields.REPLAY_OF, "replay_of replayOf originalExecutionInfoId"),
    ],
)
def test_both_spellings_and_the_names_of_the_product_lead_to_the_field(field, spellings):
    assert {parse_filter(f"{spelling}:*") for spelling in spellings.split()} == {Filled(field)}


def test_a_spelling_belongs_to_one_field():
    spellings = [each.replace("_", "") for field in fields.FIELDS for each in (field.name, *field.also)]

    assert len(spellings) == len(set(spellings))


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("parameter.order_id=1", "order_id"),
        ("parameter.a.b-c=1", "a.b-c"),
        ("parameter.`Task_1_x`=1", "`Task_1_x`"),
        (r'parameter."a \"b\""=1', 'a "b"'),
        ("parameter.''=1", ""),
    ],
)
def test_a_parameter_is_asked_for_by_its_name(text, name):
    assert parse_filter(text) == Comparison(fields.PARAMETER, Operator.EQUAL, "1", name)


# -- values --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("api_trigger/order", "api_trigger/order"),
        ("12:00", "12:00"),
        ("-5", "-5"),
        ("état", "état"),
        ("'OR'", "OR"),
        (r'"a\"b\\c\n\u00e9"', 'a"b\\c\né'),
        (r"""'it\'s "so"'""", 'it\'s "so"'),
        ("'100%_'", "100%_"),
        ('""', ""),
    ],
)
def test_text_is_bare_or_in_quotes(written, meant):
    assert parse_filter(f"trigger={written}").value == meant


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("2026-01-31T12:00:00Z", NOON),
        ("'2026-01-31T13:30:00+01:30'", NOON),
        ("2026-01-31t12:00:00.25z", NOON.replace(microsecond=250_000)),
        ("2026-01-31T12:00:00.123456789Z", NOON.replace(microsecond=123_456)),
        ("2026-01-31", NOON.replace(hour=0)),
        ("9999-12-31T23:59:59Z", datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)),
    ],
)
def test_times_are_rfc_3339_or_a_day(written, meant):
    assert parse_filter(f"createTime>{written}").value == meant


@pytest.mark.parametrize(
    ("written", "seconds"),
    [("90s", 90), ("1.5s", 1.5), ("0.000001s", 1e-6), ("15m", 900), ("2h", 7_200), ("1d", 86_400)],
)
def test_durations_have_a_unit(written, seconds):
    assert parse_filter(f"duration>={written}").value == timedelta(seconds=seconds)


@pytest.mark.parametrize(
    ("older", "state"), [("ON_HOLD", "PENDING"), ("IN_PROCESS", "PROCESSING"), ("CANCELED", "CANCELLED")]
)
def test_older_names_of_states_are_taken(older, state):
    assert parse_filter(f"event_execution_state={older}") == parse_filter(f"state={state}")


# -- what is refused -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "column", "expected"),
    [
        ("stat = FAILED", 1, "one of the fields execution_id, "),
        ("state", 6, "one of = != < <= > >= : after state"),
        ("state FAILED", 7, "one of = "),
        ("state =", 8, "a value (choice)"),
        ("state = AND", 9, "a value (choice)"),
        ("state = failed", 9, "one of PENDING, PROCESSING"),
        ("state < FAILED", 7, "= != or : (state has no order)"),
        ("trigger >= a", 9, "= != or :"),
        ("parameter.a > 5", 13, "= != or :"),
        ("priority = 4.5", 12, "a whole number"),
        ("priority = 99999999999999999999", 12, "a whole number"),
        ("create_time > yesterday", 15, "a time such as 2026-01-31T12:00:00Z"),
        ("create_time > 2026-02-30", 15, "a time"),
        ("create_time > 2026-01-31T12:00:00", 15, "a time"),
        ("create_time > 2026-01-31T12:00:60Z", 15, "a time"),
        ("create_time > 0001-01-01T00:00:00+01:00", 15, "a time"),
        ("duration > 5", 12, "a duration such as 90s"),
        ("duration > 999999999d", 12, "a duration"),
        ("trigger = 'a", 11, "a closing '"),
        (r'trigger = "a\x"', 11, "a string with the escapes of JSON"),
        (r'trigger = "\u0000"', 11, "text without NUL"),
        (r'trigger = "\ud800"', 11, "text without NUL and lone surrogates"),
        ("trigger = order*", 16, "AND, OR"),
        ("trigger = *", 11, "a value (text)"),
        (f"{a} {b}", 14, "AND, OR (in capitals) or the end"),
        (f"{a} and {b}", 14, "AND, OR (in capitals)"),
        (f"{a} AND", 17, "a field, NOT or ("),
        (f"{a} AND OR {b}", 18, "a field, NOT or ("),
        (f"({a}", 14, "AND, OR or )"),
        (f"{a})", 13, "AND, OR"),
        ("()", 2, "a field"),
        ("parameter = 5", 10, "a dot and the name of a parameter"),
        ("parameter. a = 5", 11, "the name of a parameter"),
        ("parameter.',a' = 5", 11, "the name of a parameter, which begins with none of"),
        ("parameter_key = ':a'", 17, "the name of a parameter, which begins with none of"),
        ("parameter_type = INT", 18, "one of STRING_VALUE"),
        ("1 = 1", 1, "a field"),
        ("id = 'a'; DROP TABLE executions", 9, "AND, OR"),
    ],
)
def test_what_is_wrong_is_refused_where_it_stands(text, column, expected):
    found = refusal_of(text)

    assert found[0] == column
    assert found[1].startswith(expected)


def test_nesting_terms_and_length_are_limited():
    deepest, most = "(" * MAX_DEPTH + a + ")" * MAX_DEPTH, " OR ".join([a] * MAX_TERMS)

    assert parse_filter(deepest) == A
    assert len(parse_filter(most).parts) == MAX_TERMS
    assert refusal_of(f"({deepest})") == (MAX_DEPTH + 1, "at most 10 levels of parentheses and NOT")
    assert refusal_of(f"NOT {deepest}")[1] == "at most 10 levels of parentheses and NOT"
    assert refusal_of(f"{most} OR {b}") == (len(most) + 5, "at most 50 terms")
    assert refusal_of(" " * (MAX_LENGTH + 1)) == (MAX_LENGTH + 1, "at most 10,000 characters")


def test_depth_is_how_deep_it_is_and_not_how_often():
    assert len(parse_filter(" AND ".join([f"NOT ({a})"] * MAX_TERMS)).parts) == MAX_TERMS


def test_a_refusal_is_an_input_error_that_says_where():
    with pytest.raises(InputError, match=r"^filter 'state < A', column 7: expected = != or : "):
        parse_filter("state < A")


@given(
    st.one_of(
        st.text(),
        st.lists(
            st.sampled_from(
                ["AND", "OR", "NOT", "-", "(", ")", "state", "parameter.", "=", ":", "*", "'", '"', "\\", "5"]
            )
        ).map(" ".join),
    )
)
def test_any_text_is_a_filter_or_refused_at_a_column_of_it(text):
    column = 1
    try:
        parse_filter(text)
    except FilterSyntax as refused:
        column = refused.column

    assert 1 <= column <= len(text) + 1


@given(st.datetimes(timezones=st.sampled_from([UTC, timezone(timedelta(hours=-5, minutes=-30))])))
def test_every_time_that_python_writes_is_read_back(time):
    try:
        meant = time.astimezone(UTC)
    except OverflowError:
        return
    assert parse_filter(f"end_time <= {time.isoformat()}").value == meant


# -- the page ------------------------------------------------------------------------------------------------------

PAGE = (Path(__file__).parents[3] / "docs" / "looking.md").read_text()


def rows(header):
    """The cells of every row below this table head."""
    (_, below) = PAGE.split(f"\n{header}\n")
    lines = below.split("\n")[1:]
    return [re.split(r" *\| *", line.strip("| ")) for line in lines[: lines.index("")]]


def code(cell):
    return re.findall("`([^`]+)`", cell)


@pytest.mark.parametrize("row", rows("| Filter | Finds |"), ids=lambda row: row[0])
def test_an_example_of_the_page_is_a_filter(row):
    assert parse_filter(*code(row[0])) != EVERYTHING


@pytest.mark.parametrize("row", rows("| Refused | Column | Instead |"), ids=lambda row: row[0])
def test_what_the_page_calls_refused_is_refused_at_its_column(row):
    (refused,), (instead,) = code(row[0]), code(row[2])

    assert refusal_of(refused)[0] == int(row[1])
    assert parse_filter(instead) != EVERYTHING


def test_the_page_has_every_field_with_its_names_and_its_kind():
    written = [(*code(row[0]), tuple(code(row[1])), row[-1]) for row in rows("| Field | Also | Is |")]

    assert written == [(field.name, field.also, field.kind.value) for field in fields.FIELDS]


def test_the_page_has_the_limits():
    assert f"At most {MAX_LENGTH:,} characters, {MAX_DEPTH} levels of parentheses and NOT, {MAX_TERMS} tests." in PAGE


# -- in memory -------------------------------------------------------------------------------------------------------

SIZE = fields.Field("size", fields.Kind.WHOLE)
NAME = fields.Field("name", fields.Kind.TEXT, ("label",))


@pytest.mark.parametrize(
    ("text", "fitting"),
    [
        ("", "abc"),
        ("size = 2", "b"),
        ("size != 2", "ac"),
        ("size >= 1 AND size < 2", "a"),
        ("name:e", "ab"),
        ("label = one OR size > 1", "ab"),
        ("size:*", "ab"),
        ("NOT (size <= 2)", "c"),
    ],
)
def test_a_filter_of_other_fields_chooses_what_is_in_memory(text, fitting):
    things = {"a": {SIZE: 1, NAME: "one"}, "b": {SIZE: 2, NAME: "three"}, "c": {SIZE: None, NAME: "two"}}
    tree = parse_filter(text, (SIZE, NAME))

    assert "".join(name for name, values in things.items() if fits(tree, values)) == fitting


def test_a_filter_of_other_fields_knows_those_alone():
    with pytest.raises(FilterSyntax, match=r"one of the fields size, name$"):
        parse_filter("state=FAILED", (SIZE, NAME))
