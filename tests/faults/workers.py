"""Worker processes as an operator sees them: a main process with a number, its pool, and signals to either.

What pytest-celery offers for this needs Docker: its containers are what ``CeleryTestWorker`` starts, waits for and
kills. Without Docker nothing but the shape of that API is left, ``ready``, ``kill``, ``restart`` and ``teardown`` of a
node, and here each of those is a line over a process; so the shape is kept and the dependency is not taken.
"""

import os
import shutil
import signal
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from subprocess import Popen

from orchestrator.runtime.children import exit_status, start, stop, tail
from tests.integration.processes import python, require, still_alive
from tests.integration.waiting import until


@dataclass
class WorkerNode:
    """One worker: ``orchestrator worker``, its log and its processes."""

    process: Popen
    log_file: Path
    is_elsewhere: bool = False

    @classmethod
    def start(cls, settings, executor, log_file, *, concurrency, environment=None, is_elsewhere=False):
        """``is_elsewhere``: in a process table of its own, which makes it another machine to everybody."""
        command = python("-m", "orchestrator", "worker", "--executor", executor, "--concurrency", concurrency)
        if is_elsewhere:
            require(os.geteuid() == 0 and shutil.which("unshare"), "the right to make a namespace of processes")
            command = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc", *command]
        process = start(command, log_file, environment=settings.to_environment() | (environment or {}))
        return cls(process, log_file, is_elsewhere)

    @property
    def pid(self):
        """Of the main process: the leash that started it has become it, or its parent."""
        return children(self.process.pid)[0] if self.is_elsewhere else self.process.pid

    def wait_until_ready(self):
        until(lambda: self.is_ready() or not self.is_alive(), what="the start of a worker")
        assert self.is_alive(), f"a worker did not start: {tail(self.log_file, lines=15)}"
        return self

    def is_ready(self):
        return b" ready." in self.log_file.read_bytes()

    def is_alive(self):
        return exit_status(self.process) is None

    def pool(self):
        """The numbers of its pool processes."""
        return children(self.pid)

    def says(self, text):
        return text in self.log_file.read_text(errors="replace")

    # -- what may happen to it -------------------------------------------------------------------------------------

    def kill(self):
        """The whole worker, at once: its pool goes with it, by the parent-death signal."""
        pool = self.pool()
        self.process.kill()
        self.process.wait()
        assert still_alive(pool) == [], "a pool outlived its worker"

    def pause(self):
        """It is there and does nothing: the main process and its pool."""
        for pid in (self.pid, *self.pool()):
            os.kill(pid, signal.SIGSTOP)

    def resume(self):
        with suppress(ProcessLookupError, IndexError):
            for pid in (self.pid, *self.pool()):
                os.kill(pid, signal.SIGCONT)

    def tell(self, number):
        os.kill(self.pid, number)

    def wait_for_end(self, *, within_s=60.0):
        """Its exit status."""
        return self.process.wait(within_s)

    def teardown(self, *, grace_s=0.0):
        """None of its processes is left, however it stands."""
        self.resume()
        stop([self.process], grace_s=grace_s)


def children(pid):
    """The numbers of the processes that a process has started."""
    found = []
    for thread in Path(f"/proc/{pid}/task").glob("*"):
        with suppress(OSError):
            found += map(int, (thread / "children").read_text().split())
    return sorted(found)
