"""Failures: what a failed attempt leads to.

Its policy comes first: try again, begin the execution again, stop it, or go on as if nothing had happened. What no
policy mends is a failure for good: an error catcher takes it, or it counts.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Final

from orchestrator.engine.draft import Draft
from orchestrator.engine.events import Failed
from orchestrator.engine.progress import Restart
from orchestrator.engine.stopping import stop, stop_to_restart
from orchestrator.errors import InvalidValue
from orchestrator.model.conditions import parse_condition
from orchestrator.model.history import ErrorInfo
from orchestrator.model.integration import TaskConfig
from orchestrator.model.policies import FailurePolicy, RetryStrategy
from orchestrator.model.states import ExecutionState, TaskEvent
from orchestrator.model.values import DataType, Value

ERROR_INFO: Final = "`ErrorInfo`"
ERROR_MESSAGE: Final = "ErrorMessage"  # a variable of this name, if declared, takes the message of a failed task
_NO_POLICY: Final = FailurePolicy()


def fail(draft: Draft, event: Failed) -> None:
    """An attempt failed: what its policy says."""
    number, error = event.number, _counted(event.error, event.number)
    _tell_of(draft, error)
    is_sync = draft.is_sync and not draft.is_resumed
    policy = counting_policy(policies_of(draft.plan.tasks[number].config, is_sync=is_sync), draft.parameters)
    draft.begin(number)
    match policy.strategy:
        case RetryStrategy.IGNORE:
            draft.end(number, TaskEvent.FAILED, passes=True, is_ignored=True)
        case RetryStrategy.FATAL:
            _fail_fatally(draft, number, error)
        case RetryStrategy.RESTART_INTEGRATION_WITH_BACKOFF if draft.run <= policy.max_retries and not draft.is_ending:
            draft.move(number, TaskEvent.HELD)
            stop_to_restart(draft, Restart(number=number, after_s=policy.delay_s(draft.run, event.jitter)))
        case RetryStrategy.NONE | RetryStrategy.RESTART_INTEGRATION_WITH_BACKOFF:
            _fail_for_good(draft, number, TaskEvent.FAILED, error)
        case _ if draft.tried(number) <= policy.max_retries and not draft.is_ending:
            draft.set_timer(number, policy.delay_s(draft.tried(number), event.jitter))
            draft.move(number, TaskEvent.HELD)
        case _:
            _fail_for_good(draft, number, TaskEvent.FAILED, error)


def reject(draft: Draft, number: int, error: ErrorInfo) -> None:
    """A suspended task is not lifted."""
    error = _counted(error, number)
    _tell_of(draft, error)
    _fail_for_good(draft, number, TaskEvent.REJECTED, error)


def pass_over_catchers(draft: Draft) -> None:
    """Nothing is left that could fail and be caught: the error catchers that nobody called will not run."""
    for catcher in draft.plan.catchers:
        if not _is_called(draft, catcher):
            draft.decide_edges(catcher, passes=False)


def counting_policy(policies: Iterable[FailurePolicy | None], parameters: Mapping[str, Value]) -> FailurePolicy:
    """The first of these policies whose condition holds; NONE if there is none."""
    counting = (each for each in policies if each is not None and parse_condition(each.condition).holds(parameters))
    return next(counting, _NO_POLICY)


def to_parameters(error: ErrorInfo) -> dict[str, Value]:
    """The system variable in which conditions see a failure."""
    return {ERROR_INFO: Value(DataType.JSON, {"message": error.message, "code": error.code})}


def _counted(error: ErrorInfo, number: int) -> ErrorInfo:
    # The traceback stays in the history: what counts here is written again with every commit.
    return replace(error, task_number=number, traceback="")


def policies_of(config: TaskConfig, *, is_sync: bool) -> list[FailurePolicy | None]:
    """In the order in which they are asked: conditional policies, their default, the policy of the mode."""
    of_mode = config.sync_failure_policy if is_sync else config.failure_policy
    conditional = config.conditional_failure_policies
    return [of_mode] if conditional is None else [*conditional.policies, conditional.default, of_mode]


def _tell_of(draft: Draft, error: ErrorInfo) -> None:
    """The parameters in which conditions and later tasks see the failure."""
    told = to_parameters(error)
    if ERROR_MESSAGE in draft.plan.parameters:
        told[ERROR_MESSAGE] = Value(DataType.STRING, error.message)
    for key, value in told.items():
        with suppress(InvalidValue):  # declared as a type that cannot hold it: the failure counts all the same
            draft.set_parameters(draft.plan.typed({key: value}))


def _fail_fatally(draft: Draft, number: int, error: ErrorInfo) -> None:
    draft.end(number, TaskEvent.FAILED_FATALLY, passes=False)
    if draft.stopping in (None, ExecutionState.RETRY_ON_HOLD):
        draft.error = error
        stop(draft, ExecutionState.FAILED, rolls_back=True)


def _fail_for_good(draft: Draft, number: int, event: TaskEvent, error: ErrorInfo) -> None:
    """No policy mends it: an error catcher takes it, or it counts."""
    catcher = draft.plan.tasks[number].catcher
    if catcher is None or draft.is_ending:
        draft.end(number, event, passes=False)
        draft.error = draft.error or error
        return
    draft.end(number, event, passes=False, is_caught=True)
    if not _is_called(draft, catcher):
        draft.over.append((catcher, True))


def _is_called(draft: Draft, catcher: int) -> bool:
    """Whether an error catcher has begun, or has been passed over, in this run."""
    return any(edge.index in draft.edges for edge in draft.plan.catchers[catcher])
