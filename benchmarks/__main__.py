"""Ours beside bare Celery, in one run: ``python -m benchmarks [--cases a b c] [--modes message light] [--rounds 5]``.

Private servers, one worker of each side with two pool processes, up for the whole run. Each round measures a pair: ours
and bare Celery one right after the other, and who goes first changes; so what else the machine does falls on both, and
the ratio of a pair means more than its times. Ours is over when the last committed end is in the database, bare Celery
when its last task has said so.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks import report
from benchmarks.bare import Bare
from benchmarks.cases import CASES, Case
from benchmarks.definitions import MODES
from benchmarks.ours import Ours
from benchmarks.report import Measured
from benchmarks.services import Servers, servers
from orchestrator.errors import OrchestratorError

CONCURRENCY = 2  # processes of each side's worker
WARM_UP = 0.05  # of a case's size, run before its first round


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parse(arguments)
    try:
        with servers(options.database, options.broker) as places:
            _measure(options, places)
    except OrchestratorError as error:
        print(f"not measured: {error}", file=sys.stderr)
        return 1
    return 0


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--cases", nargs="+", choices=[*CASES], default=["a", "b", "c"])
    parser.add_argument("--modes", nargs="+", choices=MODES, default=list(MODES))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--scale", type=float, default=1.0, help="of every size; 0.01 only tries it out")
    parser.add_argument("--database", metavar="URL", help="an empty database; default: a private server")
    parser.add_argument("--broker", metavar="URL", help="a broker that nobody else uses; default: a private Redis")
    parser.add_argument("--json", type=Path, metavar="FILE", help="one object a line")
    return parser.parse_args(arguments)


def _measure(options: argparse.Namespace, places: Servers) -> None:
    print(f"{report.machine()}\n{places.database_kind}, {places.broker_kind}, {CONCURRENCY} processes a worker\n")
    ours, bare = Ours(places, CONCURRENCY), Bare(places, CONCURRENCY)
    with ours.worker(), bare.worker():
        found = [
            _pairs(CASES[name], mode, ours, bare, options)
            for name in options.cases
            for mode in options.modes
            if mode in CASES[name].modes
        ]
    print(f"\n{report.table(found)}\n\nload at the end: {report.load()}")
    if options.json:
        report.write_json(options.json, (each.to_json(database=places.database_kind) for each in found))


def _pairs(case: Case, mode: str, ours: Ours, bare: Bare, options: argparse.Namespace) -> Measured:
    size = case.scaled(options.scale)
    measured = Measured(case.name, mode, case.about.format(size=size))
    small = case.scaled(options.scale * WARM_UP)
    case.ours(ours, mode, small)()
    sides: list[tuple[list[float], Callable[[], object]]] = [(measured.ours_s, case.ours(ours, mode, size))]
    if case.bare is not None:
        run = case.bare
        run(bare, small)
        sides.append((measured.bare_s, lambda: run(bare, size)))
    for round_ in range(options.rounds):
        for times, run_once in sides if round_ % 2 == 0 else reversed(sides):
            times.append(_timed(run_once))
        print(f"{case.name} {mode}, round {round_ + 1}: {_progress(measured)}", flush=True)
    return measured


def _timed(run: Callable[[], object]) -> float:
    began = time.perf_counter()
    run()
    return time.perf_counter() - began


def _progress(measured: Measured) -> str:
    said = f"ours {measured.ours_s[-1]:.3f} s"
    if measured.bare_s:
        said += f", bare {measured.bare_s[-1]:.3f} s, ratio {measured.ratios[-1]:.2f}"
    return said


if __name__ == "__main__":
    sys.exit(main())
