"""Quarantine, without workers: an attempt that killed three is held, and runs again when somebody releases it."""

import pytest

from orchestrator.errors import ExecutionNotFound
from orchestrator.model.history import EntryKind
from orchestrator.model.states import ExecutionState
from orchestrator.service.control import ExecutionOver
from orchestrator.service.lost import MAX_LOSSES, Loss, give_up
from orchestrator.service.snapshots import TaskNotFound
from orchestrator.service.task_control import NotQuarantined
from tests.contracts.control_world import FATAL, IGNORE, ControlWorld, break_down, nests, retry, undone
from tests.contracts.stored import at_once
from tests.contracts.world import heavy
from tests.flows import flow


@pytest.fixture
def world(database, tmp_path):
    return ControlWorld(database, tmp_path)


def quarantined(world, *others, **more):
    """Task 1 killed its workers."""
    first, *_ = world.submit(heavy(1, **more), *others, starts=[1, *(2 for _ in others)])
    world.lose(first, times=MAX_LOSSES)
    return first


def losses(world):
    (found,) = world.services.store.find([world.id])
    return {number: each.losses for number, each in found.live.items()}


def test_it_may_be_lost_twice_and_is_in_quarantine_then(world):
    (first,) = world.submit(heavy(1))
    world.lose(first, times=MAX_LOSSES - 1)
    assert world.states() == {1: "PENDING_EXECUTION"}

    world.lose(first)

    assert world.states() == {1: "RETRY_ON_HOLD"}
    assert world.execution.state is ExecutionState.RETRY_ON_HOLD
    assert (world.everything_live(), world.timers()) == ([], [])


def test_the_history_says_how_the_last_worker_died(world):
    quarantined(world)

    *returned, last = world.history()
    assert [each.kind for each in returned] == [EntryKind.RETURNED] * 2
    assert (last.kind, last.worker) == (EntryKind.QUARANTINED, "dead")
    assert last.error.message == "it killed 3 workers; the last one, dead, died: signal 9 (SIGKILL)"
    assert (last.error.code, last.error.task_number) == ("WORKER_LOST", 1)
    assert [each.error.code for each in world.look().tasks[0].attempts] == ["WORKER_LOST"] * 3


@pytest.mark.parametrize("policy", [retry(3), FATAL, IGNORE])
def test_no_policy_has_a_say(world, policy):
    quarantined(world, **policy)

    assert world.states() == {1: "RETRY_ON_HOLD"}
    assert world.timers() == []


def test_the_others_run_on(world):
    quarantined(world, heavy(2))

    assert world.execution.state is ExecutionState.PROCESSING
    world.drive_all()
    assert world.states() == {1: "RETRY_ON_HOLD", 2: "SUCCEED"}
    assert world.execution.state is ExecutionState.RETRY_ON_HOLD


def test_a_late_one_fails_for_that(world):
    (first,) = world.submit(heavy(1, timeoutMs=1000))
    world.lose(first, times=MAX_LOSSES - 1)
    world.services.store.claim(first, worker="dead")
    world.began_s_ago(5)

    give_up(world.id, world.services, worker="dead", loss=Loss("signal 9 (SIGKILL)"))

    assert world.states() == {1: "FAILED"}
    assert world.execution.error.code == "EXECUTION_TIMEOUT"


# -- release -------------------------------------------------------------------------------------------------------


def test_a_released_task_runs_again_as_a_new_attempt_with_no_losses(world):
    quarantined(world)

    world.release(1, actor="ann")

    assert losses(world) == {1: 0}
    assert world.services.publisher.sent[-1].attempt == 2
    released = world.history()[-1]
    assert (released.kind, released.task_number, released.actor) == (EntryKind.RELEASED, 1, "ann")
    world.drive_all()
    assert world.execution.state is ExecutionState.SUCCEEDED
    world.assert_over()


def test_it_may_kill_as_many_workers_again(world):
    quarantined(world)
    world.release(1)

    world.lose(world.key(1, attempt=2), times=MAX_LOSSES)

    assert world.states() == {1: "RETRY_ON_HOLD"}
    world.release(1)
    world.drive(world.key(1, attempt=3))
    assert world.execution.state is ExecutionState.SUCCEEDED


