"""One execution in memory, for tests of single rules: ``Run(make_task(1, next=(2,)), make_task(2))``, then tell it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from orchestrator.engine.decide import decide
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
from orchestrator.engine.plan import make_plan
from orchestrator.engine.progress import Progress, TaskStatus
from orchestrator.model.history import ErrorInfo
from orchestrator.model.integration import ErrorCatcher, ForkPolicy, IntegrationParameter, TaskConfig
from orchestrator.model.policies import FailurePolicy, RetryStrategy
from orchestrator.model.states import ExecutionState, TaskState
from orchestrator.model.values import Value, from_python
from tests.unit.factories import Edge, make_integration, make_trigger

NEVER: Final = "$go$ = never"
IGNORE: Final = FailurePolicy(strategy=RetryStrategy.IGNORE)
FATAL: Final = FailurePolicy(strategy=RetryStrategy.FATAL)
RETRY: Final = FailurePolicy(strategy=RetryStrategy.FIXED_INTERVAL, max_retries=2, interval_s=3.0)
RESTART: Final = FailurePolicy(strategy=RetryStrategy.RESTART_INTEGRATION_WITH_BACKOFF, max_retries=2, interval_s=4.0)
UNWANTED: Final = ErrorInfo(message="a task was cancelled by ann", code="CANCELLED")
TOO_LATE: Final = ErrorInfo(message="too late", code="EXECUTION_TIMEOUT")

PENDING, IN_PROCESS, SUCCEED = TaskState.PENDING_EXECUTION, TaskState.IN_PROCESS, TaskState.SUCCEED
FAILED, FATALLY, SKIPPED, CANCELLED = TaskState.FAILED, TaskState.FATAL, TaskState.SKIPPED, TaskState.CANCELLED
ON_HOLD, SUSPENDED = TaskState.RETRY_ON_HOLD, TaskState.SUSPENDED
TO_UNDO, UNDOING, UNDONE = TaskState.PENDING_ROLLBACK, TaskState.ROLLBACK_IN_PROCESS, TaskState.ROLLEDBACK


class Run:
    """Hands events to ``decide`` and keeps what came of them: attempts that were dispatched, and rollbacks."""

    def __init__(
        self,
        *tasks: TaskConfig,
        starts: Iterable[Edge] = (),
        fork: ForkPolicy = ForkPolicy.RUN_ALL_MATCH,
        declared: Iterable[IntegrationParameter] = (),
        parameters: Mapping[str, Any] | None = None,
        is_sync: bool = False,
        catchers: Iterable[ErrorCatcher] = (),
        caught_by: str = "",
        is_started: bool = True,
    ) -> None:
        trigger = make_trigger(starts=starts, fork=fork, error_catcher_id=caught_by)
        version = make_integration(*tasks, triggers=[trigger], parameters=declared, error_catchers=tuple(catchers))
        self.plan, self.is_sync = make_plan(version, trigger, light=()), is_sync
        self.progress = Progress()
        self.initial = {key: from_python(content, key) for key, content in (parameters or {}).items()}
        self.parameters = dict(self.initial)
        self.dispatched: list[tuple[int, int]] = []
        self.undoing: list[int] = []
        if is_started:
            self.tell(Started())

    def tell(self, event: Event) -> Decision:
        decision = decide(self.plan, self.progress, event, parameters=self.parameters, is_sync=self.is_sync)
        self.progress = decision.progress
        self.parameters = (dict(self.initial) if decision.is_restart else self.parameters) | dict(decision.parameters)
        self.dispatched += [(each.number, each.attempt) for each in decision.dispatch]
        self.undoing += [each.number for each in decision.dispatch if each.is_rollback]
        return decision

    # -- what became of an attempt -------------------------------------------------------------------------------------

    def succeed(self, number: int, attempt: int = 1, **outputs: Any) -> Decision:
        return self.tell(Succeeded(number=number, attempt=attempt, outputs=_values(outputs)))

    def fail(self, number: int, attempt: int = 1, *, jitter: float = 0.0, **error: Any) -> Decision:
        info = ErrorInfo(**{"message": "broken", "code": 500, **error})
        return self.tell(Failed(number=number, attempt=attempt, error=info, jitter=jitter))

    def suspend(self, number: int, attempt: int = 1, **outputs: Any) -> Decision:
        return self.tell(Suspended(number=number, attempt=attempt, outputs=_values(outputs)))

    def start_children(self, number: int, attempt: int = 1) -> Decision:
        return self.tell(ChildrenStarted(number=number, attempt=attempt))

    def stop(self, number: int, attempt: int = 1, *, was_running: bool = False) -> Decision:
        return self.tell(Stopped(number=number, attempt=attempt, was_running=was_running))

    def give_back(self, number: int, attempt: int = 1) -> Decision:
        return self.tell(Returned(number=number, attempt=attempt))

    def quarantine(self, number: int, attempt: int = 1) -> Decision:
        return self.tell(Quarantined(number=number, attempt=attempt))

    # -- what came from outside ----------------------------------------------------------------------------------------

    def retry(self, number: int, attempt: int = 1) -> Decision:
        return self.tell(RetryDue(number=number, attempt=attempt))

    def restart(self, number: int, attempt: int = 1) -> Decision:
        return self.tell(RestartDue(number=number, attempt=attempt, parameters=self.initial))

    def lift(self, number: int, attempt: int = 1, **outputs: Any) -> Decision:
        return self.tell(Lifted(number=number, attempt=attempt, outputs=_values(outputs)))

    def reject(self, number: int, attempt: int = 1, **error: Any) -> Decision:
        info = ErrorInfo(**{"message": "no", "code": "SUSPENSION_REJECTED", **error})
        return self.tell(Rejected(number=number, attempt=attempt, error=info))

    def kill(self, *, rolls_back: bool = False) -> Decision:
        return self.tell(Killed(rolls_back=rolls_back))

    def kill_task(self, number: int) -> Decision:
        return self.tell(TaskKilled(number=number, error=UNWANTED))

    def release(self, number: int, attempt: int = 1) -> Decision:
        return self.tell(Released(number=number, attempt=attempt))

    def pass_deadline(self) -> Decision:
        return self.tell(DeadlinePassed(error=TOO_LATE))

    # -- where it stands -----------------------------------------------------------------------------------------------

    @property
    def state(self) -> ExecutionState:
        return self.progress.state

    @property
    def tasks(self) -> dict[int, TaskState]:
        return {number: self.progress.status(number).state for number in self.plan.numbers}

    @property
    def edges(self) -> dict[tuple[int, int], bool]:
        return {
            (each.source, each.target): self.progress.edges[each.index]
            for each in self.plan.edges
            if each.index in self.progress.edges
        }

    @property
    def ready(self) -> list[int]:
        return [number for number in self.plan.numbers if self.status(number).is_ready]

    def status(self, number: int) -> TaskStatus:
        return self.progress.status(number)


def _values(outputs: Mapping[str, Any]) -> dict[str, Value]:
    return {key: from_python(content, key) for key, content in outputs.items()}
