"""The side of bare Celery: its worker, and its canvases sent and waited for."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from celery import chain, chord

from benchmarks import payload
from benchmarks.services import NoService, Servers
from orchestrator.runtime.children import exit_status, start, stop, tail

WAIT_S: Final = 3600.0
GRACE_S: Final = 0.5  # of a worker that has nothing to do: Celery takes 2 s and more to end one
_LOOK_S: Final = 1.0  # how often a wait makes sure that the worker lives


class Bare:
    """Sends canvases, and waits until their last task says so. Make one at a time: the app is configured by it."""

    def __init__(self, servers: Servers, concurrency: int) -> None:
        self._servers, self._concurrency = servers, concurrency
        self.environment = {
            "BENCH_BROKER": servers.bare_broker,
            "BENCH_RESULTS": servers.results,
            "BENCH_QUEUE": f"bare-{uuid.uuid4().hex[:8]}",
        }
        os.environ.update(self.environment)  # before the app is imported, which reads it
        from benchmarks import bare_app

        self.tasks: Any = bare_app
        # Nobody asks for results, so the client need not subscribe to each of them, and take that back, by itself.
        backend: Any = bare_app.app.backend
        backend.on_task_call = backend.remove_pending_result = lambda *_: None
        self._marks = (f"mark-{number}" for number in itertools.count())
        self.process: subprocess.Popen[bytes] | None = None

    @contextmanager
    def worker(self, *more: str) -> Iterator[subprocess.Popen[bytes]]:
        """A worker while the block lasts; ``more`` are arguments for it."""
        log_file = self._servers.folder / "bare.log"
        flags = [f"--concurrency={self._concurrency}", "--loglevel=WARNING", *more]
        flags += ["--without-mingle", "--without-gossip", "--without-heartbeat"]
        command = [sys.executable, "-m", "celery", "-A", "benchmarks.bare_app", "worker", *flags]
        self.process = start(command, log_file, environment=dict(os.environ))
        try:
            yield self.process
        finally:
            stop([self.process], grace_s=GRACE_S)
            self.process = None

    def chord(self, width: int) -> None:
        """A chord of tasks that do nothing."""
        mark = next(self._marks)
        self._send(chord((self.tasks.member.si(each) for each in range(width)), self.tasks.finish.si(mark=mark)))
        self._wait(mark)

    def chain(self, length: int) -> None:
        """A chain of tasks that do nothing; the last one says that it is done."""
        mark = next(self._marks)
        steps = [self.tasks.noop.si() for _ in range(length - 1)]
        self._send(chain(*steps, self.tasks.finish.si(mark=mark)))
        self._wait(mark)

    def graphs(self, count: int) -> None:
        """Many canvases of one task, three beside each other, and one behind them."""
        mark = next(self._marks)
        for _ in range(count):
            middle = [self.tasks.member.si() for _ in range(3)]
            self._send(chain(self.tasks.noop.si(), chord(middle, self.tasks.finish.si(mark=mark, of=count))))
        self._wait(mark)

    def tree(self, depth: int, *, breadth: int) -> None:
        """Chords within chords; every body but the last is a header member of the chord above."""
        mark = next(self._marks)
        self._send(chord(self._branches(depth, breadth), self.tasks.finish.si(mark=mark)))
        self._wait(mark)

    def payload(self, length: int) -> None:
        """A chain whose tasks hand a text on."""
        mark = next(self._marks)
        first, *others = [self.tasks.carry.s() for _ in range(length)]
        first.args = (payload.text(),)
        self._send(chain(first, *others, self.tasks.finish.si(mark=mark)))
        self._wait(mark)

    def _branches(self, depth: int, breadth: int) -> list[Any]:
        member = self.tasks.member
        if depth == 1:
            return [member.si() for _ in range(breadth)]
        return [chord(self._branches(depth - 1, breadth), member.si()) for _ in range(breadth)]

    def _send(self, canvas: Any) -> None:
        canvas.apply_async()

    def _wait(self, mark: str, *, within_s: float = WAIT_S) -> None:
        waited_s = 0.0
        while self.tasks.marks().blpop(mark, timeout=_LOOK_S) is None:
            waited_s += _LOOK_S
            log_file = self._servers.folder / "bare.log"
            if self.process is None or exit_status(self.process) is not None:
                raise NoService("bare Celery", f"its worker has ended; its log ends: {tail(log_file)}")
            if waited_s >= within_s:
                raise NoService("bare Celery", f"no end within {within_s:g} s; its log ends: {tail(log_file)}")
