"""``decide`` on random graphs, with random outcomes in random order: what holds after every single decision.

``flows`` draws a plan and how every attempt will end; ``play`` is the smallest orchestrator there can be: it delivers
the outcomes in an order of chance until none is left. Each test plays, and checks one promise against the plan alone.
"""

from __future__ import annotations

import itertools
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from random import Random
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orchestrator.engine.decide import decide
from orchestrator.engine.decisions import Decision
from orchestrator.engine.failures import ERROR_INFO, ERROR_MESSAGE
from orchestrator.engine.events import ChildrenStarted, Event, Failed, RetryDue, Started, Stopped, Succeeded, Suspended
from orchestrator.engine.plan import TRIGGER, Plan, make_plan
from orchestrator.engine.progress import Progress, TaskStatus, pack, unpack
from orchestrator.model.history import Entry, EntryKind, ErrorInfo
from orchestrator.model.integration import ForkPolicy, JoinStrategy, NextTask
from orchestrator.model.policies import ConditionalFailurePolicies, FailurePolicy, RetryStrategy
from orchestrator.model.states import EXECUTION_ARROWS, TASK_ARROWS, TaskEvent, TaskState
from orchestrator.model.states import ExecutionState as X
from orchestrator.model.values import DataType, Value
from tests.unit.factories import make_integration, make_parameter, make_task, make_trigger

EXAMPLES = 40  # of every property, half a second; a new rule deserves 5,000 once
PROPERTY = settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.too_slow])

MOST_TASKS = 40
MOST_ATTEMPTS = 3  # the policies below try again twice at most
NEARLY_ALWAYS = ("",) * 14  # most edges have no condition; else most of every graph would be skipped
RACING_CONDITIONS = (
    *NEARLY_ALWAYS,
    *("$a$ = 1", "$a$ != 1", "$b$ > 0", "$a$ < $b$ OR exists($c$)", "$`ErrorInfo.code`$ = 404", "NOT exists($b$)"),
)
QUIET_CONDITIONS = (*NEARLY_ALWAYS, "$o{}$ = 1", "$o{}$ != 1", "exists($o{}$)", "NOT exists($o{}$)")

# -- what a flow is made of ----------------------------------------------------------------------------------------


def _policy(strategy: RetryStrategy, max_retries: int = 0, code: int | None = None) -> FailurePolicy:
    condition = "" if code is None else f"$`ErrorInfo.code`$ = {code}"
    return FailurePolicy(strategy=strategy, max_retries=max_retries, interval_s=1.0, condition=condition)


_IGNORE, _FATAL = _policy(RetryStrategy.IGNORE), _policy(RetryStrategy.FATAL)
_RETRIES = [
    _policy(RetryStrategy.FIXED_INTERVAL, 1),
    _policy(RetryStrategy.LINEAR_BACKOFF, 2),
    _policy(RetryStrategy.EXPONENTIAL_BACKOFF, 2, code=404),
]
_MILD_POLICIES: list[dict[str, Any]] = [
    {},
    {"failure_policy": _policy(RetryStrategy.NONE)},
    {"failure_policy": _IGNORE, "sync_failure_policy": _RETRIES[0]},
    *({"failure_policy": retry, "sync_failure_policy": retry} for retry in _RETRIES),
    {"failure_policy": _policy(RetryStrategy.RESTART_INTEGRATION_WITH_BACKOFF, 2), "sync_failure_policy": _IGNORE},
    {
        "conditional_failure_policies": ConditionalFailurePolicies(
            policies=(_policy(RetryStrategy.IGNORE, code=404), _policy(RetryStrategy.NONE, code=500)),
            default=_RETRIES[1],
        )
    },
]
_HARSH_POLICIES = [
    *_MILD_POLICIES,
    *[{"failure_policy": _FATAL, "sync_failure_policy": _FATAL}] * 3,
    {"conditional_failure_policies": ConditionalFailurePolicies(policies=(_policy(RetryStrategy.FATAL, code=500),))},
]
FORKS = (*[ForkPolicy.RUN_ALL_MATCH] * 3, ForkPolicy.RUN_FIRST_MATCH)
_ALL_JOINS = (JoinStrategy.WHEN_ALL_SUCCEED, JoinStrategy.WHEN_ALL_TASKS_AND_CONDITIONS_SUCCEED)


