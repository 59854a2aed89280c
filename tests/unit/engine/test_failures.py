"""What a failed attempt leads to: policies, retries, and what a failure tells."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from orchestrator.engine.decisions import Timer
from orchestrator.engine.events import ChildrenStarted
from orchestrator.engine.failures import ERROR_INFO, ERROR_MESSAGE
from orchestrator.model.history import ErrorInfo
from orchestrator.model.policies import ConditionalFailurePolicies, FailurePolicy, RetryStrategy
from orchestrator.model.states import ExecutionState, TaskState
from orchestrator.model.values import DataType, Value
from tests.unit.engine.runs import (
    FAILED,
    FATAL,
    FATALLY,
    IGNORE,
    IN_PROCESS,
    NEVER,
    ON_HOLD,
    PENDING,
    RETRY,
    SKIPPED,
    SUCCEED,
    Run,
)
from tests.unit.factories import make_parameter, make_task


def test_without_a_policy_a_failure_ends_its_branch_and_the_execution():
    run = Run(make_task(1, next=(2,)), make_task(2))

    decision = run.fail(1)

    assert decision.states == {1: FAILED, 2: SKIPPED}
    assert decision.edges == {(1, 2): False}
    assert run.state is ExecutionState.FAILED


def test_another_way_to_the_leaf_saves_the_execution():
    run = Run(make_task(1, next=(2, 3)), make_task(2, next=(4,)), make_task(3, next=(4,)), make_task(4))
    run.succeed(1)
    run.fail(2)
    run.succeed(3)

    run.succeed(4)

    assert run.tasks == {1: SUCCEED, 2: FAILED, 3: SUCCEED, 4: SUCCEED}
    assert run.state is ExecutionState.SUCCEEDED


def test_an_ignored_failure_is_recorded_and_its_edges_behave_as_after_success():
    run = Run(make_task(1, next=(2, (3, NEVER)), failure_policy=IGNORE), make_task(2), make_task(3))

    decision = run.fail(1)

    assert decision.states == {1: FAILED, 3: SKIPPED}
    assert decision.edges == {(1, 2): True, (1, 3): False}
    assert run.ready == [2]
    assert run.progress.error is None


def test_an_ignored_leaf_does_not_fail_the_execution():
    run = Run(make_task(1, failure_policy=IGNORE))

    run.fail(1)

    assert run.tasks == {1: FAILED}
    assert run.state is ExecutionState.SUCCEEDED


def test_the_first_failure_is_the_error_of_an_execution_that_failed():
    run = Run(make_task(1), make_task(2))
    run.fail(2, message="first", code=404)

    run.fail(1, message="second")

    assert run.progress.error == ErrorInfo(message="first", code=404, task_number=2)


# -- retries -------------------------------------------------------------------------------------------------------


def test_a_retry_is_held_until_its_timer_is_due_and_is_then_a_new_attempt():
    run = Run(make_task(1, failure_policy=RETRY))

    decision = run.fail(1)

    assert decision.timers == (Timer(number=1, attempt=1, after_s=3.0),)
    assert decision.states == {1: ON_HOLD}
    assert decision.dispatch == ()
    assert run.state is ExecutionState.RETRY_ON_HOLD
    due = run.retry(1)
    assert run.dispatched == [(1, 1), (1, 2)]
    assert due.states == {}
    assert run.state is ExecutionState.PROCESSING
    run.succeed(1, 2)
    assert run.state is ExecutionState.SUCCEEDED


def test_used_up_retries_are_a_failure():
    run = Run(make_task(1, failure_policy=RETRY))
    for attempt in (1, 2):
        run.fail(1, attempt)
        run.retry(1, attempt)

    decision = run.fail(1, 3)

    assert decision.timers == ()
    assert run.dispatched == [(1, 1), (1, 2), (1, 3)]
    assert run.tasks == {1: FAILED}
    assert run.state is ExecutionState.FAILED


@pytest.mark.parametrize(
    ("strategy", "jitter", "expected"),
    [
        (RetryStrategy.FIXED_INTERVAL, 0.5, [4.0, 4.0, 4.0]),
        (RetryStrategy.LINEAR_BACKOFF, 0.0, [4.0, 8.0, 12.0]),
        (RetryStrategy.EXPONENTIAL_BACKOFF, 0.0, [4.0, 8.0, 16.0]),
        (RetryStrategy.EXPONENTIAL_BACKOFF, 0.5, [5.0, 10.0, 18.5]),
    ],
)
def test_the_wait_grows_with_the_attempt_as_the_strategy_says(strategy, jitter, expected):
    run = Run(make_task(1, failure_policy=FailurePolicy(strategy=strategy, max_retries=3, interval_s=4.0)))
    waits = []

    for attempt in (1, 2, 3):
        waits += [timer.after_s for timer in run.fail(1, attempt, jitter=jitter).timers]
        run.retry(1, attempt)

    assert waits == expected


def test_a_retried_task_that_starts_children_is_running():
    run = Run(make_task(1, failure_policy=RETRY))
    run.fail(1)
    run.retry(1)

    run.tell(ChildrenStarted(number=1, attempt=2))

    assert run.tasks == {1: IN_PROCESS}
    assert run.progress.active == 1


# -- a worker that died --------------------------------------------------------------------------------------------


def test_an_attempt_that_is_given_back_waits_for_another_worker():
    run = Run(make_task(1))

    decision = run.give_back(1)

    assert decision.states == {1: PENDING}
    assert decision.dispatch == ()
    assert run.ready == [1]
    assert run.progress.active == 1
    run.succeed(1)
    assert run.state is ExecutionState.SUCCEEDED


def test_an_attempt_that_is_given_back_uses_up_no_retry():
    run = Run(make_task(1, failure_policy=RETRY))
    run.give_back(1)
    run.fail(1)
    run.retry(1)
    run.give_back(1, 2)
    run.fail(1, 2)

    run.retry(1, 2)

    assert run.dispatched == [(1, 1), (1, 2), (1, 3)]
    assert run.status(1).is_ready


def test_an_attempt_that_has_sub_executions_is_in_the_middle_of_its_work_when_it_is_given_back():
    run = Run(make_task(1))
    run.start_children(1)

    decision = run.give_back(1)

    assert decision.states == {}
    assert run.tasks == {1: IN_PROCESS}


# -- which policy --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("is_sync", "expected"), [(True, FAILED), (False, ON_HOLD)])
def test_synchronous_and_asynchronous_runs_have_a_policy_each(is_sync, expected):
    run = Run(make_task(1, failure_policy=RETRY, sync_failure_policy=IGNORE), is_sync=is_sync)

    run.fail(1)

    assert run.tasks == {1: expected}
    assert run.progress.status(1).is_ignored is is_sync


@pytest.mark.parametrize("is_sync", [True, False])
def test_the_policy_of_the_other_mode_does_not_count(is_sync):
    other = {"failure_policy" if is_sync else "sync_failure_policy": IGNORE}
    run = Run(make_task(1, **other), is_sync=is_sync)

    run.fail(1)

    assert run.state is ExecutionState.FAILED


def conditional(*conditions: str, default: FailurePolicy | None = None) -> ConditionalFailurePolicies:
    """The first condition leads to FATAL, the second to IGNORE."""
    pairs = zip(conditions, (FATAL, IGNORE), strict=False)
    return ConditionalFailurePolicies(policies=tuple(replace(p, condition=c) for c, p in pairs), default=default)


@pytest.mark.parametrize(
    ("code", "expected"),
    [(404, TaskState.FATAL), (409, TaskState.FAILED), (503, TaskState.RETRY_ON_HOLD)],
)
def test_the_first_conditional_policy_whose_condition_holds_counts_else_the_default(code, expected):
    policies = conditional("$`ErrorInfo.code`$ = 404", "$`ErrorInfo.code`$ < 500", default=RETRY)
    run = Run(make_task(1, conditional_failure_policies=policies, failure_policy=FATAL))

    run.fail(1, code=code)

    assert run.tasks == {1: expected}
    assert run.progress.status(1).is_ignored is (code == 409)


def test_a_conditional_policy_sees_this_failure_and_not_the_one_before():
    policies = conditional("$`ErrorInfo.message`$ : late", default=RETRY)
    run = Run(make_task(1, conditional_failure_policies=policies))
    run.fail(1, message="not yet")
    run.retry(1)

    run.fail(1, 2, message="too late")

    assert run.tasks == {1: FATALLY}


def test_conditional_policies_of_which_none_holds_leave_it_to_the_policy_of_the_mode():
    run = Run(make_task(1, conditional_failure_policies=conditional(NEVER), failure_policy=IGNORE))

    run.fail(1)

    assert run.progress.status(1).is_ignored


@pytest.mark.parametrize("key", ["failure_policy", "default"])
@pytest.mark.parametrize(("code", "is_ignored"), [(404, True), (500, False)])
def test_every_policy_counts_only_for_the_errors_that_its_condition_names(key, code, is_ignored):
    """The discovery document: the condition "determine[s] if the task should be retried with this failure policy"."""
    policy = replace(IGNORE, condition="$`ErrorInfo.code`$ = 404")
    config: dict[str, Any] = (
        {key: policy} if key != "default" else {"conditional_failure_policies": conditional(default=policy)}
    )
    run = Run(make_task(1, **config))

    run.fail(1, code=code)

    assert run.progress.status(1).is_ignored is is_ignored
    assert run.state is (ExecutionState.SUCCEEDED if is_ignored else ExecutionState.FAILED)


# -- what a failure tells ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", [404, "QUOTA_THROTTLED"])
def test_a_failure_is_told_in_error_info(code):
    run = Run(make_task(1, next=((2, f"$`ErrorInfo.code`$ = {code}"),), failure_policy=IGNORE), make_task(2))

    decision = run.fail(1, message="no such order", code=code)

    assert decision.parameters == {ERROR_INFO: Value(DataType.JSON, {"message": "no such order", "code": code})}
    assert run.ready == [2]


def test_a_declared_error_message_takes_the_text():
    handled = make_task(
        1, next=((2, "exists($ErrorMessage$)"), (3, "NOT exists($ErrorMessage$)")), failure_policy=IGNORE
    )
    run = Run(handled, make_task(2), make_task(3), declared=[make_parameter(ERROR_MESSAGE)])

    run.fail(1, message="no such order")

    assert run.parameters[ERROR_MESSAGE] == Value(DataType.STRING, "no such order")
    assert run.ready == [2]


def test_the_error_message_takes_the_declared_type():
    run = Run(make_task(1), declared=[make_parameter(ERROR_MESSAGE, DataType.JSON)])

    run.fail(1, message="no such order")

    assert run.parameters[ERROR_MESSAGE] == Value(DataType.JSON, "no such order")


@pytest.mark.parametrize("data_type", [DataType.INT, DataType.BOOLEAN, DataType.STRING_ARRAY])
def test_an_error_message_that_the_declared_type_cannot_hold_is_left_out(data_type):
    """A failure must be decided whatever it says: nobody is left to tell of a second one."""
    run = Run(make_task(1), declared=[make_parameter(ERROR_MESSAGE, data_type), make_parameter(ERROR_INFO, data_type)])

    decision = run.fail(1, message="no such order")

    assert decision.parameters == {}
    assert run.state is ExecutionState.FAILED
