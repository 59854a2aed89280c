from __future__ import annotations

import itertools
from collections.abc import Iterable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.engine.graph import cycles, start_above_start
from orchestrator.engine.validate import Problems, check_integration, find_problems
from orchestrator.errors import InvalidDefinition
from orchestrator.model.definition import read_definition
from orchestrator.model.fields import MAX_PROBLEMS
from orchestrator.model.integration import IntegrationVersion, Rollback
from orchestrator.model.policies import ConditionalFailurePolicies, FailurePolicy, RetryStrategy
from orchestrator.model.task_types import Done, TaskType, TaskTypes
from orchestrator.model.values import DataType, Value
from tests.unit.factories import (
    SAMPLES,
    make_catcher,
    make_integration,
    make_parameter,
    make_task,
    make_task_types,
    make_trigger,
    needs_samples,
    sample_names,
)
from tests.unit.steps import steps_of

TYPES = make_task_types()
BAD = "$a$ = "  # a condition without its right side
FOREIGN = {
    "cloudfunctions.json": [(1, "CloudFunctionTask")],
    "sftp-get-file.json": [(1, "GenericConnectorTask"), (6, "GenericConnectorTask")],
    "sftp-get-file-poll.json": [(6, "GenericConnectorTask")],
}


def problems_of(version: IntegrationVersion, types: TaskTypes = TYPES) -> Problems:
    return find_problems(version, types)


def only_error(version: IntegrationVersion, types: TaskTypes = TYPES) -> str:
    (error,) = problems_of(version, types).errors
    return error


def only_warning(version: IntegrationVersion) -> str:
    problems = problems_of(version)
    assert problems.errors == ()
    (warning,) = problems.warnings
    return warning


def read_sample(name: str) -> IntegrationVersion:
    return read_definition((SAMPLES / name).read_bytes(), source=name)


# -- samples -------------------------------------------------------------------------------------------------------


@needs_samples
@pytest.mark.parametrize("name", [name for name in sample_names() if name not in FOREIGN])
def test_a_sample_of_built_in_types_passes(name):
    check_integration(read_sample(name), TYPES, name)


@needs_samples
@pytest.mark.parametrize("name", FOREIGN)
def test_a_sample_of_a_foreign_type_is_refused_with_number_type_and_remedy(name):
    with pytest.raises(InvalidDefinition) as caught:
        check_integration(read_sample(name), TYPES, name)

    problems = caught.value.problems
    assert len(problems) == len(FOREIGN[name])
    for problem, (number, task_type) in zip(sorted(problems), FOREIGN[name], strict=True):
        assert problem.startswith(f"task {number} ")
        assert f"({task_type}): unknown task type '{task_type}'" in problem
        assert f"@task_type('{task_type}')" in problem
        assert "--include MODULE" in problem
        assert "entry-point group orchestrator.task_types" in problem


@needs_samples
@pytest.mark.parametrize("name", FOREIGN)
def test_a_sample_of_a_foreign_type_passes_once_the_type_is_registered(name):
    types = make_task_types("FieldMappingTask", "SubWorkflowForEachLoopV2Task", FOREIGN[name][0][1])

    assert problems_of(read_sample(name), types).errors == ()


# -- tasks ---------------------------------------------------------------------------------------------------------


def test_a_sound_integration_has_no_problems():
    version = make_integration(make_task(1, next=[2, (3, "$a$ > 1")]), make_task(2), make_task(3))

    assert problems_of(version) == Problems(errors=(), warnings=())


def test_an_integration_without_tasks_is_refused():
    assert "there is no task" in only_error(IntegrationVersion(name="flow", triggers=(make_trigger(),)))


def test_a_close_name_is_suggested_for_an_unknown_type():
    error = only_error(make_integration(make_task(3, "FieldMapingTask", display_name="Map it")))

    assert error.startswith("task 3 'Map it' (FieldMapingTask): unknown task type 'FieldMapingTask'; did you mean")
    assert "'FieldMappingTask'? If not, register it" in error


def test_an_unknown_rollback_type_is_refused():
    error = only_error(make_integration(make_task(rollback=Rollback(task="Undo"))))

    assert error.startswith("task 1 (Noop), rollback: unknown task type 'Undo'")


