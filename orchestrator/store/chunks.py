"""Chunks: sub-executions that run from start to end in one worker, hundreds to a row, a message and a transaction.

    claim     one guarded UPDATE, as of an attempt; refused if nobody waits for them any more
    write     some are over: their executions and history in their final state, and their count in the parent's join
    let_go    back to whoever claims it next, or, if nobody waits for them any more, gone
    unpack    what is left of it becomes executions like any other, each with its attempts

They are created by the commit that waits for them, in place of executions and attempts. Those that nobody has claimed
go with a KILL, a stop or a timeout, in its transaction, and count as arrived.

A sub-execution is over once, because it is written in the transaction that counts it and moves its chunk on: ``done``
and its worker's name are the fence. Who is killed in between leaves nothing, and the rest of the chunk runs again.

A chunk runs only while somebody waits for it: the parent has no signal, and its attempt waits and is not asked to end.
Locks are taken in the order in which everybody takes them: executions, then chunks, then live attempts, the parent's
last. ``write`` inserts the new executions before it locks the parent: nobody else sees them, and hundreds of rows take
longer than everything that others then wait for. The lock of the parent's row is what makes a KILL see every
sub-execution: it has either been written before the KILL marks what is below, or is refused after. A second worker that
inserts the same ones waits for the first, finds them there, and is refused: the chunk is not its any more.

What must not happen: a chunk that nobody has claimed at an execution that has a signal. Who sends one calls
``commits.drop_chunks``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import sqlalchemy as sa

from orchestrator.failpoints import failpoint
from orchestrator.store import fused_chunks
from orchestrator.store.changes import EndedChild, Fired, NewExecution, Refusal
from orchestrator.store.commits import ARRIVE, BY_KEY, arrive, bind
from orchestrator.store.creation import insert_executions
from orchestrator.store.database import Database
from orchestrator.store.ended import insert_ended
from orchestrator.store.kinds import ChunkKey, Phase, Wish, WorkerState, owner_of
from orchestrator.store.rows import ClaimedChunk, to_chunk
from orchestrator.store.tables import chunks, executions, live_attempts, now, versions, workers

_IT: Final = sa.and_(
    chunks.c.execution_id == sa.bindparam("b_id"),
    chunks.c.task_number == sa.bindparam("b_number"),
    chunks.c.attempt == sa.bindparam("b_attempt"),
    chunks.c.round == sa.bindparam("b_round"),
    chunks.c.first_position == sa.bindparam("b_first_position"),
)
_MINE: Final = sa.and_(_IT, chunks.c.worker == sa.bindparam("b_worker"))
_PARENT: Final = sa.select(executions.c.signal).where(executions.c.id == sa.bindparam("b_id"))
_LOCK_PARENT: Final = _PARENT.with_for_update(key_share=True)
_WAITS: Final = sa.select(live_attempts.c.task_number).where(
    BY_KEY, live_attempts.c.phase == Phase.WAIT.value, live_attempts.c.stop_at.is_(None)
)
_ARRIVE: Final = ARRIVE.where(live_attempts.c.stop_at.is_(None))
_AROUND: Final = (
    *(
        sa.select(executions.c[name]).where(executions.c.id == chunks.c.execution_id).scalar_subquery().label(name)
        for name in ("project", "location", "root_id")
    ),
    sa.select(versions.c.integration)
    .where(versions.c.id == chunks.c.version_id)
    .scalar_subquery()
    .label("integration"),
    now().label("now"),
)
_CLAIM: Final = (
    sa.update(chunks)
    .where(_IT, _PARENT.where(executions.c.signal.is_(None)).exists(), _WAITS.exists())
    .values(worker=sa.bindparam("b_worker"), owner=sa.bindparam("b_owner"))
    .returning(chunks, *_AROUND)
)
_CLAIM_FREE: Final = _CLAIM.where(chunks.c.worker.is_(None))
_CLAIM_AGAIN: Final = _CLAIM.where(sa.or_(chunks.c.worker.is_(None), chunks.c.worker == sa.bindparam("b_worker")))
_IS_AS_SEEN: Final = sa.and_(_MINE, chunks.c.done == sa.bindparam("b_seen"))
_MOVE_ON: Final = sa.update(chunks).where(_IS_AS_SEEN).values(done=sa.bindparam("b_done"))
_FINISH: Final = sa.delete(chunks).where(_IS_AS_SEEN)
_END: Final = sa.delete(chunks).where(_MINE).returning(chunks.c.size, chunks.c.done)
_RELEASE: Final = (
    sa.update(chunks)
    .where(_MINE)
    .values(
        worker=None,
        owner=None,
        losses=chunks.c.losses + sa.bindparam("b_losses"),
        queued_at=now(),
        published_at=None,
    )
)


@dataclass(frozen=True, kw_only=True, slots=True)
class LetGo:
    """What became of a chunk that its worker has no more.

    Attributes:
        is_wanted: whether it can be claimed again; else it is gone.
        is_stopping: whether its parent is to be ended, or being ended.
        fired: the join that its end has made due.
    """

    is_wanted: bool
    is_stopping: bool = False
    fired: tuple[Fired, ...] = ()


class _Refused(Exception):
    """Rolls a transaction back: the chunk is not this worker's any more, or nobody waits for it."""


