"""One example for every rule in the header of ``decide`` and every row of DESIGN section 5."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from copy import deepcopy
from dataclasses import replace
from typing import Any

import pytest

from orchestrator.engine.decide import decide
from orchestrator.engine.decisions import Decision, Timer
from orchestrator.engine.draft import ERROR_INFO, ERROR_MESSAGE
from orchestrator.engine.events import ChildrenStarted, Event, Failed, RetryDue, Started, Stopped, Succeeded, Suspended
from orchestrator.engine.plan import make_plan
from orchestrator.engine.progress import Progress
from orchestrator.errors import IllegalArrow
from orchestrator.model.history import ErrorInfo
from orchestrator.model.integration import ForkPolicy, IntegrationParameter, JoinStrategy, TaskConfig
from orchestrator.model.policies import ConditionalFailurePolicies, FailurePolicy, RetryStrategy
from orchestrator.model.states import ExecutionState, TaskState
from orchestrator.model.values import DataType, Value, from_python
from tests.unit.factories import Edge, make_integration, make_parameter, make_task, make_trigger

ALL = JoinStrategy.WHEN_ALL_SUCCEED
ANY = JoinStrategy.WHEN_ANY_SUCCEED
ALL_TRUE = JoinStrategy.WHEN_ALL_TASKS_AND_CONDITIONS_SUCCEED
FIRST = ForkPolicy.RUN_FIRST_MATCH

NEVER = "$go$ = never"
IGNORE = FailurePolicy(strategy=RetryStrategy.IGNORE)
FATAL = FailurePolicy(strategy=RetryStrategy.FATAL)
RETRY = FailurePolicy(strategy=RetryStrategy.FIXED_INTERVAL, max_retries=2, interval_s=3.0)

PENDING, IN_PROCESS, SUCCEED = TaskState.PENDING_EXECUTION, TaskState.IN_PROCESS, TaskState.SUCCEED
FAILED, FATALLY, SKIPPED, CANCELLED = TaskState.FAILED, TaskState.FATAL, TaskState.SKIPPED, TaskState.CANCELLED
ON_HOLD, SUSPENDED = TaskState.RETRY_ON_HOLD, TaskState.SUSPENDED


class Run:
    """One execution in memory: it hands events to ``decide`` and keeps what came of them."""

    def __init__(
        self,
        *tasks: TaskConfig,
        starts: Iterable[Edge] = (),
        fork: ForkPolicy = ForkPolicy.RUN_ALL_MATCH,
        declared: Iterable[IntegrationParameter] = (),
        parameters: Mapping[str, Any] | None = None,
        is_sync: bool = False,
    ) -> None:
        trigger = make_trigger(starts=starts, fork=fork)
        version = make_integration(*tasks, triggers=[trigger], parameters=declared)
        self.plan, self.is_sync = make_plan(version, trigger, light=()), is_sync
        self.progress = Progress()
        self.parameters = {key: from_python(content, key) for key, content in (parameters or {}).items()}
        self.dispatched: list[tuple[int, int]] = []
        self.tell(Started())

    def tell(self, event: Event) -> Decision:
        decision = decide(self.plan, self.progress, event, parameters=self.parameters, is_sync=self.is_sync)
        self.progress = decision.progress
        self.parameters |= decision.parameters
        self.dispatched += [(each.number, each.attempt) for each in decision.dispatch]
        return decision

    def succeed(self, number: int, attempt: int = 1, **outputs: Any) -> Decision:
        values = {key: from_python(content, key) for key, content in outputs.items()}
        return self.tell(Succeeded(number=number, attempt=attempt, outputs=values))

    def fail(self, number: int, attempt: int = 1, *, jitter: float = 0.0, **error: Any) -> Decision:
        info = ErrorInfo(**{"message": "broken", "code": 500, **error})
        return self.tell(Failed(number=number, attempt=attempt, error=info, jitter=jitter))

    def suspend(self, number: int, **outputs: Any) -> Decision:
        values = {key: from_python(content, key) for key, content in outputs.items()}
        return self.tell(Suspended(number=number, attempt=1, outputs=values))

    def start_children(self, number: int) -> Decision:
        return self.tell(ChildrenStarted(number=number, attempt=1))

    def stop(self, number: int, attempt: int = 1, *, was_running: bool = False) -> Decision:
        return self.tell(Stopped(number=number, attempt=attempt, was_running=was_running))

    def retry(self, number: int, attempt: int = 1) -> Decision:
        return self.tell(RetryDue(number=number, attempt=attempt))

    @property
    def state(self) -> ExecutionState:
        return self.progress.state

    @property
    def tasks(self) -> dict[int, TaskState]:
        return {number: self.progress.status(number).state for number in self.plan.numbers}

    @property
    def edges(self) -> dict[tuple[int, int], bool]:
        return {(each.source, each.target): self.progress.edges[each.index] for each in self.plan.edges}

    @property
    def ready(self) -> list[int]:
        return [number for number in self.plan.numbers if self.progress.status(number).is_ready]


def diamond(join: JoinStrategy = ALL, *, left: str = "", right: str = "") -> list[TaskConfig]:
    """1 leads to 2 and 3, both lead to 4."""
    return [
        make_task(1, next=((2, left), (3, right))),
        make_task(2, next=(4,)),
        make_task(3, next=(4,)),
        make_task(4, join=join),
    ]


# -- start ---------------------------------------------------------------------------------------------------------


def test_every_start_task_becomes_ready_at_the_start():
    run = Run(make_task(1), make_task(2))

    assert run.dispatched == [(1, 1), (2, 1)]
    assert run.state is ExecutionState.PROCESSING
    assert run.tasks == {1: PENDING, 2: PENDING}


def test_a_start_task_whose_condition_is_false_is_skipped_and_all_after_it():
    run = Run(make_task(1), make_task(2, next=(3,)), make_task(3), starts=[1, (2, NEVER)])

    assert run.dispatched == [(1, 1)]
    assert run.tasks == {1: PENDING, 2: SKIPPED, 3: SKIPPED}


def test_start_conditions_see_inputs_and_system_variables():
    run = Run(
        make_task(1),
        make_task(2),
        starts=[(1, "$order.total$ > 100"), (2, "$`ExecutionMode`$ = SYNC")],
        parameters={"order": {"total": 99}, "`ExecutionMode`": "SYNC"},
    )

    assert run.dispatched == [(2, 1)]


def test_an_execution_whose_start_conditions_are_all_false_has_succeeded_without_running_anything():
    run = Run(make_task(1, next=(3,)), make_task(2), make_task(3), starts=[(1, NEVER), (2, NEVER)])

    assert run.state is ExecutionState.SUCCEEDED
    assert run.dispatched == []
    assert set(run.tasks.values()) == {SKIPPED}


def test_the_trigger_may_follow_its_first_true_edge_only():
    run = Run(make_task(1), make_task(2), make_task(3), starts=[(1, NEVER), 3, 2], fork=FIRST)

    assert run.dispatched == [(3, 1)]
    assert run.tasks == {1: SKIPPED, 2: SKIPPED, 3: PENDING}


def test_an_execution_starts_once():
    run = Run(make_task(1))

    with pytest.raises(IllegalArrow):
        run.tell(Started())


# -- joins ---------------------------------------------------------------------------------------------------------

# What two parents of task 9 came to, in either order, and what becomes of it under each strategy.
JOINS = """
    parents            ALL   ANY   ALL_TRUE
    true     true      run   run   run
    true     false     run   run   skip
    true     skipped   run   run   skip
    true     failed    run   run   skip
    true     ignored   run   run   run
    false    false     skip  skip  skip
    false    skipped   skip  skip  skip
    false    failed    skip  skip  skip
    false    ignored   run   run   skip
    skipped  skipped   skip  skip  skip
    skipped  failed    skip  skip  skip
    skipped  ignored   run   run   skip
    failed   failed    skip  skip  skip
    failed   ignored   run   run   skip
    ignored  ignored   run   run   run
