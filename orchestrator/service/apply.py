"""Applying an event to an execution from outside of a claim: the clock's, a person's, the caller's, a worker's death.

``apply`` reads where the execution stands, asks what to do about it, decides, commits, and publishes what that made
ready. Who loses the race to another change reads and asks again, so the question is always put to what is there.

``pursue`` is the end of what was stopped (FATAL, a deadline, KILL): it obeys the marks at and below an execution, and
ends what nobody runs. What a worker runs is ended by that worker (``runtime.guard``), whose commit leads here again.
It may be repeated at any time: a worker's periodic look does so for what a crash left.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import chain
from typing import TypeVar

from orchestrator.engine.canvas import Message
from orchestrator.engine.decide import decide
from orchestrator.engine.decisions import Decision
from orchestrator.engine.events import Answer, Event, Killed, Started, Stopped
from orchestrator.engine.plan import Plan
from orchestrator.engine.progress import Progress, pack, unpack
from orchestrator.errors import Unreachable
from orchestrator.model.history import Entry, EntryKind, ErrorInfo
from orchestrator.model.json_text import Json
from orchestrator.model.states import ExecutionState
from orchestrator.model.timers import TimerKind
from orchestrator.model.values import Value
from orchestrator.service.limits import admit_after
from orchestrator.service.services import Services
from orchestrator.service.start import (
    join_message,
    new_attempts,
    runs_sync,
    signal_of,
    to_due,
    to_message,
    to_outcome,
    with_system_variables,
)
from orchestrator.store.rows import (
    AttemptKey,
    Commit,
    Due,
    Fired,
    LiveAttempt,
    Phase,
    Refusal,
    Resolution,
    Signal,
    StoredExecution,
)

log = logging.getLogger(__name__)

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True, slots=True)
class Standing:
    """Where an execution stands, as one read found it. ``now`` is the database's clock at that time."""

    stored: StoredExecution
    plan: Plan
    progress: Progress
    parameters: Mapping[str, Value]
    live: Mapping[int, LiveAttempt]
    now: datetime

    @property
    def is_sync(self) -> bool:
        """Whether it runs synchronously still."""
        return runs_sync(self.stored.method, self.progress)

    @property
    def is_marked(self) -> bool:
        """Whether there is a KILL that nobody has obeyed yet."""
        return self.stored.signal not in (None, Signal.STOPPING)


@dataclass(frozen=True, kw_only=True, slots=True)
class Step:
    """What to do to an execution. ``number`` 0 is the execution as a whole; the last fields are those of ``Commit``."""

    event: Event
    kind: EntryKind
    number: int = 0
    attempt: int = 0
    worker: str = ""
    actor: str = ""
    started_at: datetime | None = None
    error: ErrorInfo | None = None
    details: Mapping[str, Json] = field(default_factory=dict)
    timers: tuple[Due, ...] = ()
    fired_timers: tuple[tuple[TimerKind, int], ...] = ()
    withdrawn: tuple[AttemptKey, ...] = ()
    revoked: tuple[AttemptKey, ...] = ()
    returned: tuple[AttemptKey, ...] = ()
    resolutions: tuple[Resolution, ...] = ()


def stand(execution_id: str, services: Services) -> Standing:
    """Read where an execution stands.

    Raises:
        ExecutionNotFound: there is none.
    """
    stored, parameters, live, now = services.store.stand(execution_id)
    plan = services.plans.get(stored.version_id, stored.trigger_id)
    progress = unpack(plan, stored.progress, stored.state)
    seen = with_system_variables(parameters, is_sync=runs_sync(stored.method, progress))
    return Standing(stored=stored, plan=plan, progress=progress, parameters=seen, live=live, now=now)


def apply(
    execution_id: str, services: Services, next_step: Callable[[Standing], Step | None]
) -> tuple[Standing, Decision] | None:
    """Change an execution as ``next_step`` says; None from it, or an event that comes too late, changes nothing.

    Returns:
        Where it stood and what was decided, or None if nothing changed.

    Raises:
        ExecutionNotFound: there is none; and whatever ``next_step`` raises.
    """
    while True:
        standing = stand(execution_id, services)
        if standing.is_marked:
            _end(standing, services)  # first: a commit that does not obey the mark would take it away
            continue
        step = next_step(standing)
        decisions = None if step is None else _decide([step], standing)
        if step is None or decisions is None:
            return None
        if _write([step], decisions, standing, services):
            return standing, decisions[-1]


def start_held(execution_ids: Sequence[str], services: Services) -> int:
    """Begin executions whose start was put off: scheduled ones, and those that waited for a limit.

    Returns:
        How many of them began.
    """
    return sum(apply(each, services, _begin) is not None for each in execution_ids)


def _begin(standing: Standing) -> Step | None:
    if standing.stored.hold is None or standing.stored.state.is_final:
        return None
    return Step(event=Started(), kind=EntryKind.STARTED, fired_timers=((TimerKind.START, 0),))


def _decide(steps: Sequence[Step], standing: Standing) -> list[Decision] | None:
    """What the steps mean, one after the other; None if one of them comes too late."""
    progress, parameters, decisions = standing.progress, dict(standing.parameters), []
    for step in steps:
        is_sync = standing.is_sync and not isinstance(step.event, Answer)  # its own edges see that already
        seen = with_system_variables(parameters, is_sync=is_sync)
        decision = decide(standing.plan, progress, step.event, parameters=seen, is_sync=is_sync)
        if decision.is_late:
            return None
        progress = decision.progress
        parameters.update(decision.parameters)
        decisions.append(decision)
    return decisions


