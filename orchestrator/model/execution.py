"""An execution as people and programs see it: its state, its tasks with their attempts, its snapshots, its children.

``to_document`` writes it as the Execution of the Integrations API v1 (camelCase, RFC 3339 times in UTC, int64 as
strings), which is what ``--json`` prints and what API clients get.

Source: Integrations API v1 discovery document, GoogleCloudIntegrationsV1alphaExecution and the types it uses.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from orchestrator.model.history import ErrorInfo
from orchestrator.model.integration import IntegrationVersion
from orchestrator.model.json_text import Json
from orchestrator.model.snapshots import AttemptView, Snapshot, TaskView, to_timestamp
from orchestrator.model.states import ExecutionState
from orchestrator.model.values import DataType, Value, to_parameters, to_value


@dataclass(frozen=True, kw_only=True, slots=True)
class Facts:
    """What else is known of an execution: its definition, and what is kept beside its history.

    Attributes:
        version: what it runs.
        version_state: of that version, now: DRAFT, ACTIVE, ARCHIVED or SNAPSHOT.
        root_id: the topmost of the executions that it is below; its own id if there is none.
        request_id: with which it was asked for.
        cancel_reason: why it was killed, if somebody said; of a sub-execution, why what is above it was.
        next_at: when it goes on by itself, if it is on hold.
    """

    version: IntegrationVersion
    version_state: str
    root_id: str
    request_id: str | None = None
    cancel_reason: str = ""
    next_at: datetime | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Execution:
    """One execution, with the sub-executions it has started.

    ``attempts`` has one for each run: a restart begins another. ``snapshots`` holds the latest one, or all, or none:
    whatever was asked for. ``is_original_gone``: what it replays was deleted. ``submitted_by``: who wanted it; None if
    that was a schedule, or its parent. ``facts`` are there if asked for.
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
    attempts: tuple[AttemptView, ...] = ()
    tasks: tuple[TaskView, ...] = ()
    snapshots: tuple[Snapshot, ...] = ()
    children: tuple[Execution, ...] = ()
    parent_id: str | None = None
    parent_task: int | None = None
    replay_of: str | None = None
    replay_mode: str = ""
    replay_reason: str = ""
    is_original_gone: bool = False
    replays: tuple[str, ...] = ()
    submitted_by: str | None = None
    facts: Facts | None = None

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
        if self.replay_of or self.replays:
            document["replayInfo"] = self._replay_info()
        if self.children:
            document["directSubExecutions"] = [child.to_document() for child in self.children]
        return document

    def _replay_info(self) -> dict[str, Json]:
        """Both directions: what this one repeats, and what repeats this one."""
        of_original: dict[str, Json] = {}
        if self.replay_of:
            of_original = {"originalExecutionInfoId": self.replay_of, "replayMode": self.replay_mode}
            of_original |= {"replayReason": self.replay_reason} if self.replay_reason else {}
        return of_original | ({"replayedExecutionInfoIds": list(self.replays)} if self.replays else {})

    def _details(self) -> dict[str, Json]:
        return {
            "state": self.state.value,
            "attemptStats": [attempt.to_document() for attempt in self.attempts],
            "executionSnapshots": [snapshot.to_document() for snapshot in self.snapshots],
        }

    def _error_parameter(self) -> dict[str, Json]:
        """A ValueType map cannot hold an object, so ErrorInfo is a JSON value: the only form the schema allows."""
        if self.error is None:
            return {}
        info: dict[str, Json] = {"message": self.error.message, "code": self.error.code}
        if self.error.task_number is not None:
            info["taskNumber"] = self.error.task_number
        return {"ErrorInfo": to_value(Value(DataType.JSON, info))}
