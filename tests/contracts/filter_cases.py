"""Filters and executions made up by Hypothesis, with what each filter means said a second time, in plain Python.

A ``Case`` is a filter's text, spelled one way of many, and a predicate over a row. Neither the parser's tree nor SQL
has a part in the predicate, so that it finds out whether both are right. A row is a dict of columns, with parameters as
``Value``s under ``request`` and ``response``.
"""

import json
import operator
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from hypothesis import strategies as st

from orchestrator.model.json_text import to_json_text
from orchestrator.model.states import ExecutionState
from orchestrator.model.values import DataType, Value, to_parameters

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)


@dataclass(frozen=True)
class Case:
    text: str
    fits: Callable[[dict], bool]


# -- rows ----------------------------------------------------------------------------------------------------------

# What would break out of SQL, LIKE, JSON or our own search in JSON text, if anything did.
ODD = st.sampled_from(
    ["a", "A", "ab", "", ",", ":{", 'a"', "',", "\\", "%", "_", "a_b", "5", "é", "':*", "stringArray"]
)
TEXTS = st.one_of(ODD, st.lists(ODD, max_size=3).map("".join))
NAMES = TEXTS.filter(lambda name: name[:1] not in {",", ":", "]", "}"})
ANY_NAMES = st.one_of(NAMES, TEXTS)  # what a row may have, and a filter cannot ask for
TIMES = st.one_of(
    st.sampled_from([NOON + timedelta(microseconds=each) for each in (-1, 0, 1, 999_999, 86_400_000_000)]),
    st.datetimes(datetime(1970, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC)),
)
WHOLE = st.one_of(st.integers(-10, 10), st.sampled_from([70_000, 2**31, 2**63 - 1, -(2**63)]))
DOUBLES = st.one_of(st.sampled_from([0.0, -0.0, 5.0, 0.1, 1e300]), st.floats(allow_nan=False, allow_infinity=False))
STATES = st.sampled_from(list(ExecutionState)).map(str)
METHODS = st.sampled_from(["POST", "POST_TO_QUEUE", "SCHEDULE"])
VALUES = st.one_of(
    TEXTS.map(lambda data: Value(DataType.STRING, data)),
    WHOLE.map(lambda data: Value(DataType.INT, data)),
    DOUBLES.map(lambda data: Value(DataType.DOUBLE, data)),
    st.booleans().map(lambda data: Value(DataType.BOOLEAN, data)),
    st.lists(TEXTS).map(lambda data: Value(DataType.STRING_ARRAY, tuple(data))),
    st.lists(st.booleans()).map(lambda data: Value(DataType.BOOLEAN_ARRAY, tuple(data))),
    st.dictionaries(TEXTS, TEXTS, max_size=2).map(lambda data: Value(DataType.JSON, data)),
)
PARAMETERS = st.dictionaries(ANY_NAMES, VALUES, max_size=3)
ROWS = st.fixed_dictionaries(
    {
        "integration": TEXTS,
        "trigger_id": TEXTS,
        "executor": TEXTS,
        "state": STATES,
        "method": METHODS,
        "priority": st.integers(0, 9),
        "created_at": TIMES,
        "updated_at": TIMES,
        "ended_at": st.none() | TIMES,
        "scheduled_at": st.none() | TIMES,
        "parent_id": st.none() | TEXTS,
        "root_id": TEXTS,
        "replay_of": st.none() | TEXTS,
        "submitted_by": st.none() | TEXTS,
        "request": PARAMETERS,
        "response": st.none() | PARAMETERS,
    }
)


def to_columns(row):
    """A row as the table takes it."""
    texts = {
        key: None if row[key] is None else to_json_text(to_parameters(row[key])) for key in ("request", "response")
    }
    return row | texts


# -- how a filter may be written -----------------------------------------------------------------------------------

