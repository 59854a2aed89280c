"""One command's own folder under ``home/run``: ``<pid>-<random>``, and who may take it away.

A run folder belongs to whoever holds the flock on its file ``lock``. The kernel lets go of it however the owner dies,
so the next command can tell dead folders from live ones by trying, and sweeps them. (A pid alone would lie after a
reboot, and between containers that share a home.)
"""

from __future__ import annotations

import fcntl
import logging
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

log = logging.getLogger(__name__)

LONGEST_SOCKET_PATH: Final = 100  # bytes; the kernels take 107 (Linux) and 103 (macOS)


@contextmanager
def run_folder(home: Path) -> Iterator[Path]:
    """A folder of our own under ``home/run``, locked while the block lasts; dead ones are swept first."""
    run = home / "run"
    run.mkdir(parents=True, exist_ok=True, mode=0o700)
    with _locked(run / "lock"):  # or another command takes our folder for a dead one before we have locked it
        _sweep(run)
        folder = Path(tempfile.mkdtemp(prefix=f"{os.getpid()}-", dir=run))
        ours = os.open(folder / "lock", os.O_CREAT | os.O_RDWR, 0o600)
        fcntl.flock(ours, fcntl.LOCK_EX)
    try:
        yield folder
    finally:
        _remove(folder)
        os.close(ours)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _sweep(run: Path) -> None:
    for folder in run.iterdir():
        if folder.is_dir() and not _is_alive(folder):
            log.info("dead run folder swept", extra={"folder": str(folder)})
            _remove(folder)


def _is_alive(folder: Path) -> bool:
    try:
        with (folder / "lock").open() as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except FileNotFoundError:  # its owner died between making the folder and locking it
        return False
    except BlockingIOError:
        return True
    return False


def _remove(folder: Path) -> None:
    elsewhere = folder / "sockets"
    if elsewhere.is_symlink():
        shutil.rmtree(elsewhere.readlink(), ignore_errors=True)
    shutil.rmtree(folder, ignore_errors=True)


def socket_path(folder: Path) -> Path:
    """Where the socket goes: the run folder, or a private one with a short name if its path is too long for a socket.

    The run folder then has a link to the other one, so that a later sweep finds it.
    """
    path = folder / "redis.sock"
    if len(os.fsencode(path)) <= LONGEST_SOCKET_PATH:
        return path
    elsewhere = Path(tempfile.mkdtemp(prefix="orchestrator-", dir="/tmp"))  # TMPDIR may be long as well
    (folder / "sockets").symlink_to(elsewhere)
    return elsewhere / "redis.sock"
