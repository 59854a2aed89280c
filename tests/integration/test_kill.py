"""KILL with real workers: whatever an execution is doing, and however deep, it ends, and so does the code of it."""

from contextlib import suppress
from functools import partial

import pytest
import sqlalchemy as sa

from orchestrator.model.history import EntryKind
from orchestrator.model.states import ExecutionState, TaskState
from orchestrator.service.control import ExecutionOver
from orchestrator.store.tables import executions, signals
from tests.contracts.stored import at_once
from tests.flows import calls, flow, parameter, task
from tests.integration.steering import FATAL, INCLUDE, NEVER_S, Steering, is_running, restart, retry, states
from tests.integration.system import running_system
from tests.integration.waiting import until
from tests.services import redis_url

pytestmark = pytest.mark.services

CANCELLED = ExecutionState.CANCELLED


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


def tree_states(execution):
    return [execution.state, *(state for child in execution.children for state in tree_states(child))]


def grow(steering, leaf, *, count=1):
    """Publish a leaf, and a middle that runs so many of them at once; submit a root that runs the middle."""
    client = steering.system.client
    client.publish(flow("leaf", *leaf, parameters=[parameter("item", "INT_VALUE", direction="IN")]))
    leaves = calls("leaf", listToIterate=list(range(count)), iterationElementMapping="item")
    client.publish(flow("middle", task(1, "ForEachParallelTask", takes=leaves, next=[2]), task(2, "tests.nothing")))
    middle = task(1, "SubWorkflowExecutorV2Task", takes=calls("middle"), next=[2])
    return steering.system.submit(flow("root", middle, task(2, "tests.nothing")))


# -- what runs -----------------------------------------------------------------------------------------------------


def test_running_code_is_ended_and_its_process_goes_on(steering):
    definition = flow("long", steering.task(1, "hold", next=[2]), steering.task(2))
    execution_id = steering.system.submit(definition)
    *_, pid = steering.wait_for(1)

    steering.system.client.kill(execution_id, message="wrong month")
    execution = steering.system.wait(execution_id)

    assert execution.state is CANCELLED
    assert states(execution) == {1: "CANCELLED", 2: "SKIPPED"}
    assert steering.kinds(execution_id) == [EntryKind.KILLED, EntryKind.STOPPED]
    assert is_running(pid)
    assert steering.entries(execution_id)[-1].details["ended"] == {
        "pid": pid,
        "how": "an exception that was raised in its code",
    }
    assert steering.system.execute(flow("next", steering.task(1, label="next"))).state is ExecutionState.SUCCEEDED


def test_code_that_goes_on_whatever_is_raised_in_it_is_ended_with_its_process(steering):
    execution_id = steering.system.submit(flow("stubborn", steering.task(1, "stubborn")))
    *_, pid = steering.wait_for(1)

    steering.system.client.kill(execution_id)
    execution = steering.system.wait(execution_id)

    assert execution.state is CANCELLED
    assert states(execution) == {1: "CANCELLED"}
    assert not is_running(pid)
    proof = steering.entries(execution_id)[-1].details["ended"]
    assert (proof["pid"], "exitcode 1" in proof["how"]) == (pid, True), proof


def test_an_execution_is_not_cancelled_while_code_of_it_runs(steering):
    execution_id = steering.system.submit(flow("stubborn-too", steering.task(1, "stubborn")))
    *_, pid = steering.wait_for(1)
    seen = []

    def look():
        is_cancelled = steering.system.client.get(execution_id).state is CANCELLED  # first: then nothing may run
        seen.append((is_cancelled, is_running(pid)))
        return is_cancelled

    steering.system.client.kill(execution_id)
    until(look, what="the end")

    assert (True, True) not in seen
    assert (False, True) in seen
    assert not is_running(pid)


def test_what_no_worker_will_ever_take_is_over_at_once(steering):
    definition = flow("nowhere", task(1, "tests.nothing", executorId=f"{steering.system.executor}-nobody"))
    execution_id = steering.system.submit(definition)

    execution = steering.system.client.kill(execution_id)

    assert execution.state is CANCELLED
    assert states(execution) == {1: "SKIPPED"}


def test_what_is_held_or_suspended_is_over_at_once_beside_what_runs(steering):
    definition = flow(
        "mixed",
        steering.task(1, "hold"),
        steering.task(2, "fail", **retry(1, interval=NEVER_S)),
        task(3, "SuspensionTask"),
        starts=[1, 2, 3],
    )
    execution_id = steering.system.submit(definition)
    steering.wait_for(1)
    steering.wait_for_task(execution_id, 2, TaskState.RETRY_ON_HOLD)
    steering.wait_for_task(execution_id, 3, TaskState.SUSPENDED)

    seen = steering.system.client.kill(execution_id)
    execution = steering.system.wait(execution_id)

    assert (states(seen)[2], states(seen)[3]) == ("CANCELLED", "CANCELLED")
    assert states(execution) == dict.fromkeys((1, 2, 3), "CANCELLED")
    assert steering.timers(execution_id) == []