SPACE = st.sampled_from(["", " ", "\n", "\N{NO-BREAK SPACE}"])
SIGNS = {"=": operator.eq, "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge}
BARE = re.compile(r"[\w.+/:@%~-]+")


def quoted(text):
    double = json.dumps(text)
    single = "'" + double[1:-1].replace('\\"', '"').replace("'", "\\'") + "'"
    forms = [double, json.dumps(text, ensure_ascii=False), single]
    if BARE.fullmatch(text) and text not in ("AND", "OR", "NOT"):
        forms.append(text)
    return st.sampled_from(forms)


def spelled(name):
    head, *rest = name.split("_")
    return st.sampled_from([name, head + "".join(word.capitalize() for word in rest)])


@st.composite
def comparisons(draw, name, signs, value, write, test):
    """``test(row, sign, value)`` says whether it holds, for every sign but ``!=``."""
    sign, wanted = draw(st.sampled_from([*signs, "!="])), draw(value)
    text = draw(spelled(name)) + draw(SPACE) + sign + draw(SPACE) + draw(write(wanted))
    if sign == "!=":
        return Case(text, lambda row: not test(row, "=", wanted))
    return Case(text, lambda row: test(row, sign, wanted))


def of_text(name, column):
    def test(row, sign, wanted):
        found = row[column]
        return found is not None and (wanted in found if sign == ":" else found == wanted)

    return comparisons(name, ["=", ":"], TEXTS, quoted, test)


def of_choice(name, column, values):
    return comparisons(name, ["=", ":"], values, quoted, lambda row, sign, wanted: row[column] == wanted)


def in_order(name, value, write, find):
    def test(row, sign, wanted):
        found = find(row)
        return found is not None and SIGNS[sign.replace(":", "=")](found, wanted)

    return comparisons(name, [*SIGNS, ":"], value, write, test)


def of_time(name, column):
    return in_order(name, TIMES, lambda time: quoted(time.isoformat()), lambda row: row[column])


def of_duration():
    def find(row):
        return None if row["ended_at"] is None else row["ended_at"] - row["created_at"]

    seconds = st.sampled_from(["0s", "0.000001s", "1s", "1.5s", "1d", "2h", "999999s"])
    units = {"s": 1, "h": 3_600, "d": 86_400}
    values = seconds.map(lambda text: (text, timedelta(seconds=float(text[:-1]) * units[text[-1]])))

    def test(row, sign, wanted):
        found = find(row)
        return found is not None and SIGNS[sign.replace(":", "=")](found, wanted[1])

    return comparisons("duration", [*SIGNS, ":"], values, lambda wanted: quoted(wanted[0]), test)


def is_written(value, text):
    """Whether a text is what somebody would write for a value."""
    match value.type:
        case DataType.STRING:
            return value.data == text
        case DataType.BOOLEAN:
            return text == str(value.data).lower()
        case DataType.INT:
            return re.fullmatch("[+-]?[0-9]+", text) is not None and int(text) == value.data
        case DataType.DOUBLE:
            return (
                re.fullmatch(r"[+-]?[0-9]+(\.[0-9]+)?(e[+-]?[0-9]+)?", text) is not None and float(text) == value.data
            )
        case _:
            return False


def of(row):
    return [*row["request"].items(), *(row["response"] or {}).items()]


WRITTEN = st.one_of(TEXTS, WHOLE.map(str), DOUBLES.map(repr), st.sampled_from(["true", "false", "True", "05", "+5"]))


@st.composite
def of_parameter(draw):
    name, wanted = draw(NAMES), draw(WRITTEN)
    start = f"parameter.{draw(st.sampled_from([json.dumps(name), json.dumps(name, ensure_ascii=False)]))}"
    if draw(st.booleans()):
        return Case(f"{start}:*", lambda row: any(name == key for key, _ in of(row)))
    return Case(
        f"{start} = {draw(quoted(wanted))}",
        lambda row: any(name == key and is_written(value, wanted) for key, value in of(row)),
    )


def of_parameters():
    return st.one_of(
        of_parameter(),
        comparisons(
            *("parameter_key", ["=", ":"], NAMES, quoted),
            lambda row, sign, wanted: any(wanted == key for key, _ in of(row)),
        ),
        comparisons(
            *("parameter_value", ["=", ":"], WRITTEN, quoted),
            lambda row, sign, wanted: any(is_written(value, wanted) for _, value in of(row)),
        ),
        comparisons(
            *("parameter_type", ["=", ":"], st.sampled_from(list(DataType)).map(str), quoted),
            lambda row, sign, wanted: any(value.type == wanted for _, value in of(row)),
        ),
        st.just(Case("parameterKey:*", lambda row: bool(of(row)))),
    )


def filled():
    columns = {"parent_id": "parent_id", "replay_of": "replay_of", "end_time": "ended_at", "state": "state"}
    columns |= {"schedule_time": "scheduled_at", "duration": "ended_at"}
    pairs = st.sampled_from(sorted(columns.items()))
    return pairs.map(lambda pair: Case(f"{pair[0]}:*", lambda row: row[pair[1]] is not None))


TERMS = st.one_of(
    of_text("integration", "integration"),
    of_text("workflow_name", "integration"),
    of_text("trigger_id", "trigger_id"),
    of_text("executor", "executor"),
    of_text("parent_id", "parent_id"),
    of_text("root_id", "root_id"),
    of_text("replay_of", "replay_of"),
    of_text("submitted_by", "submitted_by"),
    of_choice("state", "state", STATES),
    of_choice("event_execution_state", "state", STATES),
    of_choice("execution_method", "method", METHODS),
    in_order("priority", WHOLE, lambda number: quoted(str(number)), lambda row: row["priority"]),
    of_time("create_time", "created_at"),
    of_time("update_time", "updated_at"),
    of_time("end_time", "ended_at"),
    of_time("schedule_time", "scheduled_at"),
    of_duration(),
    of_parameters(),
    filled(),
)


def combined(parts):
    def both(pair):
        left, right = pair
        return Case(f"({left.text}) AND ({right.text})", lambda row: left.fits(row) and right.fits(row))

    def either(pair):
        left, right = pair
        return Case(f"({left.text} OR {right.text})", lambda row: left.fits(row) or right.fits(row))

    def denied(part):
        return Case(f"NOT ({part.text})", lambda row: not part.fits(row))

    pairs = st.tuples(parts, parts)
    return st.one_of(pairs.map(both), pairs.map(either), parts.map(denied))


def flat(terms):
    """``a AND b OR c``: without parentheses, AND binds tighter."""
    a, b, c = terms
    return Case(f"{a.text} AND {b.text} OR -{c.text}", lambda row: (a.fits(row) and b.fits(row)) or not c.fits(row))


CASES = st.one_of(st.recursive(TERMS, combined, max_leaves=6), st.tuples(TERMS, TERMS, TERMS).map(flat))
