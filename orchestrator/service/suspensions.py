"""Suspensions: lifting and rejecting them, by whoever may, or by the clock.

A suspension whose task names a parameter for the answer (``isApproved``) is a question: lifting it answers true, and
rejecting it answers false, and the flow goes on by its conditions. One that names none is a wait: rejecting it FAILs
the task. Either way there is one answer: who comes second is told what the first one said.
"""

from __future__ import annotations

from orchestrator.engine.events import Answer, Lifted, Rejected
from orchestrator.errors import InputError, StateError
from orchestrator.model.history import EntryKind, ErrorInfo
from orchestrator.model.states import TaskState
from orchestrator.model.timers import TimerKind
from orchestrator.model.values import DataType, Value
from orchestrator.service.apply import Standing, Step, apply
from orchestrator.service.services import Services
from orchestrator.store.rows import Due, DueTimer, Resolution, SuspensionState
from orchestrator.store.suspensions import Suspension

CLOCK = "the clock"  # who resolves a suspension whose time is up


class SuspensionNotFound(StateError):
    """The execution has no such suspension."""

    def __init__(self, execution_id: str, name: str) -> None:
        super().__init__(execution_id, name)
        self.execution_id, self.name = execution_id, name

    def __str__(self) -> str:
        what = f"suspension {self.name!r}" if self.name else "suspension that waits for an answer"
        return f"execution {self.execution_id} has no {what}; `orchestrator suspensions` lists those that wait"


class SuspensionAnswered(StateError):
    """Somebody was faster; the first answer stands."""

    def __init__(self, execution_id: str, name: str, state: str, resolver: str, at: str) -> None:
        super().__init__(execution_id, name, state, resolver, at)
        self.execution_id, self.name, self.state, self.resolver, self.at = execution_id, name, state, resolver, at

    def __str__(self) -> str:
        by = f" by {self.resolver}" if self.resolver else ""
        return f"suspension {self.name} of execution {self.execution_id} was {self.state}{by} at {self.at}; it stays so"


class MayNotResolve(InputError):
    """The task names those who may answer, and this is none of them."""

    def __init__(self, actor: str, allowed: tuple[str, ...]) -> None:
        super().__init__(actor, tuple(allowed))
        self.actor, self.allowed = actor, tuple(allowed)

    def __str__(self) -> str:
        return f"{self.actor!r} may not answer this suspension; these may: {', '.join(self.allowed)}"


def resolve(
    execution_id: str,
    services: Services,
    *,
    is_lifted: bool,
    actor: str,
    name: str = "",
    result: Value | None = None,
) -> Suspension:
    """Answer a suspension.

    Args:
        execution_id: of which execution.
        services: the stores.
        is_lifted: let it go on, or reject it.
        actor: who answers.
        name: which suspension, ``TASK-ATTEMPT`` or the task's number; empty for the only one that waits.
        result: what the parameter for the answer takes, instead of true; converted to its declared type.

    Returns:
        The suspension as it is now.

    Raises:
        SuspensionNotFound: there is none of this name, or none or several that wait if none is named.
        SuspensionAnswered: it has its answer already.
        ExecutionNotFound: there is no such execution.
        MayNotResolve: somebody else is to answer.
        InvalidValue: the result does not fit the parameter's type.
    """
    found = _find(execution_id, name, services)
    allowed = found.who_may_resolve
    if allowed and actor not in (*allowed, CLOCK):
        raise MayNotResolve(actor, allowed)
    done = apply(
        execution_id,
        services,
        lambda standing: _answer(standing, found, is_lifted=is_lifted, actor=actor, result=result),
    )
    latest = services.suspensions.find(execution_id, found.task_number, found.attempt) or found
    if done is None:
        raise _answered(latest)
    return latest


def expire(due: DueTimer, services: Services) -> bool:
    """The time of a suspension is up; False if nobody waits for that any more."""
    key = due.key
    found = services.suspensions.find(key.execution_id, key.number, key.attempt)
    if found is None or found.state is not SuspensionState.PENDING:
        return False
    done = apply(
        key.execution_id,
        services,
        lambda standing: _answer(standing, found, is_lifted=found.is_lifted_when_expired, actor=CLOCK, result=None),
    )
    return done is not None


def remind(due: DueTimer, services: Services) -> bool:
    """It is time to remind those who may answer; again and again, in the same interval. False at the end."""
    key = due.key
    found = services.suspensions.find(key.execution_id, key.number, key.attempt)
    if found is None or found.state is not SuspensionState.PENDING:
        return False
    services.suspensions.count_reminder(key.execution_id, key.number, key.attempt)
    interval_s = float(str(found.terms.get("remindAfterS", 0)))
    again = Due(kind=TimerKind.REMIND, number=key.number, attempt=key.attempt, after_s=interval_s)
    services.store.set_timer(key.execution_id, again)
    return True


def _find(execution_id: str, name: str, services: Services) -> Suspension:
    known = services.suspensions.of_execution(execution_id)
    if not known:
        services.store.read(execution_id)  # or there is no such execution
    if name:
        named = [each for each in known if name in (each.id, str(each.task_number))]
    else:
        named = [each for each in known if each.state is SuspensionState.PENDING] or known
    if not named or (not name and len({each.task_number for each in named}) > 1):
        raise SuspensionNotFound(execution_id, name)
    found = named[-1]  # the latest attempt's
    if found.state is not SuspensionState.PENDING:
        raise _answered(found)
    return found


def _answered(found: Suspension) -> SuspensionAnswered:
    at = "" if found.resolved_at is None else found.resolved_at.isoformat(timespec="seconds")
    return SuspensionAnswered(found.execution_id, found.id, found.state.value, found.resolver or "", at)


def _answer(standing: Standing, found: Suspension, *, is_lifted: bool, actor: str, result: Value | None) -> Step | None:
    number, attempt = found.task_number, found.attempt
    status = standing.progress.status(number)
    if status.state is not TaskState.SUSPENDED or status.attempt != attempt:
        return None
    event, answer = _event(standing, found, is_lifted=is_lifted, actor=actor, result=result)
    state = SuspensionState.LIFTED if is_lifted else SuspensionState.REJECTED
    return Step(
        event=event,
        kind=EntryKind.LIFTED if is_lifted else EntryKind.REJECTED,
        number=number,
        attempt=attempt,
        actor=actor,
        error=event.error if isinstance(event, Rejected) else None,
        fired_timers=((TimerKind.EXPIRE, number), (TimerKind.REMIND, number)),
        resolutions=(Resolution(number=number, attempt=attempt, state=state, resolver=actor, result=answer),),
    )


def _event(
    standing: Standing, found: Suspension, *, is_lifted: bool, actor: str, result: Value | None
) -> tuple[Answer, Value | None]:
    number, attempt, name = found.task_number, found.attempt, found.result_name
    if name is None and not is_lifted:
        error = ErrorInfo(message=f"rejected by {actor}", code="SUSPENSION_REJECTED", task_number=number)
        return Rejected(number=number, attempt=attempt, error=error), None
    answer = result if result is not None and is_lifted else Value(DataType.BOOLEAN, is_lifted)
    outputs = {} if name is None else standing.plan.typed({name: answer})
    return Lifted(number=number, attempt=attempt, outputs=outputs), outputs.get(name or "", result)
