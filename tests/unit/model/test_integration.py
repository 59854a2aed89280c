from __future__ import annotations

import contextlib
import json
import pickle
import re
from collections.abc import Mapping
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.errors import DefinitionError, InvalidDefinition, UnknownTrigger
from orchestrator.model.definition import MAX_TASKS, parse_integration, read_definition
from orchestrator.model.fields import MAX_PROBLEMS
from orchestrator.model.integration import ForkPolicy, InputOutput, JoinStrategy, NextTask, Rollback, TriggerNotNamed
from orchestrator.model.policies import RetryStrategy
from orchestrator.model.values import DataType, Value
from tests.unit.factories import SAMPLES, make_integration, make_task, make_trigger, needs_samples, sample_names
from tests.unit.steps import steps_of


def sample(name: str) -> dict[str, Any]:
    return json.loads((SAMPLES / name).read_bytes())


def one_task(**fields: object) -> dict[str, object]:
    return {"taskConfigs": [{"taskId": "3", "task": "RestTask", "displayName": "Charge card", **fields}]}


def one_parameter(**fields: object) -> dict[str, object]:
    return {"integrationParameters": [{"key": "x", "dataType": "STRING_VALUE", **fields}]}


def problems_of(document: Mapping[str, object]) -> tuple[str, ...]:
    with pytest.raises(InvalidDefinition) as caught:
        parse_integration(document)
    return caught.value.problems


def parameters_of(body: object) -> Mapping[str, Value]:
    return parse_integration(one_task(parameters=body)).tasks[0].parameters


def policy_of(**fields: object):
    return parse_integration(one_task(failurePolicy=fields)).tasks[0].failure_policy


# -- samples -------------------------------------------------------------------------------------------------------


@needs_samples
@pytest.mark.parametrize("name", sample_names())
def test_a_sample_parses_and_keeps_its_document(name):
    data = (SAMPLES / name).read_bytes()

    version = read_definition(data, source=name)

    assert version.document == json.loads(data)
    assert len(version.tasks) == len(version.document["taskConfigs"])
    assert pickle.loads(pickle.dumps(version)) == version


def snake(document: object, *, inside: str = "") -> object:
    """Every field name in snake_case; names that somebody chose (of parameters, properties) as they are."""
    if isinstance(document, dict):
        chosen = inside in ("parameters", "properties")
        return {
            key if chosen else re.sub(r"[A-Z]", lambda m: "_" + m[0].lower(), key): snake(
                item, inside="" if chosen else key
            )
            for key, item in document.items()
        }
    return [snake(item) for item in document] if isinstance(document, list) else document


@needs_samples
@pytest.mark.parametrize("name", sample_names())
def test_a_sample_in_snake_case_is_the_same_version(name):
    document = sample(name)

    rewritten = snake(document)

    assert "task_configs" in rewritten
    assert parse_integration(rewritten) == parse_integration(document)


@needs_samples
@pytest.mark.parametrize("name", sample_names())
def test_a_sample_as_yaml_is_the_same_version(name):
    document = sample(name)

    version = read_definition(yaml.safe_dump(document, allow_unicode=True).encode(), source=name)

    assert version == parse_integration(document, source=name)
    assert version.document == document


@needs_samples
def test_a_sample_is_read_in_our_words():
    version = parse_integration(sample("ecom-order-processing.json"))

    approval, prices = version.task(2), version.task(1)
    assert approval.suspends
    assert approval.next_tasks == (
        NextTask(number=3, condition="$`Task_2_isApproved`$ = true", display_name="Proceed if approved"),
    )
    assert version.task(3).join is JoinStrategy.WHEN_ANY_SUCCEED
    assert prices.parameters["FieldMappingConfigTaskParameterKey"].type is DataType.JSON
    assert "httpParams" not in version.task(6).parameters
    assert version.trigger("ecom-order-processing_API_2").start_tasks == (NextTask(number=6),)
    assert version.defaults()["threshold_order_value"] == Value(DataType.DOUBLE, 100.0)


