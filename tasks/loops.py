"""For Each Loop, While Loop and For Each Parallel: a sub-integration, many times.

    for each, while     run -> [one child] -> join -> [one child] -> join -> ... -> Done
    parallel            run -> [every child] -> join -> Done                             the chord

What they take besides ``sub_integrations``: ``listToIterate`` and ``iterationElementMapping`` (the child's input that
gets the element), or ``whileCondition`` (a round starts while it is TRUE); ``aggregatorParameterMapping``, a child's
output -> our array, one element a round; ``overrideParameterMapping``, a child's output -> our parameter, which feeds
the next round; and ``loopMetadata``, which names the parameter that takes a JSON object::

    {"current_iteration_count": 2,
     "iterations": [{"iteration": 1, "execution_id": "...", "state": "SUCCEEDED", "error_message": "",
                     "parameters": {...}}, ...]}

``$loopMetadata.current_iteration_count$`` in a while condition is the number of rounds that have ended: 0 at first.

A round that fails, fails the loop; its failure policy says what comes of that. Parallel children all come to their end
first. A list is read anew before each round, so a loop must not run beside a task that changes its list.

What must not happen: a loop whose cost grows with the square of its rounds. So the carry holds the number of rounds and
the overridden parameters alone, and arrays and metadata are built once, at the end.

Sources: product pages "For Each Loop task", "While Loop task", "For Each Parallel task"; parameter names from the
public samples ecom-order-processing and status-based-retry.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, cast

from orchestrator.errors import ConditionSyntax, InvalidValue, TaskError
from orchestrator.model.conditions import parse_condition
from orchestrator.model.json_text import Json, parse_json_text
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
from orchestrator.model.values import DataType, Value, element_type, from_python, parse_parameters, to_parameters
from tasks.parameter_map import bare_name
from tasks.sub_integrations import (
    SUB_EXECUTION_FAILED,
    check,
    child,
    failure,
    has_failed,
    is_async,
    mapping,
    own_name,
    request_parameters,
    taken_over,
    value_named,
)

MAX_WHILE_ROUNDS: Final = 5_000  # ours; a condition that never turns false must not run for ever

Outcomes = Callable[[], Sequence[ChildOutcome]]


def _no_outcomes() -> Sequence[ChildOutcome]:
    return ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Progress:
    """How far a sequential loop is: what it carries from round to round."""

    rounds: int = 0
    overrides: Mapping[str, Value] = field(default_factory=dict)

    def to_carry(self) -> Json:
        """As plain JSON."""
        return {"rounds": self.rounds, "overrides": cast("Json", to_parameters(self.overrides))}


def parse_progress(carry: Json) -> Progress:
    """Read what ``to_carry`` wrote."""
    document = cast("dict[str, Json]", carry)
    overrides = cast("dict[str, object]", document["overrides"])
    return Progress(rounds=cast("int", document["rounds"]), overrides=parse_parameters(overrides, "carry"))


# -- for each ------------------------------------------------------------------------------------------------------


def run_for_each(context: TaskContext) -> Step:
    """Start the first element's round."""
    return _next_element(context, Progress(), _no_outcomes)


def join_for_each(context: TaskContext, join: Join) -> Step:
    """Start the next element's round, or finish."""
    return _next_element(context, _after_round(context, join), join.all_outcomes)


def _next_element(context: TaskContext, progress: Progress, all_outcomes: Outcomes) -> Step:
    items = _items(context)
    if progress.rounds >= len(items.data):
        return _finish(context, progress, all_outcomes)
    name = _element_name(context)
    return _round(context, progress, {name: items.at(progress.rounds)} if name else {})


# -- while ---------------------------------------------------------------------------------------------------------


def run_while(context: TaskContext) -> Step:
    """Start the first round, if the condition holds."""
    return _next_round(context, Progress(), _no_outcomes)


def join_while(context: TaskContext, join: Join) -> Step:
    """Start another round if the condition still holds, or finish."""
    return _next_round(context, _after_round(context, join), join.all_outcomes)


