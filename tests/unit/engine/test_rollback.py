"""Rollback: what is undone after FATAL, a deadline or a KILL that asks for it, in which order, and how it ends."""

from __future__ import annotations

from dataclasses import replace

import pytest

from orchestrator.engine.decisions import Dispatch, Timer
from orchestrator.engine.failures import ERROR_INFO
from orchestrator.engine.validate import find_problems
from orchestrator.model.history import ErrorInfo
from orchestrator.model.integration import JoinStrategy
from orchestrator.model.policies import FailurePolicy, RetryStrategy
from orchestrator.model.states import ExecutionState
from orchestrator.model.values import DataType, Value
from tests.unit.engine.runs import (
    CANCELLED,
    FAILED,
    FATAL,
    FATALLY,
    IGNORE,
    RESTART,
    RETRY,
    SKIPPED,
    SUCCEED,
    TO_UNDO,
    TOO_LATE,
    UNDOING,
    UNDONE,
    Run,
)
from tests.unit.factories import make_catcher, make_integration, make_rollback, make_task, make_task_types

UNDO = make_rollback()
UNDO_WITH_RETRIES = make_rollback(RETRY)
ANY = JoinStrategy.WHEN_ANY_SUCCEED


def one_to_undo(policy: FailurePolicy | None = None) -> Run:
    """Task 1 is to be undone with attempt 2, because task 2 failed fatally."""
    run = Run(make_task(1, next=(2,), rollback=make_rollback(policy)), make_task(2, failure_policy=FATAL))
    run.succeed(1, x=1)
    run.fail(2)
    return run


# -- what is undone ------------------------------------------------------------------------------------------------


def test_a_task_that_succeeded_is_undone_after_a_fatal_failure():
    run = Run(make_task(1, next=(2,), rollback=UNDO), make_task(2, failure_policy=FATAL))
    run.succeed(1)

    decision = run.fail(2)

    assert decision.states == {1: TO_UNDO, 2: FATALLY}
    assert decision.dispatch == (Dispatch(number=1, attempt=2, is_rollback=True),)
    assert run.state is ExecutionState.PROCESSING
    over = run.succeed(1, 2)
    assert over.states == {1: UNDONE}
    assert run.progress.error == ErrorInfo(message="broken", code=500, task_number=2)
    assert run.state is ExecutionState.FAILED


@pytest.mark.parametrize("rolls_back", [True, False])
def test_a_kill_undoes_only_if_it_asks_for_that(rolls_back):
    run = Run(make_task(1, next=(2,), rollback=UNDO), make_task(2))
    run.succeed(1)
    run.kill(rolls_back=rolls_back)
    assert run.tasks[1] is SUCCEED

    run.stop(2)

    assert run.undoing == ([1] if rolls_back else [])
    if rolls_back:
        run.succeed(1, 2)
    assert run.tasks == {1: UNDONE if rolls_back else SUCCEED, 2: SKIPPED}
    assert run.state is ExecutionState.CANCELLED


def test_a_deadline_undoes():
    run = Run(make_task(1, next=(2,), rollback=UNDO), make_task(2))
    run.succeed(1)
    run.suspend(2)

    run.pass_deadline()

    assert run.undoing == [1]
    run.succeed(1, 2)
    assert run.progress.error == TOO_LATE
    assert run.state is ExecutionState.FAILED


def test_only_what_succeeded_and_has_a_rollback_is_undone():
    run = Run(
        make_task(1, rollback=UNDO),  # succeeds
        make_task(2),  # succeeds
        make_task(3, rollback=UNDO),  # fails
        make_task(4, rollback=UNDO, failure_policy=IGNORE),  # fails as well
        make_task(5, rollback=UNDO),  # is suspended
        make_task(6, rollback=UNDO, failure_policy=RETRY),  # is held
        make_task(7, rollback=UNDO),  # is skipped
        make_task(8, rollback=UNDO, failure_policy=FATAL),
        starts=[1, 2, 3, 4, 5, 6, (7, "$go$ = never"), 8],
    )
    run.succeed(1)
    run.succeed(2)
    for number in (3, 4, 6):
        run.fail(number)
    run.suspend(5)

    run.fail(8)

    assert run.undoing == [1]
    assert run.tasks == {
        1: TO_UNDO, 2: SUCCEED, 3: FAILED, 4: FAILED, 5: CANCELLED, 6: CANCELLED, 7: SKIPPED, 8: FATALLY
    }  # fmt: skip


def test_a_lifted_task_is_undone():
    run = Run(make_task(1, rollback=UNDO), make_task(2, failure_policy=FATAL))
    run.suspend(1)
    run.lift(1)

    run.fail(2)

    assert run.undoing == [1]


