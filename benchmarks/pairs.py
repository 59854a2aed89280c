"""A case, measured in rounds: ours, bare Celery and perhaps a peer one right after the other, in turning order.

So what else the machine does falls on all of them, and the ratio of a pair means more than its times. Before the first
round each side runs once, small. After each run of ours the executions that SUCCEEDED are counted, and after the last
round each side runs once more to have its messages looked at: neither is in any time.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from benchmarks.bare import Bare
from benchmarks.cases import Case
from benchmarks.ours import Ours
from benchmarks.peer import Peer
from benchmarks.report import BARE, OURS, PEER, Measured, Messages
from benchmarks.services import NoService, Servers
from benchmarks.usage import Roles, look, used
from benchmarks.wire import Published, monitored

WARM_UP: Final = 0.05  # of a case's size, run before its first round


@dataclass(frozen=True, kw_only=True)
class Sides:
    """Who is measured, and what can be seen of each: the roles of its processes, if somebody asks for the CPU time."""

    servers: Servers
    ours: Ours
    bare: Bare
    peer: Peer | None
    roles: Mapping[str, Roles]


def measure(case: Case, mode: str, sides: Sides, *, scale: float, rounds: int) -> Measured:
    """Everything of one case in one mode.

    Raises:
        NoService: a side does not do what it should; what of it, is said.
    """
    size = case.scaled(scale)
    about = case.about.format(size=size)
    measured = Measured(case.name, mode, about, size, tasks=case.tasks(size), executions=case.executions(size))
    for run in _runs(case, mode, sides, case.scaled(scale * WARM_UP)).values():
        run()
    runs = _runs(case, mode, sides, size)
    for side in runs:
        measured.times[side] = []
    names = [*runs]
    for round_ in range(rounds):
        first = round_ % len(names)
        for side in names[first:] + names[:first]:
            _run_once(side, runs[side], measured, sides)
        print(f"{case.name} {mode}, round {round_ + 1}: {_progress(measured)}", flush=True)
    for side, number in sides.servers.tapped.items():
        if side in runs:
            measured.messages[side] = _listened(runs[side], sides.servers, number)
    return measured


def _runs(case: Case, mode: str, sides: Sides, size: int) -> dict[str, Callable[[], Any]]:
    """By side, what one run is."""
    runs: dict[str, Callable[[], Any]] = {OURS: case.ours(sides.ours, mode, size)}
    for side, who, theirs in ((BARE, sides.bare, case.bare), (PEER, sides.peer, case.peer)):
        if who is not None and theirs is not None:
            runs[side] = lambda who=who, theirs=theirs: theirs(who, size)
    return runs


def _run_once(side: str, run: Callable[[], Any], measured: Measured, sides: Sides) -> None:
    roles = sides.roles.get(side, {})
    before, began = look(roles), time.perf_counter()
    found = run()
    measured.times[side].append(time.perf_counter() - began)
    for role, cpu_s in used(before, look(roles)).items():
        of_side = measured.cpu_s.setdefault(side, {})
        of_side[role] = of_side.get(role, 0.0) + cpu_s
    if side == OURS:
        _check(found, measured, sides.ours)


def _check(ids: Sequence[str], measured: Measured, ours: Ours) -> None:
    succeeded = ours.succeeded(ids)
    if succeeded != measured.executions:
        raise NoService("ours", f"{succeeded:,} executions have SUCCEEDED, {measured.executions:,} should have")


def _listened(run: Callable[[], Any], servers: Servers, number: int) -> Messages:
    messages = Messages()

    def note(published: Published) -> None:
        messages.count += published.task is not None
        messages.largest_bytes = max(messages.largest_bytes, published.size_bytes)

    with monitored(servers.redis, number, note) as catch_up:
        run()
        catch_up()
    return messages


def _progress(measured: Measured) -> str:
    said = [f"{side} {times[-1]:.3f} s" for side, times in measured.times.items()]
    said += [f"ratio to {side} {measured.ratios(side)[-1]:.2f}" for side in measured.times if side != OURS]
    return ", ".join(said)
