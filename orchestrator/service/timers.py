"""Timers: retries whose time has come. Waits lie in the database, so they survive every process.

Any worker may look, and any number of them at once: a timer is taken by the commit that fires it, and only one can win
that. Who loses finds that nothing waits any more.
"""

from __future__ import annotations

from datetime import datetime
from typing import Final

from orchestrator.engine.decide import Decision, decide
from orchestrator.engine.events import RetryDue
from orchestrator.engine.progress import pack, unpack
from orchestrator.model.history import Entry, EntryKind
from orchestrator.service.services import Services
from orchestrator.service.start import new_attempt, to_message, with_system_variables
from orchestrator.store.rows import AttemptKey, Commit, Method, Refusal

_AT_ONCE: Final = 100  # timers a look; the rest is found by the next one, at once


def fire_due_timers(services: Services) -> int:
    """Make every task ready whose retry is due.

    Returns:
        How many timers were due; as many as one look takes means that there may be more.
    """
    due, now = services.store.due_timers(limit=_AT_ONCE)
    for key in due:
        _fire(key, now, services)
    return len(due)


def _fire(key: AttemptKey, now: datetime, services: Services) -> None:
    while True:
        stored, parameters = services.store.read(key.execution_id)
        plan = services.plans.get(stored.version_id, stored.trigger_id)
        is_sync = stored.method is Method.POST
        decision = decide(
            plan,
            unpack(plan, stored.progress, stored.state),
            RetryDue(number=key.number, attempt=key.attempt),
            parameters=with_system_variables(parameters, is_sync=is_sync),
            is_sync=is_sync,
        )
        if decision.is_late:
            services.store.drop_timer(key)
            return
        ready = tuple(new_attempt(plan, each, executor=stored.executor) for each in decision.dispatch)
        change = Commit(
            execution=stored,
            worker="",
            state=decision.progress.state,
            progress=pack(plan, decision.progress),
            entries=(_entry(key, decision, now),),
            ready=ready,
            fired_timers=(key.number,),
        )
        if services.store.commit(change) is not Refusal.STALE:
            services.publisher.publish([to_message(stored.id, each, services.types) for each in ready])
            return


def _entry(key: AttemptKey, decision: Decision, now: datetime) -> Entry:
    return Entry(
        kind=EntryKind.RETRY_DUE,
        task_number=key.number,
        attempt=key.attempt,
        started_at=now,
        ended_at=now,
        states=decision.states,
    )