def test_an_execution_that_fails_without_a_stop_undoes_nothing():
    run = Run(make_task(1, rollback=UNDO), make_task(2))
    run.succeed(1)

    run.fail(2)

    assert run.tasks == {1: SUCCEED, 2: FAILED}
    assert run.state is ExecutionState.FAILED


def test_nothing_is_undone_while_something_runs():
    run = Run(make_task(1, rollback=UNDO), make_task(2), make_task(3), make_task(4, failure_policy=FATAL))
    run.succeed(1)
    run.start_children(3)
    run.fail(4)

    run.stop(2)

    assert run.undoing == []
    assert run.tasks[1] is SUCCEED
    run.stop(3, was_running=True)
    assert run.undoing == [1]


def test_a_task_that_succeeds_while_the_execution_is_being_stopped_is_undone_as_well():
    run = Run(make_task(1, rollback=UNDO), make_task(2, failure_policy=FATAL))
    run.fail(2)

    decision = run.succeed(1, x=1)

    assert decision.states == {1: TO_UNDO}
    assert decision.dispatch == (Dispatch(number=1, attempt=2, is_rollback=True),)
    assert decision.parameters == {"x": Value(DataType.INT, 1)}


def test_an_error_catchers_task_is_undone_like_any_other():
    run = Run(
        make_task(1),
        make_task(2, failure_policy=FATAL),
        make_task(8, rollback=UNDO),
        catchers=[make_catcher(starts=[8])],
        caught_by="catcher",
    )
    run.fail(1)
    run.succeed(8)

    run.fail(2)

    assert run.undoing == [8]


# -- in which order ------------------------------------------------------------------------------------------------


def test_a_chain_is_undone_backwards():
    run = Run(
        make_task(1, next=(2,), rollback=UNDO),
        make_task(2, next=(3,), rollback=UNDO),
        make_task(3, next=(4,), rollback=UNDO),
        make_task(4, failure_policy=FATAL),
    )
    for number in (1, 2, 3):
        run.succeed(number)

    run.fail(4)

    assert run.undoing == [3]
    assert [run.tasks[number] for number in (1, 2, 3)] == [TO_UNDO] * 3
    run.start_children(3, 2)
    assert run.undoing == [3]
    run.succeed(3, 2)
    assert run.undoing == [3, 2]
    run.succeed(2, 2)
    assert run.undoing == [3, 2, 1]
    assert run.state is ExecutionState.PROCESSING
    run.succeed(1, 2)
    assert run.state is ExecutionState.FAILED


def test_a_diamond_is_undone_from_its_end_and_both_sides_at_once():
    run = Run(
        make_task(1, next=(3, 2), rollback=UNDO),
        make_task(2, next=(4,), rollback=UNDO),
        make_task(3, next=(4,), rollback=UNDO),
        make_task(4, next=(5,), rollback=UNDO),
        make_task(5, failure_policy=FATAL),
    )
    for number in (1, 3, 2, 4):
        run.succeed(number)
    run.fail(5)
    assert run.undoing == [4]

    decision = run.succeed(4, 2)

    assert [each.number for each in decision.dispatch] == [2, 3]
    run.succeed(3, 2)
    assert run.undoing == [4, 2, 3]
    run.succeed(2, 2)
    assert run.undoing == [4, 2, 3, 1]


def test_tasks_without_a_rollback_hand_the_order_on():
    run = Run(
        make_task(1, next=(2,), rollback=UNDO),
        make_task(2, next=(3,)),
        make_task(3, next=(4,), rollback=UNDO),
        make_task(4, failure_policy=FATAL),
    )
    for number in (1, 2, 3):
        run.succeed(number)

    run.fail(4)

    assert run.undoing == [3]


def test_a_task_that_failed_in_between_hands_the_order_on():
    """Task 3 ran all the same, because its join asked for any: it still follows task 1."""
    run = Run(
        make_task(1, next=(2,), rollback=UNDO),
        make_task(2, next=(3,), rollback=UNDO),
        make_task(9, next=(3,)),
        make_task(3, join=ANY, rollback=UNDO),
        make_task(4, failure_policy=FATAL),
    )
    run.succeed(1)
    run.succeed(9)
    run.succeed(3)
    run.fail(2)

    run.fail(4)

    assert run.undoing == [3]


