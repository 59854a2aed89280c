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
from benchmarks.services import NoService, Servers, servers
from benchmarks.usage import Roles, own_cpu_s, worker_roles
from orchestrator.errors import OrchestratorError

CONCURRENCY = 2  # processes of each side's worker
IDLE, MEMORY = "idle", "memory"


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parse(arguments)
    try:
        with servers(options.database, options.broker) as places:
            return _measure(options, places)
    except OrchestratorError as error:
        print(f"not measured: {error}", file=sys.stderr)
        return 1


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    names = [*dict.fromkeys(case.name for case in CASES), IDLE, MEMORY]
    parser.add_argument("--cases", nargs="+", choices=names, default=["a", "b", "c"])
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


def _measure(options: argparse.Namespace, places: Servers) -> int:
    print(f"{report.machine()}\n{places.database_kind}, {places.broker_kind}, {CONCURRENCY} processes a worker\n")
    ours, bare = Ours(places, CONCURRENCY), Bare(places, CONCURRENCY)
    figures = list(_figures(options, places, ours, bare))
    measured, missing, label = _times(options, places, ours, bare)
    tables = [report.times(measured, label), report.costs(measured)] if measured else []
    tables += [report.profile(measured)] if measured and options.profile else []
    tables += [report.figures(figures)] if figures else []
    print("", *tables, *missing, f"load at the end: {report.load()}", sep="\n\n")
    if options.json:
        more = {"database": places.database_kind} | ({"peer": label} if label else {})
        report.write_json(options.json, (each.to_json(**more) for each in [*measured, *figures]))
    return 1 if missing else 0


def _figures(options: argparse.Namespace, places: Servers, ours: Ours, bare: Bare) -> Iterator[Figures]:
    """What is no race."""
    if IDLE in options.cases:
        yield from idle.measure(places, ours, bare, scale=options.scale)
    if MEMORY in options.cases:
        for mode in options.modes:
            yield from memory.measure(mode, ours, bare, scale=options.scale)


def _times(
    options: argparse.Namespace, places: Servers, ours: Ours, bare: Bare
) -> tuple[list[Measured], list[str], str]:
    """The races; what could not be measured, and why; and what the peer calls itself."""
    wanted = [(case, mode) for case in CASES if case.name in options.cases for mode in options.modes]
    measured, missing = [], []
    if not wanted:
        return [], [], ""
    with _sides(options, places, ours, bare) as sides:
        for case, mode in wanted:
            if mode not in case.modes:
                continue
            try:
                measured.append(measure(case, mode, sides, scale=options.scale, rounds=options.rounds))
            except NoService as error:
                missing.append(f"{case.name} {mode} was not measured: {error}")
                print(missing[-1], flush=True)
        return measured, missing, f"{sides.peer.name} {sides.peer.version}" if sides.peer else ""


@contextmanager
def _sides(options: argparse.Namespace, places: Servers, ours: Ours, bare: Bare) -> Iterator[Sides]:
    """Everybody's workers, while the block lasts."""
    third = peer(options.peer, options.python, places, concurrency=CONCURRENCY) if options.peer else nullcontext()
    with third as other, ours.worker() as worker, bare.worker() as bare_worker:
        sides = Sides(servers=places, ours=ours, bare=bare, peer=other)
        if options.profile:
            client: Roles = {"client": partial(own_cpu_s, os.getpid())}
            seen = places.roles()
            sides.roles[OURS] = {**client, **worker_roles(worker.process.pid), **seen}
            sides.roles[BARE] = {**client, **worker_roles(bare_worker.pid), "Redis": seen["Redis"]}
            sides.roles[PEER] = {**(other.roles() if other else {}), **seen}
        yield sides


if __name__ == "__main__":
    sys.exit(main())
