"""``decide``: what an event means for an execution. A pure function from (plan, state, event) to a Decision.

Everything that happens to an execution is an event. The rules:

* A task that is over decides all its edges, in definition order: by their conditions if it SUCCEEDed (or FAILED under
  IGNORE), false otherwise. RUN_FIRST_MATCH takes the first true one only.
* WHEN_ALL_SUCCEED         all edges that lead here are decided and one is true: ready; none true: SKIPPED
* WHEN_ANY_SUCCEED         the first true edge makes it ready, once; all decided and none true: SKIPPED
* WHEN_ALL_..._CONDITIONS  all edges that lead here are decided and all are true: ready; else SKIPPED
* A SKIPPED task is over, so skipping runs on through the graph within the same decision.
* A replay may begin with tasks that are over, and with their edges decided (``replay``): its start joins those as well.
* An error catcher stands in the graph like a trigger. It takes the failures for good of the tasks that name it, and of
  those that name none if the trigger names it: they do not count when the execution ends. The first one, once a run,
  calls it. Where none called it, its tasks are SKIPPED at the end. It takes no FATAL failure (that says: stop
  everything) and none of a task that a catcher leads to (catchers cannot be nested; nor is one called for the task
  that it goes on with).
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
* An execution is over when no task is ready, running, held or suspended. It FAILED if a leaf FAILED or was CANCELLED,
  or if something FAILED or was killed and no leaf SUCCEEDed. So an execution in which nothing failed has SUCCEEDED,
  even where conditions skipped every leaf: a rejected approval is an answer, not an error.
* An attempt that is given back, because its worker died, may be claimed again as it is. No policy counts that. One
  that killed its worker too often is quarantined: held without a timer, until somebody releases it (``quarantine``).
* A KILL of one task ends that task alone, and the execution goes on. The task is SKIPPED or CANCELLED: at once if
  nothing of it runs, else with its attempt, whatever comes of that (``killing``).
* An event of another attempt, or of a task that is over, is late: it changes nothing.

What must not happen: a state change without an arrow of ``model.states``, a look at the clock, or chance: both are
handed in. ``draft`` is the working copy that the rules act on; the long ones have modules of their own beside it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import assert_never

from orchestrator.engine.decisions import Decision
from orchestrator.engine.draft import Draft
from orchestrator.engine.events import (
    Change,
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
    TaskOutcome,
)
from orchestrator.engine.failures import fail, pass_over_catchers, reject
from orchestrator.engine.killing import can_be_killed, end_killed, kill_task
from orchestrator.engine.plan import TRIGGER, Plan
from orchestrator.engine.progress import Progress, TaskStatus
from orchestrator.engine.quarantine import quarantine, release
from orchestrator.engine.rollback import undo, work_in_rollback
from orchestrator.engine.stopping import begin_again, hold_for_restart, stop, stop_task
from orchestrator.model.states import ExecutionEvent, ExecutionState, TaskEvent, TaskState
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
    if _is_late(plan, progress, event):
        return Decision(progress=progress, is_late=True)
    return _work_in(Draft(plan, progress.copy(), dict(parameters), is_sync=is_sync), event)


def decide_in_place(
    plan: Plan, progress: Progress, event: Event, *, parameters: dict[str, Value], is_sync: bool = False
) -> Decision:
    """As ``decide``; ``progress`` must not be used any more, and what changes is changed in ``parameters`` as well.

    Of many events one after the other each costs the same, however large the execution is.
    """
    if _is_late(plan, progress, event):
        return Decision(progress=progress, is_late=True)
    return _work_in(Draft(plan, progress, parameters, is_sync=is_sync), event)


def _work_in(draft: Draft, event: Event) -> Decision:
    if isinstance(event, TaskOutcome):
        _work_in_outcome(draft, event)
    else:
        _work_in_change(draft, event)
    draft.settle()
    _conclude(draft)
    return draft.to_decision()


# -- what the event says -------------------------------------------------------------------------------------------


def _work_in_outcome(draft: Draft, event: TaskOutcome) -> None:
    """What became of an attempt."""
    if draft.status(event.number).is_killed:
        end_killed(draft, event)
        return
    if isinstance(event, Succeeded | Suspended):
        draft.set_parameters(event.outputs)
    if draft.status(event.number).is_rolling_back:
        work_in_rollback(draft, event)
        return
    match event:
        case Succeeded(number=number):
            draft.finish(number, TaskEvent.SUCCEEDED, passes=True)
        case Failed():
            fail(draft, event)
        case Suspended(number=number):
            draft.suspend(number)
        case ChildrenStarted(number=number):
            draft.begin(number)
        case Stopped(number=number, was_running=was_running):
            stop_task(draft, number, was_running=was_running)
        case Quarantined(number=number):
            quarantine(draft, number)
        case Returned(number=number):
            draft.give_back(number)
        case _:
            assert_never(event)


def _work_in_change(draft: Draft, event: Change) -> None:
    """What came from outside: the clock, a person, the caller."""
    match event:
        case Started():
            draft.move_execution(ExecutionEvent.STARTED)
            _start(draft)
        case RetryDue(number=number):
            draft.make_ready(number)
        case Released(number=number):
            release(draft, number)
        case RestartDue(parameters=initial):
            begin_again(draft, initial)
        case Lifted(number=number, outputs=outputs):
            draft.is_resumed = True
            draft.set_parameters(outputs)
            draft.end(number, TaskEvent.LIFTED, passes=True)
        case Rejected(number=number, error=error):
            draft.is_resumed = True
            reject(draft, number, error)
        case TaskKilled(number=number, error=error):
            kill_task(draft, number, error)
        case Killed(rolls_back=rolls_back):
            stop(draft, ExecutionState.CANCELLED, rolls_back=rolls_back)
        case DeadlinePassed(error=error):
            draft.error = error
            stop(draft, ExecutionState.FAILED, rolls_back=True)
        case _:
            assert_never(event)


def _start(draft: Draft) -> None:
    """Decide the edges of the trigger. What a replay has taken over is decided already, and leads on from here."""
    reached = {draft.plan.edges[index].target for index in draft.edges}
    ahead = [edge for edge in draft.plan.start_edges if edge.index not in draft.edges]
    draft.follow(ahead, draft.plan.fork_of(TRIGGER))
    for number in draft.plan.numbers if reached else ():
        if number in reached:
            draft.join(number)


def _is_late(plan: Plan, progress: Progress, event: Event) -> bool:
    """Whether what the event speaks of is not there any more."""
    if isinstance(event, TaskOutcome):
        status = progress.status(event.number)
        return status.attempt != event.attempt or not status.is_active
    if isinstance(event, Started):
        return False
    if isinstance(event, Killed | DeadlinePassed):
        return progress.state.is_final or progress.stopping not in (None, ExecutionState.RETRY_ON_HOLD)
    status = progress.status(event.number)
    if isinstance(event, TaskKilled):
        is_there = event.number in plan.tasks and not progress.state.is_final
        return not (is_there and can_be_killed(status, stopping=progress.stopping))
    if status.attempt != event.attempt:
        return True
    is_to_restart = progress.stopping is ExecutionState.RETRY_ON_HOLD
    match event:
        case RetryDue():
            return is_to_restart or not status.is_held or status.is_quarantined
        case Released():
            return not status.is_quarantined
        case RestartDue():
            return not is_to_restart or progress.active > 0 or not status.is_held
        case Lifted() | Rejected():
            return status.state is not TaskState.SUSPENDED
        case _:
            assert_never(event)


# -- what it all comes to ------------------------------------------------------------------------------------------


def _conclude(draft: Draft) -> None:
    """What follows once nothing, or nothing but the last, is to be done; and the state that the execution is in now."""
    if draft.stopping is ExecutionState.RETRY_ON_HOLD:
        hold_for_restart(draft)
    elif draft.is_ending:
        undo(draft)
    elif draft.is_at_rest:
        pass_over_catchers(draft)
    event = _where_it_stands(draft)
    if draft.state is ExecutionState.PENDING and event not in (ExecutionEvent.FAILED, ExecutionEvent.CANCELLED):
        draft.move_execution(ExecutionEvent.STARTED)  # something happened to it before any worker took a task
    draft.move_execution(event)


def _where_it_stands(draft: Draft) -> ExecutionEvent:
    if draft.active:
        return ExecutionEvent.WORKING
    if draft.suspended:
        return ExecutionEvent.SUSPENDED
    if draft.held:
        return ExecutionEvent.HELD
    if draft.stopping is not None:
        return ExecutionEvent.CANCELLED if draft.stopping is ExecutionState.CANCELLED else ExecutionEvent.FAILED
    return ExecutionEvent.FAILED if _has_failed(draft) else ExecutionEvent.SUCCEEDED


def _has_failed(draft: Draft) -> bool:
    if draft.error is None:
        return False
    leaves = [draft.status(number) for number, task in draft.plan.tasks.items() if task.is_leaf]
    return any(counts(leaf) for leaf in leaves) or not any(
        leaf.state is TaskState.SUCCEED or leaf.is_ignored for leaf in leaves
    )


def counts(leaf: TaskStatus) -> bool:
    """Whether an execution that nothing stopped FAILED because a task that nothing follows stands so."""
    is_failure = leaf.state is TaskState.FAILED and not (leaf.is_ignored or leaf.is_caught)
    return is_failure or leaf.state is TaskState.CANCELLED
