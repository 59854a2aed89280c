"""What the Celery result backend keeps and reads: results, groups and chords of plain tasks, and how ours stand.

Two kinds of rows meet here:

* ``executions``, ``live_attempts`` and ``history`` are the truth about our own work. This module only reads them.
* ``celery_*`` belong to tasks that are not ours but share the result backend. This module is their only writer.

A chord of plain tasks::

    opened --(its size is known, and that many parts are there)--> fired --(body published)--> closed: parts deleted

Each step is a transaction of its own, and whoever adds a part or sets the size looks afterwards whether the chord is
complete: of several who commit at once, the last one to look sees all parts, and the guarded UPDATE lets one of them
win. (Adding and looking in one transaction would let two last parts on PostgreSQL miss each other.)

A process that dies between firing and publishing leaves a fired chord that still has parts. That is the record of a
body that never went out; nothing sends it again, because its signature lies in the messages and not here.

Must not: know Celery. Texts in and out are JSON that the backend has encoded.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, TypeVar

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert as postgresql_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert

from orchestrator.model.history import Entry, EntryKind, ErrorInfo
from orchestrator.model.json_text import to_json_text
from orchestrator.model.states import ExecutionState
from orchestrator.model.values import Value
from orchestrator.store.database import Database
from orchestrator.store.kinds import AttemptKey, Phase
from orchestrator.store.rows import load_parameters
from orchestrator.store.tables import (
    celery_chord_parts,
    celery_chords,
    celery_groups,
    celery_results,
    executions,
    history,
    later,
    live_attempts,
    now,
)

KEPT_STATUS: Final = "SUCCESS"  # the first one stays, whatever a second run or a late revoke says
CLEANUP_BATCH: Final = 1000  # rows a transaction: nobody waits long for the lock
_READ_BATCH: Final = 500  # ids a statement; SQLite took 999 parameters for a long time
_MEMBER: Final = "ADDED"  # the state of a row that is no part, but says that one more part will come
_ENDINGS: Final = (EntryKind.SUCCEEDED, EntryKind.FAILED, EntryKind.SUSPENDED, EntryKind.STOPPED)
_T = TypeVar("_T")


@dataclass(frozen=True, kw_only=True, slots=True)
class Part:
    """What one header task of a chord returned. ``position`` is its place in the header, if it has one."""

    task_id: str
    position: int | None
    state: str
    result: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Expiry:
    """The age at which rows go: results, groups and fired chords; and chords that still wait for parts."""

    results_s: float
    chords_s: float


@dataclass(frozen=True, kw_only=True, slots=True)
class ExecutionResult:
    """How an execution stands."""

    state: ExecutionState
    response: Mapping[str, Value]
    error: ErrorInfo | None
    ended_at: datetime | None


@dataclass(frozen=True, kw_only=True, slots=True)
class LiveAttempt:
    """An attempt that is not over."""

    task_type: str
    phase: Phase
    worker: str | None


class ResultStore:
    """Reads and writes what Celery's result backend answers, in one database."""

    def __init__(self, database: Database) -> None:
        self.database = database

    def _insert(self, table: sa.Table) -> Any:
        return sqlite_insert(table) if self.database.is_sqlite else postgresql_insert(table)

    # -- our own work: read only -------------------------------------------------------------------------------------

    def attempts(self, keys: Collection[AttemptKey]) -> dict[AttemptKey, LiveAttempt | Entry]:
        """The live row of each attempt, else the newest entry that ended or suspended it; rounds are not looked at."""
        wanted = {(key.execution_id, key.number, key.attempt): key for key in keys}
        with self.database.read() as connection:
            found: dict[tuple[str, int, int], LiveAttempt | Entry] = dict(_live(connection, list(wanted)))
            for place in wanted.keys() - found.keys():
                entry = _last_entry(connection, *place)
                if entry is not None:
                    found[place] = entry
        return {key: found[place] for key in keys if (place := (key.execution_id, key.number, key.attempt)) in found}

    # -- results of plain tasks, and whole executions ----------------------------------------------------------------

    def results(self, ids: Collection[str]) -> dict[str, ExecutionResult | str]:
        """By id: an execution, or the meta text of a plain task. An id with neither is left out."""
        found: dict[str, ExecutionResult | str] = {}
        with self.database.read() as connection:
            for some in _batches(ids, _READ_BATCH):
                for row in connection.execute(_EXECUTIONS, {"b_ids": some}):
                    found[row.id] = _to_execution(row)
                for task_id, meta in connection.execute(
                    _RESULTS, {"b_ids": [each for each in some if each not in found]}
                ):
                    found[task_id] = meta
        return found

    def save_result(self, task_id: str, *, status: str, meta: str) -> None:
        """Keep a plain task's state, unless it has succeeded before. An execution's id changes nothing."""
        is_execution = sa.exists().where(executions.c.id == task_id)
        new = sa.select(sa.literal(task_id), sa.literal(status), sa.literal(meta), now()).where(~is_execution)
        insert = self._insert(celery_results).from_select(["task_id", "status", "meta", "done_at"], new)
        values = {name: insert.excluded[name] for name in ("status", "meta", "done_at")}
        with self.database.begin() as connection:
            connection.execute(
                insert.on_conflict_do_update(
                    index_elements=["task_id"], set_=values, where=celery_results.c.status != KEPT_STATUS
                )
            )

    def forget(self, task_id: str) -> None:
        """Drop a plain task's result."""
        with self.database.begin() as connection:
            connection.execute(sa.delete(celery_results).where(celery_results.c.task_id == task_id))

    # -- groups --------------------------------------------------------------------------------------------------------

    def save_group(self, group_id: str, result: str) -> None:
        """Keep a group's tree of results, in place of an earlier one."""
        with self.database.begin() as connection:
            self._save_group(connection, group_id, result)

    def _save_group(self, connection: sa.Connection, group_id: str, result: str) -> None:
        insert = self._insert(celery_groups).values(group_id=group_id, result=result)
        values = {"result": insert.excluded.result, "done_at": now()}
        connection.execute(insert.on_conflict_do_update(index_elements=["group_id"], set_=values))

    def group(self, group_id: str) -> str | None:
        """A kept group, or None."""
        with self.database.read() as connection:
            statement = sa.select(celery_groups.c.result).where(celery_groups.c.group_id == group_id)
            return connection.execute(statement).scalar_one_or_none()

    def delete_group(self, group_id: str) -> None:
        """Drop a kept group."""
        with self.database.begin() as connection:
            connection.execute(sa.delete(celery_groups).where(celery_groups.c.group_id == group_id))

    # -- chords --------------------------------------------------------------------------------------------------------

    def open_chord(self, group_id: str, *, tree: str | None) -> None:
        """Note a chord before its header goes out; ``tree`` keeps a nested header's shape. Twice is once."""
        with self.database.begin() as connection:
            connection.execute(self._insert(celery_chords).values(group_id=group_id).on_conflict_do_nothing())
            if tree is not None:
                self._save_group(connection, group_id, tree)

    def set_size(self, group_id: str, size: int) -> None:
        """Note how many parts a chord has."""
        insert = self._insert(celery_chords).values(group_id=group_id, size=size)
        with self.database.begin() as connection:
            connection.execute(
                insert.on_conflict_do_update(index_elements=["group_id"], set_={"size": insert.excluded.size})
            )

    def expect_part(self, group_id: str, task_id: str) -> None:
        """Note that a chord has one part more than its size says: a header task has added one."""
        with self.database.begin() as connection:
            connection.execute(
                self._insert(celery_chord_parts)
                .values(group_id=group_id, task_id=f"{_MEMBER}:{task_id}", state=_MEMBER)
                .on_conflict_do_nothing()
            )

    def add_part(self, group_id: str, part: Part) -> None:
        """Count a part, once for each task id. A chord that has fired takes none any more."""
        is_fired = sa.exists().where(celery_chords.c.group_id == group_id, celery_chords.c.is_fired)
        new = sa.select(
            sa.literal(group_id),
            sa.literal(part.task_id),
            sa.literal(part.position, sa.Integer),
            sa.literal(part.state),
            sa.literal(part.result),
        ).where(~is_fired)
        columns = ["group_id", "task_id", "position", "state", "result"]
        with self.database.begin() as connection:
            connection.execute(self._insert(celery_chord_parts).from_select(columns, new).on_conflict_do_nothing())

    def fire(self, group_id: str) -> list[Part] | None:
        """Try to be the one who publishes a chord's body.

        Returns:
            The parts in header order, or None: some are missing, or somebody else is that one.
        """
        with self.database.begin() as connection:
            if connection.execute(_FIRE, {"b_id": group_id}).rowcount != 1:
                return None
            return [
                Part(task_id=row.task_id, position=row.position, state=row.state, result=row.result)
                for row in connection.execute(_PARTS, {"b_id": group_id})
            ]

    def close_chord(self, group_id: str) -> None:
        """The body is out: the parts are needed no more. The row stays, so that a late copy of a part fires nothing."""
        with self.database.begin() as connection:
            connection.execute(sa.delete(celery_chord_parts).where(celery_chord_parts.c.group_id == group_id))

    # -- cleaning ------------------------------------------------------------------------------------------------------

    def delete_expired(self, expiry: Expiry) -> int:
        """Delete what is older, in small transactions; how many results, groups and chords that were."""
        self._adopt_parts()
        return sum(self._delete(key, is_expired) for key, is_expired in _expired(expiry))

    def count_expired(self, expiry: Expiry) -> int:
        """How many results, groups and chords ``delete_expired`` would delete."""
        counts = [sa.select(sa.func.count(key)).where(is_expired) for key, is_expired in _expired(expiry)]
        with self.database.read() as connection:
            return sum(connection.execute(each).scalar_one() for each in counts)

    def _adopt_parts(self) -> None:
        """Give parts without a chord one that is born now, so that they have an age."""
        known = sa.exists().where(celery_chords.c.group_id == celery_chord_parts.c.group_id)
        orphans = sa.select(celery_chord_parts.c.group_id).where(~known).distinct()
        with self.database.begin() as connection:
            connection.execute(self._insert(celery_chords).from_select(["group_id"], orphans).on_conflict_do_nothing())

    def _delete(self, key: sa.Column[str], is_expired: sa.ColumnElement[bool]) -> int:
        deleted, found = 0, CLEANUP_BATCH
        while found == CLEANUP_BATCH:
            with self.database.begin() as connection:
                ids = list(connection.execute(sa.select(key).where(is_expired).limit(CLEANUP_BATCH)).scalars())
                if key.table is celery_chords:
                    connection.execute(sa.delete(celery_chord_parts).where(celery_chord_parts.c.group_id.in_(ids)))
                connection.execute(sa.delete(key.table).where(key.in_(ids)))
            found = len(ids)
            deleted += found
        return deleted


