"""Events for Flower, a few times a second.

A worker tells Celery's monitors of each task three times. Celery gathers these events and sends them as soon as its
event loop has come round, which under load is two or three messages a task, and took a third of the time of the process
that all tasks go through. Here they are sent together: when there are many, or a moment after the first. Nobody sees
the difference: Flower asks every few seconds, and each event has the time at which it happened.

A worker that is killed takes the last moment's events with it. They are for looking at; the rows say what is true.
"""

from __future__ import annotations

from typing import Any, Final

from celery import bootsteps

PAUSE_S: Final = 0.2
MOST: Final = 200  # some 100 KB in one message


class EventFlow(bootsteps.StartStopStep):
    """The consumer's boot step: each connection to the broker has a dispatcher of its own."""

    requires = ("celery.worker.consumer.events:Events",)

    def start(self, parent: Any) -> None:
        """Have what the dispatcher gathers sent after a pause."""
        if parent.hub is None:  # no event loop: nothing is gathered
            return
        is_due = False

        def send() -> None:
            nonlocal is_due
            is_due = False
            parent._flush_events()  # Celery's own, which it would call at once

        def send_soon() -> None:
            nonlocal is_due
            if not is_due:
                is_due = True
                parent.hub.call_later(PAUSE_S, send)

        parent.event_dispatcher.buffer_limit = MOST
        parent.event_dispatcher.on_send_buffered = send_soon

    def stop(self, parent: Any) -> None:
        """Send what is left, while there is a connection."""
        if parent.event_dispatcher is not None:
            parent._flush_events()
