"""The sweeper: ends what has outlived its shim, and brings in what a dead runner has left.

A shim ends its tree before it ends, so nothing is ever left, unless the shim itself is killed by SIGKILL. Its command
dies with it; what the command had started is found by the tag in its environment, and ended. Nobody else's is touched:
a tag belongs to somebody as long as there is a process with the shim's command line and this tag, in whichever worker.
Where there is a control group it is found by that as well.

What is not found: a process that has cleared or overwritten its environment *and* has lost its shim *and* is in no
control group; and what another user owns.

Any process may sweep at any time, several at once too.
"""

from __future__ import annotations

import logging
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from orchestrator.artifacts import Artifacts
from orchestrator.processes import cgroup, tree
from orchestrator.processes.folders import left_folders
from orchestrator.processes.outputs import store_outputs
from orchestrator.processes.spec import TAG

log = logging.getLogger(__name__)

SHIM: Final = os.path.join("orchestrator", "processes", "shim.py")  # as every installation's path ends
LIMIT_S: Final = 5.0  # SIGKILL works at once, except on a process that hangs in the kernel
_PAUSE_S: Final = 0.01


def sweep_orphans() -> int:
    """End every process on this machine that has outlived its shim, and what it goes on to start.

    Returns:
        How many there were.
    """
    ended = _end_all(lambda tags: tags - _shims())
    for group in cgroup.left_groups():
        if group.name not in {_name_of(tag) for tag in _shims()}:
            _end_group(group)
    if ended:
        log.warning("processes ended that had outlived their shim", extra={"processes": ended})
    return ended


def sweep_tag(tag: str) -> int:
    """End what has this tag. For the runner whose shim has died: it need not ask.

    Returns:
        How many there were.
    """
    ended = _end_all(lambda tags: tags & {tag})
    for group in cgroup.left_groups():
        if group.name == _name_of(tag):
            _end_group(group)
    return ended


def sweep_folders(runs: Path, artifacts: Artifacts) -> list[str]:
    """Keep the output of runs whose runner and shim have died, and take their folders away.

    Returns:
        The names of the artifacts.
    """
    names: list[str] = []
    for folder in left_folders(runs):
        label, stored = folder.label, {}
        if label is not None:
            stored = store_outputs(folder.path, label, artifacts, report=folder.report)
        names += [each.artifact for each in stored.values() if each.artifact is not None]
        if any(each.artifact is None and each.kept.text for each in stored.values()):
            log.warning("output of a dead run is not stored yet", extra={"folder": str(folder.path)})
            os.close(folder.lock)
        else:
            folder.remove()
    return names


def _shims() -> set[str]:
    """The tags of the living shims. A zombie has no command line."""
    found = [tree.arguments(process.pid) for process in tree.processes()]
    return {each[-1] for each in found if any(part.endswith(SHIM) for part in each)}


def _name_of(tag: str) -> str:
    return tag.rpartition("/")[2]


def _end_all(meant: Callable[[set[str]], set[str]]) -> int:
    """SIGKILL to the processes with the tags that are meant of those found, again and again, until there are none."""
    ended: set[tuple[int, int]] = set()
    deadline = time.monotonic() + LIMIT_S
    while time.monotonic() < deadline:
        # Tags first, shims afterwards: a shim is there before its processes and after them, so one that is not seen
        # is gone.
        tagged = {each: tag for each in tree.processes() if each.is_alive and (tag := tree.variable(each.pid, TAG))}
        tags = meant(set(tagged.values())) if tagged else set()  # as nearly always: then nobody asks for shims
        if not tags:
            break
        ended.update(each.key for each, tag in tagged.items() if tag in tags and tree.send(each, signal.SIGKILL))
        time.sleep(_PAUSE_S)
    return len(ended)


def _end_group(group: cgroup.Cgroup) -> None:
    """Likewise; it can be taken away once all in it are gone."""
    deadline = time.monotonic() + LIMIT_S
    group.kill()
    while not group.remove() and time.monotonic() < deadline:
        time.sleep(_PAUSE_S)