_ids: Final[sa.BindParameter[Any]] = sa.bindparam("b_ids", expanding=True)
_EXECUTIONS: Final = sa.select(
    executions.c.id, executions.c.state, executions.c.response, executions.c.error, executions.c.ended_at
).where(executions.c.id.in_(_ids))
_RESULTS: Final = sa.select(celery_results.c.task_id, celery_results.c.meta).where(celery_results.c.task_id.in_(_ids))
_PARTS: Final = (
    sa.select(celery_chord_parts)
    .where(celery_chord_parts.c.group_id == sa.bindparam("b_id"), celery_chord_parts.c.state != _MEMBER)
    .order_by(celery_chord_parts.c.position.nulls_last(), celery_chord_parts.c.task_id)
)


def _count(is_member: sa.ColumnElement[bool]) -> sa.ScalarSelect[int]:
    counted = celery_chord_parts.c.group_id == sa.bindparam("b_id")
    return sa.select(sa.func.count()).select_from(celery_chord_parts).where(counted, is_member).scalar_subquery()


# The counts come last: both databases look at them only for a chord that waits and whose size is known.
_FIRE: Final = (
    sa.update(celery_chords)
    .where(
        celery_chords.c.group_id == sa.bindparam("b_id"),
        ~celery_chords.c.is_fired,
        celery_chords.c.size.is_not(None),
        _count(celery_chord_parts.c.state != _MEMBER)
        >= celery_chords.c.size + _count(celery_chord_parts.c.state == _MEMBER),
    )
    .values(is_fired=True)
)


