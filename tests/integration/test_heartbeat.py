"""Which workers there are: one that is stopped takes its row with it, one that is killed stops to count."""

import os
import signal

import pytest
import sqlalchemy as sa

from orchestrator.engine.canvas import queue_of
from orchestrator.runtime.children import stop
from orchestrator.store.tables import later, workers
from orchestrator.store.workers import WorkerStore
from tests.integration.system import running_system
from tests.integration.waiting import until
from tests.services import redis_url

pytestmark = pytest.mark.services


@pytest.fixture(params=["sqlite", "postgres"])
def system(request, tmp_path):
    with running_system(tmp_path, database=request.param, broker_url=redis_url(), workers=2, concurrency=1) as running:
        yield running


def test_workers_are_seen_until_they_are_stopped_or_killed(system):
    store, (first, second) = WorkerStore(system.database), system.services.workers

    until(lambda: len(store.live()) == 2, what="the heartbeat of both workers")
    beats = {int(each.id.rpartition("/")[2]): each for each in store.live()}
    assert {each.queues for each in beats.values()} == {(queue_of(system.executor),)}
    assert {each.id.rpartition("@")[0] for each in beats.values()} == {system.executor}

    stop([first.process], grace_s=20)
    (left,) = store.live()

    last_pid = int(left.id.rpartition("/")[2])
    os.kill(last_pid, signal.SIGKILL)
    second.process.wait(20)
    with system.database.begin() as connection:  # as if ten seconds had passed since; nobody beats any more
        connection.execute(sa.update(workers).values(beat_at=later(-10.0)))
    until(lambda: not store.live(), what="the end of its time")
    assert len(system.rows(sa.select(workers))) == 1
