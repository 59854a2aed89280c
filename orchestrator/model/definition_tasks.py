"""One task config as a definition writes it: parameters, edges, policies, and our extensions.

Ours are ``executorId``, ``timeoutMs``, ``queueTimeoutMs`` and ``rollback: {task, parameters, failurePolicy}``. A task
parameter may be the product's ``{"key": ..., "value": {...}}`` or, for definitions written by hand, the value
alone (``{"stringValue": "x"}``). One without a value is dropped: exports list every parameter that the editor shows.

Source: Integrations API v1 discovery document, GoogleCloudIntegrationsV1alphaTaskConfig.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from enum import StrEnum

from orchestrator.model.definition_policies import parse_conditional_policies, parse_policy
from orchestrator.model.fields import Fields, is_storable
from orchestrator.model.integration import ForkPolicy, JoinStrategy, NextTask, Rollback, TaskConfig, task_place
from orchestrator.model.values import Value


class _FinalState(StrEnum):
    SUCCEEDED = "SUCCEEDED"
    SUSPENDED = "SUSPENDED"


class _ExternalTaskType(StrEnum):
    NORMAL_TASK = "NORMAL_TASK"
    ERROR_TASK = "ERROR_TASK"


class _JsonValidation(StrEnum):
    SKIP = "SKIP"
    PRE_EXECUTION = "PRE_EXECUTION"
    POST_EXECUTION = "POST_EXECUTION"
    PRE_POST_EXECUTION = "PRE_POST_EXECUTION"


def parse_task(fields: Fields) -> TaskConfig:
    """Read one ``TaskConfig``."""
    number = fields.required_whole("taskId", "the task's number")
    if number:
        fields.place = task_place(number, fields.get("displayName"))
    parameters, masked = _parse_event_parameters(fields)
    final_state = fields.nested("successPolicy")
    return TaskConfig(
        number=number,
        task=fields.required_text("task", 'the name of a task type, such as "FieldMappingTask"'),
        display_name=fields.text("displayName"),
        description=fields.text("description"),
        parameters=parameters,
        masked=masked,
        next_tasks=tuple(parse_edges(fields, "nextTasks")),
        fork=fields.choice("nextTasksExecutionPolicy", ForkPolicy.RUN_ALL_MATCH),
        join=fields.choice("taskExecutionStrategy", JoinStrategy.WHEN_ALL_SUCCEED),
        failure_policy=parse_policy(fields.nested("failurePolicy")),
        sync_failure_policy=parse_policy(fields.nested("synchronousCallFailurePolicy")),
        conditional_failure_policies=parse_conditional_policies(fields.nested("conditionalFailurePolicies")),
        suspends=final_state is not None
        and final_state.choice("finalState", _FinalState.SUCCEEDED) is _FinalState.SUSPENDED,
        error_catcher_id=fields.text("errorCatcherId"),
        external_task_type=str(fields.choice("externalTaskType", _ExternalTaskType.NORMAL_TASK)),
        json_validation=str(fields.choice("jsonValidationOption", _JsonValidation.SKIP)),
        executor_id=fields.text("executorId") or None,
        timeout_ms=fields.whole("timeoutMs"),
        queue_timeout_ms=fields.whole("queueTimeoutMs"),
        rollback=_parse_rollback(fields.nested("rollback")),
    )


def parse_edges(fields: Fields, key: str) -> Iterator[NextTask]:
    """Read the list of ``NextTask`` at ``key``."""
    for edge in fields.objects(key):
        number = edge.required_whole("taskId", "the number of the next task")
        yield NextTask(number=number, condition=edge.text("condition"), display_name=edge.text("displayName"))


def _parse_rollback(fields: Fields | None) -> Rollback | None:
    if fields is None:
        return None
    parameters, _ = _parse_event_parameters(fields)
    return Rollback(
        task=fields.required_text("task", "the name of a task type"),
        parameters=parameters,
        failure_policy=parse_policy(fields.nested("failurePolicy")),
    )


def _parse_event_parameters(fields: Fields) -> tuple[dict[str, Value], frozenset[str]]:
    """The parameters of a task by name, and the names of those that must not be shown."""
    parameters: dict[str, Value] = {}
    masked: set[str] = set()
    for key, body in fields.mapping("parameters").items():
        place = f"parameters[{key!r}]"
        if not is_storable(key):
            fields.refuse(place, "a name with NUL or surrogates", "text that every database takes")
        if isinstance(body, Mapping) and not body.keys() & {"key", "value", "masked"} and body:
            written: object = body
        else:
            parameter = Fields(body, fields.at(place), fields.problems)
            written = parameter.get("value")
            if parameter.flag("masked"):
                masked.add(key)
        value = fields.value_of(written, place) if written not in (None, {}) else None
        if value is not None:
            parameters[key] = value
    return parameters, frozenset(masked)
