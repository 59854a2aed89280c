"""Quarantine: a task that killed its worker too often waits for a person; then it runs again, or is ended."""

from __future__ import annotations

import pytest

from orchestrator.engine.progress import pack, unpack
from orchestrator.engine.quarantine import awaits_release
from orchestrator.model.states import ExecutionState
from tests.unit.engine.runs import CANCELLED, FATAL, ON_HOLD, RETRY, SUCCEED, TO_UNDO, UNDONE, Run
from tests.unit.factories import make_rollback, make_task


@pytest.mark.parametrize("policy", [None, RETRY, FATAL])
@pytest.mark.parametrize("has_children", [True, False])
def test_a_quarantined_task_is_held_without_a_timer_whatever_its_policy(policy, has_children):
    run = Run(make_task(1, failure_policy=policy), make_task(2))
    if has_children:
        run.start_children(1)

    decision = run.quarantine(1)

    assert (run.tasks[1], decision.timers) == (ON_HOLD, ())
    assert (run.status(1).is_quarantined, run.status(1).is_held) == (True, True)
    assert run.state is ExecutionState.PROCESSING


def test_the_others_run_on_and_then_the_execution_is_on_hold():
    run = Run(make_task(1), make_task(2))
    run.quarantine(1)

    run.succeed(2)

    assert run.state is ExecutionState.RETRY_ON_HOLD


def test_a_released_task_runs_again_as_a_new_attempt():
    run = Run(make_task(1))
    run.quarantine(1)

    run.release(1)

    assert run.dispatched == [(1, 1), (1, 2)]
    run.succeed(1, 2)
    assert run.state is ExecutionState.SUCCEEDED


def test_no_policy_counts_what_ended_in_quarantine():
    run = Run(make_task(1, failure_policy=RETRY))  # twice
    run.fail(1)
    run.retry(1)
    run.quarantine(1, 2)
    run.release(1, 2)
    run.fail(1, 3)
    run.retry(1, 3)

    run.fail(1, 4)

    assert run.dispatched == [(1, 1), (1, 2), (1, 3), (1, 4)]
    assert run.state is ExecutionState.FAILED


def test_it_can_be_quarantined_and_released_again_and_again():
    run = Run(make_task(1))

    for attempt in (1, 2, 3):
        run.quarantine(1, attempt)
        run.release(1, attempt)

    assert run.dispatched == [(1, 1), (1, 2), (1, 3), (1, 4)]


@pytest.mark.parametrize("stop", [Run.kill, Run.pass_deadline])
def test_what_stops_the_execution_ends_a_quarantined_task(stop):
    run = Run(make_task(1))
    run.quarantine(1)

    decision = stop(run)

    assert (run.tasks[1], decision.dropped) == (CANCELLED, (1,))
    assert run.state.is_final


def test_a_task_of_a_stopping_execution_is_not_quarantined():
    run = Run(make_task(1))
    run.kill()

    run.quarantine(1)

    assert run.tasks[1] is CANCELLED
    assert run.state is ExecutionState.CANCELLED


def test_the_mark_is_kept_with_the_progress():
    run = Run(make_task(1), make_task(2))
    run.quarantine(1)

    text = pack(run.plan, run.progress)

    assert text.startswith("zq|")
    assert unpack(run.plan, text, run.state) == run.progress


# -- rollbacks -----------------------------------------------------------------------------------------------------


def undoing() -> Run:
    """Task 1 is to be undone once task 2 is, whose rollback is in quarantine."""
    run = Run(
        make_task(1, next=(2,), rollback=make_rollback(RETRY)),
        make_task(2, next=(3,), rollback=make_rollback(RETRY)),
        make_task(3, failure_policy=FATAL),
    )
    run.succeed(1)
    run.succeed(2)
    run.fail(3)
    run.quarantine(2, 2)
    return run


def test_a_quarantined_rollback_is_held_and_what_is_undone_after_it_waits():
    run = undoing()

    assert (run.tasks[1], run.tasks[2]) == (TO_UNDO, TO_UNDO)
    assert run.undoing == [2]
    assert run.state is ExecutionState.RETRY_ON_HOLD


def test_a_released_rollback_runs_again():
    run = undoing()

    run.release(2, 2)

    assert run.undoing == [2, 2]
    run.succeed(2, 3)
    assert (run.tasks[2], run.undoing) == (UNDONE, [2, 2, 1])


def test_a_quarantined_rollback_that_is_killed_is_given_up_and_the_others_go_on():
    run = undoing()

    run.kill_task(2)

    assert (run.tasks[2], run.undoing) == (UNDONE, [2, 1])
    run.succeed(1, 2)
    assert run.state is ExecutionState.FAILED
    assert run.progress.error is not None
    assert run.progress.error.message == "broken", "the failure that stopped it"


def test_a_task_that_was_released_once_is_undone_with_tries_of_its_own():
    run = Run(make_task(1, rollback=make_rollback(RETRY)), make_task(2, failure_policy=FATAL))
    run.quarantine(1)
    run.release(1)
    run.succeed(1, 2)
    assert run.tasks[1] is SUCCEED
    run.fail(2)

    for attempt in (3, 4):
        run.fail(1, attempt)
        run.retry(1, attempt)
    run.fail(1, 5)

    assert run.tasks[1] is UNDONE


def test_an_execution_awaits_a_release_where_nothing_else_will_happen():
    run = Run(make_task(1), make_task(2, failure_policy=RETRY))
    run.quarantine(1)
    assert not awaits_release(run.progress), "task 2 runs"
    run.fail(2)
    assert not awaits_release(run.progress), "task 2 is tried again"
    run.retry(2)
    run.succeed(2, 2)

    assert awaits_release(run.progress)

    run.release(1)
    assert not awaits_release(run.progress)
    run.succeed(1, 2)
    assert not awaits_release(run.progress)
