"""``decide``: what an event means for an execution. A pure function from (plan, state, event) to a Decision.

Everything that happens to an execution is an event. The rules:

* A task that is over decides all its edges, in definition order: by their conditions if it SUCCEEDed (or FAILED under
  IGNORE), false otherwise. RUN_FIRST_MATCH takes the first true one only.
* WHEN_ALL_SUCCEED         all edges that lead here are decided and one is true: ready; none true: SKIPPED
* WHEN_ANY_SUCCEED         the first true edge makes it ready, once; all decided and none true: SKIPPED
* WHEN_ALL_..._CONDITIONS  all edges that lead here are decided and all are true: ready; else SKIPPED
* A SKIPPED task is over, so skipping runs on through the graph within the same decision.
* An error catcher stands in the graph like a trigger. It is called, once a run, by the first failure for good of a task
  that names it, or of any task without one of its own if the trigger names it; a failure that a catcher took does not
  count when the execution ends. Where none called it, its tasks are SKIPPED at the end. It takes no FATAL failure (that
  says: stop everything) and none of a catcher's own tasks (catchers cannot be nested).
* A failure that is FATAL stops the execution: nothing becomes ready any more, what waits is SKIPPED, what is held or
  suspended is CANCELLED (then or as soon as it gets there), and the execution is FAILED once nothing of it runs. What
  stopped it first counts: a later FATAL changes neither the outcome nor the error. A deadline stops it likewise, and
  KILL likewise, with the outcome CANCELLED.
* After FATAL or a deadline, and after a KILL that asks for it, the tasks that SUCCEEDed and have a rollback are undone,
  each as soon as those that follow it are ROLLEDBACK. A rollback may be tried again under a policy of its own; one that
  fails for good is ROLLEDBACK all the same, which its entry in the history tells apart.
* RESTART_INTEGRATION_WITH_BACKOFF stops the execution too, and then holds it; when its time has come every task is
  PENDING_EXECUTION again, with the parameters of the beginning. Attempts are counted on, so that an id is used once.
* A suspended task that is lifted SUCCEEDs with the answer; one that is rejected FAILs, with no retry, because asking
  again is not the definition's to decide. From then on the execution is asynchronous.
* An execution is over when no task is ready, running, held or suspended. It FAILED if a leaf FAILED, or if something
  FAILED and no leaf SUCCEEDed. So an execution in which nothing failed has SUCCEEDED, even where conditions skipped
  every leaf: a rejected approval is an answer, not an error.
* An event of another attempt, or of a task that is over, is late: it changes nothing.

What must not happen: a state change without an arrow of ``model.states``, a look at the clock, or chance: both are
handed in. ``draft`` is the working copy that the rules act on.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import assert_never

from orchestrator.engine.decisions import Decision
from orchestrator.engine.draft import Draft
from orchestrator.engine.events import (
    Answer,
    ChildrenStarted,
    DeadlinePassed,
    Event,
    Failed,
    Killed,
    Lifted,
    Rejected,
    RestartDue,
    RetryDue,
    Started,
    Stopped,
    Succeeded,
    Suspended,
    TaskOutcome,
)
from orchestrator.engine.plan import TRIGGER, Plan
from orchestrator.engine.progress import Progress
from orchestrator.model.states import ExecutionEvent, ExecutionState, TaskEvent
from orchestrator.model.values import Value


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
    draft = Draft(plan, progress, parameters, is_sync=is_sync)
    if _is_late(draft, event):
        return Decision(progress=progress, is_late=True)
    if isinstance(event, Succeeded | Failed | Suspended | ChildrenStarted | Stopped):
        _work_in_outcome(draft, event)
    else:
        _work_in_change(draft, event)
    return draft.decision()


def _work_in_outcome(draft: Draft, event: TaskOutcome) -> None:
    """What became of an attempt."""
    match event:
        case Succeeded(number=number, outputs=outputs):
            draft.set_parameters(outputs)
            if draft.status(number).is_rolling_back:
                draft.rolled_back(number)
            else:
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


def _work_in_change(draft: Draft, event: Started | RetryDue | RestartDue | Answer | Killed | DeadlinePassed) -> None:
    """What came from outside: the clock, a person, the caller."""
    match event:
        case Started():
            draft.move_execution(ExecutionEvent.STARTED)
            draft.decide_edges(TRIGGER, passes=True)
        case RetryDue(number=number):
            draft.make_ready(number)
        case RestartDue(parameters=initial):
            draft.begin_again(initial)
        case Lifted(number=number, outputs=outputs):
            draft.is_resumed = True
            draft.set_parameters(outputs)
            draft.end(number, TaskEvent.LIFTED, passes=True)
        case Rejected(number=number, error=error):
            draft.is_resumed = True
            draft.reject(number, error)
        case Killed(rolls_back=rolls_back):
            draft.stop(ExecutionState.CANCELLED, rolls_back=rolls_back)
        case DeadlinePassed(error=error):
            draft.error = error
            draft.stop(ExecutionState.FAILED, rolls_back=True)
        case _:
            assert_never(event)


def _is_late(draft: Draft, event: Event) -> bool:
    """Whether what the event speaks of is not there any more."""
    match event:
        case Started():
            return False
        case Killed() | DeadlinePassed():
            return draft.state.is_final or draft.stopping not in (None, ExecutionState.RETRY_ON_HOLD)
        case RetryDue(number=number, attempt=attempt):
            status = draft.status(number)
            is_restart = draft.stopping is ExecutionState.RETRY_ON_HOLD
            return is_restart or not status.is_held or status.attempt != attempt
        case RestartDue(number=number, attempt=attempt):
            is_over = draft.stopping is not ExecutionState.RETRY_ON_HOLD or draft.active > 0
            return is_over or not draft.status(number).is_held or draft.status(number).attempt != attempt
        case Lifted(number=number, attempt=attempt) | Rejected(number=number, attempt=attempt):
            return not draft.is_suspended(number) or draft.status(number).attempt != attempt
        case _:
            status = draft.status(event.number)
            return not status.is_active or status.attempt != event.attempt
