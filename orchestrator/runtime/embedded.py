"""The services that a command brings along when no broker is configured: a private Redis and worker processes.

Each command has its own Redis, on a socket in a run folder of its own; so two commands in one home never fight, and
neither can stop the other's broker. What they share is the database, and the rows there are the truth: the broker holds
nothing that could not be published again. ::

    home/orchestrator.db            shared
    home/run/<pid>-<random>/        one command: lock, redis.sock (or broker/ if there is no redis-server)
    home/log/redis.log  worker-<executor>.log

Everything started here is gone after the block: by exception, Ctrl-C, SIGTERM and SIGHUP in our order (workers first,
then Redis), by ``kill -9`` through the parent-death signal of ``leash``. Enter and leave the block in one thread, as
``with`` does: the children die with the thread that started them.

Must not: know what a worker does, or touch the database.
"""

from __future__ import annotations

import functools
import logging
import re
import subprocess
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from orchestrator.errors import InvalidSetting
from orchestrator.runtime import file_broker, redis_server
from orchestrator.runtime.children import exit_status, signals_as_exit, start, stop, tail
from orchestrator.runtime.redis_server import RedisServer, find_redis_server
from orchestrator.runtime.run_folder import run_folder, socket_path
from orchestrator.runtime.worker import worker_command
from orchestrator.settings import Settings

log = logging.getLogger(__name__)

WORKER_GRACE_S: Final = 5.0
REDIS_GRACE_S: Final = 2.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Worker:
    """A worker process that this command started."""

    executor: str
    process: subprocess.Popen[bytes]
    log_file: Path


class EmbeddedServices:
    """A broker, if the settings name none, and the workers that are asked for, while the block lasts.

    Attributes (inside the block):
        settings: the settings with the broker's and the database's URL filled in; what workers get.
        broker_url: the broker that runs now.
        workers: the started ones.
        grace_s: how long a worker may take to end by itself at the end of the block.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        say: Callable[[str], object] = log.info,
        find: Callable[[], RedisServer | None] = find_redis_server,
        program: Sequence[str] = (),
        grace_s: float = WORKER_GRACE_S,
    ) -> None:
        """``say`` gets a line for the user now and then; ``program`` is started in place of a worker."""
        self.settings = settings
        self.workers: list[Worker] = []
        self._say, self._find, self._program, self.grace_s = say, find, tuple(program), grace_s
        self._stack = ExitStack()
        self._redis: subprocess.Popen[bytes] | None = None

    @property
    def broker_url(self) -> str:
        """The broker's URL."""
        return self.settings.broker_url or ""

    def __enter__(self) -> Self:
        with ExitStack() as stack:  # what was started is stopped if a later step fails
            stack.enter_context(signals_as_exit())
            self._make_folders()
            if self.settings.is_embedded:
                folder = stack.enter_context(run_folder(self.settings.home))
                self.settings = self.settings.replaced(broker_url=self._start_broker(folder, stack))
            self.settings = self.settings.replaced(database_url=self.settings.resolved_database_url)
            stack.callback(self._stop_workers)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.__exit__(kind, error, trace)

    def start_worker(self, executor: str = "default", *, concurrency: int | None = None) -> Worker:
        """Start a worker process for an executor; it is stopped with the block at the latest.

        Returns at once: the worker is not ready yet.
        """
        log_file = self.log_file_of(executor)
        command = worker_command(self.settings, executor, concurrency=concurrency or self.settings.concurrency)
        process = start(self._program or command, log_file, environment=self.settings.to_environment())
        worker = Worker(executor=executor, process=process, log_file=log_file)
        self.workers.append(worker)
        return worker

    def ended_workers(self) -> list[str]:
        """One sentence for each worker that has ended although nobody asked it to."""
        return [
            f"the worker of executor {each.executor!r} ended with {status}; {each.log_file} ends: {tail(each.log_file)}"
            for each in self.workers
            if (status := exit_status(each.process)) is not None
        ]

    def log_file_of(self, executor: str) -> Path:
        """Where the worker of an executor logs."""
        return self.settings.home / "log" / re.sub(r"[^\w.-]", "_", f"worker-{executor}.log")

    def stop_worker(self, worker: Worker, *, grace_s: float) -> None:
        """Stop one, with whatever is left of it if it has ended already."""
        stop([worker.process], grace_s=grace_s)
        self.workers.remove(worker)

    def ended_broker(self) -> str | None:
        """A sentence if the private Redis has ended although nobody asked it to."""
        if self._redis is None or (status := exit_status(self._redis)) is None:
            return None
        log_file = self.settings.home / "log" / "redis.log"
        return f"the private Redis ended with {status}; {log_file} ends: {tail(log_file)}"

    def _stop_workers(self) -> None:
        stop((each.process for each in self.workers), grace_s=self.grace_s)
        self.workers.clear()

    def _make_folders(self) -> None:
        home = self.settings.home
        try:
            home.mkdir(parents=True, exist_ok=True, mode=0o700)
            (home / "log").mkdir(exist_ok=True, mode=0o700)
        except OSError as error:
            raise InvalidSetting(
                "ORCHESTRATOR_HOME", f"{home} ({error.strerror})", "a folder that can be written"
            ) from error

    def _start_broker(self, folder: Path, stack: ExitStack) -> str:
        server = self._find()
        if server is None:
            self._say("no redis-server found: messages go through files, which is slow; install Redis 6.2 or newer")
            return file_broker.to_url(folder / "broker")
        socket, log_file = socket_path(folder), self.settings.home / "log" / "redis.log"
        if socket.parent != folder:
            self._say(f"the path of {self.settings.home} is too long for a socket: Redis listens in {socket.parent}")
        process = start(redis_server.redis_command(server, socket, log_file=log_file), log_file, environment=None)
        stack.callback(functools.partial(stop, [process], grace_s=REDIS_GRACE_S))
        self._redis = process
        redis_server.wait_for_redis(process, socket, log_file=log_file)
        log.info("redis started", extra={"origin": server.origin, "version": server.version, "pid": process.pid})
        return redis_server.to_url(socket)
