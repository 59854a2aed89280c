"""Faults around bundles of executions: whatever of one was not written runs again, and each is over once."""

import pytest

from orchestrator.model.states import ExecutionState
from orchestrator.runtime.app import make_app
from orchestrator.runtime.children import stop
from tests.faults.flows import light_item
from tests.integration.waiting import until

pytestmark = pytest.mark.services

COUNT = 160  # eight bundles
MOMENTS = {
    "amid a part": "bundle.execution=kill9@10, bundle.execution=kill9@70",
    "after its claim": "claim.committed=kill9@2, claim.committed=kill9@5",
    "before its transaction": "commit.before=kill9@2",
    "amid its transaction": "commit.inside=kill9@2, commit.inside=kill9@5",
    "after its transaction": "commit.after=kill9@2, commit.after=kill9@5",
    "with its whole worker": "bundle.execution=kill9-parent@50",
    "by an exception of ours": "bundle.execution=raise@30",
    "by a signal": "bundle.execution=exit@30, bundle.execution=term@60",
}


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def rig(request):
    return request.getfixturevalue(f"{request.param}_rig")


@pytest.fixture(autouse=True)
def books(rig):
    """What a test leaves comes to its end, and the books are right."""
    yield
    rig.check()


def submit(rig, name, *, does="", ends=(ExecutionState.SUCCEEDED,)):
    inputs = [{"item": item} for item in range(COUNT)]
    ids = rig.client.submit_many(light_item(rig, name, does=does), inputs, executor=rig.executor)
    rig.expected.update({each: {state.value for state in ends} for each in ids})
    return ids


def lose_messages(rig):
    app = make_app(rig.settings)
    with app.connection_for_write() as connection:
        lost = connection.default_channel.queue_purge(rig.queue)
    app.close()
    return lost


def wait_for_all(rig, ids):
    for each in ids:
        rig.wait(each)


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_process_that_dies_of_a_bundle_loses_and_doubles_nothing(rig, moment):
    rig.only_worker(failpoints=MOMENTS[moment])

    ids = submit(rig, "around-a-bundle")
    wait_for_all(rig, ids)

    assert {rig.kinds(each).count("task succeeded") for each in ids} == {2}


def test_an_execution_that_kills_its_process_keeps_no_other_from_its_end(rig):
    """The bundle falls apart at the first loss; from there on it loses nothing but itself."""
    rig.only_worker()

    ids = submit(rig, "poisoned", does="die:7:2")
    wait_for_all(rig, ids)

    assert rig.kinds(ids[7], 1) == ["attempt returned", "attempt returned", "task succeeded"]
    assert rig.ledger.tries_of_light("poisoned") == 3
    assert max(rig.kinds(each, 1).count("attempt returned") for each in ids if each != ids[7]) == 1


@pytest.mark.parametrize("what", ["nothing", "the first of each"])
def test_when_the_messages_of_bundles_are_lost_all_run(rig, what):
    rig.dismiss_all()
    ids = submit(rig, "lost", ends=[ExecutionState.SUCCEEDED, ExecutionState.CANCELLED])
    firsts = {row.rides_with for row in rig.live()}
    assert len(firsts) == 8
    if what == "the first of each":
        for each in firsts:
            rig.client.kill(each)
    assert lose_messages(rig) == 8

    rig.only_worker()
    wait_for_all(rig, ids)

    killed = firsts if what == "the first of each" else set()
    assert {each for each in ids if rig.state(each) is ExecutionState.CANCELLED} == killed


def test_a_kill_of_what_a_dead_worker_ran_in_a_bundle_ends_it(rig):
    worker = rig.only_worker(failpoints="bundle.execution=hang@5", concurrency=1)  # so all that is held is in there
    ids = submit(rig, "killed", ends=[ExecutionState.SUCCEEDED, ExecutionState.CANCELLED])
    until(lambda: worker.says("failpoint reached"), what="a worker amid a bundle")
    held = [row.execution_id for row in rig.live() if row.worker is not None]

    rig.client.kill(held[-1])
    worker.kill()
    wait_for_all(rig, ids)

    assert rig.state(held[-1]) is ExecutionState.CANCELLED
    assert [rig.state(each) for each in ids].count(ExecutionState.SUCCEEDED) == COUNT - 1


def test_what_a_stopping_worker_has_left_of_a_bundle_goes_to_another_and_is_no_loss(rig):
    worker = rig.only_worker(failpoints="bundle.execution=hang@5")
    ids = submit(rig, "left")
    until(lambda: worker.says("failpoint reached"), what="a worker amid a bundle")
    rig.start_worker().wait_until_ready()

    stop([worker.process], grace_s=30)
    rig.dismiss(worker)
    wait_for_all(rig, ids)

    assert {rig.state(each) for each in ids} == {ExecutionState.SUCCEEDED}
