"""Schedules with real workers: what a time that has come starts, runs like everything else."""

from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa

from orchestrator.client.schedules import Schedules
from orchestrator.model.states import ExecutionState
from orchestrator.runtime.app import bootstrap
from orchestrator.service.schedules import fire_due_schedules
from orchestrator.service.submit import Place
from orchestrator.store.schedules import ScheduleState
from orchestrator.store.tables import executions, schedules
from tests.flows import flow, parameter, task
from tests.integration.system import running_system
from tests.integration.waiting import until
from tests.services import redis_url

pytestmark = pytest.mark.services

LONG_AGO = datetime(2026, 1, 31, 2, 30, tzinfo=UTC)


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def system(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("system")
    with running_system(folder, database=request.param, broker_url=redis_url(), workers=2) as running:
        yield running


def report(system, name, *crons):
    """An integration that runs on this system's workers, whatever the executor of its executions."""
    work = task(
        1, "JsonnetMapperTask", takes={"template": "{ rows: std.extVar('limit') + 1 }"}, executorId=system.executor
    )
    limit = parameter("limit", "INT_VALUE", direction="IN", default=5)
    rows = parameter("rows", "INT_VALUE", direction="OUT")
    document = flow(name, work, parameters=[limit, rows])
    document["triggerConfigs"] += [
        {"triggerId": f"{name} {cron}", "triggerType": "CRON", "cloudSchedulerConfig": {"cronTab": cron}}
        for cron in crons
    ]
    return document


def make_due(system, integration, at=LONG_AGO):
    with system.database.begin() as connection:
        overdue = sa.update(schedules).where(schedules.c.integration == integration).values(next_at=at)
        connection.execute(overdue)


def started(system, integration):
    return system.rows(sa.select(executions).where(executions.c.integration == integration))


def test_a_time_that_has_come_starts_an_execution_that_workers_run(system):
    system.client.publish(report(system, "fired here", "30 2 * * *"))
    make_due(system, "fired here")
    runtime = bootstrap(system.settings, raises=True)

    fire_due_schedules(runtime.services)

    (row,) = until(lambda: started(system, "fired here"))
    execution = system.wait(row.id)
    assert (execution.state, execution.outputs) == (ExecutionState.SUCCEEDED, {"rows": 6})
    assert (execution.method, execution.trigger_id) == ("SCHEDULE", "fired here 30 2 * * *")
    runtime.app.close()
    runtime.database.close()


def test_the_workers_themselves_fire_each_time_once(system):
    """Two workers look; each of five schedules is due three times, one after the other."""
    crons = [f"{minute} * * * *" for minute in range(5)]
    system.client.publish(report(system, "fired by workers", *crons))
    for day in range(3):
        make_due(system, "fired by workers", LONG_AGO + timedelta(days=day))

        expected = 5 * (day + 1)
        until(lambda: len(started(system, "fired by workers")) >= expected, what=f"{expected} executions")  # noqa: B023

    ended = [system.wait(row.id) for row in started(system, "fired by workers")]
    assert len(ended) == 15
    assert {execution.state for execution in ended} == {ExecutionState.SUCCEEDED}


def test_a_paused_schedule_can_be_seen_and_resumed(system):
    system.client.publish(report(system, "paused", "30 2 * * *"))
    runtime = bootstrap(system.settings, raises=True)
    found = Schedules(lambda: runtime.services, place=Place())

    paused = found.pause("paused", "paused 30 2 * * *")
    make_due(system, "paused")  # even so it is not fired
    fire_due_schedules(runtime.services)
    resumed = found.resume("paused", "paused 30 2 * * *")

    assert paused.state is ScheduleState.PAUSED
    assert found.list("paused") == [resumed]
    assert (resumed.state, resumed.last_at) == (ScheduleState.ACTIVE, None)
    assert started(system, "paused") == []
    runtime.app.close()
    runtime.database.close()
