"""What of executions lies neither in their rows nor in their histories: a look of a few statements for any number."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

import sqlalchemy as sa

from orchestrator.model.states import ExecutionState
from orchestrator.model.timers import TimerKind
from orchestrator.store.rows import StoredExecution
from orchestrator.store.tables import signals, timers, versions

_BEGINS: Final = [kind.value for kind in (TimerKind.RETRY, TimerKind.RESTART, TimerKind.START)]
_HELD: Final = (ExecutionState.PENDING, ExecutionState.RETRY_ON_HOLD)
_CHUNK: Final = 400  # ids in one IN list, as in ``store.queries``
_STATES: Final = sa.select(versions.c.id, versions.c.state).where(
    versions.c.id.in_(sa.bindparam("ids", expanding=True))
)


@dataclass(frozen=True, kw_only=True, slots=True)
class StoredFacts:
    """What was found.

    Attributes:
        version_states: of each version that is run: DRAFT, ACTIVE, ARCHIVED or SNAPSHOT.
        kill_messages: why executions were killed, by the id of the one that was meant; blank if nobody said.
        next_at: when executions that are held go on by themselves, by id.
    """

    version_states: Mapping[str, str] = field(default_factory=dict)
    kill_messages: Mapping[str, str] = field(default_factory=dict)
    next_at: Mapping[str, datetime] = field(default_factory=dict)


def read_facts(connection: sa.Connection, stored: Sequence[StoredExecution]) -> StoredFacts:
    """Read them for executions whose rows were read in the same transaction."""
    cancelled = [each for each in stored if each.state is ExecutionState.CANCELLED]
    killed = {each.id for each in cancelled} | {each.root_id for each in cancelled}
    killed |= {each.parent.execution_id for each in cancelled if each.parent is not None}
    return StoredFacts(
        version_states=_version_states(connection, sorted({each.version_id for each in stored})),
        kill_messages=_kill_messages(connection, sorted(killed)),
        next_at=_next_at(connection, [each.id for each in stored if each.state in _HELD]),
    )


def _version_states(connection: sa.Connection, ids: Sequence[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for some in _chunks(ids):
        found |= {row.id: row.state for row in connection.execute(_STATES, {"ids": some})}
    return found


def _kill_messages(connection: sa.Connection, ids: Sequence[str]) -> dict[str, str]:
    """Of the last signal that each was sent."""
    found: dict[str, str] = {}
    for some in _chunks(ids):
        sent = sa.select(signals.c.execution_id, signals.c.message).where(signals.c.execution_id.in_(some))
        found |= {row.execution_id: row.message or "" for row in connection.execute(sent.order_by(signals.c.id))}
    return found


def _next_at(connection: sa.Connection, ids: Sequence[str]) -> dict[str, datetime]:
    found: dict[str, datetime] = {}
    for some in _chunks(ids):
        due = sa.select(timers.c.execution_id, timers.c.due_at).where(
            timers.c.execution_id.in_(some), timers.c.kind.in_(_BEGINS)
        )
        for row in connection.execute(due):
            found[row.execution_id] = min(row.due_at, found.get(row.execution_id, row.due_at))
    return found


def _chunks(ids: Sequence[str]) -> list[Sequence[str]]:
    return [ids[start : start + _CHUNK] for start in range(0, len(ids), _CHUNK)]
