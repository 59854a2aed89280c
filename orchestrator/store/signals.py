"""Signals: instructions to live executions, with who gave them. Marking is one transaction over the whole subtree.

A marked execution cannot be claimed, nor can a commit that has not seen the mark be written (``store.commits``). The
mark goes when the execution is final. What a mark asks for is done by ``service.pursue``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from orchestrator.errors import ExecutionNotFound
from orchestrator.model.states import ExecutionState
from orchestrator.store.bulk import MOST_AT_ONCE
from orchestrator.store.commits import BY_KEY, bind, drop_chunks
from orchestrator.store.database import Database
from orchestrator.store.kinds import AttemptKey, Phase, Signal
from orchestrator.store.marks import mark_below, marked_below, tree
from orchestrator.store.rows import LiveAttempt, StoredExecution, to_live
from orchestrator.store.tables import executions, live_attempts, now, signals


@dataclass(frozen=True, kw_only=True, slots=True)
class Audit:
    """Who gave a signal, on whose behalf, and why."""

    actor: str
    impersonator: str | None = None
    message: str | None = None


class SignalStore:
    """Sends signals, and finds what has not come to their end."""

    def __init__(self, database: Database) -> None:
        self.database = database

    def send(self, execution_id: str, signal: Signal, audit: Audit) -> ExecutionState | None:
        """Record a signal, and mark a live execution and everything live below it.

        Returns:
            None, or the final state that the execution has already: then nothing was written.

        Raises:
            ExecutionNotFound: there is none.
        """
        with self.database.begin() as connection:
            wanted = sa.select(executions.c.state).where(executions.c.id == execution_id).with_for_update()
            found = connection.execute(wanted).scalar_one_or_none()
            if found is None:
                raise ExecutionNotFound(execution_id)
            if (state := ExecutionState(found)).is_final:
                return state
            connection.execute(
                sa.insert(signals).values(
                    execution_id=execution_id,
                    kind=signal.value,
                    actor=audit.actor,
                    impersonator=audit.impersonator,
                    message=audit.message,
                )
            )
            # Also one that is stopping: it may be going to begin again.
            connection.execute(sa.update(executions).where(executions.c.id == execution_id).values(signal=signal.value))
            mark_below(connection, execution_id, signal)
            drop_chunks(connection)
            return None

    def settle(self, seen: StoredExecution) -> None:
        """A KILL came to an execution that is being stopped already: that goes on as it was."""
        changed = sa.update(executions).where(
            executions.c.id == seen.id, executions.c.revision == seen.revision, executions.c.signal == seen.signal
        )
        with self.database.begin() as connection:
            connection.execute(changed.values(signal=Signal.STOPPING.value))

    def ask_to_stop(self, key: AttemptKey) -> None:
        """Have the worker that runs an attempt end it."""
        claimed = sa.update(live_attempts).where(
            BY_KEY, live_attempts.c.worker.is_not(None), live_attempts.c.stop_at.is_(None)
        )
        with self.database.begin() as connection:
            connection.execute(claimed.values(stop_at=now()), bind(key))

    def asked_to_stop(self, execution_id: str) -> list[LiveAttempt]:
        """What workers run at and below an execution although they are asked to end it."""
        with self.database.read() as connection:
            rows = connection.execute(
                sa.select(live_attempts).where(
                    live_attempts.c.execution_id.in_(tree(execution_id)),
                    live_attempts.c.worker.is_not(None),
                    live_attempts.c.stop_at.is_not(None),
                )
            )
            return [to_live(row) for row in rows]

    def last(self, execution_id: str) -> Audit | None:
        """Who gave the latest signal to this execution itself."""
        latest = sa.select(signals).where(signals.c.execution_id == execution_id).order_by(signals.c.id.desc()).limit(1)
        with self.database.read() as connection:
            row = connection.execute(latest).one_or_none()
        return None if row is None else Audit(actor=row.actor, impersonator=row.impersonator, message=row.message)

    def marked(self, *, limit: int = MOST_AT_ONCE) -> list[str]:
        """Executions that a signal has not come to the end of, and that need more than the end of what workers run.

        In no order: those of which nothing can be done do not stand before the others at each look.
        """
        is_left = sa.or_(
            sa.and_(live_attempts.c.worker.is_(None), live_attempts.c.phase != Phase.WAIT.value),
            sa.and_(live_attempts.c.worker.is_not(None), live_attempts.c.stop_at.is_(None)),
        )
        left = sa.select(live_attempts.c.task_number).where(live_attempts.c.execution_id == executions.c.id, is_left)
        statement = (
            sa.select(executions.c.id)
            .where(executions.c.signal.is_not(None))
            .where(sa.or_(executions.c.signal != Signal.STOPPING.value, left.exists()))
            .order_by(sa.func.random())
            .limit(limit)
        )
        with self.database.read() as connection:
            return list(connection.execute(statement).scalars())

    def marked_below(self, execution_ids: Sequence[str]) -> Iterator[list[list[str]]]:
        """The marked executions at and below these, level by level, the deepest first; a level in pages.

        A page has ``MOST_AT_ONCE`` at most. All were marked at one moment; the ids alone are kept meanwhile.
        """
        if not execution_ids:
            return
        with self.database.read() as connection:
            levels = marked_below(connection, execution_ids)
        for level in levels:
            yield [level[first : first + MOST_AT_ONCE] for first in range(0, len(level), MOST_AT_ONCE)]
