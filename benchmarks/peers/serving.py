"""What every peer's script does alike: it reads what to run, runs it, and answers when that is final and committed.

``benchmarks.peer`` has the other end. What the peer prints on its standard output goes to its log.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import sys
import traceback
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class Surroundings:
    """What a peer gets.

    Attributes:
        database: the URL of an empty database, ``postgresql://`` or ``sqlite:///``.
        broker, results: URLs of a Redis, ``redis+socket://``, in case it needs one.
        home: an empty folder.
        concurrency: how many processes are to work.
    """

    database: str
    broker: str
    results: str
    home: str
    concurrency: int


class Cases(Protocol):
    """The cases. Each returns how many tasks are final and committed, when all are."""

    def chord(self, size: int) -> int:
        """So many children of one parent that does something when all have ended."""

    def chain(self, size: int) -> int:
        """So many tasks, one after the other."""

    def graphs(self, size: int) -> int:
        """So many graphs of one task, three beside each other, and one behind them."""


TASKS = {"chord": 1, "chain": 1, "graphs": 5}  # of one of the size


def serve(distribution: str, start: Callable[[Surroundings], AbstractContextManager[Cases]]) -> None:
    """Start the peer, and do what comes on the standard input until it ends."""
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", buffering=1)
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    about = {"peer": distribution, "version": importlib.metadata.version(distribution)}
    with start(Surroundings(**json.loads(sys.argv[1]))) as cases:
        print(json.dumps(about), file=answers)
        for line in sys.stdin:
            told = json.loads(line)
            print(json.dumps(about | told | _run(cases, told["case"], told["size"])), file=answers)


def _run(cases: Cases, case: str, size: int) -> dict[str, object]:
    try:
        tasks = getattr(cases, case)(size)
    except Exception as error:
        traceback.print_exc()
        return {"error": f"{type(error).__name__}: {error}"}
    wanted = size * TASKS[case]
    return {"tasks": tasks} | ({} if tasks == wanted else {"error": f"{tasks} tasks are final, {wanted} should be"})
