"""RESTART_INTEGRATION_WITH_BACKOFF with real workers: all of it again, and nothing of the run before goes on."""

import pytest

from orchestrator.model.states import ExecutionState, TaskState
from tests.flows import calls, flow, parameter, task
from tests.integration.steering import INCLUDE, NEVER_S, Steering, restart, states
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


def test_an_execution_begins_again_with_the_parameters_of_the_beginning(steering):
    definition = flow(
        "again",
        task(1, "tests.append", takes={"before": "$after$", "item": "x"}, next=[2]),
        steering.task(2, "fail fail ok", **restart(2)),
        parameters=[parameter("after", direction="OUT", default="")],
    )

    execution = steering.system.execute(definition)

    assert execution.state is ExecutionState.SUCCEEDED
    assert execution.outputs["after"] == "x"
    assert [each.attempt for each in execution.task(1).attempts] == [1, 2, 3]
    assert [attempt for _, _, attempt, _ in steering.tries(2)] == [1, 2, 3]
    assert steering.kinds(execution.id).count("execution restarted") == 2


def test_restarts_that_are_used_up_fail_the_execution(steering):
    execution = steering.system.execute(
        flow("in-vain", steering.task(1, next=[2]), steering.task(2, "fail", **restart(1)))
    )

    assert execution.state is ExecutionState.FAILED
    assert states(execution) == {1: "SUCCEED", 2: "FAILED"}
    assert steering.order() == ["1", "2", "1", "2"]


def test_what_runs_beside_is_ended_before_it_begins_again(steering):
    definition = flow(
        "beside",
        steering.task(1, "hold:fail ok", **restart(1, interval=NEVER_S)),
        steering.task(2, "hold ok"),
        starts=[1, 2],
    )
    execution_id = steering.system.submit(definition)
    steering.wait_for(2)
    steering.go(1)

    seen = steering.wait_for_state(execution_id, ExecutionState.RETRY_ON_HOLD)
    (timer,) = steering.timers(execution_id)
    assert states(seen) == {1: "RETRY_ON_HOLD", 2: "CANCELLED"}
    assert steering.live(execution_id) == []
    assert (timer.kind, timer.task_number, timer.attempt) == ("RESTART", 1, 1)
    steering.make_due(execution_id, "RESTART")
    execution = steering.system.wait(execution_id)

    assert execution.state is ExecutionState.SUCCEEDED
    assert states(execution) == {1: "SUCCEED", 2: "SUCCEED"}


def test_the_sub_executions_of_the_run_before_are_ended_and_new_ones_start(steering):
    steering.system.client.publish(flow("child", steering.task(1, "hold ok", label="child")))
    definition = flow(
        "children",
        steering.task(1, "hold:fail ok", **restart(1)),
        task(2, "SubWorkflowExecutorV2Task", takes=calls("child")),
        starts=[1, 2],
    )
    execution_id = steering.system.submit(definition)
    steering.wait_for("child")
    steering.go(1)

    execution = steering.system.wait(execution_id)

    assert execution.state is ExecutionState.SUCCEEDED
    assert [child.state.value for child in execution.children] == ["CANCELLED", "SUCCEEDED"]


def test_a_parent_waits_while_its_sub_execution_begins_again(steering):
    steering.system.client.publish(flow("restarting", steering.task(1, "fail ok", **restart(1, interval=NEVER_S))))
    execution_id = steering.system.submit(
        flow("parent", task(1, "SubWorkflowExecutorV2Task", takes=calls("restarting")))
    )
    steering.wait_for(1)
    (child,) = steering.children(execution_id)
    steering.wait_for_state(child, ExecutionState.RETRY_ON_HOLD)
    assert steering.system.client.get(execution_id).task(1).state is TaskState.IN_PROCESS

    steering.make_due(child, "RESTART")
    execution = steering.system.wait(execution_id)

    assert execution.state is ExecutionState.SUCCEEDED
