"""The heartbeat's rows: who is there, and who has stopped to beat."""

import pytest
import sqlalchemy as sa

from orchestrator.store.tables import later, workers
from orchestrator.store.workers import BEAT_S, LIVE_BEATS, WorkerStore


@pytest.fixture
def store(database):
    return WorkerStore(database)


def last_beat(store, worker, *, seconds_ago):
    with store.database.begin() as connection:
        connection.execute(sa.update(workers).where(workers.c.id == worker).values(beat_at=later(-seconds_ago)))


def ids(store):
    return [each.id for each in store.live()]


def test_a_worker_that_beats_is_there_with_its_queues(store):
    store.beat("default@host/7", ["executor.default", "executor.ingest"])

    (found,) = store.live()
    assert found.id == "default@host/7"
    assert found.queues == ("executor.default", "executor.ingest")
    assert found.beat_at >= found.started_at


def test_a_beat_keeps_the_start_and_tells_what_is_consumed_now(store):
    store.beat("a@host/1", ["executor.a"])
    last_beat(store, "a@host/1", seconds_ago=BEAT_S)
    (first,) = store.live()

    store.beat("a@host/1", ["executor.b"])

    (second,) = store.live()
    assert (second.started_at, second.queues) == (first.started_at, ("executor.b",))
    assert second.beat_at > first.beat_at


def test_a_worker_counts_for_three_beats_after_its_last(store):
    store.beat("late@host/1", ["executor.a"])
    store.beat("lost@host/2", ["executor.a"])

    last_beat(store, "late@host/1", seconds_ago=BEAT_S * LIVE_BEATS - 3)
    last_beat(store, "lost@host/2", seconds_ago=BEAT_S * LIVE_BEATS)

    assert ids(store) == ["late@host/1"]


def test_a_worker_that_leaves_takes_its_own_row_alone(store):
    """Two workers of one executor on one host have the same node name."""
    store.beat("a@host/1", ["executor.a"])
    store.beat("a@host/2", ["executor.a"])

    store.leave("a@host/1")

    assert ids(store) == ["a@host/2"]


def test_the_rows_of_workers_that_were_killed_long_ago_are_dropped(store):
    for worker, seconds_ago in (("new@host/1", 0), ("lost@host/2", 3600), ("old@host/3", 2 * 86_400)):
        store.beat(worker, [])
        last_beat(store, worker, seconds_ago=seconds_ago)

    store.forget_lost()

    with store.database.read() as connection:
        assert sorted(connection.execute(sa.select(workers.c.id)).scalars()) == ["lost@host/2", "new@host/1"]
