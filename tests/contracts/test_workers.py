"""The heartbeat's rows: who is there, who is gone, and who may say so."""

import pytest
import sqlalchemy as sa

from orchestrator.store.kinds import WorkerState
from orchestrator.store.tables import later, live_attempts, workers
from orchestrator.store.workers import BEAT_S, LEASE_S, Boot, Held, WorkerStore
from tests.contracts.stored import start

HERE, ELSEWHERE = "here/1", "elsewhere/1"


@pytest.fixture
def store(database):
    return WorkerStore(database)


def boot(name, *, machine=HERE):
    return Boot(id=f"id of {name}", name=name, machine=machine, pid=7, began=100)


ME = boot("me")


def last_beat(store, name, *, seconds_ago, steady_for=None):
    values = {"beat_at": later(-seconds_ago)}
    if steady_for is not None:
        values["steady_since"] = later(-steady_for)
    with store.database.begin() as connection:
        connection.execute(sa.update(workers).where(workers.c.name == name).values(values))


def hold(database, name):
    """An attempt that a process of this worker has claimed."""
    (key,) = start(database)
    held = sa.update(live_attempts).where(live_attempts.c.execution_id == key.execution_id)
    with database.begin() as connection:
        connection.execute(held.values(worker=f"{name}/8/id of {name}", owner=f"id of {name}"))
    return key.execution_id


def names(store):
    return [each.name for each in store.live()]


def row_names(store):
    with store.database.read() as connection:
        return sorted(connection.execute(sa.select(workers.c.name)).scalars())


def test_a_worker_that_beats_is_there_with_its_queues(store):
    store.beat(boot("default@host"), ["executor.default", "executor.ingest"])

    (found,) = store.live()
    assert (found.id, found.name) == ("id of default@host", "default@host")
    assert found.queues == ("executor.default", "executor.ingest")
    assert found.state is WorkerState.READY
    assert found.beat_at >= found.started_at


def test_a_beat_keeps_the_start_and_tells_what_is_so_now(store):
    store.beat(boot("a@host"), ["executor.a"])
    last_beat(store, "a@host", seconds_ago=BEAT_S)
    (first,) = store.live()

    store.beat(boot("a@host"), ["executor.b"], WorkerState.DRAINING)

    (second,) = store.live()
    assert (second.started_at, second.queues) == (first.started_at, ("executor.b",))
    assert second.state is WorkerState.DRAINING
    assert second.beat_at > first.beat_at


def test_a_worker_counts_until_its_lease_is_over(store):
    store.beat(boot("late@host"), [])
    store.beat(boot("lost@host"), [])

    last_beat(store, "late@host", seconds_ago=LEASE_S - 3)
    last_beat(store, "lost@host", seconds_ago=LEASE_S + 1)  # SQLite's clock has milliseconds

    assert names(store) == ["late@host"]


def test_a_worker_that_leaves_takes_its_own_row_alone(store):
    """Two workers of one executor on one host may have the same node name."""
    first, second = (Boot(id=each, name="a@host", machine=HERE, pid=1, began=1) for each in ("first", "second"))
    store.beat(first, [])
    store.beat(second, [])

    store.leave("first")

    assert [each.id for each in store.live()] == ["second"]


def test_a_worker_that_holds_something_cannot_leave_nor_be_forgotten(database, store):
    store.beat(ME, [])
    last_beat(store, "me", seconds_ago=2 * 86_400)
    hold(database, "me")

    store.leave(ME.id)
    store.forget_lost()

    assert row_names(store) == ["me"]


def test_the_rows_of_workers_that_were_killed_long_ago_are_dropped(store):
    for name, seconds_ago in (("new", 0), ("lost", 3600), ("old", 2 * 86_400)):
        store.beat(boot(name), [])
        last_beat(store, name, seconds_ago=seconds_ago)

    store.forget_lost()

    assert row_names(store) == ["lost", "new"]


def suspects(store):
    return {each.boot.name: each.may_be_judged for each in store.suspects(ME)}


def test_those_of_the_same_machine_are_always_looked_at_and_others_when_they_are_silent(store):
    for name, machine, seconds_ago in (
        ("neighbour", HERE, 1),
        ("silent neighbour", HERE, LEASE_S + 1),
        ("other", ELSEWHERE, LEASE_S - 3),
        ("silent other", ELSEWHERE, LEASE_S + 1),
    ):
        store.beat(boot(name, machine=machine), [])
        last_beat(store, name, seconds_ago=seconds_ago)
    store.beat(ME, [])
    last_beat(store, "me", seconds_ago=1, steady_for=LEASE_S + 1)

    assert suspects(store) == {"neighbour": False, "silent neighbour": True, "silent other": True}


@pytest.mark.parametrize("gap", ["it has just begun", "it was cut off itself"])
def test_a_worker_that_has_not_heard_everything_may_not_judge(store, gap):
    store.beat(boot("other", machine=ELSEWHERE), [])
    last_beat(store, "other", seconds_ago=60)
    store.beat(ME, [])
    if gap == "it was cut off itself":
        last_beat(store, "me", seconds_ago=LEASE_S + 1, steady_for=3600)
        store.beat(ME, [])

    assert suspects(store) == {"other": False}

    last_beat(store, "me", seconds_ago=0, steady_for=LEASE_S + 1)
    assert suspects(store) == {"other": True}


def test_a_beat_in_time_keeps_a_worker_steady(store):
    store.beat(boot("other", machine=ELSEWHERE), [])
    last_beat(store, "other", seconds_ago=60)
    store.beat(ME, [])
    last_beat(store, "me", seconds_ago=LEASE_S - 3, steady_for=3600)

    store.beat(ME, [])

    assert suspects(store) == {"other": True}


def test_a_lost_worker_is_looked_at_again_for_a_while_and_counts_again_when_it_beats(store):
    store.beat(ME, [])
    store.beat(boot("lost"), [])
    store.mark_lost("id of lost")

    assert names(store) == ["me"]
    assert list(suspects(store)) == ["lost"], "what it had on its way to the database may still come"

    last_beat(store, "lost", seconds_ago=600)
    assert suspects(store) == {}

    store.beat(boot("lost"), [])
    assert names(store) == ["lost", "me"]


def test_what_a_worker_holds_comes_in_pages(database, store):
    execution_ids = sorted(hold(database, "lost") for _ in range(3))
    hold(database, "me")
    wanted = [Held(execution_id=each, worker="lost/8/id of lost") for each in execution_ids]

    first = store.held_by("id of lost", limit=2)
    second = store.held_by("id of lost", limit=2, after=first[-1])

    assert (first, second) == (wanted[:2], wanted[2:])
    assert store.held_by("id of lost", limit=2, after=second[-1]) == []
