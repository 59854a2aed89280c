"""Several messages in one answer of Redis: in order, as many as a worker may have, and none of them lost."""

import uuid
from contextlib import suppress
from queue import Empty

import pytest
import redis
from kombu import Connection, Consumer, Exchange, Producer, Queue
from kombu.transport import redis as transport

from orchestrator.runtime import redis_broker
from tests.services import redis_url

pytestmark = pytest.mark.services

OURS, FOREIGN = "0198e7a0-0000-7000-8000-000000000001.{}.1", "0198e7a0-0000-7000-8000-{:012}"


class Fetching:
    """A consumer as a worker has it, that reads one answer of Redis at a time; ``got`` are the numbers it was given."""

    def __init__(self, connection):
        self.name, self.got, self.messages, self.fails_at = f"several-{uuid.uuid4().hex[:8]}", [], [], None
        self.connection, self.channel = connection, connection.channel()
        exchange = Exchange(self.name, "direct")
        self.queue = Queue(self.name, exchange, routing_key=self.name)
        self.consumer = Consumer(self.channel, [self.queue], on_message=self.receive, accept=["json"])
        self.consumer.consume()
        self.producer = Producer(connection.channel(), exchange, routing_key=self.name)

    def receive(self, message):
        number = message.payload
        if number == self.fails_at:
            self.fails_at = None
            raise RuntimeError("broken")
        self.got.append(number)
        self.messages.append(message)

    def publish(self, *numbers, priority=0, form=OURS):
        for number in numbers:
            self.producer.publish(number, headers={"id": form.format(number)}, priority=priority)

    def allow(self, count):
        self.consumer.qos(prefetch_count=count)

    def fetch(self):
        """What one answer brings."""
        before = len(self.got)
        if self.channel.qos.can_consume():
            client = self.channel.client
            if client.connection is None:
                client.connection = client.connection_pool.get_connection()
            self.channel._brpop_start(timeout=1)
            with suppress(Empty):
                self.channel._brpop_read()
        return self.got[before:]

    def waiting(self):
        return self.channel._size(self.name)

    def noted(self):
        """How many Redis knows to be fetched."""
        with self.channel.conn_or_acquire() as client:
            return client.hlen(self.channel.unacked_key)


@pytest.fixture
def improved(monkeypatch):
    for name in ("QoS", "_create_client", "_brpop_read"):
        monkeypatch.setattr(transport.Channel, name, getattr(transport.Channel, name))
    redis_broker.improve()


@pytest.fixture
def fetching(improved):
    with Connection(redis_url(), transport_options={"unacked_key": f"unacked-{uuid.uuid4().hex}"}) as connection:
        yield Fetching(connection)


def test_one_answer_brings_several_in_their_order(fetching):
    fetching.allow(10)
    fetching.publish(1, 2, 3, 4)

    assert fetching.fetch() == [1, 2, 3, 4]
    assert fetching.waiting() == 0


def test_no_more_come_than_the_worker_may_have(fetching):
    fetching.allow(3)
    fetching.publish(1, 2, 3, 4, 5)

    assert fetching.fetch() == [1, 2, 3]
    assert fetching.fetch() == []
    fetching.messages[0].ack()
    fetching.messages[1].ack()
    assert fetching.fetch() == [4, 5]


def test_there_is_a_most_of_one_answer(fetching, monkeypatch):
    monkeypatch.setattr(redis_broker, "MOST", 2)
    fetching.allow(10)
    fetching.publish(1, 2, 3)

    assert [fetching.fetch(), fetching.fetch()] == [[1, 2, 3], []]
    fetching.publish(4, 5, 6, 7)
    assert [fetching.fetch(), fetching.fetch()] == [[4, 5, 6], [7]]


def test_what_is_urgent_comes_first(fetching):
    fetching.allow(10)
    fetching.publish(1, 2, priority=9)
    fetching.publish(3, 4, priority=0)

    assert [fetching.fetch(), fetching.fetch()] == [[3, 4], [1, 2]]


def test_nothing_comes_of_nothing(fetching):
    fetching.allow(10)

    assert fetching.fetch() == []
    fetching.publish(1)
    assert fetching.fetch() == [1]


def test_if_one_cannot_be_delivered_the_others_go_back_in_their_order(fetching):
    fetching.allow(10)
    fetching.publish(1, 2, 3, 4)
    fetching.fails_at = 2

    with pytest.raises(RuntimeError, match="broken"):
        fetching.fetch()

    assert fetching.got == [1]
    assert fetching.waiting() == 2
    fetching.publish(5)
    assert fetching.fetch() == [3, 4, 5]


def test_what_is_given_back_is_at_the_head_again(fetching):
    fetching.allow(3)
    fetching.publish(1, 2, 3, 4)
    fetching.fetch()

    for each in reversed(fetching.messages):
        redis_broker.give_back(each, fetching.connection.connection_errors)

    assert fetching.waiting() == 4
    assert fetching.fetch() == [1, 2, 3]


def test_what_is_given_back_keeps_its_priority(fetching):
    fetching.allow(1)
    fetching.publish(1, priority=9)
    fetching.fetch()
    redis_broker.give_back(fetching.messages[0], fetching.connection.connection_errors)
    fetching.publish(2, priority=0)

    fetching.allow(2)
    assert [fetching.fetch(), fetching.fetch()] == [[2], [1]]


def test_foreign_ones_are_noted_in_redis_as_ever(fetching):
    fetching.allow(10)
    fetching.publish(1)
    fetching.publish(2, 3, form=FOREIGN)

    assert fetching.fetch() == [1, 2, 3]
    assert fetching.noted() == 2
    for each in fetching.messages:
        each.ack()
    assert (fetching.noted(), fetching.waiting()) == (0, 0)


def test_a_redis_that_cannot_do_so_is_asked_for_one_at_a_time(fetching):
    def refuse(*command, **options):
        if command[0] == "RPOP" and len(command) > 2:
            raise redis.ResponseError("wrong number of arguments for 'rpop' command")
        return send(*command, **options)

    fetching.allow(10)
    fetching.fetch()
    send, fetching.channel.client.execute_command = fetching.channel.client.execute_command, refuse
    fetching.publish(1, 2, 3)

    assert [fetching.fetch() for _ in range(4)] == [[1], [2], [3], []]
