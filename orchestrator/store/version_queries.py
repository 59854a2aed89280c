"""Lists of versions and of integrations, by filter, order and page; a filter means what it means for executions.

An integration is there as long as one of its versions is not ARCHIVED. It is shown as one row: the published version,
or else the newest, stands for it. A filter of integrations speaks of their versions: one that fits is enough.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, assert_never

import sqlalchemy as sa

from orchestrator.model import version_fields as fields
from orchestrator.model.filter_fields import Field
from orchestrator.model.filters import Comparison, Filled, Node
from orchestrator.model.listing import Boundary, Order
from orchestrator.model.version_states import VersionState
from orchestrator.store.database import Database
from orchestrator.store.filters import combined, compared, to_bound
from orchestrator.store.tables import versions
from orchestrator.store.version_rows import StoredVersion, changed_at, to_stored_version

_COLUMNS: Final[dict[Field, sa.ColumnElement[Any]]] = {
    fields.PROJECT: versions.c.project,
    fields.LOCATION: versions.c.location,
    fields.INTEGRATION: versions.c.integration,
    fields.VERSION_ID: versions.c.id,
    fields.STATE: versions.c.state,
    fields.SNAPSHOT_NUMBER: versions.c.snapshot_number,
    fields.USER_LABEL: versions.c.user_label,
    fields.DESCRIPTION: versions.c.description,
    fields.LOCK_HOLDER: sa.func.coalesce(versions.c.lock_holder, ""),
    fields.LAST_MODIFIER: sa.func.coalesce(versions.c.last_modifier, ""),
    fields.CREATE_TIME: versions.c.created_at,
    fields.UPDATE_TIME: changed_at,
}
_MAY_BE_EMPTY: Final = (fields.USER_LABEL, fields.DESCRIPTION, fields.LOCK_HOLDER, fields.LAST_MODIFIER)


@dataclass(frozen=True, kw_only=True, slots=True)
class StoredIntegration:
    """An integration as lists show it. ``id`` is that of the version that stands for it."""

    id: str
    name: str
    is_active: bool
    description: str
    last_modifier: str | None
    snapshot_number: int
    created_at: datetime
    updated_at: datetime


class VersionQueries:
    """Lists versions and integrations."""

    def __init__(self, database: Database) -> None:
        self.database = database

    def versions(self, tree: Node, *, order: Order, after: Boundary | None, limit: int) -> list[StoredVersion]:
        """The first versions in this order that fit a filter, after a place in it."""
        statement = sa.select(versions).where(_to_clause(tree))
        paged = _page(statement, _COLUMNS[order.field], versions.c.id, order=order, after=after, limit=limit)
        with self.database.read() as connection:
            return [to_stored_version(row) for row in connection.execute(paged)]

    def integrations(
        self, scope: Node, tree: Node, *, order: Order, after: Boundary | None, limit: int
    ) -> list[StoredIntegration]:
        """The first integrations in this order.

        Args:
            scope: of which versions to look at all, such as those of a place.
            tree: one version of an integration has to fit it.
            order: by a field of the integration.
            after: a place in that order.
            limit: at most so many.
        """
        ranked = _ranked(scope, tree)
        columns: dict[Field, sa.ColumnElement[Any]] = {
            fields.INTEGRATION: ranked.c.name,
            fields.SNAPSHOT_NUMBER: ranked.c.snapshot_number,
            fields.CREATE_TIME: ranked.c.created_at,
            fields.UPDATE_TIME: ranked.c.updated_at,
        }
        names = StoredIntegration.__dataclass_fields__
        statement = sa.select(*(ranked.c[name] for name in names)).where(ranked.c.rank == 1, ranked.c.fits == 1)
        paged = _page(statement, columns[order.field], ranked.c.id, order=order, after=after, limit=limit)
        with self.database.read() as connection:
            return [StoredIntegration(**row._mapping) for row in connection.execute(paged)]


def _ranked(scope: Node, tree: Node) -> sa.Subquery:
    """The versions that are not archived, each with what is to be said of its integration; 1 is the best rank."""
    of_one = versions.c.integration
    is_active = sa.case((versions.c.state == VersionState.ACTIVE.value, 1), else_=0)
    rank = sa.func.row_number().over(
        partition_by=of_one, order_by=(is_active.desc(), versions.c.snapshot_number.desc())
    )
    return (
        sa.select(
            versions.c.id,
            versions.c.integration.label("name"),
            (is_active == 1).label("is_active"),
            versions.c.description,
            versions.c.last_modifier,
            rank.label("rank"),
            sa.func.max(versions.c.snapshot_number).over(partition_by=of_one).label("snapshot_number"),
            sa.func.min(versions.c.created_at).over(partition_by=of_one).label("created_at"),
            sa.func.max(changed_at).over(partition_by=of_one).label("updated_at"),
            sa.func.max(sa.case((_to_clause(tree), 1), else_=0)).over(partition_by=of_one).label("fits"),
        )
        .where(_to_clause(scope), versions.c.state != VersionState.ARCHIVED.value)
        .subquery("ranked")
    )


def _page(
    statement: Any,
    by: sa.ColumnElement[Any],
    version_id: sa.ColumnElement[str],
    *,
    order: Order,
    after: Boundary | None,
    limit: int,
) -> Any:
    ways = (by.desc(), version_id.desc()) if order.is_descending else (by, version_id)
    if after is not None:
        place, seen = sa.tuple_(by, version_id), sa.tuple_(to_bound(after[0]), to_bound(after[1]))
        statement = statement.where(place < seen if order.is_descending else place > seen)
    return statement.order_by(*ways).limit(limit)


def _to_clause(tree: Node) -> sa.ColumnElement[bool]:
    return combined(tree, _tested)


def _tested(test: Comparison | Filled) -> sa.ColumnElement[bool]:
    match test:
        case Comparison(field=field):
            return compared(_COLUMNS[field], test)
        case Filled(field=field):
            return _COLUMNS[field] != "" if field in _MAY_BE_EMPTY else sa.true()
        case _:
            assert_never(test)
