"""What differs between two versions of a definition, for somebody who is about to replay an execution with the other.

Labels and descriptions are there for people: where only they differ, nothing does. Everything else of a task counts,
its retry policies and its executor too. What a result would have been under another policy, nobody knows.

Values are compared as JSON texts: within a document Python takes true for 1, and 1.0 too.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, Final

from orchestrator.model.integration import IntegrationParameter, IntegrationVersion, NextTask, TaskConfig, TriggerConfig
from orchestrator.model.json_text import to_json_text
from orchestrator.model.values import DataType, Value, to_value

_KEYS: Final = {
    "next_tasks": "nextTasks", "fork": "nextTasksExecutionPolicy", "join": "taskExecutionStrategy",
    "failure_policy": "failurePolicy", "sync_failure_policy": "synchronousCallFailurePolicy",
    "conditional_failure_policies": "conditionalFailurePolicies", "suspends": "successPolicy",
    "error_catcher_id": "errorCatcherId", "external_task_type": "externalTaskType",
    "json_validation": "jsonValidationOption", "executor_id": "executorId", "timeout_ms": "timeoutMs",
    "queue_timeout_ms": "queueTimeoutMs", "data_type": "dataType", "default": "defaultValue",
    "direction": "inputOutputType", "json_schema": "jsonSchema", "is_transient": "isTransient",
    "start_tasks": "startTasks",
}  # fmt: skip
"""What definitions call a field whose name in our classes is another one."""

_MOST: Final = 60  # characters of a default value


@dataclass(frozen=True, kw_only=True, slots=True)
class Differences:
    """What a second version has otherwise than a first one.

    Attributes:
        added, removed: task numbers.
        changed: for every task that is in both and means something else, the keys that differ.
        others: a sentence for each parameter, for the trigger, and for the error catchers.
    """

    added: tuple[int, ...] = ()
    removed: tuple[int, ...] = ()
    changed: Mapping[int, tuple[str, ...]] = field(default_factory=dict)
    others: tuple[str, ...] = ()

    @property
    def are_none(self) -> bool:
        """Whether both mean the same."""
        return self == Differences()


def compare(old: IntegrationVersion, new: IntegrationVersion, *, trigger_id: str) -> Differences:
    """What ``new`` has otherwise than ``old``, for executions of this trigger, which both have."""
    before = {task.number: meaning(task) for task in old.tasks}
    after = {task.number: meaning(task) for task in new.tasks}
    both = [number for number in after if number in before and before[number] != after[number]]
    return Differences(
        added=tuple(number for number in after if number not in before),
        removed=tuple(number for number in before if number not in after),
        changed={number: _keys(before[number], after[number]) for number in both},
        others=(
            *_parameters(old.parameters, new.parameters),
            *_trigger(old.trigger(trigger_id), new.trigger(trigger_id)),
            *_catchers(old, new),
        ),
    )


def meaning(config: TaskConfig) -> TaskConfig:
    """The config without what is there for people, and with values that are equal only if they are the same."""
    undoes = config.rollback
    return replace(
        config,
        display_name="",
        description="",
        next_tasks=_edges(config.next_tasks),
        parameters=_exactly(config.parameters),
        rollback=undoes and replace(undoes, parameters=_exactly(undoes.parameters)),
    )


def is_same(one: Value | None, other: Value | None) -> bool:
    """Whether two values are written alike."""
    return one == other and _text(one) == _text(other)


def _exactly(values: Mapping[str, Value]) -> dict[str, Value]:
    return {key: Value(DataType.STRING, _text(value)) for key, value in values.items()}


def _text(value: Value | None) -> str:
    return "" if value is None else to_json_text(to_value(value))


def _edges(edges: Sequence[NextTask]) -> tuple[NextTask, ...]:
    return tuple(replace(each, display_name="") for each in edges)


def _keys(before: Any, after: Any) -> tuple[str, ...]:
    """The fields in which two values of one class differ, as definitions call them."""
    names = (each.name for each in fields(before) if getattr(before, each.name) != getattr(after, each.name))
    return tuple(_KEYS.get(name, name) for name in names)


def _parameters(old: Sequence[IntegrationParameter], new: Sequence[IntegrationParameter]) -> Iterator[str]:
    before, after = ({each.key: each for each in side} for side in (old, new))
    for key, parameter in after.items():
        if key not in before:
            yield f"parameter {key!r} is added ({parameter.data_type})"
        elif differing := list(_declared(before[key], parameter)):
            yield f"parameter {key!r} is declared otherwise: {', '.join(differing)}"
    for key in before:
        if key not in after:
            yield f"parameter {key!r} is removed"


def _declared(before: IntegrationParameter, after: IntegrationParameter) -> Iterator[str]:
    for key in _keys(_declaration(before), _declaration(after)):
        match key:
            case "dataType":
                yield f"{key} {before.data_type} -> {after.data_type}"
            case "inputOutputType":
                yield f"{key} {before.direction} -> {after.direction}"
            case "defaultValue" if not (before.masked or after.masked):
                yield f"{key} {_shown(before.default)} -> {_shown(after.default)}"
            case _:
                yield key


def _declaration(parameter: IntegrationParameter) -> IntegrationParameter:
    default = parameter.default and Value(DataType.STRING, _text(parameter.default))
    schema = json.dumps(parameter.json_schema, sort_keys=True)
    return replace(parameter, display_name="", default=default, json_schema=schema)


def _shown(value: Value | None) -> str:
    text = "none" if value is None else to_json_text(value.python)
    return text if len(text) <= _MOST else f"{text[: _MOST - 3]}..."


def _trigger(old: TriggerConfig, new: TriggerConfig) -> Iterator[str]:
    before, after = (replace(each, number=0, label="", start_tasks=_edges(each.start_tasks)) for each in (old, new))
    keys = [key for key in _keys(before, after) if key in ("startTasks", "nextTasksExecutionPolicy", "errorCatcherId")]
    if keys:
        yield f"trigger {new.id!r}: {', '.join(keys)}"


def _catchers(old: IntegrationVersion, new: IntegrationVersion) -> Iterator[str]:
    before, after = ({each.id: _edges(each.start_tasks) for each in side.error_catchers} for side in (old, new))
    for name in dict.fromkeys((*before, *after)):
        if name not in before or name not in after:
            yield f"error catcher {name!r} is {'added' if name in after else 'removed'}"
        elif before[name] != after[name]:
            yield f"error catcher {name!r}: startErrorTasks"
