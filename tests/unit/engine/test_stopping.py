"""What FATAL, KILL and a deadline stop, how, and how the execution ends.

What is undone after that is in test_rollback; a restart, which stops as well, in test_restart.
"""

from __future__ import annotations

import pytest

from orchestrator.engine.decisions import Decision
from orchestrator.engine.events import Started
from orchestrator.errors import IllegalArrow
from orchestrator.model.history import ErrorInfo
from orchestrator.model.integration import JoinStrategy, TaskConfig
from orchestrator.model.policies import FailurePolicy
from orchestrator.model.states import ExecutionState
from orchestrator.model.values import DataType, Value
from tests.unit.engine.runs import (
    CANCELLED,
    FAILED,
    FATAL,
    FATALLY,
    IGNORE,
    IN_PROCESS,
    NEVER,
    PENDING,
    RETRY,
    SKIPPED,
    SUCCEED,
    TOO_LATE,
    Run,
)
from tests.unit.factories import make_catcher, make_task

OUTCOMES = {"fatal": ExecutionState.FAILED, "kill": ExecutionState.CANCELLED, "deadline": ExecutionState.FAILED}
each_way = pytest.mark.parametrize("how", OUTCOMES)


def stop(run: Run, how: str) -> Decision:
    """Task 99 is there to fail fatally; otherwise it ends with the stop, because it was not begun."""
    if how == "fatal":
        return run.fail(99, message="the cause")
    decision = run.kill() if how == "kill" else run.pass_deadline()
    run.stop(99)
    return decision


def stoppable(*tasks: TaskConfig) -> Run:
    return Run(*tasks, make_task(99, failure_policy=FATAL))


def stopped(*tasks: TaskConfig, how: str) -> Run:
    run = stoppable(*tasks)
    stop(run, how)
    return run


# -- what is stopped -----------------------------------------------------------------------------------------------


@each_way
def test_a_stop_cancels_what_is_held_or_suspended_skips_what_waits_and_leaves_the_rest_alone(how):
    run = Run(
        make_task(1),  # succeeds
        make_task(2),  # was ended
        make_task(3, failure_policy=IGNORE),  # fails
        make_task(4, failure_policy=RETRY),  # is held
        make_task(5, failure_policy=RETRY),  # is ready to be tried again
        make_task(6, next=(11,)),  # is suspended
        make_task(7, next=(10, 11)),  # is ready
        make_task(8, next=(11,)),  # waits for its sub-executions
        make_task(9, next=(11,)),  # is skipped
        make_task(10),  # waits for one
        make_task(11),  # waits for several
        make_task(12),  # of an error catcher that nobody called
        make_task(13),  # of one that was called: ready
        make_task(14, error_catcher_id="called"),  # has called it
        make_task(99, failure_policy=FATAL),
        starts=[*range(1, 9), (9, NEVER), 14, 99],
        catchers=[make_catcher("idle", starts=[12]), make_catcher("called", starts=[13])],
        caught_by="idle",
    )
    run.succeed(1)
    for number in (3, 4, 5, 14):
        run.fail(number)
    run.retry(5)
    run.suspend(6)
    run.start_children(8)
    run.stop(2, was_running=True)
    before = run.tasks

    decision = run.kill() if how == "kill" else run.pass_deadline() if how == "deadline" else run.fail(99)

    changed = {4: CANCELLED, 6: CANCELLED, 10: SKIPPED, 11: SKIPPED, 12: SKIPPED}
    changed |= {99: FATALLY} if how == "fatal" else {}
    assert decision.states == changed
    assert run.tasks == before | changed
    assert sorted(decision.dropped) == [4, 6]
    assert decision.dispatch == ()
    assert decision.timers == ()
    assert run.ready == [5, 7, 13] + ([] if how == "fatal" else [99])
    assert run.tasks[8] is IN_PROCESS
    assert (run.progress.suspended, run.progress.held) == (0, 0)
    assert run.state is ExecutionState.PROCESSING
    assert run.progress.stopping is OUTCOMES[how]


@each_way
def test_a_stopped_execution_ends_with_its_last_running_task(how):
    run = stopped(make_task(1), make_task(2), how=how)
    run.stop(1)
    assert run.state is ExecutionState.PROCESSING

    run.stop(2, was_running=True)

    assert run.tasks[1] is SKIPPED
    assert run.tasks[2] is CANCELLED
    assert run.state is OUTCOMES[how]


