"""Suspensions: lifting and rejecting them, by whoever may, or by the clock.

A suspension whose task names a parameter for the answer (``isApproved``) is a question: lifting it answers true, and
rejecting it answers false, and the flow goes on by its conditions. One that names none is a wait: rejecting it FAILs
the task. Either way there is one answer: who comes second is told what the first one said.

A timer is a suspension that the clock lifts. Nobody is asked, so it has to be named to be answered all the same.

Who acts is what the caller says: names are compared with those that the task gives, and kept. Making sure that somebody
is who they say they are is the caller's business.
"""

from __future__ import annotations

from typing import Final

from orchestrator.engine.events import Answer, Lifted, Rejected
from orchestrator.errors import InputError, InvalidValue, StateError
from orchestrator.model.fields import is_storable
from orchestrator.model.history import EntryKind, ErrorInfo
from orchestrator.model.json_text import Json
from orchestrator.model.states import TaskState
from orchestrator.model.task_types import Suspend
from orchestrator.model.timers import TimerKind
from orchestrator.model.values import DataType, Value
from orchestrator.service.apply import apply
from orchestrator.service.services import Services
from orchestrator.service.standing import Standing, Step
from orchestrator.store.changes import Due, NewSuspension, Resolution
from orchestrator.store.kinds import AttemptKey, SuspensionState
from orchestrator.store.rows import DueTimer, StoredExecution
from orchestrator.store.suspensions import Suspension

CLOCK: Final = "the clock"  # who resolves a suspension whose time is up
MAX_ACTOR: Final = 256  # characters of the name of who answers; the column's width
_TIMERS: Final = (TimerKind.EXPIRE, TimerKind.REMIND, TimerKind.NOTIFY)


class SuspensionNotFound(StateError):
    """The execution has no such suspension."""

    def __init__(self, execution_id: str, name: str) -> None:
        super().__init__(execution_id, name)
        self.execution_id, self.name = execution_id, name

    def __str__(self) -> str:
        what = f"suspension {self.name!r}" if self.name else "suspension that waits for an answer"
        return f"execution {self.execution_id} has no {what}; `orchestrator suspensions` lists those that wait"


class SeveralSuspensions(StateError):
    """It has to be said which one is meant."""

    def __init__(self, execution_id: str, names: tuple[str, ...]) -> None:
        super().__init__(execution_id, tuple(names))
        self.execution_id, self.names = execution_id, tuple(names)

    def __str__(self) -> str:
        waiting = ", ".join(self.names)
        return f"several suspensions of execution {self.execution_id} wait for an answer: {waiting}; name one of them"


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


# -- beginning -----------------------------------------------------------------------------------------------------


def new_suspension(step: Suspend, number: int, attempt: int) -> tuple[NewSuspension, tuple[Due, ...]]:
    """What is stored of a task that suspends, and its timers."""
    terms: dict[str, Json] = {
        "message": step.message,
        "resultName": step.result_name,
        "payloadName": step.payload_name,
        "whoMayResolve": list(step.who_may_resolve),
        "remindAfterS": step.remind_after_s,
        "liftWhenExpired": step.lift_when_expired,
    }
    new = NewSuspension(
        number=number,
        attempt=attempt,
        terms={key: content for key, content in terms.items() if content not in (None, "", [])},
        expire_after_s=step.expire_after_s,
        is_timer=step.is_timer,
    )
    waits = {
        TimerKind.EXPIRE: step.expire_after_s,
        TimerKind.REMIND: step.remind_after_s,
        TimerKind.NOTIFY: 0.0 if step.who_may_resolve else None,
    }
    due = [
        Due(kind=kind, number=number, attempt=attempt, after_s=after_s)
        for kind, after_s in waits.items()
        if after_s is not None
    ]
    return new, tuple(due)


# -- finding -------------------------------------------------------------------------------------------------------


def find(execution_id: str, services: Services, *, name: str = "") -> Suspension:
    """One suspension.

    Args:
        execution_id: of which execution.
        services: the stores.
        name: which one: ``TASK-ATTEMPT``, or the task's number for its latest; empty for the only one that waits, or if
            none waits any more, for the one that was answered last.

    Raises:
        SuspensionNotFound: there is none of this name, or none that anybody was asked to answer.
        SeveralSuspensions: several wait, and none is named.
        ExecutionNotFound: there is no such execution.
    """
    known = services.suspensions.of_execution(execution_id)
    if not known:
        services.store.read(execution_id)  # or there is no such execution
    found = [each for each in known if name in (each.id, str(each.task_number))] if name else _asked(known)
    if not found:
        raise SuspensionNotFound(execution_id, name)
    if not name and len(found) > 1:
        raise SeveralSuspensions(execution_id, tuple(each.id for each in found))
    return found[-1]


def _asked(known: list[Suspension]) -> list[Suspension]:
    """Those that wait for somebody; else the one that was answered last."""
    asked = [each for each in known if not each.is_timer]
    waiting = [each for each in asked if each.state is SuspensionState.PENDING]
    return waiting or sorted(asked, key=lambda each: each.resolved_at or each.created_at)[-1:]


def check_answer(found: Suspension, *, actor: str) -> None:
    """Make sure that somebody may answer a suspension now.

    Raises:
        SuspensionAnswered: it has its answer already.
        MayNotResolve: somebody else is to answer.
        InvalidValue: the name cannot be kept, or is the clock's.
    """
    if actor == CLOCK or not 0 < len(actor) <= MAX_ACTOR or not is_storable(actor):
        expected = f"the name of who answers: 1 to {MAX_ACTOR} characters without NUL and surrogates, not the clock's"
        raise InvalidValue("actor", repr(actor)[:60], expected)
    if found.state is not SuspensionState.PENDING:
        raise _answered(found)
    allowed = found.who_may_resolve
    if allowed and actor.casefold() not in map(str.casefold, allowed):  # they are mail addresses
        raise MayNotResolve(actor, allowed)


