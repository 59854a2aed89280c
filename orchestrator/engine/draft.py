"""The draft: the working copy of an execution's progress that one decision is made on.

``decide`` says which rule an event follows; the draft knows how each rule changes tasks, edges and the execution, one
arrow at a time. It lives for one decision.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Final, assert_never

from orchestrator.engine.decisions import Decision, Dispatch, Timer
from orchestrator.engine.events import Failed
from orchestrator.engine.plan import Edge, Plan
from orchestrator.engine.progress import UNTOUCHED, Progress, Restart, TaskStatus
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
from orchestrator.model.timers import TimerKind
from orchestrator.model.values import DataType, Value

ERROR_INFO: Final = "`ErrorInfo`"
ERROR_MESSAGE: Final = "ErrorMessage"  # a variable of this name, if declared, takes the message of a failed task
_NO_POLICY: Final = FailurePolicy()


class Draft:
    """Where the execution stands while one event is worked in."""

    def __init__(self, plan: Plan, progress: Progress, parameters: Mapping[str, Value], *, is_sync: bool) -> None:
        self.plan, self.is_sync = plan, is_sync
        self.state = progress.state
        self.tasks = dict(progress.tasks)
        self.edges = dict(progress.edges)
        self.arrived, self.true = dict(progress.arrived), dict(progress.true)
        self.active, self.suspended, self.held = progress.active, progress.suspended, progress.held
        self.stopping, self.rolls_back, self.restart = progress.stopping, progress.rolls_back, progress.restart
        self.run, self.bases, self.is_resumed = progress.run, dict(progress.bases), progress.is_resumed
        self.error = progress.error
        self.parameters: Mapping[str, Value] = parameters
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

    def is_suspended(self, number: int) -> bool:
        """Whether somebody may answer for it."""
        return self.status(number).state is TaskState.SUSPENDED

    @property
    def is_ending(self) -> bool:
        """Whether nothing may become ready any more, other than to undo what was done."""
        return self.stopping is not None

    # -- one task --------------------------------------------------------------------------------------------------

    def move(self, number: int, event: TaskEvent, **marks: bool) -> None:
        """Follow one arrow. The only place where a task's state changes; marks that are not named are taken off."""
        before = self.status(number)
        self._put(number, TaskStatus(next_task_state(before.state, event), before.attempt, **marks))
        self.states[number] = self.tasks[number].state

    def _put(self, number: int, after: TaskStatus) -> None:
        before = self.status(number)
        self.tasks[number] = after
        self.active += after.is_active - before.is_active
        self.suspended += (after.state is TaskState.SUSPENDED) - (before.state is TaskState.SUSPENDED)
        self.held += after.is_held - before.is_held

    def make_ready(self, number: int) -> None:
        """The next attempt may be claimed."""
        before = self.status(number)
        self._put(number, replace(before, is_ready=True, is_waiting=False, attempt=before.attempt + 1))
        self.dispatch.append(Dispatch(number=number, attempt=before.attempt + 1, is_rollback=before.is_rolling_back))

    def begin(self, number: int) -> None:
        """The claim went before the event that tells of it."""
        match self.status(number).state:
            case TaskState.PENDING_ROLLBACK:
                self.move(number, TaskEvent.ROLLBACK_STARTED)
            case TaskState.PENDING_EXECUTION | TaskState.RETRY_ON_HOLD:
                self.move(number, TaskEvent.CLAIMED)
            case _:
                pass

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

    def cancel(self, number: int) -> None:
        """It does not wait any more."""
        self.dropped.append(number)
        self.end(number, TaskEvent.CANCELLED, passes=False)

    def suspend(self, number: int) -> None:
        """It waits for an answer."""
        self.begin(number)
        self.move(number, TaskEvent.SUSPENDED)
        if self.is_ending:  # nobody would lift it: an execution that is stopping does not wait
            self.cancel(number)

    # -- failures --------------------------------------------------------------------------------------------------

    def fail(self, event: Failed) -> None:
        """An attempt failed: what its policy says."""
        # The traceback stays in the history: what counts here is written again with every commit.
        number, error = event.number, replace(event.error, task_number=event.number, traceback="")
        config = self.plan.tasks[number].config
        if self.status(number).is_rolling_back:
            policy = (config.rollback and config.rollback.failure_policy) or _NO_POLICY
            self._rollback_failed(number, policy, jitter=event.jitter)
            return
        self._tell_of(error)
        policy = _policy_for(config, self.parameters, is_sync=self.is_sync and not self.is_resumed)
        tried = event.attempt - self.bases.get(number, 0)
        self.begin(number)
        match policy.strategy:
            case RetryStrategy.IGNORE:
                self.end(number, TaskEvent.FAILED, passes=True, is_ignored=True)
            case RetryStrategy.FATAL:
                self._fail_fatally(number, error)
            case RetryStrategy.RESTART_INTEGRATION_WITH_BACKOFF if (
                self.run <= policy.max_retries and not self.is_ending
            ):
                self.move(number, TaskEvent.HELD)
                self.restart = Restart(number=number, after_s=policy.delay_s(self.run, event.jitter))
                self.stop(ExecutionState.RETRY_ON_HOLD)
            case RetryStrategy.NONE | RetryStrategy.RESTART_INTEGRATION_WITH_BACKOFF:
                self.fail_for_good(number, TaskEvent.FAILED, error)
            case _ if tried <= policy.max_retries and not self.is_ending:
                self.move(number, TaskEvent.HELD)
                self._hold(number, policy.delay_s(tried, event.jitter))
            case _:
                self.fail_for_good(number, TaskEvent.FAILED, error)

    def fail_for_good(self, number: int, event: TaskEvent, error: ErrorInfo) -> None:
        """No policy mends it: an error catcher may take it, or it counts."""
        catcher = self.plan.tasks[number].catcher
        if catcher is None or self.is_ending:
            self.end(number, event, passes=False)
            self.error = self.error or error
            return
        self.end(number, event, passes=False, is_caught=True)
        if not self._is_called(catcher):
            self.over.append((catcher, True))

    def reject(self, number: int, error: ErrorInfo) -> None:
        """A suspended task is not lifted."""
        error = replace(error, task_number=number)
        self._tell_of(error)
        self.fail_for_good(number, TaskEvent.REJECTED, error)

    def _fail_fatally(self, number: int, error: ErrorInfo) -> None:
        self.end(number, TaskEvent.FAILED_FATALLY, passes=False)
        if self.stopping in (None, ExecutionState.RETRY_ON_HOLD):
            self.error = error
            self.stop(ExecutionState.FAILED, rolls_back=True)

    def _hold(self, number: int, after_s: float) -> None:
        attempt = self.status(number).attempt
        self.timers.append(Timer(number=number, attempt=attempt, after_s=after_s))

    def _tell_of(self, error: ErrorInfo) -> None:
        """The parameters in which conditions and later tasks see the failure."""
        told = {ERROR_INFO: Value(DataType.JSON, {"message": error.message, "code": error.code})}
        if ERROR_MESSAGE in self.plan.parameters:
            told[ERROR_MESSAGE] = Value(DataType.STRING, error.message)
        for key, value in told.items():
            with suppress(InvalidValue):  # declared as a type that cannot hold it: the failure counts all the same
                self.set_parameters(self.plan.typed({key: value}))

    def _is_called(self, catcher: int) -> bool:
        """Whether an error catcher has begun, or has been passed over, in this run."""
        return any(edge.index in self.edges for edge in self.plan.catchers[catcher])

    # -- stopping, undoing, beginning again ------------------------------------------------------------------------

    def stop(self, outcome: ExecutionState, *, rolls_back: bool = False) -> None:
        """Nothing becomes ready any more; what only waits is over now, what runs is left to end."""
        self.stopping, self.rolls_back = outcome, rolls_back
        if outcome is not ExecutionState.RETRY_ON_HOLD:
            self.restart = None
        for number in self.plan.numbers:
            status = self.status(number)
            if status.is_active or (self.restart is not None and number == self.restart.number):
                continue
            if status.state is TaskState.PENDING_EXECUTION and self.restart is None:
                self.skip(number)
            elif status.state in (TaskState.RETRY_ON_HOLD, TaskState.SUSPENDED):
                self.cancel(number)

    def stop_task(self, number: int, *, was_running: bool) -> None:
        """A task of a stopping execution did not run, or its code was ended."""
        status = self.status(number)
        if status.is_rolling_back:  # what undoes is not stopped; if its code was ended all the same, that is a failure
            self.fail(
                Failed(number=number, attempt=status.attempt, error=ErrorInfo(message="ended before it was done"))
            )
        elif not was_running and status.state is TaskState.PENDING_EXECUTION:
            self.skip(number)
        elif status.state is TaskState.RETRY_ON_HOLD:
            self.cancel(number)
        else:
            self.finish(number, TaskEvent.CANCELLED, passes=False)

    def begin_again(self, initial: Mapping[str, Value]) -> None:
        """Every task is back at its beginning, and so are the parameters."""
        for number, status in list(self.tasks.items()):
            if status.state is not TaskState.PENDING_EXECUTION:
                self.move(number, TaskEvent.RESTARTED)
            self.bases[number] = status.attempt
        self.edges, self.arrived, self.true = {}, {}, {}
        self.stopping, self.rolls_back, self.error = None, False, None
        self.parameters, self.is_restart = initial, True
        self.run += 1
        self.decide_edges(0, passes=True)

    def rolled_back(self, number: int) -> None:
        """It is undone, or cannot be."""
        self.begin(number)
        self.move(number, TaskEvent.ROLLED_BACK)

    def _rollback_failed(self, number: int, policy: FailurePolicy, *, jitter: float) -> None:
        status = self.status(number)
        tried = status.attempt - self.bases.get(number, 0)
        if not policy.strategy.is_retrying or tried > policy.max_retries:
            self.rolled_back(number)
            return
        self.begin(number)
        self.move(number, TaskEvent.HELD, is_waiting=True)
        self._hold(number, policy.delay_s(tried, jitter))

    def _undo(self) -> None:
        """Begin to roll back, once nothing runs; then whatever has nothing left to wait for."""
        if self.rolls_back and not self.active:
            self.rolls_back = False
            for number, task in self.plan.tasks.items():
                if task.config.rollback is not None and self.status(number).state is TaskState.SUCCEED:
                    self.bases[number] = self.status(number).attempt
                    self.move(number, TaskEvent.ROLLBACK_WANTED)
        for number, status in list(self.tasks.items()):
            is_next = status.state is TaskState.PENDING_ROLLBACK and not (status.is_ready or status.is_waiting)
            ahead = self.plan.tasks[number].undone_before
            if is_next and not any(self.status(each).is_rolling_back for each in ahead):
                self.make_ready(number)

    # -- the graph -------------------------------------------------------------------------------------------------

    def set_parameters(self, outputs: Mapping[str, Value]) -> None:
        """Parameters that later conditions and tasks see."""
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
        status = self.status(target)
        if status.state is not TaskState.PENDING_EXECUTION or status.is_ready:
            return
        task = self.plan.tasks[target]
        if not self.is_ending and _is_due(task.config.join, fan_in=task.fan_in, arrived=arrived, true=true):
            self.make_ready(target)
        elif arrived == task.fan_in or self.is_ending:
            self.skip(target)

    def _pass_over_catchers(self) -> None:
        """Nothing is left to fail: the error catchers that nobody called will not run."""
        for catcher in self.plan.catchers:
            if not self._is_called(catcher):
                self.decide_edges(catcher, passes=False)

    # -- the execution ---------------------------------------------------------------------------------------------

    def move_execution(self, event: ExecutionEvent) -> None:
        """Follow one arrow of the execution."""
        self.state = next_execution_state(self.state, event)

    def decision(self) -> Decision:
        """What it all comes to."""
        self._settle()
        if self.is_ending:
            self._end()
        elif not (self.active or self.suspended or self.held):
            self._pass_over_catchers()
        event = self._where_it_stands()
        if self.state is ExecutionState.PENDING and event not in (ExecutionEvent.FAILED, ExecutionEvent.CANCELLED):
            self.move_execution(ExecutionEvent.STARTED)  # something happened to it before any worker took a task
        self.move_execution(event)
        return Decision(
            progress=self._progress(),
            states=self.states,
            edges=self.decided,
            parameters=self.changed,
            is_restart=self.is_restart,
            dispatch=tuple(self.dispatch),
            timers=tuple(self.timers),
            dropped=tuple(self.dropped),
        )

    def _progress(self) -> Progress:
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

    def _end(self) -> None:
        """What is to be done before an execution that stops takes its state."""
        if self.stopping is not ExecutionState.RETRY_ON_HOLD:
            self._undo()
        elif self.restart is not None and not self.active:
            number, after_s = self.restart.number, self.restart.after_s
            attempt = self.status(number).attempt
            self.timers.append(Timer(number=number, attempt=attempt, after_s=after_s, kind=TimerKind.RESTART))
            self.restart = None

    def _where_it_stands(self) -> ExecutionEvent:
        if self.active:
            return ExecutionEvent.WORKING
        if self.held and self.is_ending:  # a restart, or a rollback that is tried again
            return ExecutionEvent.HELD
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
        leaves = [self.status(number) for number, task in self.plan.tasks.items() if task.is_leaf]
        is_failure = (leaf.state is TaskState.FAILED and not (leaf.is_ignored or leaf.is_caught) for leaf in leaves)
        return any(is_failure) or not any(leaf.state is TaskState.SUCCEED or leaf.is_ignored for leaf in leaves)


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
