"""KILL under faults: who hears it dies, stops or is cut off, and nothing that a task has started is left."""

import os
import signal
import uuid
from contextlib import suppress
from pathlib import Path

import pytest
import sqlalchemy as sa

from orchestrator.model.states import ExecutionState
from orchestrator.runtime.identity import began, machine
from orchestrator.service.control import ExecutionOver
from orchestrator.store.executions import ExecutionStore
from orchestrator.store.kinds import AttemptKey
from orchestrator.store.tables import workers
from orchestrator.store.workers import Boot, WorkerStore
from tests.faults.flows import RETRIED, held
from tests.faults.proxy import Proxy
from tests.faults.workers import children
from tests.flows import flow, task
from tests.integration.processes import still_alive, tagged
from tests.integration.waiting import until

pytestmark = pytest.mark.services

CANCELLED = [ExecutionState.CANCELLED]


@pytest.fixture
def rig(sqlite_rig):
    """With one worker of two processes; what a test leaves comes to its end, and the books are right."""
    if not sqlite_rig.workers:
        sqlite_rig.start_worker().wait_until_ready()
    sqlite_rig.supervise()
    yield sqlite_rig
    sqlite_rig.check()


@pytest.fixture
def label():
    return uuid.uuid4().hex[:8]


# -- a KILL and another fault at the same time ---------------------------------------------------------------------


def test_a_kill_outlives_the_worker_that_was_to_obey_it(rig, label):
    execution_id = rig.submit(held(rig, "orphaned", label), ends=CANCELLED)
    rig.ledger.wait_for(label)

    rig.client.kill(execution_id)
    rig.workers[0].kill()
    execution = rig.wait(execution_id)

    assert execution.state is ExecutionState.CANCELLED
    assert len(rig.ledger.lines(label)) == 1


def test_a_kill_reaches_what_a_stopping_worker_still_runs(rig, label):
    worker = rig.workers[0]
    execution_id = rig.submit(held(rig, "stopping", label), ends=CANCELLED)
    rig.ledger.wait_for(label)

    worker.tell(signal.SIGTERM)
    rig.client.kill(execution_id)
    execution = rig.wait(execution_id)

    assert execution.state is ExecutionState.CANCELLED
    assert len(rig.ledger.lines(label)) == 1


def test_a_kill_needs_no_broker(rig, redis_server, label):
    rig.dismiss_all()
    with Proxy(redis_server.port) as proxy:
        rig.start_worker(broker_url=redis_server.url(proxy.port)).wait_until_ready()
        execution_id = rig.submit(held(rig, "no-broker", label), ends=CANCELLED)
        rig.ledger.wait_for(label)

        proxy.refuse()
        rig.client.kill(execution_id)
        execution = rig.wait(execution_id, supervised=False)
        proxy.let_pass()
        rig.dismiss_all()

    assert execution.state is ExecutionState.CANCELLED


def test_a_kill_of_what_waits_for_a_message_that_is_lost_ends_it_at_once(rig, redis_server, label):
    blocked = [rig.submit(held(rig, "blocking", label)) for _ in range(2)]
    rig.ledger.wait_for(label, tries=2)
    waiting = rig.submit(flow("waiting", rig.ledger.task(1)), ends=CANCELLED)
    with redis_server.client() as client:
        client.flushall()

    assert rig.client.kill(waiting).state is ExecutionState.CANCELLED
    rig.ledger.let_go(label)
    assert {rig.wait(each).state for each in blocked} == {ExecutionState.SUCCEEDED}


# -- late results --------------------------------------------------------------------------------------------------


def test_code_that_does_not_let_go_is_ended_with_its_process_and_its_result_never_counts(rig, label):
    definition = flow("late", rig.ledger.task(1, "late", label=label, next=[2]), rig.ledger.task(2, label=f"{label}-2"))
    execution_id = rig.submit(definition, ends=CANCELLED)
    line = rig.ledger.wait_for(label)

    rig.client.kill(execution_id)
    execution = rig.wait(execution_id)

    assert execution.state is ExecutionState.CANCELLED
    assert still_alive([line.pid]) == []
    assert rig.ledger.lines(f"{label}-2") == []


