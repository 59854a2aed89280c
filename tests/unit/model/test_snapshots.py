from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from orchestrator.model.history import EntryKind, ErrorInfo
from orchestrator.model.snapshots import AttemptView, Snapshot, TaskView, difference
from orchestrator.model.states import TaskState
from orchestrator.model.values import DataType, Value, from_python

NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)


def make_task(number: int = 1, state: TaskState = TaskState.SUCCEED, **more: Any) -> TaskView:
    return TaskView(number=number, type="Noop", name=f"Do {number}", state=state, **more)


def make_snapshot(index: int = 0, **more: Any) -> Snapshot:
    given = {
        "kind": EntryKind.SUCCEEDED,
        "integration": "flow",
        "task_number": 1,
        "task_type": "Noop",
        "task_name": "Do 1",
        "execution_attempt": 1,
        "task_attempt": 1,
        "taken_at": NOON,
    }
    return Snapshot(index=index, **(given | more))


def values(**data: Any) -> dict[str, Value]:
    return {key: from_python(each, key) for key, each in data.items()}


def test_a_snapshot_is_written_as_the_product_writes_it():
    attempt = AttemptView(attempt=1, started_at=NOON, ended_at=NOON + timedelta(seconds=1), worker="w")
    snapshot = make_snapshot(
        parameters=values(n=5), tasks=(make_task(attempts=(attempt,)),), edges={(1, 2): True}, execution_attempt=3
    )

    assert snapshot.to_document() == {
        "checkpointTaskNumber": "1",
        "snapshotTime": "2026-05-01T12:00:00Z",
        "executionSnapshotMetadata": {
            "taskNumber": "1",
            "task": "Noop",
            "taskLabel": "Do 1",
            "executionAttempt": 3,
            "taskAttempt": 1,
            "integrationName": "flow",
        },
        "params": {"n": {"intValue": "5"}},
        "taskExecutionDetails": [
            {
                "taskNumber": "1",
                "taskExecutionState": "SUCCEED",
                "taskAttemptStats": [
                    {
                        "startTime": "2026-05-01T12:00:00Z",
                        "endTime": "2026-05-01T12:00:01Z",
                        "attempt": 1,
                        "worker": "w",
                    }
                ],
            }
        ],
        "conditionResults": [{"currentTaskNumber": "1", "nextTaskNumber": "2", "result": True}],
    }


def test_an_attempt_tells_only_what_is_known():
    assert AttemptView(attempt=2, started_at=None).to_document() == {"attempt": 2}


def test_an_attempt_tells_its_error_with_type_and_traceback():
    error = ErrorInfo(message="no", code=503, type="TaskError", traceback="line 1")

    assert AttemptView(attempt=1, started_at=NOON, error=error).to_document()["error"] == {
        "message": "no",
        "code": 503,
        "type": "TaskError",
        "traceback": "line 1",
    }


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (Value(DataType.INT, 1), Value(DataType.DOUBLE, 1.0)),
        (Value(DataType.JSON, {"a": 1}), Value(DataType.JSON, {"a": True})),
        (Value(DataType.JSON, [1]), Value(DataType.JSON, [1.0])),
        (Value(DataType.STRING, "1"), Value(DataType.INT, 1)),
    ],
)
def test_values_that_python_takes_for_equal_differ_all_the_same(before, after):
    found = difference(make_snapshot(0, parameters={"x": before}), make_snapshot(1, parameters={"x": after}))

    assert found.changed == {"x": (before, after)}


def test_the_order_of_keys_is_no_difference():
    one, other = (Value(DataType.JSON, document) for document in ({"a": 1, "b": 2}, {"b": 2, "a": 1}))

    found = difference(make_snapshot(0, parameters={"x": one}), make_snapshot(1, parameters={"x": other}))

    assert found.changed == {}


def test_a_difference_is_written_with_both_values():
    one = make_snapshot(0, parameters=values(a=1, b=1), tasks=(make_task(2, TaskState.PENDING_EXECUTION),))
    other = make_snapshot(
        4, parameters=values(a=2, c=3), tasks=(make_task(2, TaskState.SKIPPED),), edges={(1, 2): False}
    )

    assert difference(one, other).to_document() == {
        "snapshots": [0, 4],
        "addedParams": {"c": {"intValue": "3"}},
        "removedParams": {"b": {"intValue": "1"}},
        "changedParams": {"a": {"before": {"intValue": "1"}, "after": {"intValue": "2"}}},
        "taskExecutionStates": [{"taskNumber": "2", "before": "PENDING_EXECUTION", "after": "SKIPPED"}],
        "conditionResults": [{"currentTaskNumber": "1", "nextTaskNumber": "2", "result": False}],
    }


def test_edges_that_were_decided_earlier_are_not_in_the_difference_of_either_direction():
    one, other = make_snapshot(0, edges={(1, 2): True}), make_snapshot(1, edges={(1, 2): True, (2, 3): False})

    assert difference(one, other).edges == {(2, 3): False}
    assert difference(other, one).edges == {(2, 3): False}
