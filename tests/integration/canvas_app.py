"""A user's app with ordinary Celery tasks, on our result backend: what the worker process of the tests loads.

``shared=False``: the tests import this once for each database, and a task would go to every app there is.
"""

from __future__ import annotations

import os
from typing import Any

from celery import Celery, Task, chord, signals

app = Celery("canvas_app")
app.conf.update(
    broker_url=os.environ["CANVAS_BROKER"],
    result_backend=os.environ["CANVAS_BACKEND"],
    accept_content=["json"],
    result_accept_content=["json"],
    broker_connection_retry_on_startup=True,
    task_track_started=True,
    worker_prefetch_multiplier=1,
)


@signals.worker_init.connect
def use_the_backend_before_forking(**_: Any) -> None:
    """The children inherit this connection, and must not touch it."""
    app.backend.get_state("nothing")


@app.task(shared=False)
def add(x: int, y: int) -> int:
    return x + y


@app.task(shared=False)
def total(numbers: Any) -> int:
    return sum(total.run(each) if isinstance(each, list) else each for each in numbers)


@app.task(shared=False)
def shape(results: Any) -> Any:
    return results


@app.task(shared=False)
def fail(reason: str) -> None:
    raise ValueError(reason)


@app.task(shared=False)
def note(failed_id: str) -> str:
    return failed_id


@app.task(bind=True, shared=False)
def widen(self: Task[..., Any]) -> int:
    """A header task that adds another one to its chord."""
    self.add_to_chord(add.s(100, 0))
    return 1


@app.task(bind=True, shared=False)
def become(self: Task[..., Any]) -> Any:
    """A header task that puts a chord in its own place."""
    raise self.replace(chord([add.s(1, 1), add.s(2, 2)], total.s()))