@dataclass(frozen=True, kw_only=True, slots=True)
class Script:
    """How one attempt goes: rounds of children, then its outcome; ``value`` is put out or, if it fails, the code."""

    kind: str
    rounds: int
    value: int


_SCRIPTS = [
    Script(kind=kind, rounds=rounds, value=value)
    for kind, values in (("succeed", (0, 1, 2)), ("fail", (404, 500, 503)), ("succeed", (0, 1, 2)), ("suspend", (1, 1)))
    for rounds in (0, 0, 2)
    for value in values
]


@dataclass(frozen=True, kw_only=True, slots=True, repr=False)
class Flow:
    """A plan, and what becomes of it. The timers of ``stays_held`` never come."""

    plan: Plan
    is_sync: bool
    scripts: Mapping[int, Sequence[Script]]
    stays_held: frozenset[int]
    is_quiet: bool

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        """What Hypothesis prints of a failure: the graph and the scripts, not the whole version behind them."""
        printer.text(f"\n{self}\n")

    def __repr__(self) -> str:
        edges = [f"{e.source}->{e.target} {e.condition.text if e.condition else ''}".strip() for e in self.plan.edges]
        lines = [f"is_sync={self.is_sync} stays_held={sorted(self.stays_held)} edges: {', '.join(edges)}"]
        for number, task in self.plan.tasks.items():
            policies = [f"{place} {policy.strategy} {policy.condition}" for place, policy in task.config.policies()]
            lines.append(f"{number}: {task.config.join} {task.config.fork} {policies} {self.scripts[number]}")
        return "\n".join(lines)

    def outputs(self, number: int, script: Script) -> dict[str, Value]:
        key = f"o{number}" if self.is_quiet else "abc"[number % 3]
        return {key: Value(DataType.INT, script.value)} if script.value else {}


def _number_at(position: int) -> int:
    """Task numbers that say nothing of the order of execution; all different, because 41 is a prime."""
    return position * 17 % (MOST_TASKS + 1) + 1


