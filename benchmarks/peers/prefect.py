"""The cases on Prefect: a server with its database, and flows that run in processes which stay.

That is quicker than its deployments, which start a process for each flow run. Nothing is cached, and logs stay where
they are. A task counts when the server says that it is COMPLETED, which may be after the flow has ended.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing, contextmanager
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from benchmarks.peers.serving import TASKS, Surroundings, serve

POLL_S = 0.02
START_LIMIT_S = 110.0


def run_flow(case: str, size: int) -> str:
    """In a process of the pool: run a flow to its end; its id."""
    from prefect import flow, task
    from prefect.cache_policies import NO_CACHE
    from prefect.runtime import flow_run
    from prefect.task_runners import ThreadPoolTaskRunner

    @task(cache_policy=NO_CACHE)
    def noop(_: object = None) -> None:
        pass

    @flow(task_runner=ThreadPoolTaskRunner(max_workers=16))
    def chord() -> str:
        for future in noop.map(range(size)):
            future.result()
        return str(flow_run.id)

    @flow
    def chain() -> str:
        for _ in range(size):
            noop()
        return str(flow_run.id)

    @flow(task_runner=ThreadPoolTaskRunner(max_workers=3))
    def graphs() -> str:
        noop()
        for future in [noop.submit() for _ in range(3)]:
            future.result()
        noop()
        return str(flow_run.id)

    return str({"chord": chord, "chain": chain, "graphs": graphs}[case]())


class Prefect:
    """Has flows run in a pool of processes, and waits until the server has everything of them."""

    def __init__(self, pool: ProcessPoolExecutor, client: Any) -> None:
        self._pool, self._client = pool, client

    def chord(self, size: int) -> int:
        return self._committed([self._pool.submit(run_flow, "chord", size).result()], size * TASKS["chord"])

    def chain(self, size: int) -> int:
        return self._committed([self._pool.submit(run_flow, "chain", size).result()], size * TASKS["chain"])

    def graphs(self, size: int) -> int:
        return self._committed(self._pool.map(run_flow, ["graphs"] * size, [1] * size), size * TASKS["graphs"])

    def _committed(self, ids: Iterable[str], tasks: int) -> int:
        these = {"flow_runs": {"id": {"any_": [*ids]}}}
        count = len(these["flow_runs"]["id"]["any_"])
        over = {"state": {"type": {"any_": ["COMPLETED"]}}}
        while self._count("flow_runs", {"flow_runs": {**these["flow_runs"], **over}}) < count:
            time.sleep(POLL_S)
        while (found := self._count("task_runs", {**these, "task_runs": over})) < tasks:
            time.sleep(POLL_S)
        return found

    def _count(self, kind: str, which: dict[str, Any]) -> int:
        return int(self._client.request("POST", f"/{kind}/count", json=which).json())


@contextmanager
def start(surroundings: Surroundings) -> Iterator[Prefect]:
    """Its server, and a pool whose processes have loaded it."""
    with closing(socket.create_server(("127.0.0.1", 0))) as probe:
        port = probe.getsockname()[1]
    url = surroundings.database.replace("postgresql://", "postgresql+asyncpg://")
    os.environ |= {
        "PREFECT_HOME": surroundings.home,
        "PREFECT_API_URL": f"http://127.0.0.1:{port}/api",
        "PREFECT_SERVER_DATABASE_CONNECTION_URL": url.replace("sqlite:///", "sqlite+aiosqlite:///"),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_LOGGING_LEVEL": "ERROR",
        "PREFECT_LOGGING_TO_API_ENABLED": "false",
        "DO_NOT_TRACK": "1",
    }
    program = str(Path(sys.executable).with_name("prefect"))
    server = subprocess.Popen([program, "server", "start", "--host", "127.0.0.1", "--port", str(port), "--no-ui"])
    try:
        _wait_for(f"http://127.0.0.1:{port}/api/health", server)
        from prefect.client.orchestration import get_client

        with (
            ProcessPoolExecutor(surroundings.concurrency, mp_context=get_context("spawn")) as pool,
            get_client(sync_client=True) as client,
        ):
            yield Prefect(pool, client)
    finally:
        server.terminate()


def _wait_for(url: str, server: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START_LIMIT_S
    while server.poll() is None and time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            time.sleep(POLL_S)
    raise TimeoutError("the server of Prefect does not start")


if __name__ == "__main__":
    serve("prefect", start)
