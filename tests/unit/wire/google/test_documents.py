from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.model.definition import parse_integration
from orchestrator.model.execution import Execution, Facts
from orchestrator.model.history import EntryKind, ErrorInfo
from orchestrator.model.json_text import to_json_text
from orchestrator.model.snapshots import AttemptView, Snapshot, TaskView
from orchestrator.model.states import ExecutionState, TaskState
from orchestrator.model.values import DataType, Value, from_python
from orchestrator.wire.google.documents import MAX_LEVELS, Writer, mask
from orchestrator.wire.google.error_details import common_code, errors_of
from orchestrator.wire.google.masks import apply, parse_fields
from tests.flows import flow, parameter, task

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)
VERSION = parse_integration(
    flow(
        "f",
        task(1),
        parameters=[
            parameter("secret") | {"masked": True},
            parameter("count", "INT_VALUE") | {"masked": True},
            parameter("text"),
        ],
    )
    | {"userLabel": "label", "cloudKmsKey": "k"}
)
WRONG = ErrorInfo(message="gone", code=404, task_number=1)


def values(**data):
    return {key: from_python(each, key) for key, each in data.items()}


def attempt(number, error=None):
    return AttemptView(attempt=number, started_at=NOON, ended_at=NOON + timedelta(seconds=number), error=error)


def tried(state, *errors):
    attempts = tuple(attempt(number + 1, error) for number, error in enumerate(errors))
    return TaskView(number=1, type="T", name="Tee", state=state, attempts=attempts)


def snapshot(index, **parameters):
    return Snapshot(
        index=index,
        kind=EntryKind.SUCCEEDED,
        integration="f",
        task_number=1,
        task_type="T",
        task_name="Tee",
        execution_attempt=1,
        task_attempt=1,
        taken_at=NOON,
        parameters=parameters,
        edges={(1, 2): True},
    )


def make(state=ExecutionState.SUCCEEDED, *, facts=None, **more):
    known = {"version": VERSION, "version_state": "ACTIVE", "root_id": "root"} | (facts or {})
    given = {
        "id": "e",
        "project": "p",
        "location": "l",
        "integration": "f",
        "trigger_id": "api_trigger/f",
        "method": "POST",
        "created_at": NOON,
        "updated_at": NOON,
        "ended_at": None,
        "request": {},
        "response": {},
        "error": None,
        "snapshot_number": 3,
    }
    return Execution(state=state, facts=Facts(**known), **(given | more))


def test_masked_parameters_are_hidden_wherever_they_stand():
    given = values(secret="pssst", count=12345, text="open")
    execution = make(request=given, response=given, snapshots=(snapshot(0, **values(secret="other secret", count=7)),))

    document = Writer().execution(execution)

    hidden = {"secret": {"stringValue": "Masked String of length 5"}, "count": {"stringValue": "Masked INT_VALUE"}}
    assert document["requestParameters"] == document["responseParameters"] == hidden | {"text": {"stringValue": "open"}}
    (shown,) = document["eventExecutionDetails"]["eventExecutionSnapshot"]
    assert [(each["key"], each["masked"]) for each in shown["diffParams"]["parameters"]] == [
        ("secret", True),
        ("count", True),
    ]
    text = json.dumps(document)
    assert not [each for each in ("pssst", "12345", "other secret", '"7"') if each in text]


def test_one_value_may_be_masked_here_and_shown_there():
    same = Value(DataType.STRING, "twice")

    document = Writer().execution(make(request={"secret": same, "text": same}))

    assert document["requestParameters"]["secret"] == {"stringValue": "Masked String of length 5"}
    assert document["requestParameters"]["text"] == {"stringValue": "twice"}


def test_strings_are_cut_where_that_is_wanted_and_nothing_else():
    given = values(text="x" * 1001, list=["y" * 1001])

    document = Writer(truncates=True).execution(make(request=given))

    assert document["requestParameters"]["text"] == {"stringValue": "x" * 1000}
    assert len(document["requestParameters"]["list"]["stringArray"]["stringValues"][0]) == 1001


