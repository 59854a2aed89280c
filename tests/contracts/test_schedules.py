"""What schedules promise: publishing sets them, and each time that comes starts one execution, whoever looks."""

import signal
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import pytest
import sqlalchemy as sa

from orchestrator.errors import Unreachable
from orchestrator.model.cron import InvalidCron, next_time
from orchestrator.model.definition import parse_integration
from orchestrator.model.states import ExecutionState
from orchestrator.service.schedules import (
    execution_id_of,
    fire_due_schedules,
    list_schedules,
    next_schedule_in_s,
    pause_schedule,
    resume_schedule,
)
from orchestrator.service.submit import Place
from orchestrator.store.kinds import AttemptKey
from orchestrator.store.schedules import ScheduleNotFound, ScheduleState, ScheduleStore
from orchestrator.store.tables import executions, live_attempts, schedules, versions
from tests.contracts.stored import PLACE, at_once, rows_of
from tests.contracts.world import World, heavy
from tests.flows import flow, parameter

HERE = Place(**PLACE)
ROOT = Path(__file__).parents[2]
DAILY, HOURLY = "10 12 * * *", "0 * * * *"
NIGHTLY = f"cron_trigger/nightly/{DAILY.replace(' ', '+')}"
LONG_AGO = datetime(2026, 1, 31, 12, 10, tzinfo=UTC)


@pytest.fixture
def world(database, tmp_path):
    return World(database, tmp_path)


def scheduled(name="flow", *, crons=None, time_zone="UTC", parameters=(), **more):
    """A definition with an API trigger, and a cron trigger for each id."""
    document = flow(name, heavy(1), parameters=parameters) | more
    document["triggerConfigs"] += [
        {"triggerId": key, "triggerType": "CRON", "cloudSchedulerConfig": {"cronTab": cron, "timeZone": time_zone}}
        for key, cron in ({NIGHTLY: DAILY} if crons is None else crons).items()
    ]
    return document


def found(world, trigger_id=NIGHTLY, *, integration="flow"):
    """One schedule as it is now."""
    (schedule,) = (
        each
        for each in list_schedules(world.services, place=HERE, integration=integration)
        if each.trigger_id == trigger_id
    )
    return schedule


def ids(world):
    return [each.trigger_id for each in list_schedules(world.services, place=HERE)]


def make_due(world, at=LONG_AGO, *, trigger_id=None):
    """What a time leaves that has come while nobody looked."""
    statement = sa.update(schedules).values(next_at=at)
    with world.database.begin() as connection:
        connection.execute(statement if trigger_id is None else statement.where(schedules.c.trigger_id == trigger_id))


def clock(world):
    return ScheduleStore(world.database).due(limit=1)[1]


def stored(world):
    """The executions so far, the oldest first."""
    with world.database.read() as connection:
        return connection.execute(sa.select(executions).order_by(executions.c.created_at)).all()


def fire(world):
    return fire_due_schedules(world.services)


# -- publishing ----------------------------------------------------------------------------------------------------


def test_publishing_schedules_the_cron_triggers_and_no_others(world):
    before = clock(world)

    version_id, _ = world.publish(scheduled(time_zone="Europe/Berlin"))

    (schedule,) = list_schedules(world.services, place=HERE)
    assert (schedule.integration, schedule.trigger_id, schedule.version_id) == ("flow", NIGHTLY, version_id)
    assert (schedule.cron, schedule.time_zone, schedule.state) == (DAILY, "Europe/Berlin", ScheduleState.ACTIVE)
    assert schedule.next_at in {next_time(DAILY, "Europe/Berlin", at) for at in (before, clock(world))}
    assert (schedule.last_at, schedule.last_execution_id) == (None, None)


def test_publishing_the_same_again_changes_nothing(world):
    world.publish(scheduled())
    before = rows_of(world.database)

    world.publish(scheduled())

    assert rows_of(world.database) == before


