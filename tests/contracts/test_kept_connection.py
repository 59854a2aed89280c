"""The connection that a pool process or a client keeps between its statements, on PostgreSQL."""

import threading

import pytest
import sqlalchemy as sa

from orchestrator.errors import Unreachable
from orchestrator.store import database as stored_in
from tests.services import postgres_database

pytestmark = pytest.mark.services


@pytest.fixture
def keeping():
    with postgres_database() as database:
        database.keep_connection()
        yield database


def backend(database):
    with database.autocommit() as direct:
        return direct.run("SELECT pg_backend_pid()")[0][0]


def end(database, pid):
    """From a thread of its own, which has a connection of its own."""

    def terminate():
        with database.read() as connection:
            return connection.execute(sa.text("SELECT pg_terminate_backend(:pid, 5000)"), {"pid": pid}).scalar_one()

    assert in_a_thread(terminate)


def in_a_thread(look):
    found = []
    thread = threading.Thread(target=lambda: found.append(look()))
    thread.start()
    thread.join()
    return found[0]


def checked_out(database):
    return database.engine.pool.checkedout()


def test_a_thread_keeps_its_connection_until_it_does_something_else(keeping):
    first = backend(keeping)
    assert checked_out(keeping) == 1
    assert backend(keeping) == first
    with keeping.read() as connection:
        assert connection.execute(sa.text("SELECT pg_backend_pid()")).scalar_one() == first
    assert checked_out(keeping) == 0


def test_other_threads_have_connections_of_their_own_and_keep_none(keeping):
    assert backend(keeping) != in_a_thread(lambda: backend(keeping))
    assert checked_out(keeping) == 1


def test_a_kept_connection_that_broke_is_said_to_be_away_once(keeping):
    end(keeping, backend(keeping))
    with pytest.raises(Unreachable):
        backend(keeping)
    assert checked_out(keeping) == 0
    assert backend(keeping)


def test_one_that_broke_while_nobody_used_it_is_replaced(keeping, monkeypatch):
    ended = backend(keeping)
    end(keeping, ended)
    monkeypatch.setattr(stored_in, "_PAUSE_S", 0.0)
    assert backend(keeping) != ended


def test_one_that_broke_is_no_harm_to_what_comes_next(keeping, monkeypatch):
    ended = backend(keeping)
    end(keeping, ended)
    monkeypatch.setattr(stored_in, "_PAUSE_S", 0.0)
    with keeping.read() as connection:
        assert connection.execute(sa.text("SELECT pg_backend_pid()")).scalar_one() != ended


def test_a_statement_that_fails_leaves_the_connection_to_the_next(keeping):
    first = backend(keeping)
    with pytest.raises(Exception, match="division by zero"), keeping.autocommit() as direct:
        direct.run("SELECT 1 / 0")
    assert backend(keeping) == first


@pytest.mark.parametrize("somewhere", [lambda close: close(), in_a_thread], ids=["here", "by another thread"])
def test_it_is_closed_with_the_database(keeping, somewhere):
    backend(keeping)
    somewhere(keeping.close)
    assert checked_out(keeping) == 0