def test_an_execution_that_waits_for_its_restart_is_killed(steering):
    execution_id = steering.system.submit(flow("again", steering.task(1, "fail", **restart(1, interval=NEVER_S))))
    steering.wait_for_state(execution_id, ExecutionState.RETRY_ON_HOLD)

    execution = steering.system.client.kill(execution_id)

    assert execution.state is CANCELLED
    assert steering.timers(execution_id) == []


# -- trees ---------------------------------------------------------------------------------------------------------


def test_a_tree_of_three_ends_with_the_code_of_its_leaves(steering):
    root = grow(steering, [steering.task(1, "hold", label="leaf", next=[2]), steering.task(2)], count=2)
    steering.wait_for("leaf", tries=2)

    steering.system.client.kill(root)
    execution = steering.system.wait(root)

    assert tree_states(execution) == [CANCELLED] * 4
    assert states(execution) == {1: "CANCELLED", 2: "SKIPPED"}
    assert [states(leaf) for leaf in execution.children[0].children] == [{1: "CANCELLED", 2: "SKIPPED"}] * 2


def test_a_wide_tree_ends_whether_its_leaves_run_or_wait(steering):
    count = 60
    root = grow(steering, [steering.task(1, "hold", label="wide")], count=count)
    steering.wait_for("wide", tries=4)

    steering.system.client.kill(root)
    execution = steering.system.wait(root)

    assert tree_states(execution) == [CANCELLED] * (2 + count)
    ends = [states(leaf)[1] for leaf in execution.children[0].children]
    assert ends.count("CANCELLED") == len(steering.tries("wide"))
    assert ends.count("SKIPPED") == count - ends.count("CANCELLED")


def test_a_kill_while_a_tree_grows_leaves_nothing_behind(steering):
    for _ in range(5):
        root = grow(steering, [steering.task(1, label="growing")], count=20)
        until(partial(steering.children, root), what="a child")

        try:
            steering.system.client.kill(root)
        except ExecutionOver:
            continue
        execution = steering.system.wait(root)

        assert execution.state is CANCELLED
        assert {state.is_final for state in tree_states(execution)} == {True}


def test_a_child_that_is_killed_fails_what_waits_for_it(steering):
    root = grow(steering, [steering.task(1, "hold", label="alone")])
    leaf, *_ = steering.wait_for("alone")

    steering.system.client.kill(leaf)
    execution = steering.system.wait(root)

    assert tree_states(execution) == [ExecutionState.FAILED, ExecutionState.FAILED, CANCELLED]
    assert f"sub-execution {leaf} of 'leaf' ended CANCELLED" in execution.error.message


def test_a_fatal_failure_ends_the_children_of_its_siblings(steering):
    steering.system.client.publish(flow("held", steering.task(1, "hold", label="child")))
    definition = flow(
        "fatal",
        steering.task(1, "hold:fail", **FATAL),
        task(2, "SubWorkflowExecutorV2Task", takes=calls("held")),
        starts=[1, 2],
    )
    execution_id = steering.system.submit(definition)
    steering.wait_for("child")

    steering.go(1)
    execution = steering.system.wait(execution_id)

    assert tree_states(execution) == [ExecutionState.FAILED, CANCELLED]
    assert states(execution) == {1: "FATAL", 2: "CANCELLED"}


# -- again, and by many --------------------------------------------------------------------------------------------


def test_many_kills_at_once_are_one_and_each_is_kept(steering):
    execution_id = steering.system.submit(flow("many", steering.task(1, "hold")))
    steering.wait_for(1)

    accepted = []

    def kill(actor):
        with suppress(ExecutionOver):  # who comes when the worker has ended it already
            steering.system.client.kill(execution_id, actor=actor)
            accepted.append(actor)

    at_once(*(partial(kill, f"ann {number}") for number in range(4)))
    steering.system.wait(execution_id)

    assert steering.kinds(execution_id) == [EntryKind.KILLED, EntryKind.STOPPED]
    sent = steering.system.rows(sa.select(signals.c.actor).where(signals.c.execution_id == execution_id))
    assert sorted(row.actor for row in sent) == sorted(accepted) != []


def test_what_is_over_cannot_be_killed(steering):
    execution = steering.system.execute(flow("over", steering.task(1)))

    with pytest.raises(ExecutionOver, match="SUCCEEDED, which is final"):
        steering.system.client.kill(execution.id)


def test_no_mark_is_left_on_anything(steering):
    """The last test of this module: what is marked would be looked after for ever."""
    left = steering.system.rows(sa.select(executions.c.id).where(executions.c.signal.is_not(None)))

    assert left == []