def test_two_tasks_of_one_number_are_refused():
    version = make_integration(make_task(1, display_name="a"), make_task(1, display_name="b"))

    assert only_error(version) == "task 1: 2 tasks have this number ('a', 'b'); give each its own taskId"


@pytest.mark.parametrize("number", [0, -1])
def test_a_number_below_one_is_refused(number):
    """0 is the trigger's place in a plan."""
    assert only_error(make_integration(make_task(number))) == f"task {number}: taskId must be 1 or more"


def test_what_a_task_type_s_own_check_finds_is_reported_with_its_place():
    types = TaskTypes([TaskType(name="Rest", run=lambda _: Done(), check=lambda config: ["url is missing"])])

    error = only_error(make_integration(make_task(4, "Rest", display_name="Charge card")), types)

    assert error == "task 4 'Charge card' (Rest): url is missing"


def test_a_task_type_s_check_that_crashes_is_a_problem_among_others():
    def check(config: object) -> Iterable[str]:
        yield "first"
        raise RuntimeError("boom")

    types = TaskTypes([TaskType(name="Rest", run=lambda _: Done(), check=check)])

    assert problems_of(make_integration(make_task(task="Rest")), types).errors == (
        "task 1 (Rest): first",
        "task 1 (Rest): the check of this task type failed with RuntimeError: boom",
    )


@pytest.mark.parametrize("executor_id", ["a b", "gpu/1", "é", "x" * 201, ""])
def test_an_executor_id_that_is_no_queue_name_is_refused(executor_id):
    assert "executorId: found" in only_error(make_integration(make_task(executor_id=executor_id)))


def test_an_executor_id_of_letters_digits_and_three_signs_is_taken():
    assert problems_of(make_integration(make_task(executor_id="gpu_1.A-b"))).errors == ()


@pytest.mark.parametrize("timeout_ms", [0, -5])
def test_a_timeout_of_no_time_is_refused(timeout_ms):
    assert f"timeoutMs: found {timeout_ms}" in only_error(make_integration(make_task(timeout_ms=timeout_ms)))


# -- edges and conditions ------------------------------------------------------------------------------------------


def test_an_edge_to_a_missing_task_is_refused_wherever_it_stands():
    version = make_integration(
        make_task(1, next=[7]),
        triggers=[make_trigger(starts=[1, 8])],
        error_catchers=(make_catcher(starts=[9]),),
    )

    assert problems_of(version).errors == (
        "task 1 (Noop), nextTasks[0]: there is no task 7",
        "trigger 'api_trigger/flow', startTasks[1]: there is no task 8",
        "error catcher 'catcher', startErrorTasks[0]: there is no task 9",
    )


def test_a_cycle_is_refused_with_its_path():
    version = make_integration(make_task(5, next=[1]), make_task(1, next=[2]), make_task(2, next=[3, 1]), make_task(3))

    assert only_error(version) == "tasks 1 -> 2 -> 1 form a cycle; loop with SubWorkflowWhileLoopV2Task instead"


def test_a_task_that_follows_itself_is_a_cycle():
    assert "tasks 1 -> 1 form a cycle" in problems_of(make_integration(make_task(1, next=[1]))).errors[0]


def test_a_long_cycle_is_shown_in_short():
    ring = [make_task(n, next=[n % 1000 + 1]) for n in range(1, 1001)]

    (error,) = problems_of(make_integration(*ring)).errors

    assert error.startswith("tasks 1 -> 2 -> 3 -> 4 -> 5 -> 6 -> ... -> 996 -> 997 -> 998 -> 999 -> 1000 -> 1 form")


POLICY = FailurePolicy(strategy=RetryStrategy.FATAL, condition=BAD)