@needs_samples
def test_single_quoted_json_with_escaped_quotes_is_read():
    version = parse_integration(sample("sftp-get-file.json"))

    mapping = version.task(2).parameters["FieldMappingConfigTaskParameterKey"].python

    expression = mapping["mappedFields"][0]["inputField"]["transformExpression"]
    assert expression["initialValue"]["literalValue"]["stringValue"] == "{ 'RemoteFile' : '$RemoteFileName$' }"


# -- the parts -----------------------------------------------------------------------------------------------------


def test_what_a_task_does_not_say_is_the_default():
    task = parse_integration({"taskConfigs": [{"taskId": 1, "task": "Noop"}]}).tasks[0]

    assert task == make_task(1, "Noop")


def test_a_task_says_everything():
    document = one_task(
        description="takes the money",
        nextTasks=[{"taskId": 4, "condition": "$a$ = 1", "displayName": "paid"}],
        nextTasksExecutionPolicy="RUN_FIRST_MATCH",
        taskExecutionStrategy="WHEN_ALL_TASKS_AND_CONDITIONS_SUCCEED",
        failurePolicy={"retryStrategy": "FATAL"},
        synchronousCallFailurePolicy={"retryStrategy": "IGNORE"},
        conditionalFailurePolicies={
            "failurePolicies": [
                {"retryStrategy": "FIXED_INTERVAL", "maxRetries": 2, "intervalTime": "5s", "condition": "$b$"}
            ],
            "defaultFailurePolicy": {"retryStrategy": "NONE"},
        },
        successPolicy={"finalState": "SUSPENDED"},
        errorCatcherId="catcher",
        externalTaskType="ERROR_TASK",
        jsonValidationOption="PRE_EXECUTION",
        executorId="gpu",
        timeoutMs="60000",
        rollback={"task": "Refund", "parameters": {"reason": {"stringValue": "undone"}}},
        parameters={"token": {"key": "token", "value": {"stringValue": "s"}, "masked": True}},
    )

    task = parse_integration(document).tasks[0]

    assert task.next_tasks == (NextTask(number=4, condition="$a$ = 1", display_name="paid"),)
    assert task.fork is ForkPolicy.RUN_FIRST_MATCH
    assert task.join is JoinStrategy.WHEN_ALL_TASKS_AND_CONDITIONS_SUCCEED
    assert [(key.rsplit(", ")[-1], policy.strategy) for key, policy in task.policies()] == [
        ("failurePolicy", "FATAL"),
        ("synchronousCallFailurePolicy", "IGNORE"),
        ("failurePolicies[0]", "FIXED_INTERVAL"),
        ("defaultFailurePolicy", "NONE"),
    ]
    assert (task.suspends, task.error_catcher_id, task.executor_id, task.timeout_ms) == (True, "catcher", "gpu", 60_000)
    assert (task.external_task_type, task.json_validation) == ("ERROR_TASK", "PRE_EXECUTION")
    assert task.rollback == Rollback(task="Refund", parameters={"reason": Value(DataType.STRING, "undone")})
    assert task.masked == {"token"}
    assert task.place == "task 3 'Charge card' (RestTask)"


def test_an_unspecified_enum_is_its_default():
    document = one_task(
        taskExecutionStrategy="TASK_EXECUTION_STRATEGY_UNSPECIFIED",
        nextTasksExecutionPolicy="NEXT_TASKS_EXECUTION_POLICY_UNSPECIFIED",
        failurePolicy={"retryStrategy": "RETRY_STRATEGY_UNSPECIFIED"},
    )

    task = parse_integration(document).tasks[0]

    assert (task.join, task.fork) == (JoinStrategy.WHEN_ALL_SUCCEED, ForkPolicy.RUN_ALL_MATCH)
    assert task.failure_policy.strategy is RetryStrategy.NONE