"""
JOIN_CASES = [
    (strategy, parents, expected)
    for first, second, *row in (line.split() for line in JOINS.strip().splitlines()[1:])
    for parents in sorted({(first, second), (second, first)})
    for strategy, expected in zip((ALL, ANY, ALL_TRUE), row, strict=True)
]


@pytest.mark.parametrize(("join", "parents", "expected"), JOIN_CASES)
def test_a_join_runs_or_is_skipped_as_the_table_says(join, parents, expected):
    run = Run(
        *(
            make_task(
                number,
                next=((9, NEVER if kind == "false" else ""),),
                failure_policy=IGNORE if kind == "ignored" else None,
            )
            for number, kind in enumerate(parents, 1)
        ),
        make_task(9, join=join),
        starts=[(number, NEVER if kind == "skipped" else "") for number, kind in enumerate(parents, 1)],
    )
    for number, kind in enumerate(parents, 1):
        if kind in ("failed", "ignored"):
            run.fail(number)
        elif kind != "skipped":
            run.succeed(number)

    assert run.tasks[9] is (PENDING if expected == "run" else SKIPPED)
    assert run.ready == ([9] if expected == "run" else [])


@pytest.mark.parametrize("join", [ALL, ALL_TRUE])
def test_a_join_of_all_waits_for_its_last_parent(join):
    run = Run(*diamond(join))
    run.succeed(1)

    run.succeed(2)

    assert run.dispatched == [(1, 1), (2, 1), (3, 1)]
    run.succeed(3)
    assert run.dispatched[-1] == (4, 1)


def test_a_join_of_any_is_started_by_its_first_true_edge_and_only_once():
    run = Run(*diamond(ANY))
    run.succeed(1)

    run.succeed(3)

    assert run.ready == [2, 4]
    run.succeed(2)
    assert run.ready == [4]
    run.succeed(4)
    assert run.dispatched == [(1, 1), (2, 1), (3, 1), (4, 1)]
    assert run.state is ExecutionState.SUCCEEDED


def test_a_join_of_any_that_is_over_is_not_started_again():
    run = Run(*diamond(ANY))
    run.succeed(1)
    run.succeed(3)
    run.succeed(4)
    assert run.state is ExecutionState.PROCESSING

    decision = run.succeed(2)

    assert decision.dispatch == ()
    assert decision.states == {2: SUCCEED}
    assert run.state is ExecutionState.SUCCEEDED


def test_a_join_of_any_still_waits_after_a_false_edge():
    run = Run(make_task(1, next=((3, NEVER),)), make_task(2, next=(3,)), make_task(3, join=ANY))

    run.succeed(1)

    assert run.tasks[3] is PENDING
    run.succeed(2)
    assert run.ready == [3]


@pytest.mark.parametrize(("join", "expected"), [(ALL, [4]), (ANY, [4]), (ALL_TRUE, [])])
def test_a_diamond_with_a_skipped_side_does_not_wait_for_ever(join, expected):
    run = Run(*diamond(join, left=NEVER))
    run.succeed(1)

    run.succeed(3)

    assert run.tasks[2] is SKIPPED
    assert run.ready == expected


def test_skipping_runs_on_through_the_graph_within_one_decision():
    last = 300
    chain = [make_task(n, next=(n + 1,) if n < last else ()) for n in range(2, last + 1)]
    run = Run(make_task(1, next=((2, NEVER),)), *chain)

    decision = run.succeed(1)

    assert decision.states == {1: SUCCEED} | dict.fromkeys(range(2, last + 1), SKIPPED)
    assert run.state is ExecutionState.SUCCEEDED


@pytest.mark.parametrize("join", JoinStrategy)
@pytest.mark.parametrize(("condition", "expected"), [("", [2]), (NEVER, [])])
def test_with_one_parent_all_joins_are_the_same(join, condition, expected):
    run = Run(make_task(1, next=((2, condition),)), make_task(2, join=join))

    run.succeed(1)

    assert run.ready == expected


@pytest.mark.parametrize(("conditions", "expected"), [(("", ""), [2]), (("", NEVER), []), ((NEVER, ""), [])])
def test_two_edges_between_the_same_tasks_count_twice_and_show_as_one(conditions, expected):
    edges = [(2, condition) for condition in conditions]
    run = Run(make_task(1, next=edges), make_task(2, join=ALL_TRUE))

    decision = run.succeed(1)

    assert run.ready == expected
    assert decision.edges == {(1, 2): True}


# -- forks ---------------------------------------------------------------------------------------------------------


def test_run_all_match_follows_every_true_edge_in_definition_order():
    run = Run(make_task(1, next=(4, (2, NEVER), 3)), make_task(2), make_task(3), make_task(4))

    run.succeed(1)

    assert run.dispatched == [(1, 1), (4, 1), (3, 1)]
    assert run.edges == {(0, 1): True, (1, 4): True, (1, 2): False, (1, 3): True}


def test_run_first_match_follows_the_first_true_edge_in_definition_order():
    run = Run(make_task(1, next=((3, NEVER), 4, 2), fork=FIRST), make_task(2), make_task(3), make_task(4))

    run.succeed(1)

    assert run.dispatched == [(1, 1), (4, 1)]
    assert run.edges == {(0, 1): True, (1, 3): False, (1, 4): True, (1, 2): False}
    assert run.tasks == {1: SUCCEED, 2: SKIPPED, 3: SKIPPED, 4: PENDING}


def test_run_first_match_may_find_none():
    run = Run(make_task(1, next=((2, NEVER), (3, NEVER)), fork=FIRST), make_task(2), make_task(3))

    run.succeed(1)

    assert run.tasks == {1: SUCCEED, 2: SKIPPED, 3: SKIPPED}
    assert run.state is ExecutionState.SUCCEEDED


def test_a_condition_sees_what_its_own_task_has_just_put_out():
    run = Run(make_task(1, next=((2, "$x$ = 2"), (3, "$x$ = 1"))), make_task(2), make_task(3), parameters={"x": 1})

    decision = run.succeed(1, x=2)

    assert run.ready == [2]
    assert decision.parameters == {"x": Value(DataType.INT, 2)}


# -- failures ------------------------------------------------------------------------------------------------------


def test_without_a_policy_a_failure_ends_its_branch_and_the_execution():
    run = Run(make_task(1, next=(2,)), make_task(2))

    decision = run.fail(1)

    assert decision.states == {1: FAILED, 2: SKIPPED}
    assert decision.edges == {(1, 2): False}
    assert run.state is ExecutionState.FAILED


def test_another_way_to_the_leaf_saves_the_execution():
    run = Run(*diamond())
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


def test_a_fatal_failure_skips_what_waits_and_lets_what_runs_come_to_its_end():
    run = Run(
        make_task(1, failure_policy=FATAL),
        make_task(2, next=(3,)),
        make_task(3, next=(4,)),
        make_task(4),
    )

    decision = run.fail(1)

    assert decision.states == {1: FATALLY, 3: SKIPPED, 4: SKIPPED}
    assert run.state is ExecutionState.PROCESSING
    assert run.progress.stopping is ExecutionState.FAILED
    run.succeed(2)
    assert run.tasks[2] is SUCCEED
    assert run.dispatched == [(1, 1), (2, 1)]
    assert run.state is ExecutionState.FAILED


def test_a_fatal_failure_cancels_what_is_suspended_or_held_and_decides_its_edges():
    run = Run(
        make_task(1, next=(5,)),
        make_task(2, next=(5,), failure_policy=RETRY),
        make_task(3, next=(5,), failure_policy=FATAL),
        make_task(5),
    )
    run.suspend(1)
    run.fail(2)

    decision = run.fail(3)

    assert decision.states == {1: CANCELLED, 2: CANCELLED, 3: FATALLY, 5: SKIPPED}
    assert decision.edges == {(1, 5): False, (2, 5): False, (3, 5): False}
    assert (run.progress.suspended, run.progress.held, run.progress.active) == (0, 0, 0)
    assert run.state is ExecutionState.FAILED


def test_a_task_that_leaves_a_suspension_after_a_fatal_failure_is_cancelled():
    """Else the execution would be FAILED for ever with a task that still waits for a person."""
    run = Run(make_task(1, next=(3,)), make_task(2, failure_policy=FATAL), make_task(3))
    run.fail(2)

    decision = run.suspend(1, note="asked")

    assert decision.states == {1: CANCELLED}
    assert decision.parameters == {"note": Value(DataType.STRING, "asked")}
    assert run.progress.suspended == 0
    assert run.state is ExecutionState.FAILED


def test_nothing_is_tried_again_after_a_fatal_failure():
    run = Run(make_task(1, failure_policy=FATAL), make_task(2, failure_policy=RETRY))
    run.fail(1)

    decision = run.fail(2)

    assert decision.timers == ()
    assert run.tasks == {1: FATALLY, 2: FAILED}
    assert run.state is ExecutionState.FAILED


def test_the_first_fatal_failure_is_the_one_that_counts():
    run = Run(make_task(1), make_task(2, failure_policy=FATAL), make_task(3, failure_policy=FATAL))
    run.fail(1, message="an omen")
    run.fail(2, message="the cause")

    run.fail(3, message="a consequence")

    assert run.tasks == {1: FAILED, 2: FATALLY, 3: FATALLY}
    assert run.progress.error == ErrorInfo(message="the cause", code=500, task_number=2)


def test_a_fatal_failure_does_not_change_how_a_stopped_execution_ends():
    """Somebody was told that the execution is being cancelled."""
    run = Run(make_task(1, failure_policy=FATAL))
    run.progress = replace(run.progress, stopping=ExecutionState.CANCELLED)

    run.fail(1)

    assert run.tasks == {1: FATALLY}
    assert run.state is ExecutionState.CANCELLED


def test_the_first_failure_is_the_error_of_an_execution_that_failed():
    run = Run(make_task(1), make_task(2))
    run.fail(2, message="first", code=404)

    run.fail(1, message="second")

    assert run.progress.error == ErrorInfo(message="first", code=404, task_number=2)


@pytest.mark.parametrize("strategy", [RetryStrategy.NONE, RetryStrategy.RESTART_INTEGRATION_WITH_BACKOFF])
def test_these_strategies_do_not_try_the_task_again(strategy):
    """Starting the whole integration again is a new execution attempt, which is not this decision's to make."""
    run = Run(make_task(1, failure_policy=FailurePolicy(strategy=strategy, max_retries=3, interval_s=1.0)))

    decision = run.fail(1)

    assert decision.timers == ()
    assert run.tasks == {1: FAILED}


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


