"""``decide`` on random executions (``random_flows``): what holds after every single decision.

Each promise is checked against the plan alone, in words of its own. All of them look at the same plays, because most of
the time goes into drawing them. What FATAL, KILL, deadlines and restarts change is in test_stopping_properties.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.engine.decide import decide, decide_in_place
from orchestrator.engine.decisions import Decision
from orchestrator.engine.events import (
    ChildrenStarted,
    DeadlinePassed,
    Event,
    Failed,
    Killed,
    Lifted,
    Quarantined,
    Rejected,
    Released,
    RestartDue,
    RetryDue,
    Returned,
    Started,
    Stopped,
    Succeeded,
    Suspended,
    TaskKilled,
)
from orchestrator.engine.failures import ERROR_INFO, ERROR_MESSAGE
from orchestrator.engine.plan import TRIGGER, Plan
from orchestrator.engine.progress import Progress, TaskStatus, pack, unpack
from orchestrator.model.history import Entry, EntryKind
from orchestrator.model.integration import ForkPolicy, JoinStrategy
from orchestrator.model.policies import ConditionalFailurePolicies, FailurePolicy, RetryStrategy
from orchestrator.model.states import EXECUTION_ARROWS, TASK_ARROWS, TaskEvent, TaskState
from orchestrator.model.states import ExecutionState as X
from orchestrator.model.values import DataType, Value
from tests.unit.engine.random_flows import (
    INITIAL,
    MANY,
    MOST_ATTEMPTS,
    MOST_ROUNDS,
    MOST_RUNS,
    PROPERTY,
    Flow,
    Turn,
    flows,
    in_plan,
    orders,
    play,
)

UNDOING = {TaskState.PENDING_ROLLBACK, TaskState.ROLLBACK_IN_PROCESS, TaskState.ROLLEDBACK}


@given(flow=flows(), order=orders)
@MANY
def test_what_is_promised_of_every_decision_holds(flow, order):
    turns = play(flow, order)

    every_task_moves_along_arrows_and_is_reported(flow, turns)
    what_is_over_never_changes(turns)
    the_state_of_an_execution_follows_from_its_tasks(flow, turns)
    an_execution_comes_to_rest_with_nothing_left_behind(flow, turns)
    a_task_that_is_over_has_decided_its_edges_and_no_other_has(flow, turns)
    edges_are_true_where_their_task_passed_and_their_condition_holds(flow, turns)
    a_task_runs_exactly_where_its_join_says_so(flow, turns)
    a_failure_leads_to_what_its_policy_says(flow, turns)
    attempts_are_dispatched_one_after_the_other_and_each_once(turns)
    the_number_of_decisions_is_bounded_by_the_attempts(turns)
    the_counters_are_always_what_a_recount_gives(flow, turns)
    packed_progress_is_unpacked_as_it_was(flow, turns)
    the_same_events_give_the_same_decisions_with_progress_packed_in_between(flow, turns)
    the_same_events_give_the_same_decisions_in_place(flow, turns)
    the_history_alone_gives_states_edges_and_parameters(flow, turns)
    a_start_without_conditions_is_decided_without_a_look_at_the_parameters(flow, turns)


def a_start_without_conditions_is_decided_without_a_look_at_the_parameters(flow: Flow, turns: list[Turn]) -> None:
    """So executions that differ in nothing else are started by one decision (``service.start.begins_alike``)."""
    for turn in turns:
        if isinstance(turn.event, Started) and all(edge.condition is None for edge in flow.plan.start_edges):
            assert decide(flow.plan, turn.before, turn.event, parameters={}, is_sync=flow.is_sync) == turn.decision


# -- states --------------------------------------------------------------------------------------------------------

# States that a task may only pass through in a decision: the claim is known only with the event that follows it, and
# the last success of an execution that stops is undone at once.
PASSED_THROUGH = {
    TaskState.IN_PROCESS,
    TaskState.ROLLBACK_IN_PROCESS,
    TaskState.SUCCEED,
    TaskState.SUSPENDED,
}


def every_task_moves_along_arrows_and_is_reported(flow: Flow, turns: list[Turn]) -> None:
    for turn in turns:
        reported = {}
        for number, status in in_plan(flow, turn.after):
            before = turn.before.status(number)
            is_back = turn.decision.is_restart and before.state is not TaskState.PENDING_EXECUTION
            before = before._replace(is_killed=status.is_killed)  # of a mark nothing is told before the end
            if status.state is not before.state or (status != before and not status.is_ready) or is_back:
                reported[number] = status.state
                assert status.state in ways_from(before.state, is_restart=turn.decision.is_restart)
        if isinstance(turn.event, Returned) and not turn.decision.is_late:
            reported |= given_back(turn, turn.event)
        assert turn.decision.states == reported


def ways_from(state: TaskState, *, is_restart: bool) -> set[TaskState]:
    """Where one decision may take a task. Only a restart takes it back, and then it may be skipped at once."""
    if is_restart:
        back = TASK_ARROWS.get((state, TaskEvent.RESTARTED), TaskState.PENDING_EXECUTION)
        return {back, TASK_ARROWS[back, TaskEvent.SKIPPED]}
    found: set[TaskState] = set()
    ahead = [state]
    while ahead:
        at = ahead.pop()
        for (source, along), to in TASK_ARROWS.items():
            if source is at and to not in found and along is not TaskEvent.RESTARTED:
                found.add(to)
                ahead += [to] if to in PASSED_THROUGH else []
    return found


def given_back(turn: Turn, event: Returned) -> dict[int, TaskState]:
    """It was claimed, and is not any more: nothing else shows of that."""
    state = turn.before.status(event.number).state
    if state in (TaskState.IN_PROCESS, TaskState.ROLLBACK_IN_PROCESS):
        return {}
    is_rollback = state is TaskState.PENDING_ROLLBACK
    return {event.number: TaskState.PENDING_ROLLBACK if is_rollback else TaskState.PENDING_EXECUTION}


def what_is_over_never_changes(turns: list[Turn]) -> None:
    """Only a restart and a rollback touch a task that is over."""
    for turn in turns:
        assert turn.decision.is_late or not turn.before.state.is_final
        is_restart = isinstance(turn.event, RestartDue) and not turn.decision.is_late
        for number, status in turn.before.tasks.items():
            after = turn.after.status(number)
            is_undone = status.state is TaskState.SUCCEED and after.state is TaskState.PENDING_ROLLBACK
            assert not status.state.is_final or after == status or is_restart or is_undone
        assert is_restart or turn.before.edges.items() <= turn.after.edges.items()
        assert turn.decision.is_restart is is_restart


def the_state_of_an_execution_follows_from_its_tasks(flow: Flow, turns: list[Turn]) -> None:
    for turn in turns:
        assert turn.decision.is_late or turn.after.state in {
            to for (at, _), to in EXECUTION_ARROWS.items() if at in (turn.before.state, X.PROCESSING)
        }
        assert turn.after.state is expected_state(flow.plan, turn.after)


def expected_state(plan: Plan, progress: Progress) -> X:
    statuses = {number: progress.status(number) for number in plan.numbers}
    states = {status.state for status in statuses.values()}
    if any(status.is_ready or status.state in RUNNING for status in statuses.values()):
        return X.PROCESSING
    if TaskState.SUSPENDED in states:
        return X.SUSPENDED
    if TaskState.RETRY_ON_HOLD in states or TaskState.PENDING_ROLLBACK in states:
        return X.RETRY_ON_HOLD
    if progress.stopping is not None:
        return progress.stopping
    sources = {edge.source for edge in plan.edges}
    leaves = [status for number, status in statuses.items() if number not in sources]
    failed = [s for s in statuses.values() if s.state is TaskState.FAILED and not (s.is_ignored or s.is_caught)]
    failed += [s for s in statuses.values() if s.state is TaskState.CANCELLED]
    assert progress.error or not failed
    a_leaf_passed = any(leaf.state is TaskState.SUCCEED or leaf.is_ignored for leaf in leaves)
    is_failure = progress.error and (not a_leaf_passed or any(leaf in failed for leaf in leaves))
    return X.FAILED if is_failure else X.SUCCEEDED


RUNNING = {TaskState.IN_PROCESS, TaskState.ROLLBACK_IN_PROCESS}


def an_execution_comes_to_rest_with_nothing_left_behind(flow: Flow, turns: list[Turn]) -> None:
    last = turns[-1].after
    resting = {number for number, status in in_plan(flow, last) if status.state.is_final}
    waiting = {number for number, status in in_plan(flow, last) if status.is_held or is_suspended(status)}
    assert last.active == 0
    assert last.state.is_final == (resting == set(flow.plan.numbers))
    assert last.state.is_final or waiting
    for number in set(flow.plan.numbers) - resting - waiting:  # what is left waits for something that waits
        if last.status(number).state is TaskState.PENDING_ROLLBACK:
            assert waiting
        else:
            sources = {edge.source for edge in flow.plan.edges if edge.target == number}
            assert last.stopping or sources - resting - {TRIGGER}


def is_suspended(status: TaskStatus) -> bool:
    return status.state is TaskState.SUSPENDED


# -- joins and forks -----------------------------------------------------------------------------------------------


def a_task_that_is_over_has_decided_its_edges_and_no_other_has(flow: Flow, turns: list[Turn]) -> None:
    for progress in (turn.after for turn in turns):
        over = {
            number for number, status in in_plan(flow, progress) if status.state.is_final or status.state in UNDOING
        }
        decided = {flow.plan.edges[index].source for index in progress.edges}
        assert decided - set(flow.plan.catchers) - {TRIGGER} == {n for n in over if flow.plan.edges_of(n)}
        for source in decided:  # all of them at once
            assert {edge.index for edge in flow.plan.edges_of(source)} <= progress.edges.keys()
        if progress.stopping is None:
            assert TRIGGER in decided or not flow.plan.start_edges


def edges_are_true_where_their_task_passed_and_their_condition_holds(flow: Flow, turns: list[Turn]) -> None:
    for turn in turns:
        known = {} if turn.decision.is_restart else turn.before.edges
        for source in (TRIGGER, *flow.plan.numbers, *flow.plan.catchers):
            edges = flow.plan.edges_of(source)
            if edges and edges[0].index in turn.after.edges.keys() - known.keys():
                results = [turn.after.edges[edge.index] for edge in edges]
                assert results == expected_edges(flow.plan, source, turn)


def expected_edges(plan: Plan, source: int, turn: Turn) -> list[bool]:
    edges = plan.edges_of(source)
    if not has_passed(plan, source, turn):
        return [False] * len(edges)
    results = [edge.holds(turn.parameters) for edge in edges]
    if plan.fork_of(source) is ForkPolicy.RUN_ALL_MATCH:
        return results
    return [result and not any(results[:place]) for place, result in enumerate(results)]


def has_passed(plan: Plan, source: int, turn: Turn) -> bool:
    if source == TRIGGER:
        return True
    if source < TRIGGER:  # an error catcher, which is called by the failure that it takes
        event = turn.event
        is_failure = isinstance(event, Failed | Rejected)
        return is_failure and plan.tasks[event.number].catcher == source and turn.after.status(event.number).is_caught
    status = turn.after.status(source)
    return status.state is TaskState.SUCCEED or status.state in UNDOING or status.is_ignored


def a_task_runs_exactly_where_its_join_says_so(flow: Flow, turns: list[Turn]) -> None:
    targets: dict[int, list[int]] = {number: [] for number in flow.plan.numbers}
    for edge in flow.plan.edges:
        targets[edge.target].append(edge.index)
    killed: set[int] = set()  # in this run
    for turn in turns:
        progress, event = turn.after, turn.event
        if turn.decision.is_restart:
            killed.clear()
        if isinstance(event, TaskKilled) and not turn.decision.is_late:
            killed.add(event.number)
        for number, status in in_plan(flow, progress):
            results = [progress.edges.get(index) for index in targets[number]]
            is_due = {
                JoinStrategy.WHEN_ANY_SUCCEED: True in results,
                JoinStrategy.WHEN_ALL_SUCCEED: None not in results and True in results,
                JoinStrategy.WHEN_ALL_TASKS_AND_CONDITIONS_SUCCEED: set(results) == {True},
            }[flow.plan.tasks[number].config.join]
            if status.attempt > progress.bases.get(number, 0) or status.state in UNDOING:
                assert is_due
            elif status.state is TaskState.SKIPPED:
                assert progress.stopping or number in killed or (None not in results and not is_due)
            else:
                assert (status.state, status.is_ready) == (TaskState.PENDING_EXECUTION, False)
                assert progress.stopping in (None, X.RETRY_ON_HOLD)
                assert None in results
                assert not is_due


# -- failures ------------------------------------------------------------------------------------------------------


def a_failure_leads_to_what_its_policy_says(flow: Flow, turns: list[Turn]) -> None:
    for turn in turns:
        event = turn.event
        if isinstance(event, Failed | Rejected) and not (turn.decision.is_late or is_killed(turn.before, event.number)):
            is_rollback = turn.before.status(event.number).is_rolling_back
            expected = undone_or_not(flow, event, turn.before) if is_rollback else failure(flow, event, turn.before)
            assert turn.after.status(event.number) == expected
            told = {"message": event.error.message, "code": event.error.code}
            assert is_rollback or turn.parameters[ERROR_INFO].data == told
            assert is_rollback or turn.parameters[ERROR_MESSAGE].data == told["message"]


def is_killed(progress: Progress, number: int) -> bool:
    return progress.status(number).is_killed


def failure(flow: Flow, event: Failed | Rejected, before: Progress) -> TaskStatus:
    number, task = event.number, flow.plan.tasks[event.number]
    is_caught = task.catcher is not None and not before.stopping
    for_good = TaskStatus(TaskState.FAILED, event.attempt, is_caught=is_caught)
    if isinstance(event, Rejected):
        return for_good
    policy = policy_for(flow, event, before)
    tried = event.attempt - before.bases.get(number, 0)
    match policy.strategy:
        case RetryStrategy.IGNORE:
            return TaskStatus(TaskState.FAILED, event.attempt, is_ignored=True)
        case RetryStrategy.FATAL:
            return TaskStatus(TaskState.FATAL, event.attempt)
        case RetryStrategy.NONE:
            return for_good
        case RetryStrategy.RESTART_INTEGRATION_WITH_BACKOFF:
            is_tried_again = before.run <= policy.max_retries and not before.stopping
        case _:
            is_tried_again = tried <= policy.max_retries and not before.stopping
    return TaskStatus(TaskState.RETRY_ON_HOLD, event.attempt) if is_tried_again else for_good


def policy_for(flow: Flow, event: Failed, before: Progress) -> FailurePolicy:
    config = flow.plan.tasks[event.number].config
    conditional = config.conditional_failure_policies or ConditionalFailurePolicies()
    is_sync = flow.is_sync and not before.is_resumed
    by_mode = config.sync_failure_policy if is_sync else config.failure_policy
    policies = [each for each in (*conditional.policies, conditional.default, by_mode) if each]
    return next((each for each in policies if counts(each, event)), FailurePolicy())


def counts(policy: FailurePolicy, event: Failed | Rejected) -> bool:
    return policy.condition in ("", f"$`ErrorInfo.code`$ = {event.error.code}")


def undone_or_not(flow: Flow, event: Failed | Rejected, before: Progress) -> TaskStatus:
    rollback, tried = flow.plan.tasks[event.number].config.rollback, event.attempt - before.bases[event.number]
    policy = rollback.failure_policy if rollback else None
    if policy and policy.strategy.is_retrying and counts(policy, event) and tried <= policy.max_retries:
        return TaskStatus(TaskState.PENDING_ROLLBACK, event.attempt, is_waiting=True)
    return TaskStatus(TaskState.ROLLEDBACK, event.attempt)


# -- dispatching ---------------------------------------------------------------------------------------------------


def attempts_are_dispatched_one_after_the_other_and_each_once(turns: list[Turn]) -> None:
    """Over the whole life of the execution: an id is used once, restarts and rollbacks included."""
    attempts = Counter[int]()
    in_run = Counter[tuple[int, int, bool]]()
    for turn in turns:
        for dispatch in turn.decision.dispatch:
            attempts[dispatch.number] += 1
            in_run[turn.after.run, dispatch.number, dispatch.is_rollback] += not isinstance(turn.event, Released)
            status = turn.after.status(dispatch.number)
            assert dispatch.attempt == attempts[dispatch.number] == status.attempt
            assert status.is_ready
            assert dispatch.is_rollback is status.is_rolling_back
    assert set(in_run.values()) <= set(range(1, MOST_ATTEMPTS + 1))
    assert attempts == {number: status.attempt for number, status in turns[-1].after.tasks.items() if status.attempt}


def the_number_of_decisions_is_bounded_by_the_attempts(turns: list[Turn]) -> None:
    """For every attempt its outcome, its rounds of children, the timer before it and the answer after it."""
    attempts = sum(len(turn.decision.dispatch) for turn in turns)
    of_attempts = [
        turn
        for turn in turns
        if not turn.decision.is_late
        and not isinstance(turn.event, Started | Killed | DeadlinePassed | RestartDue | Returned | TaskKilled)
    ]
    assert len(of_attempts) <= attempts * (1 + MOST_ROUNDS + 1 + 1)
    assert turns[-1].after.run <= MOST_RUNS


# -- late events ---------------------------------------------------------------------------------------------------


@given(flow=flows(), order=orders)
@PROPERTY
def test_an_event_that_comes_twice_or_for_another_attempt_changes_nothing(flow, order):
    turns = play(flow, order)

    past: list[Event] = []
    for turn in turns:
        if turn.decision.is_restart:  # the KILL of a task is of one run
            past = [event for event in past if not isinstance(event, TaskKilled)]
        is_of_now = isinstance(turn.event, TaskKilled) and turn.decision.is_late  # it may count later
        past += [turn.event] if not (is_of_now or isinstance(turn.event, Started)) else []
        for event in [*past[-1:], *order.sample(past, min(len(past), 3)), *of_other_attempts(turn.after)]:
            if isinstance(event, ChildrenStarted) and is_killed(turn.after, event.number):
                continue  # another round does not begin: it ends the task
            again = decide(flow.plan, turn.after, event, parameters=turn.parameters, is_sync=flow.is_sync)
            may_come_again = isinstance(event, ChildrenStarted | Returned) and is_live(turn.after, event)
            if may_come_again:
                assert (again.progress, again.dispatch, again.timers) == (turn.after, (), ())
            else:
                assert again == Decision(progress=turn.after, is_late=True)


def is_live(progress: Progress, event: ChildrenStarted | Returned) -> bool:
    """Another round may begin, and a worker may die again."""
    status = progress.status(event.number)
    is_running = status.state in RUNNING
    return status.attempt == event.attempt and (is_running or (isinstance(event, Returned) and status.is_ready))


def of_other_attempts(progress: Progress) -> Iterator[Event]:
    for number, status in progress.tasks.items():
        for attempt in (status.attempt - 1, status.attempt + 1):
            if status.is_active:
                yield Succeeded(number=number, attempt=attempt, outputs={"a": Value(DataType.INT, 9)})
                yield ChildrenStarted(number=number, attempt=attempt)
            elif status.is_held:
                yield RetryDue(number=number, attempt=attempt)
                yield RestartDue(number=number, attempt=attempt)
            elif status.state is TaskState.SUSPENDED:
                yield Lifted(number=number, attempt=attempt)


# -- what is kept --------------------------------------------------------------------------------------------------


def the_counters_are_always_what_a_recount_gives(flow: Flow, turns: list[Turn]) -> None:
    for progress in (turn.after for turn in turns):
        statuses = list(progress.tasks.values())
        decided = [(flow.plan.edges[index].target, result) for index, result in progress.edges.items()]
        on_hold = {TaskState.RETRY_ON_HOLD, TaskState.PENDING_ROLLBACK}
        assert progress.active == sum(s.is_ready or s.state in RUNNING for s in statuses)
        assert progress.suspended == sum(s.state is TaskState.SUSPENDED for s in statuses)
        assert progress.held == sum(
            s.state in on_hold and not s.is_ready and (s.is_waiting or s.state is TaskState.RETRY_ON_HOLD)
            for s in statuses
        )
        assert progress.arrived == Counter(target for target, _ in decided)
        assert progress.true == {
            target: sum(result for each, result in decided if each == target) for target, _ in decided
        }


def packed_progress_is_unpacked_as_it_was(flow: Flow, turns: list[Turn]) -> None:
    for turn in turns:
        text = pack(flow.plan, turn.after)
        read = unpack(flow.plan, text, turn.after.state)
        assert read == turn.after
        assert pack(flow.plan, read) == text


def the_same_events_give_the_same_decisions_with_progress_packed_in_between(flow: Flow, turns: list[Turn]) -> None:
    """As it is at run time: every event may be decided by another process, which has read a row."""
    parameters = dict(INITIAL)
    progress = Progress()
    for turn in turns:
        read = unpack(flow.plan, pack(flow.plan, progress), progress.state)
        again = decide(flow.plan, read, turn.event, parameters=parameters, is_sync=flow.is_sync)
        assert again == turn.decision
        progress, parameters = again.progress, dict(turn.parameters)


def the_same_events_give_the_same_decisions_in_place(flow: Flow, turns: list[Turn]) -> None:
    """As a worker decides that goes on with an execution: what it has decided on is not looked at again."""
    parameters = dict(INITIAL)
    progress = Progress()
    for turn in turns:
        again = decide_in_place(flow.plan, progress, turn.event, parameters=parameters, is_sync=flow.is_sync)
        progress, parameters = again.progress, dict(INITIAL) if again.is_restart else parameters
        assert again == turn.decision
        assert parameters == turn.parameters


def the_history_alone_gives_states_edges_and_parameters(flow: Flow, turns: list[Turn]) -> None:
    states = dict.fromkeys(flow.plan.numbers, TaskState.PENDING_EXECUTION)
    edges: dict[tuple[int, int], bool] = {}
    parameters = dict(INITIAL)
    for turn in turns:
        entry = Entry.from_json(json.loads(json.dumps(entry_of(turn).to_json())))
        if entry.kind is EntryKind.RESTARTED:
            edges, parameters = {}, dict(INITIAL)
        states.update(entry.states)
        edges.update(entry.edges)
        parameters.update(entry.parameters)
        assert states == {number: status.state for number, status in in_plan(flow, turn.after)}
        assert edges == any_edge(flow.plan, turn.after)
        assert parameters == turn.parameters


def any_edge(plan: Plan, progress: Progress) -> dict[tuple[int, int], bool]:
    """The result for each pair of tasks; of several edges between the same two, one that is true is enough."""
    found: dict[tuple[int, int], bool] = {}
    for index, result in progress.edges.items():
        pair = (plan.edges[index].source, plan.edges[index].target)
        found[pair] = found.get(pair, False) or result
    return found


KINDS = {
    Started: EntryKind.STARTED,
    Succeeded: EntryKind.SUCCEEDED,
    Failed: EntryKind.FAILED,
    Suspended: EntryKind.SUSPENDED,
    ChildrenStarted: EntryKind.CHILDREN_STARTED,
    Stopped: EntryKind.STOPPED,
    Quarantined: EntryKind.QUARANTINED,
    Returned: EntryKind.RETURNED,
    RetryDue: EntryKind.RETRY_DUE,
    RestartDue: EntryKind.RESTARTED,
    Lifted: EntryKind.LIFTED,
    Rejected: EntryKind.REJECTED,
    Released: EntryKind.RELEASED,
    Killed: EntryKind.KILLED,
    TaskKilled: EntryKind.TASK_KILLED,
    DeadlinePassed: EntryKind.DEADLINE_PASSED,
}


def entry_of(turn: Turn) -> Entry:
    """As ``service`` writes it."""
    now, event = datetime(2026, 5, 1, tzinfo=UTC), turn.event
    return Entry(
        kind=EntryKind.LATE if turn.decision.is_late else KINDS[type(event)],
        task_number=getattr(event, "number", 0),
        attempt=getattr(event, "attempt", 0),
        started_at=now,
        ended_at=now,
        states=turn.decision.states,
        edges=turn.decision.edges,
        parameters=turn.decision.parameters,
        error=getattr(event, "error", None),
    )


# -- order ---------------------------------------------------------------------------------------------------------


@given(flow=flows(is_quiet=True), two=st.tuples(orders, orders))
@PROPERTY
def test_where_joins_wait_for_all_the_order_of_events_makes_no_difference(flow, two):
    """As long as no condition reads what another branch writes, and nothing stops: those are races by nature."""
    one, other = (play(flow, order) for order in two)

    assert result_of(one) == result_of(other)


def result_of(turns: list[Turn]) -> object:
    last = turns[-1].after
    return (
        last.state,
        last.tasks,
        last.edges,
        {key: value for key, value in turns[-1].parameters.items() if key not in (ERROR_INFO, ERROR_MESSAGE)},
        {(each.number, each.attempt) for turn in turns for each in turn.decision.dispatch},
        last.error is None,  # which of several failures came first is a matter of order
    )
