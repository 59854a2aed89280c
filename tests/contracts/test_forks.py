"""Forks of a process with an open SQLite database: the child finds nothing locked, and has nothing of its parent's."""

import subprocess
import sys
import textwrap

import pytest

LIMIT_S = 60

BEGIN = """
import os, sys, threading
import sqlalchemy as sa
from pathlib import Path
from orchestrator.store.database import Database

path = sys.argv[1]
database = Database(f"sqlite:///{path}")

def write(number):
    with database.begin() as connection:
        connection.execute(sa.text(f"INSERT INTO notes VALUES ({number})"))

def notes():
    with database.read() as connection:
        return sorted(connection.execute(sa.text("SELECT number FROM notes")).scalars())

def fork(child):
    pid = os.fork()
    if pid == 0:
        try:
            database.after_fork()
            child()
        except BaseException as error:
            print(type(error).__name__, error, flush=True)
            os._exit(1)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

with database.begin() as connection:
    connection.execute(sa.text("CREATE TABLE notes (number INTEGER)"))
"""


@pytest.fixture
def said(tmp_path):
    def run(script):
        code = BEGIN + textwrap.dedent(script)
        command = [sys.executable, "-c", code, str(tmp_path / "fork.db")]
        ended = subprocess.run(command, check=False, capture_output=True, text=True, timeout=LIMIT_S)
        assert ended.returncode == 0, ended.stderr
        return ended.stdout.splitlines()

    return run


@pytest.mark.parametrize("kind", ["begin", "read"])
def test_a_child_that_is_forked_amid_the_transaction_of_another_thread_can_write(said, kind):
    """SQLite keeps locks in memory; a copy of one that is held is never let go."""
    script = f"""
    inside, go_on = threading.Event(), threading.Event()

    def hold():
        with database.{kind}() as connection:
            connection.execute(sa.text("SELECT * FROM notes"))
            inside.set()
            go_on.wait()

    thread = threading.Thread(target=hold)
    thread.start()
    inside.wait()
    threading.Timer(0.2, go_on.set).start()
    print(fork(lambda: write(1)))
    thread.join()
    write(2)
    print(notes())
    """

    assert said(script) == ["0", "[1, 2]"]


def test_a_fork_within_a_transaction_of_its_own_thread_does_not_wait_for_its_end(said):
    script = """
    with database.begin() as connection:
        connection.execute(sa.text("INSERT INTO notes VALUES (1)"))
        pid = os.fork()
        if pid == 0:
            os._exit(0)
        os.waitpid(pid, 0)
    print(notes())
    """

    assert said(script) == ["[1]"]


def test_a_child_has_no_open_file_of_its_parents_database(said):
    """It would hold locks that it only believes in, or let the last one go that its parent relies on."""
    script = """
    def opened():
        found = (os.path.realpath(each) for each in Path("/proc/self/fd").iterdir())
        print(sum(each.startswith(os.path.realpath(path)) for each in found), flush=True)

    write(1)
    print(fork(opened))
    write(2)
    print(notes())
    """

    assert said(script) == ["0", "0", "[1, 2]"]


def test_threads_that_write_and_a_process_that_forks_again_and_again_do_not_wait_for_ever(said):
    script = """
    def write_many(first):
        for number in range(first, first + 50):
            write(number)

    threads = [threading.Thread(target=write_many, args=(first,)) for first in (0, 1000, 2000)]
    for thread in threads:
        thread.start()
    print({fork(lambda: write(5000 + number)) for number in range(20)})
    for thread in threads:
        thread.join()
    print(len(notes()))
    """

    assert said(script) == ["{0}", "170"]
