"""Faults of upkeep: timers, schedules, recovery itself. Whoever looks after them dies amid it."""

import uuid
from datetime import UTC, datetime

import pytest
import sqlalchemy as sa

from orchestrator.model.states import ExecutionState
from orchestrator.store.kinds import DEFAULT_EXECUTOR
from orchestrator.store.tables import executions, live_attempts, schedules, timers
from tests.faults.flows import RETRIED, fan_out
from tests.flows import flow
from tests.integration.waiting import until

pytestmark = pytest.mark.services

LONG_AGO = datetime(2026, 1, 31, 2, 30, tzinfo=UTC)


@pytest.fixture
def rig(sqlite_rig):
    """Without workers; what a test leaves comes to its end, and the books are right."""
    sqlite_rig.dismiss_all()
    yield sqlite_rig
    sqlite_rig.check()


@pytest.fixture
def label():
    return uuid.uuid4().hex[:8]


def is_dead(worker):
    return lambda: not worker.is_alive()


def let_time_pass(rig):
    """What a worker has taken and not fired or sent is anybody's again: half a minute later, or now."""
    with rig.database.begin() as connection:
        connection.execute(sa.update(timers).values(taken_until=LONG_AGO))
        connection.execute(sa.update(live_attempts).values(published_at=None))


@pytest.mark.parametrize("point", ["timer.taken", "timer.fired"])
def test_a_retry_that_is_due_while_its_worker_dies_comes_once(rig, label, point):
    worker = rig.start_worker(failpoints=f"{point}=kill9@1")
    execution_id = rig.submit(flow("retried", rig.ledger.task(1, "fail:1", label=label, **RETRIED)))

    until(is_dead(worker), what="the death of the worker")
    let_time_pass(rig)
    execution = rig.wait(execution_id)

    assert execution.state is ExecutionState.SUCCEEDED
    # The second attempt may have begun in the worker that dies; then it runs again, and there is no third.
    assert {line.attempt for line in rig.ledger.lines(label)} == {1, 2}


@pytest.mark.parametrize("point", ["schedule.due", "schedule.advanced"])
def test_a_time_that_has_come_while_its_worker_dies_starts_one_execution(rig, label, point):
    name = f"report-{label}"
    document = flow(name, rig.ledger.task(1, label=label))
    trigger = {"triggerId": f"{name} cron", "triggerType": "CRON", "cloudSchedulerConfig": {"cronTab": "30 2 * * *"}}
    document["triggerConfigs"].append(trigger)
    rig.client.publish(document)
    worker = rig.start_worker(executor=DEFAULT_EXECUTOR, failpoints=f"{point}=kill9@1").wait_until_ready()
    with rig.database.begin() as connection:
        connection.execute(sa.update(schedules).where(schedules.c.integration == name).values(next_at=LONG_AGO))

    until(is_dead(worker), what="the death of the worker")
    rig.dismiss(worker)
    for _ in range(2):
        rig.start_worker(executor=DEFAULT_EXECUTOR)
    (row,) = until(lambda: rig.rows(sa.select(executions).where(executions.c.integration == name)))
    execution = rig.wait(row.id, supervised=False)

    assert execution.state is ExecutionState.SUCCEEDED
    assert len(rig.rows(sa.select(executions).where(executions.c.integration == name))) == 1


@pytest.mark.parametrize("point", ["takeover.begun", "republish.taken"])
def test_who_dies_while_it_recovers_is_recovered_itself(rig, redis_server, label, point):
    first = rig.start_worker(concurrency=1).wait_until_ready()
    execution_id = rig.submit(fan_out(rig, f"twice-{label}", 3, does="hold"))
    rig.ledger.wait_for(f"twice-{label}-child")
    second = rig.start_worker(concurrency=1, failpoints=f"{point}=kill9@1").wait_until_ready()

    first.kill()
    with redis_server.client() as client:
        client.flushall()
    rig.ledger.let_go(f"twice-{label}-child")
    until(is_dead(second), what="the death of the second worker")
    let_time_pass(rig)
    execution = rig.wait(execution_id)

    assert execution.state is ExecutionState.SUCCEEDED
