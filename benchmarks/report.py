"""What is printed: the machine, a table with a line for each case, and the same as JSON."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

_COLUMNS: Final = ("case", "mode", "what", "ours s", "(min-max)", "bare s", "(min-max)", "ratio", "(min-max)")
_PACKAGES: Final = ("orchestrator", "celery", "kombu", "billiard", "redis", "SQLAlchemy", "psycopg")


@dataclass
class Measured:
    """One case in one mode. ``ours_s[i]`` and ``bare_s[i]`` were measured one right after the other."""

    case: str
    mode: str
    what: str
    ours_s: list[float] = field(default_factory=list)
    bare_s: list[float] = field(default_factory=list)  # empty where bare Celery is not measured

    @property
    def ratios(self) -> list[float]:
        """Throughput of ours through that of bare Celery, pair by pair: more than 1 is quicker."""
        return [bare / ours for ours, bare in zip(self.ours_s, self.bare_s, strict=False)]

    def to_json(self, **more: object) -> dict[str, object]:
        """One line of ``--json``; times are medians, what each round took is beside them."""
        return {
            "case": self.case,
            "mode": self.mode,
            **more,
            "ours_s": _median(self.ours_s),
            "bare_s": _median(self.bare_s),
            "ratio": _median(self.ratios),
            "rounds": len(self.ours_s),
            "all_ours_s": self.ours_s,
            "all_bare_s": self.bare_s,
        }


def _median(found: Sequence[float]) -> float | None:
    return statistics.median(found) if found else None


def table(measured: Iterable[Measured]) -> str:
    """Medians, the least and the most, and how many times bare Celery's throughput ours is."""
    rows = [_COLUMNS, *(_row(each) for each in measured)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_COLUMNS))]
    lines = [
        "  ".join(_cell(text, width, column) for column, (text, width) in enumerate(zip(row, widths, strict=True)))
        for row in rows
    ]
    return "\n".join(line.rstrip() for line in [lines[0], "-" * len(lines[0]), *lines[1:]])


def _row(each: Measured) -> tuple[str, ...]:
    ours, bare, ratio = (_spread(found) for found in (each.ours_s, each.bare_s, each.ratios))
    return (each.case, each.mode, each.what, *ours, *bare, *ratio)


def _spread(found: Sequence[float]) -> tuple[str, str]:
    if not found:
        return "-", ""
    return f"{statistics.median(found):.3f}", f"({min(found):.3f}-{max(found):.3f})"


def _cell(text: str, width: int, column: int) -> str:
    return text.ljust(width) if column < 3 else text.rjust(width)


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


def write_json(path: Path, documents: Iterable[dict[str, Any]]) -> None:
    """One object a line."""
    path.write_text("".join(f"{json.dumps(each)}\n" for each in documents))