def test_a_task_parameter_without_a_value_is_dropped():
    body = {"a": {"key": "a"}, "b": {"key": "b", "value": {}}, "c": {"key": "c", "value": None}, "d": {}}

    assert parameters_of(body) == {}


def test_a_task_parameter_may_be_the_value_alone():
    assert parameters_of({"a": {"intValue": "5"}, "b": {"json_value": "{}"}}) == {
        "a": Value(DataType.INT, 5),
        "b": Value(DataType.JSON, {}),
    }


@pytest.mark.parametrize(
    ("text", "document"),
    [
        ("{'a': \"it's\", 'b': 'say \"hi\"'}", {"a": "it's", "b": 'say "hi"'}),
        ("['\\u00e9\\n', 'a\\\\']", ["é\n", "a\\"]),
        ('"5"', "5"),
        ("null", None),
    ],
)
def test_a_json_value_is_read_strict_or_with_single_quotes(text, document):
    assert parameters_of({"a": {"key": "a", "value": {"jsonValue": text}}})["a"] == Value(DataType.JSON, document)


@pytest.mark.parametrize("text", ["{", "{'a': }", "[&a ['x'], *a]", "{'a': NaN}", "[" * 5000, "1" * 5000, "", "'a"])
def test_a_json_value_that_is_not_json_names_its_place(text):
    (problem,) = problems_of(one_task(parameters={"config": {"key": "config", "value": {"jsonValue": text}}}))

    assert problem.startswith("task 3 'Charge card', parameters['config']: found ")


@pytest.mark.parametrize(
    ("written", "seconds"),
    [
        (5, 5),
        (2.5, 2.5),
        ("5", 5),
        ("5s", 5),
        ("0.25s", 0.25),
        ("1970-01-01T00:00:05Z", 5),
        ("1970-01-01T01:00:05+01:00", 5),
        ("1970-01-01T00:01:00", 60),
        (None, 0),
    ],
)
def test_an_interval_is_read_in_every_form_that_can_be_meant(written, seconds):
    assert policy_of(retryStrategy="FIXED_INTERVAL", intervalTime=written).interval_s == seconds


@pytest.mark.parametrize(
    "written", [-1, "2026-01-01T00:00:00Z", "1969-12-31T23:59:59Z", 86_401, "soon", True, [], 10**400]
)
def test_an_interval_that_is_none_is_refused(written):
    (problem,) = problems_of(one_task(failurePolicy={"intervalTime": written}))

    assert problem.startswith("task 3 'Charge card', failurePolicy, intervalTime: found ")


def test_a_cron_trigger_and_an_api_trigger_without_ids_get_the_derived_ones():
    cron = {"triggerType": "CRON", "properties": {"Timer Name": "nightly", "Scheduled Time spec": "10 12 * * *"}}

    version = parse_integration({"triggerConfigs": [{"properties": {"Trigger name": "order"}}, cron]})

    assert [(t.id, t.type, t.number) for t in version.triggers] == [
        ("api_trigger/order", "API", 1),
        ("cron_trigger/nightly/10+12+*+*+*", "CRON", 2),
    ]


def test_a_trigger_and_an_error_catcher_say_everything():
    version = parse_integration(
        {
            "triggerConfigs": [
                {
                    "triggerId": "api_trigger/order",
                    "triggerNumber": "7",
                    "startTasks": [{"taskId": "1"}],
                    "inputVariables": {"names": ["a", "b"]},
                    "outputVariables": {"names": ["c"]},
                    "errorCatcherId": "catcher",
                }
            ],
            "errorCatcherConfigs": [
                {"errorCatcherId": "catcher", "errorCatcherNumber": "2", "startErrorTasks": [{"taskId": "9"}]}
            ],
        }
    )

    (trigger,), (catcher,) = version.triggers, version.error_catchers
    assert (trigger.number, trigger.start_tasks, trigger.error_catcher_id) == (7, (NextTask(number=1),), "catcher")
    assert (trigger.input_variables, trigger.output_variables) == (("a", "b"), ("c",))
    assert (catcher.id, catcher.number, catcher.start_tasks) == ("catcher", 2, (NextTask(number=9),))