@each_way
def test_a_stop_ends_an_execution_at_once_in_which_nothing_runs(how):
    run = stoppable(make_task(1, next=(3,)), make_task(2, next=(3,), failure_policy=RETRY), make_task(3))
    run.suspend(1)
    run.fail(2)

    stop(run, how)

    assert (run.tasks[1], run.tasks[2], run.tasks[3]) == (CANCELLED, CANCELLED, SKIPPED)
    assert run.state is OUTCOMES[how]


def test_the_edges_of_what_a_stop_cancels_are_decided():
    run = stoppable(make_task(1, next=(3,)), make_task(2, next=(3,), failure_policy=RETRY), make_task(3))
    run.suspend(1)
    run.fail(2)

    decision = run.fail(99)

    assert decision.edges == {(1, 3): False, (2, 3): False}


@each_way
def test_nothing_becomes_ready_in_an_execution_that_is_being_stopped(how):
    run = stopped(
        make_task(1, next=(2,)), make_task(2, next=(3,)), make_task(3, join=JoinStrategy.WHEN_ANY_SUCCEED), how=how
    )

    decision = run.succeed(1, x=1)

    assert decision.states == {1: SUCCEED}
    assert decision.edges == {(1, 2): True}
    assert decision.parameters == {"x": Value(DataType.INT, 1)}
    assert decision.dispatch == ()
    assert (run.tasks[2], run.tasks[3]) == (SKIPPED, SKIPPED)
    assert run.state is OUTCOMES[how]


@each_way
@pytest.mark.parametrize(("policy", "expected"), [(None, FAILED), (RETRY, FAILED), (IGNORE, FAILED), (FATAL, FATALLY)])
def test_a_failure_in_an_execution_that_is_being_stopped_is_not_tried_again_and_calls_nobody(how, policy, expected):
    run = Run(
        make_task(1, next=(2,), failure_policy=policy, error_catcher_id="catcher"),
        make_task(2),
        make_task(8),
        make_task(99, failure_policy=FATAL),
        catchers=[make_catcher(starts=[8])],
    )
    stop(run, how)

    decision = run.fail(1)

    assert decision.timers == ()
    assert decision.dispatch == ()
    assert (run.tasks[1], run.tasks[2], run.tasks[8]) == (expected, SKIPPED, SKIPPED)
    assert not run.status(1).is_caught
    assert run.state is OUTCOMES[how]


@each_way
def test_a_task_that_leaves_a_suspension_in_an_execution_that_is_being_stopped_is_cancelled(how):
    """Else the execution would be over for ever with a task that still waits for a person."""
    run = stopped(make_task(1, next=(3,)), make_task(3), how=how)

    decision = run.suspend(1, note="asked")

    assert decision.states == {1: CANCELLED}
    assert decision.dropped == (1,)
    assert decision.parameters == {"note": Value(DataType.STRING, "asked")}
    assert run.progress.suspended == 0
    assert run.state is OUTCOMES[how]


@each_way
def test_a_round_of_sub_executions_that_ends_late_may_begin_no_other_task(how):
    run = stoppable(make_task(1, next=(2,)), make_task(2))
    run.start_children(1)
    stop(run, how)

    run.start_children(1)

    assert run.tasks[1] is IN_PROCESS
    run.succeed(1)
    assert run.tasks[2] is SKIPPED
    assert run.state is OUTCOMES[how]


# -- what becomes of a task that is told to stop -------------------------------------------------------------------


def stopping(policy: FailurePolicy | None = None) -> Run:
    """Task 9 has failed fatally while task 1 was ready."""
    run = Run(make_task(1, next=(2,), failure_policy=policy), make_task(2), make_task(9, failure_policy=FATAL))
    run.fail(9)
    return run


@pytest.mark.parametrize(("was_running", "expected"), [(False, SKIPPED), (True, CANCELLED)])
def test_a_stopped_task_is_skipped_before_its_code_started_and_cancelled_after(was_running, expected):
    run = stopping()

    decision = run.stop(1, was_running=was_running)

    assert decision.states == {1: expected}
    assert decision.edges == {(1, 2): False}
    assert decision.dropped == ()
    assert run.state is ExecutionState.FAILED


def test_a_stopped_task_that_waited_for_children_is_cancelled():
    run = stopping()
    run.start_children(1)

    run.stop(1)

    assert run.tasks == {1: CANCELLED, 2: SKIPPED, 9: FATALLY}
    assert run.state is ExecutionState.FAILED