def test_a_retry_is_left_for_a_released_task(world):
    quarantined(world, **retry(1))
    world.release(1)
    world.code[1] = break_down
    world.drive(world.key(1, attempt=2))
    assert world.timers() == [("RETRY", 1, 2)]

    world.fire("RETRY")
    world.code.clear()
    world.drive_all()

    assert world.execution.state is ExecutionState.SUCCEEDED
    world.assert_over()


def test_of_many_releases_at_once_one_counts(world):
    quarantined(world)
    refused = []

    def release():
        try:
            world.release(1)
        except NotQuarantined as error:
            refused.append(error.state)

    at_once(*[release] * 3)

    assert refused == ["RETRY_ON_HOLD"] * 2, "ready, as a task is that is tried again"
    assert world.services.publisher.sent[-1].attempt == 2


def test_the_join_of_a_task_may_be_in_quarantine_and_a_release_starts_its_children_again(world):
    world.publish(flow("child", heavy(1)))
    first, _ = world.submit(nests(1, "child", next=[2]), heavy(2))
    world.drive(first)
    (child,) = world.children_of()
    world.drive(world.key(1, of=child))
    world.lose(world.key(1, round=1), times=MAX_LOSSES)
    assert world.states()[1] == "RETRY_ON_HOLD"

    world.release(1)
    world.drive_all()

    assert len(world.children_of()) == 2
    assert world.states() == {1: "SUCCEED", 2: "SUCCEED"}
    world.assert_over()


# -- what ends it --------------------------------------------------------------------------------------------------


def test_a_kill_of_the_execution_ends_it(world):
    quarantined(world)

    world.kill()

    assert world.states() == {1: "CANCELLED"}
    assert world.execution.state is ExecutionState.CANCELLED
    world.assert_over()


def test_a_kill_of_the_task_ends_it_and_the_rest_goes_on(world):
    quarantined(world, heavy(2))

    world.kill_task(1)

    assert world.states() == {1: "CANCELLED", 2: "PENDING_EXECUTION"}
    world.drive_all()
    assert world.execution.state is ExecutionState.FAILED
    world.assert_over()


def test_a_rollback_is_quarantined_too_and_can_be_released(world):
    undoing = undo_that_kills(world)
    assert world.states() == {1: "PENDING_ROLLBACK", 2: "FATAL"}
    assert world.execution.state is ExecutionState.RETRY_ON_HOLD

    world.release(1)
    world.drive_all()

    assert (world.states(), undoing) == ({1: "ROLLEDBACK", 2: "FATAL"}, [1])
    assert world.execution.state is ExecutionState.FAILED
    world.assert_over()


def test_a_rollback_in_quarantine_that_is_killed_is_given_up(world):
    undoing = undo_that_kills(world)

    world.kill_task(1)

    assert (world.states(), undoing) == ({1: "ROLLEDBACK", 2: "FATAL"}, [])
    assert world.execution.state is ExecutionState.FAILED
    assert world.execution.error.task_number == 2, "what stopped it"
    world.assert_over()


def undo_that_kills(world):
    """What has been undone: nothing, because the rollback of task 1 killed its workers."""
    first, second = world.submit(heavy(1, next=[2], **undone()), heavy(2, **FATAL))
    world.code[2] = break_down
    world.drive(first)
    world.drive(second)
    world.lose(world.key(1, attempt=2), times=MAX_LOSSES)
    return world.undone


# -- what is refused -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", ["PENDING_EXECUTION", "IN_PROCESS", "RETRY_ON_HOLD", "SUCCEED"])
def test_what_is_not_in_quarantine_is_not_released(world, state):
    first, _ = world.submit(heavy(1, next=[2], **retry(1)), heavy(2))
    match state:
        case "IN_PROCESS":
            world.services.store.claim(first, worker="me")
        case "RETRY_ON_HOLD":
            world.code[1] = break_down
            world.drive(first)
        case "SUCCEED":
            world.drive(first)
    before = world.kinds()

    with pytest.raises(NotQuarantined, match=f"is {state} and not in quarantine; `orchestrator why"):
        world.release(1)

    assert world.kinds() == before


def test_what_is_over_or_not_there_is_not_released(world):
    (first,) = world.submit(heavy(1))
    with pytest.raises(TaskNotFound):
        world.release(7)
    world.drive(first)

    with pytest.raises(ExecutionOver, match="nothing is left to release"):
        world.release(1)
    world.id = "nowhere"
    with pytest.raises(ExecutionNotFound):
        world.release(1)
