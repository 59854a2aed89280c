"""Processes that this one starts and that must be gone when it is: started on a leash, stopped with their session.

A child gets a session of its own: the terminal's Ctrl-C then reaches the parent alone, which decides on the order, and
whatever the child forks can be found and killed by the session's number.

Must not: know what the processes are for.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Final

from orchestrator.processes.leash import leashed

KILL_LIMIT_S: Final = 2.0  # SIGKILL works at once, except on a process that hangs in the kernel


def start(command: Sequence[str], log_file: Path, *, environment: dict[str, str] | None) -> subprocess.Popen[bytes]:
    """Start a command that dies with this process; what it prints is appended to the log file."""
    opened = os.open(log_file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        return subprocess.Popen(  # noqa: S603
            leashed(command),
            stdin=subprocess.DEVNULL,
            stdout=opened,
            stderr=opened,
            env=environment,
            umask=0o077,
            start_new_session=True,  # Ctrl-C in the terminal is for us alone
        )
    finally:
        os.close(opened)


def stop(processes: Iterable[subprocess.Popen[bytes]], *, grace_s: float) -> None:
    """SIGTERM to each; after the grace SIGKILL to what is left of their sessions. None of them is alive afterwards."""
    processes = list(processes)
    try:
        for process in processes:
            if process.returncode is None:
                os.kill(process.pid, signal.SIGTERM)  # not terminate(): it reaps, see _wait_until
        deadline = time.monotonic() + grace_s
        for process in processes:
            _wait_until(process, deadline)
    finally:  # a second Ctrl-C ends the grace, not this
        for process in processes:
            _kill_session(process.pid)
            process.wait()


def _wait_until(process: subprocess.Popen[bytes], deadline: float) -> None:
    """Wait for the end without reaping: as long as the dead leader is there, its id cannot become another session's."""
    remaining_s = max(0.0, deadline - time.monotonic())
    if process.returncode is not None:
        return
    if not hasattr(os, "pidfd_open"):
        with suppress(subprocess.TimeoutExpired):
            process.wait(remaining_s)
        return
    handle = os.pidfd_open(process.pid)
    try:
        select.select([handle], [], [], remaining_s)
    finally:
        os.close(handle)


def exit_status(process: subprocess.Popen[bytes]) -> int | None:
    """Like ``poll``, without reaping."""
    if process.returncode is not None or not hasattr(os, "waitid"):
        return process.poll()
    found = os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    if found is None:
        return None
    return found.si_status if found.si_code == os.CLD_EXITED else -found.si_status


def _kill_session(leader: int) -> None:
    """Kill whoever is in the session of this leader: its process group, and the groups that left it."""
    with suppress(ProcessLookupError, PermissionError):  # macOS says EPERM for a group of zombies
        os.killpg(leader, signal.SIGKILL)
    deadline = time.monotonic() + KILL_LIMIT_S
    while (members := _session_members(leader)) and time.monotonic() < deadline:
        for pid in members:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def _session_members(leader: int) -> list[int]:
    """The living processes of a session, but for its leader. Empty where there is no /proc."""
    members = []
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it ended while we looked
            # After the name, which may hold anything: state, parent, group, session.
            state, _, _, session = (folder / "stat").read_text().rpartition(")")[2].split()[:4]
            if int(session) == leader and state not in "ZX" and int(folder.name) != leader:
                members.append(int(folder.name))
    return members


def tail(path: Path, *, lines: int = 5) -> str:
    """The last lines of a log, on one line."""
    with suppress(OSError):
        return " | ".join(path.read_text(errors="replace").splitlines()[-lines:])
    return "(nothing)"


@contextmanager
def signals_as_exit() -> Iterator[None]:
    """SIGTERM and SIGHUP leave the block like an exception, so that the order of the shutdown is ours.

    A handler that is set already, or a signal that is ignored (nohup), stays as it is.
    """

    def leave(number: int, _: FrameType | None) -> None:
        raise SystemExit(128 + number)

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    numbers = [each for each in (signal.SIGTERM, signal.SIGHUP) if signal.getsignal(each) is signal.SIG_DFL]
    for number in numbers:
        signal.signal(number, leave)
    try:
        yield
    finally:
        for number in numbers:
            signal.signal(number, signal.SIG_DFL)
