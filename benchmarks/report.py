"""What is printed: the machine, a line for each case and for each figure, and the same as JSON."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any, Final

from benchmarks.usage import Role

OURS: Final = "ours"
BARE: Final = "bare"
PEER: Final = "peer"
_PACKAGES: Final = ("orchestrator", "celery", "kombu", "billiard", "redis", "SQLAlchemy", "psycopg")


@dataclass
class Messages:
    """What one run published: how many task messages, and how large the largest message was, events included."""

    count: int = 0
    largest_bytes: int = 0


@dataclass
class Measured:
    """One case in one mode. By side: ``OURS``, ``BARE`` and ``PEER``, where they are measured.

    Attributes:
        what: the case, with its size, for the table's reader.
        tasks: how many tasks one run is.
        executions: how many executions of ours were found to have SUCCEEDED after each run.
        times: in seconds; those of one round were measured one right after the other.
        messages: of a run that was not timed.
        cpu_s: by role, over all rounds.
    """

    case: str
    mode: str
    what: str
    size: int
    tasks: int
    executions: int = 0
    times: dict[str, list[float]] = field(default_factory=dict)
    messages: dict[str, Messages] = field(default_factory=dict)
    cpu_s: dict[str, dict[Role, float]] = field(default_factory=dict)

    def ratios(self, other: str = BARE) -> list[float]:
        """Throughput of ours through that of another side, pair by pair: more than 1 is quicker."""
        return [theirs / ours for ours, theirs in zip(self.times[OURS], self.times.get(other, ()), strict=False)]

    def each_ms(self, side: str) -> float | None:
        """What one task took, by the median."""
        median = _median(self.times.get(side, ()))
        return None if median is None else median / self.tasks * 1000

    def cpu_ms_each(self) -> dict[str, dict[Role, float]]:
        """CPU time for each task, by side and role."""
        count = self.tasks * len(self.times[OURS])
        return {side: {role: s / count * 1000 for role, s in roles.items()} for side, roles in self.cpu_s.items()}

    def to_json(self, **more: object) -> dict[str, object]:
        """One line of ``--json``; times are medians, what each round took is beside them."""
        found: dict[str, object] = {
            "case": self.case,
            "mode": self.mode,
            **more,
            "ours_s": _median(self.times[OURS]),
            "bare_s": _median(self.times.get(BARE, ())),
            "ratio": _median(self.ratios()),
            "rounds": len(self.times[OURS]),
            "size": self.size,
            "tasks": self.tasks,
            "executions": self.executions,
            "all_ours_s": self.times[OURS],
            "all_bare_s": self.times.get(BARE, []),
            "messages": {side: vars(messages) for side, messages in self.messages.items()},
        }
        if PEER in self.times:
            found |= {
                "peer_s": _median(self.times[PEER]),
                "peer_ratio": _median(self.ratios(PEER)),
                "all_peer_s": self.times[PEER],
            }
        return found | ({"cpu_ms_per_task": self.cpu_ms_each()} if self.cpu_s else {})


@dataclass(frozen=True, kw_only=True)
class Figure:
    """Something else than a time, of both sides; ``unit`` is part of its name in JSON."""

    name: str
    unit: str
    ours: float | None
    bare: float | None = None

    @property
    def ratio(self) -> float | None:
        """Ours through bare Celery's: less than 1 is less."""
        return self.ours / self.bare if self.ours is not None and self.bare else None


@dataclass(frozen=True, kw_only=True)
class Figures:
    """What was found of a case that is not a race."""

    case: str
    mode: str
    what: str
    size: int
    figures: Sequence[Figure]

    def to_json(self, **more: object) -> dict[str, object]:
        """One line of ``--json``."""
        figures = {
            f"{each.name} {each.unit}": {"ours": each.ours, "bare": each.bare, "ratio": each.ratio}
            for each in self.figures
        }
        return {"case": self.case, "mode": self.mode, **more, "size": self.size, "figures": figures}


def _median(found: Sequence[float]) -> float | None:
    return statistics.median(found) if found else None


