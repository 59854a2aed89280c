"""Sub-integrations and loops, driven by hand: ``play`` stands for the engine, a plain function for the child."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping

import pytest

from orchestrator.errors import TaskError
from orchestrator.model.task_types import TASK_TYPES, Child, ChildOutcome, Done, Join, StartChildren, Step
from orchestrator.model.values import DataType, Value
from tasks import loops, sub_integrations
from tests.unit.tasks.contexts import make_context, parameter_map, sample_config, values

CALL = TASK_TYPES.get("SubWorkflowExecutorV2Task")
FOR_EACH = TASK_TYPES.get("SubWorkflowForEachLoopV2Task")
WHILE = TASK_TYPES.get("SubWorkflowWhileLoopV2Task")
PARALLEL = TASK_TYPES.get("ForEachParallelTask")

TARGET = {"workflowName": "sub", "triggerId": "api_trigger/sub"}
LOOP = {
    **TARGET,
    "listToIterate": "$items$",
    "iterationElementMapping": "item",
    "aggregatorParameterMapping": parameter_map(result="results"),
    "loopMetadata": ("$`Task_1_loopMetadata`$",),
}


class Playback:
    """What happened in one play: the rounds of children, the carries, and how often all outcomes were read."""

    def __init__(self, behave: Callable[[dict], Mapping[str, object] | str]):
        self.behave = behave
        self.rounds: list[list[Child]] = []
        self.carries: list[object] = []
        self.outcomes: list[ChildOutcome] = []
        self.reads = 0

    def run_round(self, step: StartChildren) -> Join:
        self.rounds.append(list(step.children))
        self.carries.append(step.carry)
        latest = [self.outcome(child) for child in step.children]
        self.outcomes += latest
        carry = json.loads(json.dumps(step.carry))
        return Join(round=len(self.rounds), outcomes=latest, carry=carry, all_outcomes=self.read_all)

    def outcome(self, child: Child) -> ChildOutcome:
        number = sum(map(len, self.rounds[:-1])) + self.rounds[-1].index(child) + 1
        returned = self.behave({key: value.python for key, value in child.parameters.items()})
        if isinstance(returned, str):
            return ChildOutcome(execution_id=f"child-{number}", state="FAILED", parameters={}, error=returned)
        return ChildOutcome(execution_id=f"child-{number}", state="SUCCEEDED", parameters=values(returned))

    def read_all(self) -> list[ChildOutcome]:
        self.reads += 1
        return self.outcomes


def play(task_type, config, parameters=None, behave=lambda inputs: {}) -> tuple[dict[str, object], Playback]:
    context = make_context(config, parameters)
    playback = Playback(behave)
    step: Step = task_type.run(context)
    while isinstance(step, StartChildren) and step.wait:
        step = task_type.join(context, playback.run_round(step))
    assert isinstance(step, Done)
    return {name: value.python for name, value in step.outputs.items()}, playback


def inputs_of(playback: Playback) -> list[dict[str, object]]:
    return [{key: value.python for key, value in child.parameters.items()} for [child] in playback.rounds]


# -- call integration ----------------------------------------------------------------------------------------------


def test_a_called_integration_gets_its_inputs_and_gives_its_outputs():
    config = {
        **TARGET,
        "requestParameterMapping": parameter_map(order="request", note="remark"),
        "responseParameterMapping": parameter_map(total="order_total", extra="unused"),
    }

    outputs, playback = play(CALL, config, {"order": {"id": 7}}, lambda inputs: {"total": inputs["request"]["id"] * 2})

    assert outputs == {"order_total": 14}
    assert playback.rounds == [
        [Child(integration="sub", trigger_id="api_trigger/sub", parameters=values({"request": {"id": 7}}))]
    ]


@pytest.mark.parametrize("config", [{"executionMethod": "ASYNC"}, {"executionStrategy": "async"}])
def test_an_asynchronous_call_goes_on_at_once(config):
    step = CALL.run(make_context({**TARGET, **config}))

    assert (step.wait, len(step.children)) == (False, 1)


def test_without_a_name_the_trigger_alone_says_what_to_run():
    step = CALL.run(make_context({"triggerId": "api_trigger/$which$"}, {"which": "x"}))

    assert step.children == [Child(integration="", trigger_id="api_trigger/x")]


def test_a_failed_call_says_which_execution_failed_and_why():
    with pytest.raises(TaskError, match="sub-execution child-1 of 'sub' ended FAILED: boom") as caught:
        play(CALL, TARGET, behave=lambda inputs: "boom")

    assert caught.value.code == "SUB_EXECUTION_FAILED"


@pytest.mark.parametrize("own", ["status", "`status`"])
@pytest.mark.parametrize("childs", ["out", "`out`"])
@pytest.mark.parametrize("written", [("out", "status"), ("$`out`$", "$`status`$")])
def test_names_match_with_or_without_dollars_and_backticks(own, childs, written):
    source, target = written
    config = {**TARGET, "responseParameterMapping": parameter_map(**{source: target})}

    outputs, _ = play(CALL, config, {own: "old"}, lambda inputs: {childs: "new"})

    assert outputs == {own: "new"}


def test_an_output_takes_the_type_that_the_parameter_has_if_it_fits():
    config = {**TARGET, "responseParameterMapping": parameter_map(a="number", b="text")}
    before = {"number": 0.5, "text": 1}

    outputs, _ = play(CALL, config, before, lambda inputs: {"a": 2, "b": "no number"})

    assert outputs == {"number": 2.0, "text": "no number"}
    assert isinstance(outputs["number"], float)


@pytest.mark.parametrize(
    "config", [{"triggerId": " "}, {"executionMethod": "LATER"}, {"requestParameterMapping": {"entries": [7]}}]
)
def test_a_call_that_cannot_be_made_is_told_before_and_fails_a_run(config):
    assert len(list(CALL.check(values({**TARGET, **config})))) == 1
    with pytest.raises(TaskError) as caught:
        CALL.run(make_context({**TARGET, **config}))
    assert caught.value.code == "INVALID_ARGUMENT"


# -- for each ------------------------------------------------------------------------------------------------------


def test_a_loop_runs_one_child_at_a_time_and_collects_in_order():
    outputs, playback = play(FOR_EACH, LOOP, {"items": [3, 1, 2]}, lambda inputs: {"result": inputs["item"] * 10})

    assert outputs["results"] == [30, 10, 20]
    assert [len(children) for children in playback.rounds] == [1, 1, 1]
    assert playback.reads == 1


def test_loop_metadata_tells_of_every_iteration():
    outputs, _ = play(FOR_EACH, LOOP, {"items": ["a"]}, lambda inputs: {"result": "A"})

    assert outputs["`Task_1_loopMetadata`"] == {
        "current_iteration_count": 1,
        "iterations": [
            {
                "iteration": 1,
                "execution_id": "child-1",
                "state": "SUCCEEDED",
                "error_message": "",
                "parameters": {"result": "A"},
            }
        ],
    }


@pytest.mark.parametrize(
    ("items", "element_type"),
    [
        (["a", "b"], DataType.STRING),
        ([1, 2], DataType.INT),
        ([0.5, 1.5], DataType.DOUBLE),
        ([True, False], DataType.BOOLEAN),
        ([{"sku": 1}, {"sku": 2}], DataType.JSON),
        ([{"sku": 1}, 5], DataType.JSON),
    ],
)
def test_any_array_can_be_iterated_and_elements_keep_their_type(items, element_type):
    step = FOR_EACH.run(make_context(LOOP, {"items": items}))

    assert step.children[0].parameters["item"] == Value(element_type, items[0])


@pytest.mark.parametrize("written", ["$items$", "items", "$text$", "[1, 2]", "$order.lines$"])
def test_the_list_may_be_a_reference_a_name_or_json_text(written):
    parameters = {"items": [1, 2], "text": " [1, 2]", "order": {"lines": [1, 2]}}

    _, playback = play(FOR_EACH, {**LOOP, "listToIterate": written}, parameters)

    assert inputs_of(playback) == [{"item": 1}, {"item": 2}]


@pytest.mark.parametrize("task_type", [FOR_EACH, PARALLEL])
@pytest.mark.parametrize("items", [[], "[]"])
def test_an_empty_list_is_done_at_once_with_an_empty_array(task_type, items):
    outputs, playback = play(task_type, LOOP, {"items": items})

    assert outputs == {"results": [], "`Task_1_loopMetadata`": {"current_iteration_count": 0, "iterations": []}}
    assert not playback.rounds


@pytest.mark.parametrize("task_type", [FOR_EACH, PARALLEL])
@pytest.mark.parametrize("items", [7, {"a": 1}, "text", None])
def test_what_is_no_list_fails_the_loop(task_type, items):
    parameters = {} if items is None else {"items": items}

    with pytest.raises(TaskError) as caught:
        task_type.run(make_context(LOOP, parameters))

    assert caught.value.code == "INVALID_ARGUMENT"


def test_other_parameters_reach_every_child_beside_its_element():
    config = {**LOOP, "requestParameterMapping": parameter_map(to="Recipients")}

    _, playback = play(FOR_EACH, config, {"items": ["a", "b"], "to": "ann"})

    assert inputs_of(playback) == [{"item": "a", "Recipients": "ann"}, {"item": "b", "Recipients": "ann"}]


def test_an_overridden_parameter_feeds_the_next_child_and_stays():
    config = {
        **LOOP,
        "requestParameterMapping": parameter_map(total="so_far"),
        "overrideParameterMapping": parameter_map(sum="total"),
    }

    outputs, playback = play(
        FOR_EACH, config, {"items": [1, 2, 3], "total": 0}, lambda inputs: {"sum": inputs["so_far"] + inputs["item"]}
    )

    assert [inputs["so_far"] for inputs in inputs_of(playback)] == [0, 1, 3]
    assert outputs["total"] == 6


def test_a_child_without_the_output_leaves_its_place_null():
    outputs, _ = play(
        FOR_EACH, LOOP, {"items": [1, 2, 3]}, lambda inputs: {} if inputs["item"] == 2 else {"result": inputs["item"]}
    )

    assert outputs["results"] == [1, None, 3]


def test_a_failed_iteration_fails_the_loop_and_starts_no_other():
    started = []

    def behave(inputs):
        started.append(inputs["item"])
        return "boom" if inputs["item"] == 2 else {}

    with pytest.raises(TaskError, match="iteration 2: sub-execution child-2 of 'sub' ended FAILED: boom"):
        play(FOR_EACH, LOOP, {"items": [1, 2, 3]}, behave)

    assert started == [1, 2]


def test_what_a_long_loop_carries_does_not_grow():
    config = {**LOOP, "overrideParameterMapping": parameter_map(result="last")}

    outputs, playback = play(FOR_EACH, config, {"items": list(range(1000))}, lambda inputs: {"result": inputs["item"]})

    assert len(outputs["results"]) == 1000
    assert max(len(json.dumps(carry)) for carry in playback.carries) < 100
    assert playback.reads == 1


def test_outcomes_are_not_read_when_nobody_asks_for_them():
    config = {key: item for key, item in LOOP.items() if key not in ("aggregatorParameterMapping", "loopMetadata")}

    outputs, playback = play(FOR_EACH, config, {"items": [1, 2]})

    assert (outputs, playback.reads) == ({}, 0)


def test_numbers_past_int64_stay_json_on_both_ways():
    huge = 2**70

    outputs, playback = play(
        FOR_EACH,
        LOOP,
        {"items": Value(DataType.JSON, [huge])},
        lambda inputs: {"result": Value(DataType.JSON, inputs["item"])},
    )

    assert (outputs["results"], inputs_of(playback)) == ([huge], [{"item": huge}])


def test_the_mail_loop_sample_hands_each_content_to_its_child():
    parameters = {"ListOfEmailContent": ["one", "two"], "Recipients": "a@example.com", "Email_Subject": "Hi"}

    outputs, playback = play(FOR_EACH, sample_config("foreach-loop-send-email", "1"), parameters)

    assert inputs_of(playback) == [
        {"Recipients": "a@example.com", "Email_Subject": "Hi", "EmailContent": content} for content in ("one", "two")
    ]
    assert playback.rounds[0][0].integration == "SubIntegrationSendEmailDemo"
    assert outputs["`Task_1_loopMetadata`"]["current_iteration_count"] == 2


def test_the_order_sample_collects_the_status_of_each_call():
    parameters = {"filtered_external_items": [{"line": 2}, {"line": 3}]}

    outputs, playback = play(
        FOR_EACH,
        sample_config("ecom-order-processing", "4"),
        parameters,
        lambda inputs: {"`Task_6_responseStatus`": f"20{inputs['sub_integration_input']['line']} OK"},
    )

    assert outputs["rest_call_response_status"] == ["202 OK", "203 OK"]
    assert playback.rounds[0][0].trigger_id == "api_trigger/ecom-order-processing_API_2"


# -- while ---------------------------------------------------------------------------------------------------------


def test_the_retry_sample_ends_after_two_rounds_against_a_server_that_answers_400():
    outputs, playback = play(
        WHILE,
        sample_config("status-based-retry-main", "1"),
        {"retryCounter": 0, "responseCode": 999},
        lambda inputs: {"retryCounter": inputs["retryCounter"] + 1, "responseCode": 400},
    )

    assert len(playback.rounds) == 2
    assert (outputs["retryCounter"], outputs["responseCode"]) == (2, 400)
    assert outputs["`Task_1_loopMetadata`"]["current_iteration_count"] == 2


def test_the_retry_sample_ends_after_one_round_against_a_server_that_answers_200():
    outputs, _ = play(
        WHILE,
        sample_config("status-based-retry-main", "1"),
        {"retryCounter": 0, "responseCode": 999},
        lambda inputs: {"retryCounter": inputs["retryCounter"] + 1, "responseCode": 200},
    )

    assert (outputs["retryCounter"], outputs["responseCode"]) == (1, 200)


@pytest.mark.parametrize(
    "condition", ["$loopMetadata.current_iteration_count$ < 3", "$`Task_1_loopMetadata`.current_iteration_count$ < 3"]
)
def test_a_condition_may_count_the_rounds(condition):
    config = {**LOOP, "whileCondition": condition}

    outputs, playback = play(WHILE, config, behave=lambda inputs: {"result": "x"})

    assert (len(playback.rounds), outputs["results"]) == (3, ["x", "x", "x"])


def test_a_condition_that_is_false_from_the_start_runs_nothing():
    outputs, playback = play(WHILE, {**LOOP, "whileCondition": "$go$ = true"}, {"go": False})

    assert (outputs["results"], playback.rounds) == ([], [])


def test_a_failed_round_fails_the_while_loop():
    with pytest.raises(TaskError, match=r"iteration 1: .*boom"):
        play(WHILE, {**TARGET, "whileCondition": "1 = 1"}, behave=lambda inputs: "boom")


def test_a_condition_that_never_turns_false_is_stopped(monkeypatch):
    monkeypatch.setattr(loops, "MAX_WHILE_ROUNDS", 3)

    with pytest.raises(TaskError, match="still holds after 3 rounds") as caught:
        play(WHILE, {**TARGET, "whileCondition": "1 = 1"})

    assert caught.value.code == "RESOURCE_EXHAUSTED"


@pytest.mark.parametrize("condition", ["", "$a$ = = 1"])
def test_a_missing_or_broken_condition_is_told_before_and_fails_a_run(condition):
    config = {**TARGET, "whileCondition": condition}

    assert len(list(WHILE.check(values(config)))) == 1
    with pytest.raises(TaskError) as caught:
        WHILE.run(make_context(config))
    assert caught.value.code == "INVALID_ARGUMENT"


# -- for each parallel ---------------------------------------------------------------------------------------------


def test_a_parallel_loop_starts_every_child_at_once_and_collects_in_order():
    config = {**LOOP, "requestParameterMapping": parameter_map(factor="factor")}

    outputs, playback = play(
        PARALLEL,
        config,
        {"items": [3, 1, 2], "factor": 2},
        lambda inputs: {"result": inputs["item"] * inputs["factor"]},
    )

    assert [len(children) for children in playback.rounds] == [3]
    assert outputs["results"] == [6, 2, 4]
    assert outputs["`Task_1_loopMetadata`"]["current_iteration_count"] == 3
    assert playback.reads == 0


def test_a_parallel_loop_with_failures_names_the_first_and_counts_them():
    with pytest.raises(TaskError, match=r"2 of 3 sub-executions failed; the first is that of element 1: .*odd 1"):
        play(
            PARALLEL,
            LOOP,
            {"items": [0, 1, 3]},
            lambda inputs: f"odd {inputs['item']}" if inputs["item"] % 2 else {},
        )


def test_an_asynchronous_parallel_loop_goes_on_at_once():
    step = PARALLEL.run(make_context({**LOOP, "executionMethod": "ASYNC"}, {"items": [1, 2]}))

    assert (step.wait, len(step.children)) == (False, 2)


# -- check ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "task", "task_type"),
    [
        ("foreach-loop-send-email", "1", FOR_EACH),
        ("ecom-order-processing", "4", FOR_EACH),
        ("sftp-get-file-poll", "8", FOR_EACH),
        ("status-based-retry-main", "1", WHILE),
    ],
)
def test_the_samples_pass_the_check(name, task, task_type):
    assert not list(task_type.check(sample_config(name, task)))


def test_a_loop_without_list_and_trigger_has_two_problems():
    assert len(list(loops.check_for_each({}))) == 2
    assert len(list(sub_integrations.check({}))) == 1


def test_tasks_that_run_children_are_light_and_have_a_join():
    assert all(each.light and each.join for each in (CALL, FOR_EACH, WHILE, PARALLEL))
