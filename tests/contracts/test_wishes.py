"""What a caller may wish for an execution: when, by when, how urgent, under which id, and only once."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from threading import Barrier

import pytest
import sqlalchemy as sa

from orchestrator.errors import ExecutionExists, InvalidValue
from orchestrator.model.states import ExecutionState
from orchestrator.service.submit import Place, Wishes, submit
from orchestrator.service.timers import fire_due_timers
from orchestrator.store.tables import executions, timers
from tests.contracts.stored import PLACE
from tests.contracts.world import World, heavy
from tests.flows import flow

FAR = datetime(2126, 1, 31, 12, tzinfo=UTC)


@pytest.fixture
def world(database, tmp_path):
    return World(database, tmp_path)


@pytest.fixture
def start(world):
    version_id, _ = world.publish(flow("flow", heavy(1)))

    def started(**wishes):
        world.id = submit(version_id, {}, world.services, place=Place(**PLACE), wishes=Wishes(**wishes))
        return world.id

    return started


def count(database):
    with database.read() as connection:
        return connection.execute(sa.select(sa.func.count()).select_from(executions)).scalar_one()


def make_due(database):
    with database.begin() as connection:
        connection.execute(sa.update(timers).values(due_at=datetime(2020, 1, 1, tzinfo=UTC)))


def test_a_scheduled_execution_is_pending_and_sends_nothing_before_its_time(world, start):
    start(at=FAR)

    fire_due_timers(world.services)

    assert (world.execution.state, world.sent(), world.live()) == (ExecutionState.PENDING, [], {})


def test_a_scheduled_execution_begins_once_when_its_time_has_come(world, start):
    start(at=FAR)
    make_due(world.database)

    fire_due_timers(world.services)
    fire_due_timers(world.services)

    assert (world.sent(), world.live()) == ([1], {1: None})


def test_a_time_that_has_passed_is_now(world, start):
    start(at=datetime.now(UTC) - timedelta(days=1))

    fire_due_timers(world.services)

    assert world.sent() == [1]


def test_an_execution_that_is_not_over_by_its_deadline_fails_and_says_so(world, start):
    start(deadline_s=3600)
    make_due(world.database)

    fire_due_timers(world.services)

    assert world.execution.state is ExecutionState.FAILED
    assert world.execution.error.code == "EXECUTION_TIMEOUT"
    assert world.states() == {1: "SKIPPED"}
    with world.database.read() as connection:
        assert connection.execute(sa.select(timers)).all() == []


def test_a_request_id_starts_one_execution_however_often_it_comes(world, start):
    first = start(request_id="order-42")

    assert start(request_id="order-42", priority=9) == first
    assert start(request_id="order-43") != first
    assert count(world.database) == 2


def test_a_request_id_starts_one_execution_however_many_send_it_at_once(world, start):
    ready = Barrier(4)

    def send(_):
        ready.wait()
        return start(request_id="once")

    with ThreadPoolExecutor(4) as pool:
        ids = set(pool.map(send, range(4)))

    assert len(ids) == count(world.database) == 1


@pytest.mark.parametrize("wishes", [{}, {"at": FAR}, {"deadline_s": 60.0}, {"request_id": "once"}])
@pytest.mark.parametrize("actor", [None, "key:ci"])
def test_who_submitted_an_execution_is_known(world, start, actor, wishes):
    start(actor=actor, **wishes)

    assert world.execution.submitted_by == actor


def test_an_id_of_the_callers_own_is_the_executions(world, start):
    assert start(execution_id="order-42") == "order-42"
    with pytest.raises(ExecutionExists, match="'order-42' is there already"):
        start(execution_id="order-42")
    assert count(world.database) == 1


@pytest.mark.parametrize(
    ("wishes", "said"),
    [
        ({"at": datetime(2126, 1, 31)}, "at: found 2126-01-31T00:00:00, expected a time with its zone"),
        ({"deadline_s": 0}, "deadline: found 0 s, expected seconds from now, more than 0"),
        ({"deadline_s": -5.5}, "deadline: found -5.5 s"),
        ({"deadline_s": float("nan")}, "deadline: found nan s"),
        ({"deadline_s": 1e12}, "at most 315,576,000"),
        ({"priority": 10}, "priority: found 10, expected 0 to 9, the most urgent"),
        ({"priority": -1}, "priority: found -1"),
        ({"execution_id": "a/b"}, "execution id: found 'a/b', expected 1 to 36 letters, digits and hyphens"),
        ({"request_id": "x" * 37}, "request id: found"),
        ({"request_id": ""}, "request id: found ''"),
        ({"actor": ""}, "actor: found '', expected who wants it: 1 to 256 characters"),
        ({"actor": "a" * 257}, "actor: found"),
        ({"actor": "a\0b"}, "actor: found"),
    ],
)
def test_a_wish_that_cannot_be_is_refused_and_nothing_is_stored(world, start, wishes, said):
    with pytest.raises(InvalidValue) as caught:
        start(**wishes)

    assert said in str(caught.value)
    assert count(world.database) == 0
