"""Who this worker is: an id for each start of it, and what proves that its process is gone.

A worker's main process takes its identity before it forks its pool, so that all its processes have it. What one of
them claims bears the name ``<node>/<number of the process>/<id of the start>``: readable, and never the same twice,
even where hosts, node names and process numbers are used again.

A process number alone proves nothing, because numbers are used again; with the moment at which its process began it
does. And it means something only within one process table, so the machine is named by its boot and its namespace of
processes: two containers of one host are two machines.
"""

from __future__ import annotations

import os
import secrets
import signal
import socket
from contextlib import suppress
from pathlib import Path
from typing import Final

from orchestrator.store.workers import Boot

_PROC: Final = Path("/proc")
_BEGAN_FIELD: Final = 19  # of /proc/PID/stat behind the name, which may hold anything: starttime, proc(5)


class Identity:
    """The identity of this process's worker. One a process; taken anew by each worker that begins in it."""

    def __init__(self) -> None:
        self.boot: Boot | None = None

    def take(self, node: str) -> Boot:
        """A worker begins in this process: it is the main one."""
        pid = os.getpid()
        self.boot = Boot(id=secrets.token_hex(6), name=node, machine=machine(), pid=pid, began=began(pid) or 0)
        return self.boot

    def process_name(self, node: str, pid: int) -> str:
        """The name under which a process of this worker claims."""
        assert self.boot is not None, "a worker takes its identity before it forks its pool"
        return f"{node}/{pid}/{self.boot.id}"


def machine() -> str:
    """The process table that this process is in; the host's name alone where there is no /proc."""
    try:
        boot_id = (_PROC / "sys/kernel/random/boot_id").read_text().strip()
        namespace = (_PROC / "self/ns/pid").stat().st_ino
    except OSError:
        return socket.gethostname()
    return f"{boot_id}/{namespace}"


def began(pid: int) -> int | None:
    """When a process began, in clock ticks since the machine did; None if there is no such process.

    One that has ended and is not reaped yet is none: it runs no code any more.
    """
    try:
        fields = (_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else int(fields[_BEGAN_FIELD])


def is_gone(boot: Boot) -> bool:
    """Whether a worker of this machine is dead, by its process table. Without /proc nobody is known to be."""
    return _PROC.joinpath("self/stat").exists() and began(boot.pid) != boot.began


def end_children() -> None:
    """Kill what this process has forked and has not waited for. Only for its very end."""
    for tasks in (_PROC / "self/task").glob("*/children"):
        for pid in map(int, tasks.read_text().split()):
            with suppress(ProcessLookupError, ChildProcessError):
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
