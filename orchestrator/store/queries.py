"""Reading executions: one, a tree, a list. Reads block nobody and change nothing."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from operator import itemgetter
from typing import Any, Final, Self, TypeAlias

import sqlalchemy as sa

from orchestrator.errors import ExecutionNotFound
from orchestrator.model.filters import EVERYTHING, Node
from orchestrator.model.history import Entry
from orchestrator.model.listing import NEWEST_FIRST, Boundary, Order
from orchestrator.model.states import ExecutionState
from orchestrator.store.database import Database
from orchestrator.store.facts import StoredFacts, read_facts
from orchestrator.store.filters import column_of, to_bound, to_clause
from orchestrator.store.kinds import ParentLink
from orchestrator.store.rows import LiveAttempt, Match, StoredExecution, to_live, to_stored
from orchestrator.store.tables import LIVE, executions, history, live_attempts

_CHUNK: Final = 400  # ids in one IN list; SQLite's old limit of 999 variables leaves room for two a row
_LINK: Final = tuple(
    executions.c[name] for name in ("id", "parent_id", "parent_task", "parent_attempt", "parent_round", "position")
)


def _tree() -> sa.Select[Any]:
    below = sa.select(executions.c.id).where(executions.c.id == sa.bindparam("top")).cte("below", recursive=True)
    below = below.union_all(sa.select(executions.c.id).join(below, executions.c.parent_id == below.c.id))
    return sa.select(executions).where(executions.c.id.in_(sa.select(below.c.id)))


# What every look at an execution sends is put together once a process: that takes longer than running it.
_IDS: Final[sa.BindParameter[str]] = sa.bindparam("ids", expanding=True)
_TREE: Final = _tree()
_ONE: Final = sa.select(executions).where(executions.c.id == sa.bindparam("id"))
_ENTRIES: Final = (
    sa.select(history)
    .where(history.c.execution_id.in_(_IDS), history.c.revision > sa.bindparam("known"))
    .order_by(history.c.execution_id, history.c.revision)
)
_REPLAYS: Final = (
    sa.select(executions.c.id, executions.c.replay_of)
    .where(executions.c.replay_of.in_(_IDS))
    .order_by(executions.c.created_at, executions.c.id)
)
_LIVE: Final = sa.select(live_attempts).where(live_attempts.c.execution_id.in_(_IDS))

Entries: TypeAlias = dict[str, list[Entry]]  # by execution; named here because a method below is called list
Matches: TypeAlias = list[Match]  # likewise
Links: TypeAlias = list[ParentLink]
Ids: TypeAlias = list[str]


class ExecutionQueries:
    """Finds executions and what belongs to them."""

    def __init__(self, database: Database, connection: sa.Connection | None = None) -> None:
        self.database, self._connection = database, connection

    @contextmanager
    def at_one_moment(self) -> Iterator[Self]:
        """The same queries, all answered from the database as it is at the first of them."""
        with self.database.read(at_one_moment=True) as connection:
            yield type(self)(self.database, connection)

    @contextmanager
    def _read(self) -> Iterator[sa.Connection]:
        if self._connection is not None:
            yield self._connection
        else:
            with self.database.read() as connection:
                yield connection

    def state(self, execution_id: str) -> ExecutionState:
        """Where an execution stands.

        Raises:
            ExecutionNotFound: there is none.
        """
        with self._read() as connection:
            state = connection.execute(
                sa.select(executions.c.state).where(executions.c.id == execution_id)
            ).scalar_one_or_none()
        if state is None:
            raise ExecutionNotFound(execution_id)
        return ExecutionState(state)

    def one(self, execution_id: str) -> StoredExecution:
        """An execution's row.

        Raises:
            ExecutionNotFound: there is none.
        """
        with self._read() as connection:
            row = connection.execute(_ONE, {"id": execution_id}).one_or_none()
        if row is None:
            raise ExecutionNotFound(execution_id)
        return to_stored(row)

    def tree(self, execution_id: str) -> list[StoredExecution]:
        """An execution and everything below it: parents first, children by task, attempt and position.

        Not by time: two of them may begin in one millisecond, and a clock can be set back.

        Raises:
            ExecutionNotFound: there is none.
        """
        with self._read() as connection:
            found = {row.id: to_stored(row) for row in connection.execute(_TREE, {"top": execution_id})}
        if execution_id not in found:
            raise ExecutionNotFound(execution_id)
        return _in_order(found.pop(execution_id), found.values())

    def ancestors(self, execution_id: str) -> Sequence[ParentLink]:
        """How an execution came to be: one link for each level above it, from the root down; none for a root."""
        return self.all_ancestors([execution_id]).get(execution_id, [])

    def all_ancestors(self, execution_ids: Sequence[str]) -> dict[str, Links]:
        """The same for many executions; those without ancestors are not among the keys."""
        found: dict[str, Links] = defaultdict(list)
        with self._read() as connection:
            for ids in _chunks(execution_ids):
                start = executions.c.id.label("start")
                top = sa.select(start, *_LINK, sa.literal(0).label("level")).where(executions.c.id.in_(ids))
                up = top.cte("up", recursive=True)
                up = up.union_all(
                    sa.select(up.c.start, *_LINK, up.c.level + 1).join(up, executions.c.id == up.c.parent_id)
                )
                statement = sa.select(up).where(up.c.parent_id.is_not(None)).order_by(up.c.level.desc())
                for row in connection.execute(statement):
                    found[row.start].append(
                        ParentLink(
                            execution_id=row.parent_id,
                            number=row.parent_task,
                            attempt=row.parent_attempt,
                            round=row.parent_round,
                            position=row.position,
                        )
                    )
        return found

    def list(
        self, tree: Node = EVERYTHING, *, order: Order = NEWEST_FIRST, after: Boundary | None = None, limit: int = 50
    ) -> list[StoredExecution]:
        """The first executions in this order that fit a filter, after a place in it."""
        by, execution_id = column_of(order.field), executions.c.id
        statement = sa.select(executions).where(to_clause(tree)).limit(limit)
        if order.is_descending:
            statement = statement.order_by(by.desc(), execution_id.desc())
        else:
            statement = statement.order_by(by, execution_id)
        if after is not None:
            place, seen = sa.tuple_(by, execution_id), sa.tuple_(to_bound(after[0]), to_bound(after[1]))
            statement = statement.where(place < seen if order.is_descending else place > seen)
        with self._read() as connection:
            return [to_stored(row) for row in connection.execute(statement)]

    def live_matches(self, tree: Node) -> Matches:
        """The live executions that fit a filter, the oldest first."""
        is_live = executions.c.stage == LIVE
        columns = executions.c.id, executions.c.parent_id, executions.c.integration, executions.c.state
        statement = sa.select(*columns, executions.c.created_at).where(is_live, to_clause(tree))
        with self._read() as connection:
            rows = connection.execute(statement.order_by(executions.c.created_at, executions.c.id)).all()
            above = _above({row.id: row.parent_id for row in rows}, connection)
        return [
            Match(
                id=row.id,
                integration=row.integration,
                state=ExecutionState(row.state),
                created_at=row.created_at,
                above=frozenset(above[row.id]),
            )
            for row in rows
        ]

    def entries(self, revisions: Mapping[str, int]) -> Entries:
        """The history of executions after the revision that is known of each, in order."""
        found: Entries = defaultdict(list)
        with self._read() as connection:
            for ids in _chunks(list(revisions)):
                known = min(revisions[each] for each in ids)
                for row in connection.execute(_ENTRIES, {"ids": ids, "known": known}):
                    if row.revision > revisions[row.execution_id]:
                        found[row.execution_id].append(Entry.from_json(json.loads(row.entry)))
        return found

    def replays_of(self, execution_id: str) -> tuple[str, ...]:
        """The executions that repeat this one, the first one first."""
        return tuple(self.all_replays_of([execution_id]).get(execution_id, ()))

    def all_replays_of(self, execution_ids: Sequence[str]) -> dict[str, Ids]:
        """The same for many executions; those that nothing repeats are not among the keys."""
        found: dict[str, Ids] = defaultdict(list)
        with self._read() as connection:
            for ids in _chunks(execution_ids):
                for row in connection.execute(_REPLAYS, {"ids": ids}):
                    found[row.replay_of].append(row.id)
        return found

    def facts(self, stored: Sequence[StoredExecution]) -> StoredFacts:
        """What of these executions lies neither in their rows nor in their histories."""
        with self._read() as connection:
            return read_facts(connection, stored)

    def is_there(self, execution_id: str) -> bool:
        """Whether there is an execution of this id."""
        with self._read() as connection:
            found = connection.execute(sa.select(executions.c.id).where(executions.c.id == execution_id))
            return found.one_or_none() is not None

    def live(self, execution_ids: Sequence[str]) -> dict[str, dict[int, LiveAttempt]]:
        """The live attempts of executions, by task number."""
        found: dict[str, dict[int, LiveAttempt]] = defaultdict(dict)
        with self._read() as connection:
            for ids in _chunks(execution_ids):
                for row in connection.execute(_LIVE, {"ids": ids}):
                    found[row.execution_id][row.task_number] = to_live(row)
        return found


def _above(parents: Mapping[str, str | None], connection: sa.Connection) -> dict[str, set[str]]:
    """Which of some executions are above each of them, however far; each comes with its parent."""
    found: dict[str, set[str]] = defaultdict(set)
    for ids in _chunks([execution_id for execution_id, parent in parents.items() if parent is not None]):
        start = sa.select(executions.c.id.label("start"), executions.c.parent_id).where(executions.c.id.in_(ids))
        up = start.cte("up", recursive=True)
        up = up.union_all(sa.select(up.c.start, executions.c.parent_id).join(up, executions.c.id == up.c.parent_id))
        for row in connection.execute(sa.select(up).where(up.c.parent_id.is_not(None))):
            if row.parent_id in parents:
                found[row.start].add(row.parent_id)
    return found


def _in_order(top: StoredExecution, below: Iterable[StoredExecution]) -> list[StoredExecution]:
    children: dict[str, list[tuple[int, int, int, StoredExecution]]] = defaultdict(list)
    for each in below:
        assert each.parent is not None, "whatever is below an execution has a parent"
        parent = each.parent
        children[parent.execution_id].append((parent.number, parent.attempt, parent.position, each))
    ordered = [top]
    for each in ordered:  # which grows meanwhile
        ordered.extend(child for *_, child in sorted(children[each.id], key=itemgetter(0, 1, 2)))
    return ordered


def _chunks(ids: Sequence[str]) -> list[Sequence[str]]:
    return [ids[start : start + _CHUNK] for start in range(0, len(ids), _CHUNK)]
