"""Snapshots: all parameters and task states of an execution right after one of its checkpoints, and how two differ.

A checkpoint is the end of an attempt, or the answer to a suspension; so every task is one. What is stored is one entry
a change; a snapshot is built from the entries up to its checkpoint, by whoever reads it (``service.snapshots``).

Decisions:

- The snapshots of an execution are numbered from 0 in the order of their checkpoints, so an index means the same
  however many of them somebody asks for. A task and an attempt name the last snapshot that was taken at them: an
  attempt that left a suspension behind has one of its own and one of the answer.
- The product fills the ancestors of a task only under a loop's inline body. Our loops start sub-executions, so for us
  they are the tasks above a sub-execution, from the root down, and which of its sub-executions each time, from 1.

Source: Integrations API v1 discovery document, GoogleCloudIntegrationsV1alphaExecutionSnapshot and the types it uses.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

from orchestrator.model.history import EntryKind, ErrorInfo
from orchestrator.model.json_text import Json
from orchestrator.model.states import TaskState
from orchestrator.model.values import DataType, Value, to_parameters, to_value


@dataclass(frozen=True, kw_only=True, slots=True)
class AttemptView:
    """One attempt: of a task, or of a whole execution. ``ended_at`` is None while it goes on.

    ``error`` says why it failed; ``worker`` names the process that ran the last part of it.
    """

    attempt: int
    started_at: datetime | None
    ended_at: datetime | None = None
    worker: str = ""
    error: ErrorInfo | None = None

    def to_document(self) -> dict[str, Json]:
        """AttemptStats, and beside the product's two keys what else is known."""
        times = {"startTime": self.started_at, "endTime": self.ended_at}
        document: dict[str, Json] = {key: to_timestamp(at) for key, at in times.items() if at is not None}
        document["attempt"] = self.attempt
        if self.worker:
            document["worker"] = self.worker
        if self.error is not None:
            document["error"] = self.error.to_json()
        return document


@dataclass(frozen=True, kw_only=True, slots=True)
class TaskView:
    """One task of an execution. ``is_reused``: a replay took it over, and it was not tried in this execution."""

    number: int
    type: str
    name: str
    state: TaskState = TaskState.PENDING_EXECUTION
    attempts: tuple[AttemptView, ...] = ()
    is_reused: bool = False

    @property
    def duration_s(self) -> float | None:
        """Seconds from the first start to the last end; None before it has ended."""
        starts = [each.started_at for each in self.attempts if each.started_at is not None]
        ends = [each.ended_at for each in self.attempts if each.ended_at is not None]
        if not starts or len(ends) < len(self.attempts):
            return None
        return (max(ends) - min(starts)).total_seconds()

    def to_document(self) -> dict[str, Json]:
        """TaskExecutionDetails; ``isReused`` is ours."""
        document: dict[str, Json] = {
            "taskNumber": str(self.number),
            "taskExecutionState": self.state.value,
            "taskAttemptStats": [attempt.to_document() for attempt in self.attempts],
        }
        return document | {"isReused": True} if self.is_reused else document