def test_a_difference_has_what_is_new_since_the_snapshot_before():
    old, new = values(a="1", b="2"), values(a="1")
    first = snapshot(0, **old)
    second = snapshot(1, **(old | {"c": new["a"]}))

    snapshots = Writer().execution(make(request={"a": old["a"]}, snapshots=(first, second)))
    differences = [
        [each["key"] for each in one["diffParams"]["parameters"]]
        for one in snapshots["eventExecutionDetails"]["eventExecutionSnapshot"]
    ]

    assert differences == [["b"], ["c"]]


def test_states_of_the_older_twin_have_its_names():
    details = {state: Writer().execution(make(state))["eventExecutionDetails"] for state in ExecutionState}
    names = {state: each["eventExecutionState"] for state, each in details.items()}

    assert names[ExecutionState.PENDING] == "ON_HOLD"
    assert names[ExecutionState.PROCESSING] == "IN_PROCESS"
    assert names[ExecutionState.CANCELLED] == "CANCELED"
    assert names[ExecutionState.RETRY_ON_HOLD] == "RETRY_ON_HOLD"


def test_the_older_form_of_a_list_says_what_the_new_one_does_not():
    execution = make(
        ExecutionState.FAILED,
        error=WRONG,
        parent_id="above",
        tasks=(tried(TaskState.FAILED, None, WRONG),),
        attempts=(attempt(1), attempt(2)),
        facts={"request_id": "r-1", "cancel_reason": "why", "next_at": NOON},
    )

    info = Writer().info(execution)

    assert info["requestId"] == "r-1"
    assert info["integrationVersionUserLabel"] == "label"
    assert info["executionTraceInfo"] == {"traceId": "root", "parentEventExecutionInfoId": "above"}
    assert info["errorCode"] == {"commonErrorCode": "HTTP_EXCEPTION"}
    assert (info["createTime"], info["postMethod"]) == (str(int(NOON.timestamp() * 1000)), "POST")
    details = info["eventExecutionDetails"]
    assert (details["cancelReason"], details["eventRetriesFromBeginningCount"]) == ("why", 1)
    assert details["nextExecutionTime"] == info["createTime"]
    assert info["errors"] == [
        {
            "errorCode": {"commonErrorCode": "HTTP_EXCEPTION"},
            "errorMessage": "gone",
            "severity": "ERROR",
            "taskNumber": 1,
        }
    ]


def test_a_failure_that_was_tried_again_or_ignored_is_a_warning():
    again = make(tasks=(tried(TaskState.SUCCEED, WRONG, None),))
    twice = make(tasks=(tried(TaskState.FATAL, WRONG, WRONG),))

    assert [each["severity"] for each in errors_of(again)] == ["WARN"]
    assert [each["severity"] for each in errors_of(twice)] == ["WARN", "ERROR"]


def test_what_is_no_task_s_error_is_told_as_the_execution_s():
    late = make(ExecutionState.FAILED, error=ErrorInfo(message="too late", code="EXECUTION_TIMEOUT"))

    (error,) = errors_of(late)

    assert error["taskNumber"] == 0
    assert error["errorCode"] == {"commonErrorCode": "EXECUTION_TIMEOUT"}


def test_a_tree_of_any_depth_is_written_and_cut_to_what_readers_take():
    tree = make(id="deepest")
    for level in range(500):
        tree = make(id=f"e{level}", children=(tree,))

    document = json.loads(to_json_text(Writer().execution(tree)))

    levels = 0
    while "directSubExecutions" in document:
        (document,), levels = document["directSubExecutions"], levels + 1
    assert levels == MAX_LEVELS
    assert apply(parse_fields("name"), Writer().execution(tree)) == {"name": tree.name}


def test_codes_have_the_names_of_the_api():
    codes = {503: "HTTP_EXCEPTION", "404": "HTTP_EXCEPTION", "INVALID_ARGUMENT": "INVALID_PARAMETER"}
    codes |= {"billing.empty": "UNHANDLED_TASK_ERROR", "VALIDATION_ERROR": "VALIDATION_ERROR"}

    assert {code: common_code(code) for code in codes} == codes


@given(st.text(st.characters()))
def test_a_mask_tells_of_a_text_nothing_but_its_length(text):
    shown = mask(Value(DataType.STRING, text))
    assert shown == mask(Value(DataType.STRING, "x" * len(text)))