def _next_round(context: TaskContext, progress: Progress, all_outcomes: Outcomes) -> Step:
    if not _holds(context, progress):
        return _finish(context, progress, all_outcomes)
    if progress.rounds >= MAX_WHILE_ROUNDS:
        raise TaskError(
            f"whileCondition still holds after {MAX_WHILE_ROUNDS:,} rounds, the most a loop may take",
            "RESOURCE_EXHAUSTED",
        )
    return _round(context, progress, {})


def _holds(context: TaskContext, progress: Progress) -> bool:
    # Not context.text: the condition's references are its own to read, with their types.
    text = _written(context.config, "whileCondition")
    if not text.strip():
        raise TaskError("whileCondition is empty: the loop would never end", "INVALID_ARGUMENT")
    metadata = Value(DataType.JSON, {"current_iteration_count": progress.rounds})
    names = ("loopMetadata", context.output_name("loopMetadata") or "loopMetadata")
    try:
        return parse_condition(text).holds({**_own(context, progress), **dict.fromkeys(names, metadata)})
    except ConditionSyntax as error:
        raise TaskError(str(error), "INVALID_ARGUMENT") from error


# -- for each parallel ---------------------------------------------------------------------------------------------


def run_parallel(context: TaskContext) -> Step:
    """Start every element's sub-execution at once."""
    items = _items(context)
    if not items.data:
        return _finish(context, Progress(), _no_outcomes)
    shared = child(context, request_parameters(context, context.parameters))
    name = _element_name(context)
    children = [
        Child(
            integration=shared.integration,
            trigger_id=shared.trigger_id,
            parameters={**shared.parameters, **({name: items.at(index)} if name else {})},
        )
        for index in range(len(items.data))
    ]
    return StartChildren(children=children, wait=not is_async(context))


def join_parallel(context: TaskContext, join: Join) -> Step:
    """Collect every element's outputs, in the list's order.

    Raises:
        TaskError: at least one sub-execution did not succeed.
    """
    failed = [(index, outcome) for index, outcome in enumerate(join.outcomes) if has_failed(outcome)]
    if failed:
        index, outcome = failed[0]
        raise TaskError(
            f"{len(failed)} of {len(join.outcomes)} sub-executions failed; the first is that of element {index}: "
            f"{failure(outcome, context)}",
            SUB_EXECUTION_FAILED,
        )
    return _finish(context, Progress(rounds=len(join.outcomes)), lambda: join.outcomes)


# -- the list ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True, slots=True)
class Items:
    """The list to iterate. ``element`` is the type of its elements, None for those of a JSON array."""

    data: Sequence[Json]
    element: DataType | None

    def at(self, index: int) -> Value:
        """One element as a value."""
        item = self.data[index]
        return _narrowest(item) if self.element is None else from_python(item, "listToIterate", self.element)


def _items(context: TaskContext) -> Items:
    """The list: any array parameter, a JSON array, JSON text of one, or the bare name of a parameter with one."""
    value = context.value("listToIterate")
    if value is not None and value.type is DataType.STRING:
        value = _list_in(str(value.data), context.parameters)
    if value is None:
        raise TaskError("listToIterate has no value", "INVALID_ARGUMENT")
    if not isinstance(value.data, list | tuple):
        raise TaskError(f"listToIterate is no list but {value.type}", "INVALID_ARGUMENT")
    return Items(data=value.data, element=element_type(value.type))


def _list_in(text: str, parameters: Mapping[str, Value]) -> Value | None:
    named = look_up(parameters, text.strip())
    if named is not None and named.type is not DataType.STRING:
        return named
    try:
        return Value(DataType.JSON, parse_json_text(text, "listToIterate"))
    except InvalidValue as error:
        raise TaskError(str(error), "INVALID_ARGUMENT") from error


def _element_name(context: TaskContext) -> str:
    """The input that takes the element; empty if none does."""
    return bare_name(_written(context.config, "iterationElementMapping"))


# -- one round, and the end ----------------------------------------------------------------------------------------


