"""What processes use, as Linux counts it: CPU time and memory, by role.

CPU time includes that of ended children once their parent has taken note of them, so a server's connection that was
closed meanwhile is counted, too.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeAlias

from orchestrator.processes.tree import descendants

Role: TypeAlias = str
Roles: TypeAlias = Mapping[Role, Callable[[], float]]
"""By name of a role, what gives the CPU seconds that its processes have used so far."""

_TICKS: Final = os.sysconf("SC_CLK_TCK")  # a second
_OWN: Final = slice(11, 13)  # of /proc/PID/stat behind the name, proc(5): user and system time
_ENDED: Final = slice(13, 15)  # the same of children that have ended
_MEMORY: Final = re.compile(r"^(Rss|Pss):\s+(\d+) kB$", re.MULTILINE)


@dataclass(frozen=True, kw_only=True, slots=True)
class Memory:
    """Of one process: RSS counts a shared page as whole, PSS divides it among those that share it."""

    rss_mb: float
    pss_mb: float


def own_cpu_s(pid: int) -> float:
    """Of this process alone."""
    return _cpu_s(pid, _OWN)


def tree_cpu_s(pid: int) -> float:
    """Of this process and all below it, those included that have ended."""
    return sum(_cpu_s(each, _OWN) + _cpu_s(each, _ENDED) for each in (pid, *pids_below(pid)))


def pids_below(pid: int) -> list[int]:
    """The living processes below this one."""
    return [each.pid for each in descendants(pid)]


def worker_roles(pid: int) -> Roles:
    """Of a Celery worker: its main process, and those of its pool."""
    return {"worker main": lambda: own_cpu_s(pid), "pool": lambda: tree_cpu_s(pid) - own_cpu_s(pid)}


def memory(pid: int) -> Memory:
    """What a process holds now."""
    found = dict(_MEMORY.findall(Path(f"/proc/{pid}/smaps_rollup").read_text()))
    return Memory(rss_mb=int(found["Rss"]) / 1024, pss_mb=int(found["Pss"]) / 1024)


def look(roles: Roles) -> dict[Role, float]:
    """The CPU seconds of every role so far."""
    return {role: cpu_s() for role, cpu_s in roles.items()}


def used(before: Mapping[Role, float], after: Mapping[Role, float]) -> dict[Role, float]:
    """What was used between two looks."""
    return {role: max(0.0, after[role] - before[role]) for role in before}


def _cpu_s(pid: int, part: slice) -> float:
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:  # it has ended; its parent has the time, or will have it
        return 0.0
    return sum(map(int, text.rpartition(")")[2].split()[part])) / _TICKS
