"""Back-pressure: who submits more than the workers take is refused, or waits until there is room.

A queue is full when as many messages wait in it as ``max_queue_depth`` says. The broker is asked, not the database,
because it answers at once however long the queue is; the database would count what is ready of all executors at every
submission, or keep an index up to date at every claim. So what workers have fetched does not count, and what a broker
has lost counts again when recovery has published it.

Only submissions ask. Whatever belongs to an execution that runs - its next tasks, sub-executions, retries - is never
held up, since the queues would not empty by that. Several that submit at the same moment may each find the last place.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from typing import Final

from orchestrator.errors import QueueFull
from orchestrator.service.services import Services
from orchestrator.store.changes import NewExecution

_FIRST_PAUSE_S: Final = 0.05
_LONGEST_PAUSE_S: Final = 1.0
_PORTION: Final = 10  # the part of a queue that has to be free for a wait to end: small portions cost more than large


def check_room(new: Sequence[NewExecution], services: Services) -> None:
    """Make sure that there is room for all of these.

    Raises:
        QueueFull: there is not, and ``fitting`` says for how many there is.
    """
    _, full = _look(new, services)
    if full is not None:
        raise full


def await_room(new: Sequence[NewExecution], services: Services, *, wait_s: float) -> int:
    """Wait until there is room for all of these, or for a good portion.

    Returns:
        How many of them, in order, may be submitted now: at least one.

    Raises:
        QueueFull: there is room for none after ``wait_s`` seconds.
    """
    deadline, pause_s = time.monotonic() + wait_s, _FIRST_PAUSE_S
    while True:
        fitting, full = _look(new, services)
        if full is None or fitting > full.limit // _PORTION:
            return fitting
        left_s = deadline - time.monotonic()
        if left_s <= 0:
            if fitting:
                return fitting
            raise full
        time.sleep(min(pause_s, left_s))
        pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)


def _look(new: Sequence[NewExecution], services: Services) -> tuple[int, QueueFull | None]:
    """How many of these, in order, find room now; and why not all.

    One finds it if each queue that its start tasks go to holds less than the limit, with those of the ones before it.
    """
    limit = services.max_queue_depth
    if limit is None:
        return len(new), None
    depths: Counter[str] = Counter()
    for executor in {attempt.executor for each in new for attempt in each.ready}:
        depths[executor] = services.publisher.depth(executor) or 0  # who cannot say now will not take a message either
    before = dict(depths)
    for fitting, each in enumerate(new):
        full = next((attempt.executor for attempt in each.ready if depths[attempt.executor] >= limit), None)
        if full is not None:
            return fitting, QueueFull(full, before[full], limit, fitting, len(new))
        depths.update(attempt.executor for attempt in each.ready)
    return len(new), None
