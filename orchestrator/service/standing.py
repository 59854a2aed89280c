"""Where an execution stands, and what steps from outside of a claim come to there: read and decided, not written.

A standing is what one read found, of the execution, its parameters and its live attempts, at one moment. ``work_out``
turns steps into the one commit that makes them true, if everything is still as it was read. ``service.apply`` and
``service.pursue`` write it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import chain
from typing import TypeVar

from orchestrator.engine.decide import decide
from orchestrator.engine.decisions import Decision
from orchestrator.engine.events import Answer, Event, Started
from orchestrator.engine.plan import Plan
from orchestrator.engine.progress import Progress, pack, unpack
from orchestrator.errors import ExecutionNotFound
from orchestrator.model.history import Entry, EntryKind, ErrorInfo
from orchestrator.model.json_text import Json
from orchestrator.model.states import ExecutionState
from orchestrator.model.timers import TimerKind
from orchestrator.model.values import Value
from orchestrator.service.services import Services
from orchestrator.service.start import new_attempts, runs_sync, signal_of, to_due, to_outcome, with_system_variables
from orchestrator.store.changes import Commit, Due, Resolution
from orchestrator.store.kinds import AttemptKey, Signal
from orchestrator.store.rows import Found, LiveAttempt, StoredExecution

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
    given_back: tuple[AttemptKey, ...] = ()
    asked_to_end: tuple[AttemptKey, ...] = ()
    resolutions: tuple[Resolution, ...] = ()


def stand(execution_id: str, services: Services) -> Standing:
    """Read where an execution stands.

    Raises:
        ExecutionNotFound: there is none.
    """
    found = services.store.find([execution_id])
    if not found:
        raise ExecutionNotFound(execution_id)
    return to_standing(found[0], services)


def to_standing(found: Found, services: Services) -> Standing:
    """What was found, with the plan of its version, and the parameters as conditions see them."""
    stored = found.stored
    plan = services.plans.get(stored.version_id, stored.trigger_id)
    progress = unpack(plan, stored.progress, stored.state)
    seen = with_system_variables(found.parameters, is_sync=runs_sync(stored.method, progress))
    return Standing(stored=stored, plan=plan, progress=progress, parameters=seen, live=found.live, now=found.now)


def work_out(steps: Sequence[Step], standing: Standing) -> tuple[Commit, Decision] | None:
    """What steps, at least one and one after the other, come to.

    Returns:
        The commit that writes them, and the last decision; None if one of them comes too late.
    """
    decisions = _decide(steps, standing)
    return None if decisions is None else (_to_commit(steps, decisions, standing), decisions[-1])


def _decide(steps: Sequence[Step], standing: Standing) -> list[Decision] | None:
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
        given_back=_all(step.given_back for step in steps),
        asked_to_end=_all(step.asked_to_end for step in steps),
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
