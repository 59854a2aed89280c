"""The worker process of an executor: a Celery prefork worker on the executor's queue.

``orchestrator worker --executor NAME`` and ``celery -A orchestrator worker -Q executor.NAME`` start the same worker;
this one only spares the flags. What Celery does at start-up for clusters that keep state in workers (mingle, gossip) is
switched off: our state is in the database.
"""

from __future__ import annotations

from collections.abc import Sequence

from orchestrator.engine.canvas import queue_of
from orchestrator.errors import InvalidSetting
from orchestrator.runtime.app import Runtime, default_app, default_runtime
from orchestrator.settings import Settings


def worker_arguments(executor: str, *, concurrency: int, log_level: str = "INFO") -> list[str]:
    """The command line of Celery's worker for this executor."""
    return [
        "worker",
        f"--queues={queue_of(executor)}",
        f"--hostname={executor}@%h",
        f"--concurrency={concurrency}",
        f"--loglevel={log_level}",
        "--pool=prefork",
        "--events",
        "--without-mingle",
        "--without-gossip",
    ]


def run_worker(executor: str, *, concurrency: int, log_level: str = "INFO", extra: Sequence[str] = ()) -> None:
    """Work until the process is told to stop.

    Raises:
        InvalidSetting: no broker is configured.
        SchemaOutdated, Unreachable: the database is not ready for this code.
    """
    runtime = default_runtime()
    _check(runtime)
    default_app().worker_main([*worker_arguments(executor, concurrency=concurrency, log_level=log_level), *extra])


def _check(runtime: Runtime) -> None:
    settings: Settings = runtime.settings
    if settings.is_embedded:
        raise InvalidSetting(
            "ORCHESTRATOR_BROKER_URL", "nothing", "the broker's URL: a worker cannot bring a broker of its own"
        )
    runtime.database.make_ready()
    runtime.database.close()  # the pool's processes connect for themselves
