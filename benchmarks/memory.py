"""The case ``memory``: what a worker's processes hold, after their first executions and after many more.

The first are one for-each, and on bare Celery one chord of the same width; so every process has loaded what it needs.
Then ours runs many more of them. The pool's figures are the mean of its processes.
"""

from __future__ import annotations

import statistics
from typing import Final

from benchmarks.bare import Bare
from benchmarks.cases import wide
from benchmarks.ours import Ours
from benchmarks.report import Figure, Figures
from benchmarks.usage import Memory, memory, pids_below

EXECUTIONS: Final = 100_000  # at scale 1
WIDTH: Final = 1_000  # of one for-each, at scale 1
LEAST_WIDTH: Final = 10


def measure(mode: str, ours: Ours, bare: Bare, *, scale: float) -> list[Figures]:
    """With workers of its own."""
    width, wanted = max(LEAST_WIDTH, round(WIDTH * scale)), max(2, round(EXECUTIONS * scale))
    with ours.worker() as worker, bare.worker() as bare_worker:
        run = wide(ours, mode, width)
        run()
        bare.chord(width)
        first, beside = _held(worker.process.pid), _held(bare_worker.pid)
        done = 0
        while done < wanted:
            done += ours.succeeded(run())
        later = _held(worker.process.pid)
    found = (("first", width + 1, _figures(first, beside)), ("later", done, _figures(later, {})))
    return [
        Figures(case="memory", mode=mode, what=f"{when}, after {size:,} executions", size=size, figures=figures)
        for when, size, figures in found
    ]


def _held(pid: int) -> dict[str, Memory]:
    """By role of a process of this worker."""
    pool = [memory(each) for each in pids_below(pid)]
    rss_mb, pss_mb = (statistics.mean(each) for each in zip(*((one.rss_mb, one.pss_mb) for one in pool), strict=True))
    return {"worker main": memory(pid), "pool process": Memory(rss_mb=rss_mb, pss_mb=pss_mb)}


def _figures(ours: dict[str, Memory], bare: dict[str, Memory]) -> list[Figure]:
    return [
        Figure(name=f"{role} {kind.upper()}", unit="MB", ours=_part(ours, role, kind), bare=_part(bare, role, kind))
        for role in ours
        for kind in ("rss", "pss")
    ]


def _part(found: dict[str, Memory], role: str, kind: str) -> float | None:
    return getattr(found[role], f"{kind}_mb") if role in found else None
