"""What a failure leads to, with real workers: policies of both modes, conditions on the error, catchers, the answer."""

import json
from datetime import UTC, datetime

import pytest

from orchestrator.model.states import ExecutionState, TaskState
from orchestrator.store.kinds import Method
from tests.flows import calls, flow, parameter, task
from tests.integration.steering import FATAL, IGNORE, INCLUDE, NEVER_S, Steering, on_failure, retry, states
from tests.integration.system import running_system
from tests.services import redis_url

pytestmark = pytest.mark.services


@pytest.fixture(scope="module")
def system(tmp_path_factory):
    folder = tmp_path_factory.mktemp("system")
    with running_system(folder, database="sqlite", broker_url=redis_url(), include=INCLUDE, concurrency=4) as running:
        yield running
        assert running.live() == [], "a test left something going on"


@pytest.fixture
def steering(system, tmp_path):
    return Steering(system, tmp_path)


def policy(strategy, retries=0, *, interval="0.1s", **more):
    return {"retryStrategy": strategy, "maxRetries": retries, "intervalTime": interval, **more}


def conditional(*policies, default=None):
    written = {"failurePolicies": list(policies)}
    return {"conditionalFailurePolicies": written if default is None else written | {"defaultFailurePolicy": default}}


# -- policies of both modes ----------------------------------------------------------------------------------------

BOTH_POLICIES = {
    "failurePolicy": policy("FIXED_INTERVAL", 1),
    "synchronousCallFailurePolicy": policy("NONE"),
}


def test_an_asynchronous_execution_follows_the_asynchronous_policy(steering):
    execution = steering.system.execute(flow("modes", steering.task(1, "fail ok", **BOTH_POLICIES)))

    assert execution.state is ExecutionState.SUCCEEDED
    assert len(steering.tries(1)) == 2


def test_a_synchronous_execution_follows_the_synchronous_policy(steering):
    definition = flow("modes", steering.task(1, "fail ok", **BOTH_POLICIES))

    execution = steering.system.wait(steering.system.submit(definition, method=Method.POST))

    assert execution.state is ExecutionState.FAILED
    assert len(steering.tries(1)) == 1


def test_a_synchronous_execution_is_asynchronous_after_a_suspension(steering):
    definition = flow("modes-after", task(1, "SuspensionTask", next=[2]), steering.task(2, "fail ok", **BOTH_POLICIES))
    execution_id = steering.system.submit(definition, method=Method.POST)
    steering.wait_for_state(execution_id, ExecutionState.SUSPENDED)
    steering.system.client.suspensions.lift(execution_id)

    execution = steering.system.client.wait(execution_id, timeout_s=60)

    assert execution.state is ExecutionState.SUCCEEDED
    assert len(steering.tries(2)) == 2


def test_an_awaited_sub_execution_is_synchronous_and_another_one_is_not(steering):
    steering.system.client.publish(flow("child", steering.task(1, "fail fail ok", **BOTH_POLICIES)))
    parent = flow(
        "parent",
        task(1, "SubWorkflowExecutorV2Task", takes=calls("child"), next=[2], **IGNORE),
        task(2, "SubWorkflowExecutorV2Task", takes=calls("child", executionMethod="ASYNC")),
    )

    execution = steering.system.execute(parent)

    awaited, other = execution.children
    assert awaited.state is ExecutionState.FAILED
    assert steering.system.wait(other.id).state is ExecutionState.SUCCEEDED
    assert len(steering.tries(1)) == 3


# -- conditional policies ------------------------------------------------------------------------------------------

POLICIES = conditional(
    policy("FATAL", condition="$`ErrorInfo.code`$ = 404"),
    policy("IGNORE", condition='$`ErrorInfo.message`$ : "try 1"'),
    default=policy("FIXED_INTERVAL", 3),
)


@pytest.mark.parametrize("method", [Method.POST, Method.POST_TO_QUEUE])
@pytest.mark.parametrize(
    ("words", "state", "tasks", "tries"),
    [
        ("fail:404 ok", ExecutionState.FAILED, {1: "FATAL", 2: "SKIPPED"}, 1),
        ("fail:409 ok", ExecutionState.SUCCEEDED, {1: "FAILED", 2: "SUCCEED"}, 1),
    ],
)
def test_the_first_conditional_policy_whose_condition_holds_counts(steering, words, state, tasks, tries, method):
    definition = flow("conditional", steering.task(1, words, next=[2], **POLICIES), steering.task(2))

    execution = steering.system.wait(steering.system.submit(definition, method=method))

    assert (execution.state, states(execution)) == (state, tasks)
    assert len(steering.tries(1)) == tries


