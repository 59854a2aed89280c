"""Bare Celery, as good as it gets: what its worker of a measurement loads (``celery -A benchmarks.bare_app worker``).

No task events, no gossip, results only where a chord counts them, and the last task says by itself that it is done: a
client that asks for the result of a wide chord takes a time that grows with the square of the width.

The environment names the broker, the results and the queue: ``BENCH_BROKER``, ``BENCH_RESULTS``, ``BENCH_QUEUE``.
"""

from __future__ import annotations

import os
from functools import cache
from urllib.parse import parse_qs, unquote, urlsplit

import redis
from celery import Celery

from benchmarks.payload import turned

LASTING_S = 600  # a mark that nobody fetches

app = Celery("bare", set_as_current=False)
app.conf.update(
    broker_url=os.environ.get("BENCH_BROKER", "memory://"),
    result_backend=os.environ.get("BENCH_RESULTS", ""),
    broker_transport_options={"visibility_timeout": 6 * 3600},
    broker_connection_retry_on_startup=True,
    task_default_queue=os.environ.get("BENCH_QUEUE", "bare"),
    task_ignore_result=True,
    worker_concurrency=2,
    worker_send_task_events=False,
    task_send_sent_event=False,
)


@cache
def marks() -> redis.Redis:
    """Where the last task says that it is done; one connection a process."""
    parts = urlsplit(os.environ["BENCH_RESULTS"])
    number = int(parse_qs(parts.query)["virtual_host"][0])
    return redis.Redis(unix_socket_path=unquote(parts.path), db=number)


@app.task(shared=False)
def noop(*_: object) -> None:
    """Part of a chain."""


@app.task(shared=False, ignore_result=False)
def member(*_: object) -> None:
    """Part of a chord's header, which needs its result."""


@app.task(shared=False)
def carry(text: str) -> str:
    """Part of a chain; the next one takes what it returns."""
    return turned(text)


@app.task(shared=False)
def finish(*arguments: object, mark: str, of: int = 1) -> None:  # noqa: ARG001 - results of what came before
    """The end of one of ``of`` canvases; the last one says so."""
    pipe = marks().pipeline(transaction=False)
    if of == 1 or pipe.incr(f"{mark}.count").expire(f"{mark}.count", LASTING_S).execute()[0] == of:
        marks().pipeline(transaction=False).rpush(mark, "done").expire(mark, LASTING_S).execute()