def test_branches_do_not_wait_for_each_other():
    run = Run(
        make_task(1, next=(2,), rollback=UNDO),
        make_task(2, rollback=UNDO),
        make_task(3, next=(4,), rollback=UNDO),
        make_task(4, rollback=UNDO),
        make_task(5, failure_policy=FATAL),
    )
    for number in (1, 2, 3, 4):
        run.succeed(number)
    run.fail(5)
    assert run.undoing == [2, 4]

    run.succeed(4, 2)

    assert run.undoing == [2, 4, 3]


# -- a rollback that fails -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("policy", [None, IGNORE, FATAL, replace(FATAL, max_retries=3)])
def test_a_rollback_that_fails_is_over_all_the_same_and_holds_nothing_up(policy):
    run = Run(
        make_task(1, next=(2,), rollback=UNDO),
        make_task(2, next=(3,), rollback=make_rollback(policy)),
        make_task(3, failure_policy=FATAL),
    )
    run.succeed(1)
    run.succeed(2)
    run.fail(3, message="the cause")

    decision = run.fail(2, 2, message="a consequence")

    assert decision.states == {2: UNDONE}
    assert run.undoing == [2, 1]
    run.succeed(1, 2)
    assert run.progress.error == ErrorInfo(message="the cause", code=500, task_number=3)
    assert run.state is ExecutionState.FAILED


def test_a_failed_rollback_leaves_the_parameters_alone():
    """They tell of the failure that led here."""
    run = one_to_undo()
    told = run.parameters[ERROR_INFO]

    decision = run.fail(1, 2, message="a consequence")

    assert decision.parameters == {}
    assert run.parameters[ERROR_INFO] == told


def test_a_rollback_is_tried_again_under_its_own_policy_until_that_is_used_up():
    run = one_to_undo(RETRY)

    for attempt in (2, 3):
        decision = run.fail(1, attempt)
        assert decision.states == {1: TO_UNDO}
        assert decision.timers == (Timer(number=1, attempt=attempt, after_s=3.0),)
        assert run.state is ExecutionState.RETRY_ON_HOLD
        due = run.retry(1, attempt)
        assert due.dispatch == (Dispatch(number=1, attempt=attempt + 1, is_rollback=True),)
        assert (run.progress.active, run.progress.held) == (1, 0)
        assert run.state is ExecutionState.PROCESSING
    over = run.fail(1, 4)

    assert over.states == {1: UNDONE}
    assert over.timers == ()
    assert run.state is ExecutionState.FAILED


def test_attempts_of_the_task_itself_do_not_count_against_its_rollback():
    run = Run(
        make_task(1, next=(2,), failure_policy=RETRY, rollback=make_rollback(RETRY)),
        make_task(2, failure_policy=FATAL),
    )
    for attempt in (1, 2):
        run.fail(1, attempt)
        run.retry(1, attempt)
    run.succeed(1, 3)
    run.fail(2)

    decision = run.fail(1, 4)

    assert decision.timers == (Timer(number=1, attempt=4, after_s=3.0),)


@pytest.mark.parametrize(
    ("strategy", "expected"),
    [
        (RetryStrategy.LINEAR_BACKOFF, [4.0, 8.0]),
        (RetryStrategy.EXPONENTIAL_BACKOFF, [4.0, 8.0]),
        (RetryStrategy.RESTART_INTEGRATION_WITH_BACKOFF, [4.0, 8.0]),
    ],
)
def test_the_wait_before_a_rollback_grows_as_its_strategy_says(strategy, expected):
    """An execution that is being undone does not begin again: only the rollback does."""
    run = one_to_undo(FailurePolicy(strategy=strategy, max_retries=2, interval_s=4.0))
    waits = []

    for attempt in (2, 3):
        waits += [timer.after_s for timer in run.fail(1, attempt).timers]
        run.retry(1, attempt)

    assert waits == expected


def test_jitter_counts_for_a_rollback():
    run = one_to_undo(FailurePolicy(strategy=RetryStrategy.LINEAR_BACKOFF, max_retries=2, interval_s=4.0))

    assert [timer.after_s for timer in run.fail(1, 2, jitter=0.5).timers] == [5.0]


@pytest.mark.parametrize(("code", "expected"), [(503, TO_UNDO), (404, UNDONE)])
def test_the_policy_of_a_rollback_counts_only_for_the_errors_that_its_condition_names(code, expected):
    policy = FailurePolicy(
        strategy=RetryStrategy.FIXED_INTERVAL, max_retries=2, interval_s=3.0, condition="$`ErrorInfo.code`$ = 503"
    )
    run = one_to_undo(policy)

    run.fail(1, 2, code=code)

    assert run.tasks[1] is expected


