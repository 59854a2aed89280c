"""RESTART_INTEGRATION_WITH_BACKOFF: the whole execution comes to rest, is held, and begins again."""

from __future__ import annotations

from dataclasses import replace

import pytest

from orchestrator.engine.decisions import Decision, Dispatch, Timer
from orchestrator.engine.failures import ERROR_INFO
from orchestrator.model.integration import JoinStrategy
from orchestrator.model.policies import FailurePolicy, RetryStrategy
from orchestrator.model.states import ExecutionState
from orchestrator.model.timers import TimerKind
from orchestrator.model.values import DataType, Value
from tests.unit.engine.runs import (
    CANCELLED,
    FAILED,
    FATAL,
    FATALLY,
    IN_PROCESS,
    ON_HOLD,
    PENDING,
    RESTART,
    RETRY,
    SKIPPED,
    SUCCEED,
    TOO_LATE,
    UNDONE,
    Run,
)
from tests.unit.factories import make_catcher, make_rollback, make_task


def restart_timer(number: int, attempt: int, after_s: float) -> Timer:
    return Timer(number=number, attempt=attempt, after_s=after_s, kind=TimerKind.RESTART)


# -- coming to rest ------------------------------------------------------------------------------------------------


def test_a_failure_holds_the_execution_which_begins_again_when_the_time_has_come():
    run = Run(make_task(1, next=(2,)), make_task(2, next=(3,), failure_policy=RESTART), make_task(3))
    run.succeed(1)

    decision = run.fail(2)

    assert decision.states == {2: ON_HOLD}
    assert decision.timers == (restart_timer(2, 1, 4.0),)
    assert decision.edges == {}
    assert decision.dropped == ()
    assert not decision.is_restart
    assert run.tasks == {1: SUCCEED, 2: ON_HOLD, 3: PENDING}
    assert run.progress.restart is None
    assert run.state is ExecutionState.RETRY_ON_HOLD
    again = run.restart(2)
    assert again.is_restart
    assert again.states == {1: PENDING, 2: PENDING}
    assert again.edges == {(0, 1): True}
    assert again.dispatch == (Dispatch(number=1, attempt=2),)
    assert run.edges == {(0, 1): True}
    assert run.progress.run == 2
    assert run.state is ExecutionState.PROCESSING


def test_the_second_run_goes_its_way_like_the_first():
    run = Run(make_task(1, next=(2,)), make_task(2, next=(3,), failure_policy=RESTART), make_task(3))
    run.succeed(1)
    run.fail(2)
    run.restart(2)
    run.succeed(1, 2)
    run.succeed(2, 2)

    run.succeed(3, 1)

    assert run.dispatched == [(1, 1), (2, 1), (1, 2), (2, 2), (3, 1)]
    assert run.tasks == {1: SUCCEED, 2: SUCCEED, 3: SUCCEED}
    assert run.progress.error is None
    assert run.state is ExecutionState.SUCCEEDED


def test_the_wait_begins_once_nothing_runs():
    run = Run(make_task(1, failure_policy=RESTART), make_task(2, next=(4,)), make_task(3, next=(4,)), make_task(4))
    run.start_children(2)

    decision = run.fail(1)

    assert decision.timers == ()
    assert run.state is ExecutionState.PROCESSING
    stopped = run.stop(2)
    assert stopped.timers == ()
    assert run.tasks[2] is CANCELLED
    last = run.succeed(3)
    assert last.timers == (restart_timer(1, 1, 4.0),)
    assert run.tasks == {1: ON_HOLD, 2: CANCELLED, 3: SUCCEED, 4: SKIPPED}
    assert run.state is ExecutionState.RETRY_ON_HOLD


def test_a_restart_that_is_due_before_its_wait_began_comes_too_early():
    run = Run(make_task(1, failure_policy=RESTART), make_task(2))
    run.fail(1)

    assert run.restart(1).is_late
    assert run.retry(1).is_late
    assert run.state is ExecutionState.PROCESSING


def test_a_sibling_that_is_ready_and_not_claimed_is_skipped_and_gets_its_turn_in_the_next_run():
    run = Run(make_task(1, failure_policy=RESTART), make_task(2))
    run.fail(1)

    decision = run.stop(2)

    assert decision.states == {2: SKIPPED}
    assert decision.timers == (restart_timer(1, 1, 4.0),)
    run.restart(1)
    assert run.dispatched == [(1, 1), (2, 1), (1, 2), (2, 2)]


