"""The worker process of an executor: a Celery prefork worker on the executor's queue.

``orchestrator worker --executor NAME`` and ``celery -A orchestrator worker -Q executor.NAME`` start the same worker;
the first one spares the flags, and memory: ``orchestrator worker`` becomes ``worker_command``, a program without the
libraries of a command line, neither ours nor Celery's, which loads every plug-in that is installed, Flower among them.
They would take a quarter more, in the main process and in each of the pool.

What Celery does at start-up for clusters that keep state in workers (mingle, gossip) is switched off: our state is in
the database.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from orchestrator.errors import InvalidSetting, OrchestratorError, SettingsError

if TYPE_CHECKING:
    from orchestrator.settings import Settings

PROGRAM: Final = (sys.executable, "-m", "orchestrator.runtime.worker")
"""It takes a name, the number of processes and a log level, and has its settings from the environment."""


def worker_command(settings: Settings, executor: str, *, concurrency: int, log_level: str = "INFO") -> list[str]:
    """The command line of a process that works for this executor; its environment is to have these settings.

    Raises:
        InvalidSetting: no broker is configured.
    """
    _check_broker(settings)
    return [*PROGRAM, executor, str(concurrency), log_level]


def main(arguments: Sequence[str]) -> int:
    """Where that process begins.

    Returns:
        Its exit code; 2 for a setting that cannot be used, 1 for whatever else keeps it from working.
    """
    executor, concurrency, log_level = arguments
    try:
        return run_worker(executor, concurrency=int(concurrency), log_level=log_level)
    except OrchestratorError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2 if isinstance(error, SettingsError) else 1


def run_worker(executor: str, *, concurrency: int, log_level: str) -> int:
    """Work until the process is told to stop.

    Returns:
        The process's exit code: not 0 if the worker could not go on.

    Raises:
        InvalidSetting: no broker is configured.
        SchemaOutdated, Unreachable: the database is not ready for this code.
    """
    from celery.utils.nodenames import default_nodename, host_format

    from orchestrator.engine.canvas import queue_of
    from orchestrator.runtime.app import default_runtime

    runtime = default_runtime()
    _check_broker(runtime.settings)
    runtime.database.make_ready()
    runtime.database.close()  # the pool's processes connect for themselves
    worker = runtime.app.Worker(
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


def _check_broker(settings: Settings) -> None:
    if settings.is_embedded:
        raise InvalidSetting(
            "ORCHESTRATOR_BROKER_URL", "nothing", "the broker's URL: a worker cannot bring a broker of its own"
        )


if __name__ == "__main__":
    given = sys.argv[1:]
    sys.argv = [*PROGRAM[1:], *given]  # by which Celery starts the process anew on SIGHUP
    sys.exit(main(given))
