"""``decide`` on random executions (``random_flows``): what FATAL, KILL, deadlines, restarts and rollbacks may change.

The other promises are in test_decide_properties.
"""

from __future__ import annotations

from hypothesis import given

from orchestrator.engine.decide import decide
from orchestrator.engine.events import (
    DeadlinePassed,
    Event,
    Failed,
    Killed,
    Quarantined,
    Rejected,
    Released,
    RestartDue,
    RetryDue,
    Returned,
    Stopped,
    Suspended,
    TaskKilled,
)
from orchestrator.engine.plan import Plan
from orchestrator.engine.progress import Progress
from orchestrator.model.history import ErrorInfo
from orchestrator.model.policies import RetryStrategy
from orchestrator.model.states import ExecutionState, TaskState
from orchestrator.model.timers import TimerKind
from tests.unit.engine.random_flows import INITIAL, MANY, Flow, Turn, flows, in_plan, orders, play

UNDOING = {TaskState.PENDING_ROLLBACK, TaskState.ROLLBACK_IN_PROCESS, TaskState.ROLLEDBACK}


@given(flow=flows(), order=orders)
@MANY
def test_what_is_promised_of_stopping_and_beginning_again_holds(flow, order):
    turns = play(flow, order)

    an_execution_that_is_not_over_waits_for_something_that_will_happen(turns)
    what_stops_an_execution_first_says_how_it_ends(turns)
    nothing_becomes_ready_in_an_execution_that_stops_but_what_undoes(turns)
    what_stops_is_decided_without_a_look_at_the_parameters(flow, turns)
    everything_that_is_held_has_its_timer_and_nothing_else_has(flow, turns)
    what_is_dropped_was_held_or_suspended_and_is_cancelled(flow, turns)
    rollbacks_go_backwards(flow, turns)
    what_succeeded_is_undone_if_and_only_if_the_stop_says_so(flow, turns)
    a_restart_takes_everything_back_to_the_beginning(flow, turns)
    the_execution_begins_again_no_more_often_than_a_policy_says(flow, turns)
    an_error_catcher_is_called_once_a_run_by_the_first_failure_that_it_takes(flow, turns)
    an_execution_is_asynchronous_from_its_first_answer_on(turns)
    a_killed_task_is_over_at_once_or_with_its_attempt(turns)
    a_quarantined_task_is_held_until_it_is_released(flow, turns)


# -- stopping ------------------------------------------------------------------------------------------------------


def an_execution_that_is_not_over_waits_for_something_that_will_happen(turns: list[Turn]) -> None:
    """An attempt that runs or is to run, a person, or a timer."""
    for progress in (turn.after for turn in turns):
        waits = progress.active or progress.suspended or progress.held
        assert bool(waits) is not progress.state.is_final


def what_stops_an_execution_first_says_how_it_ends(turns: list[Turn]) -> None:
    expected, error = None, None
    for turn in turns:
        if expected is None and (stop := stop_of(turn)):
            expected, error = stop
        if expected is not None:
            assert turn.after.stopping is expected
            assert turn.after.state in (expected, ExecutionState.PROCESSING, ExecutionState.RETRY_ON_HOLD)
            assert turn.after.error == error or expected is ExecutionState.CANCELLED
        else:
            assert turn.after.stopping in (None, ExecutionState.RETRY_ON_HOLD)


def stop_of(turn: Turn) -> tuple[ExecutionState, ErrorInfo | None] | None:
    match turn.event:
        case Killed():
            return None if turn.decision.is_late else (ExecutionState.CANCELLED, None)
        case DeadlinePassed(error=error):
            return None if turn.decision.is_late else (ExecutionState.FAILED, error)
        case Failed(number=number, error=error) if turn.after.status(number).state is TaskState.FATAL:
            counted = ErrorInfo(message=error.message, code=error.code, task_number=number)
            return ExecutionState.FAILED, counted
        case _:
            return None


def nothing_becomes_ready_in_an_execution_that_stops_but_what_undoes(turns: list[Turn]) -> None:
    for turn in turns:
        if turn.after.stopping is not None:
            assert all(each.is_rollback for each in turn.decision.dispatch)
            restarts = turn.after.stopping is ExecutionState.RETRY_ON_HOLD
            for timer in turn.decision.timers:
                is_undoing = turn.after.status(timer.number).state is TaskState.PENDING_ROLLBACK
                assert is_undoing or (restarts and timer.kind is TimerKind.RESTART)
        else:
            assert not any(each.is_rollback for each in turn.decision.dispatch)


