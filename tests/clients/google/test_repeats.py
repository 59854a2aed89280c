"""Connections break after a request was heard, and the client sends it again by itself: it is done once."""

import threading
from datetime import UTC, datetime

import pytest
import sqlalchemy as sa

from orchestrator.model.states import ExecutionState
from orchestrator.store.tables import repeats
from tests.clients.google.breaking import breaking
from tests.clients.google.conftest import Google, client_of
from tests.clients.google.own_server import served_openly
from tests.clients.google.running import execute, name_of, published, schedule
from tests.flows import task
from tests.integration.steering import Steering
from tests.integration.waiting import until

pytestmark = pytest.mark.services

SUSPEND = task(1, "SuspensionTask", successPolicy={"finalState": "SUSPENDED"})


@pytest.fixture
def steering(google, tmp_path):
    return Steering(google.system, tmp_path)


@pytest.fixture
def proxy(google):
    with breaking(google.url) as found:
        yield found


@pytest.fixture
def broken(google, proxy):
    """The client, with a proxy between it and the server."""
    with client_of(proxy.url) as client:
        yield Google(google.system, proxy.url, client)


def replay(google, name, execution_id, reason="again"):
    return google.executions.replay(name=name_of(name, execution_id), body={"replayReason": reason}).execute()


def replays(google, execution_id):
    return google.system.client.get(execution_id).replays


@pytest.mark.parametrize("waits", [True, False])
def test_a_replay_whose_answer_is_lost_is_one_replay(google, broken, proxy, steering, waits):
    name = published(google, "replayed", steering.task(1))
    first = execute(google, name)["executionId"]
    proxy.lose, proxy.waits_for_answer = 1, waits

    answer = replay(broken, name, first)

    assert proxy.posts == 2
    assert replays(google, first) == (answer["executionId"],)
    assert answer["outputParameters"] == {"qty": 1}
    assert len(steering.tries(1)) == 2


def test_a_cancel_whose_answer_is_lost_is_told_that_it_has_cancelled(google, broken, proxy):
    name = published(google, "cancelled", SUSPEND)
    execution_id = execute(google, name)["executionId"]
    proxy.lose = 1

    request = broken.executions.cancel(name=name_of(name, execution_id), body={"cancelReason": "stop"})

    assert request.execute() == {"isCanceled": True}
    assert proxy.posts == 2
    assert google.system.client.get(execution_id).state is ExecutionState.CANCELLED


@pytest.mark.parametrize("verb", ["lift", "resolve"])
def test_an_answer_to_a_suspension_that_comes_twice_is_one_answer(google, broken, proxy, verb):
    name = published(google, "asking", SUSPEND)
    execution_id = execute(google, name)["executionId"]
    bodies = {"lift": {"suspensionResult": "yes"}, "resolve": {"suspension": {"state": "LIFTED"}}}
    proxy.lose = 1

    suspensions, where = broken.executions.suspensions(), f"{name_of(name, execution_id)}/suspensions/-"
    getattr(suspensions, verb)(name=where, body=bodies[verb]).execute()

    assert proxy.posts == 2
    assert google.system.wait(execution_id).state is ExecutionState.SUCCEEDED


def test_an_execute_with_a_request_id_whose_answer_is_lost_is_one_execution(google, broken, proxy, steering):
    name = published(google, "executed", steering.task(1))
    proxy.lose = 1

    answer = execute(broken, name, requestId="lost-1")

    assert proxy.posts == 2
    assert len(steering.tries(1)) == 1
    assert answer["outputParameters"] == {"qty": 1}


def test_a_schedule_with_an_own_id_whose_answer_is_lost_is_one_execution(google, broken, proxy, steering):
    name = published(google, "scheduled", steering.task(1))
    proxy.lose = 1

    assert schedule(broken, name, userGeneratedExecutionId="lost-2") == ["lost-2"]

    google.system.wait("lost-2")
    assert proxy.posts == 2
    assert len(steering.tries(1)) == 1


def test_without_any_id_the_copy_is_another_execution(google, broken, proxy, steering):
    """Nobody can tell it from a second wish."""
    name = published(google, "doubled", steering.task(1))
    proxy.lose = 1

    execute(broken, name)

    until(lambda: len(steering.tries(1)) == 2, what="both copies")


def test_two_copies_at_two_servers_at_the_same_time_are_one_replay(google, steering):
    name = published(google, "raced", steering.task(1))
    first = execute(google, name)["executionId"]
    answers = []

    def send(client):
        answers.append(replay(client, name, first))

    with served_openly(google.system) as (url, _), client_of(url) as client, client_of(google.url) as another:
        clients = [Google(google.system, url, each) for each in (client, another)]
        threads = [threading.Thread(target=send, args=(each,)) for each in clients]
        for each in threads:
            each.start()
        for each in threads:
            each.join()

    assert answers[0] == answers[1]
    assert replays(google, first) == (answers[0]["executionId"],)


def test_another_reason_is_another_replay(google, steering):
    name = published(google, "reasons", steering.task(1))
    first = execute(google, name)["executionId"]

    ids = {replay(google, name, first, each)["executionId"] for each in ("a", "a", "b")}

    assert len(ids) == 2
    assert set(replays(google, first)) == ids


def test_workers_forget_what_no_copy_can_come_for_any_more(google):
    old = {"digest": "old", "wish_id": "w", "began_at": datetime(2026, 1, 31, tzinfo=UTC)}
    with google.system.database.begin() as connection:
        connection.execute(sa.insert(repeats).values(**old, acts_until=old["began_at"]))

    google.system.start_worker("another")  # which looks at once, and then now and then

    left = sa.select(repeats).where(repeats.c.digest == "old")
    until(lambda: not google.system.rows(left), what="the end of an old row")