@pytest.mark.parametrize(
    ("version", "place"),
    [
        (make_integration(make_task(1, next=[2, (2, BAD)]), make_task(2)), "task 1 (Noop), nextTasks[1]"),
        (make_integration(triggers=[make_trigger(starts=[(1, BAD)])]), "trigger 'api_trigger/flow', startTasks[0]"),
        (
            make_integration(error_catchers=(make_catcher(starts=[(1, BAD)]),)),
            "error catcher 'catcher', startErrorTasks[0]",
        ),
        (make_integration(make_task(failure_policy=POLICY)), "task 1 (Noop), failurePolicy"),
        (make_integration(make_task(sync_failure_policy=POLICY)), "task 1 (Noop), synchronousCallFailurePolicy"),
        (
            make_integration(make_task(conditional_failure_policies=ConditionalFailurePolicies(policies=(POLICY,)))),
            "task 1 (Noop), conditionalFailurePolicies, failurePolicies[0]",
        ),
        (
            make_integration(make_task(conditional_failure_policies=ConditionalFailurePolicies(default=POLICY))),
            "task 1 (Noop), conditionalFailurePolicies, defaultFailurePolicy",
        ),
        (
            make_integration(
                make_task(task="SubWorkflowWhileLoopV2Task", parameters={"whileCondition": Value(DataType.STRING, BAD)})
            ),
            "task 1 (SubWorkflowWhileLoopV2Task), whileCondition",
        ),
    ],
)
def test_a_bad_condition_names_its_place_column_and_what_was_expected(version, place):
    error = only_error(version)

    assert error.startswith(f"{place}: condition '$a$ = ', column ")
    assert ": expected " in error


def test_a_bad_while_condition_is_not_reported_twice():
    name = "SubWorkflowWhileLoopV2Task"
    types = TaskTypes([TaskType(name=name, run=lambda _: Done(), check=lambda config: ["the condition is bad"])])
    task = make_task(task=name, parameters={"whileCondition": Value(DataType.STRING, BAD)})

    assert only_error(make_integration(task), types) == f"task 1 ({name}): the condition is bad"


def test_a_condition_a_thousand_levels_deep_is_refused():
    deep = "(" * 1000 + "$a$ = 1" + ")" * 1000

    assert "expected at most" in only_error(make_integration(make_task(1, next=[(2, deep)]), make_task(2)))


def test_a_blank_condition_is_no_problem():
    assert problems_of(make_integration(make_task(1, next=[(2, " \n")]), make_task(2))).errors == ()


# -- triggers and error catchers -----------------------------------------------------------------------------------


def test_two_triggers_of_one_id_are_refused():
    version = make_integration(triggers=[make_trigger("a"), make_trigger("a")])

    assert only_error(version) == "trigger 'api_trigger/a': two triggers have this id; give each its own"


def test_a_start_task_that_stands_twice_is_refused():
    version = make_integration(triggers=[make_trigger(starts=[1, 1])])

    assert only_error(version) == "trigger 'api_trigger/flow', startTasks: task 1 stands 2 times"


def test_a_start_task_that_follows_another_one_is_refused():
    chain = [make_task(1, next=[2]), make_task(2, next=[3]), make_task(3)]

    error = only_error(make_integration(*chain, triggers=[make_trigger(starts=[3, 1])]))

    assert error.startswith("trigger 'api_trigger/flow', startTasks: task 1 leads to task 3;")


def test_start_tasks_of_different_triggers_may_follow_one_another():
    chain = [make_task(1, next=[2]), make_task(2)]
    triggers = [make_trigger("a", starts=[1]), make_trigger("b", starts=[2])]

    assert problems_of(make_integration(*chain, triggers=triggers)).errors == ()


def test_an_error_catcher_that_does_not_exist_is_refused():
    version = make_integration(
        make_task(1, error_catcher_id="absent"),
        triggers=[make_trigger(error_catcher_id="gone", starts=[1])],
        error_catchers=(make_catcher("a"), make_catcher("b")),
    )

    assert problems_of(version).errors == (
        "task 1 (Noop), errorCatcherId: there is no error catcher 'absent'; known: a, b",
        "trigger 'api_trigger/flow', errorCatcherId: there is no error catcher 'gone'; known: a, b",
    )


def test_two_error_catchers_of_one_id_are_refused():
    version = make_integration(error_catchers=(make_catcher("a"), make_catcher("a")))

    assert only_error(version) == "error catcher 'a': two error catchers have this id; give each its own"


# -- parameters ----------------------------------------------------------------------------------------------------


def test_two_parameters_of_one_key_are_refused():
    version = make_integration(parameters=[make_parameter("x"), make_parameter("x")])

    assert only_error(version) == "parameter 'x': two parameters have this key; give each its own"