def test_the_default_policy_counts_where_no_condition_holds_and_each_failure_is_looked_at_anew(steering):
    policies = conditional(
        policy("FATAL", condition='$`ErrorInfo.message`$ : "try 3"'),
        policy("IGNORE", condition="$`ErrorInfo.code`$ = QUOTA_THROTTLED"),
        default=policy("FIXED_INTERVAL", 5),
    )

    execution = steering.system.execute(flow("anew", steering.task(1, "fail fail fail ok", **policies)))

    assert states(execution) == {1: "FATAL"}
    assert [each.error.message for each in execution.task(1).attempts] == [
        "try 1 of 1 fails",
        "try 2 of 1 fails",
        "try 3 of 1 fails",
    ]


def test_a_code_that_is_a_name_can_be_asked_for(steering):
    policies = conditional(policy("IGNORE", condition="$`ErrorInfo.code`$ = QUOTA_THROTTLED"))

    execution = steering.system.execute(flow("named", steering.task(1, "fail:QUOTA_THROTTLED", **policies)))

    assert execution.state is ExecutionState.SUCCEEDED
    assert states(execution) == {1: "FAILED"}


# -- retries -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("strategy", "waits_s"),
    [
        ("FIXED_INTERVAL", [100, 100, 100]),
        ("LINEAR_BACKOFF", [100, 200, 300]),
        ("EXPONENTIAL_BACKOFF", [100, 200, 400]),
    ],
)
def test_when_the_next_try_is_due_is_in_the_row_and_grows_as_the_policy_says(steering, strategy, waits_s):
    definition = flow("waits", steering.task(1, "fail fail fail ok", **on_failure(strategy, 3, interval="100s")))
    execution_id = steering.system.submit(definition)

    seen = []
    for attempt in (1, 2, 3):
        steering.wait_for(1, tries=attempt)
        execution = steering.wait_for_state(execution_id, ExecutionState.RETRY_ON_HOLD)
        assert execution.task(1).state is TaskState.RETRY_ON_HOLD
        (timer,) = steering.timers(execution_id)
        assert (timer.kind, timer.task_number, timer.attempt) == ("RETRY", 1, attempt)
        seen.append((timer.due_at - datetime.now(UTC)).total_seconds())
        steering.make_due(execution_id, "RETRY")

    assert steering.system.wait(execution_id).state is ExecutionState.SUCCEEDED
    # Up to 5 s of jitter, and some for a slow machine.
    assert [wait_s - 30 < found <= wait_s + 5 for wait_s, found in zip(waits_s, seen, strict=True)] == [True] * 3


def test_a_retry_sees_what_was_written_meanwhile(steering):
    """Its parameters are those of the execution now, not those of the first try."""
    definition = flow(
        "meanwhile",
        steering.task(1, "$words$", **retry(1, interval=NEVER_S)),
        task(2, "JsonnetMapperTask", takes={"template": "{words: 'ok'}"}),
        starts=[1, 2],
        parameters=[parameter("words", default="fail")],
    )
    execution_id = steering.system.submit(definition)
    steering.wait_for_state(execution_id, ExecutionState.RETRY_ON_HOLD)
    steering.make_due(execution_id, "RETRY")

    assert steering.system.wait(execution_id).state is ExecutionState.SUCCEEDED


# -- error catchers ------------------------------------------------------------------------------------------------


def catching(definition, *, trigger=None, **catchers):
    """Error catchers by id, each with its start tasks; ``trigger``: the one that the trigger names."""
    definition["errorCatcherConfigs"] = [
        {"errorCatcherId": name, "errorCatcherNumber": str(number), "startErrorTasks": [{"taskId": str(t)} for t in at]}
        for number, (name, at) in enumerate(catchers.items(), 1)
    ]
    if trigger is not None:
        definition["triggerConfigs"][0]["errorCatcherId"] = trigger
    return definition


def telling(number, **more):
    """What went wrong, as a catcher's task sees it."""
    template = "{told: std.extVar('ErrorInfo').message + ' (' + std.extVar('ErrorInfo').code + ')'}"
    return task(number, "JsonnetMapperTask", takes={"template": template}, **more)


TOLD = [parameter("told", direction="OUT")]


def test_the_catcher_of_a_task_takes_its_failure_and_the_execution_succeeds(steering):
    definition = catching(
        flow("caught", steering.task(1, "fail:409", next=[2], errorCatcherId="mine"), steering.task(2), telling(9)),
        mine=[9],
    ) | {"integrationParameters": TOLD}

    execution = steering.system.execute(definition)

    assert states(execution) == {1: "FAILED", 2: "SKIPPED", 9: "SUCCEED"}
    assert execution.state is ExecutionState.SUCCEEDED
    assert execution.error is None
    assert execution.outputs == {"told": "try 1 of 1 fails (409)"}


