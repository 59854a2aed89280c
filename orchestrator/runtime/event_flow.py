"""Events for Flower, a few times a second.

A worker tells Celery's monitors of each task three times. Celery gathers these events and sends them as soon as its
event loop has come round, which under load is two or three messages a task, each with a round trip, and took a third of
the time of the process that all tasks go through. Here they wait a moment for others and go out together: in messages
as small as that of a task, compressed, as kombu offers it and every reader of kombu undoes it, and on Redis all of them
in one round trip. Nobody sees the difference: Flower asks every few seconds, and each event has the time at which it
happened.

A worker that is killed takes the last moment's events with it. They are for looking at; the rows say what is true.
"""

from __future__ import annotations

import logging
import zlib
from collections.abc import Iterator, Sequence
from typing import Any, Final

from celery import bootsteps
from kombu.utils.json import dumps

PAUSE_S: Final = 0.2
MOST: Final = 1000  # events that wait; then they go out at once
MOST_BYTES: Final = 1_100  # of the compressed events in one message; it is sent as base64, with headers of 300 bytes
MOST_IN_ONE: Final = 16  # events in one message; mostly they fit
_GROUP: Final = "task"
_COMPRESSED: Final = {"compression": "application/x-gzip"}  # kombu's name for zlib

log = logging.getLogger(__name__)


class EventFlow(bootsteps.StartStopStep):
    """The consumer's boot step: each connection to the broker has a dispatcher of its own."""

    requires = ("celery.worker.consumer.events:Events",)

    def start(self, parent: Any) -> None:
        """Have what the dispatcher gathers sent after a pause."""
        dispatcher = parent.event_dispatcher
        if parent.hub is None:  # no event loop: nothing is gathered
            return
        is_due = False

        def send() -> None:
            nonlocal is_due
            is_due = False
            flush(dispatcher)

        def send_soon() -> None:
            nonlocal is_due
            if not is_due:
                is_due = True
                parent.hub.call_later(PAUSE_S, send)
            elif len(dispatcher._group_buffer[_GROUP]) >= MOST:
                flush(dispatcher)

        dispatcher.buffer_limit = 2 * MOST  # never: Celery would send them as one message
        dispatcher.on_send_buffered = send_soon

    def stop(self, parent: Any) -> None:
        """Send what is left, while there is a connection."""
        if parent.event_dispatcher is not None:
            flush(parent.event_dispatcher)


def flush(dispatcher: Any) -> None:
    """Send what was gathered. A broker that is away must not end the worker for it: it is gone then."""
    with dispatcher.mutex:
        events = dispatcher._group_buffer[_GROUP]
        if dispatcher._closed or not events:
            return
        ahead = list(events)
        del events[: len(ahead)]  # others may come meanwhile
        try:
            with dispatcher.producer.batch():
                for body in _bodies([dumps(event) for event in ahead]):
                    dispatcher.producer.publish(
                        body,
                        exchange=dispatcher.exchange.name,
                        routing_key=f"{_GROUP}.multi",
                        declare=[dispatcher.exchange],
                        content_type="application/json",
                        content_encoding="utf-8",
                        headers=dispatcher.headers | _COMPRESSED,
                        delivery_mode=dispatcher.delivery_mode,
                    )
        except Exception:  # of kombu, or of whichever driver
            log.warning("events for monitors not sent", extra={"count": len(ahead)}, exc_info=True)


def _bodies(texts: Sequence[str]) -> Iterator[bytes]:
    """As many events as fit into one message each."""
    start = 0
    while start < len(texts):
        some = texts[start : start + MOST_IN_ONE]
        while len(body := zlib.compress(f"[{','.join(some)}]".encode(), 1)) > MOST_BYTES and len(some) > 1:
            some = some[: len(some) // 2]
        yield body
        start += len(some)
