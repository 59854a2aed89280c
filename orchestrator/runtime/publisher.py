"""Publishing: the engine's canvas as real Celery signatures and chords, sent over one producer.

Losing a message loses time, never work, because the rows say what is to be done; so inside a worker a broker that is
away is logged and not raised: the commit stands, and the attempt must not look failed for it.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any, assert_never

from celery import Celery, Signature, chord
from kombu import Producer
from kombu.exceptions import ChannelError, OperationalError

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

    def publish(self, messages: Sequence[Message | Chord]) -> None:
        """Send them all.

        Raises:
            Unreachable: the broker does not answer, and this publisher raises.
        """
        failpoint("publish.before")
        try:
            with self.app.producer_or_acquire() as producer:
                for each in messages:
                    self._send(each, producer)
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

    def _send(self, each: Message | Chord, producer: Producer) -> None:
        match each:
            case Message():
                self._signature(each).apply_async(producer=producer, add_to_parent=False)
            case Chord(header=header, body=body):
                # On the chord, not on a group in it: Celery makes a group of its own, with the chord's id. Group and
                # body then share the join's id, by which the backend knows both for a round of sub-executions.
                children = [self._signature(message) for message in header]
                chord(children, body=self._signature(body), app=self.app, task_id=body.celery_id).apply_async(
                    task_id=body.celery_id, producer=producer
                )
            case _:
                assert_never(each)

    def _signature(self, message: Message) -> Signature[Any]:
        return self.app.signature(
            message.name,
            args=message.arguments,
            immutable=True,
            task_id=message.celery_id,
            queue=message.queue,
            priority=_priority(str(self.app.conf.broker_url), message.priority),
        )


def _priority(broker_url: str, urgency: int) -> int:
    """AMQP takes 9 for the most urgent, kombu's Redis transport 0; others take none."""
    return urgency if scheme_of(broker_url) in ("amqp", "amqps") else MOST_URGENT - urgency
