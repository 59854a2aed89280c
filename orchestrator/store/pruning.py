"""Deleting what ended long ago: whole trees of executions, with everything that belongs to them.

    trees (a page) --> members of some --> their artifacts go (``service.prune``) --> delete --> those of others

What holds at every moment, so that a process may die between any two steps:

* Only a tree of which everything is final is deleted. Nothing begins in it any more, so what was read of it stays true
  without a lock, and the tree is found again by the next prune as long as its root is there.
* An execution goes with all its rows in one transaction, after everything below it, and so the root last. Whatever is
  shown has its whole history; only a tree of more than ``MOST_AT_ONCE`` executions may have lost some of them.
* Artifacts go before the rows that lead to them: nothing would ever find those that were left.

Nobody waits for this. Rows are locked only while they are deleted, with SKIP LOCKED on PostgreSQL: what somebody else
has locked, another prune for instance, is left to it or to the next prune. A transaction takes tenths of a second.

Roots are paged by the time that they began, which never changes: an index on ``ended_at`` would be written at the end
of every execution. Nothing has ended before it began, so no page is in vain but for what is kept.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import sqlalchemy as sa

from orchestrator.failpoints import failpoint
from orchestrator.model.states import FINAL_EXECUTION_STATES, ExecutionState
from orchestrator.store.commits import IDS
from orchestrator.store.database import Database
from orchestrator.store.tables import executions, later, limit_starts, limits, metadata

MOST_AT_ONCE: Final = 1000  # executions a transaction
_FINAL: Final = [state.value for state in FINAL_EXECUTION_STATES]
_OWNERS: Final = [
    key.parent for table in metadata.sorted_tables for key in table.foreign_keys if key.column is executions.c.id
]  # which execution a row belongs to, in each table that says so
_LOCK: Final = sa.select(executions.c.id).where(executions.c.id.in_(IDS)).with_for_update(skip_locked=True)


@dataclass(frozen=True, kw_only=True, slots=True)
class Wanted:
    """Which trees are to go.

    Attributes:
        project, location: of which place.
        ended_before: the root's end.
        keeps_failed: whether those stay whose root FAILED.
    """

    project: str
    location: str
    ended_before: datetime
    keeps_failed: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Tree:
    """A tree of which everything is final. ``size`` is the number of its executions."""

    root_id: str
    created_at: datetime
    size: int


class PruneStore:
    """Finds and deletes old trees in one database."""

    def __init__(self, database: Database) -> None:
        self.database = database

    def ago(self, seconds: float) -> datetime:
        """So many seconds ago, by the database's clock."""
        with self.database.read() as connection:
            return connection.execute(sa.select(later(-seconds))).scalar_one()

    def trees(self, wanted: Wanted, *, limit: int, after: Tree | None = None) -> list[Tree]:
        """The first trees that are to go, the oldest first, after one of them."""
        below = executions.alias()
        is_live_below = sa.exists().where(
            below.c.root_id == executions.c.id, below.c.parent_id.is_not(None), below.c.state.not_in(_FINAL)
        )
        size = sa.select(sa.func.count()).where(below.c.root_id == executions.c.id).scalar_subquery()
        place = sa.tuple_(executions.c.created_at, executions.c.id)
        statement = (
            sa.select(executions.c.id.label("root_id"), executions.c.created_at, size.label("size"))
            .where(
                executions.c.parent_id.is_(None),
                executions.c.project == wanted.project,
                executions.c.location == wanted.location,
                executions.c.created_at < wanted.ended_before,
                executions.c.ended_at < wanted.ended_before,
                ~is_live_below,
            )
            .order_by(executions.c.created_at, executions.c.id)
            .limit(limit)
        )
        if wanted.keeps_failed:
            statement = statement.where(executions.c.state != ExecutionState.FAILED.value)
        if after is not None:
            statement = statement.where(place > sa.tuple_(sa.literal(after.created_at), sa.literal(after.root_id)))
        with self.database.read() as connection:
            return [Tree(**row._mapping) for row in connection.execute(statement)]

    def members(self, trees: Sequence[Tree]) -> list[list[str]]:
        """The ids of each tree's executions from the bottom up, the root last."""
        ids = {"b_ids": [tree.root_id for tree in trees]}
        links = sa.select(executions.c.id, executions.c.parent_id).where(
            executions.c.root_id.in_(IDS), executions.c.parent_id.is_not(None)
        )
        children: dict[str, list[str]] = defaultdict(list)
        with self.database.read() as connection:
            for execution_id, parent_id in connection.execute(links, ids):
                children[parent_id].append(execution_id)
        return [_bottom_up(tree.root_id, children) for tree in trees]

    def delete(self, groups: Sequence[Sequence[str]]) -> list[bool]:
        """Delete executions with everything that belongs to them, in one transaction.

        Args:
            groups: of executions that go together or not at all; ``MOST_AT_ONCE`` in all.

        Returns:
            Which of them went. One that is not there any more, or that somebody has locked, keeps its group from it.
        """
        with self.database.begin() as connection:
            locked = set(connection.execute(_LOCK, {"b_ids": [each for group in groups for each in group]}).scalars())
            are_whole = [locked.issuperset(group) for group in groups]
            ids = [each for group, is_whole in zip(groups, are_whole, strict=True) if is_whole for each in group]
            for owner in _OWNERS:
                connection.execute(sa.delete(owner.table).where(owner.in_(IDS)), {"b_ids": ids})
            connection.execute(sa.delete(executions).where(executions.c.id.in_(IDS)), {"b_ids": ids})
            failpoint("prune.inside")
        failpoint("prune.deleted")
        return are_whole

    def delete_starts(self, before: datetime) -> None:
        """Delete the starts that no rate counts any more: of limits under which nothing has started since."""
        longest_s = sa.select(sa.func.coalesce(sa.func.max(limits.c.rate_period_s), 0))
        with self.database.begin() as connection:
            period_s = connection.execute(longest_s).scalar_one()
            is_old = sa.and_(limit_starts.c.started_at < before, limit_starts.c.started_at < later(-period_s))
            connection.execute(sa.delete(limit_starts).where(is_old))


def _bottom_up(root_id: str, children: Mapping[str, Sequence[str]]) -> list[str]:
    ordered = [root_id]
    for each in ordered:  # which grows meanwhile
        ordered.extend(children.get(each, ()))
    return ordered[::-1]
