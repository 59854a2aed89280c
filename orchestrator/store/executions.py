"""The write path of executions: create, claim, commit. Everything that moves a state goes through here.

* ``create``  execution rows with their ready start tasks.
* ``claim``   one guarded UPDATE: only a live attempt that nobody has claimed, of this attempt and round. A message that
              comes twice, late, or for something that is over finds no such row and is dropped.
* ``commit``  compare-and-set on the execution's revision, and on the live attempts the worker holds. States, history,
              parameters, ready tasks, sub-executions and the parent's join counter change together or not at all.

The caller publishes what a commit made ready after it returned. What was committed and never published is still in
``live_attempts`` without a worker.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from operator import attrgetter
from typing import Final

import sqlalchemy as sa

from orchestrator.errors import ExecutionExists, ExecutionNotFound
from orchestrator.failpoints import failpoint
from orchestrator.model.history import Entry, ErrorInfo
from orchestrator.model.states import ExecutionState
from orchestrator.model.task_types import ChildOutcome
from orchestrator.model.timers import TimerKind
from orchestrator.model.values import Value, parse_value
from orchestrator.store import fused, fused_creation
from orchestrator.store.bulk import write_many
from orchestrator.store.changes import Commit, Created, Due, Fired, NewExecution, Refusal, Written
from orchestrator.store.commits import BY_KEY, IDS, Refused, bind, write
from orchestrator.store.creation import check_published, insert_executions, insert_timers
from orchestrator.store.database import Conflict, Database
from orchestrator.store.kinds import AttemptKey, Phase, Signal, Wish, WorkerState, owner_of
from orchestrator.store.quick import quick
from orchestrator.store.rows import (
    Claimed,
    DueTimer,
    Found,
    LiveAttempt,
    StoredExecution,
    load_parameters,
    to_live,
    to_stored,
)
from orchestrator.store.tables import (
    chunks,
    executions,
    history,
    later,
    live_attempts,
    now,
    parameters,
    texts_of,
    timers,
    workers,
)

_CLAIM: Final = (
    sa.update(live_attempts)
    .where(BY_KEY, live_attempts.c.phase != Phase.WAIT.value)
    .values(
        worker=sa.bindparam("b_worker"),
        owner=sa.bindparam("b_owner"),
        started_at=sa.func.coalesce(live_attempts.c.started_at, now()),
    )
    .returning(
        live_attempts.c.started_at,
        (live_attempts.c.first_position + live_attempts.c.children).label("next_position"),
        live_attempts.c.carry,
        live_attempts.c.executor,
        now().label("now"),
    )
)
_CLAIM_FREE: Final = _CLAIM.where(live_attempts.c.worker.is_(None))
_CLAIM_AGAIN: Final = _CLAIM.where(
    sa.or_(live_attempts.c.worker.is_(None), live_attempts.c.worker == sa.bindparam("b_worker"))
)
_IS_FREE: Final = sa.or_(timers.c.taken_until.is_(None), timers.c.taken_until <= now())
_NEXT_TIMER: Final = sa.select(timers.c.due_at, now().label("clock")).where(_IS_FREE).order_by(timers.c.due_at).limit(1)
TAKEN_S: Final = 30.0  # firing a timer takes milliseconds
_SELECT: Final = sa.select(executions).where(executions.c.id == sa.bindparam("b_id"))
# Who holds the row moves it on itself, or will not let it run: to wait would be a deadlock, because whoever writes a
# change has the execution first and its attempts then, and a claim has its attempt already.
_IS_PENDING: Final = (
    sa.select(executions.c.id)
    .where(executions.c.id == sa.bindparam("b_id"), executions.c.state == ExecutionState.PENDING.value)
    .with_for_update(key_share=True, skip_locked=True)
)
_START: Final = (
    sa.update(executions)
    .where(executions.c.id.in_(_IS_PENDING))
    .values(state=ExecutionState.PROCESSING.value, updated_at=now())
)
_PARAMETERS: Final = sa.select(parameters.c.key, parameters.c.value).where(
    parameters.c.execution_id == sa.bindparam("b_id")
)
_FIND: Final = sa.select(executions, now().label("clock")).where(executions.c.id.in_(IDS))
_FIND_LIVE: Final = sa.select(live_attempts).where(live_attempts.c.execution_id.in_(IDS))
_FIND_PARAMETERS: Final = sa.select(parameters).where(parameters.c.execution_id.in_(IDS))


_HOLDERS: Final = (live_attempts.c.worker, chunks.c.worker)


class ExecutionStore:
    """Creates, claims and commits executions in one database."""

    def __init__(self, database: Database) -> None:
        self.database = database

    def create(self, new: Sequence[NewExecution], *, only_published: bool = False) -> Sequence[NewExecution]:
        """Store executions and their ready start tasks in one transaction.

        Args:
            new: what is to be stored.
            only_published: only if the version of each is the published one of its integration at this moment.

        Returns:
            The same as they were stored: one that has to wait for a limit has nothing ready.

        Raises:
            NotPublished: one is not; nothing was stored.
        """
        is_fusible = not self.database.is_sqlite and len(new) == 1 and fused_creation.is_common(new[0])
        if is_fusible and fused_creation.create(self.database, new[0], only_published=only_published):
            return new
        with self.database.begin() as connection:
            if only_published:
                check_published(connection, new)
            return insert_executions(connection, new)

    def create_once(self, new: Sequence[NewExecution], *, only_published: bool = False) -> Created:
        """Store executions in one transaction, but for those whose request id is known.

        Args:
            new: roots of one integration, no two of them with the same request id.
            only_published: as ``create`` says.

        Raises:
            ExecutionExists: another execution has the id of one of them; none was stored.
            NotPublished: as ``create`` says.
        """
        known: dict[str, str] = {}
        while True:
            ahead = [each for each in new if each.request_id not in known]
            try:
                return Created(new=self.create(ahead, only_published=only_published), known=known)
            except Conflict:  # somebody else stores some of the same request ids
                continue
            except sa.exc.IntegrityError:
                first = self._of_requests(ahead)
                if not first:
                    self._refuse_taken_ids(ahead)
                    raise
                known |= first

    def _of_requests(self, new: Sequence[NewExecution]) -> dict[str, str]:
        """The ids of the executions that have the request ids of these, by request id."""
        request_ids = [each.request_id for each in new if each.request_id is not None]
        if not request_ids:
            return {}
        statement = sa.select(executions.c.request_id, executions.c.id).where(
            executions.c.project == new[0].project,
            executions.c.location == new[0].location,
            executions.c.integration == new[0].integration,
            executions.c.request_id.in_(texts_of("b_request_ids")),
        )
        with self.database.read() as connection:
            return {row.request_id: row.id for row in connection.execute(statement, {"b_request_ids": request_ids})}

    def _refuse_taken_ids(self, new: Sequence[NewExecution]) -> None:
        taken = sa.select(executions.c.id).where(executions.c.id.in_(texts_of("b_ids"))).limit(1)
        with self.database.read() as connection:
            found = connection.execute(taken, {"b_ids": [each.id for each in new]}).scalar_one_or_none()
        if found is not None:
            raise ExecutionExists(found)

    def claim(self, key: AttemptKey, *, worker: str, is_again: bool = False) -> Claimed | None:
        """Take a live attempt that nobody has.

        Args:
            key: which one.
            worker: the process that takes it; its name ends in its owner's id.
            is_again: the answer to the same claim was lost, so it may have been written.

        Returns:
            What to work on, or None: it was claimed before, is over, or is of another attempt or round. Drop the
            message then.
        """
        if not self.database.is_sqlite:
            return fused.claim(self.database, key, worker=worker, is_again=is_again)
        # Not durable: a claim that a crash of the database undoes leaves the attempt to be claimed again, and fences
        # off the worker that had it. Whatever the attempt leads to is committed after it, and so not kept without it.
        with self.database.begin(is_durable=False) as connection:
            return _claim(quick(connection), key, worker=worker, is_again=is_again)

    def claim_each(self, keys: Sequence[AttemptKey], *, worker: str, is_again: bool = False) -> list[Claimed]:
        """Take those of some live attempts that nobody has; arguments as of ``claim``.

        Returns:
            What was taken, in the order of the keys. It says nothing of the others: somebody may just have had a lock.
        """
        if not self.database.is_sqlite:
            return fused.claim_each(self.database, keys, worker=worker, is_again=is_again)
        with self.database.begin(is_durable=False) as connection:
            found = [_claim(quick(connection), key, worker=worker, is_again=is_again) for key in keys]
        return [each for each in found if each is not None]

    def wish(self, key: AttemptKey, *, worker: str) -> Wish:
        """What is wanted of a process that runs an attempt: also its end, if it is not this process's any more."""
        statement = (
            sa.select(live_attempts.c.stop_at, workers.c.state)
            .outerjoin(workers, workers.c.id == live_attempts.c.owner)
            .where(BY_KEY, live_attempts.c.worker == worker)
        )
        with self.database.read() as connection:
            found = connection.execute(statement, bind(key)).one_or_none()
        if found is None or found.stop_at is not None:
            return Wish.STOP
        return Wish.GIVE_BACK if found.state == WorkerState.LEAVING else Wish.GO_ON

    def is_stopping(self, key: AttemptKey) -> bool:
        """Whether the execution is being stopped, or is to be, or is over; or this attempt is to end.

        For an attempt that ran ahead of what is written: its row may not be there yet.
        """
        stop_at = sa.select(live_attempts.c.stop_at).where(BY_KEY).scalar_subquery().label("stop_at")
        statement = sa.select(executions.c.signal, executions.c.state, stop_at).where(
            executions.c.id == sa.bindparam("b_id")
        )
        with self.database.read() as connection:
            row = connection.execute(statement, bind(key)).one()
        return row.signal is not None or row.stop_at is not None or ExecutionState(row.state).is_final

    def set_timer(self, execution_id: str, due: Due) -> None:
        """Set one timer, outside of a commit."""
        with self.database.begin() as connection:
            insert_timers(connection, execution_id, [due])

    def read(self, execution_id: str) -> tuple[StoredExecution, dict[str, Value]]:
        """An execution and its current parameters.

        Raises:
            ExecutionNotFound: there is none.
        """
        with self.database.read() as connection:
            row = connection.execute(_SELECT, {"b_id": execution_id}).one_or_none()
            if row is None:
                raise ExecutionNotFound(execution_id)
            stored = to_stored(row)
            return stored, _parameters_of(connection, stored)

    def find(self, execution_ids: Sequence[str]) -> list[Found]:
        """Executions with what decisions are made on, all at one moment, in a few statements however many they are.

        Args:
            execution_ids: of at most ``MOST_AT_ONCE`` executions; one that never was is left out.
        """
        ids = {"b_ids": list(execution_ids)}
        live: dict[str, dict[int, LiveAttempt]] = defaultdict(dict)
        changed: dict[str, dict[str, Value]] = defaultdict(dict)
        with self.database.read(at_one_moment=True) as connection:
            rows = connection.execute(_FIND, ids).all()
            for row in connection.execute(_FIND_LIVE, ids):
                live[row.execution_id][row.task_number] = to_live(row)
            for execution_id, key, value in connection.execute(_FIND_PARAMETERS, ids):
                changed[execution_id][key] = parse_value(json.loads(value), key)
        found = {row.id: to_stored(row) for row in rows}
        return [
            Found(
                stored=found[each],
                parameters=dict(found[each].request) | changed[each],
                live=live[each],
                now=rows[0].clock,
            )
            for each in execution_ids
            if each in found
        ]

    def outcomes(self, key: AttemptKey, *, every_round: bool = False) -> list[ChildOutcome]:
        """How the sub-executions of an attempt ended, in order: of one round, or of all of them."""
        statement = sa.select(executions.c.id, executions.c.state, executions.c.response, executions.c.error).where(
            executions.c.parent_id == key.execution_id,
            executions.c.parent_task == key.number,
            executions.c.parent_attempt == key.attempt,
        )
        if not every_round:
            statement = statement.where(executions.c.parent_round == key.round)
        with self.database.read() as connection:
            return [_outcome(*row) for row in connection.execute(statement.order_by(executions.c.position)).all()]

    def has_claims(self) -> bool:
        """Whether any worker holds a live attempt, or a chunk."""
        held = sa.union_all(*(sa.select(each).where(each.is_not(None)) for each in _HOLDERS)).limit(1)
        with self.database.read() as connection:
            return connection.execute(held).one_or_none() is not None

    def take_timers(self, *, limit: int) -> tuple[list[DueTimer], float | None]:
        """Take timers that are due, the oldest first, for ``TAKEN_S`` seconds.

        Of several workers that look at the same time each takes others. Who takes one and dies leaves it to the next.

        Returns:
            The timers; and in how many seconds the next one is due, None if there is none.
        """
        due = (
            sa.select(timers.c.execution_id, timers.c.task_number, timers.c.kind)
            .where(timers.c.due_at <= now(), _IS_FREE)
            .order_by(timers.c.due_at)
            .limit(limit)
        )
        taking = sa.update(timers).values(taken_until=later(TAKEN_S))
        with self.database.read() as connection:
            first = connection.execute(_NEXT_TIMER).one_or_none()
        if first is None or first.due_at > first.clock:
            return [], None if first is None else (first.due_at - first.clock).total_seconds()
        with self.database.begin(is_durable=False) as connection:
            if not self.database.is_sqlite:
                due = due.with_for_update(skip_locked=True)
            key = sa.tuple_(timers.c.execution_id, timers.c.task_number, timers.c.kind)
            rows = connection.execute(taking.where(key.in_(due)).returning(timers, now().label("clock"))).all()
        taken = [
            DueTimer(
                kind=TimerKind(row.kind),
                key=AttemptKey(execution_id=row.execution_id, number=row.task_number, attempt=row.attempt),
                due_at=row.due_at,
                now=row.clock,
            )
            for row in rows
        ]
        return sorted(taken, key=attrgetter("due_at")), 0.0

    def drop_timer(self, due: DueTimer) -> None:
        """Forget a timer that nothing waits for any more."""
        with self.database.begin() as connection:
            connection.execute(
                sa.delete(timers).where(
                    timers.c.execution_id == due.key.execution_id,
                    timers.c.task_number == due.key.number,
                    timers.c.kind == due.kind.value,
                    timers.c.attempt == due.key.attempt,
                    timers.c.due_at == due.due_at,  # or it was set anew meanwhile
                )
            )

    def commit(self, change: Commit) -> tuple[Fired, ...] | Refusal:
        """Write one change.

        Returns:
            The joins that it made due, to be published now; or why nothing was written.
        """
        failpoint("commit.before")
        written = self._write_at_once(change) if self._is_fusible(change) else self._write(change)
        if not isinstance(written, Refusal):
            failpoint("commit.after")
        return written

    def commit_and_claim(
        self, change: Commit, following: AttemptKey, *, worker: str
    ) -> tuple[tuple[Fired, ...] | Refusal, Claimed | None]:
        """Write one change and claim what the same worker does next, in one transaction.

        Returns:
            What ``commit`` returns; and what was claimed: None says only that it is to be claimed by itself.
        """
        if self.database.is_sqlite:
            return self._write_and_claim(change, following, worker=worker)
        if not fused.is_common(change):
            return self.commit(change), None
        failpoint("commit.before")
        failpoint("commit.inside")
        written, claimed = fused.commit_and_claim(self.database, change, following, worker=worker)
        if not isinstance(written, Refusal):
            failpoint("commit.after")
        return written, claimed

    def _write_and_claim(
        self, change: Commit, following: AttemptKey, *, worker: str
    ) -> tuple[tuple[Fired, ...] | Refusal, Claimed | None]:
        failpoint("commit.before")
        claimed = None
        try:
            with self.database.begin() as connection:
                fired = tuple(write(quick(connection), change))
                claimed = _claim(quick(connection), following, worker=worker, is_again=False)
                failpoint("commit.inside")
        except Refused as refused:
            return refused.refusal, None
        failpoint("commit.after")
        return fired, claimed

    def _is_fusible(self, change: Commit) -> bool:
        return not self.database.is_sqlite and fused.is_common(change)

    def _write_at_once(self, change: Commit) -> tuple[Fired, ...] | Refusal:
        failpoint("commit.inside")  # a statement has no inside: nothing of it is there before all of it is
        return fused.commit(self.database, change)

    def _write(self, change: Commit) -> tuple[Fired, ...] | Refusal:
        try:
            with self.database.begin() as connection:
                fired = tuple(write(quick(connection) if self.database.is_sqlite else connection, change))
                failpoint("commit.inside")
        except Refused as refused:
            return refused.refusal
        return fired

    def note(self, execution_id: str, entry: Entry) -> None:
        """Add an entry to an execution's history, and nothing else. Whoever is deciding on it reads it again.

        One that was deleted meanwhile has no history any more.
        """
        counted = sa.update(executions).where(executions.c.id == execution_id)
        with self.database.begin() as connection:
            revision = connection.execute(
                counted.values(revision=executions.c.revision + 1).returning(executions.c.revision)
            ).scalar_one_or_none()
            if revision is None:
                return
            row = {"execution_id": execution_id, "revision": revision, "entry": entry.to_text()}
            connection.execute(sa.insert(history), row)

    def commit_many(self, changes: Sequence[Commit]) -> Written:
        """Write changes of different executions in one transaction: each as a whole, or not at all.

        Args:
            changes: at most ``MOST_AT_ONCE``, and each of them plain.
        """
        while True:
            with suppress(Conflict), self.database.begin() as connection:
                return write_many(connection, changes)


