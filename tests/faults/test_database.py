"""Faults of the database: it restarts, ends sessions, answers late or never, is locked, applies and does not say so."""

import os
import sqlite3
import time
import uuid
from contextlib import closing

import pytest
import sqlalchemy as sa

from orchestrator.errors import Unreachable
from orchestrator.model.states import ExecutionState
from orchestrator.store.tables import later, now, workers
from tests.faults.flows import chain, fan_out, held
from tests.faults.proxy import TO_CLIENT, Proxy
from tests.faults.rig import running_rig
from tests.flows import flow
from tests.integration.waiting import until

pytestmark = pytest.mark.services

LOCKED_S = 1.0  # nothing tells that SQLite waits for a lock


@pytest.fixture(scope="module")
def database_name(postgres_server):
    return postgres_server.new_database()


@pytest.fixture(scope="module")
def module_rig(tmp_path_factory, redis_server, postgres_server, database_name):
    url = postgres_server.url(database_name)
    with running_rig(tmp_path_factory.mktemp("rig"), broker_url=redis_server.url(), database_url=url) as rig:
        yield rig


@pytest.fixture
def rig(module_rig):
    """With one worker of two processes; what a test leaves comes to its end, and the books are right."""
    if not module_rig.workers:
        module_rig.start_worker().wait_until_ready()
    module_rig.supervise()
    yield module_rig
    module_rig.check()


@pytest.fixture
def label():
    return uuid.uuid4().hex[:8]


@pytest.fixture
def link(rig, postgres_server, database_name):
    """A worker that reaches the database through a proxy, and no other one."""
    rig.dismiss_all()
    with Proxy(postgres_server.port) as proxy:
        rig.start_worker(database_url=postgres_server.url(database_name, proxy.port)).wait_until_ready()
        yield proxy
        proxy.let_pass()
        rig.dismiss_all()


def load(rig, count=6):
    """Executions that go on for some seconds."""
    before = len(rig.ledger.lines())
    ids = [rig.submit(chain(rig, "load", 4, does="sleep:0.1")) for _ in range(count)]
    until(lambda: len(rig.ledger.lines()) >= before + 4, what="some effects")
    return ids


# -- PostgreSQL ends and comes back --------------------------------------------------------------------------------


def test_a_postgresql_that_crashes_under_load_undoes_nothing_that_was_answered(rig, postgres_server):
    rig.claims_may_vanish = True
    ids = load(rig)

    for _ in range(3):
        postgres_server.stop_at_once()
        postgres_server.start()
    states = {rig.wait(each, supervised=False).state for each in ids}

    assert states == {ExecutionState.SUCCEEDED}


def test_sessions_that_end_do_not_fail_a_task_nor_the_next_one(rig, postgres_server, database_name):
    ids = load(rig)

    for _ in range(5):
        postgres_server.cut_connections(database_name)
    states = {rig.wait(each, supervised=False).state for each in ids}

    assert states == {ExecutionState.SUCCEEDED}


@pytest.mark.parametrize("point", ["claim.committed", "commit.before", "commit.inside", "commit.after"])
def test_a_session_that_ends_around_a_commit_loses_and_doubles_nothing(
    rig, postgres_server, database_name, tmp_path, point
):
    rig.dismiss_all()
    fifo = tmp_path / "gate"
    os.mkfifo(fifo)
    rig.start_worker(failpoints=f"{point}=block:{fifo}@2").wait_until_ready()
    execution_id = rig.submit(fan_out(rig, "cut", 3))

    until(fifo.with_name("gate.waiting").exists, what="a process at the point")
    postgres_server.cut_connections(database_name)
    os.close(os.open(fifo, os.O_WRONLY))
    execution = rig.wait(execution_id, supervised=False)

    assert execution.state is ExecutionState.SUCCEEDED


def test_a_commit_that_was_applied_and_not_answered_has_one_effect(rig, link, tmp_path, postgres_server, database_name):
    """The answer to COMMIT is lost on its way, and the connection with it."""
    rig.dismiss_all()
    fifo = tmp_path / "gate"
    os.mkfifo(fifo)
    through = postgres_server.url(database_name, link.port)
    rig.start_worker(database_url=through, failpoints=f"commit.inside=block:{fifo}@1").wait_until_ready()
    execution_id = rig.submit(chain(rig, "unanswered", 2))
    until(fifo.with_name("gate.waiting").exists, what="a process at the point")

    link.hold(TO_CLIENT)
    os.close(os.open(fifo, os.O_WRONLY))
    until(lambda: rig.kinds(execution_id, 1), what="the commit")
    link.reset()
    link.let_pass()
    execution = rig.wait(execution_id, supervised=False)

    assert execution.state is ExecutionState.SUCCEEDED
    assert rig.kinds(execution_id) == ["task succeeded"] * 2


