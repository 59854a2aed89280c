"""Statements that SQLite runs without SQLAlchemy around them: the same answers, the same errors."""

from datetime import UTC, datetime

import pytest
import sqlalchemy as sa

from orchestrator.store.database import Database
from orchestrator.store.quick import quick
from orchestrator.store.tables import Instant, now, texts_of

metadata = sa.MetaData()
things = sa.Table(
    "things",
    metadata,
    sa.Column("id", sa.String, primary_key=True),
    sa.Column("number", sa.Integer),
    sa.Column("is_good", sa.Boolean),
    sa.Column("at", Instant, server_default=now()),
)
INSERT = sa.insert(things)
READ = sa.select(things).where(things.c.id == sa.bindparam("b_id"))
READ_SOME = sa.select(things).where(things.c.id.in_(texts_of("b_ids"))).order_by(things.c.id)
READ_NUMBERS = sa.select(things.c.id).where(things.c.number.in_(sa.bindparam("b_numbers", expanding=True)))
RAISE = (
    sa.update(things)
    .where(things.c.id == sa.bindparam("b_id"))
    .values(number=things.c.number + 1, is_good=True)
    .returning(things.c.number, things.c.is_good)
)
DELETE = sa.delete(things).where(things.c.id == sa.bindparam("b_id"))
AT = datetime(2030, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
THREE_TIMES = range(3)  # the first time is SQLAlchemy's, the second compiles, the third has it


@pytest.fixture
def database(tmp_path):
    database = Database(f"sqlite:///{tmp_path / 'quick.db'}")
    with database.begin() as connection:
        metadata.create_all(connection)
    yield database
    database.close()


@pytest.fixture
def connection(database):
    with database.begin() as connection:
        yield quick(connection)


def thing(id_, **more):
    return {"id": id_, "number": 1, "is_good": False, "at": AT} | more


def test_what_is_written_is_read_as_ever(database, connection):
    for each in THREE_TIMES:
        assert connection.execute(INSERT, thing(f"t{each}")).rowcount == 1
    for _ in THREE_TIMES:
        row = connection.execute(READ, {"b_id": "t2"}).one()
        assert (row.id, row.number, row.is_good, row.at) == ("t2", 1, False, AT)
        assert [tuple(each) for each in connection.execute(READ_SOME, {"b_ids": ["t0", "t2"]})] == [
            ("t0", 1, False, AT),
            ("t2", 1, False, AT),
        ]


def test_what_a_statement_has_by_itself_and_what_it_returns(connection):
    connection.execute(INSERT, thing("t"))
    for expected in (2, 3, 4):
        row = connection.execute(RAISE, {"b_id": "t"}).one_or_none()
        assert (row.number, row.is_good) == (expected, True)
        assert connection.execute(RAISE, {"b_id": "none"}).one_or_none() is None


def test_columns_that_are_not_named_have_their_default(connection):
    for each in THREE_TIMES:
        connection.execute(INSERT, {"id": f"t{each}"})
        row = connection.execute(READ, {"b_id": f"t{each}"}).one()
        assert (row.number, row.is_good) == (None, None)
        assert row.at.tzinfo is UTC
        connection.execute(INSERT, thing(f"u{each}"))  # another shape of the same statement
        assert connection.execute(READ, {"b_id": f"u{each}"}).one().number == 1


def test_many_rows_are_counted_together(connection):
    for each in THREE_TIMES:
        ids = [f"{each}-{index}" for index in range(4)]
        connection.execute(INSERT, [thing(id_) for id_ in ids])
        assert connection.execute(DELETE, [{"b_id": id_} for id_ in [*ids, "none"]]).rowcount == 4


def test_a_text_that_depends_on_the_parameters_goes_the_long_way(connection):
    connection.execute(INSERT, thing("t", number=7))
    for numbers in ([7], [7, 8], [9], [7]):
        found = connection.execute(READ_NUMBERS, {"b_numbers": numbers}).all()
        assert len(found) == (7 in numbers)


def test_a_result_of_several_rows_is_not_one(connection):
    for each in THREE_TIMES:
        connection.execute(INSERT, thing(f"t{each}"))
    every = sa.select(things)
    for _ in THREE_TIMES:
        with pytest.raises(sa.exc.MultipleResultsFound):
            connection.execute(every).one_or_none()
        with pytest.raises(sa.exc.NoResultFound):
            connection.execute(READ, {"b_id": "none"}).one()


def test_its_errors_are_those_of_sqlalchemy(connection):
    connection.execute(INSERT, thing("t"))
    for _ in THREE_TIMES:
        with pytest.raises(sa.exc.IntegrityError) as caught:
            connection.execute(INSERT, thing("t"))
        assert caught.value.orig.sqlite_errorname == "SQLITE_CONSTRAINT_PRIMARYKEY"


def test_who_listens_hears_of_every_statement(database):
    heard = []
    sa.event.listen(database.engine, "before_cursor_execute", lambda *what: heard.append(what[2]))
    with database.begin() as connection:
        for _ in THREE_TIMES:
            quick(connection).execute(READ, {"b_id": "t"})
    assert sum(each.startswith("SELECT") for each in heard) == 3
