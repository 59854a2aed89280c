"""Applying an event to an execution from outside of a claim: the clock's, a person's, the caller's, a worker's death.

``apply`` reads where the execution stands, asks what to do about it, decides, commits, and publishes what that made
ready. Who loses the race to another change reads and asks again, so the question is always put to what is there.

``pursue`` is the end of what was stopped (FATAL, a deadline, KILL): it obeys the marks at and below an execution, and
ends what nobody runs. What a worker runs is ended by that worker (``runtime.guard``), whose commit leads here again.
It may be repeated at any time: a worker's periodic look does so for what a crash left.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial

from orchestrator.engine.canvas import Message
from orchestrator.engine.decide import decide
from orchestrator.engine.decisions import Decision
from orchestrator.engine.events import Answer, Event, Killed, Started, Stopped
from orchestrator.engine.plan import Plan
from orchestrator.engine.progress import Progress, pack, unpack
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
        kill = _unobeyed_kill(standing)  # first: a commit that does not obey it would take the mark away
        step = kill or next_step(standing)
        if step is None:
            return None
        is_sync = standing.is_sync and not isinstance(step.event, Answer)  # its own edges see that already
        seen = with_system_variables(standing.parameters, is_sync=is_sync)
        decision = decide(standing.plan, standing.progress, step.event, parameters=seen, is_sync=is_sync)
        if decision.is_late and kill is None:
            return None
        if decision.is_late:  # it is being stopped already, and what stopped it first counts
            services.signals.settle(standing.stored)
            continue
        change = _to_commit(standing, step, decision)
        written = services.store.commit(change)
        if isinstance(written, Refusal):
            continue
        follow_up(change, written, services)
        if kill is None:
            return standing, decision


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


def _to_commit(standing: Standing, step: Step, decision: Decision) -> Commit:
    stored, plan, progress = standing.stored, standing.plan, decision.progress
    is_start = isinstance(step.event, Started)
    state = progress.state
    if is_start and not state.is_final:
        state = ExecutionState.PENDING  # as for any execution that was just created: the first claim moves it on
    changed = dict(standing.stored.request) if decision.is_restart else {**standing.parameters, **decision.parameters}
    return Commit(
        execution=stored,
        worker=step.worker,
        state=state,
        progress=pack(plan, progress),
        entries=(_to_entry(standing, step, decision),),
        signal=signal_of(progress),
        parameters=decision.parameters,
        is_restart=decision.is_restart,
        begins=is_start,
        withdrawn=step.withdrawn,
        revoked=step.revoked,
        returned=step.returned,
        ready=new_attempts(plan, decision.dispatch, executor=stored.executor),
        timers=(*step.timers, *to_due(decision.timers)),
        fired_timers=step.fired_timers,
        dropped=decision.dropped,
        resolutions=step.resolutions,
        outcome=to_outcome(plan, decision, changed) if state.is_final else None,
    )


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
        while apply(each, services, partial(_end_unclaimed, services=services)) is not None:
            pass


def pursue_marked(services: Services) -> None:
    """The same for everything marked: what a crash has left."""
    for each in services.signals.marked():
        pursue(each, services)


def _unobeyed_kill(standing: Standing) -> Step | None:
    signal = standing.stored.signal
    if signal in (None, Signal.STOPPING):
        return None
    return Step(event=Killed(rolls_back=signal is Signal.KILL_AND_ROLL_BACK), kind=EntryKind.KILLED)


def _end_unclaimed(standing: Standing, services: Services) -> Step | None:
    """An attempt of a stopping execution that no worker has claimed: it is over. The rest is asked to stop."""
    if standing.progress.stopping is None or standing.stored.state.is_final:
        return None
    stoppable = [each for number, each in standing.live.items() if not standing.progress.status(number).is_rolling_back]
    for live in stoppable:
        if live.worker is None and live.phase is not Phase.WAIT:
            key, has_run = live.key, live.started_at is not None
            return Step(
                event=Stopped(number=key.number, attempt=key.attempt, was_running=has_run),
                kind=EntryKind.STOPPED,
                number=key.number,
                attempt=key.attempt,
                withdrawn=(key,),
            )
    # The commit that began to stop it has asked those that it saw; these were being claimed at that moment.
    for live in stoppable:
        if live.worker is not None and live.stop_at is None:
            services.signals.ask_to_stop(live.key)
    return None