# -- suspensions and children --------------------------------------------------------------------------------------


def test_a_suspended_task_decides_no_edge_and_suspends_the_execution():
    run = Run(make_task(1, next=(2,)), make_task(2))

    decision = run.suspend(1, ticket="T-1")

    assert decision.states == {1: SUSPENDED}
    assert decision.edges == {}
    assert decision.parameters == {"ticket": Value(DataType.STRING, "T-1")}
    assert run.state is ExecutionState.SUSPENDED


def test_a_task_that_waits_for_children_is_running_round_after_round():
    run = Run(make_task(1, next=(2,)), make_task(2))

    first, second = run.start_children(1), run.start_children(1)

    assert first.states == {1: IN_PROCESS}
    assert second.states == {}
    assert not second.is_late
    assert run.state is ExecutionState.PROCESSING
    run.succeed(1)
    assert run.ready == [2]


# -- the state of an execution -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kinds", "expected"),
    [
        ("ready suspended held", ExecutionState.PROCESSING),
        ("running suspended held", ExecutionState.PROCESSING),
        ("suspended held", ExecutionState.SUSPENDED),
        ("suspended over failed", ExecutionState.SUSPENDED),
        ("held over failed", ExecutionState.RETRY_ON_HOLD),
        ("over over", ExecutionState.SUCCEEDED),
    ],
)
def test_an_execution_is_processing_else_suspended_else_on_hold_else_over(kinds, expected):
    retried = [RETRY if kind == "held" else None for kind in kinds.split()]
    run = Run(*(make_task(number, failure_policy=policy) for number, policy in enumerate(retried, 1)))

    for number, kind in enumerate(kinds.split(), 1):
        if kind == "over":
            run.succeed(number)
        elif kind in ("held", "failed"):
            run.fail(number)
        elif kind == "suspended":
            run.suspend(number)
        elif kind == "running":
            run.start_children(number)

    assert run.state is expected


