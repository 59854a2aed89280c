"""kombu's Redis transport, made safe and quick.

Safe: a worker outlives a Redis that is away for a moment.

As released (kombu 5.7.0), a consumer that loses its connection puts back what it has not acknowledged. If Redis does
not answer at that moment, it does so through a connection that is released already, and fails for that: ``'NoneType'
object has no attribute 'hostname'``. Celery takes this for no connection error and ends the worker, with whatever it
runs. So a restart of Redis would end every worker that is busy.

Nothing needs to be put back for us: what is not claimed is published again, what is claimed is not to come again.

Quick: kombu notes each message in Redis when it is fetched, and takes the note back when it is acknowledged, so that
another worker gets it after the visibility timeout. For a message of ours the rows do that, and sooner, so it is kept
in memory alone: two transactions less for each message, in the one process that all of a worker's messages go through.
Foreign messages have nothing else and are noted as ever. It asks Redis for one message at a time, and goes round the
event loop for each: here for as many as the worker may have, where Redis can do that (RPOP with a count, 6.2). And
kombu makes a client for every command that it sends, which costs more than the sending. A client has no state but its
connection pool, so one is enough for as long as the pool is the same.
"""

from __future__ import annotations

import logging
from contextlib import suppress
from queue import Empty
from typing import Any, Final

from kombu.transport import redis, virtual
from kombu.utils.json import loads
from redis.exceptions import ResponseError

from orchestrator.runtime.metas import is_ours

log = logging.getLogger(__name__)

MOST: Final = 64  # messages in one answer of Redis, of 2 KB each


class QoS(redis.QoS):
    """kombu's, but for messages of ours, and for a connection that is released."""

    channel: Any  # the stubs do not know all of them
    _delivered: Any
    _flush: Any

    def append(self, message: Any, delivery_tag: str) -> None:
        """Note that a message was fetched."""
        if _is_ours(message):
            virtual.QoS.append(self, message, delivery_tag)
        else:
            super().append(message, delivery_tag)

    def restore_unacked(self, client: Any = None) -> None:
        """Put back what is not acknowledged, if that can be."""
        if self._is_connected:
            self._flush()
            for tag, message in list(self._delivered.items()):
                if _is_ours(message):
                    self._put_back(message, leftmost=False)
                    del self._delivered[tag]
            super().restore_unacked(client)
        elif self._delivered is not None:
            self._delivered.clear()

    def ack(self, delivery_tag: str) -> None:
        """Acknowledge, if that can be: what ended after its connection was lost has been put back, or comes again."""
        if _is_ours(self._delivered.get(delivery_tag)):
            virtual.QoS.ack(self, delivery_tag)
        elif self._is_connected:
            super().ack(delivery_tag)

    def reject(self, delivery_tag: str, requeue: bool = False) -> None:
        """Likewise."""
        message = self._delivered.get(delivery_tag)
        if _is_ours(message):
            if requeue and self._is_connected:
                self._put_back(message, leftmost=True)
            virtual.QoS.ack(self, delivery_tag)
        elif self._is_connected:
            super().reject(delivery_tag, requeue=requeue)

    def give_back(self, delivery_tag: str) -> None:
        """Put a message of ours back to where it came from, if that can be: the next to be fetched."""
        message = self._delivered.get(delivery_tag)
        if message is not None and self._is_connected:
            self._put_back(message, leftmost=False)
        virtual.QoS.ack(self, delivery_tag)

    def _put_back(self, message: Any, *, leftmost: bool) -> None:
        came = message.delivery_info
        with self.channel.conn_or_acquire() as client, client.pipeline() as pipe:
            self.channel._do_restore_message(message._raw, came["exchange"], came["routing_key"], pipe, leftmost)
            pipe.execute()

    @property
    def _is_connected(self) -> bool:
        connection = self.channel.connection
        return connection is not None and connection.client is not None


def give_back(message: Any, errors: tuple[type[BaseException], ...]) -> None:
    """Put a message of ours that nobody works on back to where it came from, whichever broker that is.

    Args:
        message: as it was delivered; its connection may be gone.
        errors: what the broker's client raises if so. The message then comes again, as all do that were not
            acknowledged.
    """
    qos = getattr(message.channel, "qos", None)
    if isinstance(qos, QoS):
        try:
            qos.give_back(message.delivery_tag)
        except errors:
            log.warning("message not given back: Redis is away")
    else:
        message.reject_log_error(log, errors, requeue=True)


def _is_ours(message: Any) -> bool:
    """Whether a message is for an attempt. None: it was acknowledged before."""
    return message is not None and is_ours(str(message.headers.get("id")))


_CHANNEL: Final[Any] = redis.Channel  # likewise
_make_client: Final = _CHANNEL._create_client


def _one_client(channel: Any, asynchronous: bool = False) -> Any:
    if asynchronous:  # those are kept by kombu itself
        return _make_client(channel, asynchronous=True)
    kept = channel.__dict__.get("_kept_client")
    if kept is None or kept.connection_pool is not channel.pool:
        kept = channel.__dict__["_kept_client"] = _make_client(channel)
    return kept


def _read_pop(channel: Any, **options: Any) -> bool:
    """Kombu's ``_brpop_read``; behind the message that it reads come as many as the worker may have."""
    try:
        connection = channel.client.connection
        try:
            found = channel.client.parse_response(connection, "BRPOP", **options)
        except channel.connection_errors:
            connection.disconnect()  # or the next one reads what is left of this answer
            raise
        if not found:
            raise Empty
        key, first = found
        _deliver(channel, key, [first])
        count = min(channel.qos.can_consume_max_estimate() or 0, MOST)
        if count and not (channel._closing or channel.__dict__.get("_pops_singly")):
            _deliver(channel, key, _pop(channel, key, count))
    finally:
        channel._in_poll = None
        channel._flush_brpop_reauth()
    return True


def _pop(channel: Any, key: bytes, count: int) -> list[bytes]:
    try:
        return channel.client.execute_command("RPOP", key, count) or []
    except ResponseError as error:  # before Redis 6.2
        log.info("messages are fetched one by one: %s", error)
        channel.__dict__["_pops_singly"] = True
        return []


def await_answer(channel: Any) -> None:
    """Read what Redis still owes to a channel that was asking for messages: for a second at most, while kombu waits.

    A channel that closes does that by itself, but then the worker has drained.
    """
    if isinstance(channel, _CHANNEL) and channel.__dict__.get("_in_poll"):
        channel.__dict__["_pops_singly"] = True
        with suppress(Empty, *channel.connection_errors):
            channel._brpop_read()


def _deliver(channel: Any, key: bytes, items: list[bytes]) -> None:
    """Hand over what was popped, the oldest first. If one of them fails, the others go back."""
    queue = key.decode().rsplit(channel.sep, 1)[0]
    channel._queue_cycle.rotate(queue)
    for position, item in enumerate(items, 1):
        try:
            channel.connection._deliver(loads(item), queue)
        except BaseException:
            if items[position:]:
                with channel.conn_or_acquire() as client:
                    client.rpush(key, *reversed(items[position:]))
            raise


def improve() -> None:
    """For every Redis connection of this process: kombu chooses the class by the scheme of a URL, and asks nobody."""
    _CHANNEL.QoS = QoS
    _CHANNEL._create_client = _one_client
    _CHANNEL._brpop_read = _read_pop