def test_a_catcher_is_called_when_the_retries_are_used_up_and_not_before(steering):
    definition = catching(
        flow("caught-late", steering.task(1, "fail", errorCatcherId="mine", **retry(2)), steering.task(9)), mine=[9]
    )

    execution = steering.system.execute(definition)

    assert steering.order() == ["1", "1", "1", "9"]
    assert execution.state is ExecutionState.SUCCEEDED


def test_the_catcher_of_the_trigger_takes_what_no_catcher_of_a_task_does(steering):
    definition = catching(
        flow(
            "caught-above",
            steering.task(1, "fail", errorCatcherId="mine"),
            steering.task(2, "fail"),
            steering.task(8),
            steering.task(9),
            starts=[1, 2],
        ),
        trigger="all",
        mine=[8],
        all=[9],
    )

    execution = steering.system.execute(definition)

    assert states(execution) == {1: "FAILED", 2: "FAILED", 8: "SUCCEED", 9: "SUCCEED"}
    assert execution.state is ExecutionState.SUCCEEDED


def test_a_catcher_that_nobody_called_is_skipped(steering):
    definition = catching(flow("not-caught", steering.task(1), steering.task(9)), trigger="all", all=[9])

    execution = steering.system.execute(definition)

    assert states(execution) == {1: "SUCCEED", 9: "SKIPPED"}
    assert execution.state is ExecutionState.SUCCEEDED


def test_a_failure_within_a_catcher_counts_and_is_not_caught_again(steering):
    definition = catching(
        flow("caught-in-vain", steering.task(1, "fail"), steering.task(9, "fail:410")), trigger="all", all=[9]
    )

    execution = steering.system.execute(definition)

    assert states(execution) == {1: "FAILED", 9: "FAILED"}
    assert execution.state is ExecutionState.FAILED
    assert (execution.error.code, execution.error.task_number) == (410, 9)


def test_a_catcher_takes_no_fatal_failure(steering):
    definition = catching(
        flow("fatal", steering.task(1, "fail", errorCatcherId="mine", **FATAL), steering.task(9)), mine=[9]
    )

    execution = steering.system.execute(definition)

    assert states(execution) == {1: "FATAL", 9: "SKIPPED"}
    assert execution.state is ExecutionState.FAILED


def test_a_catcher_takes_the_failure_of_a_sub_execution(steering):
    steering.system.client.publish(flow("failing-child", steering.task(1, "fail:418")))
    definition = catching(
        flow(
            "caught-child",
            task(1, "SubWorkflowExecutorV2Task", takes=calls("failing-child"), errorCatcherId="mine"),
            telling(9),
        ),
        mine=[9],
    ) | {"integrationParameters": TOLD}

    execution = steering.system.execute(definition)

    assert execution.state is ExecutionState.SUCCEEDED
    assert [child.state for child in execution.children] == [ExecutionState.FAILED]
    assert "try 1 of 1 fails" in execution.outputs["told"]


def test_a_catcher_takes_a_suspension_that_is_rejected(steering):
    definition = catching(
        flow("caught-no", task(1, "SuspensionTask", errorCatcherId="mine"), steering.task(9)), mine=[9]
    )
    execution_id = steering.system.submit(definition)
    steering.wait_for_state(execution_id, ExecutionState.SUSPENDED)
    steering.system.client.suspensions.resolve(execution_id, approve=False)

    execution = steering.system.client.wait(execution_id, timeout_s=60)

    assert states(execution) == {1: "FAILED", 9: "SUCCEED"}
    assert execution.state is ExecutionState.SUCCEEDED


# -- the answer ----------------------------------------------------------------------------------------------------


def test_a_failed_execution_answers_with_its_error_beside_what_it_has(steering):
    definition = flow(
        "answer",
        task(1, "JsonnetMapperTask", takes={"template": "{half: 'done'}"}, next=[2]),
        steering.task(2, "fail:409"),
        parameters=[parameter("half", direction="OUT")],
    )

    execution = steering.system.execute(definition)

    response = execution.to_document()["responseParameters"]
    assert response["half"] == {"stringValue": "done"}
    assert json.loads(response["ErrorInfo"]["jsonValue"]) == {
        "message": "try 1 of 2 fails",
        "code": 409,
        "taskNumber": 2,
    }


def test_a_failure_beside_a_path_that_leads_to_the_end_does_not_count(steering):
    definition = flow(
        "other-path",
        steering.task(1, "fail", next=[3]),
        steering.task(2, next=[3]),
        steering.task(3),
        starts=[1, 2],
    )

    execution = steering.system.execute(definition)

    assert states(execution) == {1: "FAILED", 2: "SUCCEED", 3: "SUCCEED"}
    assert execution.state is ExecutionState.SUCCEEDED
    assert "ErrorInfo" not in execution.to_document()["responseParameters"]
