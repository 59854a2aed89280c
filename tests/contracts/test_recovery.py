"""What a dead worker held can be claimed again, and what has no message gets one; whoever looks, and however often."""

import pytest
import sqlalchemy as sa

from orchestrator.model.history import EntryKind
from orchestrator.service.control import kill
from orchestrator.service.drive import drive
from orchestrator.service.guarding import ENDED_S
from orchestrator.service.recovery import Republisher, give_back, take_over
from orchestrator.store.duties import DutyStore, TermOver, check
from orchestrator.store.tables import duties, later, live_attempts, workers
from orchestrator.store.workers import LEASE_S, Boot
from tests.contracts.control_world import AUDIT, ControlWorld
from tests.contracts.world import heavy

HERE, ELSEWHERE = "here", "elsewhere"


@pytest.fixture
def world(database, tmp_path):
    return ControlWorld(database, tmp_path)


def boot(name, *, machine=HERE):
    return Boot(id=name, name=name, machine=machine, pid=7, began=100)


JUDGE = boot("judge")


def beats(world, *boots):
    for each in boots:
        world.services.workers.beat(each, [])


def silent(world, name, seconds):
    with world.database.begin() as connection:
        connection.execute(sa.update(workers).where(workers.c.id == name).values(beat_at=later(-seconds)))


def steady(world):
    with world.database.begin() as connection:
        connection.execute(sa.update(workers).where(workers.c.id == "judge").values(steady_since=later(-LEASE_S - 1)))


def claimed_by(world, name, *tasks):
    (key, *_) = world.submit(*tasks)
    world.services.store.claim(key, worker=f"{name}/8/{name}")
    return key


def look(world, *, is_gone=lambda boot: False):
    take_over(world.services, JUDGE, is_gone=is_gone)


def holder(world):
    return world.live()[1]


# -- who is gone ---------------------------------------------------------------------------------------------------


def test_a_worker_of_this_machine_is_judged_by_its_process_alone(world):
    beats(world, JUDGE, boot("neighbour"))
    claimed_by(world, "neighbour", heavy(1))
    steady(world)
    silent(world, "neighbour", 3600)

    look(world)
    assert holder(world) == "neighbour/8/neighbour", "it is there, so nobody else may run what it has"

    beats(world, boot("neighbour"))
    look(world, is_gone=lambda boot: True)
    assert holder(world) is None
    assert [kind for _, kind, _ in world.entries()] == [EntryKind.RETURNED]


def test_a_worker_of_another_machine_is_judged_by_its_silence_alone(world):
    beats(world, JUDGE, boot("other", machine=ELSEWHERE))
    claimed_by(world, "other", heavy(1))
    steady(world)

    look(world, is_gone=lambda boot: True)
    assert holder(world) == "other/8/other"

    silent(world, "other", LEASE_S + 1)
    look(world)
    assert holder(world) is None


def test_after_the_database_was_away_for_everybody_nothing_is_taken_over(world):
    beats(world, JUDGE, boot("other", machine=ELSEWHERE))
    claimed_by(world, "other", heavy(1))
    steady(world)
    silent(world, "other", 600)
    silent(world, "judge", 600)
    beats(world, JUDGE)

    look(world)

    assert holder(world) == "other/8/other"


def test_what_was_taken_over_is_sent_again_and_runs_once(world):
    beats(world, JUDGE, boot("dead"))
    key = claimed_by(world, "dead", heavy(1))
    for _ in range(3):
        look(world, is_gone=lambda boot: True)

    assert world.sent() == [1, 1]
    assert [drive(key, worker=name, services=world.services) for name in ("a", "b")] == [True, False]
    assert world.states() == {1: "SUCCEED"}


def test_a_kill_waits_until_the_code_of_a_silent_worker_has_ended_for_certain(world):
    beats(world, JUDGE, boot("other", machine=ELSEWHERE))
    claimed_by(world, "other", heavy(1))
    steady(world)
    kill(world.id, world.services, audit=AUDIT)

    silent(world, "other", LEASE_S + 1)
    look(world)
    assert world.states() == {1: "IN_PROCESS"}

    silent(world, "other", ENDED_S + 1)
    look(world)
    assert world.states() == {1: "CANCELLED"}
    assert world.execution.state == "CANCELLED"


def test_a_worker_that_is_known_to_be_dead_ends_a_kill_at_once(world):
    beats(world, JUDGE, boot("dead"))
    claimed_by(world, "dead", heavy(1))
    kill(world.id, world.services, audit=AUDIT)

    look(world, is_gone=lambda boot: True)

    assert world.execution.state == "CANCELLED"


