"""The cases: what each is on every side, and how large.

A case prepares (publishes definitions, not measured) and then runs: from before the first submission until the last
committed end, or, for bare Celery, the mark of its last task.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final, TypeAlias

from benchmarks import definitions, payload
from benchmarks.ours import Ours

Prepared: TypeAlias = Callable[[], Sequence[str]]
"""What is measured. It returns the ids of the root executions."""

DEPTH: Final = 8
IN_A_GRAPH: Final = 5


@dataclass(frozen=True, kw_only=True)
class Case:
    """One case, of one size.

    Attributes:
        about: one line for the table's reader; ``{size}`` is the size.
        size: how large, at scale 1.
        tasks: how many tasks it is if it is so large; for each of them a time is printed.
        executions: likewise how many executions of ours.
        ours: publishes what it needs; what it returns is measured.
        bare: the same work on bare Celery; None where that is not measured.
        peer: the same work on a peer (``benchmarks.peer``); None where that is not measured.
        modes: in which of them it is a different thing.
        least: its size at the smallest scale.
    """

    name: str
    about: str
    size: int
    tasks: Callable[[int], int] = lambda size: size
    executions: Callable[[int], int]
    ours: Callable[[Ours, str, int], Prepared]
    bare: Callable[[Any, int], object] | None
    peer: Callable[[Any, int], object] | None = None
    modes: tuple[str, ...] = definitions.MODES
    least: int = 2

    def scaled(self, scale: float) -> int:
        """The size at this scale, and never nothing."""
        return max(self.least, round(self.size * scale))


def wide(ours: Ours, mode: str, size: int) -> Prepared:
    """A for-each over so many, and their join."""
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


def _graphs_at_once(ours: Ours, mode: str, size: int) -> Prepared:
    name = f"bench-graph-many-{mode}"
    ours.publish(definitions.graph(name, mode, executor=ours.executor))
    return lambda: ours.run_many(name, size)


def _tree(ours: Ours, mode: str, size: int) -> Prepared:
    names = [f"bench-tree-{mode}-{size}-{level}" for level in range(DEPTH + 1)]
    ours.publish(definitions.leaf(names[0], mode))
    for below, name in pairwise(names):
        ours.publish(definitions.wide(name, below, size))
    return lambda: ours.run(names[-1])


def _in_a_tree(breadth: int) -> int:
    return sum(breadth**level for level in range(DEPTH + 1))


def _payload(ours: Ours, mode: str, size: int) -> Prepared:
    name, text = f"bench-payload-{mode}-{size}", payload.text()
    ours.publish(definitions.carrying(name, mode, size))
    return lambda: ours.run(name, {"text": text})


def _wide(size: int, *, has_bare: bool = True) -> Case:
    return Case(
        name="wide",
        about="{size:,} children of a for-each",
        size=size,
        executions=lambda size: size + 1,
        ours=wide,
        bare=(lambda bare, size: bare.chord(size)) if has_bare else None,
        modes=("light",),
    )


CASES: Final = (
    Case(
        name="a",
        about="{size:,} children and their join",
        size=1_000,
        executions=lambda size: size + 1,
        ours=wide,
        bare=lambda bare, size: bare.chord(size),
        peer=lambda peer, size: peer.run("chord", size),
    ),
    Case(
        name="b",
        about="a chain of {size:,} tasks",
        size=200,
        executions=lambda _: 1,
        ours=_chain,
        bare=lambda bare, size: bare.chain(size),
        peer=lambda peer, size: peer.run("chain", size),
    ),
    Case(
        name="c",
        about="{size:,} graphs of 5 tasks (1-3-1)",
        size=200,
        tasks=lambda size: size * IN_A_GRAPH,
        executions=lambda size: size,
        ours=_graphs,
        bare=lambda bare, size: bare.graphs(size),
        peer=lambda peer, size: peer.run("graphs", size),
    ),
    Case(
        name="c-many",
        about="{size:,} graphs of 5 tasks in one call",
        size=200,
        tasks=lambda size: size * IN_A_GRAPH,
        executions=lambda size: size,
        ours=_graphs_at_once,
        bare=lambda bare, size: bare.graphs(size),
    ),
    _wide(1_000),
    _wide(10_000),
    _wide(100_000, has_bare=False),
    Case(
        name="deep",
        about=f"a tree of depth {DEPTH}, {{size:,}} wide",
        size=2,
        tasks=_in_a_tree,
        executions=_in_a_tree,
        ours=_tree,
        bare=lambda bare, size: bare.tree(DEPTH, breadth=size),
        least=1,
    ),
    Case(
        name="payload",
        about="1 MB through {size:,} tasks",
        size=50,
        executions=lambda _: 1,
        ours=_payload,
        bare=lambda bare, size: bare.payload(size),
    ),
)