def test_a_schedule_of_the_same_times_goes_on_under_the_next_version(world):
    world.publish(scheduled())
    make_due(world)
    fire(world)
    make_due(world, LONG_AGO + timedelta(days=1))
    before = found(world)

    version_id, _ = world.publish(scheduled(description="new"))

    assert found(world) == replace(before, version_id=version_id)


def test_it_is_known_when_to_look_again(world):
    assert next_schedule_in_s(world.services) is None
    world.publish(scheduled())
    day_s = 24 * 3600
    assert 0 < next_schedule_in_s(world.services) <= day_s

    make_due(world)
    assert next_schedule_in_s(world.services) == 0
    fire(world)
    assert 0 < next_schedule_in_s(world.services) <= day_s

    pause_schedule("flow", NIGHTLY, world.services, place=HERE)
    assert next_schedule_in_s(world.services) is None


@pytest.mark.parametrize("change", [{"crons": {NIGHTLY: HOURLY}}, {"time_zone": "Asia/Tokyo"}])
def test_a_schedule_whose_times_change_gets_its_next_time_anew(world, change):
    world.publish(scheduled())
    make_due(world)

    world.publish(scheduled(**change))

    schedule = found(world)
    assert schedule.next_at == next_time(schedule.cron, schedule.time_zone, clock(world))
    assert fire(world) == 0


def test_a_changed_expression_in_a_derived_id_is_the_same_schedule(world):
    world.publish(scheduled())
    make_due(world)
    fire(world)
    before = found(world)

    hourly = f"cron_trigger/nightly/{HOURLY.replace(' ', '+')}"
    world.publish(scheduled(crons={hourly: HOURLY}))

    assert ids(world) == [hourly]
    assert found(world, hourly).last_execution_id == before.last_execution_id


def test_what_the_next_version_does_not_have_is_gone_and_others_stay(world):
    world.publish(scheduled(crons={"a": DAILY, "b": HOURLY}))
    world.publish(scheduled("other", crons={"c": DAILY}))

    world.publish(scheduled(crons={"b": HOURLY}))
    assert ids(world) == ["b", "c"]

    world.publish(scheduled(crons={}))
    assert ids(world) == ["c"]


def test_an_integration_of_the_same_name_elsewhere_has_schedules_of_its_own(world):
    world.publish(scheduled())
    elsewhere = Place(project="default", location="elsewhere")
    world.services.versions.publish(
        parse_integration(scheduled(crons={"b": DAILY})), project="default", location="elsewhere"
    )

    assert ids(world) == [NIGHTLY]
    assert [each.trigger_id for each in list_schedules(world.services, place=elsewhere)] == ["b"]


def test_a_version_that_was_published_before_there_were_schedules_gets_them_when_published_again(world):
    version_id, _ = world.publish(scheduled())
    with world.database.begin() as connection:
        connection.execute(sa.delete(schedules))

    assert world.publish(scheduled())[0] == version_id

    assert ids(world) == [NIGHTLY]


def test_an_expression_that_validation_let_pass_publishes_nothing(world):
    world.publish(scheduled())
    before = rows_of(world.database)

    with pytest.raises(InvalidCron):
        world.services.versions.publish(parse_integration(scheduled(crons={"a": "never"})), **PLACE)

    assert rows_of(world.database) == before


def test_of_versions_published_at_the_same_time_the_published_one_has_the_schedules(world):
    def publish(number):
        document = scheduled(crons={f"only in {number}": DAILY, "in all": HOURLY}, description=str(number))
        world.services.versions.publish(parse_integration(document), **PLACE)

    for _ in range(3):
        at_once(*(partial(publish, number) for number in range(4)))

        with world.database.read() as connection:
            row = connection.execute(sa.select(versions.c.id).where(versions.c.state == "ACTIVE")).one()
        found_now = list_schedules(world.services, place=HERE)
        assert {each.version_id for each in found_now} == {row.id}
        assert len(found_now) == 2


# -- firing --------------------------------------------------------------------------------------------------------


def test_before_its_time_nothing_is_fired(world):
    world.publish(scheduled())

    assert fire(world) == 0
    assert stored(world) == []