# -- the way to it -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["reset", "half_close", "hold"])
def test_a_worker_that_is_cut_off_from_its_database_keeps_what_it_has_until_it_can_write(rig, link, label, how):
    execution_id = rig.submit(held(rig, "cut-off", label))
    rig.ledger.wait_for(label)

    getattr(link, how)()
    rig.ledger.let_go(label)
    if how == "hold":
        until(lambda: link.connections, what="a connection")
        link.let_pass()
    execution = rig.wait(execution_id, supervised=False)

    assert execution.state is ExecutionState.SUCCEEDED
    assert len(rig.ledger.lines(label)) == 1


def test_what_a_worker_elsewhere_runs_goes_to_another_when_it_is_cut_off_for_long(
    rig, postgres_server, database_name, label
):
    rig.dismiss_all()
    with Proxy(postgres_server.port) as proxy:
        url = postgres_server.url(database_name, proxy.port)
        rig.start_worker(database_url=url, is_elsewhere=True).wait_until_ready()
        execution_id = rig.submit(held(rig, "alone", label))
        first = rig.ledger.wait_for(label)
        rig.start_worker().wait_until_ready()

        proxy.refuse()
        second = rig.ledger.wait_for(label, tries=2)
        proxy.let_pass()
        rig.ledger.let_go(label)
        execution = rig.wait(execution_id)
        rig.dismiss_all()

    assert execution.state is ExecutionState.SUCCEEDED
    assert first.attempt == second.attempt
    assert rig.kinds(execution_id, 1)[:2] == ["attempt returned", "task succeeded"]  # the first one's comes late


def test_a_slow_database_slows_work_down_and_takes_none_away(rig, link, label):
    execution_id = rig.submit(chain(rig, "slow", 3))

    link.slow(0.1)
    execution = rig.wait(execution_id, supervised=False)

    assert execution.state is ExecutionState.SUCCEEDED
    assert "attempt returned" not in rig.kinds(execution_id)


def test_after_an_outage_for_everybody_nobody_is_taken_for_dead(rig, postgres_server, label):
    """All heartbeats are old when the database comes back, and none of them says anything."""
    rig.dismiss_all()
    ((began_at,),) = rig.rows(sa.select(now()))
    for _ in range(2):
        rig.start_worker(is_elsewhere=True).wait_until_ready()
    execution_id = rig.submit(fan_out(rig, f"outage-{label}", 4, does="hold"))
    rig.ledger.wait_for(f"outage-{label}-child", tries=4)
    of_both = workers.c.started_at >= began_at

    postgres_server.stop()
    postgres_server.start()
    rig.rows(sa.select(now()))  # connected anew
    with rig.database.begin() as connection:  # as if ten minutes had passed
        connection.execute(sa.update(workers).where(of_both).values(beat_at=later(-600.0)))
    is_silent = sa.select(workers.c.id).where(of_both, workers.c.beat_at < later(-60.0))
    until(lambda: not rig.rows(is_silent), what="a beat of each")
    rig.ledger.let_go(f"outage-{label}-child")
    execution = rig.wait(execution_id, supervised=False)

    assert execution.state is ExecutionState.SUCCEEDED
    assert len(rig.ledger.lines(f"outage-{label}-child")) == 4


def test_a_client_is_told_that_the_database_is_away_and_can_ask_again_with_the_same_id(rig, postgres_server, label):
    definition = flow("again", rig.ledger.task(1, label=label))
    rig.client.publish(definition)

    postgres_server.stop_at_once()
    with pytest.raises(Unreachable, match="database"):
        rig.client.submit("again", executor=rig.executor, request_id=label)
    postgres_server.start()
    first = rig.submit("again", request_id=label)
    second = rig.submit("again", request_id=label)

    assert first == second
    assert rig.wait(first).state is ExecutionState.SUCCEEDED
    assert len(rig.ledger.lines(label)) == 1


# -- SQLite --------------------------------------------------------------------------------------------------------


def test_a_sqlite_file_that_another_process_locks_is_waited_for(sqlite_rig, sqlite_url, label):
    rig = sqlite_rig
    rig.start_worker().wait_until_ready()
    execution_id = rig.submit(held(rig, "locked", label))
    rig.ledger.wait_for(label)

    with closing(sqlite3.connect(sqlite_url.removeprefix("sqlite:///"), isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        rig.ledger.let_go(label)
        time.sleep(LOCKED_S)
        kinds = rig.kinds(execution_id)
        connection.execute("ROLLBACK")
    execution = rig.wait(execution_id, supervised=False)

    assert kinds == []
    assert execution.state is ExecutionState.SUCCEEDED
    rig.check()
