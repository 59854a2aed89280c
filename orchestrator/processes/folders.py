"""The folder of one run: what it has kept so far, its working directory, and who may take it away.

    <runs>/lock             held while a folder is made
    <runs>/<random>/        one run
        lock                held by the runner and the shim, so by nobody once both are dead
        run.json            whose it is
        stdout.0 ...        see processes.spool
        report.json         once it is over
        work/               the working directory, if none is given

The lock says who lives: a pid would lie after a reboot, and between containers that share a folder.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final, NamedTuple

from orchestrator.processes.spec import REPORT, Report, parse_report

WORK: Final = "work"
LABEL: Final = "run.json"


class Label(NamedTuple):
    """Whose a run folder is: its tag, and the cap of its streams."""

    tag: str
    most_output_bytes: int


class RunFolder(NamedTuple):
    """A folder, and the lock on it that this process holds."""

    path: Path
    lock: int

    @property
    def work(self) -> Path:
        """The working directory of a command that is given none."""
        return self.path / WORK

    @property
    def label(self) -> Label | None:
        """Whose it is; None if its runner died before it said so."""
        with suppress(OSError, ValueError):
            return Label(**json.loads((self.path / LABEL).read_text()))
        return None

    @property
    def report(self) -> Report | None:
        """What the shim has left here at its end, if it could."""
        with suppress(OSError, ValueError):
            return parse_report(json.loads((self.path / REPORT).read_text()))
        return None

    def remove(self) -> None:
        """Take it away, with whatever the command has left in it."""
        shutil.rmtree(self.path, ignore_errors=True)
        if self.path.exists():  # folders that their owner may not write to
            for folder, _, _ in os.walk(self.path):
                with suppress(OSError):
                    Path(folder).chmod(0o700)
            shutil.rmtree(self.path, ignore_errors=True)
        os.close(self.lock)


def new_run_folder(runs: Path, attempt: str, *, most_output_bytes: int) -> tuple[RunFolder, Label]:
    """A locked folder for a run of this attempt, ``<execution>.<task>.<attempt>``."""
    runs.mkdir(parents=True, exist_ok=True, mode=0o700)
    with _held(runs / "lock"):  # or a sweeper takes it for a dead one before it is locked
        path = Path(tempfile.mkdtemp(prefix="", dir=runs))
        lock = os.open(path / "lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        fcntl.flock(lock, fcntl.LOCK_EX)
    folder, label = RunFolder(path, lock), Label(f"{attempt}/{path.name}", most_output_bytes)
    try:
        (path / LABEL).write_text(json.dumps(label._asdict()))
        folder.work.mkdir(mode=0o700)
    except OSError:
        folder.remove()
        raise
    return folder, label


def left_folders(runs: Path) -> Iterator[RunFolder]:
    """Folders that neither a runner nor a shim holds any more, locked by us; whoever gets one removes it."""
    if not runs.is_dir():
        return
    with _held(runs / "lock"):
        paths = [each for each in runs.iterdir() if each.is_dir()]
    for path in paths:
        lock = _lock_of_the_dead(path)
        if lock is not None:
            yield RunFolder(path, lock)


def _lock_of_the_dead(path: Path) -> int | None:
    try:
        lock = os.open(path / "lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    except OSError:  # somebody else has just taken it away
        return None
    with suppress(BlockingIOError):
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return lock
    os.close(lock)
    return None


@contextmanager
def _held(path: Path) -> Iterator[None]:
    with path.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
