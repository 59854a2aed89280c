"""What a worker has fetched from Redis: messages of ours are noted in its memory alone, and foreign ones as ever."""

import uuid

import pytest
from kombu import Connection
from kombu.transport import redis as transport

from orchestrator.runtime import redis_broker
from tests.services import redis_url

pytestmark = pytest.mark.services

OURS, FOREIGN = "0198e7a0-0000-7000-8000-000000000001.3.1", "0198e7a0-0000-7000-8000-000000000001"


@pytest.fixture
def queue(monkeypatch):
    """A queue on a connection as a worker has it, and a look at what Redis knows."""
    for name in ("QoS", "_create_client"):
        monkeypatch.setattr(transport.Channel, name, getattr(transport.Channel, name))
    redis_broker.improve()
    name, options = f"fetched-{uuid.uuid4().hex[:8]}", {"unacked_key": f"unacked-{uuid.uuid4().hex}"}
    with Connection(redis_url(), transport_options=options) as connection, connection.SimpleQueue(name) as made:
        yield made


def noted(queue):
    """How many fetched messages Redis knows of."""
    with queue.channel.conn_or_acquire() as client:
        return client.hlen(queue.channel.unacked_key)


def waiting(queue):
    return queue.channel._size(queue.queue.name)


def fetch(queue, task_id):
    queue.put("body", headers={"id": task_id})
    return queue.get(timeout=10)


@pytest.mark.parametrize(("task_id", "count"), [(OURS, 0), (FOREIGN, 1), (None, 1)], ids=["ours", "foreign", "none"])
def test_only_foreign_messages_are_noted_in_redis(queue, task_id, count):
    message = fetch(queue, task_id)
    assert noted(queue) == count

    message.ack()
    assert noted(queue) == 0
    assert waiting(queue) == 0


@pytest.mark.parametrize("task_id", [OURS, FOREIGN])
def test_a_rejected_message_is_gone_and_a_requeued_one_comes_again(queue, task_id):
    fetch(queue, task_id).reject()
    assert (waiting(queue), noted(queue)) == (0, 0)

    fetch(queue, task_id).requeue()
    again = queue.get(timeout=10)
    assert (again.headers["id"], again.headers["redelivered"]) == (task_id, True)
    again.ack()
    assert (waiting(queue), noted(queue)) == (0, 0)


def test_what_was_not_acknowledged_is_there_again_when_the_channel_is_closed(queue):
    done, _, _ = (fetch(queue, each) for each in (f"{OURS}9", OURS, FOREIGN))
    done.ack()

    queue.channel.qos.restore_unacked_once()

    assert (waiting(queue), noted(queue)) == (2, 0)