@pytest.mark.parametrize("was_running", [False, True])
def test_a_retry_that_is_stopped_before_its_claim_is_cancelled_and_decides_its_edges(was_running):
    """Its first attempt did run. No timer is set for it any more, so nothing of it is dropped."""
    run = Run(make_task(1, next=(2,), failure_policy=RETRY), make_task(2), make_task(9, failure_policy=FATAL))
    run.fail(1)
    run.retry(1)
    run.fail(9)

    decision = run.stop(1, 2, was_running=was_running)

    assert decision.states == {1: CANCELLED}
    assert decision.edges == {(1, 2): False}
    assert decision.dropped == ()
    assert run.state is ExecutionState.FAILED


@pytest.mark.parametrize("policy", [None, RETRY])
def test_a_task_that_is_stopped_by_itself_leaves_nothing_waiting(policy):
    run = Run(make_task(1, next=(2,), failure_policy=policy), make_task(2))
    if policy:
        run.fail(1)
        run.retry(1)

    run.stop(1, 2 if policy else 1)

    assert run.tasks[2] is SKIPPED
    assert run.state is ExecutionState.SUCCEEDED


# -- what stopped it first counts ----------------------------------------------------------------------------------

KILLED_OR_LATE = [("kill", ExecutionState.CANCELLED), ("deadline", ExecutionState.FAILED)]


def test_the_first_fatal_failure_is_the_one_that_counts():
    run = Run(make_task(1), make_task(2, failure_policy=FATAL), make_task(3, failure_policy=FATAL))
    run.fail(1, message="an omen")
    run.fail(2, message="the cause")

    run.fail(3, message="a consequence")

    assert run.tasks == {1: FAILED, 2: FATALLY, 3: FATALLY}
    assert run.progress.error == ErrorInfo(message="the cause", code=500, task_number=2)


@each_way
@pytest.mark.parametrize("again", ["kill", "deadline"])
def test_a_kill_or_a_deadline_after_the_first_stop_comes_too_late(how, again):
    run = stopped(make_task(1), how=how)
    before = run.progress

    decision = run.kill(rolls_back=True) if again == "kill" else run.pass_deadline()

    assert decision == Decision(progress=before, is_late=True)
    run.stop(1)
    assert run.state is OUTCOMES[how]


@pytest.mark.parametrize(("how", "expected"), KILLED_OR_LATE)
def test_a_fatal_failure_does_not_change_how_a_stopped_execution_ends(how, expected):
    """Somebody was told that the execution is being cancelled."""
    run = Run(make_task(1, failure_policy=FATAL))
    error = TOO_LATE if how == "deadline" else None
    if how == "kill":
        run.kill()
    else:
        run.pass_deadline()

    run.fail(1)

    assert run.tasks == {1: FATALLY}
    assert run.progress.error == error
    assert run.state is expected


def test_a_deadline_is_the_error_even_where_something_had_failed_before():
    run = Run(make_task(1), make_task(2))
    run.fail(1)

    run.pass_deadline()

    assert run.progress.error == TOO_LATE
    run.fail(2)
    assert run.progress.error == TOO_LATE


@pytest.mark.parametrize(("how", "expected"), KILLED_OR_LATE)
def test_what_succeeds_after_the_stop_does_not_save_the_execution(how, expected):
    run = Run(make_task(1))
    if how == "kill":
        run.kill()
    else:
        run.pass_deadline()

    run.succeed(1)

    assert run.tasks == {1: SUCCEED}
    assert run.state is expected


# -- before anything has begun -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("how", "expected"), KILLED_OR_LATE)
def test_an_execution_whose_start_is_put_off_is_over_at_once_and_cannot_start_any_more(how, expected):
    run = Run(
        make_task(1, next=(2,), error_catcher_id="catcher"),
        make_task(2),
        make_task(8),
        catchers=[make_catcher(starts=[8])],
        is_started=False,
    )

    decision = run.kill(rolls_back=True) if how == "kill" else run.pass_deadline()

    assert decision.states == dict.fromkeys((1, 2, 8), SKIPPED)
    assert decision.dispatch == ()
    assert run.state is expected
    with pytest.raises(IllegalArrow):
        run.tell(Started())


@pytest.mark.parametrize(("how", "expected"), KILLED_OR_LATE)
def test_an_execution_that_no_worker_has_touched_waits_for_its_ready_tasks_to_be_taken_back(how, expected):
    run = Run(make_task(1, next=(2,)), make_task(2))

    if how == "kill":
        run.kill()
    else:
        run.pass_deadline()

    assert run.tasks == {1: PENDING, 2: SKIPPED}
    assert run.state is ExecutionState.PROCESSING
    run.stop(1)
    assert run.tasks == {1: SKIPPED, 2: SKIPPED}
    assert run.state is expected
    assert run.dispatched == [(1, 1)]
