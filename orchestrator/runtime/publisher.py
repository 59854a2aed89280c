"""Publishing: the engine's canvas as real Celery messages and chords, sent at once where the broker is Redis.

The messages are those that Celery's own ``apply_async`` and ``chord`` would send, to the last header (a test holds the
two against each other), put together by the parts of Celery that they use in the end. What those do before costs three
times as much as the sending: copying signatures, freezing groups, looking up routes, merging options.

Losing a message loses time, never work, because the rows say what is to be done; so inside a worker a broker that is
away is logged and not raised: the commit stands, and the attempt must not look failed for it.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, assert_never

from celery import Celery, Signature
from kombu import Producer
from kombu.exceptions import BatchPublishError, ChannelError, OperationalError  # type: ignore[attr-defined]  # stubs

from orchestrator.engine.canvas import MOST_URGENT, Chord, Message, queue_of, to_celery_id
from orchestrator.errors import Unreachable
from orchestrator.failpoints import failpoint
from orchestrator.settings import masked_url, scheme_of
from orchestrator.store.rows import LiveAttempt

log = logging.getLogger(__name__)


class CeleryPublisher:
    """Sends messages through a Celery app.

    Args:
        app: the app.
        raises: whether a broker that is away is the caller's business (a client's) or only logged (a worker's).
    """

    def __init__(self, app: Celery, *, raises: bool) -> None:
        self.app, self.raises = app, raises
        scheme = scheme_of(str(app.conf.broker_url))
        self._is_amqp, self._is_redis = scheme in ("amqp", "amqps"), scheme.startswith("redis")

    def publish(self, messages: Sequence[Message | Chord]) -> None:
        """Send them all.

        Raises:
            Unreachable: the broker does not answer, and this publisher raises.
        """
        failpoint("publish.before")
        try:
            self._send(messages)
        except (OperationalError, OSError) as error:
            if self.raises:
                broker = masked_url(str(self.app.conf.broker_url))
                raise Unreachable("the broker", broker, str(error) or type(error).__name__) from error
            log.exception("messages not published; their rows stay ready", extra={"count": len(messages)})
        failpoint("publish.after")

    def nudge(self, attempts: Sequence[LiveAttempt]) -> None:
        """Revoke them, at the workers that run them alone; what these make of it is in ``runtime.requests``.

        By a broadcast: a revoke of ours (``runtime.control``) would be a KILL, and this is what follows one.
        """
        ids = [
            to_celery_id(each.key.execution_id, each.key.number, each.key.attempt, each.key.round) for each in attempts
        ]
        nodes = {each.worker.partition("/")[0] for each in attempts if each.worker is not None}
        with self.app.connection_or_acquire() as connection:
            try:
                arguments = {"task_id": ids, "terminate": True, "signal": "SIGTERM"}
                self.app.control.broadcast(
                    "revoke", destination=sorted(nodes), arguments=arguments, connection=connection
                )
            except (*connection.connection_errors, OperationalError, OSError) as error:
                log.warning("workers are not told at once what they are to end: %s", error)

    def depth(self, executor: str) -> int | None:
        """How many messages wait for an executor: those that no worker has fetched."""
        with self.app.connection_or_acquire() as connection:
            try:
                with connection.channel() as channel:
                    return int(channel.queue_declare(queue=queue_of(executor), passive=True).message_count)
            except ChannelError:  # there is no such queue yet, or any more
                return 0
            except (*connection.connection_errors, OperationalError, OSError) as error:
                log.warning("the broker does not say how many messages wait: %s", error)
                return None

    def _send(self, messages: Sequence[Message | Chord]) -> None:
        try:
            self._send_at_once(messages)
        except BatchPublishError:  # which of them have arrived is not known; twice is harmless
            with self.app.producer_or_acquire() as producer:
                self._send_each(messages, producer)

    def _send_at_once(self, messages: Sequence[Message | Chord]) -> None:
        """On Redis: one round trip for all."""
        if self._is_redis:
            from orchestrator.runtime import redis_messages  # loads the transport, which is used now

            if not redis_messages.is_listened_to():
                pool: Any = self.app.pool  # the stubs take it for another one
                with pool.acquire(block=True) as connection:
                    redis_messages.push(self.app, connection.default_channel, self._make_all(messages))
                return
        with self.app.producer_or_acquire() as producer, producer.batch():
            self._send_each(messages, producer)

    def _send_each(self, messages: Sequence[Message | Chord], producer: Producer) -> None:
        """By Celery's own means."""
        for message, made, priority in self._make_all(messages):
            self.app.amqp.send_task_message(producer, message.name, made, queue=message.queue, priority=priority)

    def _make_all(self, messages: Iterable[Message | Chord]) -> Iterator[tuple[Message, Any, int]]:
        ancestors = _ancestors(self.app)
        for each in messages:
            match each:
                case Message():
                    yield self._make(each, ancestors)
                case Chord(header=header, body=body):
                    # Group and body share the join's id, by which the backend knows both for a round.
                    last = self._body_of(body)
                    for index, member in enumerate(header):
                        membership = {"group_id": body.celery_id, "group_index": index, "chord": last}
                        yield self._make(member, ancestors | membership)
                case _:
                    assert_never(each)

    def _make(self, message: Message, more: Mapping[str, Any]) -> tuple[Message, Any, int]:
        task = self.app.tasks.get(message.name)  # None: only other workers have it
        made = self.app.amqp.create_task_message(
            message.celery_id,
            message.name,
            message.arguments,
            argsrepr=repr(message.arguments),
            kwargsrepr="{}",
            reply_to=self.app.thread_oid,
            ignore_result=None if task is None else task.ignore_result,
            **more,
        )
        return message, made, self._priority(message)

    def _body_of(self, message: Message) -> dict[str, Any]:
        """The body of a chord, as its members carry it."""
        options = {"group_id": message.celery_id, "reply_to": self.app.thread_oid}
        return dict(self._signature(message, **options))

    def _signature(self, message: Message, **options: Any) -> Signature[Any]:
        return self.app.signature(
            message.name,
            args=message.arguments,
            immutable=True,
            task_id=message.celery_id,
            queue=message.queue,
            priority=self._priority(message),
            **options,
        )

    def _priority(self, message: Message) -> int:
        """AMQP takes 9 for the most urgent, kombu's Redis transport 0; others take none."""
        return message.priority if self._is_amqp else MOST_URGENT - message.priority


def _ancestors(app: Celery) -> dict[str, str | None]:
    """The message that this worker process works on, as Flower shows it of what it causes."""
    task = app.current_worker_task
    if task is None:
        return {}
    return {"root_id": task.request.root_id or task.request.id, "parent_id": task.request.id}