def _own(context: TaskContext, progress: Progress) -> dict[str, Value]:
    return {**context.parameters, **progress.overrides}


def _round(context: TaskContext, progress: Progress, element: Mapping[str, Value]) -> StartChildren:
    inputs = {**request_parameters(context, _own(context, progress)), **element}
    return StartChildren(children=[child(context, inputs)], carry=progress.to_carry())


def _after_round(context: TaskContext, join: Join) -> Progress:
    before = parse_progress(join.carry)
    outcome = join.outcomes[-1]
    if has_failed(outcome):
        raise TaskError(f"iteration {before.rounds + 1}: {failure(outcome, context)}", SUB_EXECUTION_FAILED)
    changed = taken_over(context, "overrideParameterMapping", outcome, _own(context, before))
    return Progress(rounds=before.rounds + 1, overrides={**before.overrides, **changed})


def _finish(context: TaskContext, progress: Progress, all_outcomes: Outcomes) -> Done:
    collected = mapping(context, "aggregatorParameterMapping")
    metadata_name = context.output_name("loopMetadata")
    outcomes = all_outcomes() if collected or metadata_name else ()
    outputs = dict(progress.overrides)
    for source, target in collected:
        outputs[own_name(target, context.parameters)] = _array(source, outcomes)
    if metadata_name:
        outputs[metadata_name] = Value(DataType.JSON, _metadata(progress, outcomes))
    return Done(outputs=outputs)


def _array(source: str, outcomes: Sequence[ChildOutcome]) -> Value:
    """One element a round; null where a child returned nothing, so that the positions stay those of the rounds."""
    found = (value_named(source, outcome.parameters) for outcome in outcomes)
    return _narrowest([None if value is None else value.python for value in found])


def _narrowest(document: Json) -> Value:
    """The narrowest type that holds it: JSON where no other does, as for an int past int64."""
    try:
        return from_python(document, "value")
    except InvalidValue:
        return Value(DataType.JSON, document)


def _metadata(progress: Progress, outcomes: Sequence[ChildOutcome]) -> Json:
    return {
        "current_iteration_count": progress.rounds,
        "iterations": [
            {
                "iteration": number,
                "execution_id": outcome.execution_id,
                "state": outcome.state,
                "error_message": outcome.error or "",
                "parameters": {name: value.python for name, value in outcome.parameters.items()},
            }
            for number, outcome in enumerate(outcomes, start=1)
        ],
    }


# -- before anything runs ------------------------------------------------------------------------------------------


def check_for_each(config: Mapping[str, Value]) -> Iterable[str]:
    """What is missing or wrong in a loop over a list."""
    yield from check(config)
    if "listToIterate" not in config or config["listToIterate"].data == "":
        yield "listToIterate is missing"


def check_while(config: Mapping[str, Value]) -> Iterable[str]:
    """What is missing or wrong in a while loop."""
    yield from check(config)
    condition = _written(config, "whileCondition")
    if not condition.strip():
        yield "whileCondition is missing: the loop would never end"
        return
    try:
        parse_condition(condition)
    except ConditionSyntax as error:
        yield str(error)


def _written(config: Mapping[str, Value], key: str) -> str:
    value = config.get(key)
    return value.data if value is not None and isinstance(value.data, str) else ""


# Light, all three: they only say what is to start, and read what has ended.
TASK_TYPES.add(
    TaskType(
        name="SubWorkflowForEachLoopV2Task",
        run=run_for_each,
        join=join_for_each,
        light=True,
        celery_name="tasks.for_each",
        check=check_for_each,
    )
)
TASK_TYPES.add(
    TaskType(
        name="SubWorkflowWhileLoopV2Task",
        run=run_while,
        join=join_while,
        light=True,
        celery_name="tasks.while",
        check=check_while,
    )
)
TASK_TYPES.add(
    TaskType(
        name="ForEachParallelTask",
        run=run_parallel,
        join=join_parallel,
        light=True,
        celery_name="tasks.for_each_parallel",
        check=check_for_each,
    )
)
