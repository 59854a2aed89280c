"""Control of one task of a live execution: its KILL, and its release from quarantine.

The KILL of a task is an event like any other: one commit, in which the attempt is marked, its worker asked to end it,
and what it waits for killed. Who asked and why is in that commit's entry of the history.
"""

from __future__ import annotations

from orchestrator.engine.events import Released, TaskKilled
from orchestrator.engine.killing import can_be_killed
from orchestrator.errors import StateError
from orchestrator.model.history import EntryKind, ErrorInfo
from orchestrator.model.json_text import Json
from orchestrator.model.states import ExecutionState, TaskState
from orchestrator.service.apply import apply
from orchestrator.service.control import ExecutionOver
from orchestrator.service.ends import stopped
from orchestrator.service.perform import MAX_MESSAGE
from orchestrator.service.services import Services
from orchestrator.service.snapshots import TaskNotFound
from orchestrator.service.standing import Standing, Step, stand
from orchestrator.store.kinds import Phase
from orchestrator.store.signals import Audit


class TaskNotKillable(StateError):
    """A KILL of this task alone would change nothing."""

    def __init__(self, execution_id: str, number: int, state: str, reason: str) -> None:
        super().__init__(execution_id, number, state, reason)
        self.execution_id, self.number, self.state, self.reason = execution_id, number, state, reason

    def __str__(self) -> str:
        return f"cannot kill task {self.number} of execution {self.execution_id}, {self.state}: {self.reason}"


class NotQuarantined(StateError):
    """There is nothing to release."""

    def __init__(self, execution_id: str, number: int, state: str) -> None:
        super().__init__(execution_id, number, state)
        self.execution_id, self.number, self.state = execution_id, number, state

    def __str__(self) -> str:
        task = f"task {self.number} of execution {self.execution_id}"
        return f"{task} is {self.state} and not in quarantine; `orchestrator why {self.execution_id}` says what it does"


def kill_task(execution_id: str, number: int, services: Services, *, audit: Audit, attempt: int | None = None) -> None:
    """End one task; the execution goes on without it (``engine.killing``).

    What nobody runs is over when this returns. What a worker runs is ended by that worker, within seconds, and what
    waits for sub-executions is over once these are.

    Args:
        execution_id: of which execution.
        number: of which task.
        services: the stores, and the way to the broker.
        audit: who wants it, and why; kept.
        attempt: only if it is at this one still.

    Raises:
        TaskNotKillable: it is over or about to be; nothing was changed, here and below.
        ExecutionOver: the execution is final.
        ExecutionNotFound, TaskNotFound: there is none.
    """
    apply(execution_id, services, lambda standing: _kill_task(standing, number, audit, attempt))
    end_unclaimed(execution_id, number, services)


def end_unclaimed(execution_id: str, number: int, services: Services) -> None:
    """End a killed task that no worker has: nothing of it runs any more."""
    apply(execution_id, services, lambda standing: _end_unclaimed(standing, number))


def check_task_kill(execution_id: str, number: int, services: Services) -> None:
    """Make sure that a task can be killed now.

    Raises:
        StateError, StoreError: as ``kill_task``.
    """
    _check_kill(stand(execution_id, services), number)


def _kill_task(standing: Standing, number: int, audit: Audit, attempt: int | None) -> Step:
    _check_kill(standing, number)
    if attempt not in (None, standing.progress.status(number).attempt):
        raise TaskNotKillable(standing.stored.id, number, _state(standing, number), "it is at another attempt")
    status, live = standing.progress.status(number), standing.live.get(number)
    why = "" if audit.message is None else f": {audit.message}"
    optional: dict[str, Json] = {"message": audit.message, "impersonator": audit.impersonator}
    message = f"task {number} was cancelled by {audit.actor}{why}"[:MAX_MESSAGE]
    error = ErrorInfo(message=message, code="CANCELLED", task_number=number)
    return Step(
        event=TaskKilled(number=number, error=error),
        kind=EntryKind.TASK_KILLED,
        number=number,
        attempt=status.attempt,
        actor=audit.actor,
        details={key: content for key, content in optional.items() if content},
        asked_to_end=() if live is None else (live.key,),
    )


def _check_kill(standing: Standing, number: int) -> None:
    _check_task(standing, number, wanted="kill")
    reason = _why_not(standing, number)
    if reason is not None:
        raise TaskNotKillable(standing.stored.id, number, _state(standing, number), reason)


def _why_not(standing: Standing, number: int) -> str | None:
    """Why this task cannot be killed alone, if so."""
    status, stopping = standing.progress.status(number), standing.progress.stopping
    if standing.stored.hold is not None:  # nothing is decided that could go on without it
        return "the execution has not begun; kill the whole execution, or wait"
    if can_be_killed(status, stopping=stopping):
        return None
    if status.state.is_final:
        return "it is over"
    if status.is_rolling_back:
        return "what undoes a task is not stopped"
    if stopping is ExecutionState.RETRY_ON_HOLD:
        return "the execution is about to begin again; kill the whole execution, or wait"
    return "the execution is being stopped" if stopping is not None else "it is being ended already"


def _end_unclaimed(standing: Standing, number: int) -> Step | None:
    """The end of a killed attempt that no worker has, and that no worker therefore ends."""
    live = standing.live.get(number)
    if live is None or live.worker is not None or live.phase is Phase.WAIT:
        return None
    return stopped(live) if standing.progress.status(number).is_killed else None


def release(execution_id: str, number: int, services: Services, *, actor: str) -> None:
    """Let a quarantined task, or its rollback, run again: as a new attempt, whose worker has not died yet.

    Raises:
        NotQuarantined: it is not in quarantine; nothing was changed, here and below.
        ExecutionOver: the execution is final.
        ExecutionNotFound, TaskNotFound: there is none.
    """
    apply(execution_id, services, lambda standing: _release(standing, number, actor))


def check_release(execution_id: str, number: int, services: Services) -> None:
    """Make sure that a task can be released now.

    Raises:
        StateError, StoreError: as ``release``.
    """
    _check_release(stand(execution_id, services), number)


def _release(standing: Standing, number: int, actor: str) -> Step:
    _check_release(standing, number)
    attempt = standing.progress.status(number).attempt
    released = Released(number=number, attempt=attempt)
    return Step(event=released, kind=EntryKind.RELEASED, number=number, attempt=attempt, actor=actor)


def _check_release(standing: Standing, number: int) -> None:
    _check_task(standing, number, wanted="release")
    if not standing.progress.status(number).is_quarantined:
        raise NotQuarantined(standing.stored.id, number, _state(standing, number))


def _check_task(standing: Standing, number: int, *, wanted: str) -> None:
    stored, plan = standing.stored, standing.plan
    if number not in plan.tasks:
        raise TaskNotFound(stored.id, number, sorted(plan.numbers))
    if stored.state.is_final:
        raise ExecutionOver(stored.id, stored.state.value, wanted)


def _state(standing: Standing, number: int) -> str:
    """As everybody sees it: the progress does not know of a claim."""
    state, live = standing.progress.status(number).state, standing.live.get(number)
    is_claimed = state is TaskState.PENDING_EXECUTION and live is not None and live.worker is not None
    return (TaskState.IN_PROCESS if is_claimed else state).value