class ChunkStore:
    """Claims chunks, writes what comes of them, and finds who holds them."""

    def __init__(self, database: Database) -> None:
        self.database = database

    def claim(self, key: ChunkKey, *, worker: str, is_again: bool = False) -> ClaimedChunk | None:
        """Take a chunk that nobody has; arguments and answer as ``ExecutionStore.claim``."""
        values = _bind(key) | {"b_worker": worker, "b_owner": owner_of(worker)}
        row: Any
        if not self.database.is_sqlite:
            row = fused_chunks.claim(self.database, values, is_again=is_again)
        else:
            with self.database.begin() as connection:
                row = connection.execute(_CLAIM_AGAIN if is_again else _CLAIM_FREE, values).one_or_none()
        return None if row is None else _to_claimed(row)

    def held(self, execution_id: str, worker: str) -> list[ClaimedChunk]:
        """The chunks of an execution that a process holds."""
        statement = sa.select(chunks, *_AROUND).where(chunks.c.execution_id == execution_id, chunks.c.worker == worker)
        with self.database.read() as connection:
            return [_to_claimed(row) for row in connection.execute(statement)]

    def wish(self, key: ChunkKey, *, worker: str) -> Wish:
        """What is wanted of the process that runs a chunk."""
        statement = (
            sa.select(workers.c.state)
            .select_from(chunks.outerjoin(workers, workers.c.id == chunks.c.owner))
            .where(_MINE, _PARENT.where(executions.c.signal.is_(None)).exists(), _WAITS.exists())
        )
        with self.database.read() as connection:
            found = connection.execute(statement, _bind(key) | {"b_worker": worker}).one_or_none()
        if found is None:
            return Wish.STOP
        return Wish.GIVE_BACK if found.state == WorkerState.LEAVING else Wish.GO_ON

    def write(
        self, claimed: ClaimedChunk, ended: Sequence[EndedChild], begun: Sequence[NewExecution], *, done: int
    ) -> tuple[Fired, ...] | Refusal:
        """Write what became of some of its sub-executions, and count those that are over.

        Args:
            claimed: the chunk, as it was claimed.
            ended: those that are over.
            begun: those that need more than this worker: from here on they are like any other.
            done: how many of the chunk have rows with these.

        Returns:
            The join that it made due, if it did; or that nothing was written, because it is not this worker's any more
            or nobody waits for it.
        """
        failpoint("commit.before")
        seen = done - len(ended) - len(begun)
        is_fusible = not self.database.is_sqlite and bool(ended) and not begun
        try:
            if is_fusible:
                failpoint("commit.inside")  # a statement has no inside
                written = fused_chunks.write(self.database, claimed, ended, seen=seen, done=done)
            else:
                written = self._write(claimed, ended, begun, seen=seen, done=done)
        except sa.exc.IntegrityError:
            if self._done(claimed) == seen:
                raise
            return Refusal.FENCED  # somebody else has written them
        if not isinstance(written, Refusal):
            failpoint("commit.after")
        return written

    def _write(
        self,
        claimed: ClaimedChunk,
        ended: Sequence[EndedChild],
        begun: Sequence[NewExecution],
        *,
        seen: int,
        done: int,
    ) -> tuple[Fired, ...] | Refusal:
        try:
            with self.database.begin() as connection:
                insert_ended(connection, claimed, ended)
                _check_wanted(connection, claimed.chunk.key)
                _move(connection, claimed, seen=seen, done=done)
                insert_executions(connection, begun)
                over = len(ended) + sum(each.outcome is not None for each in begun)
                fired = _arrive(connection, claimed.chunk.key, count=over)
                failpoint("commit.inside")
        except _Refused:
            return Refusal.FENCED
        return fired

    def is_held(self, claimed: ClaimedChunk) -> bool:
        """Whether the process that had claimed a chunk holds it still."""
        return self._done(claimed) is not None

    def _done(self, claimed: ClaimedChunk) -> int | None:
        mine = _bind(claimed.chunk.key) | {"b_worker": claimed.worker}
        with self.database.read() as connection:
            return connection.execute(sa.select(chunks.c.done).where(_MINE), mine).scalar_one_or_none()

    def is_written(self, claimed: ClaimedChunk, *, done: int) -> bool:
        """Whether so many of a chunk that this worker had have rows, if that is not known; also if it is gone."""
        with self.database.read() as connection:
            found = connection.execute(
                sa.select(chunks.c.worker, chunks.c.done).where(_IT), _bind(claimed.chunk.key)
            ).one_or_none()
        return found is None or (found.worker == claimed.worker and found.done == done)

    def let_go(self, key: ChunkKey, *, worker: str, is_loss: bool = False, may_end: bool = True) -> LetGo | None:
        """Take a chunk from a process.

        Args:
            key: which one.
            worker: the process that holds it.
            is_loss: whether it died of it, perhaps.
            may_end: False if its code may run on: what is being ended is left to it then.

        Returns:
            What became of it; None if the process holds it no more, or if it is left to it.
        """
        mine = _bind(key) | {"b_worker": worker}
        with self.database.begin() as connection:
            signal = connection.execute(_LOCK_PARENT, mine).one_or_none()
            is_stopping = signal is not None and signal.signal is not None
            if not is_stopping and connection.execute(_WAITS, bind(key.join)).first() is not None:
                released = connection.execute(_RELEASE, mine | {"b_losses": int(is_loss)})
                return LetGo(is_wanted=True) if released.rowcount == 1 else None
            ended = connection.execute(_END, mine).one_or_none() if may_end else None
            if ended is None:
                return None
            fired = tuple(arrive(connection, key.join, count=ended.size - ended.done))
            return LetGo(is_wanted=False, is_stopping=is_stopping, fired=fired)

    def unpack(self, claimed: ClaimedChunk, rest: Sequence[NewExecution]) -> tuple[Fired, ...] | None:
        """Make what is left of a chunk executions like any other.

        Returns:
            The join that it made due, if it did; None if nothing was written, as in ``write``.
        """
        key = claimed.chunk.key
        try:
            with self.database.begin() as connection:
                _check_wanted(connection, key)
                _move(connection, claimed, seen=claimed.done, done=len(claimed.chunk.requests))
                insert_executions(connection, rest)
                return _arrive(connection, key, count=sum(each.outcome is not None for each in rest))
        except _Refused:
            return None


