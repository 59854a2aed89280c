"""Times that are up, with real workers: of an attempt, of its wait for a worker, and of a whole execution."""

import pytest

from orchestrator.model.states import ExecutionState
from tests.flows import calls, flow, task
from tests.integration.steering import FATAL, IGNORE, INCLUDE, Steering, is_running, retry, states
from tests.integration.system import running_system
from tests.services import redis_url

pytestmark = pytest.mark.services

TIMEOUT = {"timeoutMs": 500}
MESSAGE = "the attempt took longer than its timeout of 0.5 s"


@pytest.fixture(scope="module")
def system(tmp_path_factory):
    folder = tmp_path_factory.mktemp("system")
    with running_system(folder, database="sqlite", broker_url=redis_url(), include=INCLUDE, concurrency=2) as running:
        yield running
        assert running.live() == [], "a test left something going on"


@pytest.fixture
def steering(system, tmp_path):
    return Steering(system, tmp_path)


# -- of an attempt -------------------------------------------------------------------------------------------------


def errors(execution, number=1):
    """Of the first attempt and the last; on a slow machine others between them may take too long as well."""
    found = [each.error and each.error.message for each in execution.task(number).attempts]
    return found[0], found[-1]


def test_an_attempt_that_takes_too_long_is_ended_and_tried_again(steering):
    execution = steering.system.execute(flow("slow", steering.task(1, "hold ok", **TIMEOUT, **retry(3))))

    assert execution.state is ExecutionState.SUCCEEDED
    assert errors(execution) == (MESSAGE, None)
    assert execution.task(1).attempts[0].error.code == "EXECUTION_TIMEOUT"
    assert steering.timers(execution.id) == []


def test_an_attempt_that_ends_in_time_leaves_no_timer(steering):
    execution = steering.system.execute(flow("quick", steering.task(1, timeoutMs=60_000)))

    assert execution.state is ExecutionState.SUCCEEDED
    assert steering.timers(execution.id) == []


@pytest.mark.parametrize(
    ("policy", "state", "tasks"),
    [
        ({}, ExecutionState.FAILED, {1: "FAILED", 2: "SKIPPED"}),
        (IGNORE, ExecutionState.SUCCEEDED, {1: "FAILED", 2: "SUCCEED"}),
        (FATAL, ExecutionState.FAILED, {1: "FATAL", 2: "SKIPPED"}),
    ],
)
def test_a_timeout_is_a_failure_like_any_other(steering, policy, state, tasks):
    definition = flow("policies", steering.task(1, "hold", next=[2], **TIMEOUT, **policy), steering.task(2))

    execution = steering.system.execute(definition)

    assert (execution.state, states(execution)) == (state, tasks)


@pytest.mark.parametrize("word", ["stubborn", "deaf"])
def test_code_that_nothing_can_be_raised_in_ends_with_its_process_and_the_attempt_fails_for_its_timeout(steering, word):
    execution = steering.system.execute(flow("unheard", steering.task(1, f"{word} ok", **TIMEOUT, **retry(3))))

    (*_, ended), (*_, other) = steering.tries(1)[:2]
    assert execution.state is ExecutionState.SUCCEEDED
    assert errors(execution) == (MESSAGE, None)
    assert not is_running(ended)
    assert ended != other


def test_an_attempt_whose_sub_executions_take_too_long_is_ended_with_them_and_starts_new_ones(steering):
    steering.system.client.publish(flow("slow-child", steering.task(1, "hold ok", label="child")))
    call = task(1, "SubWorkflowExecutorV2Task", takes=calls("slow-child"), timeoutMs=60_000, **retry(1))
    execution_id = steering.system.submit(flow("slow-call", call))
    steering.wait_for("child")

    steering.make_due(execution_id, "TIMEOUT")
    execution = steering.system.wait(execution_id)

    assert execution.state is ExecutionState.SUCCEEDED
    first, second = execution.children
    assert second.state is ExecutionState.SUCCEEDED
    assert steering.wait_for_state(first.id, ExecutionState.CANCELLED).parent_task == 1
    assert execution.task(1).attempts[0].error.code == "EXECUTION_TIMEOUT"


# -- of its wait for a worker --------------------------------------------------------------------------------------


def test_an_attempt_that_no_worker_takes_fails_after_its_queue_timeout(steering):
    nobody = f"{steering.system.executor}-nobody"
    lonely = steering.task(1, executorId=nobody, queueTimeoutMs=300, next=[2], **IGNORE)

    execution = steering.system.execute(flow("lonely", lonely, steering.task(2)))

    assert states(execution) == {1: "FAILED", 2: "SUCCEED"}
    error = execution.task(1).attempts[0].error
    assert error.code == "QUEUE_TIMEOUT"
    assert f"no worker took it from executor '{nobody}'" in error.message


def test_a_retry_after_a_queue_timeout_is_run_once_there_is_a_worker(steering):
    there = f"{steering.system.executor}-late"
    late = steering.task(1, executorId=there, queueTimeoutMs=20_000, **retry(1))
    execution_id = steering.system.submit(flow("late", late))
    steering.make_due(execution_id, "QUEUE")
    steering.wait_for_state(execution_id, ExecutionState.PROCESSING)

    steering.system.start_worker(there, concurrency=1)
    execution = steering.system.wait(execution_id)

    assert execution.state is ExecutionState.SUCCEEDED
    assert [each.error and each.error.code for each in execution.task(1).attempts] == ["QUEUE_TIMEOUT", None]
    assert len(steering.tries(1)) == 1


# -- of an execution -----------------------------------------------------------------------------------------------


def test_an_execution_that_is_not_over_in_time_fails(steering):
    execution_id = steering.system.submit(flow("overdue", steering.task(1, "hold")), deadline_s=0.5)

    execution = steering.system.wait(execution_id)

    assert execution.state is ExecutionState.FAILED
    assert (execution.error.code, execution.error.message) == (
        "EXECUTION_TIMEOUT",
        "the execution was not over 0.5 s after it began",
    )


def test_a_deadline_ends_whatever_is_below_too(steering):
    steering.system.client.publish(flow("held-child", steering.task(1, "hold", label="child")))
    call = task(1, "SubWorkflowExecutorV2Task", takes=calls("held-child"), next=[2])
    execution_id = steering.system.submit(flow("overdue-tree", call, steering.task(2)), deadline_s=3600)
    steering.wait_for("child")

    steering.make_due(execution_id, "DEADLINE")
    execution = steering.system.wait(execution_id)

    assert execution.state is ExecutionState.FAILED
    assert states(execution) == {1: "CANCELLED", 2: "SKIPPED"}
    assert [child.state for child in execution.children] == [ExecutionState.CANCELLED]


def test_an_execution_that_is_over_in_time_leaves_no_timer(steering):
    execution_id = steering.system.submit(flow("in-time", steering.task(1)), deadline_s=3600)

    execution = steering.system.wait(execution_id)

    assert execution.state is ExecutionState.SUCCEEDED
    assert steering.timers(execution_id) == []
