"""Which workers there are: one that is stopped takes its row with it, one that is killed stops to count."""

import os
import signal

import pytest
import sqlalchemy as sa

from orchestrator.engine.canvas import queue_of
from orchestrator.model.explanation import Reason
from orchestrator.runtime.children import stop
from orchestrator.store.tables import later, workers
from orchestrator.store.workers import WorkerStore
from tests.flows import flow, task
from tests.integration.system import running_system
from tests.integration.waiting import until
from tests.services import redis_url

pytestmark = pytest.mark.services


@pytest.fixture(params=["sqlite", "postgres"])
def system(request, tmp_path):
    include = ("tests.integration.sleepy_tasks",)
    with running_system(
        tmp_path, database=request.param, broker_url=redis_url(), include=include, workers=2, concurrency=1
    ) as running:
        yield running


def seconds_pass(system, seconds):
    """As if so many had passed since the last beats; who is alive beats again."""
    with system.database.begin() as connection:
        connection.execute(sa.update(workers).values(beat_at=later(-seconds)))


def test_workers_are_seen_until_they_are_stopped_or_killed(system):
    store, (first, second) = WorkerStore(system.database), system.services.workers

    until(lambda: len(store.live()) == 2, what="the heartbeat of both workers")
    beats = store.live()
    assert {each.queues for each in beats} == {(queue_of(system.executor),)}
    assert {each.name.rpartition("@")[0] for each in beats} == {system.executor}

    assert [each.name for each in system.client.workers()] == [each.name for each in beats]

    stop([first.process], grace_s=20)
    (left,) = system.rows(sa.select(workers))

    os.kill(left.pid, signal.SIGKILL)
    second.process.wait(60)
    seconds_pass(system, 10.0)
    until(lambda: not store.live(), what="the end of its time")
    assert len(system.rows(sa.select(workers))) == 1


def test_why_knows_by_the_heartbeat_where_a_task_runs_and_that_nobody_can_take_one(system):
    sleepy = flow("sleepy", task(1, "tests.sleep", takes={"seconds": 60.0}))
    until(lambda: len(WorkerStore(system.database).live()) == 2, what="the heartbeat of both workers")

    def explained(execution_id):
        return system.client.explain(execution_id, 1)[0]

    running = system.submit(sleepy)
    until(lambda: explained(running).reason is Reason.RUNNING, what="a worker that takes it")
    elsewhere = system.client.submit(sleepy, executor="nobody")

    assert "no heartbeat" not in explained(running).sentence
    assert explained(elsewhere).reason is Reason.NO_LIVE_WORKER

    for worker in system.services.workers:
        os.kill(worker.process.pid, signal.SIGKILL)
        worker.process.wait(60)
    seconds_pass(system, 15.0)
    waiting = system.submit(sleepy)

    assert explained(waiting).reason is Reason.NO_LIVE_WORKER
    assert explained(waiting).facts["queue"] == queue_of(system.executor)
    assert explained(running).sentence.endswith(", which has no heartbeat")
