"""Nothing that a process starts may outlive it, not even after ``kill -9``.

On Linux the kernel sees to it: PR_SET_PDEATHSIG names the signal that a process gets when its parent dies. It must be
set in the child itself, after the fork, so the child is started through this file::

    python -I -S leash.py PARENT_PID -- redis-server --port 0

which sets it, makes sure that the parent has not died meanwhile, and becomes the command (the setting survives exec).
``preexec_fn`` would do the same and can deadlock in a process that has threads.

Elsewhere the leash stays as a process of its own beside the command and looks for the parent twice a second.

Two facts to know. The signal comes when the *thread* that started the child ends, so start it from one that lives as
long as the child may. And it reaches the child alone: what the child forks must call ``die_with_parent`` itself.

Must not: import anything besides the standard library, or be slow: it runs at the start of every process.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import threading
from collections.abc import Sequence
from types import FrameType
from typing import Final

PR_SET_PDEATHSIG: Final = 1  # <linux/prctl.h>
PR_SET_CHILD_SUBREAPER: Final = 36
PR_SET_NO_NEW_PRIVS: Final = 38
POLL_S: Final = 0.5
PARENT_IS_GONE: Final = 128 + signal.SIGKILL
_IS_LINUX: Final = sys.platform.startswith("linux")


def leashed(command: Sequence[str]) -> list[str]:
    """The command to start instead of ``command``, so that it dies with this process."""
    # -I -S: no site-packages, no environment; twice as quick to start.
    return [sys.executable, "-I", "-S", __file__, str(os.getpid()), "--", *command]


def die_with_parent(number: int = signal.SIGKILL, *, parent_pid: int | None = None) -> None:
    """Have this process get the signal as soon as its parent dies; at once if that happened already.

    Args:
        number: the signal. SIGKILL cannot be blocked, handled or waited out.
        parent_pid: the parent at the time of the fork, if the caller knows it: it closes the gap before this call.
    """
    parent = parent_pid or os.getppid()
    if not _has_parent_death_signal(number):
        threading.Thread(target=_watch, args=(parent, number), name="leash", daemon=True).start()
    elif os.getppid() != parent:
        os.kill(os.getpid(), number)


def adopt_orphans() -> None:
    """Have this process become the parent of every descendant whose own parent ends: none can get away."""
    if not _prctl(PR_SET_CHILD_SUBREAPER, 1):
        raise OSError(ctypes.get_errno(), "this system has no child subreaper")


def give_up_privileges() -> None:
    """No program that this process becomes gains rights: one that did could not be killed by who started it."""
    _prctl(PR_SET_NO_NEW_PRIVS, 1)


def _has_parent_death_signal(number: int) -> bool:
    return _prctl(PR_SET_PDEATHSIG, int(number))


def _prctl(option: int, value: int) -> bool:
    return _IS_LINUX and ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0) == 0


def _watch(parent: int, number: int) -> None:
    pause = threading.Event()
    while os.getppid() == parent:
        pause.wait(POLL_S)
    os.kill(os.getpid(), number)


def _stay_beside(command: Sequence[str], parent: int) -> int:
    """Where there is no parent-death signal: run the command, hand signals on, kill it when the parent is gone."""
    import subprocess  # not needed on Linux, and it takes longer to load than the rest of this file

    child = subprocess.Popen(command)  # noqa: S603

    def hand_on(number: int, _: FrameType | None) -> None:
        child.send_signal(number)

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT):
        signal.signal(number, hand_on)
    while os.getppid() == parent:
        try:
            return child.wait(POLL_S)
        except subprocess.TimeoutExpired:
            continue
    child.kill()
    return PARENT_IS_GONE


def main(arguments: Sequence[str]) -> int:  # noqa: RET503 - exec does not return
    """``PARENT_PID -- COMMAND ...``; on Linux it does not return."""
    parent, command = int(arguments[0]), list(arguments[2:])
    if not _has_parent_death_signal(signal.SIGKILL):
        return _stay_beside(command, parent)
    if os.getppid() != parent:
        return PARENT_IS_GONE
    os.execvp(command[0], command)  # noqa: S606 - becoming the command is the purpose


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