def _check_wanted(connection: sa.Connection, key: ChunkKey) -> None:
    """Lock the parent; go on only if it is not to end. Whether its attempt waits is seen as it is counted in it."""
    parent = connection.execute(_LOCK_PARENT, _bind(key)).one_or_none()
    if parent is None or parent.signal is not None:
        raise _Refused


def _move(connection: sa.Connection, claimed: ClaimedChunk, *, seen: int, done: int) -> None:
    """The fence: move the chunk on, or end it, if it is this worker's still and as far as it was seen to be."""
    moving: Any = _FINISH if done == len(claimed.chunk.requests) else _MOVE_ON
    values = _bind(claimed.chunk.key) | {"b_worker": claimed.worker, "b_seen": seen, "b_done": done}
    if connection.execute(moving, values).rowcount != 1:
        raise _Refused


def _arrive(connection: sa.Connection, key: ChunkKey, *, count: int) -> tuple[Fired, ...]:
    row = connection.execute(_ARRIVE, bind(key.join) | {"b_count": count}).one_or_none()
    if row is None:
        raise _Refused
    return (Fired(key=key.join, executor=row.executor),) if row.phase == Phase.JOIN else ()


def _bind(key: ChunkKey) -> dict[str, Any]:
    return bind(key.join) | {"b_first_position": key.first_position}


def _to_claimed(row: Any) -> ClaimedChunk:
    return ClaimedChunk(
        chunk=to_chunk(row),
        worker=row.worker,
        done=row.done,
        losses=row.losses,
        project=row.project,
        location=row.location,
        root_id=row.root_id,
        integration=row.integration,
        now=row.now,
    )