def _claim(connection: sa.Connection, key: AttemptKey, *, worker: str, is_again: bool) -> Claimed | None:
    """Take it, in the caller's transaction: SQLite has one at a time that writes, so what was read stays true."""
    row = connection.execute(_SELECT, {"b_id": key.execution_id}).one_or_none()
    if row is None:
        return None
    stored = to_stored(row)
    if stored.signal not in (None, Signal.STOPPING):  # a KILL that is still to be obeyed
        return None
    values = bind(key) | {"b_worker": worker, "b_owner": owner_of(worker)}
    taken = connection.execute(_CLAIM_AGAIN if is_again else _CLAIM_FREE, values).one_or_none()
    if taken is None:
        return None
    if stored.state is ExecutionState.PENDING:
        connection.execute(_START, {"b_id": key.execution_id})
        stored = replace(stored, state=ExecutionState.PROCESSING)
    return Claimed(
        key=key,
        worker=worker,
        executor=taken.executor,
        execution=stored,
        parameters=_parameters_of(connection, stored),
        started_at=taken.started_at,
        now=taken.now,
        next_position=taken.next_position,
        carry=json.loads(taken.carry) if taken.carry else None,
    )


def _outcome(execution_id: str, state: str, response: str | None, error: str | None) -> ChildOutcome:
    return ChildOutcome(
        execution_id=execution_id,
        state=state,
        parameters=load_parameters(response),
        error=None if error is None else ErrorInfo.from_json(json.loads(error)).message,
    )


def _parameters_of(connection: sa.Connection, stored: StoredExecution) -> dict[str, Value]:
    current = dict(stored.request)
    for key, value in connection.execute(_PARAMETERS, {"b_id": stored.id}):
        current[key] = parse_value(json.loads(value), key)
    return current
