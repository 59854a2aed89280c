"""A control group around a command, where there may be one: the kernel then kills all of it at a word.

It is the one fence that nothing gets over: not by a fork bomb, not by clearing the environment and outliving the shim.
So it is used where it costs nothing: cgroup v2, in the worker's own group, if that may be divided (a service manager
has delegated it, or it is the top of a container). Without one the rest of this package has to do, and does.

    <the worker's group>/orchestrator-<PID namespace>-<random>     a command and all that comes of it; gone with its run

Workers in different PID namespaces may be in one group. Each sees its own groups only: of the others it could not see
whether somebody looks after them.

No controller is needed or set. Must not: raise; what is missing is simply not used.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from typing import Final

_DELEGATED: Final = ("trusted.delegate", "user.delegate")  # how systemd marks a group that may be divided


def prefix() -> str:
    """How the groups of this PID namespace are named."""
    return f"orchestrator-{os.stat('/proc/self/ns/pid').st_ino}-"


class Cgroup:
    """One group of ours."""

    def __init__(self, path: str) -> None:
        self.path = path

    @property
    def name(self) -> str:
        """Which run it belongs to."""
        return os.path.basename(self.path).removeprefix(prefix())

    def enter(self) -> None:
        """Put this process into it, and what it will start."""
        _write(self.path, "cgroup.procs", "0")

    def kill(self) -> None:
        """SIGKILL to all in it; who is just being forked dies as well (Linux 5.14)."""
        _write(self.path, "cgroup.kill", "1")

    def remove(self) -> bool:
        """Take it away, if all in it have ended; whether it is gone."""
        with suppress(OSError):
            os.rmdir(self.path)
        return not os.path.exists(self.path)


def create(name: str) -> Cgroup | None:
    """A new group below this process's own; None where that cannot be."""
    own = _own_folder()
    if own is None or not _may_be_divided(own):
        return None
    group = Cgroup(os.path.join(own, f"{prefix()}{name}"))
    try:
        os.mkdir(group.path)
    except OSError:
        return None
    if not os.path.exists(os.path.join(group.path, "cgroup.kill")):
        group.remove()
        return None
    return group


def left_groups() -> Iterator[Cgroup]:
    """Those that are there below this process's own."""
    own = _own_folder()
    if own is not None:
        with suppress(OSError):
            for name in os.listdir(own):
                if name.startswith(prefix()):
                    yield Cgroup(os.path.join(own, name))


def oom_kills() -> int:
    """How often the kernel has killed somebody in this process's group because its memory was used up."""
    own = _own_folder()
    text = "" if own is None else _read(os.path.join(own, "memory.events"))
    counts = dict(line.split() for line in text.splitlines() if line.count(" ") == 1)
    return int(counts.get("oom_kill", 0))


def _own_folder() -> str | None:
    """Where this process's group is, in the file system."""
    below = _own_name()
    for line in _read("/proc/self/mountinfo").splitlines():
        left, _, right = line.partition(" - ")
        root, mounted_at = left.split()[3:5]
        if right.startswith("cgroup2 ") and below is not None and root == "/":
            return os.path.normpath(f"{mounted_at}{below}")
    return None


def _own_name() -> str | None:
    return next((line[3:] for line in _read("/proc/self/cgroup").splitlines() if line.startswith("0::/")), None)


def _may_be_divided(folder: str) -> bool:
    """Who may write to a group has been given it, except root, who may write to all: it needs a mark, or the top."""
    if not os.access(folder, os.W_OK):
        return False
    return os.geteuid() != 0 or _own_name() == "/" or any(_is_marked(folder, each) for each in _DELEGATED)


def _is_marked(folder: str, attribute: str) -> bool:
    with suppress(OSError):
        return os.getxattr(folder, attribute) == b"1"
    return False


def _write(folder: str, name: str, text: str) -> None:
    with suppress(OSError), open(os.path.join(folder, name), "w") as file:
        file.write(text)


def _read(path: str) -> str:
    try:
        with open(path) as file:
            return file.read()
    except OSError:
        return ""
