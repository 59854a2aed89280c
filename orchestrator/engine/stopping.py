"""Stopping: an execution comes to rest, because it is to end, or to begin again.

Nothing becomes ready any more, what only waits is over at once, and what runs is left to end: its worker is told, and
says what became of it. What is undone after that is ``rollback``'s.
"""

from __future__ import annotations

from collections.abc import Mapping

from orchestrator.engine.draft import Draft
from orchestrator.engine.plan import TRIGGER
from orchestrator.engine.progress import UNTOUCHED, Restart
from orchestrator.model.states import ExecutionState, TaskEvent, TaskState
from orchestrator.model.timers import TimerKind
from orchestrator.model.values import Value


def stop(draft: Draft, outcome: ExecutionState, *, rolls_back: bool) -> None:
    """The execution is to end so. A restart that was to come does not."""
    draft.stopping, draft.rolls_back, draft.restart = outcome, rolls_back, None
    for number in draft.plan.numbers:
        status = draft.status(number)
        if status.state is TaskState.PENDING_EXECUTION and not status.is_ready:
            draft.skip(number)
    _drop_what_waits(draft)


def stop_to_restart(draft: Draft, restart: Restart) -> None:
    """The execution is to begin again. What was not reached stays as it is: its turn comes in the next run."""
    draft.stopping, draft.restart = ExecutionState.RETRY_ON_HOLD, restart
    _drop_what_waits(draft, but=restart.number)


def _drop_what_waits(draft: Draft, *, but: int | None = None) -> None:
    for number in draft.plan.numbers:
        status = draft.status(number)
        if number != but and (status.is_held or status.state is TaskState.SUSPENDED):
            draft.drop(number)


def stop_task(draft: Draft, number: int, *, was_running: bool) -> None:
    """A task of a stopping execution did not run, or its code was ended."""
    if draft.status(number).state is TaskState.PENDING_EXECUTION and not was_running:
        draft.skip(number)
    else:  # its code had started, in this attempt or in an earlier one of this run
        draft.finish(number, TaskEvent.CANCELLED, passes=False)


def hold_for_restart(draft: Draft) -> None:
    """Once nothing runs any more, the wait begins."""
    if draft.restart is not None and not draft.active:
        draft.set_timer(draft.restart.number, draft.restart.after_s, TimerKind.RESTART)
        draft.restart = None


def begin_again(draft: Draft, initial: Mapping[str, Value]) -> None:
    """Every task is back at its beginning, and so are the parameters. Attempts are counted on."""
    for number, status in list(draft.tasks.items()):
        if status.state is not TaskState.PENDING_EXECUTION:
            draft.move(number, TaskEvent.RESTARTED)
    draft.tasks = {number: status for number, status in draft.tasks.items() if status != UNTOUCHED}
    draft.bases = {number: status.attempt for number, status in draft.tasks.items()}
    draft.edges, draft.arrived, draft.true = {}, {}, {}
    draft.stopping, draft.error = None, None
    draft.parameters, draft.is_restart = dict(initial), True
    draft.run += 1
    draft.decide_edges(TRIGGER, passes=True)
