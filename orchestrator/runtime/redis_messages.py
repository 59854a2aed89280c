"""Putting messages into Redis as kombu does, in a third of its time: Celery makes them, and here they are written.

What Celery and kombu do between a message that is made and its LPUSH takes longer than all the rest of a small task's
publishing: signals, retry policies and routes merged for each message, the queue copied and bound to look up whether
it was declared, a batch around it. None of that changes what our messages look like, so a test holds what is written
here against what those write, field by field.

Whoever listens to Celery's signals of publishing is to hear of each message, so with a listener nothing is sent here;
nor is anything sent twice, when the first answer did not come: ``runtime.publisher`` takes Celery's way then.
"""

from __future__ import annotations

import base64
import json
import os
import uuid
from collections import defaultdict
from collections.abc import Iterable, Sequence
from itertools import islice
from typing import Any, Final

from celery import Celery, signals
from kombu.common import maybe_declare
from kombu.exceptions import BatchPublishError  # type: ignore[attr-defined]  # stubs
from redis.exceptions import RedisError

from orchestrator.engine.canvas import Message

_MOST_AT_ONCE: Final = 1_000  # messages in one request: Redis does nothing else meanwhile
_PERSISTENT: Final = 2
_SIGNALS: Final = (signals.before_task_publish, signals.after_task_publish, signals.task_sent)
_to_text: Final = json.JSONEncoder().encode  # what kombu's encoder writes of what is plain JSON


def is_listened_to() -> bool:
    """Whether anybody wants to be told of each message that is sent."""
    return any(each.receivers for each in _SIGNALS)


def push(app: Celery, channel: Any, made: Iterable[tuple[Message, Any, int]]) -> None:
    """Send messages: one round trip for up to ``_MOST_AT_ONCE``.

    Args:
        app: knows the queues.
        channel: of kombu's Redis transport.
        made: each with what Celery's ``create_task_message`` has made of it, and its priority as kombu counts.

    Raises:
        BatchPublishError: which of them have arrived is not known.
    """
    ahead = iter(made)
    try:
        while some := list(islice(ahead, _MOST_AT_ONCE)):
            _declare(app, channel, {message.queue for message, _, _ in some})
            texts = defaultdict(list)
            for message, task_message, priority in some:
                texts[channel._q_for_pri(message.queue, priority)].append(_text(message.queue, task_message, priority))
            _send(channel, [("LPUSH", key, *of_key) for key, of_key in texts.items()])
    except (RedisError, OSError) as error:
        raise BatchPublishError(str(error) or type(error).__name__) from error


def _declare(app: Celery, channel: Any, names: set[str]) -> None:
    """Declare the queues that this channel has not declared yet."""
    declared = channel.__dict__.setdefault("_declared_queues", set())
    for name in names - declared:
        maybe_declare(app.amqp.queues[name], channel)
        declared.add(name)


def _send(channel: Any, commands: Sequence[tuple[str, ...]]) -> None:
    """A pipeline; the client's own takes as long as all the rest here."""
    connection = _connection_of(channel)
    try:
        connection.send_packed_command(connection.pack_commands(commands))
        for _ in commands:
            connection.read_response()
    except BaseException:
        connection.disconnect()  # the answers that it may still get are those of another time
        raise


def _connection_of(channel: Any) -> Any:
    """One of the channel's pool that is not given back: to take it each time takes half as long as to use it."""
    kept = channel.__dict__.get("_sending")
    if kept is None or kept.pid != os.getpid():  # a fork's is its parent's
        kept = channel.__dict__["_sending"] = channel.pool.get_connection()
    return kept


def _text(queue: str, made: Any, priority: int) -> str:
    """A message as kombu's consumers read it."""
    return _to_text(
        {
            "body": base64.b64encode(_to_text(made.body).encode()).decode(),
            "content-encoding": "utf-8",
            "content-type": "application/json",
            "headers": made.headers,
            "properties": {
                **made.properties,
                "delivery_mode": _PERSISTENT,
                "delivery_info": {"exchange": "", "routing_key": queue},
                "priority": priority,
                "body_encoding": "base64",
                "delivery_tag": str(uuid.uuid4()),
            },
        }
    )
