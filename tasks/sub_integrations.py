"""Call Integration, and what every task that runs sub-integrations has in common.

What such a task takes: ``workflowName`` and ``triggerId`` name the integration to run, ``requestParameterMapping`` says
which of our parameters become which of its inputs. A child's outputs are those parameters that it returns. Names may
stand with or without dollar signs and backticks.

Call Integration adds ``responseParameterMapping`` (or ``overrideParameterMapping``, as the loops call it): a child's
output -> our parameter; and ``executionMethod`` (or ``executionStrategy``): SYNC waits, ASYNC goes on at once.

Sources: product pages "Call Integration task" and "For Each Loop task"; public exports for the loops. No public export
of a Call Integration task was found, so its parameter names beyond those of the loops are our reading.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from orchestrator.errors import InvalidValue, TaskError
from orchestrator.model.parameters import look_up
from orchestrator.model.task_types import (
    TASK_TYPES,
    Child,
    ChildOutcome,
    Done,
    Join,
    StartChildren,
    Step,
    TaskContext,
    TaskType,
)
from orchestrator.model.values import Value, coerce, text_of
from tasks.parameter_map import parse_mapping

SUB_EXECUTION_FAILED: Final = "SUB_EXECUTION_FAILED"
EXECUTION_METHODS: Final = {"": False, "SYNC": False, "POST": False, "ASYNC": True, "POST_TO_QUEUE": True}  # -> async?
METHOD_KEYS: Final = ("executionMethod", "executionStrategy")
RESPONSE_KEYS: Final = ("responseParameterMapping", "overrideParameterMapping")
MAPPING_KEYS: Final = ("requestParameterMapping", "aggregatorParameterMapping", *RESPONSE_KEYS)


def run_call(context: TaskContext) -> Step:
    """Start the sub-integration."""
    children = [child(context, request_parameters(context, context.parameters))]
    return StartChildren(children=children, wait=not is_async(context))


def join_call(context: TaskContext, join: Join) -> Step:
    """Take over what the sub-integration returns.

    Raises:
        TaskError: it did not succeed.
    """
    outcome = join.outcomes[0]
    if has_failed(outcome):
        raise TaskError(failure(outcome, context), SUB_EXECUTION_FAILED)
    outputs: dict[str, Value] = {}
    for key in RESPONSE_KEYS:
        outputs |= taken_over(context, key, outcome, context.parameters)
    return Done(outputs=outputs)


# -- what the loops share ------------------------------------------------------------------------------------------


def child(context: TaskContext, parameters: Mapping[str, Value]) -> Child:
    """One sub-execution with these inputs."""
    trigger_id = context.text("triggerId").strip()
    if not trigger_id:
        raise TaskError("triggerId is empty: name the API trigger of the sub-integration", "INVALID_ARGUMENT")
    return Child(integration=context.text("workflowName").strip(), trigger_id=trigger_id, parameters=parameters)


def request_parameters(context: TaskContext, own: Mapping[str, Value]) -> dict[str, Value]:
    """The inputs that ``requestParameterMapping`` takes from our parameters; one without a value is left out."""
    pairs = mapping(context, "requestParameterMapping")
    found = ((target, value_named(source, own)) for source, target in pairs)
    return {target: value for target, value in found if value is not None}


def taken_over(context: TaskContext, key: str, outcome: ChildOutcome, own: Mapping[str, Value]) -> dict[str, Value]:
    """Our parameters as the mapping ``key`` fills them from a child's outputs; a missing output changes nothing."""
    changed: dict[str, Value] = {}
    for source, target in mapping(context, key):
        value = value_named(source, outcome.parameters)
        if value is not None:
            name = own_name(target, own)
            changed[name] = _like(value, own.get(name))
    return changed


def _like(value: Value, before: Value | None) -> Value:
    """In the type that the parameter has had so far, where it fits: the next condition compares with it."""
    try:
        return value if before is None else coerce(value, before.type, "sub-execution output")
    except InvalidValue:
        return value


def mapping(context: TaskContext, key: str) -> list[tuple[str, str]]:
    """The task's mapping ``key``, (from, to); an absent one is empty."""
    try:
        return parse_mapping(context.config, key)
    except InvalidValue as error:
        raise TaskError(str(error), "INVALID_ARGUMENT") from error


def value_named(name: str, parameters: Mapping[str, Value]) -> Value | None:
    """The value of a parameter, whether or not the name or the parameter has backticks."""
    found = look_up(parameters, name)
    return look_up(parameters, name.replace("`", "")) if found is None else found


def own_name(name: str, own: Mapping[str, Value]) -> str:
    """The name under which we know the parameter, with or without backticks; unknown ones stay as written."""
    bare = name.replace("`", "")
    return next((known for known in (name, f"`{bare}`", bare) if known in own), name)


def has_failed(outcome: ChildOutcome) -> bool:
    """Whether a sub-execution ended in anything but success."""
    return outcome.error is not None or outcome.state != "SUCCEEDED"


def failure(outcome: ChildOutcome, context: TaskContext) -> str:
    """One sentence on a sub-execution that failed."""
    named = context.text("workflowName") or context.text("triggerId")
    return f"sub-execution {outcome.execution_id} of {named!r} ended {outcome.state}: {outcome.error or 'no message'}"


def is_async(context: TaskContext) -> bool:
    """Whether the task goes on without waiting for its sub-executions."""
    method = next((text for key in METHOD_KEYS if (text := context.text(key).strip().upper())), "")
    if method not in EXECUTION_METHODS:
        raise TaskError(f"executionMethod is {method!r}; it can be SYNC or ASYNC", "INVALID_ARGUMENT")
    return EXECUTION_METHODS[method]


def check(config: Mapping[str, Value]) -> Iterable[str]:
    """What is missing or wrong in what all these tasks take."""
    trigger_id = config.get("triggerId")
    if trigger_id is None or not text_of(trigger_id).strip():
        yield "triggerId is missing: name the API trigger of the sub-integration"
    for key in METHOD_KEYS:
        method = text_of(config[key]).strip().upper() if key in config else ""
        if "$" not in method and method not in EXECUTION_METHODS:
            yield f"{key} is {method!r}; it can be SYNC or ASYNC"
    for key in MAPPING_KEYS:
        try:
            parse_mapping(config, key)
        except InvalidValue as error:
            yield str(error)


# Light: they only say what is to start, and read what has ended.
TASK_TYPES.add(
    TaskType(
        name="SubWorkflowExecutorV2Task",
        run=run_call,
        join=join_call,
        light=True,
        celery_name="tasks.call_integration",
        check=check,
    )
)
