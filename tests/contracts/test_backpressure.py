"""A full queue refuses what is submitted to it, or has it wait, and holds up nothing else."""

from dataclasses import replace
from datetime import UTC, datetime
from types import SimpleNamespace

import pytest
import sqlalchemy as sa

from orchestrator.errors import InvalidValue, PartlySubmitted, QueueFull
from orchestrator.service import backpressure
from orchestrator.service.submit import Place, Wishes, submit
from orchestrator.service.submit_many import check_items, submit_many
from orchestrator.store.kinds import AttemptKey
from orchestrator.store.tables import executions
from tests.contracts.stored import PLACE
from tests.contracts.world import Recorder, World, heavy, light, task
from tests.flows import flow

FAR = datetime(2126, 1, 31, 12, tzinfo=UTC)
LIMIT = 20


class Broker(Recorder):
    """As many messages wait for an executor as the test says, and those that were sent since."""

    def __init__(self):
        super().__init__()
        self.looks = []  # what happens before a look
        self.waiting = {}

    def depth(self, executor):
        if self.looks:
            self.looks.pop(0)()
        return self.waiting.get(executor, 0) + super().depth(executor)


@pytest.fixture
def broker():
    return Broker()


@pytest.fixture
def world(database, tmp_path, broker):
    world = World(database, tmp_path)
    world.services = replace(world.services, publisher=broker, max_queue_depth=LIMIT)
    return world


@pytest.fixture
def pauses(monkeypatch):
    """What would have been waited, in seconds; time passes by it alone."""
    made = []
    monkeypatch.setattr(backpressure, "time", SimpleNamespace(sleep=made.append, monotonic=lambda: sum(made)))
    return made


def start(world, *tasks, **wishes):
    version_id, _ = world.publish(flow("flow", *(tasks or [heavy(1)])))
    return submit(version_id, {}, world.services, place=Place(**PLACE), wishes=Wishes(**wishes))


def start_many(world, count, *tasks, **wishes):
    version_id, version = world.publish(flow("flow", *(tasks or [heavy(1)])))
    items = check_items(version, [{}] * count)
    return submit_many(version_id, items, world.services, place=Place(**PLACE), wishes=Wishes(**wishes))


def count(database):
    with database.read() as connection:
        return connection.execute(sa.select(sa.func.count()).select_from(executions)).scalar_one()


# -- refused -------------------------------------------------------------------------------------------------------


def test_what_is_submitted_to_a_full_queue_is_refused_with_what_to_do_and_nothing_is_stored(world, broker):
    broker.waiting["default"] = LIMIT + 1

    with pytest.raises(QueueFull) as caught:
        start(world)

    assert str(caught.value) == (
        "21 messages wait for executor 'default', and ORCHESTRATOR_MAX_QUEUE_DEPTH is 20: "
        "submit later, wait for room (--wait SECONDS, wait_s), or start more workers"
    )
    assert (caught.value.retryable, count(world.database), broker.sent) == (True, 0, [])


def test_one_place_is_enough_for_one_execution(world, broker):
    broker.waiting["default"] = LIMIT - 1

    start(world)

    with pytest.raises(QueueFull):
        start(world)
    assert count(world.database) == 1


def test_only_the_queues_that_it_starts_in_count(world, broker):
    broker.waiting["busy"] = LIMIT

    start(world, heavy(1, next=[2]), heavy(2, executorId="busy"))

    with pytest.raises(QueueFull, match="executor 'busy'"):
        start(world, heavy(1, executorId="busy"))


def test_what_begins_later_is_not_refused(world, broker):
    broker.waiting["default"] = LIMIT

    start(world, at=FAR)

    assert count(world.database) == 1


def test_a_broker_that_cannot_say_how_many_wait_refuses_nothing(world, broker):
    broker.depth = lambda executor: None

    start(world)

    assert count(world.database) == 1


def test_sub_executions_are_never_refused(world, broker):
    world.publish(flow("child", heavy(1)))
    execution_id = start(world, task(1, "Call"))
    broker.waiting["default"] = LIMIT

    world.drive(AttemptKey(execution_id=execution_id, number=1, attempt=1))

    assert count(world.database) == 3


def test_the_tasks_of_an_execution_that_runs_are_never_refused(world, broker):
    execution_id = start(world, heavy(1, next=[2]), heavy(2))
    broker.waiting["default"] = LIMIT

    world.drive(AttemptKey(execution_id=execution_id, number=1, attempt=1))

    assert world.sent() == [1, 2]


# -- many ----------------------------------------------------------------------------------------------------------


def test_many_are_refused_as_a_whole_if_there_is_no_room_for_all(world, broker):
    broker.waiting["default"] = LIMIT - 5

    with pytest.raises(QueueFull, match="leaves room for 5 of 6 executions") as caught:
        start_many(world, 6)

    assert (caught.value.fitting, count(world.database)) == (5, 0)
    start_many(world, 5)
    assert count(world.database) == 5


def test_every_start_task_takes_a_place(world):
    version_id, version = world.publish(flow("two", heavy(1), light(2), starts=[1, 2]))
    items = check_items(version, [{}] * LIMIT)

    with pytest.raises(QueueFull) as caught:
        submit_many(version_id, items, world.services, place=Place(**PLACE), wishes=Wishes())

    assert caught.value.fitting == LIMIT // 2


# -- waiting -------------------------------------------------------------------------------------------------------


def test_who_waits_begins_as_soon_as_there_is_room_and_looks_less_and_less_often(world, broker, pauses):
    broker.waiting["default"] = LIMIT
    broker.looks = [lambda: None] * 7 + [broker.waiting.clear]

    start(world, wait_s=60)

    assert pauses == [0.05, 0.1, 0.2, 0.4, 0.8, 1.0, 1.0]
    assert count(world.database) == 1


def test_who_waits_for_nothing_is_refused_when_the_time_is_over(world, broker, pauses):
    broker.waiting["default"] = LIMIT

    with pytest.raises(QueueFull):
        start(world, wait_s=0.2)

    assert sum(pauses) == pytest.approx(0.2)
    assert count(world.database) == 0


def test_many_that_wait_begin_in_good_portions_as_there_is_room(world, broker, pauses):
    took = []

    def workers_take(many):
        def take():
            took.append(len(broker.sent))
            del broker.sent[:many]

        return take

    broker.looks = [workers_take(each) for each in (0, 1, 2, 20, 0, 20)]

    ids = start_many(world, 50, wait_s=60)

    assert took == [0, 20, 19, 20, 20, 20]
    assert (len(set(ids)), count(world.database)) == (50, 50)


def test_many_that_waited_in_vain_say_how_many_are_stored(world, pauses):
    with pytest.raises(PartlySubmitted, match=r"20 of 50 executions are stored.*: 20 messages wait for") as caught:
        start_many(world, 50, wait_s=5)

    assert len(caught.value.ids) == count(world.database) == 20


@pytest.mark.parametrize("wait_s", [-1.0, float("nan")])
def test_a_wait_that_cannot_be_is_refused(world, wait_s):
    with pytest.raises(InvalidValue, match="wait: found"):
        start(world, wait_s=wait_s)
