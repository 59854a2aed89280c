"""One example for every rule in the header of ``decide`` and every row of DESIGN section 5: the graph, its end, order.

What a failure leads to is in test_failures; stopping, restarts, rollbacks, catchers and suspensions have modules too.
"""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace

import pytest

from orchestrator.engine.decide import decide
from orchestrator.engine.events import (
    ChildrenStarted,
    DeadlinePassed,
    Event,
    Failed,
    Killed,
    Lifted,
    Rejected,
    RestartDue,
    RetryDue,
    Returned,
    Started,
    Stopped,
    Succeeded,
    Suspended,
)
from orchestrator.engine.failures import ERROR_MESSAGE
from orchestrator.errors import IllegalArrow
from orchestrator.model.history import ErrorInfo
from orchestrator.model.integration import ForkPolicy, JoinStrategy, TaskConfig
from orchestrator.model.states import ExecutionState
from orchestrator.model.values import DataType, Value
from tests.unit.engine.runs import FATAL, IGNORE, NEVER, PENDING, RESTART, RETRY, SKIPPED, SUCCEED, Run
from tests.unit.factories import make_parameter, make_rollback, make_task

ALL = JoinStrategy.WHEN_ALL_SUCCEED
ANY = JoinStrategy.WHEN_ANY_SUCCEED
ALL_TRUE = JoinStrategy.WHEN_ALL_TASKS_AND_CONDITIONS_SUCCEED
FIRST = ForkPolicy.RUN_FIRST_MATCH


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
    run = Run(make_task(1, next=((3, NEVER), 4, 2, 5), fork=FIRST), *map(make_task, (2, 3, 4, 5)))

    run.succeed(1)

    assert run.dispatched == [(1, 1), (4, 1)]
    assert run.edges == {(0, 1): True, (1, 3): False, (1, 4): True, (1, 2): False, (1, 5): False}
    assert run.tasks == {1: SUCCEED, 2: SKIPPED, 3: SKIPPED, 4: PENDING, 5: SKIPPED}


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


# -- before the first claim ----------------------------------------------------------------------------------------
# The store keeps an execution PENDING until a worker has claimed a task; an event may come before that.


def unclaimed(*tasks: TaskConfig) -> Run:
    run = Run(*tasks)
    run.progress = replace(run.progress, state=ExecutionState.PENDING)
    return run


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        (None, ExecutionState.FAILED),
        (FATAL, ExecutionState.FAILED),
        (IGNORE, ExecutionState.SUCCEEDED),
        (RETRY, ExecutionState.RETRY_ON_HOLD),
        (RESTART, ExecutionState.RETRY_ON_HOLD),
    ],
)
def test_a_failure_before_the_first_claim_counts_like_any_other(policy, expected):
    """Nobody took it from the queue in time."""
    run = unclaimed(make_task(1, failure_policy=policy))

    run.fail(1, code="QUEUE_TIMEOUT")

    assert run.state is expected


def test_what_happens_before_the_first_claim_takes_the_execution_on_to_processing():
    run = unclaimed(make_task(1, next=(3,)), make_task(2), make_task(3))

    run.fail(2)

    assert run.state is ExecutionState.PROCESSING
    assert run.ready == [1]


# -- a pure function -----------------------------------------------------------------------------------------------

BROKEN = ErrorInfo(message="broken")
OUTPUTS = {"x": Value(DataType.INT, 1)}


@pytest.mark.parametrize(
    "event",
    [
        Succeeded(number=1, attempt=1, outputs=OUTPUTS),
        Failed(number=1, attempt=1, error=BROKEN),
        Failed(number=2, attempt=1, error=BROKEN),
        Failed(number=3, attempt=1, error=BROKEN),
        Suspended(number=1, attempt=1, outputs=OUTPUTS),
        ChildrenStarted(number=1, attempt=1),
        Stopped(number=1, attempt=1, was_running=True),
        Returned(number=1, attempt=1),
        RetryDue(number=4, attempt=1),
        Lifted(number=5, attempt=1, outputs=OUTPUTS),
        Rejected(number=5, attempt=1, error=BROKEN),
        Killed(rolls_back=True),
        DeadlinePassed(error=BROKEN),
    ],
    ids=lambda event: type(event).__name__,
)
def test_a_decision_leaves_what_it_was_given_untouched(event):
    run = Run(
        make_task(1, next=(7,), failure_policy=IGNORE),
        make_task(2, failure_policy=FATAL),
        make_task(3, failure_policy=RESTART),
        make_task(4, failure_policy=RETRY),
        make_task(5),
        make_task(6, rollback=make_rollback()),
        make_task(7),
        declared=[make_parameter(ERROR_MESSAGE)],
    )
    run.fail(4)
    run.suspend(5)
    run.succeed(6)
    assert_is_pure(run, event)


def test_beginning_again_leaves_what_it_was_given_untouched():
    run = Run(make_task(1, next=(2,)), make_task(2, failure_policy=RESTART))
    run.succeed(1)
    run.fail(2)
    assert_is_pure(run, RestartDue(number=2, attempt=1, parameters=OUTPUTS))


def test_undoing_leaves_what_it_was_given_untouched():
    run = Run(make_task(1, rollback=make_rollback(RETRY)), make_task(2, failure_policy=FATAL))
    run.succeed(1)
    run.fail(2)
    assert_is_pure(run, Failed(number=1, attempt=2, error=BROKEN))


def assert_is_pure(run: Run, event: Event) -> None:
    before, parameters = run.progress, dict(run.parameters)
    copied = deepcopy(before)

    first = decide(run.plan, before, event, parameters=parameters)
    again = decide(run.plan, before, event, parameters=parameters)

    assert not first.is_late
    assert first == again
    assert before == copied
    assert parameters == run.parameters
