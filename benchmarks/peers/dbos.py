"""The cases on DBOS Transact: workflows and steps in worker processes, all states in one database.

A child is a workflow of its own, on a queue that all processes work off; a task of a chain or a graph is a step. Queues
are looked at every 10 ms instead of every second. A workflow's result is read from the database once it is SUCCESS.
"""

from __future__ import annotations

import asyncio
import multiprocessing
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from dbos import DBOS, DBOSClient

from benchmarks.peers.serving import Surroundings, serve

QUEUE = "bench"
AT_ONCE = 64  # workflows of one process: as many as it has threads
POLL_S = 0.01


@DBOS.workflow()
def child(_: int) -> int:
    return noop()


@DBOS.workflow()
def chord(size: int) -> int:
    handles = [DBOS.enqueue_workflow(QUEUE, child, each) for each in range(size)]
    return sum(handle.get_result(polling_interval_sec=POLL_S) for handle in handles)


@DBOS.workflow()
def chain(size: int) -> int:
    return sum(noop() for _ in range(size))


@DBOS.workflow()
async def graph() -> int:
    first = await noop_beside_others()
    middle = await asyncio.gather(*(noop_beside_others() for _ in range(3)))
    return first + sum(middle) + await noop_beside_others()


@DBOS.step()
def noop() -> int:
    return 1


@DBOS.step()
async def noop_beside_others() -> int:
    return 1


class Dbos:
    """Enqueues workflows and reads their results. What a workflow returns is the number of its tasks."""

    def __init__(self, client: DBOSClient) -> None:
        self._client = client

    def chord(self, size: int) -> int:
        return int(self._result(self._enqueue("chord", size)))

    def chain(self, size: int) -> int:
        return int(self._result(self._enqueue("chain", size)))

    def graphs(self, size: int) -> int:
        return sum(self._result(handle) for handle in [self._enqueue("graph") for _ in range(size)])

    def _enqueue(self, name: str, *arguments: int) -> Any:
        return self._client.enqueue({"workflow_name": name, "queue_name": QUEUE}, *arguments)

    def _result(self, handle: Any) -> Any:
        return handle.get_result(polling_interval_sec=POLL_S)


@contextmanager
def start(surroundings: Surroundings) -> Iterator[Dbos]:
    """Workers one after the other, because the first one makes the tables."""
    spawn = multiprocessing.get_context("spawn")
    for number in range(surroundings.concurrency):
        is_up = spawn.Event()
        spawn.Process(target=work, args=(surroundings.database, number, is_up), daemon=True).start()
        if not is_up.wait(60):
            raise TimeoutError("a worker of DBOS does not start")
    client = DBOSClient(system_database_url=surroundings.database)
    try:
        yield Dbos(client)
    finally:
        client.destroy()


def work(database: str, number: int, is_up: Any) -> None:
    """A worker process."""
    DBOS(
        config={
            "name": "bench",
            "system_database_url": database,
            "application_version": "bench",
            "executor_id": f"bench-{number}",
            "log_level": "WARNING",
        }
    )
    DBOS.launch()
    DBOS.register_queue(QUEUE, worker_concurrency=AT_ONCE, polling_interval_sec=POLL_S)
    is_up.set()
    multiprocessing.Event().wait()


if __name__ == "__main__":
    serve("dbos", start)