def test_a_due_retry_takes_a_suspended_execution_back_to_processing():
    run = Run(make_task(1), make_task(2, failure_policy=RETRY))
    run.suspend(1)
    run.fail(2)
    assert run.state is ExecutionState.SUSPENDED

    run.retry(2)

    assert run.state is ExecutionState.PROCESSING
    run.succeed(2, 2)
    assert run.state is ExecutionState.SUSPENDED


# The leaves 2 and 3 follow task 1; what they come to, and how the execution ends.
LEAVES = """
    succeed  succeed  SUCCEEDED
    succeed  skip     SUCCEEDED
    skip     skip     SUCCEEDED
    succeed  fail     FAILED
    skip     fail     FAILED
    fail     fail     FAILED
    succeed  ignore   SUCCEEDED
    skip     ignore   SUCCEEDED
    ignore   fail     FAILED
"""


@pytest.mark.parametrize("row", LEAVES.strip().splitlines())
def test_an_execution_fails_if_a_leaf_failed(row):
    *kinds, expected = row.split()
    leaves = [(number, kind) for number, kind in enumerate(kinds, 2)]
    run = Run(
        make_task(1, next=[(number, NEVER if kind == "skip" else "") for number, kind in leaves]),
        *(make_task(number, failure_policy=IGNORE if kind == "ignore" else None) for number, kind in leaves),
    )
    run.succeed(1)

    for number, kind in leaves:
        if kind == "succeed":
            run.succeed(number)
        elif kind != "skip":
            run.fail(number)

    assert run.state is ExecutionState(expected)


