import subprocess
import sys
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import pydantic
import pytest

from orchestrator.errors import InvalidValue, TaskError
from orchestrator.model.task_functions import UnusableFunction, task_type
from orchestrator.model.task_types import Done, DuplicateTaskType, Suspend, TaskContext, TaskTypes
from orchestrator.model.values import DataType, Value
from tests.unit.tasks.contexts import make_context, values


def run(function, *, light=False, config=None, parameters=None):
    """Register the function, and run it once as a task."""
    types = TaskTypes()
    task_type("tests.it", light=light, types=types)(function)
    context = make_context(config=values(config or {}), parameters=values(parameters or {}))
    return types.get("tests.it").run(context)


def outputs(returned):
    """What a function's answer comes out as, in plain Python."""
    return {key: value.python for key, value in run(lambda: returned).outputs.items()}


def test_parameters_reach_the_arguments_of_the_same_names_with_references_replaced():
    def add(first: int, second: int) -> dict[str, int]:
        return {"sum": first + second}

    step = run(add, config={"first": 2, "second": "$other$"}, parameters={"other": 40})

    assert step == Done(outputs={"sum": Value(DataType.INT, 42)})


def test_an_argument_with_a_default_may_be_left_out():
    def shout(text: str = "hi") -> dict[str, str]:
        return {"text": text.upper()}

    assert run(shout).outputs["text"].python == "HI"


def test_an_argument_annotated_with_the_context_is_given_it():
    def where(context: TaskContext) -> dict[str, int]:
        return {"number": context.task_number}

    assert run(where).outputs["number"].python == 1


def test_an_argument_annotated_with_the_context_is_no_parameter_of_the_task():
    def where(context: TaskContext, text: str) -> None: ...

    types = TaskTypes()
    task_type("tests.where", types=types)(where)

    problems = list(types.get("tests.where").check(values({"context": "mine", "text": "hi"})))

    assert problems == ["tests.where takes no parameter 'context'; it takes: text"]


def test_a_function_can_ask_whether_it_is_cancelled_and_is_not_if_nobody_watches():
    def patient(context: TaskContext) -> dict[str, bool]:
        return {"cancelled": context.cancelled()}

    assert run(patient).outputs["cancelled"].python is False


def test_a_value_that_does_not_fit_its_annotation_fails_the_attempt_and_names_the_parameter():
    def double(number: int) -> int:
        return 2 * number

    with pytest.raises(TaskError, match=r"parameter 'number': .*valid integer"):
        run(double, config={"number": "many"})


@pytest.mark.parametrize(("given", "hint", "expected"), [(3, float, 3.0), ("3", int, 3), ("yes", bool, True)])
def test_a_value_of_another_plain_type_becomes_one_of_the_annotation(given, hint, expected):
    def take(value):
        return {"taken": value}

    take.__annotations__ = {"value": hint}
    taken = run(take, config={"value": given}).outputs["taken"].python

    assert (taken, type(taken)) == (expected, hint)


def test_an_annotation_that_nothing_can_be_checked_by_is_refused_when_the_function_is_registered():
    class Opaque: ...

    def take(value):
        return {"taken": value}

    take.__annotations__ = {"value": Opaque}

    with pytest.raises(pydantic.errors.PydanticSchemaGenerationError):
        task_type("tests.it", types=TaskTypes())(take)


def test_a_function_of_plain_values_needs_no_pydantic():
    code = """
import sys
from orchestrator.model.task_functions import task_type
from orchestrator.model.task_types import TASK_TYPES
from tests.unit.tasks.contexts import make_context, values

@task_type("tests.greet")
def greet(name: str, times: int = 1) -> dict[str, str]:
    return {"greeting": name * times}

TASK_TYPES.get("tests.greet").run(make_context(config=values({"name": "a", "times": 2})))
sys.exit("pydantic" in sys.modules)
"""

    repository = Path(__file__).parents[3]
    assert subprocess.run([sys.executable, "-c", code], check=False, cwd=repository).returncode == 0


def test_a_required_argument_without_a_value_fails_the_attempt():
    def double(number: int) -> int:
        return 2 * number

    with pytest.raises(TaskError, match="parameter 'number' has no value"):
        run(double, config={"number": "$absent$"})


class Model(pydantic.BaseModel):
    day: date
    total: float


@dataclass
class Data:
    day: date
    total: float


@pytest.mark.parametrize("returned", [Model(day=date(2026, 1, 31), total=1.5), Data(date(2026, 1, 31), 1.5)])
def test_a_model_and_a_dataclass_give_one_output_a_field(returned):
    assert outputs(returned) == {"day": "2026-01-31", "total": 1.5}


@pytest.mark.parametrize(
    ("returned", "expected"),
    [
        (None, {}),
        ({}, {}),
        ({"a": [1, 2], "b": {"c": None}}, {"a": [1, 2], "b": {"c": None}}),
        (7, {"`Task_1_result`": 7}),
        ("text", {"`Task_1_result`": "text"}),
        (Value(DataType.INT, 3), {"`Task_1_result`": 3}),
        ({"a": Value(DataType.DOUBLE, 3.0)}, {"a": 3.0}),
    ],
)
def test_what_a_function_returns_becomes_outputs(returned, expected):
    assert outputs(returned) == expected


@pytest.mark.parametrize("step", [Done(outputs={"a": Value(DataType.INT, 1)}), Suspend(message="wait")])
def test_a_step_is_taken_as_it_is(step):
    assert run(lambda: step) == step


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_a_number_that_json_cannot_say_is_refused_and_never_becomes_null(number):
    with pytest.raises(InvalidValue):
        outputs({"a": number})
    with pytest.raises(InvalidValue):
        outputs({"a": {"b": [number]}})


def test_a_coroutine_is_refused_when_it_is_registered():
    async def later() -> None: ...

    with pytest.raises(UnusableFunction, match="async def"):
        task_type("tests.later", types=TaskTypes())(later)


@pytest.mark.parametrize("function", [lambda *more: None, lambda **more: None, lambda one, /: None])
def test_arguments_without_a_name_are_refused_when_the_function_is_registered(function):
    with pytest.raises(UnusableFunction, match="given by name"):
        task_type("tests.odd", types=TaskTypes())(function)


def test_two_functions_of_one_name_are_refused():
    types = TaskTypes()
    task_type("tests.one", types=types)(lambda: None)

    with pytest.raises(DuplicateTaskType):
        task_type("tests.one", types=types)(lambda: None)


def test_the_check_names_what_is_missing_and_what_is_too_much():
    types = TaskTypes()
    task_type("tests.add", types=types)(lambda first, second=1: None)

    problems = list(types.get("tests.add").check(values({"third": 3})))

    assert problems == [
        "parameter 'first' of tests.add is required",
        "tests.add takes no parameter 'third'; it takes: first, second",
    ]