@st.composite
def flows(draw: st.DrawFn, *, is_quiet: bool = False) -> Flow:
    """A random flow. In a quiet one no task can see what another one does at the same time, and nothing is fatal.

    Half of the others are harsh: with so many ways to stop or to wait, they hardly ever come to the rule for leaves.
    """
    count = draw(st.integers(1, 8) | st.integers(6, 20) | st.integers(15, MOST_TASKS))
    next_tasks: dict[int, list[NextTask]] = {position: [] for position in range(count)}
    ancestors: dict[int, list[int]] = {}

    def edge_to(target: int, source: int | None) -> NextTask:
        if not is_quiet or source is None:
            return NextTask(number=_number_at(target), condition=draw(st.sampled_from(RACING_CONDITIONS)))
        seen = draw(st.sampled_from([source, *ancestors[source]]))
        condition = draw(st.sampled_from(QUIET_CONDITIONS)).format(_number_at(seen))
        return NextTask(number=_number_at(target), condition=condition)

    for position in range(count):
        parents = draw(st.just([]) | st.lists(st.integers(0, position - 1), max_size=4)) if position else []
        for parent in parents:
            next_tasks[parent].append(edge_to(position, parent))
        ancestors[position] = sorted({each for parent in parents for each in (parent, *ancestors[parent])})

    is_harsh = draw(st.booleans())
    scripts = [script for script in _SCRIPTS if is_harsh or script.kind != "suspend"]
    joins = _ALL_JOINS if is_quiet else tuple(JoinStrategy)
    policies = _HARSH_POLICIES if is_harsh and not is_quiet else _MILD_POLICIES
    forms = st.sampled_from(list(itertools.product(joins, FORKS, policies)))  # one draw: most of the time goes there
    several = st.lists(st.sampled_from(scripts), min_size=1, max_size=MOST_ATTEMPTS)
    drawn = {_number_at(position): (draw(forms), draw(several)) for position in range(count)}
    some = st.lists(st.integers(0, count - 1), min_size=(count + 1) // 2, unique=True)
    starts = draw(st.just([]) | st.just([]) | some)
    trigger = make_trigger(starts=[edge_to(start, None) for start in starts], fork=draw(st.sampled_from(FORKS)))
    tasks = {_number_at(position): edges for position, edges in next_tasks.items()}
    version = make_integration(
        *(
            make_task(number, next=tasks[number], join=join, fork=fork, **policy)
            for number, ((join, fork, policy), _) in sorted(drawn.items())
        ),
        triggers=[trigger],
        parameters=[make_parameter(ERROR_MESSAGE)],
    )
    return Flow(
        plan=make_plan(version, trigger, light=()),
        is_sync=draw(st.booleans()),
        scripts={number: scripts for number, (_, scripts) in drawn.items()},
        stays_held=draw(st.frozensets(st.sampled_from(sorted(tasks)), max_size=2)) if is_harsh else frozenset(),
        is_quiet=is_quiet,
    )


orders = st.randoms(use_true_random=False) | st.integers(0, 2**32).map(Random)  # the first shrinks, the second roams

# -- playing it ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True, slots=True)
class Turn:
    """One event and what was decided. ``parameters`` are those after it."""

    before: Progress
    event: Event
    decision: Decision
    parameters: Mapping[str, Value]

    @property
    def after(self) -> Progress:
        return self.decision.progress


def play(flow: Flow, order: Random) -> list[Turn]:
    """Deliver every outcome and every timer, in the order of chance, until nothing is left to happen."""
    turns: list[Turn] = []
    progress, parameters = Progress(), dict[str, Value]()
    ahead: list[list[Event]] = [[Started()]]  # for every live attempt and every timer, what it is still to tell
    while ahead:
        lot = order.randrange(len(ahead))
        event = ahead[lot].pop(0)
        if progress.stopping is not None and order.random() < 0.5 and not isinstance(event, Started | RetryDue):
            was_running = progress.status(event.number).state is TaskState.IN_PROCESS or order.random() < 0.5
            event = Stopped(number=event.number, attempt=event.attempt, was_running=was_running)
            ahead[lot].clear()
        if not ahead[lot]:
            ahead.pop(lot)
        decision = decide(flow.plan, progress, event, parameters=parameters, is_sync=flow.is_sync)
        parameters = parameters | dict(decision.parameters)
        turns.append(Turn(before=progress, event=event, decision=decision, parameters=parameters))
        progress = decision.progress
        ahead += [_told_by(flow, each.number, each.attempt) for each in decision.dispatch]
        due = [timer for timer in decision.timers if timer.number not in flow.stays_held]
        ahead += [[RetryDue(number=timer.number, attempt=timer.attempt)] for timer in due]
    return turns


def _told_by(flow: Flow, number: int, attempt: int) -> list[Event]:
    scripts = flow.scripts[number]
    script = scripts[min(attempt, len(scripts)) - 1]
    told: list[Event] = [ChildrenStarted(number=number, attempt=attempt)] * script.rounds
    match script.kind:
        case "succeed":
            return [*told, Succeeded(number=number, attempt=attempt, outputs=flow.outputs(number, script))]
        case "suspend":
            return [*told, Suspended(number=number, attempt=attempt, outputs=flow.outputs(number, script))]
        case _:
            error = ErrorInfo(message=f"boom {number}", code=script.value)
            return [*told, Failed(number=number, attempt=attempt, error=error)]


def in_plan(flow: Flow, progress: Progress) -> Iterator[tuple[int, TaskStatus]]:
    return ((number, progress.status(number)) for number in flow.plan.numbers)


# -- states --------------------------------------------------------------------------------------------------------


def targets(state: TaskState) -> set[TaskState]:
    return {to for (at, event), to in TASK_ARROWS.items() if at is state and event is not TaskEvent.RETURNED}


@given(flow=flows(), order=orders)
@PROPERTY
def test_every_task_moves_along_arrows_and_is_reported(flow, order):
    """One decision may claim a task as well: the claim is known only with the event that follows it."""
    turns = play(flow, order)

    for turn in turns:
        moved = {
            number: status.state
            for number, status in in_plan(flow, turn.after)
            if status != turn.before.status(number) and not status.is_ready
        }
        assert turn.decision.states == moved
        for number, state in moved.items():
            at = turn.before.status(number).state
            through = targets(TaskState.IN_PROCESS) if TaskState.IN_PROCESS in targets(at) else set()
            assert state in targets(at) | through


@given(flow=flows(), order=orders)
@PROPERTY
def test_what_is_over_never_changes(flow, order):
    turns = play(flow, order)

    for turn in turns:
        assert turn.decision.is_late or not turn.before.state.is_final
        for number, status in turn.before.tasks.items():
            if status.state.is_final:
                assert turn.after.tasks[number] == status
        assert turn.before.edges.items() <= turn.after.edges.items()
        assert turn.before.stopping in (None, turn.after.stopping)


@given(flow=flows(), order=orders)
@PROPERTY
def test_the_state_of_an_execution_follows_from_its_tasks(flow, order):
    turns = play(flow, order)

    for turn in turns:
        assert turn.after.state in {
            to for (at, _), to in EXECUTION_ARROWS.items() if at in (turn.before.state, X.PROCESSING)
        }
        assert turn.after.state is expected_state(flow.plan, turn.after)


def expected_state(plan: Plan, progress: Progress) -> X:
    statuses = {number: progress.status(number) for number in plan.numbers}
    states = {status.state for status in statuses.values()}
    if any(status.is_ready or status.state is TaskState.IN_PROCESS for status in statuses.values()):
        return X.PROCESSING
    if TaskState.FATAL in states:
        return X.FAILED
    if TaskState.SUSPENDED in states:
        return X.SUSPENDED
    if TaskState.RETRY_ON_HOLD in states:
        return X.RETRY_ON_HOLD
    sources = {edge.source for edge in plan.edges}
    leaves = [status for number, status in statuses.items() if number not in sources]
    failed = [status for status in statuses.values() if status.state is TaskState.FAILED and not status.is_ignored]
    a_leaf_passed = any(leaf.state is TaskState.SUCCEED or leaf.is_ignored for leaf in leaves)
    return X.FAILED if failed and (not a_leaf_passed or any(leaf in failed for leaf in leaves)) else X.SUCCEEDED


@given(flow=flows(), order=orders)
@PROPERTY
def test_an_execution_comes_to_rest_with_nothing_left_behind(flow, order):
    last = play(flow, order)[-1].after

    waiting = {TaskState.SUSPENDED, TaskState.RETRY_ON_HOLD}
    resting = {number for number, status in in_plan(flow, last) if status.state.is_final}
    held = {number for number, status in in_plan(flow, last) if status.state in waiting}
    assert last.active == 0
    assert last.state.is_final == (resting == set(flow.plan.numbers))
    assert last.state.is_final or held
    for number in set(flow.plan.numbers) - resting - held:  # what is left waits for something that waits
        assert {edge.source for edge in flow.plan.edges if edge.target == number} - resting - {TRIGGER}


# -- joins and forks -----------------------------------------------------------------------------------------------


@given(flow=flows(), order=orders)
@PROPERTY
def test_a_task_that_is_over_has_decided_its_edges_and_no_other_has(flow, order):
    turns = play(flow, order)

    for turn in turns:
        over = {TRIGGER} | {number for number, status in in_plan(flow, turn.after) if status.state.is_final}
        assert turn.after.edges.keys() == {edge.index for edge in flow.plan.edges if edge.source in over}


@given(flow=flows(), order=orders)
@PROPERTY
def test_edges_are_true_where_their_task_passed_and_their_condition_holds(flow, order):
    turns = play(flow, order)

    for turn in turns:
        for source in (TRIGGER, *flow.plan.numbers):
            edges = flow.plan.edges_of(source)
            if edges and edges[0].index in turn.after.edges.keys() - turn.before.edges.keys():
                results = [turn.after.edges[edge.index] for edge in edges]
                assert results == expected_edges(flow.plan, source, turn)


def expected_edges(plan: Plan, source: int, turn: Turn) -> list[bool]:
    status, edges = turn.after.status(source), plan.edges_of(source)
    fork = plan.trigger.fork if source == TRIGGER else plan.tasks[source].config.fork
    if not (source == TRIGGER or status.state is TaskState.SUCCEED or status.is_ignored):
        return [False] * len(edges)
    results = [edge.holds(turn.parameters) for edge in edges]
    if fork is ForkPolicy.RUN_ALL_MATCH:
        return results
    return [result and not any(results[:place]) for place, result in enumerate(results)]


@given(flow=flows(), order=orders)
@PROPERTY
def test_a_task_runs_exactly_where_its_join_says_so(flow, order):
    turns = play(flow, order)

    for progress in (turn.after for turn in turns):
        for number, status in in_plan(flow, progress):
            results = [progress.edges.get(edge.index) for edge in flow.plan.edges if edge.target == number]
            is_due = {
                JoinStrategy.WHEN_ANY_SUCCEED: True in results,
                JoinStrategy.WHEN_ALL_SUCCEED: None not in results and True in results,
                JoinStrategy.WHEN_ALL_TASKS_AND_CONDITIONS_SUCCEED: set(results) == {True},
            }[flow.plan.tasks[number].config.join]
            if status.attempt:
                assert is_due
            elif status.state is TaskState.SKIPPED:
                assert progress.stopping or (None not in results and not is_due)
            else:
                assert status == TaskStatus()
                assert not progress.stopping
                assert None in results
                assert not is_due


# -- failures ------------------------------------------------------------------------------------------------------


@given(flow=flows(), order=orders)
@PROPERTY
def test_a_failure_leads_to_what_its_policy_says(flow, order):
    turns = play(flow, order)

    for turn in turns:
        if isinstance(turn.event, Failed) and not turn.decision.is_late:
            number, told = turn.event.number, {"message": turn.event.error.message, "code": turn.event.error.code}
            assert turn.after.status(number) == expected_failure(flow, turn.event, turn.before)
            assert turn.parameters[ERROR_INFO].data == told
            assert turn.parameters[ERROR_MESSAGE].data == told["message"]


def expected_failure(flow: Flow, event: Failed, before: Progress) -> TaskStatus:
    config = flow.plan.tasks[event.number].config
    conditional = config.conditional_failure_policies or ConditionalFailurePolicies()
    by_mode = config.sync_failure_policy if flow.is_sync else config.failure_policy
    policies = [each for each in (*conditional.policies, conditional.default, by_mode) if each]
    counting = [each for each in policies if each.condition in ("", f"$`ErrorInfo.code`$ = {event.error.code}")]
    policy = counting[0] if counting else FailurePolicy()
    match policy.strategy:
        case RetryStrategy.IGNORE:
            return TaskStatus(TaskState.FAILED, event.attempt, is_ignored=True)
        case RetryStrategy.FATAL:
            return TaskStatus(TaskState.FATAL, event.attempt)
        case RetryStrategy.NONE | RetryStrategy.RESTART_INTEGRATION_WITH_BACKOFF:
            return TaskStatus(TaskState.FAILED, event.attempt)
    is_tried_again = event.attempt <= policy.max_retries and not before.stopping
    return TaskStatus(TaskState.RETRY_ON_HOLD if is_tried_again else TaskState.FAILED, event.attempt)


# -- dispatching ---------------------------------------------------------------------------------------------------


@given(flow=flows(), order=orders)
@PROPERTY
def test_attempts_are_dispatched_one_after_the_other_and_each_once(flow, order):
    turns = play(flow, order)

    attempts = Counter[int]()
    for turn in turns:
        for dispatch in turn.decision.dispatch:
            attempts[dispatch.number] += 1
            assert dispatch.attempt == attempts[dispatch.number]
            assert turn.after.status(dispatch.number).is_ready
    assert set(attempts.values()) <= set(range(1, MOST_ATTEMPTS + 1))
    assert attempts == {number: status.attempt for number, status in turns[-1].after.tasks.items() if status.attempt}


@given(flow=flows(), order=orders)
@PROPERTY
def test_after_a_fatal_failure_nothing_starts_and_the_execution_fails(flow, order):
    turns = play(flow, order)

    for turn in turns:
        is_fatal = TaskState.FATAL in {status.state for status in turn.after.tasks.values()}
        assert (turn.after.stopping is X.FAILED) is is_fatal
        if is_fatal:
            assert turn.decision.dispatch == turn.decision.timers == ()
            assert turns[-1].after.state is X.FAILED


@given(flow=flows(), order=orders)
@PROPERTY
def test_a_timer_is_set_for_every_task_that_is_held_and_for_no_other(flow, order):
    turns = play(flow, order)

    for turn in turns:
        held = [number for number, state in turn.decision.states.items() if state is TaskState.RETRY_ON_HOLD]
        timers = [(timer.number, timer.attempt) for timer in turn.decision.timers]
        assert timers == [(number, turn.after.status(number).attempt) for number in held]


@given(flow=flows(), order=orders)
@PROPERTY
def test_the_number_of_decisions_is_bounded_by_the_attempts(flow, order):
    """One for the start; for every attempt its outcome, its rounds of children and the timer before it."""
    turns = play(flow, order)

    attempts = sum(len(turn.decision.dispatch) for turn in turns)
    rounds = max(script.rounds for script in _SCRIPTS)
    in_time = [turn for turn in turns if not turn.decision.is_late]
    late = [turn.event for turn in turns if turn.decision.is_late]
    assert len(in_time) <= 1 + attempts * (1 + rounds + 1)
    assert all(isinstance(event, RetryDue) for event in late)  # of tasks that were cancelled while they were held


# -- late events ---------------------------------------------------------------------------------------------------


@given(flow=flows(), order=orders)
@PROPERTY
def test_an_event_that_comes_twice_or_for_another_attempt_changes_nothing(flow, order):
    turns = play(flow, order)

    past: list[Event] = []
    for turn in turns:
        past += [turn.event] if not isinstance(turn.event, Started) else []
        for event in [*past[-1:], *order.sample(past, min(len(past), 3)), *of_other_attempts(turn.after)]:
            again = decide(flow.plan, turn.after, event, parameters=turn.parameters, is_sync=flow.is_sync)
            is_next_round = isinstance(event, ChildrenStarted) and is_live(turn.after, event)
            assert again == Decision(progress=turn.after, is_late=not is_next_round)


def is_live(progress: Progress, event: ChildrenStarted) -> bool:
    status = progress.status(event.number)
    return status.state is TaskState.IN_PROCESS and status.attempt == event.attempt


def of_other_attempts(progress: Progress) -> Iterator[Event]:
    for number, status in progress.tasks.items():
        for attempt in (status.attempt - 1, status.attempt + 1):
            if status.is_active:
                yield Succeeded(number=number, attempt=attempt, outputs={"a": Value(DataType.INT, 9)})
                yield ChildrenStarted(number=number, attempt=attempt)
            elif status.state is TaskState.RETRY_ON_HOLD:
                yield RetryDue(number=number, attempt=attempt)


# -- what is kept --------------------------------------------------------------------------------------------------


@given(flow=flows(), order=orders)
@PROPERTY
def test_the_counters_are_always_what_a_recount_gives(flow, order):
    turns = play(flow, order)

    for progress in (turn.after for turn in turns):
        statuses = list(progress.tasks.values())
        decided = [(flow.plan.edges[index].target, result) for index, result in progress.edges.items()]
        assert progress.active == sum(s.is_ready or s.state is TaskState.IN_PROCESS for s in statuses)
        assert progress.suspended == sum(s.state is TaskState.SUSPENDED for s in statuses)
        assert progress.held == sum(s.state is TaskState.RETRY_ON_HOLD and not s.is_ready for s in statuses)
        assert progress.arrived == Counter(target for target, _ in decided)
        assert progress.true == {
            target: sum(result for each, result in decided if each == target) for target, _ in decided
        }


@given(flow=flows(), order=orders)
@PROPERTY
def test_packed_progress_is_unpacked_as_it_was(flow, order):
    turns = play(flow, order)

    for turn in turns:
        text = pack(flow.plan, turn.after)
        assert unpack(flow.plan, text, turn.after.state) == turn.after
        assert pack(flow.plan, unpack(flow.plan, text, turn.after.state)) == text


@given(flow=flows(), order=orders)
@PROPERTY
def test_the_same_events_give_the_same_decisions_with_progress_packed_in_between(flow, order):
    """As it is at run time: every event may be decided by another process, which has read a row."""
    turns = play(flow, order)

    parameters: dict[str, Value] = {}
    progress = Progress()
    for turn in turns:
        read = unpack(flow.plan, pack(flow.plan, progress), progress.state)
        again = decide(flow.plan, read, turn.event, parameters=parameters, is_sync=flow.is_sync)
        assert again == turn.decision
        progress = again.progress
        parameters |= again.parameters


@given(flow=flows(), order=orders)
@PROPERTY
def test_the_history_alone_gives_states_edges_and_parameters(flow, order):
    turns = play(flow, order)

    states = dict.fromkeys(flow.plan.numbers, TaskState.PENDING_EXECUTION)
    edges: dict[tuple[int, int], bool] = {}
    parameters: dict[str, Value] = {}
    for turn in turns:
        entry = Entry.from_json(json.loads(json.dumps(entry_of(turn).to_json())))
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
    Succeeded: EntryKind.SUCCEEDED,
    Failed: EntryKind.FAILED,
    Suspended: EntryKind.SUSPENDED,
    ChildrenStarted: EntryKind.CHILDREN_STARTED,
    Stopped: EntryKind.STOPPED,
    RetryDue: EntryKind.RETRY_DUE,
}


def entry_of(turn: Turn) -> Entry:
    """As ``drive`` and ``timers`` write it; a start has no kind of its own, and yet it decides and skips."""
    now, event = datetime(2026, 5, 1, tzinfo=UTC), turn.event
    is_start = isinstance(event, Started)
    return Entry(
        kind=EntryKind.LATE if turn.decision.is_late else KINDS.get(type(event), EntryKind.SUCCEEDED),
        task_number=TRIGGER if is_start else event.number,
        attempt=0 if is_start else event.attempt,
        started_at=now,
        ended_at=now,
        states=turn.decision.states,
        edges=turn.decision.edges,
        parameters=turn.decision.parameters,
        error=event.error if isinstance(event, Failed) else None,
    )


# -- order ---------------------------------------------------------------------------------------------------------


@given(flow=flows(is_quiet=True), two=st.tuples(orders, orders))
@PROPERTY
def test_where_joins_wait_for_all_the_order_of_events_makes_no_difference(flow, two):
    """As long as no condition reads what another branch writes, and no failure is fatal: those are races by nature."""
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
