"""Limits at work: who waits for one is admitted and started when it has room.

After a commit that ended an execution, whoever made it calls ``admit_after``, or ``admit_waiting`` with the limits that
``store.limits.leave`` has named. Every worker's timer thread calls ``look_at_limits`` as well: for what a crash has
left, for limits that an operator has changed, and for rates whose time has come. All of them may be called by anybody,
at any time and as often as one likes: an execution is admitted once, and starting it is a commit that only one can win.

    waits --take_turn--> admitted --start--> begun
                             | nobody started it: a crash
                             +--look_at_limits--> start

A start may end an execution at once, and that gives its slots back: what is called from within a start is done after
it, not inside of it, or a thousand such executions would be a thousand calls deep.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from contextvars import ContextVar
from typing import Final, TypeAlias

from orchestrator.engine.limits import limits_for
from orchestrator.service.services import Services
from orchestrator.store.limit_rooms import look
from orchestrator.store.limit_terms import terms_of
from orchestrator.store.limits import FEW, Entrant, enter_late, leave, take_turn
from orchestrator.store.rows import StoredExecution

Start: TypeAlias = Callable[[Sequence[str], Services], object]  # service.apply.start_held, which is above this module

_ahead: Final[ContextVar[set[str] | None]] = ContextVar(
    "limits to look at after the start that is going on", default=None
)


def has_limits(services: Services, names: Collection[str]) -> bool:
    """Whether any of these limits is set."""
    with services.store.database.read() as connection:
        return bool(terms_of(connection, names))


def admit_waiting(services: Services, names: Collection[str], *, start: Start) -> int:
    """Admit and start as many of those that wait for these limits as there is room for.

    Returns:
        How many were admitted; 0 from within a start, which sees to it afterwards.
    """
    if (ahead := _ahead.get()) is not None:
        ahead |= set(names)
        return 0
    number, look_at = 0, FEW
    todo = set(names)
    token = _ahead.set(todo)
    try:
        while todo:
            with services.store.database.begin() as connection:
                admission = take_turn(connection, todo, look_at=look_at)
            todo.clear()
            look_at = admission.look_at
            number += len(admission.admitted)
            if admission.admitted:
                start(admission.admitted, services)
            todo |= admission.again
    finally:
        _ahead.reset(token)
    return number


def admit_after(ended: Iterable[StoredExecution], services: Services, *, start: Start) -> None:
    """Let others have the slots of executions whose end was just committed."""
    if names := {need for each in ended if each.is_limited for need in needs_of(each, services)}:
        admit_waiting(services, names, start=start)


def look_at_limits(services: Services, *, start: Start) -> float | None:
    """Do what nobody was told to do.

    Returns:
        In how many seconds a rate lets the next execution start; None if nobody waits for a rate alone.
    """
    database = services.store.database
    with database.read() as connection:
        seen = look(connection)
    names = set(seen.open)
    if seen.over:
        with database.begin() as connection:
            names |= leave(connection, *seen.over)
    if seen.unstarted:
        start(seen.unstarted, services)
    admit_waiting(services, names, start=start)
    return seen.next_in_s


def may_begin(stored: StoredExecution, services: Services) -> bool:
    """Whether an execution whose start was put off may begin now that its time has come; if not, it waits its turn.

    It is LIMITED from here on, if a limit holds for it: its own timer need not come again.
    """
    entrant = Entrant(execution_id=stored.id, needs=needs_of(stored, services), priority=stored.priority)
    with services.store.database.begin() as connection:
        return enter_late(connection, entrant)


def needs_of(stored: StoredExecution, services: Services) -> tuple[str, ...]:
    """The limits that may hold for an execution: the same ones as when it was created."""
    return limits_for(
        services.plans.version(stored.version_id),
        stored.request,
        project=stored.project,
        location=stored.location,
        executor=stored.executor,
        is_root=stored.parent is None,
    )
