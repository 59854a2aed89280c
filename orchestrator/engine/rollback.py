"""Rollback: what SUCCEEDed in an execution that was stopped is undone, in reverse dependency order.

A task is undone as soon as nothing that follows it, however far, is still to be undone or being undone. A rollback is
not stopped, and it does not wait for an answer: whatever ends its code early is a failure of it. A policy of its own
may try it again; one that fails for good holds nothing up.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import assert_never

from orchestrator.engine.draft import Draft
from orchestrator.engine.events import (
    ChildrenStarted,
    Failed,
    Quarantined,
    Returned,
    Stopped,
    Succeeded,
    Suspended,
    TaskOutcome,
)
from orchestrator.engine.failures import counting_policy, to_parameters
from orchestrator.engine.plan import Plan
from orchestrator.engine.quarantine import quarantine
from orchestrator.model.history import ErrorInfo
from orchestrator.model.states import TaskEvent, TaskState


def undo(draft: Draft) -> None:
    """Begin to roll back, once nothing runs that may still succeed; then whatever has nothing left to wait for."""
    if draft.rolls_back and not draft.active:
        for number, task in draft.plan.tasks.items():
            if task.config.rollback is not None and draft.status(number).state is TaskState.SUCCEED:
                draft.bases[number] = draft.status(number).attempt
                draft.move(number, TaskEvent.ROLLBACK_WANTED)
    for number in _next(draft):
        draft.make_ready(number)


def _next(draft: Draft) -> list[int]:
    rolling_back = [number for number in draft.plan.numbers if draft.status(number).is_rolling_back]
    held_up = _before(draft.plan, rolling_back) if rolling_back else set()
    waiting = [number for number in rolling_back if number not in held_up]
    statuses = [(number, draft.status(number)) for number in waiting]
    return [
        number
        for number, status in statuses
        if status.state is TaskState.PENDING_ROLLBACK and not (status.is_ready or status.is_waiting)
    ]


def _before(plan: Plan, numbers: Iterable[int]) -> set[int]:
    """Everything that leads to one of these tasks. Linear: a plan may have 5,000 tasks, each with a rollback."""
    sources = defaultdict[int, list[int]](list)
    for edge in plan.edges:
        sources[edge.target].append(edge.source)
    found: set[int] = set()
    ahead = list(numbers)
    while ahead:
        new = [source for source in sources[ahead.pop()] if source not in found]
        found.update(new)
        ahead.extend(new)
    return found


def work_in_rollback(draft: Draft, event: TaskOutcome) -> None:
    """What became of an attempt to undo a task."""
    match event:
        case Succeeded(number=number):
            end_rollback(draft, number)
        case ChildrenStarted(number=number):
            draft.begin(number)
        case Returned(number=number):
            _give_back(draft, number)
        case Quarantined(number=number):
            quarantine(draft, number)
        case Failed(number=number, error=error, jitter=jitter):
            _fail(draft, number, error, jitter=jitter)
        case Stopped(number=number) | Suspended(number=number):
            _fail(draft, number, ErrorInfo(message="the rollback ended before it was done"), jitter=0.0)
        case _:
            assert_never(event)


def _give_back(draft: Draft, number: int) -> None:
    """As ``Draft.give_back``."""
    if draft.status(number).state is not TaskState.ROLLBACK_IN_PROCESS:
        draft.begin(number)
        draft.move(number, TaskEvent.HELD, is_ready=True)


def end_rollback(draft: Draft, number: int) -> None:
    """It is over, whatever came of it."""
    draft.begin(number)
    draft.move(number, TaskEvent.ROLLED_BACK)


def _fail(draft: Draft, number: int, error: ErrorInfo, *, jitter: float) -> None:
    rollback, tried = draft.plan.tasks[number].config.rollback, draft.tried(number)
    # Seen by the policy's condition alone: the parameters keep telling of the failure that led here.
    seen = {**draft.parameters, **to_parameters(error)}
    policy = counting_policy([None if rollback is None else rollback.failure_policy], seen)
    if not policy.strategy.is_retrying or tried > policy.max_retries:
        end_rollback(draft, number)
        return
    draft.begin(number)
    draft.move(number, TaskEvent.HELD, is_waiting=True)
    draft.set_timer(number, policy.delay_s(tried, jitter))