def test_a_default_of_the_wrong_type_is_refused():
    version = make_integration(parameters=[make_parameter("x", DataType.INT, default=Value(DataType.STRING, "five"))])

    error = only_error(version)

    assert error.startswith("parameter 'x', defaultValue: found str 'five', expected an int64")
    assert "INT_VALUE" in error


@pytest.mark.parametrize(
    "schema",
    [
        [],
        5,
        {"type": "text"},
        {"type": 5},
        {"required": "name"},
        {"pattern": "("},
        {"$schema": 5},
        {"$schema": "http://["},
        {"$ref": "https://example.com/order.json"},
        {"properties": {"a": {"$ref": "http://example.com/a#/definitions/x"}}},
    ],
)
def test_a_bad_json_schema_is_refused(schema):
    version = make_integration(parameters=[make_parameter("order", DataType.JSON, json_schema=schema)])

    assert only_error(version).startswith("parameter 'order', jsonSchema: ")


@pytest.mark.parametrize(
    "schema",
    [
        {},
        {"type": "integer", "minimum": 1, "exclusiveMinimum": True},
        {"$schema": "http://json-schema.org/draft-07/schema#", "exclusiveMinimum": 1},
        {"$schema": "https://json-schema.org/draft/2020-12/schema", "$defs": {"a": {}}, "$ref": "#/$defs/a"},
        {"id": "http://example.com/o.json", "properties": {"p": {"$ref": "http://example.com/o.json#/definitions/p"}}},
    ],
)
def test_a_json_schema_of_any_draft_is_taken(schema):
    version = make_integration(parameters=[make_parameter("order", DataType.JSON, json_schema=schema)])

    assert problems_of(version).errors == ()


def test_a_schema_nested_too_deeply_is_refused_not_a_crash():
    schema: dict[str, object] = {"type": "object"}
    for _ in range(2000):
        schema = {"properties": {"a": schema}}

    version = make_integration(parameters=[make_parameter("order", DataType.JSON, json_schema=schema)])

    assert "nested too deeply" in only_error(version)


# -- warnings ------------------------------------------------------------------------------------------------------


def test_an_unreachable_task_is_a_warning():
    version = make_integration(make_task(1, next=[2]), make_task(2), make_task(3), triggers=[make_trigger(starts=[1])])

    assert only_warning(version) == "task 3 (Noop): no trigger leads to it, so it never runs"


def test_no_start_tasks_means_the_tasks_without_incoming_edges():
    version = make_integration(make_task(1, next=[2]), make_task(2), make_task(3), triggers=[make_trigger(starts=[])])

    assert problems_of(version) == Problems(errors=(), warnings=())


def test_a_task_of_an_error_catcher_is_reachable():
    version = make_integration(
        make_task(1), make_task(2), triggers=[make_trigger(starts=[1])], error_catchers=(make_catcher(starts=[2]),)
    )

    assert problems_of(version).warnings == ()


@pytest.mark.parametrize(
    ("policy", "warning"),
    [
        (FailurePolicy(strategy=RetryStrategy.LINEAR_BACKOFF, interval_s=1), "without maxRetries never tries again"),
        (
            FailurePolicy(strategy=RetryStrategy.FIXED_INTERVAL, max_retries=1),
            "without intervalTime tries again at once",
        ),
    ],
)
def test_a_retry_strategy_without_its_numbers_is_a_warning(policy, warning):
    found = only_warning(make_integration(make_task(failure_policy=policy)))

    assert found == f"task 1 (Noop), failurePolicy: {policy.strategy} {warning}"


def test_an_integration_without_a_trigger_is_a_warning():
    assert "there is no trigger" in only_warning(make_integration(triggers=[]))


def test_a_trigger_s_variable_that_is_not_declared_is_a_warning():
    trigger = make_trigger(input_variables=("x",), output_variables=("y",))

    warning = only_warning(make_integration(triggers=[trigger], parameters=[make_parameter("x")]))

    assert warning == "trigger 'api_trigger/flow', outputVariables: there is no parameter 'y'"


def test_a_default_that_breaks_its_own_schema_is_a_warning():
    parameter = make_parameter("x", DataType.JSON, default=Value(DataType.JSON, []), json_schema={"type": "object"})

    warning = only_warning(make_integration(parameters=[parameter]))

    assert warning == "parameter 'x', defaultValue: it breaks its own jsonSchema: $: [] is not of type 'object'"