def what_stops_is_decided_without_a_look_at_the_parameters(flow: Flow, turns: list[Turn]) -> None:
    """So executions that differ in nothing else are ended by one decision (``service.ends``)."""
    for turn in turns:
        is_stop = isinstance(turn.event, Killed | Stopped) and turn.after.stopping is not None
        if is_stop and not (isinstance(turn.event, Stopped) and turn.before.status(turn.event.number).is_rolling_back):
            assert decide(flow.plan, turn.before, turn.event, parameters={}) == turn.decision


def everything_that_is_held_has_its_timer_and_nothing_else_has(flow: Flow, turns: list[Turn]) -> None:
    """The wait for a restart begins only once nothing runs."""
    timers: dict[int, tuple[int, TimerKind]] = {}
    for turn in turns:
        if isinstance(turn.event, RetryDue | RestartDue) and not turn.decision.is_late:
            timers.pop(turn.event.number)
        for number in turn.decision.dropped:
            timers.pop(number, None)
        for timer in turn.decision.timers:
            assert timer.number not in timers
            timers[timer.number] = (timer.attempt, timer.kind)
        assert timers == expected_timers(flow, turn.after)


def expected_timers(flow: Flow, progress: Progress) -> dict[int, tuple[int, TimerKind]]:
    tasks = in_plan(flow, progress)
    held = {number: status.attempt for number, status in tasks if status.is_held and not status.is_quarantined}
    if progress.stopping is not ExecutionState.RETRY_ON_HOLD:
        assert progress.restart is None
        return {number: (attempt, TimerKind.RETRY) for number, attempt in held.items()}
    assert len(held) == 1, "the task whose failure led to the restart"
    assert (progress.restart is None) is not bool(progress.active)
    return {} if progress.active else {number: (attempt, TimerKind.RESTART) for number, attempt in held.items()}


def what_is_dropped_was_held_or_suspended_and_is_cancelled(flow: Flow, turns: list[Turn]) -> None:
    for turn in turns:
        waited = {
            number
            for number, status in in_plan(flow, turn.before)
            if status.is_held or status.state is TaskState.SUSPENDED
        }
        if isinstance(turn.event, Suspended | Quarantined) and not turn.before.status(turn.event.number).is_killed:
            waited.add(turn.event.number)
        cancelled = {n for n, state in turn.decision.states.items() if state is TaskState.CANCELLED}
        assert sorted(turn.decision.dropped) == sorted(waited & cancelled)


# -- undoing -------------------------------------------------------------------------------------------------------


def rollbacks_go_backwards(flow: Flow, turns: list[Turn]) -> None:
    """None starts before all those of the tasks that follow are over, however far these are; and then it does."""
    following = {number: descendants(flow.plan, number) for number in flow.plan.numbers}
    for turn in turns:
        undoing = {number for number, status in in_plan(flow, turn.after) if status.is_rolling_back}
        for number in undoing:
            status = turn.after.status(number)
            has_started = status.attempt > turn.after.bases[number]
            assert has_started is not bool(following[number] & undoing)


def descendants(plan: Plan, number: int) -> set[int]:
    found, ahead = set[int](), [number]
    while ahead:
        following = {edge.target for edge in plan.edges_of(ahead.pop())} - found
        found |= following
        ahead += following
    return found


def what_succeeded_is_undone_if_and_only_if_the_stop_says_so(flow: Flow, turns: list[Turn]) -> None:
    rolls_back = False
    for turn in turns:
        if stop_of(turn) and (turn.before.stopping in (None, ExecutionState.RETRY_ON_HOLD)):
            rolls_back = not isinstance(turn.event, Killed) or turn.event.rolls_back
        states = {number: status.state for number, status in in_plan(flow, turn.after)}
        can_undo = {number for number, task in flow.plan.tasks.items() if task.config.rollback}
        touched = {number for number, state in states.items() if state in UNDOING}
        assert touched <= (can_undo if rolls_back else set())
        if rolls_back and (touched or turn.after.state.is_final):
            assert not any(state is TaskState.SUCCEED and number in can_undo for number, state in states.items())


# -- beginning again -----------------------------------------------------------------------------------------------