# -- tables --------------------------------------------------------------------------------------------------------


def times(measured: Sequence[Measured], peer: str) -> str:
    """Medians, the least and the most, and how many times another side's throughput ours is."""
    others = [(BARE, "bare"), *([(PEER, peer)] if any(PEER in each.times for each in measured) else [])]
    spread = "(min-max)"
    head = ["case", "mode", "what", "ours s", spread]
    head += chain.from_iterable((f"{label} s", spread, "ratio", spread) for _, label in others)
    rows = [
        [each.case, each.mode, each.what, *_spread(each.times[OURS])]
        + [
            cell
            for side, _ in others
            for found in (each.times.get(side, ()), each.ratios(side))
            for cell in _spread(found)
        ]
        for each in measured
    ]
    return _laid_out(head, rows, left=3)


def costs(measured: Sequence[Measured]) -> str:
    """For each task: the time; and of the messages, how many there were and how large the largest was."""
    head = ["case", "mode", "tasks", "ours ms each", "bare ms each", "ours messages", "largest B", "bare messages"]
    rows = [
        [each.case, each.mode, f"{each.tasks:,}", _number(each.each_ms(OURS)), _number(each.each_ms(BARE))]
        + [
            f"{number:,}" if found else "-"
            for found in (each.messages.get(OURS), each.messages.get(BARE))
            for number in ((found.count, found.largest_bytes) if found else (0, 0))
        ]
        for each in measured
    ]
    return _laid_out([*head, "largest B"], rows, left=2)


def profile(measured: Sequence[Measured]) -> str:
    """CPU milliseconds for each task, by side and role."""
    roles = list(
        dict.fromkeys(role for each in measured for found in each.cpu_s.values() for role in found)
    )  # in their order
    rows = [
        [each.case, each.mode, side, *(_number(found.get(role)) for role in roles), _number(sum(found.values()))]
        for each in measured
        for side, found in each.cpu_ms_each().items()
    ]
    return _laid_out(["case", "mode", "CPU ms each", *roles, "all"], rows, left=3)


def figures(found: Sequence[Figures]) -> str:
    """A line for each figure."""
    rows = [
        [each.case, each.mode, each.what, figure.name]
        + [_number(value) for value in (figure.ours, figure.bare)]
        + [figure.unit, _number(figure.ratio)]
        for each in found
        for figure in each.figures
    ]
    return _laid_out(["case", "mode", "what", "figure", "ours", "bare", "unit", "ours/bare"], rows, left=4)


def _laid_out(head: Sequence[str], rows: Iterable[Sequence[str]], *, left: int) -> str:
    """Columns as wide as they need to be; the first ``left`` of them begin at their left."""
    rows = [head, *rows]
    widths = [max(len(row[column]) for row in rows) for column in range(len(head))]
    lines = [
        "  ".join(
            text.ljust(width) if column < left else text.rjust(width)
            for column, (text, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
    return "\n".join([lines[0], "-" * max(map(len, lines)), *lines[1:]])


def _spread(found: Sequence[float]) -> tuple[str, str]:
    if not found:
        return "-", ""
    return f"{statistics.median(found):.3f}", f"({min(found):.3f}-{max(found):.3f})"


def _number(found: float | None) -> str:
    return "-" if found is None else f"{found:,.3f}"


# -- the machine ---------------------------------------------------------------------------------------------------


def machine() -> str:
    """On what this is measured: two lines."""
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in _PACKAGES)
    return (
        f"{os.cpu_count()} cores ({_cpu_model()}), Linux {platform.release()}, load {load()}\n"
        f"Python {platform.python_version()}, {versions}"
    )


def load() -> str:
    """The load average of 1, 5 and 15 minutes."""
    return " ".join(f"{each:.2f}" for each in os.getloadavg())


def _cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def write_json(path: Path, documents: Iterable[Mapping[str, Any]]) -> None:
    """One object a line."""
    path.write_text("".join(f"{json.dumps(each)}\n" for each in documents))