def test_siblings_that_are_held_or_suspended_are_cancelled():
    run = Run(
        make_task(1, failure_policy=RESTART),
        make_task(2, next=(4,), failure_policy=RETRY),
        make_task(3, next=(4,)),
        make_task(4),
        make_task(5, failure_policy=RETRY),
    )
    run.fail(2)
    run.suspend(3)
    run.fail(5)
    run.retry(5)

    decision = run.fail(1)

    assert decision.states == {1: ON_HOLD, 2: CANCELLED, 3: CANCELLED, 4: SKIPPED}
    assert sorted(decision.dropped) == [2, 3]
    assert run.ready == [5]
    assert run.retry(2).is_late
    assert run.lift(3).is_late
    run.stop(5, 2)
    assert run.tasks[5] is CANCELLED
    run.restart(1)
    assert run.dispatched[-4:] == [(1, 2), (2, 2), (3, 2), (5, 3)]
    assert set(run.tasks.values()) == {PENDING}


def test_a_sibling_that_leaves_a_suspension_meanwhile_is_cancelled():
    run = Run(make_task(1, failure_policy=RESTART), make_task(2))
    run.fail(1)

    decision = run.suspend(2)

    assert decision.states == {2: CANCELLED}
    assert decision.dropped == (2,)
    assert decision.timers == (restart_timer(1, 1, 4.0),)


@pytest.mark.parametrize("policy", [None, RETRY, RESTART])
def test_a_sibling_that_fails_meanwhile_is_not_tried_again_and_calls_nobody(policy):
    """It gets its turn in the next run, and its failure does not count there."""
    run = Run(
        make_task(1, failure_policy=RESTART),
        make_task(2, failure_policy=policy, error_catcher_id="catcher"),
        make_task(8),
        catchers=[make_catcher(starts=[8])],
    )
    run.fail(1)

    decision = run.fail(2)

    assert decision.states == {2: FAILED}
    assert decision.timers == (restart_timer(1, 1, 4.0),)
    assert decision.dispatch == ()
    run.restart(1)
    assert run.progress.error is None
    run.succeed(1, 2)
    run.succeed(2, 2)
    assert run.state is ExecutionState.SUCCEEDED


def test_nothing_becomes_ready_while_the_execution_comes_to_rest():
    run = Run(make_task(1, failure_policy=RESTART), make_task(2, next=(3,)), make_task(3, next=(4,)), make_task(4))
    run.fail(1)

    decision = run.succeed(2)

    assert decision.dispatch == ()
    assert decision.states == {2: SUCCEED, 3: SKIPPED, 4: SKIPPED}


def test_what_waits_meanwhile_is_skipped_without_waiting_for_its_other_parents():
    run = Run(make_task(1, failure_policy=RESTART), make_task(2, next=(4,)), make_task(3, next=(4,)), make_task(4))
    run.fail(1)

    decision = run.succeed(2)

    assert decision.states == {2: SUCCEED, 4: SKIPPED}


# -- beginning again -----------------------------------------------------------------------------------------------


def test_the_parameters_are_those_of_the_beginning():
    run = Run(
        make_task(1, next=((2, "$x$ = 1"), (3, "$x$ = 2"))),
        make_task(2, failure_policy=RESTART),
        make_task(3),
        parameters={"x": 2},
    )
    run.succeed(1, x=1, y=7)
    run.fail(2)
    assert run.parameters.keys() == {"x", "y", ERROR_INFO}

    decision = run.restart(2)

    assert decision.parameters == {}
    assert run.parameters == {"x": Value(DataType.INT, 2)}
    run.succeed(1, 2)
    assert run.ready == [3]


def test_start_conditions_see_the_parameters_of_the_beginning():
    run = Run(
        make_task(1, failure_policy=RESTART),
        make_task(2),
        starts=[1, (2, "NOT exists($`ErrorInfo`$)")],
    )
    run.succeed(2)
    run.fail(1)

    run.restart(1)

    assert run.ready == [1, 2]


def test_tasks_that_were_not_reached_have_their_first_attempt_in_the_second_run():
    run = Run(make_task(1, next=(2,), failure_policy=RESTART), make_task(2))
    run.fail(1)
    run.restart(1)

    run.succeed(1, 2)

    assert run.dispatched == [(1, 1), (1, 2), (2, 1)]


