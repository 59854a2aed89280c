"""The worker process of an executor: a Celery prefork worker on the executor's queue.

``orchestrator worker --executor NAME`` and ``celery -A orchestrator worker -Q executor.NAME`` start the same worker;
this one spares the flags, and Celery's command line: that loads every plug-in that is installed, Flower among them, and
would keep 13 MB in the main process and in each of the pool. What Celery does at start-up for clusters that keep state
in workers (mingle, gossip) is switched off: our state is in the database.
"""

from __future__ import annotations

from celery.utils.nodenames import default_nodename, host_format

from orchestrator.engine.canvas import queue_of
from orchestrator.errors import InvalidSetting
from orchestrator.runtime.app import Runtime, default_app, default_runtime
from orchestrator.settings import Settings


def run_worker(executor: str, *, concurrency: int, log_level: str = "INFO") -> int:
    """Work until the process is told to stop.

    Returns:
        The process's exit code: not 0 if the worker could not go on.

    Raises:
        InvalidSetting: no broker is configured.
        SchemaOutdated, Unreachable: the database is not ready for this code.
    """
    runtime = default_runtime()
    _check(runtime)
    worker = default_app().Worker(
        hostname=host_format(default_nodename(f"{executor}@%h")),
        queues=[queue_of(executor)],
        concurrency=concurrency,
        loglevel=log_level,
        pool_cls="prefork",
        task_events=True,
        without_mingle=True,
        without_gossip=True,
    )
    worker.start()
    return int(worker.exitcode or 0)


def _check(runtime: Runtime) -> None:
    settings: Settings = runtime.settings
    if settings.is_embedded:
        raise InvalidSetting(
            "ORCHESTRATOR_BROKER_URL", "nothing", "the broker's URL: a worker cannot bring a broker of its own"
        )
    runtime.database.make_ready()
    runtime.database.close()  # the pool's processes connect for themselves
