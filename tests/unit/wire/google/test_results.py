"""What became of an execution, as an answer and as an error."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.model.history import ErrorInfo
from orchestrator.model.states import ExecutionState
from orchestrator.model.values import DataType, Value
from orchestrator.service.calling import Result
from orchestrator.wire.google.results import IDS, failure_response, to_outcome

QTY = {"qty": Value(DataType.INT, 2**53 + 1), "doc": Value(DataType.JSON, {"a": [None]})}


def result(state="FAILED", *, code=None, is_chosen=False, outputs=None, number=3):
    error = None if code is None else ErrorInfo(message="no such order", code=code, task_number=number)
    return Result(
        id="e-1",
        integration="orders",
        state=ExecutionState(state),
        outputs=outputs or {},
        error=error,
        is_chosen=is_chosen,
        is_sync=True,
    )


def failure(**more):
    answer = failure_response(result(**more))
    error = json.loads(answer.body)["error"]
    assert answer.status_code == error["code"]
    return error


def test_what_succeeded_answers_its_outputs_and_nothing_else():
    outcome = to_outcome(result("SUCCEEDED", outputs=QTY))

    assert outcome["outputParameters"] == {"qty": 2**53 + 1, "doc": {"a": [None]}}
    assert outcome["parameters"] == {"qty": {"intValue": str(2**53 + 1)}, "doc": {"jsonValue": '{"a":[null]}'}}
    assert outcome["executionFailed"] is False
    assert [each["key"] for each in outcome["parameterEntries"]] == ["qty", "doc"]


@pytest.mark.parametrize("state", ["PENDING", "PROCESSING", "SUSPENDED", "RETRY_ON_HOLD", "FAILED", "CANCELLED"])
def test_what_did_not_succeed_says_where_it_stands(state):
    outcome = to_outcome(result(state, outputs=QTY))

    assert outcome["outputParameters"]["`ExecutionState`"] == state
    assert outcome["parameters"]["`ExecutionState`"] == {"stringValue": state}
    assert outcome["executionFailed"] is (state in ("FAILED", "CANCELLED"))
    assert outcome["outputParameters"]["qty"] == 2**53 + 1


def test_a_failure_is_told_in_the_form_that_the_schema_allows():
    outcome = to_outcome(result(code=404), {IDS: Value(DataType.STRING_ARRAY, ("a", "b"))})

    info = {"message": "no such order", "code": 404, "taskNumber": 3}
    assert outcome["outputParameters"]["ErrorInfo"] == info
    assert json.loads(outcome["parameters"]["ErrorInfo"]["jsonValue"]) == info
    assert outcome["parameters"][IDS] == {"stringArray": {"stringValues": ["a", "b"]}}
    entries = {each["key"]: each for each in outcome["eventParameters"]["parameters"]}
    assert entries["PostWithTriggerIdExecutionException"]["value"] == {"stringValue": "no such order"}
    assert "ErrorInfo" not in entries


@pytest.mark.parametrize(
    ("code", "status", "name"),
    [
        (400, 400, "INVALID_ARGUMENT"),
        (401, 401, "UNAUTHENTICATED"),
        (403, 403, "PERMISSION_DENIED"),
        (404, 404, "NOT_FOUND"),
        (409, 409, "ALREADY_EXISTS"),
        (429, 429, "RESOURCE_EXHAUSTED"),
        (499, 499, "CANCELLED"),
        (418, 400, "FAILED_PRECONDITION"),  # no canonical code has it
        (500, 500, "INTERNAL"),
    ],
)
def test_a_status_that_was_chosen_is_the_status_with_its_message_alone(code, status, name):
    error = failure(code=code, is_chosen=True)

    assert (error["code"], error["status"], error["message"]) == (status, name, "no such order")


@pytest.mark.parametrize("code", [400, 404, 422, "INVALID_ARGUMENT", "FAILED_PRECONDITION", "JSONNET_ERROR"])
def test_what_would_fail_again_is_a_failed_precondition(code):
    error = failure(code=code)

    assert (error["code"], error["status"]) == (400, "FAILED_PRECONDITION")
    assert error["message"] == "execution e-1 of integration 'orders', task 3: no such order"


@pytest.mark.parametrize("code", [408, 425, 429, 500, 503, 504, 200, "INTERNAL_ERROR", "TASK_ERROR", "404", ""])
def test_what_may_succeed_later_or_nobody_knows_is_internal(code):
    assert failure(code=code)["status"] == "INTERNAL"


def test_a_failure_names_its_execution():
    (info,) = failure(code=404)["details"]

    assert info == {
        "@type": "type.googleapis.com/google.rpc.ErrorInfo",
        "reason": "HTTP_EXCEPTION",
        "domain": "integrations.googleapis.com",
        "metadata": {
            "executionId": "e-1",
            "integration": "orders",
            "state": "FAILED",
            "errorCode": "404",
            "taskNumber": "3",
        },
    }


def test_what_was_cancelled_is_cancelled():
    error = failure(state="CANCELLED")

    assert (error["code"], error["status"]) == (499, "CANCELLED")
    assert error["details"][0]["reason"] == "CANCELLED"


@given(st.one_of(st.text(), st.integers()))
def test_whatever_the_code_a_reason_has_capitals_and_digits_alone(code):
    reason = failure(code=code)["details"][0]["reason"]

    assert 0 < len(reason) <= 63
    assert set(reason) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_")