def test_a_time_that_has_come_starts_an_execution_that_runs(world):
    version_id, _ = world.publish(scheduled(parameters=[parameter("limit", "INT_VALUE", direction="IN", default=5)]))
    make_due(world)

    assert fire(world) == 1

    (execution,) = stored(world)
    assert (execution.method, execution.trigger_id, execution.version_id) == ("SCHEDULE", NIGHTLY, version_id)
    assert (execution.scheduled_at, execution.root_id) == (LONG_AGO, execution.id)
    assert [message.execution_id for message in world.services.publisher.sent] == [execution.id]
    schedule = found(world)
    assert (schedule.last_at, schedule.last_execution_id) == (LONG_AGO, execution.id)
    assert schedule.next_at == next_time(DAILY, "UTC", clock(world))
    world.id = execution.id
    world.drive(AttemptKey(execution_id=execution.id, number=1, attempt=1))
    assert world.execution.state is ExecutionState.SUCCEEDED
    assert world.execution.request["limit"].data == 5


def test_all_times_that_were_missed_are_caught_up_by_one_execution(world):
    world.publish(scheduled(crons={"hourly": HOURLY}))
    make_due(world)

    assert [fire(world), fire(world)] == [1, 0]

    schedule = found(world, "hourly")
    assert len(stored(world)) == 1
    assert schedule.next_at == next_time(HOURLY, "UTC", clock(world))


def test_an_execution_is_known_by_its_schedule_and_its_time(world):
    world.publish(scheduled(crons={"a": DAILY, "b": DAILY}))
    make_due(world)
    fire(world)
    make_due(world, LONG_AGO + timedelta(days=1))
    fire(world)

    expected = {
        execution_id_of(found(world, trigger_id), LONG_AGO + timedelta(days=day))
        for trigger_id in "ab"
        for day in (0, 1)
    }
    assert len(expected) == 4
    assert {each.id for each in stored(world)} == expected


def test_of_several_workers_one_fires_each_time(world):
    """Eight schedules and four workers, five times over; all look and fire at the same moment."""
    world.publish(scheduled(crons={f"every {number}": HOURLY for number in range(8)}))
    for day in range(5):
        make_due(world, LONG_AGO + timedelta(days=day))

        fired = at_once(*[partial(fire_due_schedules, world.services)] * 4)

        assert sum(fired) == 8
        assert len(stored(world)) == len(world.services.publisher.sent) == 8 * (day + 1)


def test_one_that_looked_before_another_fired_fires_nothing(world):
    """The same as above, in an order that always loses."""
    world.publish(scheduled())
    make_due(world)
    store = ScheduleStore(world.database)
    (seen,), _ = store.due(limit=1)
    fire(world)
    before = rows_of(world.database)

    assert not store.advance(seen, next_at=None, execution=None)
    assert rows_of(world.database) == before


@pytest.mark.parametrize("meanwhile", ["paused", "published"])
def test_what_was_changed_since_the_look_is_not_fired_as_it_was(world, meanwhile):
    world.publish(scheduled())
    make_due(world)
    store = ScheduleStore(world.database)
    (seen,), _ = store.due(limit=1)
    if meanwhile == "paused":
        pause_schedule("flow", NIGHTLY, world.services, place=HERE)
    else:
        world.publish(scheduled(description="new"))
    before = rows_of(world.database)

    assert not store.advance(seen, next_at=LONG_AGO, execution=None)

    assert rows_of(world.database) == before


def test_while_a_version_is_published_a_time_that_has_come_is_fired_once(world):
    for number in range(5):
        world.publish(scheduled(description=f"{number}, old"))
        make_due(world, LONG_AGO + timedelta(days=number))
        new = parse_integration(scheduled(description=f"{number}, new"))

        at_once(
            partial(world.services.versions.publish, new, **PLACE),
            *[partial(fire_due_schedules, world.services)] * 3,
        )
        fire(world)

        assert len(stored(world)) == number + 1