@pytest.mark.parametrize(
    ("leaf", "expected"),
    [
        ("succeed", ExecutionState.SUCCEEDED),
        ("ignore", ExecutionState.SUCCEEDED),
        ("skip", ExecutionState.FAILED),
    ],
)
def test_an_execution_in_which_something_failed_needs_a_leaf_that_succeeded(leaf, expected):
    run = Run(
        make_task(1, next=(3,)),
        make_task(2, next=((4, NEVER if leaf == "skip" else ""),)),
        make_task(3),
        make_task(4, failure_policy=IGNORE),
    )
    run.fail(1)

    run.succeed(2)
    if leaf == "succeed":
        run.succeed(4)
    elif leaf == "ignore":
        run.fail(4)

    assert run.state is expected


# -- stopping ------------------------------------------------------------------------------------------------------


def stopping(*more: TaskConfig, policy: FailurePolicy | None = None) -> Run:
    """Task 9 has failed fatally while task 1 was ready."""
    run = Run(make_task(1, next=(2,), failure_policy=policy), make_task(2), make_task(9, failure_policy=FATAL), *more)
    run.fail(9)
    return run


@pytest.mark.parametrize(("was_running", "expected"), [(False, SKIPPED), (True, CANCELLED)])
def test_a_stopped_task_is_skipped_before_its_code_started_and_cancelled_after(was_running, expected):
    run = stopping()

    decision = run.stop(1, was_running=was_running)

    assert decision.states == {1: expected}
    assert decision.edges == {(1, 2): False}
    assert run.state is ExecutionState.FAILED


