"""The case ``idle``: what a worker costs that has nothing to do, on an empty system and with executions that wait.

Every worker looks now and then for what is due, lost or to be stopped. Measured over a while: the statements that it
sends to the database, and the CPU time of its processes and of the database server, as a share of one core; beside them
the CPU time of an idle worker of bare Celery.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Final

from benchmarks import definitions
from benchmarks.bare import Bare
from benchmarks.ours import Ours
from benchmarks.report import Figure, Figures
from benchmarks.services import Servers
from benchmarks.statements import counted
from benchmarks.usage import Roles, look, tree_cpu_s, used

WAITING: Final = 1_000  # executions, at scale 1
WINDOW_S: Final = 60.0
LEAST_S: Final = 1.0
_DEFINITION: Final = "bench-waiting"


def measure(servers: Servers, ours: Ours, bare: Bare, *, scale: float) -> list[Figures]:
    """With workers of its own: nothing waits, and then so many executions do; they are ended afterwards."""
    count, window_s = max(2, round(WAITING * scale)), max(LEAST_S, WINDOW_S * scale)
    file = servers.folder / "statements"
    with ours.worker(statements=file) as worker, bare.worker() as bare_worker:
        roles = {
            "ours": lambda: tree_cpu_s(worker.process.pid),
            "bare": lambda: tree_cpu_s(bare_worker.pid),
            **servers.roles(),
        }
        ours.publish(definitions.waiting(_DEFINITION))
        _begin(ours, bare)
        empty = _watched(roles, file, window_s)
        ours.suspend(_DEFINITION, count)
        suspended = _watched(roles, file, window_s)
        ours.client.kill_many("state = SUSPENDED")
    what = f"{window_s:g} s with {{}} executions suspended"
    return [
        Figures(case="idle", mode="empty", what=what.format(0), size=0, figures=empty),
        Figures(case="idle", mode="suspended", what=what.format(f"{count:,}"), size=count, figures=suspended),
    ]


def _begin(ours: Ours, bare: Bare) -> None:
    """Both workers are up when each has done something."""
    for each in ours.suspend(_DEFINITION, 1):
        ours.client.kill(each)
    bare.chain(2)


def _watched(roles: Roles, file: Path, window_s: float) -> list[Figure]:
    statements, before, began = counted(file), look(roles), time.perf_counter()
    time.sleep(window_s)
    after, seconds = look(roles), time.perf_counter() - began
    shares = {role: cpu_s / seconds * 100 for role, cpu_s in used(before, after).items()}
    return [
        Figure(name="statements", unit="1/s", ours=(counted(file) - statements) / seconds),
        Figure(name="worker CPU", unit="% of a core", ours=shares["ours"], bare=shares["bare"]),
        Figure(name="PostgreSQL CPU", unit="% of a core", ours=shares.get("PostgreSQL")),
    ]
