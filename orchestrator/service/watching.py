"""What watchers of an execution are told: each entry of its history once, and how it stands.

An entry has a number, its revision, which counts from 1 without gaps. So whoever knows the last one that they were told
is told the next one, over whatever connection and by whichever process. How an execution stands is no entry and has no
number: it is as it is now, and is simply told again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from orchestrator.model.history import Entry
from orchestrator.service.services import Services
from orchestrator.service.snapshots import signed
from orchestrator.store.kinds import Phase
from orchestrator.store.queries import ExecutionQueries
from orchestrator.store.rows import LiveAttempt, StoredExecution


@dataclass(frozen=True, kw_only=True, slots=True)
class News:
    """What one read found, all of one moment.

    Attributes:
        stored: the execution.
        entries: those that follow the one that was known.
        revision: of the last of them.
        running: the attempts that have begun and are not over, by task.
    """

    stored: StoredExecution
    entries: Sequence[Entry]
    revision: int
    running: Sequence[LiveAttempt]


def read_news(execution_id: str, services: Services, *, after: int) -> News:
    """What has happened to an execution since an entry, and how it stands.

    Args:
        execution_id: of which execution.
        services: the stores.
        after: the number of the entry; 0 is the beginning. One that is still to come is taken for the last.

    Raises:
        ExecutionNotFound: there is none.
    """
    with ExecutionQueries(services.store.database).at_one_moment() as queries:
        stored = queries.one(execution_id)
        after = min(after, stored.revision)
        is_behind = after < stored.revision
        entries = queries.entries({execution_id: after}).get(execution_id, []) if is_behind else []
        live = {} if stored.state.is_final else queries.live([execution_id]).get(execution_id, {})
    return News(
        stored=stored,
        entries=[signed(execution_id, each, services) for each in entries],
        revision=after + len(entries),
        running=[each for _, each in sorted(live.items()) if _has_begun(each)],
    )


def _has_begun(live: LiveAttempt) -> bool:
    """One that a worker gave back waits again."""
    return live.started_at is not None and not (live.worker is None and live.phase is Phase.RUN)
