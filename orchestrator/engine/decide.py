"""``decide``: what an event means for an execution. A pure function from (plan, state, event) to a Decision.

Everything that happens to an execution is an event. The rules:

* A task that is over decides all its edges, in definition order: by their conditions if it SUCCEEDed (or FAILED under
  IGNORE), false otherwise. RUN_FIRST_MATCH takes the first true one only.
* WHEN_ALL_SUCCEED         all edges that lead here are decided and one is true: ready; none true: SKIPPED
* WHEN_ANY_SUCCEED         the first true edge makes it ready, once; all decided and none true: SKIPPED
* WHEN_ALL_..._CONDITIONS  all edges that lead here are decided and all are true: ready; else SKIPPED
* A SKIPPED task is over, so skipping runs on through the graph within the same decision.
* A failure that is FATAL stops the execution: nothing becomes ready any more, what waits is SKIPPED, what is held or
  suspended is CANCELLED (then or as soon as it gets there), and the execution is FAILED once nothing of it runs. What
  stopped it first counts: a later FATAL changes neither the outcome nor the error.
* An execution is over when no task is ready, running, held or suspended. It FAILED if a leaf FAILED, or if something
  FAILED and no leaf SUCCEEDed. So an execution in which nothing failed has SUCCEEDED, even where conditions skipped
  every leaf: a rejected approval is an answer, not an error.
* An event of another attempt, or of a task that is over, is late: it changes nothing.

What must not happen: a state change without an arrow of ``model.states``, a look at the clock, or chance: both are
handed in.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Final, assert_never

from orchestrator.engine.events import (
    ChildrenStarted,
    Event,
    Failed,
    RetryDue,
    Started,
    Stopped,
    Succeeded,
    Suspended,
    TaskOutcome,
)
from orchestrator.engine.plan import TRIGGER, Edge, Plan
from orchestrator.engine.progress import UNTOUCHED, Progress, TaskStatus
from orchestrator.errors import InvalidValue
from orchestrator.model.conditions import parse_condition
from orchestrator.model.history import ErrorInfo
from orchestrator.model.integration import ForkPolicy, JoinStrategy, TaskConfig
from orchestrator.model.policies import FailurePolicy, RetryStrategy
from orchestrator.model.states import (
    ExecutionEvent,
    ExecutionState,
    TaskEvent,
    TaskState,
    next_execution_state,
    next_task_state,
)
from orchestrator.model.values import DataType, Value

ERROR_INFO: Final = "`ErrorInfo`"
ERROR_MESSAGE: Final = "ErrorMessage"  # a variable of this name, if declared, takes the message of a failed task
_NO_POLICY: Final = FailurePolicy()

# -- decisions -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True, slots=True)
class Dispatch:
    """A task has become ready: run this attempt of it."""

    number: int
    attempt: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Timer:
    """Try this task again after ``after_s`` seconds."""

    number: int
    attempt: int
    after_s: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Decision:
    """What an event means.

    Attributes:
        progress: where the execution stands now; ``progress.state`` tells whether it is over.
        states: the tasks whose state changed, and to what.
        edges: the edges that were decided, (source, target) to result.
        parameters: the parameters that changed.
        dispatch: tasks that became ready.
        timers: retries to come.
        is_late: the event came too late and changed nothing.
    """

    progress: Progress
    states: Mapping[int, TaskState] = field(default_factory=dict)
    edges: Mapping[tuple[int, int], bool] = field(default_factory=dict)
    parameters: Mapping[str, Value] = field(default_factory=dict)
    dispatch: tuple[Dispatch, ...] = ()
    timers: tuple[Timer, ...] = ()
    is_late: bool = False


def decide(
    plan: Plan, progress: Progress, event: Event, *, parameters: Mapping[str, Value], is_sync: bool = False
) -> Decision:
    """What ``event`` means for an execution that stands at ``progress``.

    Args:
        plan: of the execution's version and trigger.
        progress: where it stands.
        event: what happened.
        parameters: the execution's parameters before the event, system variables included.
        is_sync: whether it runs synchronously; failure policies differ.
    """
    draft = _Draft(plan, progress, parameters, is_sync=is_sync)
    match event:
        case Started():
            draft.move_execution(ExecutionEvent.STARTED)
            draft.decide_edges(TRIGGER, passes=True)
        case RetryDue(number=number, attempt=attempt):
            if not draft.waits_for_retry(number, attempt):
                return Decision(progress=progress, is_late=True)
            draft.make_ready(number)
        case _ if draft.is_late(event):
            return Decision(progress=progress, is_late=True)
        case Succeeded(number=number, outputs=outputs):
            draft.set_parameters(outputs)
            draft.finish(number, TaskEvent.SUCCEEDED, passes=True)
        case Failed():
            draft.fail(event)
        case Suspended(number=number, outputs=outputs):
            draft.set_parameters(outputs)
            draft.suspend(number)
        case ChildrenStarted(number=number):
            draft.begin(number)
        case Stopped(number=number, was_running=was_running):
            draft.stop_task(number, was_running=was_running)
        case _:
            assert_never(event)
    return draft.decision()


class _Draft:
    """The working copy that one decision is made on."""

    def __init__(self, plan: Plan, progress: Progress, parameters: Mapping[str, Value], *, is_sync: bool) -> None:
        self.plan, self.is_sync = plan, is_sync
        self.state = progress.state
        self.tasks = dict(progress.tasks)
        self.edges = dict(progress.edges)
        self.arrived, self.true = dict(progress.arrived), dict(progress.true)
        self.active, self.suspended, self.held = progress.active, progress.suspended, progress.held
        self.stopping, self.error = progress.stopping, progress.error
        self.parameters: Mapping[str, Value] = parameters
        self.changed: dict[str, Value] = {}
        self.states: dict[int, TaskState] = {}
        self.decided: dict[tuple[int, int], bool] = {}
        self.dispatch: list[Dispatch] = []
        self.timers: list[Timer] = []
        self.over: list[tuple[int, bool]] = []  # tasks whose edges are still to be decided, and whether they pass

    def is_late(self, event: TaskOutcome) -> bool:
        status = self.tasks.get(event.number)
        return status is None or not status.is_active or status.attempt != event.attempt

    def waits_for_retry(self, number: int, attempt: int) -> bool:
        status = self.tasks.get(number, UNTOUCHED)
        return _is_held(status) and status.attempt == attempt

    # -- one task --------------------------------------------------------------------------------------------------

    def move(self, number: int, event: TaskEvent, *, is_ignored: bool = False) -> None:
        """Follow one arrow. The only place where a task's state changes."""
        before = self.tasks.get(number, UNTOUCHED)
        self._put(
            number, replace(before, state=next_task_state(before.state, event), is_ready=False, is_ignored=is_ignored)
        )
        self.states[number] = self.tasks[number].state

    def _put(self, number: int, after: TaskStatus) -> None:
        before = self.tasks.get(number, UNTOUCHED)
        self.tasks[number] = after
        self.active += after.is_active - before.is_active
        self.suspended += (after.state is TaskState.SUSPENDED) - (before.state is TaskState.SUSPENDED)
        self.held += _is_held(after) - _is_held(before)

    def make_ready(self, number: int) -> None:
        before = self.tasks.get(number, UNTOUCHED)
        self._put(number, replace(before, is_ready=True, attempt=before.attempt + 1))
        self.dispatch.append(Dispatch(number=number, attempt=before.attempt + 1))

    def begin(self, number: int) -> None:
        """The claim went before the event that tells of it."""
        if self.tasks[number].state is not TaskState.IN_PROCESS:
            self.move(number, TaskEvent.CLAIMED)

    def finish(self, number: int, event: TaskEvent, *, passes: bool, is_ignored: bool = False) -> None:
        self.begin(number)
        self.move(number, event, is_ignored=is_ignored)
        self.over.append((number, passes))

    def skip(self, number: int) -> None:
        self.move(number, TaskEvent.SKIPPED)
        self.over.append((number, False))

    def cancel(self, number: int) -> None:
        self.move(number, TaskEvent.CANCELLED)
        self.over.append((number, False))

    def suspend(self, number: int) -> None:
        self.begin(number)
        self.move(number, TaskEvent.SUSPENDED)
        if self.stopping is not None:  # nobody would lift it: an execution that is stopping does not wait
            self.cancel(number)

    # -- failures --------------------------------------------------------------------------------------------------

    def fail(self, event: Failed) -> None:
        # The traceback stays in the history: what counts here is written again with every commit.
        number, error = event.number, replace(event.error, task_number=event.number, traceback="")
        self._tell_of(error)
        policy = _policy_for(self.plan.tasks[number].config, self.parameters, is_sync=self.is_sync)
        match policy.strategy:
            case RetryStrategy.IGNORE:
                self.finish(number, TaskEvent.FAILED, passes=True, is_ignored=True)
                return
            case RetryStrategy.FATAL:
                self.finish(number, TaskEvent.FAILED_FATALLY, passes=False)
                if self.stopping is None:
                    self.error = error
                    self.stop(ExecutionState.FAILED)
                return
            case RetryStrategy.NONE | RetryStrategy.RESTART_INTEGRATION_WITH_BACKOFF:
                pass
            case _ if event.attempt <= policy.max_retries and self.stopping is None:
                self.begin(number)
                self.move(number, TaskEvent.HELD)
                after_s = policy.delay_s(event.attempt, event.jitter)
                self.timers.append(Timer(number=number, attempt=event.attempt, after_s=after_s))
                return
        self.finish(number, TaskEvent.FAILED, passes=False)
        self.error = self.error or error

    def _tell_of(self, error: ErrorInfo) -> None:
        """The parameters in which conditions and later tasks see the failure."""
        told = {ERROR_INFO: Value(DataType.JSON, {"message": error.message, "code": error.code})}
        if ERROR_MESSAGE in self.plan.parameters:
            told[ERROR_MESSAGE] = Value(DataType.STRING, error.message)
        for key, value in told.items():
            with suppress(InvalidValue):  # declared as a type that cannot hold it: the failure counts all the same
                self.set_parameters(self.plan.typed({key: value}))

    def stop(self, outcome: ExecutionState) -> None:
        """Nothing becomes ready any more; what only waits is over now, what runs is left to end."""
        self.stopping = outcome
        for number in self.plan.numbers:
            status = self.tasks.get(number, UNTOUCHED)
            if status.is_active:
                continue
            if status.state is TaskState.PENDING_EXECUTION:
                self.skip(number)
            elif status.state in (TaskState.RETRY_ON_HOLD, TaskState.SUSPENDED):
                self.cancel(number)

    def stop_task(self, number: int, *, was_running: bool) -> None:
        if not was_running and self.tasks[number].state is TaskState.PENDING_EXECUTION:
            self.skip(number)
        elif self.tasks[number].state is TaskState.RETRY_ON_HOLD:
            self.cancel(number)
        else:
            self.finish(number, TaskEvent.CANCELLED, passes=False)

    # -- the graph -------------------------------------------------------------------------------------------------

    def set_parameters(self, outputs: Mapping[str, Value]) -> None:
        if outputs:
            self.changed.update(outputs)
            self.parameters = {**self.parameters, **outputs}

    def decide_edges(self, number: int, *, passes: bool) -> None:
        """Decide the edges of a task that is over, then of those that this skips, and so on."""
        self.over.append((number, passes))
        self._settle()

    def _settle(self) -> None:
        while self.over:
            number, passes = self.over.pop()
            takes_all = self.plan.fork_of(number) is ForkPolicy.RUN_ALL_MATCH
            taken = False
            for edge in self.plan.edges_of(number):
                result = passes and (takes_all or not taken) and edge.holds(self.parameters)
                taken = taken or result
                self._decide_edge(edge, result=result)

    def _decide_edge(self, edge: Edge, *, result: bool) -> None:
        self.edges[edge.index] = result
        self.decided[edge.source, edge.target] = result or self.decided.get((edge.source, edge.target), False)
        target = edge.target
        arrived = self.arrived[target] = self.arrived.get(target, 0) + 1
        true = self.true[target] = self.true.get(target, 0) + result
        status = self.tasks.get(target, UNTOUCHED)
        if status.state is not TaskState.PENDING_EXECUTION or status.is_ready:
            return
        task = self.plan.tasks[target]
        if self.stopping is None and _is_due(task.config.join, fan_in=task.fan_in, arrived=arrived, true=true):
            self.make_ready(target)
        elif arrived == task.fan_in or self.stopping is not None:
            self.skip(target)

    # -- the execution ---------------------------------------------------------------------------------------------

    def move_execution(self, event: ExecutionEvent) -> None:
        self.state = next_execution_state(self.state, event)

    def decision(self) -> Decision:
        self._settle()
        self.move_execution(self._where_it_stands())
        return Decision(
            progress=Progress(
                state=self.state,
                tasks=self.tasks,
                edges=self.edges,
                arrived=self.arrived,
                true=self.true,
                active=self.active,
                suspended=self.suspended,
                held=self.held,
                stopping=self.stopping,
                error=self.error,
            ),
            states=self.states,
            edges=self.decided,
            parameters=self.changed,
            dispatch=tuple(self.dispatch),
            timers=tuple(self.timers),
        )

    def _where_it_stands(self) -> ExecutionEvent:
        if self.active:
            return ExecutionEvent.WORKING
        if self.stopping is not None:
            return ExecutionEvent.FAILED if self.stopping is ExecutionState.FAILED else ExecutionEvent.CANCELLED
        if self.suspended:
            return ExecutionEvent.SUSPENDED
        if self.held:
            return ExecutionEvent.HELD
        return ExecutionEvent.FAILED if self._has_failed() else ExecutionEvent.SUCCEEDED

    def _has_failed(self) -> bool:
        if self.error is None:
            return False
        leaves = [self.tasks[number] for number, task in self.plan.tasks.items() if task.is_leaf]
        a_leaf_failed = any(leaf.state is TaskState.FAILED and not leaf.is_ignored for leaf in leaves)
        return a_leaf_failed or not any(leaf.state is TaskState.SUCCEED or leaf.is_ignored for leaf in leaves)


def _is_held(status: TaskStatus) -> bool:
    return status.state is TaskState.RETRY_ON_HOLD and not status.is_ready


def _is_due(join: JoinStrategy, *, fan_in: int, arrived: int, true: int) -> bool:
    match join:
        case JoinStrategy.WHEN_ANY_SUCCEED:
            return true > 0
        case JoinStrategy.WHEN_ALL_SUCCEED:
            return arrived == fan_in and true > 0
        case JoinStrategy.WHEN_ALL_TASKS_AND_CONDITIONS_SUCCEED:
            return arrived == fan_in and true == fan_in
        case _:
            assert_never(join)


def _policy_for(config: TaskConfig, parameters: Mapping[str, Value], *, is_sync: bool) -> FailurePolicy:
    """The first whose condition holds of: conditional policies, their default, the policy of the mode; else NONE."""
    ahead: list[FailurePolicy | None] = []
    if config.conditional_failure_policies is not None:
        ahead += [*config.conditional_failure_policies.policies, config.conditional_failure_policies.default]
    ahead.append(config.sync_failure_policy if is_sync else config.failure_policy)
    found = (each for each in ahead if each is not None and parse_condition(each.condition).holds(parameters))
    return next(found, _NO_POLICY)