def test_joins_are_counted_anew():
    run = Run(
        make_task(1, next=(3,)),
        make_task(2, next=(3,), failure_policy=RESTART),
        make_task(3, join=JoinStrategy.WHEN_ALL_TASKS_AND_CONDITIONS_SUCCEED),
    )
    run.succeed(1)
    run.fail(2)
    run.restart(2)

    run.succeed(2, 2)

    assert run.ready == [1]
    run.succeed(1, 2)
    assert run.ready == [3]


def test_what_was_ignored_or_caught_is_so_no_more():
    run = Run(
        make_task(1, failure_policy=FailurePolicy(strategy=RetryStrategy.IGNORE)),
        make_task(2, error_catcher_id="catcher"),
        make_task(3, failure_policy=RESTART),
        make_task(8),
        catchers=[make_catcher(starts=[8])],
    )
    run.fail(1)
    run.fail(2)
    run.succeed(8)
    run.fail(3)

    run.restart(3)

    assert not run.status(1).is_ignored
    assert not run.status(2).is_caught
    assert run.tasks[8] is PENDING


# -- counting ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("max_retries", "waits"), [(0, []), (1, [4.0]), (3, [4.0, 8.0, 16.0])])
def test_the_execution_begins_again_as_often_as_the_policy_says_and_then_fails(max_retries, waits):
    run = Run(make_task(1, failure_policy=replace(RESTART, max_retries=max_retries)))
    seen = []

    for attempt in range(1, max_retries + 1):
        seen += [timer.after_s for timer in run.fail(1, attempt).timers]
        run.restart(1, attempt)
    decision = run.fail(1, max_retries + 1)

    assert seen == waits
    assert decision.timers == ()
    assert run.tasks == {1: FAILED}
    assert run.progress.run == max_retries + 1
    assert run.state is ExecutionState.FAILED


def test_jitter_counts_for_a_restart():
    run = Run(make_task(1, failure_policy=RESTART))

    assert run.fail(1, jitter=0.5).timers == (restart_timer(1, 1, 5.0),)


def test_runs_are_counted_for_the_execution_and_not_for_each_task():
    once = replace(RESTART, max_retries=1)
    run = Run(make_task(1, failure_policy=once), make_task(2, failure_policy=once))
    run.fail(1)
    run.stop(2)
    run.restart(1)

    decision = run.fail(2, 2)

    assert decision.timers == ()
    assert run.tasks[2] is FAILED


def test_other_policies_are_counted_anew_in_every_run():
    run = Run(make_task(1, failure_policy=RETRY), make_task(2, failure_policy=RESTART))
    for attempt in (1, 2):
        run.fail(1, attempt)
        run.retry(1, attempt)
    run.succeed(1, 3)
    run.fail(2)
    run.restart(2)

    waits = []
    for attempt in (4, 5):
        waits += [timer.after_s for timer in run.fail(1, attempt).timers]
        run.retry(1, attempt)
    decision = run.fail(1, 6)

    assert waits == [3.0, 3.0]
    assert decision.timers == ()
    assert run.tasks[1] is FAILED


def test_the_wait_of_a_retry_grows_from_the_beginning_again():
    linear = FailurePolicy(strategy=RetryStrategy.LINEAR_BACKOFF, max_retries=5, interval_s=1.0)
    run = Run(make_task(1, failure_policy=linear), make_task(2, failure_policy=RESTART))
    run.fail(1)
    run.retry(1)
    run.succeed(1, 2)
    run.fail(2)
    run.restart(2)

    decision = run.fail(1, 3)

    assert [timer.after_s for timer in decision.timers] == [1.0]


# -- something that overrides the restart --------------------------------------------------------------------------


def stop(run: Run, how: str) -> Decision:
    return run.kill() if how == "kill" else run.pass_deadline()


@pytest.mark.parametrize(("how", "expected"), [("kill", ExecutionState.CANCELLED), ("deadline", ExecutionState.FAILED)])
def test_a_kill_or_a_deadline_ends_an_execution_that_waits_for_its_restart(how, expected):
    run = Run(make_task(1, next=(2,), failure_policy=RESTART), make_task(2), make_task(3))
    run.succeed(3)
    run.fail(1)

    decision = stop(run, how)

    assert decision.states == {1: CANCELLED, 2: SKIPPED}
    assert decision.dropped == (1,)
    assert decision.timers == ()
    assert run.state is expected
    assert run.restart(1).is_late