def a_restart_takes_everything_back_to_the_beginning(flow: Flow, turns: list[Turn]) -> None:
    first = next((turn for turn in turns if turn.before == Progress() and not turn.after.state.is_final), None)
    for turn in turns:
        if turn.decision.is_restart:
            assert first is not None
            assert turn.parameters == INITIAL
            assert turn.after.edges == first.after.edges
            assert turn.after.run == turn.before.run + 1
            assert (turn.after.error, turn.after.stopping, turn.after.restart) == (None, None, None)
            for number, status in in_plan(flow, turn.after):
                before, at_first = turn.before.status(number), first.after.status(number)
                assert (status.state, status.is_ready) == (at_first.state, at_first.is_ready)
                assert status.attempt == before.attempt + status.is_ready
                assert turn.after.bases.get(number, 0) == before.attempt


def the_execution_begins_again_no_more_often_than_a_policy_says(flow: Flow, turns: list[Turn]) -> None:
    restarts = [turn for turn in turns if turn.decision.is_restart]
    most = [
        policy.max_retries
        for task in flow.plan.tasks.values()
        for place, policy in task.config.policies()
        if policy.strategy is RetryStrategy.RESTART_INTEGRATION_WITH_BACKOFF and not place.startswith("rollback")
    ]
    assert len(restarts) <= max(most, default=0)
    assert turns[-1].after.run == len(restarts) + 1


# -- error catchers and answers ------------------------------------------------------------------------------------


def an_error_catcher_is_called_once_a_run_by_the_first_failure_that_it_takes(flow: Flow, turns: list[Turn]) -> None:
    for turn in turns:
        taken_by = taken(flow, turn)
        known = {} if turn.decision.is_restart else turn.before.edges
        for catcher, edges in flow.plan.catchers.items():
            was_decided = any(edge.index in known for edge in edges)
            is_decided = any(edge.index in turn.after.edges for edge in edges)
            if taken_by == catcher:
                assert is_decided or not edges
            elif is_decided and not was_decided:  # passed over: nothing that it could take may fail any more
                assert turn.after.stopping is None
                assert all(may_not_be_caught(flow, number) for number, s in in_plan(flow, turn.after) if s.is_active)
                assert turn.after.suspended == turn.after.held == 0


def taken(flow: Flow, turn: Turn) -> int | None:
    event: Event = turn.event
    if not isinstance(event, Failed | Rejected) or turn.decision.is_late:
        return None
    return flow.plan.tasks[event.number].catcher if turn.after.status(event.number).is_caught else None


def may_not_be_caught(flow: Flow, number: int) -> bool:
    catcher_tasks = {edge.target for edges in flow.plan.catchers.values() for edge in edges}
    return number in catcher_tasks.union(*(descendants(flow.plan, each) for each in catcher_tasks))


def an_execution_is_asynchronous_from_its_first_answer_on(turns: list[Turn]) -> None:
    is_resumed = False
    for turn in turns:
        is_answer = type(turn.event).__name__ in ("Lifted", "Rejected") and not turn.decision.is_late
        is_resumed = is_resumed or is_answer
        assert turn.after.is_resumed is is_resumed


# -- KILL of one task, and quarantine ------------------------------------------------------------------------------

OVER_BY_KILL = {TaskState.SKIPPED, TaskState.CANCELLED, TaskState.ROLLEDBACK}  # the last one was in quarantine


def a_killed_task_is_over_at_once_or_with_its_attempt(turns: list[Turn]) -> None:
    for turn in turns:
        if isinstance(turn.event, TaskKilled) and not turn.decision.is_late:
            status = turn.after.status(turn.event.number)
            assert status.is_killed is status.is_active
            assert status.is_killed or status.state in OVER_BY_KILL
            assert turn.after.error is not None or status.state is TaskState.ROLLEDBACK
        for number, before in turn.before.tasks.items():
            after = turn.after.status(number)
            is_its_end = getattr(turn.event, "number", 0) == number and not isinstance(turn.event, Returned)
            assert not before.is_killed or after.is_killed or (is_its_end and after.state in OVER_BY_KILL)
            assert not before.is_killed or after.is_active or not turn.decision.parameters


def a_quarantined_task_is_held_until_it_is_released(flow: Flow, turns: list[Turn]) -> None:
    for turn in turns:
        for number, after in in_plan(flow, turn.after):
            before = turn.before.status(number)
            assert after.is_held or not after.is_quarantined
            if before.is_quarantined and after != before:
                is_released = isinstance(turn.event, Released) and turn.event.number == number
                assert is_released is after.is_ready
                assert is_released or after.state in {TaskState.CANCELLED, TaskState.ROLLEDBACK}
            if isinstance(turn.event, Released) and turn.event.number == number and not turn.decision.is_late:
                tried = [p.status(number).attempt - p.bases.get(number, 0) for p in (turn.before, turn.after)]
                assert tried[0] == tried[1], "no policy counts what was lost"