def test_what_a_stopping_worker_gives_back_counts_as_no_loss(world):
    beats(world, JUDGE)
    for _ in range(5):
        key = claimed_by(world, "judge", heavy(1))
        give_back(world.services, JUDGE)

        with world.database.read() as connection:
            row = connection.execute(sa.select(live_attempts)).one()
        assert (row.worker, row.owner, row.losses, row.has_begun) == (None, None, 0, True)
        drive(key, worker="a", services=world.services)

    (returned, _) = world.entries()
    assert returned[1] is EntryKind.RETURNED


# -- what has no message -------------------------------------------------------------------------------------------


def settled(world):
    """As if what is ready had been so for a minute."""
    with world.database.begin() as connection:
        connection.execute(sa.update(live_attempts).values(queued_at=later(-60)))


def lose_messages(world):
    world.services.publisher.sent.clear()


def test_a_lost_message_is_sent_again_at_the_second_look(world):
    world.submit(heavy(1))
    settled(world)
    lose_messages(world)
    republisher = Republisher("me")

    republisher.look(world.services, ["default"])
    assert world.sent() == []

    republisher.look(world.services, ["default"])
    assert world.sent() == [1]

    for _ in range(3):
        republisher.look(world.services, ["default"])
    assert world.sent() == [1]


def test_what_waits_with_its_message_is_left_alone(world):
    for _ in range(3):
        world.submit(heavy(1))
    settled(world)
    republisher = Republisher("me")

    for _ in range(3):
        republisher.look(world.services, ["default"])

    assert world.sent() == [1, 1, 1]


def test_as_many_are_sent_as_are_missing_and_the_oldest_first(world):
    lost = world.submit(heavy(1))[0].execution_id
    with world.database.begin() as connection:
        connection.execute(sa.update(live_attempts).values(queued_at=later(-120)))
    lose_messages(world)
    for _ in range(3):
        world.submit(heavy(1))
    with world.database.begin() as connection:
        connection.execute(
            sa.update(live_attempts).where(live_attempts.c.execution_id != lost).values(queued_at=later(-60))
        )
    republisher = Republisher("me")

    republisher.look(world.services, ["default"])
    republisher.look(world.services, ["default"])

    assert [each.execution_id for each in world.services.publisher.sent[3:]] == [lost]


def test_what_is_just_being_published_does_not_count(world):
    world.submit(heavy(1))
    lose_messages(world)
    republisher = Republisher("me")

    for _ in range(3):
        republisher.look(world.services, ["default"])

    assert world.sent() == []


def test_a_broker_that_cannot_say_loses_nothing(world):
    world.submit(heavy(1))
    settled(world)
    lose_messages(world)
    publisher = world.services.publisher
    publisher.depth = lambda executor: None
    republisher = Republisher("me")
    for _ in range(3):
        republisher.look(world.services, ["default"])
    assert world.sent() == []

    del publisher.depth
    for _ in range(2):
        republisher.look(world.services, ["default"])
    assert world.sent() == [1]


def test_one_worker_at_a_time_looks_after_a_queue(world):
    world.submit(heavy(1))
    settled(world)
    lose_messages(world)
    first, second = Republisher("first"), Republisher("second")

    for _ in range(3):
        first.look(world.services, ["default"])
        second.look(world.services, ["default"])

    assert world.sent() == [1]


# -- duties --------------------------------------------------------------------------------------------------------


@pytest.fixture
def store(database):
    return DutyStore(database)


def turn_is_over(store):
    with store.database.begin() as connection:
        connection.execute(sa.update(duties).values(until=later(-1)))


def test_a_duty_is_its_holders_until_its_turn_is_over(store):
    assert [store.take("duty", holder) for holder in ("a", "b", "a")] == [1, None, 1]

    turn_is_over(store)
    assert [store.take("duty", holder) for holder in ("b", "a", "b")] == [2, None, 2]


def test_duties_do_not_know_of_each_other(store):
    assert [store.take(name, name) for name in ("a", "b")] == [1, 1]


def test_who_leaves_lets_others_at_it(store):
    store.take("duty", "a")
    store.leave("a")

    assert store.take("duty", "b") == 2


def test_what_a_holder_of_an_earlier_term_writes_is_refused(store):
    """It slept, and does not know that it did."""
    term = store.take("duty", "a")
    turn_is_over(store)
    later_term = store.take("duty", "b")

    with pytest.raises(TermOver), store.database.begin() as connection:
        check(connection, "duty", "a", term)
    with store.database.begin() as connection:
        check(connection, "duty", "b", later_term)


def test_a_holder_that_nobody_replaced_goes_on(store):
    term = store.take("duty", "a")
    turn_is_over(store)

    with store.database.begin() as connection:
        check(connection, "duty", "a", term)
    assert store.take("duty", "a") == term
