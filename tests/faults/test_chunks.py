"""Faults of workers amid a chunk of sub-executions: what was not written runs again, and each is over once."""

import pytest

from orchestrator.model.states import ExecutionState
from orchestrator.runtime.children import stop
from tests.faults.flows import light_fan_out
from tests.integration.waiting import until

pytestmark = pytest.mark.services

WIDTH = 300  # eight chunks
MOMENTS = {
    "amid a part": "chunk.child=kill9@20, chunk.child=kill9@150",
    "after its claim": "claim.committed=kill9@3, claim.committed=kill9@6",
    "amid its transaction": "commit.inside=kill9@3, commit.inside=kill9@6",
    "after its transaction": "commit.after=kill9@3, commit.after=kill9@6",
    "amid the messages": "publish.message=kill9@3",
    "with its whole worker": "chunk.child=kill9-parent@100",
    "by an exception of ours": "chunk.child=raise@30",
    "by a signal": "chunk.child=exit@30, chunk.child=term@90",
}


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def rig(request):
    return request.getfixturevalue(f"{request.param}_rig")


@pytest.fixture(autouse=True)
def books(rig):
    """What a test leaves comes to its end, and the books are right."""
    yield
    rig.check()


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_process_that_dies_of_a_chunk_loses_and_doubles_nothing(rig, moment):
    rig.only_worker(failpoints=MOMENTS[moment])

    execution = rig.execute(light_fan_out(rig, "around-a-chunk", WIDTH))

    assert [child.request["item"].data for child in execution.children] == [*range(WIDTH)]
    assert {child.state for child in execution.children} == {ExecutionState.SUCCEEDED}


def test_a_child_that_kills_its_process_every_time_keeps_no_other_from_its_end(rig):
    rig.only_worker()

    execution = rig.execute(light_fan_out(rig, "poisoned", WIDTH, does="die:7:4"))

    assert {child.state for child in execution.children} == {ExecutionState.SUCCEEDED}
    poisoned = execution.children[7].id
    assert rig.kinds(poisoned, 1) == ["attempt returned", "task succeeded"]
    assert rig.ledger.tries_of_light("poisoned-child") == 5


def test_a_kill_of_what_a_dead_worker_ran_in_chunks_ends_it(rig):
    worker = rig.only_worker(failpoints="chunk.child=hang@50")
    execution_id = rig.submit(light_fan_out(rig, "killed-chunks", WIDTH), ends=[ExecutionState.CANCELLED])
    until(lambda: worker.says("failpoint reached"), what="a worker amid a chunk")

    rig.client.kill(execution_id)
    worker.kill()
    execution = rig.wait(execution_id)

    assert execution.state is ExecutionState.CANCELLED
    assert len(execution.children) < WIDTH


def test_what_a_stopping_worker_has_left_of_a_chunk_goes_to_another_and_is_no_loss(rig):
    """Its code is ended as by a stop, what was over by then counts, and the rest is given back."""
    worker = rig.only_worker(failpoints="chunk.child=hang@50")
    execution_id = rig.submit(light_fan_out(rig, "left", WIDTH))
    until(lambda: worker.says("failpoint reached"), what="a worker amid a chunk")
    rig.start_worker().wait_until_ready()

    stop([worker.process], grace_s=30)
    rig.dismiss(worker)
    execution = rig.wait(execution_id)

    assert execution.state is ExecutionState.SUCCEEDED
    assert len(execution.children) == WIDTH
