"""An execution as Google's JSON has it: ``Execution``, and its older twin ``EventExecutionInfo``, as plain dicts.

Decisions:

- Of the older twins that are within an ``Execution`` (``eventExecutionDetails``) what has no other home is filled:
  why it was cancelled, when it goes on, how often it began again, and of each snapshot its time, the conditions decided
  and the parameters that changed. What would repeat the same again (``requestParams``, ``eventParams``) is left out.
- ``ErrorInfo`` is a JSON value among ``responseParameters``: a map of ValueTypes can hold no other object.
- A parameter that its definition marks ``masked`` shows what the product shows, ``Masked String of length 12``, and for
  other types ``Masked INT_VALUE``; here it does so wherever the definition says so, whatever ``enableVariableMasking``.
- ``eventExecutionSnapshotsSize`` is the length of ``executionSnapshots`` as JSON, in bytes.
- Sub-executions that are more than 100 levels down are left out: each can be asked for itself.
- Nothing is in a document that the discovery document does not have.

Source: Integrations API v1 discovery document, GoogleCloudIntegrationsV1alphaExecution,
EnterpriseCrmFrontendsEventbusProtoEventExecutionInfo and the types they use.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, TypeAlias

from orchestrator.model.execution import Execution, Facts
from orchestrator.model.history import ErrorInfo
from orchestrator.model.integration import IntegrationVersion
from orchestrator.model.json_text import Json, to_json_text
from orchestrator.model.snapshots import AttemptView, Snapshot, TaskView
from orchestrator.model.states import ExecutionState
from orchestrator.model.values import DataType, Value
from orchestrator.wire.google.error_details import common_code, errors_of
from orchestrator.wire.google.fields import epoch_ms, timestamp, to_value_type

Document: TypeAlias = "dict[str, Any]"

MAX_LEVELS: Final = 100  # of sub-executions; readers of JSON give up at a few hundred
MAX_TRUNCATED: Final = 1000  # characters of a string, where parameters are truncated
_OLD_STATES: Final = {
    ExecutionState.PENDING: "ON_HOLD",
    ExecutionState.PROCESSING: "IN_PROCESS",
    ExecutionState.CANCELLED: "CANCELED",
}


class Writer:
    """Writes executions. A value or a task that several snapshots share is written once.

    Args:
        truncates: cut strings among the parameters to ``MAX_TRUNCATED`` characters.
    """

    def __init__(self, *, truncates: bool = False) -> None:
        self._truncates = truncates
        self._written: dict[tuple[int, bool], tuple[Value, Document]] = {}
        self._tasks: dict[int, tuple[TaskView, Document]] = {}

    def execution(self, execution: Execution, *, level: int = 0) -> Document:
        """An Execution, with everything below it up to ``MAX_LEVELS``."""
        facts = _facts(execution)
        masked = masked_keys(facts.version)
        snapshots = [self._snapshot(each, masked) for each in execution.snapshots]
        document: Document = {
            "name": execution.name,
            "triggerId": execution.trigger_id,
            "executionMethod": execution.method,
            "createTime": timestamp(execution.created_at),
            "updateTime": timestamp(execution.updated_at),
            "integrationVersionState": facts.version_state,
            "snapshotNumber": str(execution.snapshot_number),
            "executionDetails": {
                "state": execution.state.value,
                "attemptStats": [_stats(each) for each in execution.attempts],
                "executionSnapshots": snapshots,
                "eventExecutionSnapshotsSize": str(len(to_json_text(snapshots))) if snapshots else "0",
            },
            "requestParameters": self._parameters(execution.request, masked),
            "responseParameters": self._parameters(execution.response, masked) | _error_parameter(execution.error),
            "eventExecutionDetails": self._old_details(execution, facts, masked),
        }
        if replay_info := _replay_info(execution):
            document["replayInfo"] = replay_info
        document |= _from_definition(facts.version)
        if execution.children and level < MAX_LEVELS:
            document["directSubExecutions"] = [self.execution(each, level=level + 1) for each in execution.children]
        return document

    def info(self, execution: Execution) -> Document:
        """An EventExecutionInfo, without parameters and snapshots."""
        facts = _facts(execution)
        document: Document = {
            "eventExecutionInfoId": execution.id,
            "workflowName": execution.integration,
            "triggerId": execution.trigger_id,
            "postMethod": execution.method,
            "createTime": epoch_ms(execution.created_at),
            "lastModifiedTime": epoch_ms(execution.updated_at),
            "snapshotNumber": str(execution.snapshot_number),
            "product": "IP",
            "eventExecutionDetails": _old_state(execution, facts),
            "executionTraceInfo": {"traceId": facts.root_id},
            "errors": errors_of(execution),
        }
        if execution.parent_id is not None:
            document["executionTraceInfo"]["parentEventExecutionInfoId"] = execution.parent_id
        if execution.error is not None:
            document["errorCode"] = {"commonErrorCode": common_code(execution.error.code)}
        if facts.request_id:
            document["requestId"] = facts.request_id
        if facts.version.user_label:
            document["integrationVersionUserLabel"] = facts.version.user_label
        if replay_info := _replay_info(execution):
            document["replayInfo"] = replay_info
        document.update({key: each for key, each in _from_definition(facts.version).items() if key != "cloudKmsKey"})
        return document

    # -- parts -----------------------------------------------------------------------------------------------------

    def _snapshot(self, snapshot: Snapshot, masked: frozenset[str]) -> Document:
        return {
            "checkpointTaskNumber": str(snapshot.task_number),
            "executionSnapshotMetadata": _metadata(snapshot),
            "params": self._parameters(snapshot.parameters, masked),
            "taskExecutionDetails": [self._task(each) for each in snapshot.tasks],
        }

    def _task(self, task: TaskView) -> Document:
        """A task as it stood in a snapshot: most stand as in the one before."""
        if id(task) not in self._tasks:  # it is kept, so that its id stays its own
            self._tasks[id(task)] = task, _task(task)
        return self._tasks[id(task)][1]

    def _old_details(self, execution: Execution, facts: Facts, masked: frozenset[str]) -> Document:
        """The twin of ``executionDetails``, as far as it says more."""
        details = _old_state(execution, facts)
        before: Mapping[str, Value] = execution.request
        snapshots = []
        for each in execution.snapshots:
            changed = {key: value for key, value in each.parameters.items() if before.get(key) is not value}
            snapshots.append(self._old_snapshot(execution.id, each, self._entries(changed, masked)))
            before = each.parameters
        return details | {"eventExecutionSnapshot": snapshots}

    def _old_snapshot(self, execution_id: str, snapshot: Snapshot, changed: list[Document]) -> Document:
        return {
            "eventExecutionInfoId": execution_id,
            "eventExecutionSnapshotId": f"{execution_id}-{snapshot.index}",
            "checkpointTaskNumber": str(snapshot.task_number),
            "taskName": snapshot.task_type,
            "snapshotTime": epoch_ms(snapshot.taken_at),
            "conditionResults": [
                {"currentTaskNumber": str(source), "nextTaskNumber": str(target), "result": result}
                for (source, target), result in snapshot.edges.items()
            ],
            "diffParams": {"parameters": changed},
        }

    def _entries(self, parameters: Mapping[str, Value], masked: frozenset[str]) -> list[Document]:
        return [
            {"key": key, "value": each} | ({"masked": True} if key in masked else {})
            for key, each in self._parameters(parameters, masked).items()
        ]

    def _parameters(self, parameters: Mapping[str, Value], masked: frozenset[str]) -> Document:
        return {key: self._value(value, is_masked=key in masked) for key, value in parameters.items()}

    def _value(self, value: Value, *, is_masked: bool) -> Document:
        key = id(value), is_masked
        if key not in self._written:  # the value is kept with what was written, so that its id stays its own
            self._written[key] = value, mask(value) if is_masked else self._cut(value)
        return self._written[key][1]

    def _cut(self, value: Value) -> Document:
        if self._truncates and value.type is DataType.STRING:
            return {"stringValue": str(value.data)[:MAX_TRUNCATED]}
        return to_value_type(value)


def masked_keys(version: IntegrationVersion) -> frozenset[str]:
    """The parameters whose values are not shown."""
    return frozenset(each.key for each in version.parameters if each.masked)


def mask(value: Value) -> Document:
    """What stands in the place of a value that is not shown."""
    if value.type is DataType.STRING:
        return {"stringValue": f"Masked String of length {len(str(value.data))}"}
    return {"stringValue": f"Masked {value.type.value}"}


def _facts(execution: Execution) -> Facts:
    assert execution.facts is not None, "what is written was read with its facts"
    return execution.facts


def _stats(attempt: AttemptView) -> Document:
    times = (("startTime", attempt.started_at), ("endTime", attempt.ended_at))
    return {key: timestamp(at) for key, at in times if at is not None}


def _old_stats(attempt: AttemptView) -> Document:
    times = (("startTime", attempt.started_at), ("endTime", attempt.ended_at))
    return {key: epoch_ms(at) for key, at in times if at is not None}


def _task(task: TaskView) -> Document:
    return {
        "taskNumber": str(task.number),
        "taskExecutionState": task.state.value,
        "taskAttemptStats": [_stats(each) for each in task.attempts],
    }


def _metadata(snapshot: Snapshot) -> Document:
    metadata: Document = {
        "taskNumber": str(snapshot.task_number),
        "task": snapshot.task_type,
        "taskLabel": snapshot.task_name,
        "executionAttempt": snapshot.execution_attempt,
        "taskAttempt": snapshot.task_attempt,
        "integrationName": snapshot.integration,
    }
    if snapshot.ancestor_tasks:
        metadata["ancestorTaskNumbers"] = [str(number) for number in snapshot.ancestor_tasks]
        metadata["ancestorIterationNumbers"] = [str(number) for number in snapshot.ancestor_iterations]
    return metadata


def _old_state(execution: Execution, facts: Facts) -> Document:
    details: Document = {"eventExecutionState": _OLD_STATES.get(execution.state, execution.state.value)}
    if execution.attempts:
        details["eventAttemptStats"] = [_old_stats(each) for each in execution.attempts]
        details["eventRetriesFromBeginningCount"] = len(execution.attempts) - 1
    if facts.cancel_reason:
        details["cancelReason"] = facts.cancel_reason
    if facts.next_at is not None:
        details["nextExecutionTime"] = epoch_ms(facts.next_at)
    return details


def _replay_info(execution: Execution) -> Document:
    """Both directions: what this one repeats, and what repeats this one."""
    info: Document = {}
    if execution.replay_of:
        info = {"originalExecutionInfoId": execution.replay_of, "replayMode": execution.replay_mode}
        info |= {"replayReason": execution.replay_reason} if execution.replay_reason else {}
    return info | ({"replayedExecutionInfoIds": list(execution.replays)} if execution.replays else {})


def _error_parameter(error: ErrorInfo | None) -> Document:
    if error is None:
        return {}
    info: dict[str, Json] = {"message": error.message, "code": error.code}
    if error.task_number is not None:
        info["taskNumber"] = error.task_number
    return {"ErrorInfo": {"jsonValue": to_json_text(info)}}


def _from_definition(version: IntegrationVersion) -> Document:
    """What the definition says of logs and keys, as it says it."""
    given = ((key, version.document.get(key)) for key in ("cloudLoggingDetails", "cloudKmsKey"))
    return {key: content for key, content in given if content}
