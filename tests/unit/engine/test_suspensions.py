"""Tasks that wait: for the answer to a suspension, or for their sub-executions."""

from __future__ import annotations

import pytest

from orchestrator.engine.failures import ERROR_INFO
from orchestrator.model.history import ErrorInfo
from orchestrator.model.policies import FailurePolicy, RetryStrategy
from orchestrator.model.states import ExecutionState
from orchestrator.model.values import DataType, Value
from tests.unit.engine.runs import (
    FAILED,
    FATAL,
    IGNORE,
    IN_PROCESS,
    ON_HOLD,
    RESTART,
    RETRY,
    SKIPPED,
    SUCCEED,
    SUSPENDED,
    Run,
)
from tests.unit.factories import make_catcher, make_task


def test_a_suspended_task_decides_no_edge_and_suspends_the_execution():
    run = Run(make_task(1, next=(2,)), make_task(2))

    decision = run.suspend(1, ticket="T-1")

    assert decision.states == {1: SUSPENDED}
    assert decision.edges == {}
    assert decision.parameters == {"ticket": Value(DataType.STRING, "T-1")}
    assert run.state is ExecutionState.SUSPENDED


# -- lifting -------------------------------------------------------------------------------------------------------


def test_a_suspended_task_that_is_lifted_succeeds_with_the_answer_which_its_edges_see():
    run = Run(make_task(1, next=((2, "$ok$ = true"), (3, "$ok$ = false"))), make_task(2), make_task(3))
    run.suspend(1)

    decision = run.lift(1, ok=False)

    assert decision.states == {1: SUCCEED, 2: SKIPPED}
    assert decision.edges == {(1, 2): False, (1, 3): True}
    assert decision.parameters == {"ok": Value(DataType.BOOLEAN, False)}
    assert decision.dropped == ()
    assert run.dispatched == [(1, 1), (3, 1)]
    assert run.progress.suspended == 0
    assert run.state is ExecutionState.PROCESSING


def test_lifting_the_last_task_ends_the_execution():
    run = Run(make_task(1))
    run.suspend(1)

    run.lift(1)

    assert run.state is ExecutionState.SUCCEEDED


@pytest.mark.parametrize("number", [1, 2])
def test_one_of_two_suspensions_may_be_lifted_while_the_other_one_waits(number):
    run = Run(make_task(1), make_task(2))
    run.suspend(1)
    run.suspend(2)

    run.lift(number)

    assert run.tasks[number] is SUCCEED
    assert run.state is ExecutionState.SUSPENDED


def test_a_suspension_may_be_lifted_while_other_tasks_run():
    run = Run(make_task(1, next=(3,)), make_task(2, next=(3,)), make_task(3))
    run.suspend(1)
    assert run.state is ExecutionState.PROCESSING

    run.lift(1)

    assert run.ready == [2]
    run.succeed(2)
    assert run.ready == [3]


@pytest.mark.parametrize("first", ["lift", "reject"])
@pytest.mark.parametrize("second", ["lift", "reject"])
def test_the_first_answer_is_the_one_that_counts(first, second):
    run = Run(make_task(1, next=(2,)), make_task(2), make_task(3))
    run.suspend(1)
    getattr(run, first)(1)
    before, parameters = run.progress, run.parameters

    decision = getattr(run, second)(1)

    assert decision.is_late
    assert run.progress is before
    assert run.parameters == parameters


# -- rejecting -----------------------------------------------------------------------------------------------------


def test_a_suspended_task_that_is_rejected_fails_and_so_does_the_execution():
    run = Run(make_task(1, next=(2,)), make_task(2))
    run.suspend(1)

    decision = run.reject(1, message="too dear", traceback="lines and lines")

    assert decision.states == {1: FAILED, 2: SKIPPED}
    assert decision.edges == {(1, 2): False}
    assert decision.parameters == {
        ERROR_INFO: Value(DataType.JSON, {"message": "too dear", "code": "SUSPENSION_REJECTED"})
    }
    assert run.progress.error == ErrorInfo(message="too dear", code="SUSPENSION_REJECTED", task_number=1)
    assert run.state is ExecutionState.FAILED


@pytest.mark.parametrize("policy", [RETRY, RESTART, IGNORE, FATAL])
def test_a_rejection_is_nothing_that_a_policy_mends(policy):
    """Asking again, or going on all the same, is not the definition's to decide."""
    run = Run(make_task(1, failure_policy=policy), make_task(3))
    run.suspend(1)

    decision = run.reject(1)

    assert decision.states == {1: FAILED}
    assert decision.timers == ()
    assert run.progress.stopping is None
    run.succeed(3)
    assert run.state is ExecutionState.FAILED


def test_a_rejection_may_be_caught():
    run = Run(
        make_task(1, next=(2,), error_catcher_id="catcher"),
        make_task(2),
        make_task(8),
        make_task(9),
        catchers=[
            make_catcher(starts=[(8, "$`ErrorInfo.code`$ = SUSPENSION_REJECTED"), (9, "$`ErrorInfo.code`$ = 1")])
        ],
    )
    run.suspend(1)

    decision = run.reject(1)

    assert decision.states == {1: FAILED, 2: SKIPPED, 9: SKIPPED}
    assert run.status(1).is_caught
    assert run.ready == [8]
    run.succeed(8)
    assert run.state is ExecutionState.SUCCEEDED


# -- an execution that was suspended is asynchronous ever since ----------------------------------------------------


@pytest.mark.parametrize("answer", ["lift", "reject"])
def test_the_policy_of_an_asynchronous_run_counts_after_an_answer(answer):
    policies = {"failure_policy": RETRY, "sync_failure_policy": IGNORE}
    run = Run(make_task(1), make_task(2, **policies), make_task(3, **policies), is_sync=True)
    run.suspend(1)
    run.fail(2)
    assert run.status(2).is_ignored
    assert not run.progress.is_resumed

    getattr(run, answer)(1)

    assert run.progress.is_resumed
    run.fail(3)
    assert run.tasks[3] is ON_HOLD


def test_an_execution_that_was_suspended_is_asynchronous_even_after_it_began_again():
    once = FailurePolicy(strategy=RetryStrategy.RESTART_INTEGRATION_WITH_BACKOFF, max_retries=1)
    run = Run(make_task(1, next=(2,)), make_task(2, failure_policy=once, sync_failure_policy=IGNORE), is_sync=True)
    run.suspend(1)
    run.lift(1)
    run.fail(2)
    run.restart(2)
    run.succeed(1, 2)

    run.fail(2, 2)

    assert not run.status(2).is_ignored
    assert run.state is ExecutionState.FAILED


# -- sub-executions ------------------------------------------------------------------------------------------------


def test_a_task_that_waits_for_children_is_running_round_after_round():
    run = Run(make_task(1, next=(2,)), make_task(2))

    first, second = run.start_children(1), run.start_children(1)

    assert first.states == {1: IN_PROCESS}
    assert second.states == {}
    assert not second.is_late
    assert run.state is ExecutionState.PROCESSING
    run.succeed(1)
    assert run.ready == [2]
