"""Looking at processes, and signalling them without ever hitting a stranger. Linux: /proc and pidfds.

A pid says little: it may be another process by the time that the signal is sent. So a process is a pid and the moment
it started, and a signal goes through a pidfd that was opened first and checked afterwards: a pidfd never means another
process.

Must not: import anything besides the standard library (the shim loads this), or raise because a process has ended.
"""

from __future__ import annotations

import os
import signal
from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import NamedTuple


class Process(NamedTuple):
    """A process that was there at a look. ``started`` counts clock ticks since the machine did."""

    pid: int
    started: int
    parent: int
    state: str

    @property
    def key(self) -> tuple[int, int]:
        """Which process it is, at every look."""
        return self.pid, self.started

    @property
    def is_alive(self) -> bool:
        """Whether it was more than an entry that nobody has taken note of."""
        return self.state not in "ZX"


def processes() -> Iterator[Process]:
    """Every process that can be seen from here; none where there is no /proc."""
    for name in os.listdir("/proc") if os.path.isdir("/proc") else ():
        if name.isdigit() and (found := look_at(int(name))) is not None:
            yield found


def look_at(pid: int) -> Process | None:
    """The process that has this pid now."""
    text = _read(pid, "stat").decode("ascii", "replace")
    if not text:
        return None
    # The name stands in parentheses and may hold anything, parentheses and line breaks too.
    fields = text.rpartition(")")[2].split()
    return Process(pid=pid, started=int(fields[19]), parent=int(fields[1]), state=fields[0])


def descendants(root: int) -> list[Process]:
    """The living processes below this one, at any depth.

    Of a child subreaper that is everything it and its children ever started, if nobody forks meanwhile: look again.
    """
    below = _children if os.path.exists(f"/proc/self/task/{os.getpid()}/children") else _children_by_scan()
    found: list[Process] = []
    ahead = [root]
    while ahead:
        children = below(ahead.pop())
        found += children
        ahead += [each.pid for each in children]
    return [each for each in found if each.is_alive]


def _children(pid: int) -> list[Process]:
    """What the kernel keeps of it. It is quick: there may be processes that fork and end all the time."""
    try:
        threads = os.listdir(f"/proc/{pid}/task")
    except OSError:
        return []
    pids = [int(child) for each in threads for child in _read(pid, f"task/{each}/children").split()]
    return [found for child in pids if (found := look_at(child)) is not None]


def _children_by_scan() -> Callable[[int], list[Process]]:
    """For kernels without such lists: from one look at every process of the machine."""
    children = defaultdict(list)
    for process in processes():
        children[process.parent].append(process)
    return lambda pid: children.pop(pid, [])


def variable(pid: int, name: str) -> str | None:
    """An environment variable as the process was started with it; None if it has none or may not be looked at."""
    prefix = f"{name}=".encode()
    for entry in _read(pid, "environ").split(b"\0"):
        if entry.startswith(prefix):
            return os.fsdecode(entry[len(prefix) :])
    return None


def arguments(pid: int) -> list[str]:
    """The command line; empty for a process that has ended."""
    return [os.fsdecode(each) for each in _read(pid, "cmdline").split(b"\0")[:-1]]


def send(process: Process, *numbers: signal.Signals) -> bool:
    """Signal exactly this process, or nobody.

    Returns:
        Whether it was there.
    """
    return send_if(process.pid, lambda: _is_there(process), *numbers)


def send_if(pid: int, is_meant: Callable[[], bool], *numbers: signal.Signals) -> bool:
    """Signal the process that has this pid, if ``is_meant`` still finds it to be the one, looking by its pid.

    Returns:
        Whether it was.
    """
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return False
    try:
        if not is_meant():
            return False
        for number in numbers:
            signal.pidfd_send_signal(handle, number)
    except ProcessLookupError:
        return False
    finally:
        os.close(handle)
    return True


def _is_there(process: Process) -> bool:
    now = look_at(process.pid)
    return now is not None and now.key == process.key and now.is_alive


def _read(pid: int, name: str) -> bytes:
    """A file of the process; empty if it has ended, or is another user's."""
    try:
        with open(f"/proc/{pid}/{name}", "rb") as file:
            return file.read()
    except OSError:
        return b""
