"""The schema: migrations make the tables that the code knows, whoever runs them, and how often."""

import re
import sqlite3
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from orchestrator.errors import SchemaOutdated, Unreachable
from orchestrator.store import database as stored_in
from orchestrator.store.database import Database
from orchestrator.store.migrate import alembic_config
from orchestrator.store.tables import celery_results, metadata, versions
from tests.contracts.stored import at_once, rows_of
from tests.services import postgres_url

UPGRADE = """
import sys
import threading
from orchestrator.store.database import Database
database = Database(sys.argv[1])
print("ready", flush=True)
sys.stdin.readline()
database.upgrade()
database.check_schema()
database.close()
"""


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.services)])
def empty_url(request, tmp_path):
    """Of a database without a schema."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/empty.db"
    else:
        with postgres_url() as url:
            yield url


@pytest.fixture
def empty(empty_url):
    with closing(Database(empty_url)) as database:
        yield database


def shape_of(database):
    """Every table with all that the database says of it."""
    looks = ("get_columns", "get_pk_constraint", "get_foreign_keys", "get_indexes", "get_unique_constraints")
    with database.read() as connection:
        inspector = sa.inspect(connection)
        names = set(inspector.get_table_names()) - {"alembic_version"}
        return {name: {look: without_addresses(getattr(inspector, look)(name)) for look in looks} for name in names}


def without_addresses(found):
    """The condition of a partial index has no repr of its own."""
    return re.sub(r" at 0x[0-9a-f]+", "", repr(found))


def but_foreign_keys(item, name, kind, *_):
    """Autogenerate does not know that a constraint may be that of one kind of server; the next test compares them."""
    return kind != "foreign_key_constraint"


def test_migrations_make_the_tables_that_the_code_knows(database):
    with database.begin() as connection:
        options = {"compare_type": True, "compare_server_default": False, "include_object": but_foreign_keys}
        context = MigrationContext.configure(connection, opts=options)

        assert compare_metadata(context, metadata) == []


def test_migrated_tables_have_the_columns_keys_and_defaults_that_the_code_would_give_them(empty):
    """Autogenerate does not look at all of it."""
    with empty.begin() as connection:
        metadata.create_all(connection)
    expected = shape_of(empty)
    with empty.begin() as connection:
        metadata.drop_all(connection)

    empty.upgrade()

    assert shape_of(empty) == expected


def test_an_upgrade_makes_the_folder_of_the_file(tmp_path):
    with closing(Database(f"sqlite:///{tmp_path}/new/folder/test.db")) as database:
        database.upgrade()

        database.check_schema()


def test_a_second_upgrade_changes_nothing(database):
    before = database.schema_version(), shape_of(database), rows_of(database)

    database.upgrade()

    assert (database.schema_version(), shape_of(database), rows_of(database)) == before


def test_processes_that_upgrade_at_the_same_time_make_one_schema(empty_url):
    command = [sys.executable, "-W", "error", "-c", UPGRADE, empty_url]
    processes = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    assert [process.stdout.readline() for process in processes] == ["ready\n"] * 3

    with ThreadPoolExecutor(3) as pool:
        said = list(pool.map(lambda process: process.communicate("go\n", timeout=60)[1], processes))

    assert said == [""] * 3
    assert [process.returncode for process in processes] == [0] * 3


def test_threads_that_open_a_new_database_at_the_same_time_make_one_schema(empty_url):
    for _ in range(3):
        databases = [Database(empty_url) for _ in range(4)]
        at_once(*(database.upgrade for database in databases))

        for database in databases:
            database.check_schema()
            database.close()


def test_a_database_without_a_schema_is_refused_with_the_remedy(empty):
    with pytest.raises(SchemaOutdated, match=r"empty.*orchestrator db upgrade"):
        empty.check_schema()


def test_a_schema_of_another_version_is_refused(database):
    with database.begin() as connection:
        connection.execute(sa.text("UPDATE alembic_version SET version_num = '9999'"))

    with pytest.raises(SchemaOutdated, match="9999"):
        database.check_schema()


def test_the_version_that_is_expected_is_the_head_of_the_migrations(database):
    assert database.schema_version() == ScriptDirectory.from_config(alembic_config()).get_current_head()


def test_migrations_can_be_undone(database):
    with database.begin() as connection:
        command.downgrade(alembic_config(connection), "base")

    with database.read() as connection:
        assert sa.inspect(connection).get_table_names() == ["alembic_version"]


def test_a_file_that_cannot_be_opened_is_said_to_be_unreachable():
    with pytest.raises(Unreachable, match="the database at sqlite:////nowhere/test"):
        Database("sqlite:////nowhere/test.db").schema_version()


def test_a_server_that_is_away_is_said_to_be_unreachable_without_its_password():
    with pytest.raises(Unreachable) as caught:
        Database("postgresql+psycopg://somebody:secret@127.0.0.1:1/test").schema_version()

    assert "secret" not in str(caught.value)


def test_a_transaction_that_only_reads_is_not_blocked_by_one_that_writes(database):
    with database.begin() as writer:
        writer.execute(
            sa.insert(versions).values(
                id="v",
                project="p",
                location="l",
                integration="i",
                snapshot_number=1,
                state="DRAFT",
                digest="",
                document="",
            )
        )

        with database.read() as reader:
            assert reader.execute(sa.select(versions)).all() == []


def test_a_reader_cannot_hold_up_a_writer(database):
    with database.read() as reader:
        reader.execute(sa.select(versions)).all()

        with database.begin() as writer:
            writer.execute(sa.text("UPDATE versions SET state = state"))


def test_a_new_file_that_another_process_is_writing_is_waited_for(tmp_path):
    """SQLite's busy timeout does not hold for the switch to WAL, so first users at the same time would fail."""
    with closing(sqlite3.connect(tmp_path / "test.db", isolation_level=None, check_same_thread=False)) as other:
        other.execute("BEGIN IMMEDIATE")
        other.execute("CREATE TABLE theirs (a)")
        ended = threading.Timer(0.2, other.execute, ("COMMIT",))
        ended.start()

        with closing(Database(f"sqlite:///{tmp_path}/test.db")) as database:
            database.upgrade()
            database.check_schema()
        ended.join()


@pytest.mark.services
def test_a_connection_that_broke_while_nobody_used_it_is_replaced(monkeypatch):
    """As after a restart of the server."""
    monkeypatch.setattr(stored_in, "_PAUSE_S", 0.0)
    with postgres_url() as url, closing(Database(url)) as database, closing(Database(url)) as other:
        with database.read() as connection:
            pid = connection.execute(sa.text("SELECT pg_backend_pid()")).scalar_one()
        with other.read() as connection:
            ended = connection.execute(sa.text("SELECT pg_terminate_backend(:pid, 5000)"), {"pid": pid}).scalar_one()

        with database.read() as connection:
            assert ended
            assert connection.execute(sa.text("SELECT pg_backend_pid()")).scalar_one() != pid


def test_a_transaction_need_not_wait_for_the_disk(database):
    with database.begin(is_durable=False) as connection:
        connection.execute(sa.insert(celery_results).values(task_id="a", status="SUCCESS", meta="{}"))
        if not database.is_sqlite:
            assert connection.execute(sa.text("SHOW synchronous_commit")).scalar_one() == "off"

    with database.begin() as connection:
        assert connection.execute(sa.select(celery_results.c.task_id)).scalar_one() == "a"
        if not database.is_sqlite:
            assert connection.execute(sa.text("SHOW synchronous_commit")).scalar_one() == "on"
