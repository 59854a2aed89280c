"""Inserting many rows with one statement comes to the same as inserting them one by one."""

from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa

from orchestrator.store import inserts
from orchestrator.store.executions import ExecutionStore
from orchestrator.store.inserts import insert_rows
from orchestrator.store.tables import executions, history, parameters, timers
from tests.contracts.stored import NOON, make_execution, publish


@pytest.fixture
def ids(database):
    """Three executions without anything of their own."""
    version_id = publish(database)
    new = [make_execution(version_id, id=name, ready=()) for name in ("a", "b", "c")]
    ExecutionStore(database).create(new)
    return [each.id for each in new]


def insert(database, table, rows):
    with database.begin() as connection:
        insert_rows(connection, table, rows)
    columns = [column for column in table.columns if column.computed is None]
    with database.read() as connection:
        return [row._asdict() for row in connection.execute(sa.select(*columns).order_by(*table.primary_key))]


def test_no_rows_are_no_statement(database):
    assert insert(database, history, []) == []


@pytest.mark.parametrize("text", ['"\\u0000"', '"\\ud800"', "it's", '{"a":[1,null]}', "", "null", "ä€😀", "%(x)s :y ?"])
def test_text_comes_back_as_it_went_in(database, ids, text):
    rows = [{"execution_id": each, "key": "k", "value": f"{text}{i}"} for i, each in enumerate(ids)]

    assert insert(database, parameters, rows) == rows


def test_what_all_rows_have_in_common_is_in_all_of_them(database, ids):
    rows = [{"execution_id": each, "revision": 7, "entry": "{}"} for each in ids]

    assert insert(database, history, rows) == rows


def test_times_may_differ_or_be_missing(database, ids):
    soon = NOON + timedelta(microseconds=1)
    common = {"task_number": 0, "attempt": 0, "kind": "START", "due_at": NOON}
    rows = [
        common | {"execution_id": each, "due_at": due_at, "taken_until": taken_until}
        for each, due_at, taken_until in zip(ids, (NOON, soon, NOON), (None, None, soon), strict=True)
    ]

    assert insert(database, timers, rows) == rows


def test_numbers_flags_and_nulls_keep_their_types(database, ids):
    row = next(row for row in insert(database, executions, []) if row["id"] == ids[0])
    made = [
        row | {"id": "x", "priority": 0, "is_limited": True, "parent_id": None, "position": None},
        row | {"id": "y", "priority": 9, "is_limited": False, "parent_id": "x", "position": 2**31 - 1},
        row | {"id": "z", "created_at": datetime(2020, 1, 1, tzinfo=UTC)},
    ]

    assert insert(database, executions, made)[3:] == made


def test_rows_that_are_too_long_for_one_document_go_into_several(database, ids, monkeypatch):
    monkeypatch.setattr(inserts, "_MOST_CHARACTERS", 100)
    rows = [{"execution_id": each, "revision": i, "entry": "x" * 60} for each in ids for i in range(1, 4)]

    assert insert(database, history, rows) == rows


def test_a_deadline_is_counted_from_the_moment_that_the_row_says(database):
    new = make_execution(publish(database), deadline_s=60.0)

    ExecutionStore(database).create([new])

    with database.read() as connection:
        row = connection.execute(sa.select(executions).where(executions.c.id == new.id)).one()
    assert row.deadline_at - row.created_at == timedelta(seconds=60)