def test_while_a_schedule_is_paused_a_time_that_has_come_is_fired_once_or_not_at_all(world):
    world.publish(scheduled())
    for number in range(5):
        make_due(world, LONG_AGO + timedelta(days=number))
        before = len(stored(world))

        *fired, paused = at_once(
            *[partial(fire_due_schedules, world.services)] * 3,
            partial(pause_schedule, "flow", NIGHTLY, world.services, place=HERE),
        )

        assert len(stored(world)) - before == sum(fired) in {0, 1}
        assert found(world) == paused
        resume_schedule("flow", NIGHTLY, world.services, place=HERE)


def test_of_pausing_and_publishing_at_the_same_time_both_count(world):
    for number in range(10):
        world.publish(scheduled(description=f"{number}, old"))
        new = parse_integration(scheduled(description=f"{number}, new"))

        version_id, _ = at_once(
            partial(world.services.versions.publish, new, **PLACE),
            partial(pause_schedule, "flow", NIGHTLY, world.services, place=HERE),
        )

        schedule = found(world)
        assert (schedule.state, schedule.next_at, schedule.version_id) == (ScheduleState.PAUSED, None, version_id)
        resume_schedule("flow", NIGHTLY, world.services, place=HERE)


def test_a_look_takes_a_hundred_and_the_next_one_the_rest(world):
    for name in ("a", "b"):
        world.publish(scheduled(name, crons={f"{name} {number}": HOURLY for number in range(60)}))
    make_due(world)

    assert [fire(world), fire(world), fire(world)] == [100, 20, 0]


def test_a_time_that_comes_again_because_the_clock_was_set_back_is_passed_over(world):
    world.publish(scheduled())
    make_due(world)
    fire(world)
    make_due(world)
    world.services.publisher.sent.clear()

    assert fire(world) == 0

    assert len(stored(world)) == 1
    assert world.services.publisher.sent == []
    assert found(world).next_at == next_time(DAILY, "UTC", clock(world))


def test_a_schedule_that_cannot_be_fired_stops_and_holds_up_no_other(world, caplog):
    """Validation refuses this definition, so it is stored without being asked."""
    required = scheduled("broken", parameters=[parameter("order", direction="IN")])
    world.services.versions.publish(parse_integration(required), **PLACE)
    world.publish(scheduled("sound"))
    make_due(world)

    assert [fire(world), fire(world)] == [1, 0]

    assert [each.integration for each in stored(world)] == ["sound"]
    assert found(world, integration="broken").next_at is None
    (record,) = caplog.records
    assert (record.message, record.integration) == ("schedule stopped, it cannot be fired", "broken")
    assert "'order'" in record.reason
    world.services.versions.publish(parse_integration(required), **PLACE)
    assert found(world, integration="broken").next_at is not None


def test_a_version_that_is_published_no_more_fires_nothing(world):
    world.publish(scheduled())
    make_due(world)
    with world.database.begin() as connection:
        connection.execute(sa.update(versions).values(state="SNAPSHOT"))

    assert fire(world) == 0


# -- crashes -------------------------------------------------------------------------------------------------------

KILLED = """
import os, signal, sys
from dataclasses import replace
from pathlib import Path

import sqlalchemy as sa

from orchestrator.service.schedules import fire_due_schedules
from orchestrator.store.database import Database
from tests.contracts.world import World

url, folder, moment = sys.argv[1:]


class Die:
    def publish(self, messages):
        os.kill(os.getpid(), signal.SIGKILL)


world = World(Database(url), Path(folder))
if moment == "before the commit":
    @sa.event.listens_for(world.database.engine, "commit")
    def die(connection):
        if connection.info.get("has_stored"):
            os.kill(os.getpid(), signal.SIGKILL)

    @sa.event.listens_for(world.database.engine, "after_cursor_execute")
    def look(connection, cursor, statement, *_):
        if statement.startswith("INSERT INTO executions"):
            connection.info["has_stored"] = True

fire_due_schedules(replace(world.services, publisher=Die()))
"""