def test_a_condition_of_a_rollback_that_cannot_be_read_is_refused_with_the_definition():
    """It would be read for the first time when everything has gone wrong already."""
    policy = replace(RETRY, condition="$`ErrorInfo.code`$ =")
    version = make_integration(make_task(1, rollback=make_rollback(policy)))

    errors = find_problems(version, make_task_types()).errors

    assert len(errors) == 1
    assert errors[0].startswith("task 1 (Noop), rollback, failurePolicy: ")


def test_what_waits_to_be_undone_waits_for_a_rollback_that_is_tried_again():
    run = Run(
        make_task(1, next=(2,), rollback=UNDO),
        make_task(2, next=(3,), rollback=UNDO_WITH_RETRIES),
        make_task(3, failure_policy=FATAL),
    )
    run.succeed(1)
    run.succeed(2)
    run.fail(3)

    run.fail(2, 2)

    assert run.undoing == [2]
    assert run.tasks[1] is TO_UNDO
    run.retry(2, 2)
    run.succeed(2, 3)
    assert run.undoing == [2, 2, 1]


def test_an_execution_that_undoes_is_processing_while_one_rollback_runs_and_another_is_held():
    run = Run(
        make_task(1, rollback=UNDO_WITH_RETRIES),
        make_task(2, rollback=UNDO),
        make_task(3, failure_policy=FATAL),
    )
    run.succeed(1)
    run.succeed(2)
    run.fail(3)
    run.fail(1, 2)
    assert run.state is ExecutionState.PROCESSING

    run.succeed(2, 2)

    assert run.state is ExecutionState.RETRY_ON_HOLD


# -- what a rollback may do ----------------------------------------------------------------------------------------


def test_a_rollback_may_have_sub_executions():
    run = one_to_undo()

    first, second = run.start_children(1, 2), run.start_children(1, 2)

    assert first.states == {1: UNDOING}
    assert second.states == {}
    assert run.state is ExecutionState.PROCESSING
    run.succeed(1, 2)
    assert run.tasks[1] is UNDONE
    assert run.state is ExecutionState.FAILED


def test_what_a_rollback_puts_out_is_kept():
    run = one_to_undo()

    decision = run.succeed(1, 2, refund="R-1")

    assert decision.parameters == {"refund": Value(DataType.STRING, "R-1")}


@pytest.mark.parametrize("has_children", [True, False])
@pytest.mark.parametrize("was_running", [True, False])
def test_a_rollback_that_was_ended_has_failed(was_running, has_children):
    run = one_to_undo(RETRY)
    if has_children:
        run.start_children(1, 2)

    decision = run.stop(1, 2, was_running=was_running)

    assert decision.states == {1: TO_UNDO}
    assert decision.timers == (Timer(number=1, attempt=2, after_s=3.0),)
    run.retry(1, 2)
    run.stop(1, 3)
    run.retry(1, 3)
    run.stop(1, 4)
    assert run.tasks[1] is UNDONE
    assert run.state is ExecutionState.FAILED


def test_a_rollback_that_wants_to_wait_for_an_answer_has_failed():
    run = one_to_undo()

    decision = run.suspend(1, 2)

    assert decision.states == {1: UNDONE}
    assert run.progress.suspended == 0
    assert run.state is ExecutionState.FAILED


def test_a_rollback_that_is_given_back_waits_for_another_worker():
    run = one_to_undo(RETRY)

    run.give_back(1, 2)

    assert run.tasks[1] is TO_UNDO
    assert run.ready == [1]
    assert run.progress.active == 1
    assert not run.status(1).is_waiting
    run.succeed(1, 2)
    assert run.tasks[1] is UNDONE


def test_a_rollback_that_has_sub_executions_is_in_the_middle_of_its_work_when_it_is_given_back():
    run = one_to_undo()
    run.start_children(1, 2)

    decision = run.give_back(1, 2)

    assert decision.states == {}
    assert run.tasks[1] is UNDOING


def test_neither_a_kill_nor_a_deadline_stops_what_undoes():
    run = one_to_undo()

    assert run.kill().is_late
    assert run.pass_deadline().is_late
    run.succeed(1, 2)
    assert run.state is ExecutionState.FAILED


def test_a_task_is_undone_in_the_run_that_was_stopped_and_not_for_the_runs_before():
    run = Run(
        make_task(1, rollback=UNDO),
        make_task(2, next=(3,), failure_policy=RESTART, rollback=UNDO),
        make_task(3, failure_policy=FATAL),
    )
    run.succeed(1)
    run.fail(2)
    run.restart(2)
    run.suspend(1, 2)
    run.succeed(2, 2)

    run.fail(3)

    assert run.undoing == [2]
    assert run.dispatched[-1] == (2, 3)
    assert run.tasks[1] is CANCELLED
