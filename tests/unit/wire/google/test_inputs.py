"""What requests to run something say."""

import json

import pytest

from orchestrator.model.values import DataType, Value
from orchestrator.wire.google.bodies import parse_body
from orchestrator.wire.google.inputs import Inputs
from orchestrator.wire.google.violations import InvalidRequest


def inputs(**body):
    return parse_body(json.dumps(body).encode(), Inputs)


def value(text):
    return {"stringValue": text}


def test_parameters_of_all_kinds_are_one_map_and_the_newer_stand_over_the_older():
    body = inputs(
        parameterEntries=[{"key": "a", "value": value("1")}, {"key": "b", "value": value("1")}],
        parameters={"parameters": [{"key": "b", "value": value("2")}, {"key": "c", "value": value("2")}]},
        inputParameters={"c": value("3")},
    )

    assert {key: each.data for key, each in body.given.items()} == {"a": "1", "b": "2", "c": "3"}


def test_a_parameter_without_a_value_is_not_given():
    assert inputs(parameterEntries=[{"key": "a"}, {"key": "b", "value": None}]).given == {}


def test_an_older_parameter_may_say_its_type():
    entry = {"key": "a", "dataType": "INT_VALUE", "masked": True, "value": {"int_value": "1"}}

    assert inputs(parameter_entries=[entry]).given == {"a": Value(DataType.INT, 1)}


def test_a_trigger_that_is_missing_is_missed_only_where_it_is_needed():
    body = inputs()

    assert body.given == {}
    with pytest.raises(InvalidRequest, match="trigger_id"):
        _ = body.trigger