def _answered(found: Suspension) -> SuspensionAnswered:
    at = "" if found.resolved_at is None else found.resolved_at.isoformat(timespec="seconds")
    return SuspensionAnswered(found.execution_id, found.id, found.state.value, found.resolver or "", at)


def waiting_with(execution_id: str, services: Services) -> list[StoredExecution]:
    """An execution and those that wait for its end, directly or not; the topmost comes last.

    Raises:
        ExecutionNotFound: there is no such execution.
    """
    found = [services.store.read(execution_id)[0]]
    while (parent := found[-1].parent) is not None and parent.round is not None:
        found.append(services.store.read(parent.execution_id)[0])
    return found


# -- answering -----------------------------------------------------------------------------------------------------


def resolve(
    execution_id: str,
    services: Services,
    *,
    is_lifted: bool,
    actor: str,
    name: str = "",
    result: Value | None = None,
) -> Suspension:
    """Answer a suspension. The execution goes on from there, asynchronously.

    Args:
        execution_id: of which execution.
        services: the stores.
        is_lifted: let it go on, or reject it.
        actor: who answers.
        name: which suspension, as for ``find``.
        result: what it is lifted with: goes to the parameter that the task names for that, or else takes the place of
            true; converted to the parameter's declared type.

    Returns:
        The suspension as it is now.

    Raises:
        SuspensionNotFound, SeveralSuspensions, ExecutionNotFound: as for ``find``.
        SuspensionAnswered, MayNotResolve: as for ``check_answer``.
        InvalidValue: the result does not fit the parameter's type, or the name of who answers cannot be kept.
        Unreachable: the database, or after the answer was stored, the broker.
    """
    found = find(execution_id, services, name=name)
    check_answer(found, actor=actor)
    done = apply(
        execution_id,
        services,
        lambda standing: _answer(standing, found, is_lifted=is_lifted, actor=actor, result=result),
    )
    latest = services.suspensions.find(_key(found)) or found
    if done is None:
        raise _answered(latest)
    return latest


def _answer(standing: Standing, found: Suspension, *, is_lifted: bool, actor: str, result: Value | None) -> Step | None:
    number, attempt = found.task_number, found.attempt
    status = standing.progress.status(number)
    if status.state is not TaskState.SUSPENDED or status.attempt != attempt:
        return None
    event, answer = _event(standing, found, is_lifted=is_lifted, actor=actor, result=result)
    lifts = is_lifted and isinstance(event, Lifted)  # a question that is rejected goes on, with false
    return Step(
        event=event,
        kind=EntryKind.LIFTED if lifts else EntryKind.REJECTED,
        number=number,
        attempt=attempt,
        actor=actor,
        error=event.error if isinstance(event, Rejected) else None,
        fired_timers=tuple((kind, number) for kind in _TIMERS),
        resolutions=(
            Resolution(
                number=number,
                attempt=attempt,
                state=SuspensionState.LIFTED if lifts else SuspensionState.REJECTED,
                resolver=actor,
                result=answer,
            ),
        ),
    )


def _event(
    standing: Standing, found: Suspension, *, is_lifted: bool, actor: str, result: Value | None
) -> tuple[Answer, Value | None]:
    number, attempt = found.task_number, found.attempt
    if found.result_name is None and not is_lifted:
        return _rejected(found, f"rejected by {actor}"), None
    answers = _answers(found, is_lifted=is_lifted, result=result)
    try:
        outputs = standing.plan.typed(answers)
    except InvalidValue as error:
        if is_lifted and actor != CLOCK:
            raise  # whoever lifts it may hand in something else; the clock and a no have nothing else to say
        return _rejected(found, f"rejected by {actor}, but {error}"), None
    kept = outputs.get(found.payload_name or "", outputs.get(found.result_name or "", result))
    return Lifted(number=number, attempt=attempt, outputs=outputs), kept


def _answers(found: Suspension, *, is_lifted: bool, result: Value | None) -> dict[str, Value]:
    """The parameters that take an answer: true or false, and what the suspension is lifted with."""
    answers: dict[str, Value] = {}
    if found.result_name is not None:
        answers[found.result_name] = Value(DataType.BOOLEAN, is_lifted)
    place = found.payload_name or found.result_name
    if is_lifted and result is not None and place is not None:
        answers[place] = result
    return answers


def _rejected(found: Suspension, message: str) -> Rejected:
    error = ErrorInfo(message=message, code="SUSPENSION_REJECTED", task_number=found.task_number)
    return Rejected(number=found.task_number, attempt=found.attempt, error=error)


# -- the clock's part ----------------------------------------------------------------------------------------------


def expire(due: DueTimer, services: Services) -> bool:
    """The time of a suspension is up; False if nobody waits for that any more."""
    found = pending(due.key, services)
    if found is None:
        return False
    done = apply(
        found.execution_id,
        services,
        lambda standing: _answer(standing, found, is_lifted=found.is_lifted_when_expired, actor=CLOCK, result=None),
    )
    return done is not None


def pending(key: AttemptKey, services: Services) -> Suspension | None:
    """The suspension of an attempt, if it waits still."""
    found = services.suspensions.find(key)
    return found if found is not None and found.state is SuspensionState.PENDING else None


def _key(found: Suspension) -> AttemptKey:
    return AttemptKey(execution_id=found.execution_id, number=found.task_number, attempt=found.attempt)