def test_a_stopped_task_that_waited_for_children_is_cancelled():
    run = stopping()
    run.start_children(1)

    run.stop(1)

    assert run.tasks == {1: CANCELLED, 2: SKIPPED, 9: FATALLY}
    assert run.state is ExecutionState.FAILED


def test_a_retry_that_is_stopped_before_its_claim_is_cancelled_and_decides_its_edges():
    run = Run(make_task(1, next=(2,), failure_policy=RETRY), make_task(2), make_task(9, failure_policy=FATAL))
    run.fail(1)
    run.retry(1)
    run.fail(9)

    decision = run.stop(1, 2)

    assert decision.states == {1: CANCELLED}
    assert decision.edges == {(1, 2): False}
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


def test_a_stopping_execution_ends_with_its_last_running_task():
    run = Run(make_task(1), make_task(2), make_task(9, failure_policy=FATAL))
    run.fail(9)
    run.stop(1)
    assert run.state is ExecutionState.PROCESSING

    run.stop(2, was_running=True)

    assert run.state is ExecutionState.FAILED


def test_what_a_task_put_out_after_a_fatal_failure_is_kept_and_starts_nothing():
    run = stopping()

    decision = run.succeed(1, x=1)

    assert decision.parameters == {"x": Value(DataType.INT, 1)}
    assert decision.dispatch == ()
    assert run.tasks == {1: SUCCEED, 2: SKIPPED, 9: FATALLY}


