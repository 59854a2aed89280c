"""Random executions: ``flows`` draws a plan and how every attempt will end, ``play`` lets it happen in any order.

``play`` is the smallest orchestrator there can be: it delivers outcomes, answers, timers, kills or a deadline in an
order of chance until none is left. Some events come twice, some attempts lose their worker on the way, some kill it.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any, Final

from hypothesis import settings
from hypothesis import strategies as st

from orchestrator.engine.decide import decide
from orchestrator.engine.decisions import Decision, Dispatch
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
from orchestrator.engine.failures import ERROR_MESSAGE
from orchestrator.engine.plan import Plan, make_plan
from orchestrator.engine.progress import Progress, TaskStatus
from orchestrator.model.history import ErrorInfo
from orchestrator.model.integration import ForkPolicy, JoinStrategy, NextTask, Rollback
from orchestrator.model.policies import ConditionalFailurePolicies, FailurePolicy, RetryStrategy
from orchestrator.model.states import TaskState
from orchestrator.model.timers import TimerKind
from orchestrator.model.values import DataType, Value
from tests.unit.factories import make_catcher, make_integration, make_parameter, make_task, make_trigger

PROPERTY: Final = settings(max_examples=40)
MANY: Final = settings(PROPERTY, max_examples=120)  # two seconds; a new rule deserves 5,000 once
MOST_TASKS: Final = 40
MOST_ATTEMPTS: Final = 3  # in one run: the policies below try again twice at most
MOST_RUNS: Final = 3
MOST_ROUNDS: Final = 2  # of sub-executions in one attempt
INITIAL: Final = {"z": Value(DataType.INT, 1)}  # what every execution begins with
_NEARLY_ALWAYS = ("",) * 14  # most edges have no condition; else most of every graph would be skipped
_RACING_CONDITIONS = (
    *_NEARLY_ALWAYS,
    *("$a$ = 1", "$a$ != 1", "$b$ > 0", "$a$ < $b$ OR exists($c$)", "$`ErrorInfo.code`$ = 404", "NOT exists($b$)"),
)
_QUIET_CONDITIONS = (*_NEARLY_ALWAYS, "$o{}$ = 1", "$o{}$ != 1", "exists($o{}$)", "NOT exists($o{}$)")

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
_RESTARTS = [
    _policy(RetryStrategy.RESTART_INTEGRATION_WITH_BACKOFF, 2),
    _policy(RetryStrategy.RESTART_INTEGRATION_WITH_BACKOFF, 1, code=500),
]
_QUIET_POLICIES: list[dict[str, Any]] = [
    {},
    {"failure_policy": _policy(RetryStrategy.NONE)},
    {"failure_policy": _IGNORE, "sync_failure_policy": _RETRIES[0]},
    *({"failure_policy": retry, "sync_failure_policy": retry} for retry in _RETRIES),
    {
        "conditional_failure_policies": ConditionalFailurePolicies(
            policies=(_policy(RetryStrategy.IGNORE, code=404), _policy(RetryStrategy.NONE, code=500)),
            default=_RETRIES[1],
        )
    },
]
_MILD_POLICIES = [
    *_QUIET_POLICIES,
    {"failure_policy": _RESTARTS[0], "sync_failure_policy": _IGNORE},
    *({"failure_policy": restart, "sync_failure_policy": restart} for restart in _RESTARTS),
]
_HARSH_POLICIES = [
    *_MILD_POLICIES,
    *[{"failure_policy": _FATAL, "sync_failure_policy": _FATAL}] * 4,
    {"conditional_failure_policies": ConditionalFailurePolicies(policies=(_policy(RetryStrategy.FATAL, code=500),))},
]
_ROLLBACKS = [
    *[None] * 3,
    *(Rollback(task="Noop", failure_policy=policy) for policy in (None, None, _RETRIES[0], _RETRIES[2], _FATAL)),
]
_FORKS = (*[ForkPolicy.RUN_ALL_MATCH] * 3, ForkPolicy.RUN_FIRST_MATCH)
_CATCHERS = ("one", "two")
_CAUGHT_BY = ("", "", *_CATCHERS)
_ALL_JOINS = (JoinStrategy.WHEN_ALL_SUCCEED, JoinStrategy.WHEN_ALL_TASKS_AND_CONDITIONS_SUCCEED)


def _forms(*, is_quiet: bool, is_harsh: bool) -> list[dict[str, Any]]:
    """Everything a task may be, in one list: one draw a task, because most of the time goes there."""
    joins = _ALL_JOINS if is_quiet else tuple(JoinStrategy)
    policies = _QUIET_POLICIES if is_quiet else _HARSH_POLICIES if is_harsh else _MILD_POLICIES
    rollbacks = [None] if is_quiet else _ROLLBACKS
    return [
        {"join": join, "fork": fork, "rollback": rollback, "error_catcher_id": caught_by, **policy}
        for join, fork, rollback, caught_by, policy in itertools.product(joins, _FORKS, rollbacks, _CAUGHT_BY, policies)
    ]


_FORMS = {
    (is_quiet, is_harsh): st.sampled_from(_forms(is_quiet=is_quiet, is_harsh=is_harsh))
    for is_quiet in (True, False)
    for is_harsh in (True, False)
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Script:
    """How one attempt goes: rounds of children, then its outcome.

    ``value`` is put out. Of a failure it is the code, of a suspension the answer: 1 lifts, 2 rejects, 3 never comes.
    """

    kind: str
    rounds: int
    value: int


_SCRIPTS = {
    is_harsh: st.lists(
        st.sampled_from(
            [
                Script(kind=kind, rounds=rounds, value=value)
                for kind, values in (
                    ("succeed", (0, 1, 2)),
                    ("fail", (404, 500, 503)),
                    ("succeed", (0, 1, 2)),
                    *([("suspend", (1, 1, 2, 3))] if is_harsh else []),
                )
                for rounds in (0, 0, MOST_ROUNDS)
                for value in values
            ]
        ),
        min_size=1,
        max_size=MOST_ATTEMPTS,
    )
    for is_harsh in (True, False)
}
_UNWANTED = ErrorInfo(message="a task was cancelled by ann", code="CANCELLED")
_TOO_LATE = DeadlinePassed(error=ErrorInfo(message="too late", code="EXECUTION_TIMEOUT"))
_STOPS: list[tuple[Event, ...]] = [
    *[()] * 4,
    (Killed(),),
    (Killed(rolls_back=True),),
    (_TOO_LATE,),
    (_TOO_LATE, Killed(rolls_back=True), Killed()),
]


@dataclass(frozen=True, kw_only=True, slots=True, repr=False)
class Flow:
    """A plan, and what becomes of it.

    The timers and releases of ``stays_held`` never come; ``stops`` do, and a KILL of each of ``kills``, at any time.
    """

    plan: Plan
    is_sync: bool
    scripts: Mapping[int, Sequence[Script]]
    stays_held: frozenset[int]
    stops: tuple[Event, ...]
    kills: tuple[int, ...]
    is_quiet: bool

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        """What Hypothesis prints of a failure: the graph and the scripts, not the whole version behind them."""
        printer.text(f"\n{self}\n")

    def __repr__(self) -> str:
        edges = [f"{e.source}->{e.target} {e.condition.text if e.condition else ''}".strip() for e in self.plan.edges]
        lines = [
            f"is_sync={self.is_sync} stays_held={sorted(self.stays_held)} stops={self.stops} kills={self.kills}",
            f"edges: {', '.join(edges)}",
        ]
        for number, task in self.plan.tasks.items():
            policies = [f"{place} {policy.strategy} {policy.condition}" for place, policy in task.config.policies()]
            lines.append(
                f"{number}: {task.config.join} {task.config.fork} {policies} caught by {task.catcher} "
                f"undone={task.config.rollback is not None} {self.scripts[number]}"
            )
        return "\n".join(lines)

    def outputs(self, number: int, script: Script) -> dict[str, Value]:
        key = f"o{number}" if self.is_quiet else "abc"[number % 3]
        return {key: Value(DataType.INT, script.value)} if script.value else {}


def _number_at(position: int) -> int:
    """Task numbers that say nothing of the order of execution; all different, because 41 is a prime."""
    return position * 17 % (MOST_TASKS + 1) + 1


@st.composite
def flows(draw: st.DrawFn, *, is_quiet: bool = False) -> Flow:
    """A random flow. In a quiet one no task can see what another one does at the same time, and nothing stops it.

    Half of the others are harsh: with so many ways to stop or to wait, they hardly ever come to the rule for leaves.
    """
    count = draw(st.integers(1, 8) | st.integers(6, 20) | st.integers(15, MOST_TASKS))
    next_tasks: dict[int, list[NextTask]] = {position: [] for position in range(count)}
    ancestors: dict[int, list[int]] = {}

    def edge_to(target: int, source: int | None) -> NextTask:
        if not is_quiet or source is None:
            return NextTask(number=_number_at(target), condition=draw(st.sampled_from(_RACING_CONDITIONS)))
        seen = draw(st.sampled_from([source, *ancestors[source]]))
        condition = draw(st.sampled_from(_QUIET_CONDITIONS)).format(_number_at(seen))
        return NextTask(number=_number_at(target), condition=condition)

    for position in range(count):
        parents = draw(st.just([]) | st.lists(st.integers(0, position - 1), max_size=4)) if position else []
        for parent in parents:
            next_tasks[parent].append(edge_to(position, parent))
        ancestors[position] = sorted({each for parent in parents for each in (parent, *ancestors[parent])})

    is_harsh = draw(st.booleans())
    form, scripts = _FORMS[is_quiet, is_harsh], _SCRIPTS[is_harsh and not is_quiet]
    drawn = {_number_at(position): (draw(form), draw(scripts)) for position in range(count)}
    trigger = make_trigger(
        starts=[edge_to(start, None) for start in draw(_starts(count))],
        fork=draw(st.sampled_from(_FORKS)),
        error_catcher_id=draw(st.sampled_from(_CAUGHT_BY)),
    )
    caught = [
        draw(st.lists(st.integers(1, count - 1), max_size=3, unique=True)) if count > 1 else [] for _ in _CATCHERS
    ]
    catchers = [
        # A condition of a quiet one must not see which failure came first.
        make_catcher(name, starts=[_number_at(start) if is_quiet else edge_to(start, None) for start in starts])
        for name, starts in zip(_CATCHERS, caught, strict=True)
    ]
    tasks = {_number_at(position): edges for position, edges in next_tasks.items()}
    version = make_integration(
        *(make_task(number, next=tasks[number], **form) for number, (form, _) in sorted(drawn.items())),
        triggers=[trigger],
        error_catchers=tuple(catchers),
        parameters=[make_parameter(ERROR_MESSAGE)],
    )
    is_rough = is_harsh and not is_quiet
    return Flow(
        plan=make_plan(version, trigger, light=()),
        is_sync=draw(st.booleans()),
        scripts={number: scripts for number, (_, scripts) in drawn.items()},
        stays_held=draw(st.frozensets(st.sampled_from(sorted(tasks)), max_size=2)) if is_rough else frozenset(),
        stops=draw(st.sampled_from(_STOPS)) if not is_quiet else (),
        kills=() if is_quiet else tuple(draw(st.just([]) | st.lists(st.sampled_from(sorted(tasks)), max_size=4))),
        is_quiet=is_quiet,
    )


def _starts(count: int) -> st.SearchStrategy[list[int]]:
    """Mostly none are named, and the default ones count."""
    some = st.lists(st.integers(0, count - 1), min_size=(count + 1) // 2, unique=True)
    return st.just([]) | st.just([]) | some


orders = st.randoms(use_true_random=False) | st.integers(0, 2**32).map(Random)  # the first shrinks, the second roams

# -- playing it ----------------------------------------------------------------------------------------------------

_TOO_MANY: Final = 20_000  # turns: far more than the largest flow takes
_OF_ATTEMPTS = (Succeeded, Failed, Suspended, ChildrenStarted, Stopped)


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
    """Let everything happen, in the order of chance, until nothing is left to happen."""
    turns: list[Turn] = []
    progress, parameters = Progress(), dict(INITIAL)
    ahead: list[list[Event]] = [[Started()], *([stop] for stop in flow.stops)]  # lots: what is told one after the other
    while ahead:
        event = _draw(flow, ahead, progress, order)
        if isinstance(event, Started) and progress.state.is_final:
            continue  # it was killed while its start was put off; nobody would start it now
        decision = decide(flow.plan, progress, event, parameters=parameters, is_sync=flow.is_sync)
        parameters = (dict(INITIAL) if decision.is_restart else parameters) | dict(decision.parameters)
        turns.append(Turn(before=progress, event=event, decision=decision, parameters=parameters))
        progress = decision.progress
        ahead += _caused_by(flow, event, decision)
        assert len(turns) < _TOO_MANY, "it never ends"
    return turns


def _draw(flow: Flow, ahead: list[list[Event]], progress: Progress, order: Random) -> Event:
    """The next event of any lot; some of those of attempts go another way than planned."""
    lot = order.randrange(len(ahead))
    if isinstance(ahead[lot][0], Killed | TaskKilled | DeadlinePassed) and order.random() < 0.9:
        lot = order.randrange(len(ahead))  # else most executions would be stopped at their very beginning
    event = ahead[lot][0]
    chance = order.random()
    if isinstance(event, _OF_ATTEMPTS):
        status = progress.status(event.number)
        if (progress.stopping is not None or status.is_killed) and chance < 0.4:
            was_running = status.state is TaskState.IN_PROCESS or chance < 0.2
            event = Stopped(number=event.number, attempt=event.attempt, was_running=was_running)
            ahead[lot].clear()
        elif 0.9 < chance < 0.93 and not flow.is_quiet:
            event = Quarantined(number=event.number, attempt=event.attempt)
            ahead[lot].clear()
        elif chance > 0.95:
            return Returned(number=event.number, attempt=event.attempt)  # and then it goes on as planned
    ahead[lot] = ahead[lot][1:]
    if not ahead[lot]:
        ahead.pop(lot)
    if chance > 0.9 and not isinstance(event, Started | ChildrenStarted):
        ahead.append([event])  # it comes twice
    return event


def _caused_by(flow: Flow, event: Event, decision: Decision) -> Iterator[list[Event]]:
    """What will happen because of a decision."""
    if decision.is_late:
        return
    if isinstance(event, Started):
        yield from ([TaskKilled(number=number, error=_UNWANTED)] for number in flow.kills)
    for each in decision.dispatch:
        yield _told_by(flow, each, decision.progress)
    for timer in decision.timers:
        if timer.number not in flow.stays_held:
            if timer.kind is TimerKind.RESTART:
                yield [RestartDue(number=timer.number, attempt=timer.attempt, parameters=INITIAL)]
            else:
                yield [RetryDue(number=timer.number, attempt=timer.attempt)]
    if isinstance(event, Quarantined) and event.number not in flow.stays_held:
        yield [Released(number=event.number, attempt=event.attempt)]
    if isinstance(event, Suspended) and decision.progress.status(event.number).state is TaskState.SUSPENDED:
        yield from _answers(flow, event, decision.progress)


def _answers(flow: Flow, event: Suspended, progress: Progress) -> Iterator[list[Event]]:
    number, attempt = event.number, event.attempt
    script = _script(flow, number, attempt)
    lifted = Lifted(number=number, attempt=attempt, outputs=flow.outputs(number, script))
    rejected = Rejected(number=number, attempt=attempt, error=ErrorInfo(message=f"no {number}", code=404))
    match script.value:
        case 1:
            yield [lifted]
        case 2:
            yield [rejected, lifted]  # somebody else answers as well, and is too late
        case _:
            pass


def _script(flow: Flow, number: int, attempt: int) -> Script:
    scripts = flow.scripts[number]
    return scripts[min(attempt, len(scripts)) - 1]


def _told_by(flow: Flow, dispatch: Dispatch, progress: Progress) -> list[Event]:
    number, attempt = dispatch.number, dispatch.attempt
    tried = attempt - progress.bases.get(number, 0) if dispatch.is_rollback else attempt
    script = _script(flow, number, tried)
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