def test_code_that_goes_on_after_its_timeout_is_ended_and_the_next_attempt_counts(rig, label):
    config = {"timeoutMs": 300, **RETRIED}
    execution_id = rig.submit(flow("overdue", rig.ledger.task(1, "late", label=label, **config)))
    first = rig.ledger.wait_for(label)
    rig.ledger.wait_for(label, tries=2)

    rig.ledger.let_go(label)
    execution = rig.wait(execution_id)

    assert execution.state is ExecutionState.SUCCEEDED
    assert first.attempt == 1
    assert rig.kinds(execution_id, 1)[-1] == "task succeeded"


# -- what a task has started ---------------------------------------------------------------------------------------


@pytest.fixture
def seconds():
    """A time that no other process of this machine sleeps for: by it those of a test are found."""
    return f"600.{uuid.uuid4().int % 10**8:08}"


def sleeping(seconds):
    found = [pid for pid in tagged(seconds) if read_command(pid).startswith(b"sleep\0")]
    return found if len(found) > 1 else []


def read_command(pid):
    with suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    return b""


@pytest.fixture
def running(rig, seconds):
    """An execution that runs a command, and what that has started: a child, and one in a session of its own."""
    command = ["sh", "-c", f"setsid sleep {seconds} & sleep {seconds}"]
    document = flow("command", task(1, "CommandTask", takes={"command": command}))
    execution_id = rig.submit(document, ends=CANCELLED)
    yield execution_id, until(lambda: sleeping(seconds), what="two processes")
    with suppress(ExecutionOver):
        rig.client.kill(execution_id)
    rig.wait(execution_id)
    assert sleeping(seconds) == []


def pool_process(rig):
    """The one that runs something."""
    (row,) = [row for row in rig.live() if row.worker]
    return int(row.worker.split("/")[1])


def test_what_a_killed_task_has_started_is_gone_when_it_is_cancelled(rig, running):
    execution_id, started = running

    rig.client.kill(execution_id)
    execution = rig.wait(execution_id)

    assert execution.state is ExecutionState.CANCELLED
    assert still_alive(started, within_s=0) == []


@pytest.mark.parametrize("killed", ["process of the pool", "worker", "shim"])
def test_what_a_task_has_started_is_gone_with_whoever_supervised_it(rig, running, killed):
    _, started = running

    match killed:
        case "process of the pool":
            os.kill(pool_process(rig), signal.SIGKILL)
        case "worker":
            rig.workers[0].kill()
            rig.supervise()
        case "shim":
            (shim,) = children(pool_process(rig))
            os.kill(shim, signal.SIGKILL)

    assert still_alive(started, within_s=10) == []


# -- process numbers -----------------------------------------------------------------------------------------------


def test_a_stranger_with_the_number_of_a_dead_worker_is_not_harmed_and_does_not_keep_its_work(rig, label):
    """The number is that of this test's own process, which began at another time."""
    rig.dismiss_all()
    boot = Boot(id="f" * 12, name="gone@host", machine=machine(), pid=os.getpid(), began=began(os.getpid()) - 1)
    WorkerStore(rig.database).beat(boot, [rig.queue])
    execution_id = rig.submit(flow("reused", rig.ledger.task(1, label=label)))
    key = AttemptKey(execution_id=execution_id, number=1, attempt=1)
    assert ExecutionStore(rig.database).claim(key, worker=f"gone@host/{os.getpid()}/{boot.id}")

    rig.start_worker()
    execution = rig.wait(execution_id)

    assert execution.state is ExecutionState.SUCCEEDED
    assert rig.kinds(execution_id, 1) == ["attempt returned", "task succeeded"]
    assert rig.rows(sa.select(workers.c.state).where(workers.c.id == boot.id))[0].state == "LOST"
