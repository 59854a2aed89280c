"""The structured filter of the product becomes the tree that a filter's text becomes."""

import pytest

from orchestrator.errors import FilterSyntax, InvalidValue
from orchestrator.model.filter_params import parse_filter_params
from orchestrator.model.filters import EVERYTHING, And, Or, parse_filter


@pytest.mark.parametrize(
    ("params", "text"),
    [
        ({"executionId": ["e"]}, "execution_id = e"),
        ({"workflow_name": ["w"]}, "integration = w"),
        ({"parameterType": ["INT_VALUE"]}, "parameter_type = INT_VALUE"),
        ({"parameterKey": ["k"]}, "parameter_key = k"),
        ({"parameterValue": ["v w"]}, "parameter_value = 'v w'"),
        ({"parameterPairKey": ["k"], "parameterPairValue": ["v"]}, "parameter.k = v"),
        ({"parameterPairKey": ["k"]}, "parameter_key = k"),
        ({"parameter_pair_value": ["v"]}, "parameter_value = v"),
        ({"startTime": ["1769860800000"]}, "create_time >= 2026-01-31T12:00:00Z"),
        ({"endTime": ["1769860800001"]}, "create_time <= 2026-01-31T12:00:00.001Z"),
        ({"eventStatuses": ["FAILED"]}, "state = FAILED"),
        ({"eventStatuses": ["ON_HOLD", "IN_PROCESS"]}, "state = PENDING OR state = PROCESSING"),
        ({"customFilter": ["state = FAILED OR priority > 4"]}, "state = FAILED OR priority > 4"),
        ({"executionId": [""], "parameterPairKey": [], "workflowName": ["w"]}, "integration = w"),
    ],
)
def test_each_part_says_what_a_filter_says(params, text):
    assert parse_filter_params(params) == parse_filter(text)


def test_all_parts_are_to_hold():
    tree = parse_filter_params({"eventStatuses": ["FAILED", "PENDING"], "customFilter": ["priority > 4"]})

    assert tree == And(
        (parse_filter("priority > 4"), Or((parse_filter("state = FAILED"), parse_filter("state = PENDING"))))
    )


def test_nothing_is_everything():
    assert parse_filter_params({}) == parse_filter_params({"executionId": [""]}) == EVERYTHING


@pytest.mark.parametrize(
    ("params", "message"),
    [
        (
            {"taskStatuses": ["FAILED"]},
            "filterParams: found 'taskStatuses', expected one of customFilter, executionId, ",
        ),
        ({"executionId": ["a", "b"]}, "filterParams.executionId: found 2 values, expected one"),
        ({"executionId": ["a"], "execution_id": ["b"]}, "filterParams.executionId: found 2 values, expected one"),
        ({"eventStatuses": ["DONE"]}, "filterParams.eventStatuses: found 'DONE', expected one of PENDING"),
        ({"eventStatuses": ["FAILED"] * 51}, "filterParams.eventStatuses: found 51 values, expected at most 50"),
        ({"startTime": ["noon"]}, "filterParams.startTime: found 'noon', expected a time in milliseconds since 1970"),
        ({"endTime": ["9" * 18]}, "filterParams.endTime: found '9999"),
        ({"workflowName": ["\0"]}, "filterParams.workflowName: found '.x00', expected text without NUL"),
        ({"parameterPairKey": [":"], "parameterPairValue": ["v"]}, "filterParams.parameterPairKey, "),
    ],
)
def test_what_does_not_fit_is_refused_with_its_name(params, message):
    with pytest.raises(InvalidValue, match=f"^{message}"):
        parse_filter_params(params)


def test_the_custom_filter_is_read_as_one():
    with pytest.raises(FilterSyntax, match="column 7"):
        parse_filter_params({"customFilter": ["state < FAILED"]})
