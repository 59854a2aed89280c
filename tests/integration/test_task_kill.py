"""KILL of one task, and quarantine, with real workers: its code ends, and everything else goes on."""

import pytest

from orchestrator.errors import InvalidValue
from orchestrator.model.states import ExecutionState, TaskState
from orchestrator.service.control import ExecutionOver
from orchestrator.service.task_control import NotQuarantined
from tests.flows import calls, flow, parameter, task
from tests.integration.steering import INCLUDE, Steering, is_running, retry, states
from tests.integration.system import running_system
from tests.services import redis_url

pytestmark = pytest.mark.services


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def system(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("system")
    with running_system(
        folder, database=request.param, broker_url=redis_url(), include=INCLUDE, concurrency=4
    ) as running:
        yield running
        assert running.live() == [], "a test left something going on"


@pytest.fixture
def steering(system, tmp_path):
    return Steering(system, tmp_path)


# -- KILL of one task ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("words", ["hold", "ask", "stubborn"])
def test_a_running_task_in_a_branch_is_ended_and_the_rest_goes_on(steering, words):
    definition = flow(
        "branches",
        steering.task(1, words, next=[2, 4], **retry(2)),
        steering.task(2),
        steering.task(3, "hold", next=[4]),
        steering.task(4),
        starts=[1, 3],
    )
    execution_id = steering.system.submit(definition)
    *_, pid = steering.wait_for(1)
    steering.wait_for(3)

    steering.system.client.kill(execution_id, task=1, actor="ann", message="not this one")
    ended = steering.wait_for_task(execution_id, 1, TaskState.CANCELLED)

    assert (ended.state, ended.task(2).state) == (ExecutionState.PROCESSING, TaskState.SKIPPED)
    assert (steering.folder / "1.told").exists() is (words == "ask")
    assert is_running(pid) is (words != "stubborn")
    steering.go(3)
    execution = steering.system.wait(execution_id)
    assert states(execution) == {1: "CANCELLED", 2: "SKIPPED", 3: "SUCCEED", 4: "SUCCEED"}
    assert execution.state is ExecutionState.SUCCEEDED
    assert len(steering.tries(1)) == 1


def test_a_task_that_waits_for_sub_executions_ends_with_the_code_of_these(steering):
    client = steering.system.client
    leaf = steering.task(1, "hold", label="leaf")
    client.publish(flow("leaf", leaf, parameters=[parameter("item", "INT_VALUE", direction="IN")]))
    leaves = calls("leaf", listToIterate=[1, 2], iterationElementMapping="item")
    definition = flow(
        "parent",
        task(1, "ForEachParallelTask", takes=leaves, next=[2]),
        steering.task(2),
        steering.task(3, "hold"),
        starts=[1, 3],
    )
    execution_id = steering.system.submit(definition)
    pids = [pid for *_, pid in steering.wait_for_all("leaf", 2)]
    steering.wait_for(3)

    client.kill(execution_id, task=1)
    ended = steering.wait_for_task(execution_id, 1, TaskState.CANCELLED)

    assert [child.state for child in ended.children] == [ExecutionState.CANCELLED] * 2
    assert ended.task(2).state is TaskState.SKIPPED
    assert [is_running(pid) for pid in pids] == [True] * 2, "the code was ended, not the process"
    steering.go(3)
    assert steering.system.wait(execution_id).state is ExecutionState.SUCCEEDED


def test_a_suspended_task_is_cancelled_and_what_waits_for_its_branch_runs(steering):
    definition = flow(
        "ask-or-not",
        task(1, "SuspensionTask", next=[3]),
        steering.task(2, next=[3]),
        steering.task(3),
        starts=[1, 2],
    )
    execution_id = steering.system.submit(definition)
    steering.wait_for_state(execution_id, ExecutionState.SUSPENDED)

    steering.system.client.kill(execution_id, task=1)

    execution = steering.system.wait(execution_id)
    assert states(execution) == {1: "CANCELLED", 2: "SUCCEED", 3: "SUCCEED"}
    assert execution.state is ExecutionState.SUCCEEDED


def test_the_last_task_that_is_killed_fails_the_execution_and_says_by_whom(steering):
    execution_id = steering.system.submit(flow("last", steering.task(1, "hold")))
    steering.wait_for(1)

    steering.system.client.kill(execution_id, task=1, actor="ann", message="wrong month")

    execution = steering.system.wait(execution_id)
    assert execution.state is ExecutionState.FAILED
    assert execution.error.code == "CANCELLED"
    assert execution.error.message == "task 1 was cancelled by ann: wrong month"
    with pytest.raises(ExecutionOver):
        steering.system.client.kill(execution_id, task=1)


def test_one_task_alone_cannot_be_undone(steering):
    execution_id = steering.system.submit(flow("undo-one", steering.task(1, "hold")))
    steering.wait_for(1)

    with pytest.raises(InvalidValue, match="rolls_back"):
        steering.system.client.kill(execution_id, task=1, rolls_back=True)

    steering.system.client.kill(execution_id)
    steering.system.wait(execution_id)


# -- quarantine ----------------------------------------------------------------------------------------------------


def test_a_task_that_kills_its_workers_is_quarantined_and_others_run_until_somebody_releases_it(steering):
    definition = flow(
        "poison", steering.task(1, "die die die ok", next=[2]), steering.task(2), steering.task(3), starts=[1, 3]
    )
    execution_id = steering.system.submit(definition)
    held = steering.wait_for_state(execution_id, ExecutionState.RETRY_ON_HOLD)

    assert states(held) == {1: "RETRY_ON_HOLD", 2: "PENDING_EXECUTION", 3: "SUCCEED"}
    assert steering.timers(execution_id) == []
    (whole, *_) = steering.system.client.explain(execution_id)
    assert "signal 9 (SIGKILL)" in whole.sentence
    assert f"`orchestrator release {execution_id} 1`" in whole.sentence
    with pytest.raises(NotQuarantined):
        steering.system.client.release(execution_id, 3)

    steering.system.client.release(execution_id, 1, actor="ann")

    execution = steering.system.wait(execution_id)
    assert execution.state is ExecutionState.SUCCEEDED
    assert [attempt for _, _, attempt, _ in steering.tries(1)] == [1, 1, 1, 2]
    (released,) = [each for each in steering.entries(execution_id) if each.kind.value == "task released"]
    assert released.actor == "ann"


def test_a_quarantined_task_ends_with_its_execution(steering):
    execution_id = steering.system.submit(flow("poisoned", steering.task(1, "die")))
    steering.wait_for_state(execution_id, ExecutionState.RETRY_ON_HOLD)

    steering.system.client.kill(execution_id)

    assert states(steering.system.wait(execution_id)) == {1: "CANCELLED"}
