"""The side of a peer: another system's script, run with that system's own Python, which does what it is told.

The script lies in ``benchmarks/peers`` and knows nothing of ours. It brings its own workers, gets a JSON object a line
on its standard input, and answers when everything of it is final and committed in its database::

    -> {"case": "chord", "size": 1000}
    <- {"peer": "dbos", "version": "3.4.0", "case": "chord", "size": 1000, "tasks": 1000}
"""

from __future__ import annotations

import json
import os
import select
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

from benchmarks.services import NoService, Servers
from benchmarks.usage import Roles, tree_cpu_s
from orchestrator.processes.leash import leashed
from orchestrator.runtime.children import stop, tail

PEERS: Final = ("dbos", "prefect", "celery_director")
START_LIMIT_S: Final = 120.0
WAIT_S: Final = 3600.0
GRACE_S: Final = 5.0
_ROOT: Final = Path(__file__).parents[1]


class Peer:
    """A peer that runs. ``name`` and ``version`` are what it says of itself."""

    def __init__(self, process: subprocess.Popen[bytes], log_file: Path, *, name: str) -> None:
        self._process, self._log_file = process, log_file
        self.name = name
        self.version = str(self._answer(START_LIMIT_S)["version"])

    def run(self, case: str, size: int) -> None:
        """Have it run a case, and wait until it is over.

        Raises:
            NoService: it has ended, takes too long, or has run another number of tasks.
        """
        assert self._process.stdin is not None, "it was started with a pipe"
        with suppress(BrokenPipeError):  # that it has ended is what it answers
            self._process.stdin.write(json.dumps({"case": case, "size": size}).encode() + b"\n")
            self._process.stdin.flush()
        answer = self._answer(WAIT_S)
        if answer.get("error"):
            raise NoService(self.name, str(answer["error"]))

    def roles(self) -> Roles:
        """All processes that it has brought."""
        return {"peer": lambda: tree_cpu_s(self._process.pid)}

    def _answer(self, within_s: float) -> dict[str, Any]:
        assert self._process.stdout is not None, "it was started with a pipe"
        ready, _, _ = select.select([self._process.stdout], [], [], within_s)
        line = self._process.stdout.readline() if ready else b""
        if not line:
            reason = "it has ended" if ready else f"no answer within {within_s:g} s"
            raise NoService(self.name, f"{reason}; its log ends: {tail(self._log_file)}")
        return dict(json.loads(line))


@contextmanager
def peer(name: str, python: Path, servers: Servers, *, concurrency: int) -> Iterator[Peer]:
    """Start a peer with a database of its own beside ours; it is gone, and that too, after the block.

    Raises:
        NoService: it does not start.
    """
    python = python.absolute()  # not resolved: an environment's Python is a link, and known by its place
    log_file, home = servers.folder / f"{name}.log", servers.folder / name
    home.mkdir()
    with servers.another_database() as database, log_file.open("wb") as log:
        told = {
            "database": database,
            "broker": servers.peer_broker,
            "results": servers.peer_results,
            "home": str(home),
            "concurrency": concurrency,
        }
        process = subprocess.Popen(
            leashed([str(python), "-m", f"benchmarks.peers.{name}", json.dumps(told)]),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            cwd=_ROOT,
            env=_environment(python),
            start_new_session=True,
        )
        try:
            yield Peer(process, log_file, name=name)
        finally:
            stop([process], grace_s=GRACE_S)


def _environment(python: Path) -> dict[str, str]:
    """Ours without what is of our Python alone; programs of the peer's come first."""
    inherited = {key: text for key, text in os.environ.items() if not key.startswith(("PYTHON", "VIRTUAL_ENV"))}
    return inherited | {"PATH": f"{python.parent}:{os.environ['PATH']}"}
