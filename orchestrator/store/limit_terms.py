"""What limits there are: the numbers that definitions and operators have set, and views of what they hold up.

A row of ``limits`` is what counts. Publishing writes those of a definition, in its own transaction and not at the first
use: so the published version decides for all executions of the integration, old versions too, and a changed number
counts at once for those that wait. An operator's row stands in place of a definition's of the same name, and publishing
leaves it alone; when it is removed, what the published definition says comes back. Keys share one row, ``.../key``, so
the table does not grow with the customers; an operator may give one key a row of its own.

Lowering a number stops nothing that runs: the next start waits until there is room. An execution that began before its
limit was set does not count.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert as postgresql_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert

from orchestrator.engine.canvas import MOST_URGENT
from orchestrator.engine.limits import LIMIT_NAME, every_key, general_name, integration_limit
from orchestrator.errors import InvalidValue
from orchestrator.model.definition import parse_integration
from orchestrator.model.limits import MAX_RATE, MAX_RUNNING, Limits, Rate
from orchestrator.store.database import Database
from orchestrator.store.tables import limit_holders, limit_starts, limit_waiters, limits, now, texts_of, versions

_CHUNK: Final = 400  # values in one IN list
_MOST: Final = 1_000  # rows of a view
# Asked for every new execution: building it anew would take four times as long as running it.
_TERMS: Final = sa.select(limits.c.name, limits.c.max_running, limits.c.rate_count, limits.c.rate_period_s).where(
    limits.c.name.in_(texts_of("b_names"))
)


class LimitSource(StrEnum):
    """Who has set a limit."""

    DEFINITION = "DEFINITION"
    OPERATOR = "OPERATOR"


class Standing(StrEnum):
    """How an execution that waits stands to one of its limits. It is in line at exactly one of them."""

    IN_LINE = "IN_LINE"
    ELSEWHERE = "ELSEWHERE"
    KEPT = "KEPT"  # elsewhere, and a slot here is kept for it


@dataclass(frozen=True, kw_only=True, slots=True)
class Terms:
    """The numbers of a limit; None for any number."""

    max_running: int | None = None
    rate: Rate | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class LimitView:
    """A limit and what it holds up. ``source`` is None if it has no row of its own, as most keys."""

    name: str
    terms: Terms
    source: LimitSource | None
    running: int
    waiting: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Holder:
    """An execution that has a slot."""

    execution_id: str
    since: datetime


@dataclass(frozen=True, kw_only=True, slots=True)
class Waiting:
    """An execution that waits, and what for: the limit in whose line it stands."""

    execution_id: str
    priority: int
    since: datetime
    is_in_line: bool


class LimitStore:
    """Sets limits, and shows them."""

    def __init__(self, database: Database) -> None:
        self.database = database

    def set_limit(self, name: str, *, max_running: int | None = None, rate: Rate | None = None) -> None:
        """Set or change a limit; it stands in place of what a definition says under this name.

        Args:
            name: as ``engine.limits`` writes it: ``executor/E``, ``integration/P/L/NAME``, or with ``/key`` behind it,
                or with ``/key/KEY``.
            max_running: how many executions may run at once.
            rate: how many may start in a time; not for keys.

        Raises:
            InvalidValue: no such name, or a number that cannot be.
        """
        _check(name, max_running, rate)
        row = _row(name, Terms(max_running=max_running, rate=rate), LimitSource.OPERATOR)
        with self.database.begin() as connection:
            connection.execute(_upsert(connection, row))
            _forget_starts(connection, name)

    def remove_limit(self, name: str) -> bool:
        """Take an operator's limit away; what the published definition says under this name holds again.

        Returns:
            False if there was none.
        """
        with self.database.begin() as connection:
            operators = sa.delete(limits).where(limits.c.name == name, limits.c.source == LimitSource.OPERATOR.value)
            if connection.execute(operators).rowcount == 0:
                return False
            for place, document in _published(connection, name):
                version = parse_integration(document, name=place["integration"])
                sync(connection, version.limits, place=place)
            _forget_starts(connection, name)
            return True

    def list(self) -> tuple[LimitView, ...]:
        """Every limit that has a row, and every key that somebody holds or waits for; by name, at most 1,000."""
        with self.database.read(at_one_moment=True) as connection:
            rows = {row.name: row for row in connection.execute(sa.select(limits).order_by("name").limit(_MOST))}
            running, waiting = _count(connection, limit_holders), _count(connection, limit_waiters)
            names = sorted({*rows, *running, *waiting})[:_MOST]
            terms = terms_of(connection, names)
        return tuple(
            LimitView(
                name=name,
                terms=terms.get(name, Terms()),
                source=LimitSource(rows[name].source) if name in rows else None,
                running=running.get(name, 0),
                waiting=waiting.get(name, 0),
            )
            for name in names
        )

    def holders(self, name: str) -> tuple[Holder, ...]:
        """Who has a slot, the longest first; at most 1,000."""
        held = sa.select(limit_holders).where(limit_holders.c.limit_name == name).order_by("since", "execution_id")
        with self.database.read() as connection:
            rows = connection.execute(held.limit(_MOST)).all()
        return tuple(Holder(execution_id=row.execution_id, since=row.since) for row in rows)

    def waiters(self, name: str) -> tuple[Waiting, ...]:
        """Who needs a slot, in the order of turns; at most 1,000."""
        needed = sa.select(limit_waiters).where(limit_waiters.c.limit_name == name)
        with self.database.read() as connection:
            rows = connection.execute(needed.order_by("rank", "since", "execution_id").limit(_MOST)).all()
        return tuple(
            Waiting(
                execution_id=row.execution_id,
                priority=MOST_URGENT - row.rank,
                since=row.since,
                is_in_line=row.standing == Standing.IN_LINE,
            )
            for row in rows
        )


# -- numbers -------------------------------------------------------------------------------------------------------


def terms_of(connection: sa.Connection, names: Collection[str]) -> dict[str, Terms]:
    """The numbers of these limits; a name that nothing limits is left out."""
    if not names:
        return {}
    rows: dict[str, Terms] = {}
    for row in connection.execute(_TERMS, {"b_names": [*{*names, *map(general_name, names)}]}):
        rate = None if row.rate_count is None else Rate(count=row.rate_count, period_s=row.rate_period_s)
        rows[row.name] = Terms(max_running=row.max_running, rate=rate)
    found = {name: rows.get(name) or rows.get(general_name(name)) for name in names}
    return {name: terms for name, terms in found.items() if terms is not None}


def sync(connection: sa.Connection, declared: Limits | None, *, place: Mapping[str, str]) -> None:
    """Make the limits of an integration those of the version that is published by this transaction.

    Args:
        connection: of the transaction.
        declared: what the version says.
        place: project, location and integration.
    """
    name = integration_limit(place["project"], place["location"], place["integration"])
    declared = declared or Limits()
    wanted = {
        name: Terms(max_running=declared.max_running, rate=declared.rate),
        every_key(name): Terms(max_running=declared.max_running_per_key),
    }
    is_own = limits.c.source == LimitSource.DEFINITION.value
    for each, terms in wanted.items():
        if terms == Terms():
            connection.execute(sa.delete(limits).where(limits.c.name == each, is_own))
        else:
            connection.execute(_upsert(connection, _row(each, terms, LimitSource.DEFINITION), where=is_own))
        _forget_starts(connection, each)


def forget(connection: sa.Connection, *, place: Mapping[str, str]) -> None:
    """Take the limits of an integration away that is deleted by this transaction.

    If somebody waits for one of them they stay: all would start at once for it.
    """
    name = integration_limit(place["project"], place["location"], place["integration"])
    line = limit_waiters.c.limit_name
    is_its = sa.or_(line == name, line.startswith(f"{every_key(name)}/", autoescape=True))
    if connection.execute(sa.select(line).where(is_its).limit(1)).first() is None:
        sync(connection, None, place=place)


def chunks(values: Collection[str]) -> Iterator[list[str]]:
    """The values in lists that are short enough for one statement."""
    ordered = sorted(values)
    for start in range(0, len(ordered), _CHUNK):
        yield ordered[start : start + _CHUNK]


def _check(name: str, max_running: int | None, rate: Rate | None) -> None:
    place = f"limit {name[:200]!r}"
    if not LIMIT_NAME.fullmatch(name):
        expected = "executor/E, integration/P/L/NAME, integration/P/L/NAME/key or integration/P/L/NAME/key/KEY"
        raise InvalidValue(place, "no name of a limit", expected)
    if max_running is None and rate is None:
        raise InvalidValue(place, "no number", "max_running, rate or both")
    if max_running is not None and not 1 <= max_running <= MAX_RUNNING:
        raise InvalidValue(f"{place}, max_running", str(max_running), f"1 to {MAX_RUNNING:,}")
    if rate is None:
        return
    if name.startswith("integration/") and name.count("/") > 3:
        raise InvalidValue(f"{place}, rate", "a rate of a key", "a rate of the integration or of an executor")
    if not (1 <= rate.count <= MAX_RATE and 1 <= rate.period_s <= MAX_RUNNING):
        found = f"{rate.count} in {rate.period_s} s"
        raise InvalidValue(f"{place}, rate", found, f"1 to {MAX_RATE:,} starts in 1 to {MAX_RUNNING:,} s")


def _row(name: str, terms: Terms, source: LimitSource) -> dict[str, Any]:
    return {
        "name": name,
        "max_running": terms.max_running,
        "rate_count": terms.rate and terms.rate.count,
        "rate_period_s": terms.rate and terms.rate.period_s,
        "source": source.value,
    }


def _upsert(connection: sa.Connection, row: dict[str, Any], *, where: sa.ColumnElement[bool] | None = None) -> Any:
    insert: Any = sqlite_insert(limits) if connection.dialect.name == "sqlite" else postgresql_insert(limits)
    return insert.values(**row).on_conflict_do_update(
        index_elements=[limits.c.name], set_={**row, "updated_at": now()}, where=where
    )


def _forget_starts(connection: sa.Connection, name: str) -> None:
    """Without a rate, nobody asks for them any more."""
    rated = sa.select(limits.c.name).where(limits.c.name == name, limits.c.rate_count.is_not(None))
    connection.execute(sa.delete(limit_starts).where(limit_starts.c.limit_name == name, ~rated.exists()))


def _published(connection: sa.Connection, name: str) -> Iterator[tuple[dict[str, str], Mapping[str, object]]]:
    """The place and the document of the published version whose limit this is."""
    parts = name.split("/", 4)
    if parts[0] != "integration":
        return
    place = dict(zip(("project", "location", "integration"), parts[1:4], strict=True))
    which = [versions.c[column] == content for column, content in place.items()]
    published = sa.select(versions.c.document).where(*which, versions.c.state == "ACTIVE")
    for document in connection.execute(published).scalars():
        yield place, json.loads(document)


def _count(connection: sa.Connection, table: sa.Table) -> dict[str, int]:
    rows = connection.execute(sa.select(table.c.limit_name, sa.func.count()).group_by(table.c.limit_name))
    return {row.limit_name: int(row[1]) for row in rows}
