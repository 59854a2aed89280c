"""Faults of workers: a pool process or a whole worker that dies, hangs, is stopped, at every moment of its work."""

import os
import signal
import uuid

import pytest

from orchestrator.model.states import ExecutionState
from tests.faults.flows import chain, fan_out, held
from tests.flows import flow
from tests.integration.waiting import until

pytestmark = pytest.mark.services

AROUND_A_COMMIT = {
    "before": "claim.committed=kill9@2, commit.before=kill9@5",
    "amid": "commit.inside=kill9@2, commit.inside=kill9@5",
    "after": "commit.after=kill9@2, publish.before=kill9@5",
    "sending": "publish.message=kill9@2, publish.after=kill9@4",
}
ON_BOTH = pytest.mark.parametrize("module_rig", ["sqlite", "postgres"], indirect=True)


@pytest.fixture(scope="module")
def module_rig(request):
    return request.getfixturevalue(f"{getattr(request, 'param', 'postgres')}_rig")


@pytest.fixture
def rig(module_rig):
    """With one worker of two processes; what a test leaves comes to its end, and the books are right."""
    if not module_rig.workers:
        module_rig.start_worker().wait_until_ready()
    module_rig.supervise()
    yield module_rig
    module_rig.check()


@pytest.fixture
def label():
    return uuid.uuid4().hex[:8]


# -- a process of the pool -----------------------------------------------------------------------------------------


@ON_BOTH
def test_a_pool_process_that_is_killed_amid_a_task_costs_that_try_alone(rig, label):
    execution_id = rig.submit(held(rig, "killed", label))
    first = rig.ledger.wait_for(label)

    os.kill(first.pid, signal.SIGKILL)
    second = rig.ledger.wait_for(label, tries=2)
    rig.ledger.let_go(label)
    execution = rig.wait(execution_id)

    assert execution.state is ExecutionState.SUCCEEDED
    assert (first.attempt, second.attempt) == (1, 1)
    assert rig.kinds(execution_id, 1) == ["attempt returned", "task succeeded"]


def test_a_task_that_kills_its_process_every_time_is_quarantined_and_others_run(rig, label):
    poison = rig.submit(flow("poison", rig.ledger.task(1, "die:3", label=label)))

    other = rig.execute(chain(rig, "beside-poison", 3))
    until(lambda: rig.state(poison) is ExecutionState.RETRY_ON_HOLD, what="its quarantine")
    tries = len(rig.ledger.lines(label))
    rig.client.release(poison, 1)
    execution = rig.wait(poison)

    assert other.state is ExecutionState.SUCCEEDED
    assert tries == 3
    assert rig.kinds(poison, 1) == ["attempt returned"] * 2 + ["task quarantined", "task released", "task succeeded"]
    assert execution.state is ExecutionState.SUCCEEDED


@pytest.mark.parametrize("moment", AROUND_A_COMMIT)
def test_a_process_that_is_killed_around_its_commits_loses_and_doubles_nothing(rig, moment):
    """Twice on the way through a chord and its join. The killed one may be the worker's main process: it recovers."""
    rig.only_worker(failpoints=AROUND_A_COMMIT[moment])

    execution = rig.execute(fan_out(rig, "around", 3))

    assert execution.state is ExecutionState.SUCCEEDED
    assert len(execution.children) == 3


@pytest.mark.parametrize("action", ["exit", "term"])
def test_a_signal_amid_a_transaction_leaves_no_task_in_process(rig, action):
    rig.only_worker(failpoints=f"commit.inside={action}@2")

    execution = rig.execute(chain(rig, "signalled", 3))

    assert execution.state is ExecutionState.SUCCEEDED


# -- a whole worker ------------------------------------------------------------------------------------------------


@ON_BOTH
def test_another_worker_goes_on_with_what_a_killed_one_ran(rig, label):
    worker = rig.only_worker()
    execution_id = rig.submit(held(rig, "moved", label))
    rig.ledger.wait_for(label)
    rig.start_worker().wait_until_ready()

    worker.kill()
    rig.ledger.wait_for(label, tries=2)
    rig.ledger.let_go(label)
    execution = rig.wait(execution_id)

    assert execution.state is ExecutionState.SUCCEEDED
    assert len(rig.ledger.lines(label)) == 2


