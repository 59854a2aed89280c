"""Quarantine: a task whose code killed its worker again and again waits for a person, not for the clock.

It is held like a task that waits for its retry, so the execution is RETRY_ON_HOLD once nothing else runs, and KILL and
deadlines end it. But it has no timer: it would take the next worker along. A release runs it again as a new attempt.
No policy counts the attempt that was lost, as none counts a worker's death. A rollback is quarantined likewise.
"""

from __future__ import annotations

from orchestrator.engine.draft import Draft
from orchestrator.engine.progress import Progress
from orchestrator.model.states import ExecutionState, TaskEvent


def quarantine(draft: Draft, number: int) -> None:
    """It is not run again before somebody releases it."""
    draft.begin(number)
    is_rollback = draft.status(number).is_rolling_back
    draft.move(number, TaskEvent.HELD, is_waiting=is_rollback, is_quarantined=True)
    if draft.is_ending and not is_rollback:  # nobody would release it: an execution that is stopping does not wait
        draft.drop(number)


def release(draft: Draft, number: int) -> None:
    """It may run again."""
    draft.bases[number] = draft.bases.get(number, 0) + 1
    draft.make_ready(number)


def awaits_release(progress: Progress) -> bool:
    """Whether nothing will happen any more before somebody releases a task, or ends it."""
    held = (status for status in progress.tasks.values() if status.is_held)
    return progress.state is ExecutionState.RETRY_ON_HOLD and all(status.is_quarantined for status in held)