def test_a_parameter_says_everything():
    document = one_parameter(
        dataType="JSON_VALUE",
        defaultValue={"jsonValue": "[]"},
        inputOutputType="IN_OUT",
        jsonSchema='{"type": "array"}',
        masked=True,
        isTransient=True,
        displayName="X",
    )

    (parameter,) = parse_integration(document).parameters

    assert (parameter.key, parameter.data_type, parameter.direction) == ("x", DataType.JSON, InputOutput.IN_OUT)
    assert (parameter.default, parameter.json_schema) == (Value(DataType.JSON, []), {"type": "array"})
    assert (parameter.masked, parameter.is_transient, parameter.display_name) == (True, True, "X")


def test_a_default_takes_the_declared_type_if_it_can():
    document = one_parameter(dataType="DOUBLE_VALUE", defaultValue={"intValue": "5"})

    assert parse_integration(document).defaults() == {"x": Value(DataType.DOUBLE, 5.0)}


def test_a_parameter_without_a_type_takes_its_default_s():
    document = one_parameter(dataType=None, defaultValue={"intValue": "5"})

    assert parse_integration(document).parameters[0].data_type is DataType.INT


@pytest.mark.parametrize(
    ("document", "source", "name"),
    [
        ({"name": "projects/p/locations/l/integrations/orders/versions/v"}, "a.json", "orders"),
        ({"name": "orders"}, "a.json", "orders"),
        ({"triggerConfigs": [{"triggerId": "api_trigger/orders_API_2"}]}, "a.json", "orders"),
        ({"triggerConfigs": [{"triggerId": "api_trigger/start"}]}, "some/dir/my flow.v2.json", "my-flow"),
        ({}, "C:\\flows\\orders.yaml", "orders"),
        ({}, "///", "integration"),
    ],
)
def test_a_version_without_a_given_name_finds_its_own(document, source, name):
    assert parse_integration(document, source=source).name == name


def test_a_given_name_stands_over_the_document_s():
    assert parse_integration({"name": "projects/p/locations/l/integrations/a/versions/v"}, name="b").name == "b"


def test_unknown_keys_are_tolerated_and_kept():
    document = {"origin": "UI", "taskConfigsInternal": 5, "taskConfigs": [{"taskId": "1", "task": "T", "position": {}}]}

    assert parse_integration(document).document == document


# -- looking up ----------------------------------------------------------------------------------------------------

TWO_TRIGGERS = make_integration(triggers=[make_trigger("a"), make_trigger("b")])


def test_a_trigger_is_found_by_its_id_or_its_short_name():
    assert TWO_TRIGGERS.trigger("api_trigger/b") is TWO_TRIGGERS.trigger("b") is TWO_TRIGGERS.triggers[1]


def test_an_unknown_trigger_is_refused_with_the_known_ones():
    with pytest.raises(UnknownTrigger, match=r"no trigger 'c'.*api_trigger/a, api_trigger/b"):
        TWO_TRIGGERS.trigger("c")


def test_no_trigger_named_means_the_only_api_trigger_or_the_only_one():
    cron = make_trigger(id="cron_trigger/nightly/x", type="CRON")

    assert make_integration(triggers=[cron, make_trigger("a")]).trigger().id == "api_trigger/a"
    assert make_integration(triggers=[cron]).trigger(None) is cron


@pytest.mark.parametrize("version", [TWO_TRIGGERS, make_integration(triggers=[])])
def test_no_trigger_named_is_refused_where_there_is_not_exactly_one(version):
    with pytest.raises(TriggerNotNamed, match="name one of the triggers") as caught:
        version.trigger()

    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)


def test_a_task_is_found_by_its_number():
    version = make_integration(make_task(4), make_task(2, "Other"))

    assert version.task(2).task == "Other"
    with pytest.raises(KeyError):
        version.task(3)


