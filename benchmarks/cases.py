"""The cases: what each is on both sides, and how large.

A case prepares (publishes definitions, not measured) and then runs: from before the first submission until the last
committed end, or, for bare Celery, the mark of its last task.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TypeAlias

from benchmarks import definitions
from benchmarks.bare import Bare
from benchmarks.ours import Ours

Prepared: TypeAlias = Callable[[], object]


@dataclass(frozen=True, kw_only=True)
class Case:
    """One case.

    Attributes:
        about: one line for the table's reader; ``{size}`` is the size.
        size: how large, at scale 1.
        ours: publishes what it needs; what it returns is measured.
        bare: the same work as a canvas; None where bare Celery is not measured.
        modes: in which of them it is a different thing.
    """

    name: str
    about: str
    size: int
    ours: Callable[[Ours, str, int], Prepared]
    bare: Callable[[Bare, int], object] | None
    modes: tuple[str, ...] = definitions.MODES

    def scaled(self, scale: float) -> int:
        """The size at this scale, and never nothing."""
        return max(2, round(self.size * scale))


def _wide(ours: Ours, mode: str, size: int) -> Prepared:
    below, name = f"bench-leaf-{mode}", f"bench-wide-{mode}-{size}"
    ours.publish(definitions.leaf(below, mode))
    ours.publish(definitions.wide(name, below, size))
    return lambda: ours.run(name)


def _chain(ours: Ours, mode: str, size: int) -> Prepared:
    name = f"bench-chain-{mode}-{size}"
    ours.publish(definitions.chain(name, mode, size))
    return lambda: ours.run(name)


def _graphs(ours: Ours, mode: str, size: int) -> Prepared:
    name = f"bench-graph-{mode}"
    ours.publish(definitions.graph(name, mode))
    return lambda: ours.run(name, count=size)


CASES: Final = {
    case.name: case
    for case in (
        Case(name="a", about="{size:,} children and their join", size=1_000, ours=_wide, bare=Bare.chord),
        Case(name="b", about="a chain of {size:,} tasks", size=200, ours=_chain, bare=Bare.chain),
        Case(name="c", about="{size:,} graphs of 5 tasks (1-3-1)", size=200, ours=_graphs, bare=Bare.graphs),
    )
}
