"""Error catchers: what they take, when they are called, and what becomes of the execution."""

from __future__ import annotations

import pytest

from orchestrator.engine.failures import ERROR_INFO
from orchestrator.model.integration import JoinStrategy
from orchestrator.model.states import ExecutionState
from tests.unit.engine.runs import (
    FAILED,
    FATAL,
    FATALLY,
    IGNORE,
    NEVER,
    PENDING,
    RESTART,
    RETRY,
    SKIPPED,
    SUCCEED,
    Run,
)
from tests.unit.factories import make_catcher, make_parameter, make_task

CATCHER = make_catcher(starts=[8])  # its id is "catcher"


# -- who is called -------------------------------------------------------------------------------------------------


def test_a_failed_task_calls_the_error_catcher_that_it_names():
    run = Run(make_task(1, next=(2,), error_catcher_id="catcher"), make_task(2), make_task(8), catchers=[CATCHER])

    decision = run.fail(1)

    assert decision.states == {1: FAILED, 2: SKIPPED}
    assert decision.edges == {(1, 2): False, (-1, 8): True}
    assert run.status(1).is_caught
    assert run.ready == [8]
    over = run.succeed(8)
    assert over.edges == {}
    assert run.edges == {(0, 1): True, (1, 2): False, (-1, 8): True}
    assert run.state is ExecutionState.SUCCEEDED
    assert run.progress.error is None


def test_a_task_that_names_none_calls_the_error_catcher_of_the_trigger():
    run = Run(make_task(1), make_task(8), catchers=[CATCHER], caught_by="catcher")

    run.fail(1)

    assert run.dispatched == [(1, 1), (8, 1)]


def test_a_task_calls_its_own_error_catcher_and_not_that_of_the_trigger():
    run = Run(
        make_task(1, error_catcher_id="own"),
        make_task(8),
        make_task(9),
        catchers=[make_catcher("own", starts=[8]), make_catcher("trigger's", starts=[9])],
        caught_by="trigger's",
    )

    run.fail(1)

    assert run.ready == [8]
    run.succeed(8)
    assert run.tasks == {1: FAILED, 8: SUCCEED, 9: SKIPPED}
    assert run.state is ExecutionState.SUCCEEDED


def test_a_failure_that_nobody_catches_counts():
    run = Run(make_task(1), make_task(2, error_catcher_id="catcher"), make_task(8), catchers=[CATCHER])
    run.fail(1)

    run.succeed(2)

    assert run.tasks == {1: FAILED, 2: SUCCEED, 8: SKIPPED}
    assert run.state is ExecutionState.FAILED


def test_an_error_catcher_is_called_by_the_first_failure_and_takes_the_others_as_well():
    run = Run(make_task(1), make_task(2), make_task(3), make_task(8), catchers=[CATCHER], caught_by="catcher")
    run.fail(2)
    run.succeed(8)

    decision = run.fail(1)

    assert decision.dispatch == ()
    assert decision.edges == {}
    assert run.status(1).is_caught
    run.fail(3)
    assert run.dispatched == [(1, 1), (2, 1), (3, 1), (8, 1)]
    assert run.state is ExecutionState.SUCCEEDED


def test_two_error_catchers_are_called_each_by_its_own_tasks():
    run = Run(
        make_task(1, error_catcher_id="one"),
        make_task(2, error_catcher_id="two"),
        make_task(8),
        make_task(9),
        catchers=[make_catcher("one", starts=[8]), make_catcher("two", starts=[9])],
    )

    run.fail(2)

    assert run.ready == [1, 9]
    run.fail(1)
    assert run.ready == [8, 9]


@pytest.mark.parametrize("attempts", [1, 2])
def test_an_error_catcher_is_called_only_once_no_retry_is_left(attempts):
    run = Run(make_task(1, failure_policy=RETRY, error_catcher_id="catcher"), make_task(8), catchers=[CATCHER])
    for attempt in range(1, attempts + 1):
        run.fail(1, attempt)
        assert run.ready == []
        run.retry(1, attempt)
    if attempts == 1:
        run.succeed(1, 2)
        assert run.tasks[8] is SKIPPED
    else:
        run.fail(1, 3)
        assert run.ready == [8]


def test_an_ignored_failure_calls_no_error_catcher():
    run = Run(make_task(1, failure_policy=IGNORE, error_catcher_id="catcher"), make_task(8), catchers=[CATCHER])

    run.fail(1)

    assert not run.status(1).is_caught
    assert run.tasks == {1: FAILED, 8: SKIPPED}


def test_an_error_catcher_takes_no_fatal_failure():
    run = Run(make_task(1, failure_policy=FATAL), make_task(8), catchers=[CATCHER], caught_by="catcher")

    run.fail(1)

    assert run.tasks == {1: FATALLY, 8: SKIPPED}
    assert run.state is ExecutionState.FAILED


