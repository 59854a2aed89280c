"""An execution as people and programs see it: its state, its tasks with their attempts, its snapshots, its children.

``to_document`` writes it as the Execution of the Integrations API v1 (camelCase, RFC 3339 times in UTC, int64 as
strings), which is what ``--json`` prints and what API clients get.

Source: Integrations API v1 discovery document, GoogleCloudIntegrationsV1alphaExecution and the types it uses.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

from orchestrator.model.history import ErrorInfo
from orchestrator.model.json_text import Json
from orchestrator.model.states import ExecutionState, TaskState
from orchestrator.model.values import DataType, Value, to_parameters, to_value


@dataclass(frozen=True, kw_only=True, slots=True)
class AttemptView:
    """One attempt of a task. ``ended_at`` is None while it goes on; ``error`` says why it failed."""

    attempt: int
    started_at: datetime | None
    ended_at: datetime | None = None
    worker: str = ""
    error: ErrorInfo | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class TaskView:
    """One task of an execution."""

    number: int
    type: str
    name: str
    state: TaskState = TaskState.PENDING_EXECUTION
    attempts: tuple[AttemptView, ...] = ()

    @property
    def duration_s(self) -> float | None:
        """Seconds from the first start to the last end; None before it has ended."""
        starts = [each.started_at for each in self.attempts if each.started_at is not None]
        ends = [each.ended_at for each in self.attempts if each.ended_at is not None]
        if not starts or len(ends) < len(self.attempts):
            return None
        return (max(ends) - min(starts)).total_seconds()


@dataclass(frozen=True, kw_only=True, slots=True)
class Snapshot:
    """All parameters and task states right after one checkpoint task."""

    task_number: int
    task_attempt: int
    taken_at: datetime
    parameters: Mapping[str, Value]
    tasks: tuple[TaskView, ...]
    edges: Mapping[tuple[int, int], bool] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class Execution:
    """One execution, with the sub-executions it has started.

    ``snapshots`` holds the latest one, or all, or none: whatever was asked for.
    """

    id: str
    project: str
    location: str
    integration: str
    trigger_id: str
    method: str
    state: ExecutionState
    created_at: datetime
    updated_at: datetime
    ended_at: datetime | None
    request: Mapping[str, Value]
    response: Mapping[str, Value]
    error: ErrorInfo | None
    snapshot_number: int
    tasks: tuple[TaskView, ...] = ()
    snapshots: tuple[Snapshot, ...] = ()
    children: tuple[Execution, ...] = ()
    parent_id: str | None = None
    parent_task: int | None = None

    @property
    def name(self) -> str:
        """The resource name."""
        return f"projects/{self.project}/locations/{self.location}/integrations/{self.integration}/executions/{self.id}"

    @property
    def outputs(self) -> dict[str, Json]:
        """The response parameters as plain JSON data."""
        return {key: value.python for key, value in self.response.items()}

    def task(self, number: int) -> TaskView:
        """The task of this number; KeyError if the execution has none."""
        for task in self.tasks:
            if task.number == number:
                return task
        raise KeyError(number)

    def to_document(self) -> dict[str, Json]:
        """The Execution of the Integrations API v1, sub-executions nested."""
        document: dict[str, Json] = {
            "name": self.name,
            "triggerId": self.trigger_id,
            "executionMethod": self.method,
            "createTime": to_timestamp(self.created_at),
            "updateTime": to_timestamp(self.updated_at),
            "snapshotNumber": str(self.snapshot_number),
            "executionDetails": self._details(),
            "requestParameters": dict(to_parameters(self.request)),
            "responseParameters": dict(to_parameters(self.response)) | self._error_parameter(),
        }
        if self.children:
            document["directSubExecutions"] = [child.to_document() for child in self.children]
        return document

    def _details(self) -> dict[str, Json]:
        stats: dict[str, Json] = {"startTime": to_timestamp(self.created_at)}
        if self.ended_at is not None:
            stats["endTime"] = to_timestamp(self.ended_at)
        return {
            "state": self.state.value,
            "attemptStats": [stats],
            "executionSnapshots": [_to_snapshot(snapshot, self.integration) for snapshot in self.snapshots],
        }

    def _error_parameter(self) -> dict[str, Json]:
        """A ValueType map cannot hold an object, so ErrorInfo is a JSON value: the only form the schema allows."""
        if self.error is None:
            return {}
        info: dict[str, Json] = {"message": self.error.message, "code": self.error.code}
        if self.error.task_number is not None:
            info["taskNumber"] = self.error.task_number
        return {"ErrorInfo": to_value(Value(DataType.JSON, info))}


def to_timestamp(at: datetime) -> str:
    """RFC 3339 in UTC with a Z, as ``2026-01-31T12:00:00.123456Z``."""
    return at.astimezone(UTC).isoformat().replace("+00:00", "Z")


def _to_snapshot(snapshot: Snapshot, integration: str) -> dict[str, Json]:
    checkpoint = next((task for task in snapshot.tasks if task.number == snapshot.task_number), None)
    return {
        "checkpointTaskNumber": str(snapshot.task_number),
        "snapshotTime": to_timestamp(snapshot.taken_at),
        "executionSnapshotMetadata": {
            "taskNumber": str(snapshot.task_number),
            "task": checkpoint.type if checkpoint else "",
            "taskLabel": checkpoint.name if checkpoint else "",
            "executionAttempt": 1,
            "taskAttempt": snapshot.task_attempt,
            "integrationName": integration,
        },
        "params": dict(to_parameters(snapshot.parameters)),
        "taskExecutionDetails": [_to_task(task) for task in snapshot.tasks],
        "conditionResults": [
            {"currentTaskNumber": str(source), "nextTaskNumber": str(target), "result": result}
            for (source, target), result in snapshot.edges.items()
        ],
    }


def _to_task(task: TaskView) -> dict[str, Json]:
    return {
        "taskNumber": str(task.number),
        "taskExecutionState": task.state.value,
        "taskAttemptStats": [_to_attempt(attempt) for attempt in task.attempts],
    }


def _to_attempt(attempt: AttemptView) -> dict[str, Json]:
    times = {"startTime": attempt.started_at, "endTime": attempt.ended_at}
    return {key: to_timestamp(at) for key, at in times.items() if at is not None}