# -- wrong documents -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("document", "problem"),
    [
        ({"taskConfigs": {}}, "taskConfigs: found an object, expected a list"),
        ({"taskConfigs": ["x"]}, "taskConfigs[0]: found str 'x', expected an object"),
        ({"taskConfigs": [{"task": "T"}]}, "taskConfigs[0], taskId: found nothing, expected the task's number"),
        (one_task(taskId="x"), "taskConfigs[0], taskId: found str 'x', expected an int64, as a number or a"),
        (
            one_task(taskId="9223372036854775808"),
            "taskConfigs[0], taskId: found ",
        ),
        (one_task(task=""), "task 3 'Charge card', task: found nothing, expected the name of a task type"),
        (
            one_task(nextTasks=[{"taskId": 1}, {}]),
            "task 3 'Charge card', nextTasks[1], taskId: found nothing, expected",
        ),
        (
            one_task(nextTasks=[{"taskId": 1, "condition": 5}]),
            "task 3 'Charge card', nextTasks[0], condition: found int",
        ),
        (
            one_task(taskExecutionStrategy="ANY"),
            "task 3 'Charge card', taskExecutionStrategy: found str 'ANY', expected",
        ),
        (one_task(failurePolicy=[]), "task 3 'Charge card', failurePolicy: found a list, expected an object"),
        (one_task(failurePolicy={"maxRetries": -1}), "task 3 'Charge card', failurePolicy, maxRetries: found -1"),
        (one_task(timeoutMs=1.5), "task 3 'Charge card', timeoutMs: found float 1.5, expected an int64"),
        (one_task(description="a\x00"), "task 3 'Charge card', description: found str 'a\\x00', expected text without"),
        (one_task(description="\ud800"), "task 3 'Charge card', description: found str '\\ud800', expected text"),
        (one_task(display_name="x"), "taskConfigs[0]: found both spellings of displayName, expected one of them"),
        (
            one_task(rollback={}),
            "task 3 'Charge card', rollback, task: found nothing, expected the name of a task type",
        ),
        (
            one_task(parameters={"n": {"key": "n", "value": {"intValue": "9223372036854775808"}}}),
            "task 3 'Charge card', parameters['n']: found ",
        ),
        (
            one_task(parameters={"n": {"key": "n", "value": {"protoValue": {}}}}),
            "task 3 'Charge card', parameters['n']: found key 'protoValue', expected one of stringValue",
        ),
        ({"triggerConfigs": [{}]}, "triggerConfigs[0], triggerId: found nothing, expected an id"),
        (
            {"triggerConfigs": [{"triggerId": "t", "inputVariables": {"names": [1]}}]},
            "trigger 't', inputVariables, names[0]: found int 1, expected the name of a parameter",
        ),
        ({"integrationParameters": [{"dataType": "INT_VALUE"}]}, "integrationParameters[0], key: found nothing"),
        (one_parameter(dataType="PROTO_VALUE"), "parameter 'x', dataType: found str 'PROTO_VALUE', expected one of"),
        (one_parameter(dataType=None), "parameter 'x', dataType: found nothing, expected one of STRING_VALUE"),
        (one_parameter(jsonSchema="{"), "parameter 'x', jsonSchema: found text that is not JSON"),
        (one_parameter(masked="yes"), "parameter 'x', masked: found str 'yes', expected true or false"),
        (
            one_parameter(defaultValue={"doubleValue": "NaN"}),
            "parameter 'x', defaultValue: found nan, expected a finite",
        ),
        ({"errorCatcherConfigs": [{}]}, "errorCatcherConfigs[0], errorCatcherId: found nothing"),
        ({"name": "a:b"}, "name: found str 'a:b', expected 1 to 256 characters without slash, colon"),
        ({"x": float("nan")}, "document: found nan, expected a finite number"),
        ({"x": {5: 1}}, "document: found dict {5: 1}, expected an object whose keys are strings"),
    ],
)
def test_a_wrong_place_is_named_with_what_was_found_and_expected(document, problem):
    (found,) = problems_of(document)

    assert found.startswith(problem)