def test_nothing_becomes_ready_in_an_execution_that_is_being_stopped():
    run = Run(make_task(1, next=(2,)), make_task(2, next=(3,)), make_task(3, join=ANY))
    run.progress = replace(run.progress, stopping=ExecutionState.CANCELLED)

    decision = run.succeed(1)

    assert decision.states == {1: SUCCEED, 2: SKIPPED, 3: SKIPPED}
    assert decision.dispatch == ()
    assert run.state is ExecutionState.CANCELLED


def test_what_waits_in_an_execution_that_is_being_stopped_is_skipped_without_waiting_for_its_other_parents():
    run = Run(make_task(1, next=(3,)), make_task(2, next=(3,)), make_task(3))
    run.progress = replace(run.progress, stopping=ExecutionState.CANCELLED)

    decision = run.succeed(1)

    assert decision.states == {1: SUCCEED, 3: SKIPPED}


# -- late events ---------------------------------------------------------------------------------------------------


def over() -> Run:
    run = Run(make_task(1, next=(2,)), make_task(2))
    run.succeed(1)
    return run


def held() -> Run:
    run = Run(make_task(1, failure_policy=RETRY))
    run.fail(1)
    return run


def retried() -> Run:
    run = held()
    run.retry(1)
    return run


def suspended() -> Run:
    run = Run(make_task(1))
    run.suspend(1)
    return run


def untouched() -> Run:
    return Run(make_task(2, next=(1,)), make_task(1))


BROKEN = ErrorInfo(message="broken")
OUTPUTS = {"x": Value(DataType.INT, 1)}


@pytest.mark.parametrize("arrange", [over, held, suspended, untouched])
@pytest.mark.parametrize(
    "event",
    [
        Succeeded(number=1, attempt=1, outputs=OUTPUTS),
        Failed(number=1, attempt=1, error=BROKEN),
        Suspended(number=1, attempt=1, outputs=OUTPUTS),
        ChildrenStarted(number=1, attempt=1),
        Stopped(number=1, attempt=1, was_running=True),
        Succeeded(number=77, attempt=1),
    ],
    ids=lambda event: f"{type(event).__name__}-{event.number}",
)
def test_an_outcome_of_a_task_that_is_not_running_is_late_and_changes_nothing(arrange, event):
    run = arrange()
    before = run.progress

    decision = run.tell(event)

    assert decision == Decision(progress=before, is_late=True)
    assert decision.progress is before


@pytest.mark.parametrize("attempt", [0, 1, 3])
def test_an_outcome_of_another_attempt_is_late(attempt):
    run = retried()

    decision = run.succeed(1, attempt, x=1)

    assert decision.is_late
    assert run.ready == [1]
    assert run.parameters.keys() == {ERROR_INFO}


@pytest.mark.parametrize(
    ("arrange", "attempt"), [(over, 1), (suspended, 1), (untouched, 1), (untouched, 0), (retried, 1), (held, 2)]
)
def test_a_timer_that_is_not_waited_for_is_late(arrange, attempt):
    run = arrange()
    before = run.progress

    decision = run.retry(1, attempt)

    assert decision == Decision(progress=before, is_late=True)


def test_a_late_success_does_not_revive_a_failed_execution():
    run = Run(make_task(1, next=(2,)), make_task(2))
    run.fail(1)

    decision = run.succeed(1)

    assert decision.is_late
    assert run.state is ExecutionState.FAILED


# -- a pure function -----------------------------------------------------------------------------------------------


def test_a_decision_leaves_what_it_was_given_untouched():
    run = Run(make_task(1, next=(2,), failure_policy=IGNORE), make_task(2), declared=[make_parameter(ERROR_MESSAGE)])
    before, parameters = run.progress, {"x": Value(DataType.INT, 1)}
    copied = deepcopy(before)

    decide(run.plan, before, Failed(number=1, attempt=1, error=BROKEN), parameters=parameters)

    assert before == copied
    assert parameters == {"x": Value(DataType.INT, 1)}