def test_check_returns_the_warnings_and_raises_all_errors():
    assert len(check_integration(make_integration(triggers=[]), TYPES, "flow.json")) == 1

    with pytest.raises(InvalidDefinition) as caught:
        check_integration(make_integration(make_task(1, "A"), make_task(2, "B", next=[3])), TYPES, "flow.json")

    assert caught.value.source == "flow.json"
    assert len(caught.value.problems) == 3


def test_past_the_first_fifty_errors_are_counted_only():
    errors = problems_of(make_integration(*(make_task(n, "Absent") for n in range(1, 5001)))).errors

    assert len(errors) == MAX_PROBLEMS
    assert errors[-1] == "and 4951 more"


# -- size ----------------------------------------------------------------------------------------------------------


def chain(length: int, *, fan: int = 1) -> list:
    last = length
    return [make_task(n, next=range(n + 1, min(n + fan, last) + 1)) for n in range(1, length + 1)]


@pytest.mark.parametrize("fan", [1, 20])
def test_five_thousand_tasks_are_checked(fan):
    assert problems_of(make_integration(*chain(5000, fan=fan))) == Problems(errors=(), warnings=())


@pytest.mark.parametrize("fan", [1, 20])
def test_twice_as_many_tasks_are_checked_in_about_twice_the_steps(fan):
    once, twice = (make_integration(*chain(length, fan=fan)) for length in (500, 1000))

    assert steps_of(lambda: problems_of(twice)) < 2.5 * steps_of(lambda: problems_of(once))


def with_triggers(length: int, *, triggers: int) -> IntegrationVersion:
    """Each of them starts two tasks above a wide graph."""
    starts = range(length + 1, length + triggers + 1)
    return make_integration(
        *chain(length, fan=10),
        *(make_task(n, next=[1]) for n in starts),
        triggers=[make_trigger(str(n), starts=[starts[n], starts[n - 1]]) for n in range(triggers)],
    )


def test_a_hundred_triggers_over_a_wide_graph_are_checked():
    assert problems_of(with_triggers(2000, triggers=100)).errors == ()


@pytest.mark.parametrize("larger", [{"length": 400, "triggers": 20}, {"length": 200, "triggers": 40}])
def test_twice_as_many_triggers_or_tasks_below_them_are_checked_in_about_twice_the_steps(larger):
    once, twice = with_triggers(200, triggers=20), with_triggers(**larger)

    assert steps_of(lambda: problems_of(twice)) < 2.5 * steps_of(lambda: problems_of(once))


# -- graphs --------------------------------------------------------------------------------------------------------

GRAPHS = st.dictionaries(st.integers(1, 8), st.lists(st.integers(1, 8), max_size=3), min_size=1).map(
    lambda drawn: {number: [target for target in targets if target in drawn] for number, targets in drawn.items()}
)


def leads_to(graph: dict[int, list[int]], start: int) -> set[int]:
    found: set[int] = set()
    ahead = list(graph[start])
    while ahead:
        number = ahead.pop()
        if number not in found:
            found.add(number)
            ahead.extend(graph[number])
    return found


@given(graph=GRAPHS)
@settings(max_examples=300)
def test_a_cycle_is_found_if_and_only_if_a_task_leads_to_itself(graph):
    found = list(cycles(graph))

    assert bool(found) == any(number in leads_to(graph, number) for number in graph)
    for path in found:
        assert path[0] == path[-1]
        assert all(after in graph[before] for before, after in itertools.pairwise(path))


@given(graph=GRAPHS, data=st.data())
@settings(max_examples=300)
def test_a_start_above_another_is_found_if_and_only_if_there_is_one(graph, data):
    acyclic = {number: [target for target in targets if target > number] for number, targets in graph.items()}
    starts = data.draw(st.lists(st.sampled_from(sorted(acyclic)), unique=True))

    pair = start_above_start(acyclic, starts)

    assert (pair is not None) == any(other in leads_to(acyclic, start) for start in starts for other in starts)
    assert pair is None or pair[1] in leads_to(acyclic, pair[0])
