"""Applying an event to an execution from outside of a claim: the clock's, a person's, the caller's, a worker's death.

``apply`` reads where the execution stands, asks what to do about it, decides, commits, and does what follows. Who loses
the race to another change reads and asks again, so the question is always put to what is there.

This is the only way to change one execution from outside of a claim. A KILL that nobody has obeyed yet comes first, and
what a change stops is ended after it: both are ``service.pursue``'s.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from orchestrator.engine.decisions import Decision
from orchestrator.engine.events import Started
from orchestrator.model.history import EntryKind
from orchestrator.model.timers import TimerKind
from orchestrator.service.pursue import end_one, follow_up
from orchestrator.service.services import Services
from orchestrator.service.standing import Standing, Step, stand, work_out
from orchestrator.store.changes import Refusal


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
            end_one(standing, services, start=start_held)  # a commit that does not obey the mark would take it away
            continue
        step = next_step(standing)
        outcome = None if step is None else work_out([step], standing)
        if outcome is None:
            return None
        change, decision = outcome
        written = services.store.commit(change)
        if not isinstance(written, Refusal):
            follow_up([change], written, services, start=start_held)
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
