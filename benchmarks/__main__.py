"""Ours beside bare Celery, in one run: ``python -m benchmarks [--cases a b c] [--modes message light] [--rounds 5]``.

Private servers, and one worker of each side with two pool processes. What is a race is measured pair by pair
(``pairs``), with the same workers for the whole run; ``idle`` and ``memory`` come first, with workers of their own.
Ours is over when the last committed end is in the database, bare Celery when its last task has said so. ``--peer`` puts
a third side beside them (``peer``). What is measured, and how to read it: docs/performance.md.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from benchmarks import idle, memory, report
from benchmarks.bare import Bare
from benchmarks.cases import CASES
from benchmarks.definitions import MODES
from benchmarks.ours import Ours
from benchmarks.pairs import Sides, measure
from benchmarks.peer import PEERS, peer
from benchmarks.report import BARE, OURS, PEER, Figures, Measured
from benchmarks.services import Servers, servers
from benchmarks.usage import Roles, own_cpu_s, worker_roles
from orchestrator.errors import OrchestratorError

CONCURRENCY = 2  # processes of each side's worker
IDLE, MEMORY = "idle", "memory"
NAMES = (*dict.fromkeys(case.name for case in CASES), IDLE, MEMORY)


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parse(arguments)
    try:
        with servers(options.database, options.broker) as places:
            found = _measure(options, places)
            _say(found, database=places.database_kind, options=options)
    except OrchestratorError as error:
        print(f"not measured: {error}", file=sys.stderr)
        return 1
    return 1 if found.missing else 0


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--cases", nargs="+", choices=NAMES, default=["a", "b", "c"])
    parser.add_argument("--modes", nargs="+", choices=MODES, default=list(MODES))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--scale", type=float, default=1.0, help="of every size; 0.01 only tries it out")
    parser.add_argument(
        "--database", metavar="KIND", help="postgres, sqlite, or the URL of an empty one; default: a private PostgreSQL"
    )
    parser.add_argument("--broker", metavar="URL", help="one that nobody else uses; default: a private Redis")
    parser.add_argument("--json", type=Path, metavar="FILE", help="one object a line")
    parser.add_argument("--peer", choices=PEERS, help="another system beside them, in the cases a, b and c")
    parser.add_argument("--python", type=Path, metavar="PATH", help="the Python that the peer is installed in")
    parser.add_argument("--profile", action="store_true", help="say which processes took the CPU time")
    options = parser.parse_args(arguments)
    if (options.peer is None) != (options.python is None):
        parser.error("--peer needs --python, the Python that it is installed in, and the other way round")
    if options.rounds < 1 or options.scale <= 0:
        parser.error("--rounds is at least 1, and --scale more than 0")
    return options


@dataclass
class Found:
    """What was measured, and what could not be, and why. ``peer`` is what it calls itself."""

    measured: list[Measured] = field(default_factory=list)
    figures: list[Figures] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    peer: str = ""

    @contextmanager
    def missing_if_it_fails(self, what: str) -> Iterator[None]:
        """One case that fails does not take the others with it."""
        try:
            yield
        except OrchestratorError as error:
            self.missing.append(f"{what} was not measured: {error}")
            print(self.missing[-1], flush=True)


def _measure(options: argparse.Namespace, places: Servers) -> Found:
    found = Found()
    print(f"{report.machine()}\n{places.database_kind}, {places.broker_kind}, {CONCURRENCY} processes a worker\n")
    ours, bare = Ours(places, CONCURRENCY), Bare(places, CONCURRENCY)
    if IDLE in options.cases:
        with found.missing_if_it_fails(IDLE):
            found.figures += idle.measure(places, ours, bare, scale=options.scale)
    for mode in options.modes if MEMORY in options.cases else ():
        with found.missing_if_it_fails(f"{MEMORY} {mode}"):
            found.figures += memory.measure(mode, ours, bare, scale=options.scale)
    races = [(case, mode) for case in CASES if case.name in options.cases for mode in options.modes]
    if races:
        with _sides(options, places, ours, bare) as sides:
            found.peer = f"{sides.peer.name} {sides.peer.version}" if sides.peer else ""
            for case, mode in races:
                if mode in case.modes:
                    with found.missing_if_it_fails(f"{case.name} {mode}"):
                        found.measured.append(measure(case, mode, sides, scale=options.scale, rounds=options.rounds))
    return found


def _say(found: Found, *, database: str, options: argparse.Namespace) -> None:
    """Print the tables, and write the lines."""
    tables = [report.times(found.measured, found.peer), report.costs(found.measured)] if found.measured else []
    tables += [report.profile(found.measured)] if found.measured and options.profile else []
    tables += [report.figures(found.figures)] if found.figures else []
    print("", *tables, *found.missing, f"load at the end: {report.load()}", sep="\n\n")
    if options.json:
        more = {"database": database} | ({"peer": found.peer} if found.peer else {})
        report.write_json(options.json, (each.to_json(**more) for each in [*found.measured, *found.figures]))


@contextmanager
def _sides(options: argparse.Namespace, places: Servers, ours: Ours, bare: Bare) -> Iterator[Sides]:
    """Everybody's workers, while the block lasts."""
    third = peer(options.peer, options.python, places, concurrency=CONCURRENCY) if options.peer else nullcontext()
    with third as other, ours.worker() as worker, bare.worker() as bare_worker:
        roles: dict[str, Roles] = {}
        if options.profile:
            client: Roles = {"client": partial(own_cpu_s, os.getpid())}
            seen = places.roles()
            roles[OURS] = {**client, **worker_roles(worker.process.pid), **seen}
            roles[BARE] = {**client, **worker_roles(bare_worker.pid), "Redis": seen["Redis"]}
            roles[PEER] = {**other.roles(), **seen} if other else {}
        yield Sides(servers=places, ours=ours, bare=bare, peer=other, roles=roles)


if __name__ == "__main__":
    sys.exit(main())