@pytest.mark.parametrize(("how", "expected"), [("kill", ExecutionState.CANCELLED), ("deadline", ExecutionState.FAILED)])
def test_a_kill_or_a_deadline_overrides_a_restart_whose_wait_has_not_begun(how, expected):
    run = Run(make_task(1, next=(2,), failure_policy=RESTART), make_task(2), make_task(3))
    run.fail(1)
    run.start_children(3)

    decision = stop(run, how)

    assert decision.states == {1: CANCELLED, 2: SKIPPED}
    assert decision.dropped == (1,)
    assert run.progress.restart is None
    last = run.stop(3)
    assert last.timers == ()
    assert run.tasks == {1: CANCELLED, 2: SKIPPED, 3: CANCELLED}
    assert run.progress.error == (TOO_LATE if how == "deadline" else None)
    assert run.state is expected


def test_a_fatal_failure_overrides_a_restart():
    run = Run(
        make_task(1, next=(3,), failure_policy=RESTART), make_task(2, failure_policy=FATAL), make_task(3), make_task(4)
    )
    run.fail(1)

    decision = run.fail(2, message="the cause")

    assert decision.states == {1: CANCELLED, 2: FATALLY, 3: SKIPPED}
    assert decision.dropped == (1,)
    last = run.stop(4)
    assert last.timers == ()
    assert run.progress.error is not None
    assert run.progress.error.message == "the cause"
    assert run.state is ExecutionState.FAILED


@pytest.mark.parametrize("how", ["fatal", "kill", "deadline"])
def test_what_overrides_a_restart_undoes_what_succeeded(how):
    run = Run(
        make_task(1, failure_policy=RESTART),
        make_task(2, rollback=make_rollback()),
        make_task(3, failure_policy=FATAL),
    )
    run.succeed(2)
    run.fail(1)

    if how == "fatal":
        run.fail(3)
    else:
        run.stop(3)
        assert run.state is ExecutionState.RETRY_ON_HOLD
        if how == "kill":
            run.kill(rolls_back=True)
        else:
            run.pass_deadline()

    assert run.undoing == [2]
    run.succeed(2, 2)
    assert run.tasks[2] is UNDONE
    assert run.state is (ExecutionState.CANCELLED if how == "kill" else ExecutionState.FAILED)


def test_a_restart_undoes_nothing():
    run = Run(make_task(1, rollback=make_rollback()), make_task(2, failure_policy=RESTART))
    run.succeed(1)
    run.fail(2)

    run.restart(2)

    assert run.undoing == []
    assert run.tasks == {1: PENDING, 2: PENDING}


# -- late events of the run before ---------------------------------------------------------------------------------


def test_events_of_the_run_before_are_late():
    run = Run(
        make_task(1, next=(4,)),
        make_task(2, failure_policy=RETRY),
        make_task(3, failure_policy=RESTART),
        make_task(4),
        make_task(5),
    )
    run.succeed(1)
    run.fail(2)
    run.suspend(4)
    run.start_children(5)
    run.fail(3)
    run.stop(5)
    run.restart(3)
    before = run.progress

    late = [
        run.succeed(1),
        run.retry(2),
        run.fail(3),
        run.restart(3),
        run.lift(4),
        run.reject(4),
        run.succeed(4),
        run.start_children(5),
        run.stop(5),
        run.give_back(5),
    ]

    assert all(decision == Decision(progress=before, is_late=True) for decision in late)


def test_a_restart_is_due_once_even_if_the_same_task_holds_the_execution_again():
    run = Run(make_task(1, failure_policy=RESTART))
    run.fail(1)
    run.restart(1)
    run.fail(1, 2)

    assert run.restart(1, 1).is_late
    assert not run.restart(1, 2).is_late
    assert run.dispatched == [(1, 1), (1, 2), (1, 3)]


def test_a_task_that_runs_again_has_sub_executions_of_its_own():
    run = Run(make_task(1), make_task(2, failure_policy=RESTART))
    run.start_children(1)
    run.fail(2)
    run.stop(1)
    run.restart(2)

    run.start_children(1, 2)

    assert run.tasks[1] is IN_PROCESS