@dataclass(frozen=True, kw_only=True, slots=True)
class Snapshot:
    """All parameters and task states right after one checkpoint task.

    Attributes:
        index: its place among the snapshots of the execution, from 0.
        kind: what happened at the checkpoint.
        execution_attempt: 1, and one more for each restart of the execution.
        task_attempt: of the checkpoint task; attempts are counted on over restarts.
        ancestor_tasks: for a sub-execution, the tasks above it, from the root down.
        ancestor_iterations: which of the sub-executions of each of those, from 1.
        parameters: empty if they were not asked for.
        tasks: all of them.
        edges: the edges between tasks that were decided by then, (source, target) to result.
    """

    index: int
    kind: EntryKind
    integration: str
    task_number: int
    task_type: str
    task_name: str
    execution_attempt: int
    task_attempt: int
    taken_at: datetime
    ancestor_tasks: tuple[int, ...] = ()
    ancestor_iterations: tuple[int, ...] = ()
    parameters: Mapping[str, Value] = field(default_factory=dict)
    tasks: tuple[TaskView, ...] = ()
    edges: Mapping[tuple[int, int], bool] = field(default_factory=dict)

    def to_document(self) -> dict[str, Json]:
        """ExecutionSnapshot."""
        return {
            "checkpointTaskNumber": str(self.task_number),
            "snapshotTime": to_timestamp(self.taken_at),
            "executionSnapshotMetadata": self._metadata(),
            "params": dict(to_parameters(self.parameters)),
            "taskExecutionDetails": [task.to_document() for task in self.tasks],
            "conditionResults": _to_conditions(self.edges),
        }

    def _metadata(self) -> dict[str, Json]:
        metadata: dict[str, Json] = {
            "taskNumber": str(self.task_number),
            "task": self.task_type,
            "taskLabel": self.task_name,
            "executionAttempt": self.execution_attempt,
            "taskAttempt": self.task_attempt,
            "integrationName": self.integration,
        }
        if self.ancestor_tasks:
            metadata["ancestorTaskNumbers"] = [str(number) for number in self.ancestor_tasks]
            metadata["ancestorIterationNumbers"] = [str(number) for number in self.ancestor_iterations]
        return metadata


@dataclass(frozen=True, kw_only=True, slots=True)
class SnapshotDifference:
    """What is otherwise in the snapshot ``other`` than in ``one``.

    Attributes:
        added: parameters that only the other one has.
        removed: those that only the one has.
        changed: the value here and the value there.
        states: tasks that stand otherwise, likewise.
        edges: what was decided between the two, whichever of them is the earlier; in between of which the execution
            may have begun again, and then all that the later one holds was.
    """

    one: Snapshot
    other: Snapshot
    added: Mapping[str, Value]
    removed: Mapping[str, Value]
    changed: Mapping[str, tuple[Value, Value]]
    states: Mapping[int, tuple[TaskState, TaskState]]
    edges: Mapping[tuple[int, int], bool]

    def to_document(self) -> dict[str, Json]:
        """As JSON data: values as ValueTypes."""
        return {
            "snapshots": [self.one.index, self.other.index],
            "addedParams": dict(to_parameters(self.added)),
            "removedParams": dict(to_parameters(self.removed)),
            "changedParams": {
                key: {"before": to_value(before), "after": to_value(after)}
                for key, (before, after) in self.changed.items()
            },
            "taskExecutionStates": [
                {"taskNumber": str(number), "before": before.value, "after": after.value}
                for number, (before, after) in self.states.items()
            ],
            "conditionResults": _to_conditions(self.edges),
        }


def difference(one: Snapshot, other: Snapshot) -> SnapshotDifference:
    """Compare two snapshots of one execution."""
    here, there = one.parameters, other.parameters
    states = {task.number: task.state for task in other.tasks}
    earlier, later = sorted((one, other), key=lambda each: each.index)
    known = earlier.edges if earlier.execution_attempt == later.execution_attempt else {}
    return SnapshotDifference(
        one=one,
        other=other,
        added={key: value for key, value in there.items() if key not in here},
        removed={key: value for key, value in here.items() if key not in there},
        changed={
            key: (here[key], value) for key, value in there.items() if key in here and not _is_same(here[key], value)
        },
        states={
            task.number: (task.state, states[task.number])
            for task in one.tasks
            if states[task.number] is not task.state
        },
        edges={edge: result for edge, result in later.edges.items() if edge not in known},
    )


def to_timestamp(at: datetime) -> str:
    """RFC 3339 in UTC with a Z, as ``2026-01-31T12:00:00.123456Z``."""
    return at.astimezone(UTC).isoformat().replace("+00:00", "Z")


def _is_same(one: Value, other: Value) -> bool:
    """Within a document Python takes true for 1 and 1.0 for 1; as texts they differ."""
    if one.type is DataType.JSON and other.type is DataType.JSON:
        return json.dumps(one.data, sort_keys=True) == json.dumps(other.data, sort_keys=True)
    return one == other


def _to_conditions(edges: Mapping[tuple[int, int], bool]) -> list[Json]:
    return [
        {"currentTaskNumber": str(source), "nextTaskNumber": str(target), "result": result}
        for (source, target), result in edges.items()
    ]