def test_every_problem_is_reported_at_once():
    document = one_task(task="", timeoutMs="soon") | one_parameter(dataType="DATE") | {"description": 5}

    assert len(problems_of(document)) == 4


def test_past_the_first_fifty_problems_are_counted_only():
    problems = problems_of({"taskConfigs": [{}] * 100})

    assert len(problems) == MAX_PROBLEMS
    assert problems[-1] == "and 151 more"


def test_a_document_that_is_no_object_is_refused():
    assert problems_of([]) == ("found a list, expected an object with taskConfigs",)  # type: ignore[arg-type]


def test_a_document_nested_too_deeply_is_refused():
    deep: object = 1
    for _ in range(500):
        deep = [deep]

    assert "more than 200 levels" in problems_of({"x": deep})[0]


def with_twenty_edges_each(count: int) -> dict[str, object]:
    edges = [{"taskId": str(n)} for n in range(1, 21)]
    return {"taskConfigs": [{"taskId": str(n), "task": "T", "nextTasks": edges} for n in range(1, count + 1)]}


def test_five_thousand_tasks_with_twenty_edges_each_are_read():
    assert len(parse_integration(with_twenty_edges_each(MAX_TASKS)).tasks) == MAX_TASKS


def test_twice_as_many_tasks_are_read_in_about_twice_the_steps():
    once, twice = (with_twenty_edges_each(count) for count in (250, 500))

    assert steps_of(lambda: parse_integration(twice)) < 2.5 * steps_of(lambda: parse_integration(once))


# -- anything ------------------------------------------------------------------------------------------------------

FIELD_NAMES = st.sampled_from(
    [
        "name",
        "description",
        "userLabel",
        "taskConfigs",
        "task_configs",
        "triggerConfigs",
        "integrationParameters",
        "errorCatcherConfigs",
        "taskId",
        "task_id",
        "task",
        "displayName",
        "parameters",
        "nextTasks",
        "startTasks",
        "condition",
        "failurePolicy",
        "retryStrategy",
        "maxRetries",
        "intervalTime",
        "conditionalFailurePolicies",
        "failurePolicies",
        "defaultFailurePolicy",
        "successPolicy",
        "finalState",
        "rollback",
        "executorId",
        "timeoutMs",
        "triggerId",
        "triggerNumber",
        "triggerType",
        "properties",
        "inputVariables",
        "names",
        "key",
        "value",
        "masked",
        "dataType",
        "defaultValue",
        "inputOutputType",
        "jsonSchema",
        "stringValue",
        "intValue",
        "jsonValue",
        "doubleValue",
        "stringArray",
        "stringValues",
        "errorCatcherId",
        "startErrorTasks",
        "_",
        "__a",
    ]
)
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(
        ["1", "²", "+-5", "NONE", "IN", "INT_VALUE", "{}", "{'a': 1}", "{'", "5s", "1970-01-01T00:00:05Z"]
    )
)
DOCUMENTS = st.recursive(
    SCALARS,
    lambda below: st.lists(below, max_size=3) | st.dictionaries(FIELD_NAMES | st.text(max_size=3), below, max_size=5),
    max_leaves=40,
)


@given(document=DOCUMENTS)
@settings(max_examples=300)
def test_a_random_document_is_read_or_refused_and_nothing_else(document):
    with contextlib.suppress(DefinitionError):
        assert parse_integration(document).name


TOP_KEYS = ["taskConfigs", "triggerConfigs", "integrationParameters", "errorCatcherConfigs", "name"]


@given(document=st.fixed_dictionaries({}, optional={key: st.lists(DOCUMENTS, max_size=2) for key in TOP_KEYS}))
@settings(max_examples=200)
def test_a_random_document_of_the_right_outline_is_read_or_refused_and_nothing_else(document):
    with contextlib.suppress(DefinitionError):
        assert parse_integration(document).name
