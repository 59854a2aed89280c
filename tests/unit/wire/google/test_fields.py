from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.errors import InvalidValue
from orchestrator.model.values import DataType, Value
from orchestrator.wire.google.fields import (
    epoch_ms,
    from_timestamp,
    from_value_type,
    struct,
    timestamp,
    to_value_type,
    value_types,
)

LARGE = 2**63 - 1


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (Value(DataType.STRING, "x"), {"stringValue": "x"}),
        (Value(DataType.INT, LARGE), {"intValue": "9223372036854775807"}),
        (Value(DataType.DOUBLE, 1.5), {"doubleValue": 1.5}),
        (Value(DataType.BOOLEAN, False), {"booleanValue": False}),
        (Value(DataType.JSON, {"a": [1, None]}), {"jsonValue": '{"a":[1,null]}'}),
        (Value(DataType.STRING_ARRAY, ("x", "y")), {"stringArray": {"stringValues": ["x", "y"]}}),
        (Value(DataType.INT_ARRAY, (1, LARGE)), {"intArray": {"intValues": ["1", "9223372036854775807"]}}),
        (Value(DataType.DOUBLE_ARRAY, (0.5,)), {"doubleArray": {"doubleValues": [0.5]}}),
        (Value(DataType.BOOLEAN_ARRAY, ()), {"booleanArray": {"booleanValues": []}}),
    ],
)
def test_a_value_has_one_key_and_comes_back_as_it_was(value, written):
    assert to_value_type(value) == written
    assert from_value_type(written, "here") == value


@pytest.mark.parametrize("body", [{"intValue": 7}, {"intValue": "7"}, {"int_value": "7"}, {"intValue": 7.0}])
def test_an_int_may_be_a_number_or_digits(body):
    assert from_value_type(body, "here") == Value(DataType.INT, 7)


@pytest.mark.parametrize("body", [{}, {"intValue": 1, "stringValue": "1"}, {"wrongValue": 1}, {"intValue": True}, 7])
def test_what_is_no_value_is_refused_with_its_place(body):
    with pytest.raises(InvalidValue) as caught:
        from_value_type(body, "input_parameters['qty']")
    assert str(caught.value).startswith("input_parameters['qty']: found ")


def test_a_struct_holds_plain_json():
    given = {
        "n": Value(DataType.INT, LARGE),
        "l": Value(DataType.STRING_ARRAY, ("a",)),
        "j": Value(DataType.JSON, None),
    }

    assert struct(given) == {"n": LARGE, "l": ["a"], "j": None}
    assert value_types(given)["n"] == {"intValue": str(LARGE)}


@pytest.mark.parametrize(
    ("microsecond", "tail"), [(0, "00Z"), (500_000, "00.500Z"), (1_000, "00.001Z"), (1, "00.000001Z")]
)
def test_a_time_has_as_many_digits_as_it_needs(microsecond, tail):
    assert timestamp(datetime(2026, 1, 31, 12, 0, 0, microsecond, tzinfo=UTC)) == f"2026-01-31T12:00:{tail}"


def test_times_are_utc_and_nothing_stays_nothing():
    assert timestamp(datetime(2026, 1, 31, 1, tzinfo=timezone(timedelta(hours=2)))) == "2026-01-30T23:00:00Z"
    assert epoch_ms(datetime(1970, 1, 1, 0, 0, 1, 2_900, tzinfo=UTC)) == "1002"
    assert (timestamp(None), epoch_ms(None)) == (None, None)


@given(st.datetimes(timezones=st.just(UTC)))
def test_a_time_comes_back_as_it_was(at):
    assert from_timestamp(timestamp(at), "here") == at
    assert int(epoch_ms(at)) <= at.timestamp() * 1000 + 1


@pytest.mark.parametrize("found", ["", "yesterday", 5, None, "2026-02-30T00:00:00Z", "2026-01-31T12:00:00"])
def test_what_is_no_time_is_refused(found):
    with pytest.raises(InvalidValue, match="the time: found"):
        from_timestamp(found, "the time")
