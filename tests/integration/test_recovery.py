"""What a worker holds when it dies, or stops, goes on elsewhere; and what has no message gets one."""

import os
import signal
import time
from pathlib import Path

import pytest
import sqlalchemy as sa

from orchestrator.model.history import EntryKind
from orchestrator.model.states import ExecutionState, TaskState
from orchestrator.runtime.identity import began
from orchestrator.runtime.publisher import CeleryPublisher
from orchestrator.store.kinds import WorkerState
from orchestrator.store.tables import duties, later, live_attempts, workers
from orchestrator.store.workers import BEAT_S, WorkerStore
from tests.flows import flow, task
from tests.integration.processes import still_alive
from tests.integration.steering import INCLUDE, Steering, states
from tests.integration.system import running_system
from tests.integration.waiting import until
from tests.services import redis_url

pytestmark = pytest.mark.services

TERM_S = 20.0


@pytest.fixture(params=["sqlite", "postgres"])
def system(request, tmp_path, monkeypatch):
    monkeypatch.setenv("ORCHESTRATOR_DRAIN_S", "1")
    include = [*INCLUDE, "tests.integration.exiting_tasks"]
    with running_system(
        tmp_path, database=request.param, broker_url=redis_url(), include=include, workers=2, concurrency=1
    ) as running:
        yield running
        assert running.live() == [], "a test left something going on"


@pytest.fixture
def steering(system, tmp_path):
    return Steering(system, tmp_path)


def children_of(pid):
    return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def holder(system, execution_id):
    """The worker that holds an execution: its row."""
    held = sa.select(workers).join(live_attempts, live_attempts.c.owner == workers.c.id)
    (row,) = system.rows(held.where(live_attempts.c.execution_id == execution_id))
    return row


def worker_of(system, pid):
    """The process of ours whose main process this is; the system does without it from now on."""
    (found,) = [each for each in system.services.workers if each.process.pid == pid]
    system.services.workers.remove(found)
    return found


def listened_for_a_lease(system):
    """As if all had been there for a while."""
    with system.database.begin() as connection:
        connection.execute(sa.update(workers).values(steady_since=later(-60)))


def entries(steering, execution_id, kind):
    return [each for each in steering.entries(execution_id) if each.kind is kind]


@pytest.mark.parametrize("where", ["on the same machine", "on another machine"])
def test_what_a_killed_worker_held_goes_on_within_two_heartbeats(steering, where):
    system = steering.system
    until(lambda: len(WorkerStore(system.database).live()) == 2, what="both workers")
    execution_id = system.submit(flow("long", steering.task(1, "hold ok", next=[2]), steering.task(2)))
    steering.wait_for(1)
    row = holder(system, execution_id)
    doomed = worker_of(system, row.pid)
    listened_for_a_lease(system)
    pool = children_of(row.pid)

    os.kill(row.pid, signal.SIGKILL)
    killed_at = time.monotonic()
    doomed.process.wait(TERM_S)
    if where == "on another machine":
        with system.database.begin() as connection:
            connection.execute(sa.update(workers).where(workers.c.id == row.id).values(machine="another"))
    steering.wait_for(1, tries=2)
    took_s = time.monotonic() - killed_at

    print(f"\n{where}: work went on {took_s:.1f} s after kill -9 of the worker; two heartbeats are {2 * BEAT_S:g} s")
    assert still_alive(pool) == []
    execution = system.wait(execution_id)
    assert (execution.state, states(execution)) == (
        ExecutionState.SUCCEEDED,
        {1: TaskState.SUCCEED, 2: TaskState.SUCCEED},
    )
    (returned,) = entries(steering, execution_id, EntryKind.RETURNED)
    assert returned.error.code == "WORKER_LOST"


def test_a_worker_that_is_told_to_stop_gives_back_what_it_cannot_end_in_time(steering):
    system = steering.system
    execution_id = system.submit(flow("long", steering.task(1, "hold ok", next=[2]), steering.task(2)))
    steering.wait_for(1)
    row = holder(system, execution_id)
    leaving = worker_of(system, row.pid)

    os.kill(row.pid, signal.SIGTERM)
    until(
        lambda: (
            system.rows(sa.select(workers.c.state).where(workers.c.id == row.id)) == [(WorkerState.DRAINING.value,)]
        ),
        what="the end of its readiness",
    )
    steering.wait_for(1, tries=2)

    assert leaving.process.wait(TERM_S) == 0
    assert system.wait(execution_id).state is ExecutionState.SUCCEEDED
    (returned,) = entries(steering, execution_id, EntryKind.RETURNED)
    assert returned.error is None
    assert system.rows(sa.select(workers).where(workers.c.id == row.id)) == []


def test_a_worker_that_stops_lets_end_what_ends_in_time(steering):
    system = steering.system
    execution_id = system.submit(flow("short", steering.task(1, "hold", next=[2]), steering.task(2)))
    steering.wait_for(1)
    row = holder(system, execution_id)
    leaving = worker_of(system, row.pid)

    os.kill(row.pid, signal.SIGTERM)
    steering.go(1)

    assert system.wait(execution_id).state is ExecutionState.SUCCEEDED
    assert leaving.process.wait(TERM_S) == 0
    assert entries(steering, execution_id, EntryKind.RETURNED) == []


@pytest.mark.parametrize("words", ["hold ok", "stubborn ok", "deaf ok"])
def test_a_cold_stop_gives_everything_back(steering, words):
    system = steering.system
    execution_id = system.submit(flow("long", steering.task(1, words)))
    *_, pid = steering.wait_for(1)
    row = holder(system, execution_id)
    leaving = worker_of(system, row.pid)

    os.kill(row.pid, signal.SIGQUIT)
    leaving.process.wait(TERM_S)

    assert still_alive([pid]) == []
    assert system.wait(execution_id).state is ExecutionState.SUCCEEDED
    assert len(entries(steering, execution_id, EntryKind.RETURNED)) == 1


def test_code_that_calls_exit_fails_and_its_process_goes_on(steering):
    execution = steering.system.execute(flow("leaves", task(1, "tests.exit", takes={"code": 3})))

    assert execution.state is ExecutionState.FAILED
    assert execution.error.code == "SYSTEM_EXIT"
    assert execution.error.message == "the task's code called sys.exit(3)"


def test_a_message_that_got_lost_is_sent_again(steering, monkeypatch):
    system = steering.system
    with monkeypatch.context() as broker:
        broker.setattr(CeleryPublisher, "publish", lambda *_: None)
        execution_id = system.submit(flow("plain", steering.task(1)))

    assert system.wait(execution_id).state is ExecutionState.SUCCEEDED
    (duty,) = system.rows(sa.select(duties))
    assert (duty.name, duty.term) == (f"publish {system.executor}", 1)


def test_a_process_number_that_is_used_again_is_another_process():
    assert began(os.getpid()) == began(os.getpid()) is not None
    assert began(1) != began(os.getpid())
    assert began(2**22 + 1) is None