@pytest.mark.parametrize("point", ["commit.after", "publish.message"])
def test_a_worker_that_is_killed_with_all_its_processes_is_made_up_for_by_the_next(rig, point):
    rig.only_worker(failpoints=f"{point}=kill9-parent@3")

    execution = rig.execute(fan_out(rig, "whole", 3))

    assert execution.state is ExecutionState.SUCCEEDED


def test_a_message_that_a_worker_took_along_into_death_is_sent_again(rig, label):
    """Redis hands a message over and forgets it: the reply lies in the socket of a worker that never reads it."""
    worker = rig.only_worker()
    worker.pause()
    execution_id = rig.submit(flow("in-flight", rig.ledger.task(1, label=label)))

    worker.kill()
    execution = rig.wait(execution_id)

    assert execution.state is ExecutionState.SUCCEEDED
    assert len(rig.ledger.lines(label)) == 1


def test_all_workers_at_once_are_made_up_for_by_new_ones(rig, label):
    worker, other = rig.only_worker(), rig.start_worker().wait_until_ready()
    execution_id = rig.submit(fan_out(rig, f"all-{label}", 6, does="hold"))
    rig.ledger.wait_for(f"all-{label}-child", tries=4)

    worker.kill()
    other.kill()
    rig.ledger.let_go(f"all-{label}-child")
    execution = rig.wait(execution_id)

    assert execution.state is ExecutionState.SUCCEEDED
    assert len(execution.children) == 6


def test_of_two_workers_with_one_node_name_only_the_dead_one_loses_its_work(rig, label):
    """They are told apart by their boots: both are called EXECUTOR@HOST."""
    first, second = rig.only_worker(), rig.start_worker().wait_until_ready()
    execution_id = rig.submit(fan_out(rig, f"twins-{label}", 4, does="hold"))
    lines = [rig.ledger.wait_for(f"twins-{label}-child", tries) for tries in range(1, 5)]
    lost = {line.execution_id for line in lines if line.pid in first.pool()}

    first.kill()
    until(lambda: len(rig.ledger.lines(f"twins-{label}-child")) == 4, what="the four")
    rig.start_worker().wait_until_ready()
    rig.ledger.wait_for(f"twins-{label}-child", tries=4 + len(lost))
    rig.ledger.let_go(f"twins-{label}-child")
    rig.wait(execution_id)

    assert len(lost) == 2
    assert set(second.pool()) >= {line.pid for line in lines if line.execution_id not in lost}
    again = rig.ledger.lines(f"twins-{label}-child")[4:]
    assert {line.execution_id for line in again} == lost


def test_a_worker_that_was_stopped_for_long_cannot_write_what_was_given_to_another(rig, label):
    worker = rig.only_worker(is_elsewhere=True)
    execution_id = rig.submit(held(rig, "zombie", label))
    rig.ledger.wait_for(label)
    rig.start_worker().wait_until_ready()

    worker.pause()
    rig.ledger.wait_for(label, tries=2)
    worker.resume()
    rig.ledger.let_go(label)
    execution = rig.wait(execution_id)
    rig.execute(chain(rig, "afterwards", 4))

    assert execution.state is ExecutionState.SUCCEEDED
    assert rig.kinds(execution_id, 1).count("task succeeded") == 1


# -- stopping ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("numbers", [[signal.SIGTERM], [signal.SIGTERM, signal.SIGTERM], [signal.SIGQUIT]], ids=str)
def test_a_worker_that_is_told_to_stop_under_load_loses_nothing(rig, numbers):
    worker = rig.only_worker()
    rig.start_worker().wait_until_ready()
    ids = [rig.submit(chain(rig, "load", 4, does="sleep:0.1")) for _ in range(4)]
    before = len(rig.ledger.lines())
    until(lambda: len(rig.ledger.lines()) > before, what="some load")

    for number in numbers:
        worker.tell(number)
    worker.wait_for_end()
    states = [rig.wait(each).state for each in ids]

    assert set(states) == {ExecutionState.SUCCEEDED}


def test_what_a_stopping_worker_does_not_finish_in_time_goes_to_another(rig, label):
    worker = rig.only_worker()
    execution_id = rig.submit(held(rig, "unfinished", label))
    rig.ledger.wait_for(label)
    rig.start_worker().wait_until_ready()

    worker.tell(signal.SIGTERM)
    rig.ledger.wait_for(label, tries=2)
    rig.ledger.let_go(label)
    execution = rig.wait(execution_id)

    assert execution.state is ExecutionState.SUCCEEDED
    assert worker.wait_for_end() is not None
