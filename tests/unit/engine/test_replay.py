"""What a replay reuses and what runs again: one example for every rule in the header of ``engine.replay``."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from orchestrator.engine.events import Started
from orchestrator.engine.progress import Progress, TaskStatus, pack, unpack
from orchestrator.engine.replay import (
    Change,
    Reason,
    changes_of,
    is_failure_point,
    kept_changes,
    results_of,
    reuse_nothing,
    reuse_what_succeeded,
    start_of,
    to_details,
)
from orchestrator.model.history import Entry, EntryKind
from orchestrator.model.integration import ForkPolicy, JoinStrategy, TaskConfig
from orchestrator.model.states import ExecutionState
from orchestrator.model.values import Value, from_python
from tests.unit.engine.runs import FAILED, FATAL, IGNORE, NEVER, PENDING, RESTART, SKIPPED, SUCCEED, UNDONE, Run
from tests.unit.factories import make_catcher, make_rollback, make_task

ANY = JoinStrategy.WHEN_ANY_SUCCEED
ALL = JoinStrategy.WHEN_ALL_SUCCEED
ALL_TRUE = JoinStrategy.WHEN_ALL_TASKS_AND_CONDITIONS_SUCCEED
NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)


def replayed(old: Run, *tasks: TaskConfig, **more: Any) -> tuple[Run, dict[int, Reason]]:
    """A run that repeats another one from its failure points, just started; and what runs again, and why.

    ``tasks`` and ``more`` are another version; without them it is the same one.
    """
    new = Run(*(tasks or old.plan.version.tasks), is_started=False, **more)
    if not tasks:
        new.plan = old.plan
    reuse = reuse_what_succeeded(old.plan, old.progress, new.plan)
    new.progress = reuse.progress
    new.parameters |= old.parameters
    new.tell(Started())
    return new, dict(reuse.again)


def chain(*numbers: int, **more: Any) -> list[TaskConfig]:
    """Each leads to the next; ``t2={...}`` says more of task 2."""
    following = dict(itertools.pairwise(numbers))
    return [
        make_task(number, next=(following[number],) if number in following else (), **more.get(f"t{number}", {}))
        for number in numbers
    ]


def diamond(join: JoinStrategy = ALL, *, left: str = "", right: str = "") -> list[TaskConfig]:
    """1 leads to 2 and 3, both lead to 4."""
    return [
        make_task(1, next=((2, left), (3, right))),
        make_task(2, next=(4,)),
        make_task(3, next=(4,)),
        make_task(4, join=join),
    ]


# -- what runs again -----------------------------------------------------------------------------------------------


def test_a_chain_goes_on_with_the_task_that_failed():
    old = Run(*chain(1, 2, 3))
    old.succeed(1)
    old.fail(2)

    new, again = replayed(old)

    assert again == {2: Reason.FAILED, 3: Reason.FOLLOWS}
    assert new.tasks == {1: SUCCEED, 2: PENDING, 3: PENDING}
    assert new.dispatched == [(2, 1)]
    assert new.state is ExecutionState.PROCESSING


def test_what_is_reused_was_not_tried_in_the_new_execution():
    old = Run(*chain(1, 2))
    old.succeed(1)
    old.fail(2)

    new, _ = replayed(old)

    assert new.status(1) == TaskStatus(SUCCEED, 0)


def test_the_new_execution_succeeds_once_what_failed_has():
    old = Run(*chain(1, 2, 3))
    old.succeed(1)
    old.fail(2)
    new, _ = replayed(old)

    new.succeed(2)
    new.succeed(3)

    assert new.state is ExecutionState.SUCCEEDED
    assert new.progress.error is None


def test_the_other_branch_of_a_diamond_is_kept_and_counts_in_the_join():
    old = Run(*diamond())
    old.succeed(1)
    old.succeed(2)
    old.fail(3)
    assert old.tasks[4] is not SKIPPED  # one true edge is enough: it ran without task 3
    old.succeed(4)

    new, again = replayed(old)

    assert again == {3: Reason.FAILED, 4: Reason.FOLLOWS}
    assert new.ready == [3]
    new.succeed(3)
    assert new.ready == [4]


def test_a_join_of_any_that_went_ahead_without_the_failed_branch_runs_again_at_once():
    old = Run(*diamond(ANY))
    old.succeed(1)
    old.succeed(2)
    old.succeed(4)
    old.fail(3)

    new, again = replayed(old)

    assert again == {3: Reason.FAILED, 4: Reason.FOLLOWS}
    assert new.ready == [3, 4]


def test_a_join_of_all_conditions_waits_for_what_runs_again():
    old = Run(*diamond(ALL_TRUE))
    old.succeed(1)
    old.succeed(2)
    old.fail(3)

    new, _ = replayed(old)
    new.succeed(3)

    assert new.ready == [4]


def test_a_failure_that_was_ignored_is_kept():
    old = Run(*chain(1, 2, 3, t1={"failure_policy": IGNORE}))
    old.fail(1)
    old.succeed(2)
    old.fail(3)

    new, again = replayed(old)

    assert again == {3: Reason.FAILED}
    assert new.status(1) == TaskStatus(FAILED, 0, is_ignored=True)
    new.succeed(3)
    assert new.state is ExecutionState.SUCCEEDED


def test_what_conditions_skipped_stays_so_with_all_below_it():
    tasks = [make_task(1, next=((2, NEVER), 4)), *chain(2, 3), make_task(4)]
    old = Run(*tasks)
    old.succeed(1)
    old.fail(4)

    new, again = replayed(old)

    assert again == {4: Reason.FAILED}
    assert new.tasks == {1: SUCCEED, 2: SKIPPED, 3: SKIPPED, 4: PENDING}


def test_what_was_skipped_for_the_failure_runs_again():
    old = Run(*chain(1, 2, 3))
    old.fail(1)

    new, again = replayed(old)

    assert again == {1: Reason.FAILED, 2: Reason.FOLLOWS, 3: Reason.FOLLOWS}
    assert new.ready == [1]


def test_a_branch_that_a_fatal_failure_cut_off_goes_on_where_it_was():
    """Task 2 succeeded after the other branch had stopped the execution, so task 3 was never reached."""
    old = Run(*chain(1, 2, 3), make_task(4, failure_policy=FATAL), starts=(1, 4))
    old.succeed(1)
    old.fail(4)
    old.succeed(2)
    assert old.tasks[3] is SKIPPED

    new, again = replayed(old)

    assert again == {3: Reason.NOT_REACHED, 4: Reason.FAILED}
    assert new.ready == [3, 4]


def test_a_task_that_was_ready_when_the_execution_was_killed_runs():
    old = Run(*chain(1, 2))
    old.succeed(1)
    old.kill()
    old.stop(2)
    assert old.tasks[2] is SKIPPED

    new, again = replayed(old)

    assert again == {2: Reason.NOT_REACHED}
    assert new.dispatched == [(2, 1)]


def test_a_task_whose_code_was_ended_runs_again():
    old = Run(*chain(1, 2))
    old.kill()
    old.stop(1, was_running=True)

    new, again = replayed(old)

    assert again == {1: Reason.CANCELLED, 2: Reason.FOLLOWS}
    assert new.ready == [1]


def test_what_was_rolled_back_runs_again_with_all_that_followed():
    old = Run(*chain(1, 2, 3, 4, t2={"rollback": make_rollback()}, t4={"failure_policy": FATAL}))
    for number in (1, 2, 3):
        old.succeed(number)
    old.fail(4)
    old.succeed(2, 2)
    assert old.tasks[2] is UNDONE

    new, again = replayed(old)

    assert again == {2: Reason.UNDONE, 3: Reason.FOLLOWS, 4: Reason.FAILED}
    assert new.dispatched == [(2, 1)]


def test_an_execution_that_was_killed_before_it_began_runs_from_its_trigger():
    old = Run(*chain(1, 2), is_started=False)
    old.kill()
    assert old.state is ExecutionState.CANCELLED

    new, again = replayed(old)

    assert set(again) == {1, 2}
    assert new.ready == [1]


def test_a_killed_execution_in_which_nothing_is_missing_has_succeeded_when_it_is_replayed():
    """The kill came while the last task ran, which succeeded all the same."""
    old = Run(*chain(1))
    old.kill()
    old.succeed(1)
    assert old.state is ExecutionState.CANCELLED

    new, again = replayed(old)

    assert again == {}
    assert new.dispatched == []
    assert new.state is ExecutionState.SUCCEEDED


def test_attempts_of_runs_before_a_restart_are_not_counted_on():
    old = Run(*chain(1, 2, t2={"failure_policy": RESTART}))
    old.succeed(1)
    old.fail(2)
    old.restart(2)
    old.succeed(1, 2)
    old.fail(2, 2)
    old.restart(2, 2)
    old.succeed(1, 3)
    old.fail(2, 3)
    assert old.state is ExecutionState.FAILED

    new, _ = replayed(old)

    assert new.dispatched == [(2, 1)]
    assert (new.progress.run, new.progress.bases) == (1, {})


def test_a_restart_within_a_replay_takes_the_reused_tasks_back():
    old = Run(*chain(1, 2, t2={"failure_policy": RESTART}))
    old.succeed(1)
    old.kill()
    old.stop(2, was_running=True)
    new, _ = replayed(old)

    new.fail(2)
    new.restart(2)

    assert new.tasks == {1: PENDING, 2: PENDING}
    assert new.dispatched == [(2, 1), (1, 1)]


def test_a_rollback_within_a_replay_undoes_reused_tasks_too():
    old = Run(*chain(1, 2, t1={"rollback": make_rollback()}, t2={"failure_policy": FATAL}))
    old.succeed(1)
    old.kill()
    old.stop(2, was_running=True)
    new, _ = replayed(old)

    new.fail(2)

    assert new.undoing == [1]
    assert new.dispatched == [(2, 1), (1, 1)]


# -- error catchers ------------------------------------------------------------------------------------------------


def caught(*tasks: TaskConfig) -> Run:
    """Task 1 is taken care of by task 8; the other tasks stand beside them."""
    return Run(
        make_task(1, error_catcher_id="catcher"),
        make_task(8),
        *tasks,
        starts=(1, 2),
        catchers=[make_catcher(starts=(8,))],
    )


def test_a_failure_that_an_error_catcher_took_is_kept_with_what_the_catcher_did():
    old = caught(make_task(2))
    old.fail(1)
    old.succeed(8)
    old.fail(2)

    new, again = replayed(old)

    assert again == {2: Reason.FAILED}
    assert new.status(1) == TaskStatus(FAILED, 0, is_caught=True)
    assert new.tasks[8] is SUCCEED
    new.succeed(2)
    assert new.state is ExecutionState.SUCCEEDED


def test_what_failed_within_an_error_catcher_runs_again_without_the_failure_that_called_it():
    old = caught(make_task(2))
    old.fail(1)
    old.fail(8)
    old.succeed(2)

    new, again = replayed(old)

    assert again == {8: Reason.FAILED}
    assert new.ready == [8]


def test_an_error_catcher_that_nobody_called_can_be_called():
    old = caught(make_task(2, error_catcher_id="catcher", failure_policy=FATAL))
    old.succeed(1)
    old.fail(2)
    assert old.tasks[8] is SKIPPED
    tasks = [*old.plan.version.tasks[:2], make_task(2, error_catcher_id="catcher")]

    new, again = replayed(old, *tasks, starts=(1, 2), catchers=old.plan.version.error_catchers)

    assert again[2] is Reason.FAILED
    new.fail(2)
    assert new.ready == [8]


def test_an_error_catcher_that_nobody_calls_in_the_replay_either_is_skipped_at_the_end():
    old = caught(make_task(2, next=(3,)), make_task(3))
    old.succeed(1)
    old.succeed(2)
    old.fail(3)

    new, again = replayed(old)
    new.succeed(3)

    assert again == {3: Reason.FAILED, 8: Reason.CATCHES}
    assert new.tasks[8] is SKIPPED
    assert new.state is ExecutionState.SUCCEEDED


def test_an_error_catcher_is_called_anew_if_the_failure_that_called_it_may_be_another_one():
    """Task 3 failed and was caught; it follows task 2, which runs again."""
    old = Run(
        make_task(1, next=(3,)),
        make_task(2, next=(3,)),
        make_task(3, join=ANY, error_catcher_id="catcher"),
        make_task(8, next=(9,)),
        make_task(9),
        starts=(1, 2),
        catchers=[make_catcher(starts=(8,))],
    )
    old.succeed(1)
    old.fail(3)
    old.succeed(8)
    old.succeed(9)
    old.fail(2)
    assert old.state is ExecutionState.SUCCEEDED

    new, again = replayed(old)

    assert again == {2: Reason.FAILED, 3: Reason.FOLLOWS, 8: Reason.CATCHES, 9: Reason.FOLLOWS}
    assert new.ready == [2, 3]
    new.fail(3)
    assert new.ready == [2, 8]


# -- another version -----------------------------------------------------------------------------------------------


def test_a_task_whose_config_has_changed_runs_again_with_all_that_follows():
    old = Run(*chain(1, 2, 3, 4))
    for number in (1, 2, 3):
        old.succeed(number)
    old.fail(4)

    new, again = replayed(old, *chain(1, 2, 3, 4, t2={"timeout_ms": 1000}))

    assert again == {2: Reason.CHANGED, 3: Reason.FOLLOWS, 4: Reason.FAILED}
    assert new.ready == [2]


def test_another_label_or_description_changes_nothing():
    old = Run(*chain(1, 2))
    old.succeed(1)
    old.fail(2)
    first, second = chain(1, 2, t1={"display_name": "One", "description": "the first"})
    first = replace(first, next_tasks=tuple(replace(each, display_name="on") for each in first.next_tasks))

    new, again = replayed(old, first, second)

    assert again == {2: Reason.FAILED}
    assert new.ready == [2]


def test_a_new_task_runs_and_what_it_leads_to_runs_again():
    old = Run(make_task(1), *chain(2, 3))
    old.succeed(1)
    old.succeed(2)
    old.fail(3)

    new, again = replayed(old, make_task(1), *chain(2, 3), *chain(4, 5))

    assert again == {3: Reason.FAILED, 4: Reason.NEW, 5: Reason.NEW}
    assert new.ready == [3, 4]


def test_a_task_loses_its_result_with_a_task_that_led_to_it():
    """Its join is another one now, and what the missing task put out is not there."""
    old = Run(make_task(1, next=(3,)), make_task(2, next=(3,)), make_task(3, next=(4,)), make_task(4))
    for number in (1, 2, 3):
        old.succeed(number)
    old.fail(4)

    new, again = replayed(old, make_task(1, next=(3,)), *chain(3, 4))

    assert again == {3: Reason.CHANGED, 4: Reason.FAILED}
    assert new.tasks[1] is SUCCEED
    assert new.ready == [3]


def test_a_start_task_with_another_condition_runs_if_that_holds_now():
    old = Run(*chain(1, 2), make_task(3), starts=(1, (3, NEVER)))
    old.succeed(1)
    old.fail(2)

    new, again = replayed(old, *chain(1, 2), make_task(3), starts=(1, (3, "$go$ != never")), parameters={"go": "now"})

    assert again == {2: Reason.FAILED, 3: Reason.CHANGED}
    assert new.ready == [2, 3]


def test_start_tasks_of_which_another_one_is_the_first_match_are_chosen_anew():
    starts, first = ((1, "$a$ = 1"), 2), ForkPolicy.RUN_FIRST_MATCH
    old = Run(make_task(1), make_task(2), starts=starts, fork=first, parameters={"a": 1})
    old.fail(1)
    assert old.tasks[2] is SKIPPED

    new, _ = replayed(old, *chain(1), *chain(2), starts=((2, ""), *starts[:1]), fork=first, parameters={"a": 1})

    assert new.ready == [2]
    assert new.tasks == {1: SKIPPED, 2: PENDING}


def test_decided_start_edges_stay_decided():
    """As for every edge: what comes before the failure points is not chosen again, whatever the parameters are now."""
    old = Run(make_task(1), make_task(2), starts=((1, "$a$ = 1"), (2, "$a$ != 1")), parameters={"a": 1})
    old.fail(1)

    new, again = replayed(old)
    other = Run(*old.plan.version.tasks, is_started=False, parameters={"a": 2})
    other.plan, other.progress = old.plan, reuse_what_succeeded(old.plan, old.progress, old.plan).progress
    other.tell(Started())

    assert again == {1: Reason.FAILED}
    assert new.tasks == other.tasks == {1: PENDING, 2: SKIPPED}


# -- failure points ------------------------------------------------------------------------------------------------


def test_an_execution_that_succeeded_has_no_failure_point():
    old = Run(*chain(1, 2))
    old.succeed(1)
    old.succeed(2)

    assert not is_failure_point(old.plan, old.progress)


def test_a_failure_that_did_not_count_in_the_end_is_a_failure_point_nevertheless():
    old = Run(*diamond())
    old.succeed(1)
    old.succeed(2)
    old.fail(3)
    old.succeed(4)

    assert old.state is ExecutionState.SUCCEEDED
    assert is_failure_point(old.plan, old.progress)


def test_from_the_beginning_everything_runs_again():
    old = Run(*chain(1, 2))

    reuse = reuse_nothing(old.plan)

    assert reuse.progress == Progress()
    assert reuse.again == {1: Reason.BEGINNING, 2: Reason.BEGINNING}


def test_what_a_replay_begins_with_can_be_stored_and_begun_later():
    old = Run(*diamond(left=NEVER), parameters={"go": "on"})
    old.succeed(1)
    old.fail(3)
    reuse = reuse_what_succeeded(old.plan, old.progress, old.plan)

    read = unpack(old.plan, pack(old.plan, reuse.progress), ExecutionState.PENDING)

    assert read == reuse.progress


def test_the_start_tells_of_everything_that_is_over():
    old = Run(*diamond(ALL_TRUE, left=NEVER))
    old.succeed(1)
    old.fail(3)
    new, _ = replayed(old)

    start = start_of(new.plan, new.progress)

    assert start.states == {1: SUCCEED, 2: SKIPPED}
    assert start.edges == {(0, 1): True, (1, 2): False, (1, 3): True, (2, 4): False}


# -- parameters ----------------------------------------------------------------------------------------------------


def values(**data: Any) -> dict[str, Value]:
    return {key: from_python(content, key) for key, content in data.items()}


def entry(number: int, kind: EntryKind = EntryKind.SUCCEEDED, **more: Any) -> Entry:
    return Entry(kind=kind, task_number=number, attempt=1, started_at=NOON, ended_at=NOON, **more)


def kept(entries: Iterable[Entry], *reused: int, given: Iterable[str] = ()) -> dict[str, Any]:
    changes = kept_changes(changes_of(entries), reused=set(reused), given=set(given))
    return {key: value.python for key, value in results_of(changes).items()}


def test_only_what_reused_tasks_put_out_is_taken_over():
    history = [entry(1, parameters=values(a=1)), entry(2, parameters=values(b=2)), entry(3, parameters=values(c=3))]

    assert kept(history, 1, 3) == {"a": 1, "c": 3}


def test_of_several_the_last_reused_task_that_put_it_out_counts():
    history = [entry(1, parameters=values(a=1)), entry(2, parameters=values(a=2)), entry(3, parameters=values(a=3))]

    assert kept(history, 1, 2) == {"a": 2}


def test_what_was_put_out_before_a_restart_is_gone():
    history = [entry(1, parameters=values(a=1)), entry(0, EntryKind.RESTARTED), entry(1, parameters=values(b=2))]

    assert kept(history, 1) == {"b": 2}


def test_a_parameter_that_is_handed_in_stands_over_the_result_of_a_reused_task():
    history = [entry(1, parameters=values(a=1, b=2))]

    assert kept(history, 1, given=["a"]) == {"b": 2}


@pytest.mark.parametrize(
    ("reused", "expected"), [((1, 2), {"a": 2, "b": 1}), ((1,), {"a": 1, "b": 1}), ((2,), {"a": 2})]
)
def test_a_replay_of_a_replay_knows_which_task_had_put_out_what(reused, expected):
    first = kept_changes(
        changes_of([entry(1, parameters=values(a=1, b=1)), entry(2, parameters=values(a=2))]),
        reused={1, 2},
        given=(),
    )
    begun = entry(0, EntryKind.REPLAYED, parameters=results_of(first), details=to_details(first))
    read = Entry.from_json(begun.to_json())

    assert kept([read], *reused) == expected


def test_a_value_is_told_once_where_nothing_came_after_it():
    changes = [Change(number=1, parameters=values(a=1)), Change(number=2, parameters=values(a=2, b="x"))]

    assert to_details(changes) == {"changes": [[1, {"a": {"intValue": "1"}}], [2, {"a": None, "b": None}]]}
    assert to_details([]) == {}


def test_a_version_of_other_tasks_alone_reuses_nothing():
    old = Run(make_task(1))
    old.fail(1)

    new, again = replayed(old, make_task(2))

    assert again == {2: Reason.NEW}
    assert new.ready == [2]