def test_a_failure_calls_its_error_catcher_once_no_restart_is_left():
    run = Run(make_task(1, failure_policy=RESTART, error_catcher_id="catcher"), make_task(8), catchers=[CATCHER])
    for attempt in (1, 2):
        run.fail(1, attempt)
        assert run.tasks[8] is PENDING
        run.restart(1, attempt)

    run.fail(1, 3)

    assert run.ready == [8]


def test_an_error_catcher_may_be_called_again_when_the_execution_has_begun_again():
    run = Run(
        make_task(1),
        make_task(2, failure_policy=RESTART),
        make_task(8),
        catchers=[CATCHER],
        caught_by="catcher",
    )
    run.fail(1)
    run.succeed(8)
    run.fail(2)
    run.restart(2)
    assert not run.status(1).is_caught

    run.fail(1, 2)

    assert run.dispatched[-1] == (8, 2)


# -- what the error catcher's tasks see ----------------------------------------------------------------------------


def test_conditions_of_an_error_catcher_see_the_failure():
    run = Run(
        make_task(1),
        make_task(8),
        make_task(9),
        catchers=[make_catcher(starts=[(8, "$`ErrorInfo.code`$ = 404"), (9, "$`ErrorInfo.message`$ : broken")])],
        caught_by="catcher",
        declared=[make_parameter("ErrorMessage")],
    )

    decision = run.fail(1, message="it is broken", code=500)

    assert decision.edges == {(-1, 8): False, (-1, 9): True}
    assert run.tasks[8] is SKIPPED
    assert run.ready == [9]
    assert run.parameters[ERROR_INFO].data == {"message": "it is broken", "code": 500}
    assert run.parameters["ErrorMessage"].data == "it is broken"


def test_an_error_catcher_follows_every_true_edge():
    run = Run(make_task(1), make_task(8), make_task(9), catchers=[make_catcher(starts=[8, 9])], caught_by="catcher")

    run.fail(1)

    assert run.ready == [8, 9]


def test_a_failure_is_taken_even_if_all_conditions_of_the_error_catcher_are_false():
    """It was asked, and has nothing to do for this one."""
    run = Run(
        make_task(1, next=(2,)),
        make_task(2),
        make_task(8, next=(9,)),
        make_task(9),
        catchers=[make_catcher(starts=[(8, NEVER)])],
        caught_by="catcher",
    )

    run.fail(1)

    assert run.tasks == {1: FAILED, 2: SKIPPED, 8: SKIPPED, 9: SKIPPED}
    assert run.status(1).is_caught
    assert run.state is ExecutionState.SUCCEEDED


def test_an_error_catcher_is_asked_once_even_if_its_conditions_would_be_true_for_a_later_failure():
    run = Run(
        make_task(1),
        make_task(2),
        make_task(8),
        catchers=[make_catcher(starts=[(8, "$`ErrorInfo.code`$ = 404")])],
        caught_by="catcher",
    )
    run.fail(1, code=500)

    decision = run.fail(2, code=404)

    assert decision.edges == {}
    assert run.tasks[8] is SKIPPED
    assert run.status(2).is_caught


def test_an_error_catcher_without_tasks_takes_failures_all_the_same():
    run = Run(make_task(1), make_task(2), catchers=[make_catcher()], caught_by="catcher")

    run.fail(1)
    run.fail(2)

    assert run.status(2).is_caught
    assert run.state is ExecutionState.SUCCEEDED


# -- the tasks of an error catcher ---------------------------------------------------------------------------------


@pytest.mark.parametrize("own", ["", "catcher", "other"])
def test_nobody_catches_the_failure_of_an_error_catchers_own_task(own):
    run = Run(
        make_task(1),
        make_task(7, error_catcher_id="other"),
        make_task(8, error_catcher_id=own),
        make_task(9),
        catchers=[CATCHER, make_catcher("other", starts=[9])],
        starts=[1, 7],
        caught_by="catcher",
    )
    run.succeed(7)
    run.fail(1)

    run.fail(8, message="it broke as well")

    assert run.tasks == {1: FAILED, 7: SUCCEED, 8: FAILED, 9: SKIPPED}
    assert not run.status(8).is_caught
    assert run.progress.error is not None
    assert run.progress.error.message == "it broke as well"
    assert run.state is ExecutionState.FAILED


def test_tasks_of_an_error_catcher_that_nobody_called_are_skipped_at_the_end():
    run = Run(
        make_task(1, next=(2,)),
        make_task(2),
        make_task(8, next=(9,)),
        make_task(9),
        catchers=[make_catcher(starts=[8])],
        caught_by="catcher",
    )
    run.succeed(1)
    assert run.tasks[8] is PENDING

    decision = run.succeed(2)

    assert decision.states == {2: SUCCEED, 8: SKIPPED, 9: SKIPPED}
    assert decision.edges == {(-1, 8): False, (8, 9): False}
    assert run.state is ExecutionState.SUCCEEDED