def _write(steps: Sequence[Step], decisions: Sequence[Decision], standing: Standing, services: Services) -> bool:
    """Commit, and do what follows from it. False: somebody else was faster."""
    change = _to_commit(steps, decisions, standing)
    written = services.store.commit(change)
    if isinstance(written, Refusal):
        return False
    follow_up(change, written, services)
    return True


def _to_commit(steps: Sequence[Step], decisions: Sequence[Decision], standing: Standing) -> Commit:
    stored, plan, last = standing.stored, standing.plan, decisions[-1]
    is_start = any(isinstance(step.event, Started) for step in steps)
    is_restart = any(each.is_restart for each in decisions)
    state = last.progress.state
    if is_start and not state.is_final:
        state = ExecutionState.PENDING  # as for any execution that was just created: the first claim moves it on
    changed = {key: value for each in decisions for key, value in each.parameters.items()}
    now = {**(stored.request if is_restart else standing.parameters), **changed}
    return Commit(
        execution=stored,
        worker=steps[-1].worker,
        state=state,
        progress=pack(plan, last.progress),
        entries=tuple(_to_entry(standing, *each) for each in zip(steps, decisions, strict=True)),
        signal=signal_of(last.progress),
        parameters=changed,
        is_restart=is_restart,
        begins=is_start,
        withdrawn=_all(step.withdrawn for step in steps),
        revoked=_all(step.revoked for step in steps),
        returned=_all(step.returned for step in steps),
        ready=new_attempts(plan, _all(each.dispatch for each in decisions), executor=stored.executor),
        timers=(*_all(step.timers for step in steps), *to_due(_all(each.timers for each in decisions))),
        fired_timers=_all(step.fired_timers for step in steps),
        dropped=_all(each.dropped for each in decisions),
        resolutions=_all(step.resolutions for step in steps),
        outcome=to_outcome(plan, last, now) if state.is_final else None,
    )


def _all(parts: Iterable[tuple[T, ...]]) -> tuple[T, ...]:
    return tuple(chain.from_iterable(parts))


def _to_entry(standing: Standing, step: Step, decision: Decision) -> Entry:
    return Entry(
        kind=step.kind,
        task_number=step.number,
        attempt=step.attempt,
        started_at=step.started_at or standing.now,
        ended_at=standing.now,
        worker=step.worker,
        actor=step.actor,
        states=decision.states,
        edges=decision.edges,
        parameters=decision.parameters,
        error=step.error,
        details=step.details,
    )


def follow_up(change: Commit, fired: Sequence[Fired], services: Services) -> None:
    """What is to be done once a change that needs no worker is written: messages, and the end of what it stops."""
    stored = change.execution
    messages: list[Message] = [
        to_message(stored.id, each, services.types, priority=stored.priority) for each in change.ready
    ]
    messages += [join_message(each) for each in fired]
    if messages:
        services.publisher.publish(messages)
    if change.outcome is not None:
        admit_after(stored, services, start=start_held)
    if change.revoked or (change.signal is Signal.STOPPING and stored.signal is not Signal.STOPPING):
        pursue(stored.id, services)


# -- the end of what was stopped -----------------------------------------------------------------------------------


def pursue(execution_id: str, services: Services) -> None:
    """Bring everything marked at and below an execution as near to its end as is possible without its workers."""
    for each in services.signals.marked_below(execution_id):  # the deepest first: a parent's join waits for them
        while _end(stand(each, services), services):
            pass


def pursue_marked(services: Services) -> None:
    """The same for everything marked: what a crash has left."""
    for each in services.signals.marked():
        try:
            pursue(each, services)
        except Unreachable:  # nor would the others get through
            raise
        except Exception:  # one that cannot be ended must not keep others from their end, again and again
            log.exception("execution not ended; it is tried again later", extra={"execution_id": each})


def _end(standing: Standing, services: Services) -> bool:
    """Obey a KILL, end what no worker has claimed, and ask the others to end the rest. Whether to look again."""
    if standing.stored.state.is_final or not (standing.is_marked or standing.progress.stopping):
        return False
    stoppable = [each for number, each in standing.live.items() if not standing.progress.status(number).is_rolling_back]
    steps = [_stopped(each) for each in stoppable if each.worker is None and each.phase is not Phase.WAIT]
    if standing.is_marked:
        rolls_back = standing.stored.signal is Signal.KILL_AND_ROLL_BACK
        steps.insert(0, Step(event=Killed(rolls_back=rolls_back), kind=EntryKind.KILLED))
    if steps:
        decisions = _decide(steps, standing)
        if decisions is None:  # it is being stopped already, and what stopped it first counts
            services.signals.settle(standing.stored)
            return True
        is_written = _write(steps, decisions, standing, services)
        return not (is_written and decisions[-1].progress.state.is_final)
    # The commit that began to stop it has asked those that it saw; these were being claimed at that moment.
    for live in stoppable:
        if live.worker is not None and live.stop_at is None:
            services.signals.ask_to_stop(live.key)
    return False


def _stopped(live: LiveAttempt) -> Step:
    """The end of an attempt that no worker has. One that has begun was in the middle of its work."""
    key = live.key
    return Step(
        event=Stopped(number=key.number, attempt=key.attempt, was_running=live.started_at is not None),
        kind=EntryKind.STOPPED,
        number=key.number,
        attempt=key.attempt,
        withdrawn=(key,),
    )
