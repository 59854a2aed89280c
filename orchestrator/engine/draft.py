"""The draft: the working copy of an execution's progress that one decision is made on.

``decide`` says which rule an event follows; ``failures``, ``stopping``, ``rollback``, ``killing`` and ``quarantine``
know the longer ones. The draft is what they all act on: it moves a task along one arrow, decides edges, and keeps the
counters right. It lives for one decision.

What must not happen: a state that changes anywhere else, or a rule in here that belongs to one kind of event.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import assert_never

from orchestrator.engine.decisions import Decision, Dispatch, Timer
from orchestrator.engine.plan import Edge, Plan
from orchestrator.engine.progress import UNTOUCHED, Progress, TaskStatus
from orchestrator.model.integration import ForkPolicy, JoinStrategy
from orchestrator.model.states import (
    ExecutionEvent,
    TaskEvent,
    TaskState,
    next_execution_state,
    next_task_state,
)
from orchestrator.model.timers import TimerKind
from orchestrator.model.values import Value


class Draft:
    """Where the execution stands while one event is worked in. ``parameters`` and the dicts of ``progress`` change."""

    def __init__(self, plan: Plan, progress: Progress, parameters: dict[str, Value], *, is_sync: bool) -> None:
        self.plan, self.is_sync = plan, is_sync
        self.state = progress.state
        self.tasks, self.edges = progress.tasks, progress.edges
        self.arrived, self.true = progress.arrived, progress.true
        self.active, self.suspended, self.held = progress.active, progress.suspended, progress.held
        self.stopping, self.rolls_back, self.restart = progress.stopping, progress.rolls_back, progress.restart
        self.run, self.bases, self.is_resumed = progress.run, progress.bases, progress.is_resumed
        self.error = progress.error
        self.parameters = parameters
        self.changed: dict[str, Value] = {}
        self.is_restart = False
        self.states: dict[int, TaskState] = {}
        self.decided: dict[tuple[int, int], bool] = {}
        self.dispatch: list[Dispatch] = []
        self.timers: list[Timer] = []
        self.dropped: list[int] = []
        self.over: list[tuple[int, bool]] = []  # tasks whose edges are still to be decided, and whether they pass

    def status(self, number: int) -> TaskStatus:
        """Where a task stands now."""
        return self.tasks.get(number, UNTOUCHED)

    def tried(self, number: int) -> int:
        """How many attempts count against the policy of this task, or of its rollback."""
        return self.status(number).attempt - self.bases.get(number, 0)

    @property
    def is_ending(self) -> bool:
        """Whether nothing may become ready any more, other than to undo what was done."""
        return self.stopping is not None

    @property
    def is_at_rest(self) -> bool:
        """Whether nothing will happen any more by itself, and nobody is waited for."""
        return not (self.active or self.suspended or self.held)

    # -- one task --------------------------------------------------------------------------------------------------

    def move(self, number: int, event: TaskEvent, **marks: bool) -> None:
        """Follow one arrow. The only place where a task's state changes; marks that are not named are taken off."""
        before = self.status(number)
        state = next_task_state(before.state, event)
        self._put(number, before, TaskStatus(state, before.attempt, **marks))
        self.states[number] = state

    def _put(self, number: int, before: TaskStatus, after: TaskStatus) -> None:
        self.tasks[number] = after
        self.active += after.is_active - before.is_active
        self.suspended += (after.state is TaskState.SUSPENDED) - (before.state is TaskState.SUSPENDED)
        self.held += after.is_held - before.is_held

    def make_ready(self, number: int) -> None:
        """The next attempt may be claimed."""
        before = self.status(number)
        attempt = before.attempt + 1
        ready = before._replace(is_ready=True, is_waiting=False, is_quarantined=False, attempt=attempt)
        self._put(number, before, ready)
        self.dispatch.append(Dispatch(number=number, attempt=attempt, is_rollback=before.is_rolling_back))

    def begin(self, number: int) -> None:
        """The claim went before the event that tells of it."""
        match self.status(number).state:
            case TaskState.PENDING_ROLLBACK:
                self.move(number, TaskEvent.ROLLBACK_STARTED)
            case TaskState.PENDING_EXECUTION | TaskState.RETRY_ON_HOLD:
                self.move(number, TaskEvent.CLAIMED, is_killed=self.status(number).is_killed)
            case _:
                pass

    def mark_killed(self, number: int) -> None:
        """Whatever comes of its attempt, it is over then."""
        before = self.status(number)
        self._put(number, before, before._replace(is_killed=True))

    def set_timer(self, number: int, after_s: float, kind: TimerKind = TimerKind.RETRY) -> None:
        """Come back to the attempt of this task later."""
        attempt = self.status(number).attempt
        self.timers.append(Timer(number=number, attempt=attempt, after_s=after_s, kind=kind))

    def finish(self, number: int, event: TaskEvent, *, passes: bool) -> None:
        """A running task is over."""
        self.begin(number)
        self.end(number, event, passes=passes)

    def end(self, number: int, event: TaskEvent, *, passes: bool, **marks: bool) -> None:
        """A task is over; its edges are decided."""
        self.move(number, event, **marks)
        self.over.append((number, passes))

    def skip(self, number: int) -> None:
        """It will not run."""
        self.end(number, TaskEvent.SKIPPED, passes=False)

    def drop(self, number: int) -> None:
        """It was held or suspended, and is not waited for any more."""
        self.dropped.append(number)
        self.end(number, TaskEvent.CANCELLED, passes=False)

    def give_back(self, number: int) -> None:
        """The same attempt waits for a worker again; one that had sub-executions is in the middle of its work still."""
        if self.status(number).state is not TaskState.IN_PROCESS:
            self.begin(number)
            self.move(number, TaskEvent.RETURNED, is_ready=True, is_killed=self.status(number).is_killed)

    def suspend(self, number: int) -> None:
        """It waits for an answer."""
        self.begin(number)
        self.move(number, TaskEvent.SUSPENDED)
        if self.is_ending:  # nobody would lift it: an execution that is stopping does not wait
            self.drop(number)

    # -- the graph -------------------------------------------------------------------------------------------------

    def set_parameters(self, outputs: Mapping[str, Value]) -> None:
        """Parameters that later conditions and tasks see."""
        self.changed.update(outputs)
        self.parameters.update(outputs)

    def decide_edges(self, number: int, *, passes: bool) -> None:
        """Decide the edges of a task that is over, then of those that this skips, and so on."""
        self.over.append((number, passes))
        self.settle()

    def settle(self) -> None:
        """Decide all edges that are still to be decided."""
        while self.over:
            number, passes = self.over.pop()
            self.follow(self.plan.edges_of(number), self.plan.fork_of(number), passes=passes)

    def follow(self, edges: Iterable[Edge], fork: ForkPolicy, *, passes: bool = True) -> None:
        """Decide these edges of one source."""
        takes_all = fork is ForkPolicy.RUN_ALL_MATCH
        taken = False
        for edge in edges:
            result = passes and (takes_all or not taken) and edge.holds(self.parameters)
            taken = taken or result
            self._decide_edge(edge, result=result)

    def _decide_edge(self, edge: Edge, *, result: bool) -> None:
        self.edges[edge.index] = result
        self.decided[edge.source, edge.target] = result or self.decided.get((edge.source, edge.target), False)
        self.arrived[edge.target] = self.arrived.get(edge.target, 0) + 1
        self.true[edge.target] = self.true.get(edge.target, 0) + result
        self.join(edge.target)

    def join(self, target: int) -> None:
        """Find out whether a task is ready, or will not run, by the edges that are decided."""
        status = self.status(target)
        if status.state is not TaskState.PENDING_EXECUTION or status.is_ready:
            return
        arrived, true = self.arrived[target], self.true[target]
        task = self.plan.tasks[target]
        if not self.is_ending and is_due(task.config.join, fan_in=task.fan_in, arrived=arrived, true=true):
            self.make_ready(target)
        elif arrived == task.fan_in or self.is_ending:
            self.skip(target)

    # -- the execution ---------------------------------------------------------------------------------------------

    def move_execution(self, event: ExecutionEvent) -> None:
        """Follow one arrow of the execution."""
        self.state = next_execution_state(self.state, event)

    def to_decision(self) -> Decision:
        """What it all comes to."""
        return Decision(
            progress=self._to_progress(),
            states=self.states,
            edges=self.decided,
            parameters=self.changed,
            is_restart=self.is_restart,
            dispatch=tuple(self.dispatch),
            timers=tuple(self.timers),
            dropped=tuple(self.dropped),
        )

    def _to_progress(self) -> Progress:
        return Progress(
            state=self.state,
            tasks=self.tasks,
            edges=self.edges,
            arrived=self.arrived,
            true=self.true,
            active=self.active,
            suspended=self.suspended,
            held=self.held,
            stopping=self.stopping,
            rolls_back=self.rolls_back,
            restart=self.restart,
            run=self.run,
            bases=self.bases,
            is_resumed=self.is_resumed,
            error=self.error,
        )


def is_due(join: JoinStrategy, *, fan_in: int, arrived: int, true: int) -> bool:
    """Whether a task is ready when so many of the edges that lead to it are decided, and so many are true."""
    match join:
        case JoinStrategy.WHEN_ANY_SUCCEED:
            return true > 0
        case JoinStrategy.WHEN_ALL_SUCCEED:
            return arrived == fan_in and true > 0
        case JoinStrategy.WHEN_ALL_TASKS_AND_CONDITIONS_SUCCEED:
            return arrived == fan_in and true == fan_in
        case _:
            assert_never(join)
