"""KILL of one task: what becomes of it wherever it stands, and what becomes of the execution."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from orchestrator.engine.events import TaskKilled
from orchestrator.engine.progress import pack, unpack
from orchestrator.model.history import ErrorInfo
from orchestrator.model.integration import JoinStrategy
from orchestrator.model.states import ExecutionState, TaskState
from tests.unit.engine.runs import (
    CANCELLED,
    FATAL,
    IGNORE,
    ON_HOLD,
    RESTART,
    RETRY,
    SKIPPED,
    SUCCEED,
    SUSPENDED,
    UNWANTED,
    Run,
)
from tests.unit.factories import make_catcher, make_task


def beside(**more: object) -> Run:
    """Task 1, which leads to 2, and task 3 beside it."""
    return Run(make_task(1, next=(2,), **more), make_task(2), make_task(3))


def on_hold(run: Run) -> Run:
    run.fail(1)
    assert run.tasks[1] is ON_HOLD
    return run


def suspended(run: Run) -> Run:
    run.suspend(1)
    assert run.tasks[1] is SUSPENDED
    return run


def quarantined(run: Run) -> Run:
    run.quarantine(1)
    return run


# -- where nothing of it runs --------------------------------------------------------------------------------------


def test_a_task_that_is_not_reached_is_skipped_and_so_is_what_follows_it():
    run = Run(make_task(1, next=(2,)), make_task(2, next=(3,)), make_task(3))

    run.kill_task(2)

    assert (run.tasks[2], run.tasks[3]) == (SKIPPED, SKIPPED)
    assert run.edges == {(0, 1): True, (2, 3): False}
    run.succeed(1)
    assert run.dispatched == [(1, 1)]


@pytest.mark.parametrize("arrange", [on_hold, suspended, quarantined])
def test_a_task_that_waits_is_cancelled_at_once_and_what_it_waited_for_is_void(arrange):
    run = arrange(beside(failure_policy=RETRY))

    decision = run.kill_task(1)

    assert (run.tasks[1], run.tasks[2]) == (CANCELLED, SKIPPED)
    assert decision.dropped == (1,)
    assert run.state is ExecutionState.PROCESSING


# -- where something of it may run ---------------------------------------------------------------------------------

OUTCOMES: dict[str, Callable[[Run, int], object]] = {
    "a success": lambda run, attempt: run.succeed(1, attempt, x=1),
    "a failure": lambda run, attempt: run.fail(1, attempt),
    "a suspension": lambda run, attempt: run.suspend(1, attempt, x=1),
    "sub-executions": lambda run, attempt: run.start_children(1, attempt),
    "a quarantine": lambda run, attempt: run.quarantine(1, attempt),
    "its end": lambda run, attempt: run.stop(1, attempt, was_running=True),
}


@pytest.mark.parametrize("outcome", OUTCOMES)
@pytest.mark.parametrize("policy", [None, RETRY, IGNORE, FATAL, RESTART])
def test_whatever_comes_of_its_attempt_a_killed_task_is_cancelled(outcome, policy):
    run = beside(failure_policy=policy)
    run.kill_task(1)
    assert run.status(1).is_killed

    decision = OUTCOMES[outcome](run, 1)

    assert (run.tasks[1], run.tasks[2]) == (CANCELLED, SKIPPED)
    assert (decision.timers, decision.dispatch, decision.parameters) == ((), (), {})
    assert run.ready == [3]


@pytest.mark.parametrize("outcome", OUTCOMES)
def test_so_is_one_that_waits_for_sub_executions(outcome):
    run = beside()
    run.start_children(1)
    run.kill_task(1)

    OUTCOMES[outcome](run, 1)

    assert (run.tasks[1], run.tasks[2]) == (CANCELLED, SKIPPED)


@pytest.mark.parametrize("outcome", OUTCOMES)
def test_so_is_one_that_is_tried_again(outcome):
    run = on_hold(beside(failure_policy=RETRY))
    run.retry(1)
    run.kill_task(1)

    OUTCOMES[outcome](run, 2)

    assert (run.tasks[1], run.tasks[2]) == (CANCELLED, SKIPPED)


def test_a_task_whose_code_never_ran_is_skipped():
    run = beside()
    run.kill_task(1)

    run.stop(1, was_running=False)

    assert run.tasks[1] is SKIPPED


@pytest.mark.parametrize("has_begun", [True, False])
def test_an_attempt_that_is_given_back_stays_killed(has_begun):
    run = beside()
    if has_begun:
        run.start_children(1)
    run.kill_task(1)

    run.give_back(1)

    assert run.status(1).is_killed
    run.succeed(1)
    assert run.tasks[1] is CANCELLED


def test_no_error_catcher_takes_a_kill():
    run = Run(make_task(1, error_catcher_id="c"), make_task(2), catchers=[make_catcher("c", starts=[2])])
    run.kill_task(1)

    run.fail(1)

    assert run.tasks == {1: CANCELLED, 2: SKIPPED}
    assert run.state is ExecutionState.FAILED


@pytest.mark.parametrize("kill", [Run.kill, Run.pass_deadline])
def test_a_killed_task_is_cancelled_though_its_execution_is_stopped_as_well(kill):
    run = beside()
    run.kill_task(1)
    kill(run)

    run.succeed(1)

    assert run.tasks[1] is CANCELLED


def test_the_mark_is_kept_with_the_progress():
    run = beside(failure_policy=RETRY)
    run.kill_task(1)

    text = pack(run.plan, run.progress)

    assert text.startswith("Q.q|")
    assert unpack(run.plan, text, run.state) == run.progress


# -- joins behind it -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("join", "state"),
    [
        (JoinStrategy.WHEN_ALL_SUCCEED, SUCCEED),
        (JoinStrategy.WHEN_ANY_SUCCEED, SUCCEED),
        (JoinStrategy.WHEN_ALL_TASKS_AND_CONDITIONS_SUCCEED, SKIPPED),
    ],
)
def test_a_join_sees_a_killed_parent_like_a_skipped_one(join, state):
    run = Run(make_task(1, next=(3,)), make_task(2, next=(3,)), make_task(3, join=join))
    run.kill_task(1)
    run.stop(1)

    run.succeed(2)
    run.succeed(3)

    assert run.tasks[3] is state


def test_the_last_parent_of_a_join_that_is_killed_lets_it_run():
    run = Run(make_task(1, next=(3,)), make_task(2, next=(3,)), make_task(3))
    run.succeed(1)
    run.suspend(2)

    decision = run.kill_task(2)

    assert [each.number for each in decision.dispatch] == [3]


# -- how the execution ends ----------------------------------------------------------------------------------------


def test_a_cancelled_leaf_fails_the_execution_like_a_failed_one():
    run = Run(make_task(1), make_task(2))
    run.kill_task(1)
    run.stop(1, was_running=True)

    run.succeed(2)

    assert run.state is ExecutionState.FAILED
    assert run.progress.error == UNWANTED


def test_a_leaf_that_was_killed_before_it_began_is_skipped_and_does_not():
    run = Run(make_task(1), make_task(2))
    run.kill_task(1)
    run.stop(1)

    run.succeed(2)

    assert run.state is ExecutionState.SUCCEEDED


@pytest.mark.parametrize("was_running", [True, False])
def test_a_killed_task_in_the_middle_does_not_where_another_branch_succeeds(was_running):
    run = Run(make_task(1, next=(3,)), make_task(2, next=(3,)), make_task(3))
    run.kill_task(1)
    run.stop(1, was_running=was_running)

    run.succeed(2)
    run.succeed(3)

    assert run.state is ExecutionState.SUCCEEDED


@pytest.mark.parametrize("was_running", [True, False])
def test_it_does_where_no_leaf_succeeds(was_running):
    run = Run(make_task(1, next=(2,)), make_task(2))
    run.kill_task(1)

    run.stop(1, was_running=was_running)

    assert run.state is ExecutionState.FAILED
    assert run.progress.error == UNWANTED


def test_the_first_of_several_errors_is_told():
    run = Run(make_task(1), make_task(2), make_task(3))
    run.tell(TaskKilled(number=1, error=ErrorInfo(message="first")))
    run.tell(TaskKilled(number=2, error=ErrorInfo(message="second")))
    run.stop(1, was_running=True)
    run.stop(2, was_running=True)
    run.fail(3)

    assert run.progress.error == ErrorInfo(message="first")


def test_one_of_two_held_tasks_that_is_killed_leaves_the_execution_on_hold():
    run = Run(make_task(1, failure_policy=RETRY), make_task(2, failure_policy=RETRY))
    run.fail(1)
    run.fail(2)
    assert run.state is ExecutionState.RETRY_ON_HOLD

    run.kill_task(1)

    assert run.state is ExecutionState.RETRY_ON_HOLD
    run.kill_task(2)
    assert run.state is ExecutionState.FAILED


def test_a_restart_takes_a_killed_task_back_with_the_others():
    run = Run(make_task(1), make_task(2, failure_policy=RESTART))
    run.kill_task(1)
    run.stop(1, was_running=True)
    run.fail(2)

    run.restart(2)

    assert run.ready == [1, 2]
    assert run.progress.error is None


@pytest.mark.parametrize("number", [0, -1, 3])
def test_what_is_no_task_cannot_be_killed(number):
    run = Run(make_task(1, error_catcher_id="c"), make_task(2), catchers=[make_catcher("c", starts=[2])])

    assert run.kill_task(number).is_late
    assert run.tasks[1] is TaskState.PENDING_EXECUTION
