"""Messages that go back to a broker whose connection is gone."""

from amqp.exceptions import RecoverableConnectionError
from kombu import Connection
from kombu.message import Message

from orchestrator.runtime.redis_broker import give_back


class Closed:
    """A channel of RabbitMQ's client after its connection was lost."""

    connection = None

    def basic_reject(self, delivery_tag, requeue):
        raise RecoverableConnectionError("connection already closed")


def test_a_message_whose_connection_is_gone_is_let_be():
    message = Message(channel=Closed(), delivery_tag="1", body="[]")

    give_back(message, Connection("amqp://").connection_errors)

    assert not message.acknowledged