@pytest.mark.parametrize(
    ("moment", "is_stored"), [("before the commit", False), ("between commit and publishing", True)]
)
def test_a_worker_that_is_killed_while_it_fires_loses_no_time_and_doubles_none(world, tmp_path, moment, is_stored):
    world.publish(scheduled())
    make_due(world)
    expected = execution_id_of(found(world), LONG_AGO)
    url = world.database.url.render_as_string(hide_password=False)

    done = subprocess.run(
        [sys.executable, "-c", KILLED, url, str(tmp_path), moment],
        cwd=ROOT,
        capture_output=True,
        timeout=60,
        check=False,
    )

    assert done.returncode == -signal.SIGKILL, done.stderr.decode()
    assert [each.id for each in stored(world)] == ([expected] if is_stored else [])
    assert fire(world) == (0 if is_stored else 1)
    assert [each.id for each in stored(world)] == [expected]
    with world.database.read() as connection:
        waiting = connection.execute(sa.select(live_attempts.c.execution_id, live_attempts.c.worker)).all()
    assert waiting == [(expected, None)]  # published or not, it waits for a worker, and recovery finds it


def test_without_a_broker_the_execution_is_stored_and_the_schedule_moves_on(world):
    class Away:
        def publish(self, messages):
            raise Unreachable("the broker", "redis://", "away")

    world.publish(scheduled())
    make_due(world)

    with pytest.raises(Unreachable):
        fire_due_schedules(replace(world.services, publisher=Away()))

    assert len(stored(world)) == 1
    assert fire(world) == 0


# -- pausing -------------------------------------------------------------------------------------------------------


def test_a_paused_schedule_fires_nothing_until_it_is_resumed_and_then_from_its_next_time_on(world):
    world.publish(scheduled())
    make_due(world)

    paused = pause_schedule("flow", NIGHTLY, world.services, place=HERE)
    assert (paused.state, paused.next_at) == (ScheduleState.PAUSED, None)
    assert fire(world) == 0

    resumed = resume_schedule("flow", NIGHTLY, world.services, place=HERE)
    assert (resumed.state, resumed.next_at) == (ScheduleState.ACTIVE, next_time(DAILY, "UTC", clock(world)))
    assert fire(world) == 0
    assert stored(world) == []


def test_pausing_and_resuming_twice_is_doing_it_once(world):
    world.publish(scheduled())
    resumed = resume_schedule("flow", NIGHTLY, world.services, place=HERE)
    assert resumed == found(world)
    make_due(world)

    assert resume_schedule("flow", NIGHTLY, world.services, place=HERE).next_at == LONG_AGO  # still to be fired
    first = pause_schedule("flow", NIGHTLY, world.services, place=HERE)

    assert pause_schedule("flow", NIGHTLY, world.services, place=HERE) == first == found(world)


@pytest.mark.parametrize("trigger_id", [NIGHTLY, f"cron_trigger/nightly/{HOURLY.replace(' ', '+')}"])
@pytest.mark.parametrize("cron", [DAILY, HOURLY])
def test_a_paused_schedule_stays_paused_whatever_is_published(world, trigger_id, cron):
    world.publish(scheduled())
    pause_schedule("flow", NIGHTLY, world.services, place=HERE)

    world.publish(scheduled(crons={trigger_id: cron}, description="new"))

    schedule = found(world, trigger_id)
    assert (schedule.state, schedule.next_at, schedule.cron) == (ScheduleState.PAUSED, None, cron)
    resumed = resume_schedule("flow", trigger_id, world.services, place=HERE)
    assert resumed.next_at == next_time(cron, "UTC", clock(world))


@pytest.mark.parametrize("change", [pause_schedule, resume_schedule])
def test_a_schedule_that_is_not_there_is_named_with_those_that_are(world, change):
    world.publish(scheduled(crons={"a": DAILY, "b": DAILY}))

    with pytest.raises(
        ScheduleNotFound, match=r"'flow' has no schedule 'c'; its published version has: a, b"
    ) as caught:
        change("flow", "c", world.services, place=HERE)

    assert type(caught.value)(*caught.value.args).args == caught.value.args
    with pytest.raises(ScheduleNotFound, match="its published version has: none"):
        change("flow", "a", world.services, place=Place(location="elsewhere"))