@pytest.mark.parametrize("waits", ["suspended", "held"])
def test_an_error_catcher_is_not_passed_over_while_something_may_still_fail(waits):
    run = Run(make_task(1, failure_policy=RETRY), make_task(8), catchers=[CATCHER], caught_by="catcher")

    if waits == "held":
        run.fail(1)
    else:
        run.suspend(1)

    assert run.tasks[8] is PENDING


def test_an_execution_whose_start_conditions_are_all_false_passes_its_error_catchers_over():
    run = Run(make_task(1), make_task(8), starts=[(1, NEVER)], catchers=[CATCHER], caught_by="catcher")

    assert run.tasks == {1: SKIPPED, 8: SKIPPED}
    assert run.state is ExecutionState.SUCCEEDED


def test_an_uncaught_leaf_that_failed_counts_whatever_an_error_catcher_did():
    run = Run(make_task(1), make_task(2, error_catcher_id="catcher"), make_task(8), catchers=[CATCHER])
    run.fail(1)
    run.fail(2)

    run.succeed(8)

    assert run.state is ExecutionState.FAILED


def test_a_leaf_whose_failure_was_caught_has_not_failed():
    """Task 1's failure counts, and another leaf has succeeded to make up for it."""
    run = Run(
        make_task(1, next=(2,)),
        make_task(2),
        make_task(3, error_catcher_id="catcher"),
        make_task(8),
        catchers=[CATCHER],
    )
    run.fail(1)
    run.fail(3)

    run.succeed(8)

    assert run.state is ExecutionState.SUCCEEDED


def test_a_leaf_whose_failure_was_caught_has_not_succeeded():
    """Task 1's failure counts, and no leaf has succeeded to make up for it."""
    run = Run(
        make_task(1, next=(2,)),
        make_task(2),
        make_task(3, error_catcher_id="catcher"),
        make_task(8),
        catchers=[make_catcher(starts=[(8, NEVER)])],
    )
    run.fail(1)

    run.fail(3)

    assert run.state is ExecutionState.FAILED


# -- where an error catcher meets the main graph -------------------------------------------------------------------


@pytest.mark.parametrize("fails", [True, False])
def test_a_task_may_follow_both_the_main_graph_and_an_error_catcher(fails):
    """Something to tidy up with, either way. It waits for the error catcher, until nobody can call that any more."""
    run = Run(
        make_task(1, next=(3,), error_catcher_id="catcher"),
        make_task(3),
        make_task(8, next=(3,)),
        catchers=[CATCHER],
    )

    if fails:
        run.fail(1)
        assert run.ready == [8]
        run.succeed(8)
    else:
        run.succeed(1)

    assert run.ready == [3]
    run.succeed(3)
    assert run.tasks == {1: FAILED if fails else SUCCEED, 3: SUCCEED, 8: SUCCEED if fails else SKIPPED}
    assert run.state is ExecutionState.SUCCEEDED


def test_a_join_that_needs_an_error_catcher_is_skipped_where_nobody_called_it():
    run = Run(
        make_task(1, next=(3,), error_catcher_id="catcher"),
        make_task(3, join=JoinStrategy.WHEN_ALL_TASKS_AND_CONDITIONS_SUCCEED),
        make_task(8, next=(3,)),
        catchers=[CATCHER],
    )

    run.succeed(1)

    assert run.tasks == {1: SUCCEED, 3: SKIPPED, 8: SKIPPED}
    assert run.state is ExecutionState.SUCCEEDED


@pytest.mark.parametrize("own", ["", "catcher", "other"])
@pytest.mark.parametrize("is_called", [True, False])
def test_the_failure_of_a_task_that_an_error_catcher_leads_to_counts(own, is_called):
    """It may run because its error catcher was passed over. That would hide the failure: nobody would be told of it."""
    run = Run(
        make_task(1, next=(3,)),
        make_task(2, error_catcher_id="other"),
        make_task(3, error_catcher_id=own),
        make_task(8, next=(3,)),
        make_task(9),
        starts=[1, 2],
        catchers=[CATCHER, make_catcher("other", starts=[9])],
        caught_by="catcher",
    )
    run.succeed(2)
    if is_called:
        run.fail(1)
        run.succeed(8)
    else:
        run.succeed(1)

    run.fail(3, message="the last one")

    assert not run.status(3).is_caught
    assert run.tasks[9] is SKIPPED
    assert run.progress.error is not None
    assert run.progress.error.message == "the last one"
    assert run.state is ExecutionState.FAILED


def test_an_error_catcher_may_lead_back_into_the_main_graph():
    run = Run(
        make_task(1, next=(2,), error_catcher_id="catcher"),
        make_task(2, next=(3,)),
        make_task(3),
        starts=[1],
        catchers=[make_catcher(starts=[3])],
    )

    run.fail(1)

    assert run.tasks[2] is SKIPPED
    assert run.ready == [3]
