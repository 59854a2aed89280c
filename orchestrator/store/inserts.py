"""Inserting many rows into one table with one statement: a JSON document, which the database takes apart.

A statement for each row, prepared and in a pipeline as it may be, takes twice as long on PostgreSQL and three times on
SQLite; a VALUES list of thousands of parameters ten times. COPY is as quick as this, and PostgreSQL's alone. What all
rows have in common, as executions of one integration have most columns, is handed over and read once.

What must not happen: a column that differs from row to row and is neither JSON nor a time.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

import sqlalchemy as sa

from orchestrator.model.json_text import to_json_text

_MOST_CHARACTERS: Final = 8_000_000  # of one document: SQLite takes a billion, but nobody should have to hold them


def insert_rows(connection: sa.Connection, table: sa.Table, rows: Sequence[Mapping[str, Any]]) -> None:
    """Insert rows, all of which name the same columns."""
    at_one_time: dict[tuple[Any, ...], list[Mapping[str, Any]]] = {}  # a time is no JSON, and few of them differ
    for row in rows:
        times = tuple(value if isinstance(value, datetime) else None for value in row.values())
        at_one_time.setdefault(times, []).append(row)
    for each in at_one_time.values():
        _insert(connection, table, each)


def _insert(connection: sa.Connection, table: sa.Table, rows: Sequence[Mapping[str, Any]]) -> None:
    if len(rows) == 1:
        connection.execute(_of_one(table), [*rows])
        return
    first = rows[0]
    differing = tuple(name for name in first if any(row[name] != first[name] for row in rows))
    # A column that is None in all rows is left out: it is NULL by itself.
    common = {name: value for name, value in first.items() if name not in differing and value is not None}
    statement = _statement(connection.dialect.name, table, differing, tuple(common))
    values = {f"b_{name}": value for name, value in common.items()}
    for document in _documents({name: row[name] for name in differing} for row in rows):
        connection.execute(statement, values | {"b_rows": document})


@functools.cache
def _of_one(table: sa.Table) -> sa.Insert:
    return sa.insert(table)


@functools.lru_cache(maxsize=64)
def _statement(dialect: str, table: sa.Table, differing: tuple[str, ...], common: tuple[str, ...]) -> sa.Insert:
    rows = sa.bindparam("b_rows", type_=sa.Text)
    own: list[sa.ColumnElement[Any]]
    if dialect == "sqlite":
        source = sa.func.json_each(rows).table_valued("value")
        own = [sa.func.json_extract(source.c.value, f"$.{name}") for name in differing]
    else:
        columns = [sa.column(name, table.c[name].type) for name in differing]
        source = sa.func.json_to_recordset(sa.cast(rows, sa.JSON)).table_valued(*columns)
        source = source.render_derived(name="given", with_types=True)
        own = [*source.c]
    shared = [sa.bindparam(f"b_{name}", type_=table.c[name].type) for name in common]
    return sa.insert(table).from_select([*differing, *common], sa.select(*own, *shared).select_from(source))


def _documents(rows: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """The rows as JSON arrays, no longer than they have to be."""
    texts: list[str] = []
    size = 0
    for text in map(to_json_text, rows):
        if texts and size + len(text) > _MOST_CHARACTERS:
            yield f"[{','.join(texts)}]"
            texts, size = [], 0
        texts.append(text)
        size += len(text)
    yield f"[{','.join(texts)}]"
