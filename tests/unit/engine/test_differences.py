"""What differs between two versions: one example for each kind of difference."""

import pytest

from orchestrator.engine.differences import Differences, compare
from orchestrator.model.integration import ForkPolicy, InputOutput, NextTask
from orchestrator.model.values import DataType, Value
from tests.unit.engine.runs import IGNORE
from tests.unit.factories import make_catcher, make_integration, make_parameter, make_task, make_trigger

TRIGGER_ID = "api_trigger/flow"
ONE, TWO = Value(DataType.INT, 1), Value(DataType.INT, 2)


def compared(old, new):
    return compare(old, new, trigger_id=TRIGGER_ID)


def of_parameters(*sides):
    return compared(*(make_integration(parameters=side) for side in sides)).others


def test_a_version_does_not_differ_from_itself():
    version = make_integration(make_task(1, next=(2,)), make_task(2), parameters=[make_parameter()])

    assert compared(version, version).are_none


def test_labels_and_descriptions_are_no_difference():
    old = make_integration(make_task(1, next=(2,)), make_task(2), parameters=[make_parameter("a")])
    labelled = make_task(1, display_name="One", description="first", next=(NextTask(number=2, display_name="on"),))
    new = make_integration(labelled, make_task(2), parameters=[make_parameter("a", display_name="A")], user_label="new")

    assert compared(old, new) == Differences()


@pytest.mark.parametrize("other", [True, 1.0])
def test_what_python_takes_for_the_same_within_a_document_differs(other):
    one, another = Value(DataType.JSON, {"a": [1]}), Value(DataType.JSON, {"a": [other]})
    old = make_integration(make_task(1, parameters={"x": one}), parameters=[make_parameter("p", default=one)])
    new = make_integration(make_task(1, parameters={"x": another}), parameters=[make_parameter("p", default=another)])

    found = compared(old, new)

    assert old.tasks == new.tasks
    assert found.changed == {1: ("parameters",)}
    assert len(found.others) == 1


def test_tasks_that_came_went_and_changed_are_named():
    old = make_integration(make_task(1), make_task(2), make_task(3, next=(2,)))
    new = make_integration(make_task(1, timeout_ms=5, failure_policy=IGNORE), make_task(3, "Other"), make_task(4))

    found = compared(old, new)

    assert (found.added, found.removed) == ((4,), (2,))
    assert found.changed == {1: ("failurePolicy", "timeoutMs"), 3: ("task", "nextTasks")}


@pytest.mark.parametrize(
    ("before", "after", "sentence"),
    [
        ([], [make_parameter("a")], "parameter 'a' is added (STRING_VALUE)"),
        ([make_parameter("a")], [], "parameter 'a' is removed"),
        (
            [make_parameter("a", DataType.INT)],
            [make_parameter("a", DataType.DOUBLE)],
            "parameter 'a' is declared otherwise: dataType INT_VALUE -> DOUBLE_VALUE",
        ),
        (
            [make_parameter("a", DataType.INT, default=ONE)],
            [make_parameter("a", DataType.INT, default=TWO, direction=InputOutput.IN)],
            "parameter 'a' is declared otherwise: defaultValue 1 -> 2, inputOutputType NONE -> IN",
        ),
        (
            [make_parameter("a")],
            [make_parameter("a", json_schema={"minLength": 1})],
            "parameter 'a' is declared otherwise: jsonSchema",
        ),
    ],
)
def test_parameters_that_are_declared_otherwise_are_named(before, after, sentence):
    assert of_parameters(before, after) == (sentence,)


def test_the_default_of_a_masked_parameter_is_not_shown():
    secret = Value(DataType.STRING, "swordfish")

    (sentence,) = of_parameters([make_parameter("a", masked=True)], [make_parameter("a", masked=True, default=secret)])

    assert sentence == "parameter 'a' is declared otherwise: defaultValue"


def test_a_long_default_is_cut():
    (sentence,) = of_parameters([make_parameter("a")], [make_parameter("a", default=Value(DataType.STRING, "x" * 999))])

    assert len(sentence) < 140
    assert sentence.endswith("...")


def test_another_start_of_the_trigger_is_named():
    tasks = make_task(1), make_task(2)
    old = make_integration(*tasks, triggers=[make_trigger(starts=(1,))])
    new = make_integration(*tasks, triggers=[make_trigger(starts=(1, 2), fork=ForkPolicy.RUN_FIRST_MATCH, label="new")])

    assert compared(old, new).others == ("trigger 'api_trigger/flow': startTasks, nextTasksExecutionPolicy",)


def test_error_catchers_that_came_went_and_changed_are_named():
    old = make_integration(error_catchers=(make_catcher("a", starts=(1,)), make_catcher("b", starts=(1,))))
    new = make_integration(error_catchers=(make_catcher("b", starts=((1, "$x$ = 1"),)), make_catcher("c", starts=(1,))))

    assert compared(old, new).others == (
        "error catcher 'a' is removed",
        "error catcher 'b': startErrorTasks",
        "error catcher 'c' is added",
    )
