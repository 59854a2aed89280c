"""Replays of random executions on random graphs: whatever became of one, its replay can begin, and come to an end."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.engine.decide import decide
from orchestrator.engine.events import (
    Event,
    Failed,
    Killed,
    Lifted,
    Rejected,
    RestartDue,
    RetryDue,
    Started,
    Stopped,
    Succeeded,
    Suspended,
)
from orchestrator.engine.plan import TRIGGER, Plan, make_plan
from orchestrator.engine.progress import Progress, TaskStatus, pack, unpack
from orchestrator.engine.replay import Reason, Reuse, is_failure_point, reuse_what_succeeded, start_of
from orchestrator.model.history import ErrorInfo
from orchestrator.model.integration import IntegrationVersion, JoinStrategy, NextTask
from orchestrator.model.states import ExecutionState, TaskState
from orchestrator.model.values import DataType, Value
from tests.unit.engine.random_flows import PROPERTY, flows, orders
from tests.unit.factories import make_catcher, make_rollback, make_task

MOST_EVENTS = 2_000
ENDED_WELL = ("succeed",)
ENDED_ANYHOW = ("succeed", "succeed", "succeed", "fail", "suspend")

# -- what is replayed ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True, slots=True)
class Over:
    """An execution that is over."""

    plan: Plan
    progress: Progress
    parameters: Mapping[str, Value]


@st.composite
def executions(draw: st.DrawFn) -> Over:
    """How a random execution ended; a third of them has error catchers or rollbacks beside all else."""
    flow, order = draw(flows()), draw(orders)
    plan = draw(st.just(flow.plan) | st.builds(_with_more, st.just(flow.plan), orders))
    progress, parameters = play_on(plan, Progress(), {}, order, outcomes=ENDED_ANYHOW, killed_at=order.randrange(200))
    return Over(plan=plan, progress=progress, parameters=parameters)


def _with_more(plan: Plan, order: Random) -> Plan:
    """The same with two error catchers, some rollbacks, and a task or two that only a catcher leads to."""
    starts = [NextTask(number=number) for number in (101, *order.sample(plan.numbers, min(2, len(plan.numbers))))]
    catchers = (make_catcher("one", starts=starts), make_catcher("two", starts=[102]))
    tasks = [
        replace(
            config,
            error_catcher_id=order.choice(("", "", "one", "two")),
            rollback=make_rollback() if order.random() < 0.3 else None,
        )
        for config in plan.version.tasks
    ]
    tasks += [make_task(101, next=(102,)), make_task(102)]
    # The start tasks as they are: by default they would be others, now that an error catcher leads to some.
    edges = tuple(
        NextTask(number=e.target, condition=e.condition.text if e.condition else "") for e in plan.start_edges
    )
    trigger = replace(plan.trigger, start_tasks=edges, error_catcher_id=order.choice(("", "two")))
    version = replace(plan.version, tasks=tuple(tasks), triggers=(trigger,), error_catchers=catchers)
    return make_plan(version, trigger, light=())


def play_on(
    plan: Plan,
    progress: Progress,
    parameters: Mapping[str, Value],
    order: Random,
    *,
    outcomes: Sequence[str],
    killed_at: int = MOST_EVENTS,
) -> tuple[Progress, dict[str, Value]]:
    """From before its start to its end, in the order of chance; a kill may come at any time."""
    initial, parameters = dict(parameters), dict(parameters)
    event: Event = Started()
    for number_of_events in range(MOST_EVENTS):
        decision = decide(plan, progress, event, parameters=parameters)
        progress = decision.progress
        parameters = (initial if decision.is_restart else parameters) | dict(decision.parameters)
        if progress.state.is_final:
            return progress, parameters
        ahead = list(_possible(plan, progress, initial, order, outcomes))
        event = Killed(rolls_back=order.random() < 0.5) if number_of_events >= killed_at else order.choice(ahead)
        killed_at = MOST_EVENTS if number_of_events >= killed_at else killed_at
    raise AssertionError(f"it does not end: {progress}")


def _possible(
    plan: Plan, progress: Progress, initial: Mapping[str, Value], order: Random, outcomes: Sequence[str]
) -> Iterator[Event]:
    """What may happen next."""
    for number in plan.numbers:
        status = progress.status(number)
        if status.is_active:
            yield _outcome(progress, number, status, order.choice(outcomes), order)
        elif progress.stopping is ExecutionState.RETRY_ON_HOLD:
            if status.is_held and not progress.active:
                yield RestartDue(number=number, attempt=status.attempt, parameters=initial)
        elif status.is_held:
            yield RetryDue(number=number, attempt=status.attempt)
        elif status.state is TaskState.SUSPENDED and order.random() < 0.8:
            yield Lifted(number=number, attempt=status.attempt)
        elif status.state is TaskState.SUSPENDED:
            yield Rejected(number=number, attempt=status.attempt, error=ErrorInfo(message="no"))


def _outcome(progress: Progress, number: int, status: TaskStatus, outcome: str, order: Random) -> Event:
    if progress.stopping is not None and not status.is_rolling_back and order.random() < 0.5:
        was_running = status.state is TaskState.IN_PROCESS or order.random() < 0.5
        return Stopped(number=number, attempt=status.attempt, was_running=was_running)
    outputs = {"abc"[number % 3]: Value(DataType.INT, order.randrange(3))}
    match "succeed" if status.is_rolling_back and outcome == "suspend" else outcome:
        case "succeed":
            return Succeeded(number=number, attempt=status.attempt, outputs=outputs)
        case "suspend":
            return Suspended(number=number, attempt=status.attempt, outputs=outputs)
        case _:
            return Failed(number=number, attempt=status.attempt, error=ErrorInfo(message="boom", code=404))


# -- promises ------------------------------------------------------------------------------------------------------


@given(over=executions())
@PROPERTY
def test_what_is_taken_over_is_counted_right_and_can_be_stored(over):
    reuse = reuse_what_succeeded(over.plan, over.progress, over.plan)

    assert_counted(over.plan, reuse.progress)
    assert unpack(over.plan, pack(over.plan, reuse.progress), ExecutionState.PENDING) == reuse.progress


def assert_counted(plan: Plan, progress: Progress) -> None:
    statuses = list(progress.tasks.values())
    decided = [(plan.edges[index].target, result) for index, result in progress.edges.items()]
    assert progress.active == sum(status.is_active for status in statuses)
    assert progress.suspended == sum(status.state is TaskState.SUSPENDED for status in statuses)
    assert progress.held == sum(status.is_held for status in statuses)
    assert progress.arrived == Counter(target for target, _ in decided)
    assert progress.true == {target: sum(r for each, r in decided if each == target) for target, _ in decided}


@given(over=executions())
@PROPERTY
def test_exactly_what_ended_well_is_reused_unless_it_follows_what_did_not(over):
    reuse = reuse_what_succeeded(over.plan, over.progress, over.plan)

    for number in over.plan.numbers:
        before = over.progress.status(number)
        ended_well = before.state in (TaskState.SUCCEED, TaskState.SKIPPED) or before.is_ignored or before.is_caught
        if number in reuse.again:
            after_another = any(e.source in reuse.again for e in over.plan.edges if e.target == number)
            is_called = any(e.source < TRIGGER for e in over.plan.edges if e.target == number)
            assert not ended_well or before.state is TaskState.SKIPPED or after_another or is_called
        else:
            assert ended_well
            assert reuse.progress.tasks[number] == before._replace(attempt=0)


@given(over=executions())
@PROPERTY
def test_nothing_that_is_reused_follows_what_runs_again(over):
    """Apart from what only an error catcher could lead to, which nobody has called."""
    reuse = reuse_what_succeeded(over.plan, over.progress, over.plan)

    for edge in over.plan.edges:
        if edge.source in reuse.again and reuse.again[edge.source] is not Reason.CATCHES:
            assert edge.target in reuse.again


@given(over=executions())
@PROPERTY
def test_every_edge_of_what_is_reused_is_decided_as_it_was_and_no_other_is(over):
    reuse = reuse_what_succeeded(over.plan, over.progress, over.plan)

    catchers = {e.source for e in over.plan.edges if e.source < TRIGGER and e.index in reuse.progress.edges}
    called = {
        over.plan.tasks[number].catcher
        for number in over.plan.numbers
        if number not in reuse.again and over.progress.status(number).is_caught
    }
    sources = {number for number in over.plan.numbers if number not in reuse.again}
    expected = {e.index for e in over.plan.edges if e.source in sources | {TRIGGER} | called}
    assert catchers <= called
    assert reuse.progress.edges == {
        index: over.progress.edges[index] for index in expected & over.progress.edges.keys()
    }
    assert expected - over.progress.edges.keys() <= {edge.index for edge in over.plan.start_edges}


@given(over=executions(), order=orders)
@PROPERTY
def test_a_replay_in_which_all_goes_well_succeeds_and_runs_nothing_that_is_reused(over, order):
    reuse = reuse_what_succeeded(over.plan, over.progress, over.plan)

    progress, _ = play_on(over.plan, reuse.progress, over.parameters, order, outcomes=ENDED_WELL)

    assert progress.state is ExecutionState.SUCCEEDED
    assert_right_end(over.plan, progress, reuse)


def assert_right_end(plan: Plan, progress: Progress, reuse: Reuse) -> None:
    """Reused tasks are as they were; every other one ran once where its join says so, and was skipped elsewhere."""
    for number in plan.numbers:
        status = progress.status(number)
        if number not in reuse.again:
            assert status == reuse.progress.tasks[number]
            continue
        results = [progress.edges.get(edge.index) for edge in plan.edges if edge.target == number]
        is_due = {
            JoinStrategy.WHEN_ANY_SUCCEED: True in results,
            JoinStrategy.WHEN_ALL_SUCCEED: None not in results and True in results,
            JoinStrategy.WHEN_ALL_TASKS_AND_CONDITIONS_SUCCEED: set(results) == {True},
        }[plan.tasks[number].config.join]
        assert status == (TaskStatus(TaskState.SUCCEED, 1) if is_due else TaskStatus(TaskState.SKIPPED, 0))


@given(over=executions(), order=orders)
@PROPERTY
def test_a_replay_ends_whatever_happens_in_it_and_can_be_replayed(over, order):
    progress = over.progress
    for _ in range(3):
        reuse = reuse_what_succeeded(over.plan, progress, over.plan)
        progress, _ = play_on(
            over.plan, reuse.progress, over.parameters, order, outcomes=ENDED_ANYHOW, killed_at=order.randrange(100)
        )

        assert progress.state.is_final
        assert_counted(over.plan, progress)
        assert set(start_of(over.plan, progress).states) == set(over.plan.numbers)


@given(over=executions(), order=orders)
@PROPERTY
def test_where_there_is_no_failure_point_nothing_runs_but_what_an_error_catcher_may_lead_to(over, order):
    reuse = reuse_what_succeeded(over.plan, over.progress, over.plan)

    if not is_failure_point(over.plan, over.progress):
        progress, _ = play_on(over.plan, reuse.progress, over.parameters, order, outcomes=())
        assert set(reuse.again.values()) <= {Reason.CATCHES}
        assert progress.state is ExecutionState.SUCCEEDED
    else:
        assert any(reason.is_failure for reason in reuse.again.values())


# -- with another version ------------------------------------------------------------------------------------------


@given(over=executions(), order=orders)
@PROPERTY
def test_with_another_version_only_tasks_that_mean_the_same_are_reused(over, order):
    plan = another_version(over.plan, order)

    reuse = reuse_what_succeeded(over.plan, over.progress, plan)
    progress, _ = play_on(plan, reuse.progress, over.parameters, order, outcomes=ENDED_WELL)

    assert_counted(plan, reuse.progress)
    assert progress.state is ExecutionState.SUCCEEDED
    assert_right_end(plan, progress, reuse)
    for number in plan.numbers:
        if number not in reuse.again:
            assert plan.tasks[number].config == over.plan.tasks[number].config
            assert sources(plan, number) == sources(over.plan, number)


def sources(plan: Plan, number: int) -> list[int | str]:
    found = [edge.source for edge in plan.edges if edge.target == number]
    return sorted(str(s) if s >= TRIGGER else plan.version.error_catchers[-1 - s].id for s in found)


def another_version(plan: Plan, order: Random) -> Plan:
    """Some tasks and error catchers are gone, some are there that were not, and some are others."""
    gone = {config.number for config in plan.version.tasks if order.random() < 0.1}
    new = [make_task(number) for number in (201, 202)]
    left = [config for config in plan.version.tasks if config.number not in gone] + new
    tasks = []
    for config in left:
        edges = [each for each in config.next_tasks if each.number not in gone]
        if order.random() < 0.1:
            edges.append(NextTask(number=order.choice([201, 202])))
        if config.number in (201, 202):
            edges = []
        timeout_ms = 1_000 if order.random() < 0.1 else None
        tasks.append(replace(config, next_tasks=tuple(edges), timeout_ms=timeout_ms))
    catchers = [
        replace(each, start_tasks=tuple(start for start in each.start_tasks if start.number not in gone))
        for each in plan.version.error_catchers
        if order.random() < 0.7
    ]
    starts = [start for start in plan.trigger.start_tasks if start.number not in gone]
    trigger = replace(plan.trigger, start_tasks=tuple(starts))
    version: IntegrationVersion = replace(
        plan.version,
        tasks=tuple(tasks),
        triggers=(trigger,),
        error_catchers=tuple(order.sample(catchers, len(catchers))),
    )
    return make_plan(version, trigger, light=())
