"""Killing one task: it does not go on, and the rest of its execution does.

* Not reached yet: SKIPPED at once. Held or suspended: CANCELLED at once, and what it waited for is void.
* Ready or running: marked. Whatever then comes of the attempt - success, failure, a suspension, sub-executions - the
  task is over: SKIPPED if its code never ran, else CANCELLED. No policy tries it again, no error catcher takes it, and
  what it put out does not count. The commit that sets the mark moves the revision, so whoever brings a result at that
  moment decides again and sees it: a KILL that was accepted is final.
* Its edges are false either way, so what can be reached through it alone is SKIPPED by the ordinary rules.
* At the end a CANCELLED leaf counts like a FAILED one. A KILL fails the execution also if no leaf SUCCEEDed.
* A rollback is not stopped, here as elsewhere. One in quarantine can be given up: nothing of it runs, and nothing else
  would let the execution end if it kills its worker whenever it is released.
* A restart of the whole execution takes a killed task back like any other: the KILL was of this run.

What must not happen: a mark on a task that is not active. The end of the attempt, which takes it off, would not come.
"""

from __future__ import annotations

from orchestrator.engine.draft import Draft
from orchestrator.engine.events import Returned, Stopped, TaskOutcome
from orchestrator.engine.progress import TaskStatus
from orchestrator.engine.rollback import end_rollback
from orchestrator.engine.stopping import stop_task
from orchestrator.model.history import ErrorInfo
from orchestrator.model.states import ExecutionState, TaskEvent, TaskState


def can_be_killed(status: TaskStatus, *, stopping: ExecutionState | None) -> bool:
    """Whether a KILL of one task would change anything that is not about to end anyway."""
    if status.is_rolling_back:
        return status.is_quarantined
    return stopping is None and not (status.state.is_final or status.is_killed)


def kill_task(draft: Draft, number: int, error: ErrorInfo) -> None:
    """Somebody wants its end."""
    status = draft.status(number)
    if status.is_rolling_back:
        end_rollback(draft, number)
        return
    draft.error = draft.error or error
    if status.is_active:
        draft.mark_killed(number)
    elif status.state is TaskState.PENDING_EXECUTION:
        draft.skip(number)
    else:
        draft.drop(number)


def end_killed(draft: Draft, event: TaskOutcome) -> None:
    """What became of an attempt whose task was killed meanwhile."""
    match event:
        case Returned(number=number):
            draft.give_back(number)  # marked as it is: whoever claims it next ends it
        case Stopped(number=number, was_running=was_running):
            stop_task(draft, number, was_running=was_running)
        case _:
            draft.finish(event.number, TaskEvent.CANCELLED, passes=False)
