"""Finding processes, and waiting for them, without sleeping. Linux: pidfds and /proc."""

import os
import select
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest


def require(found, what):
    """Skip the test where ``what`` is missing, or fail it where the services must be there."""
    if found:
        return
    if os.environ.get("REQUIRE_SERVICES") == "1":
        pytest.fail(f"{what} is missing and REQUIRE_SERVICES=1")
    pytest.skip(f"{what} is missing")


def python(*arguments):
    """A command of this interpreter."""
    return [sys.executable, *map(str, arguments)]


def still_alive(pids, *, within_s=5.0):
    """Those of the processes that have not ended within the time; empty as soon as the last one has."""
    waiting = {}
    for pid in pids:
        with suppress(ProcessLookupError):
            waiting[os.pidfd_open(pid)] = pid
    deadline = time.monotonic() + within_s
    try:
        while waiting and (remaining_s := deadline - time.monotonic()) > 0:
            for handle in select.select(list(waiting), [], [], remaining_s)[0]:
                del waiting[handle]
                os.close(handle)
        return sorted(waiting.values())
    finally:
        for handle in waiting:
            os.close(handle)


def tagged(tag):
    """The living processes that have the text in their environment or their command line, but for this one."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # ended meanwhile
            said = (folder / "environ").read_bytes() + (folder / "cmdline").read_bytes()
            if tag.encode() in said and int(folder.name) != os.getpid():
                found.append(int(folder.name))
    return found


class Pipe:
    """A named pipe that another process writes lines into; reading has a deadline."""

    def __init__(self, path):
        os.mkfifo(path)
        self.path = path
        self._handle = os.open(path, os.O_RDWR)  # O_RDWR: neither side waits for the other to open it
        self._buffer = b""

    def line(self, *, within_s=30.0):
        """The next line."""
        deadline = time.monotonic() + within_s
        while b"\n" not in self._buffer:
            remaining_s = deadline - time.monotonic()
            if remaining_s <= 0 or not select.select([self._handle], [], [], remaining_s)[0]:
                raise TimeoutError(f"no line in {self.path} within {within_s:g} s")
            self._buffer += os.read(self._handle, 4096)
        line, _, self._buffer = self._buffer.partition(b"\n")
        return line.decode()

    def close(self):
        os.close(self._handle)
