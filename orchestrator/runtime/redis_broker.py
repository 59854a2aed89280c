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
Foreign messages have nothing else and are noted as ever. And kombu makes a client for every command that it sends,
which costs more than the sending. A client has no state but its connection pool, so one is enough for as long as the
pool is the same.
"""

from __future__ import annotations

import functools
from typing import Any, Final

from kombu.transport import redis, virtual

from orchestrator.runtime.metas import is_ours


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

    def _put_back(self, message: Any, *, leftmost: bool) -> None:
        came = message.delivery_info
        with self.channel.conn_or_acquire() as client, client.pipeline() as pipe:
            self.channel._do_restore_message(message._raw, came["exchange"], came["routing_key"], pipe, leftmost)
            pipe.execute()

    @property
    def _is_connected(self) -> bool:
        connection = self.channel.connection
        return connection is not None and connection.client is not None


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


def keep_client(channel: Any) -> None:
    """Have a channel keep its client, if it is one of Redis, where other channels of the process are not ours."""
    if isinstance(channel, redis.Channel):
        channel.__dict__.setdefault("_create_client", functools.partial(_one_client, channel))


def improve() -> None:
    """For every Redis connection of this process: kombu chooses the class by the scheme of a URL, and asks nobody."""
    _CHANNEL.QoS = QoS
    _CHANNEL._create_client = _one_client