def _expired(expiry: Expiry) -> Iterator[tuple[sa.Column[str], sa.ColumnElement[bool]]]:
    """The key of each table, and which of its rows are too old."""
    is_old = celery_chords.c.created_at < later(-expiry.results_s)
    is_very_old = celery_chords.c.created_at < later(-expiry.chords_s)
    yield celery_results.c.task_id, celery_results.c.done_at < later(-expiry.results_s)
    yield celery_groups.c.group_id, celery_groups.c.done_at < later(-expiry.results_s)
    yield celery_chords.c.group_id, sa.or_(is_very_old, sa.and_(celery_chords.c.is_fired, is_old))


def _live(
    connection: sa.Connection, places: Sequence[tuple[str, int, int]]
) -> Iterator[tuple[tuple[str, int, int], LiveAttempt]]:
    columns = live_attempts.c
    place = sa.tuple_(columns.execution_id, columns.task_number, columns.attempt)
    for some in _batches(places, _READ_BATCH // 4):
        # The ids alone as well: SQLite finds no list of tuples by an index.
        is_one = sa.and_(columns.execution_id.in_({execution_id for execution_id, *_ in some}), place.in_(some))
        for row in connection.execute(sa.select(live_attempts).where(is_one)):
            live = LiveAttempt(task_type=row.task_type, phase=Phase(row.phase), worker=row.worker)
            yield (row.execution_id, row.task_number, row.attempt), live


def _last_entry(connection: sa.Connection, execution_id: str, number: int, attempt: int) -> Entry | None:
    """Newest first, so an attempt that has just ended is found at once; an old one costs a scan inside the database.

    An entry's text starts with its kind, task and attempt (``Entry.to_json``), so nothing is parsed that is not it.
    """
    beginnings = [
        to_json_text({"kind": kind.value, "task": number, "attempt": attempt}).removesuffix("}") + ","
        for kind in _ENDINGS
    ]
    statement = (
        sa.select(history.c.entry)
        .where(
            history.c.execution_id == execution_id,
            sa.or_(*(history.c.entry.startswith(beginning, autoescape=True) for beginning in beginnings)),
        )
        .order_by(history.c.revision.desc())
        .limit(1)
    )
    text = connection.execute(statement).scalar_one_or_none()
    return None if text is None else Entry.from_json(json.loads(text))


def _to_execution(row: Any) -> ExecutionResult:
    return ExecutionResult(
        state=ExecutionState(row.state),
        response=load_parameters(row.response),
        error=None if row.error is None else ErrorInfo.from_json(json.loads(row.error)),
        ended_at=row.ended_at,
    )


def _batches(items: Iterable[_T], size: int) -> Iterator[list[_T]]:
    rest = list(items)
    while rest:
        yield rest[:size]
        rest = rest[size:]
