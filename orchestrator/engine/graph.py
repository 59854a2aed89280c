"""Walks through the graph of a definition that may still be broken: cycles, reachability, one start above another.

Every walk is linear in tasks and edges and keeps its own stack: a chain of 5,000 tasks is deeper than Python recurses.
Edges that lead nowhere are left out here; ``validate`` reports them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TypeAlias

from orchestrator.model.integration import IntegrationVersion

Graph: TypeAlias = Mapping[int, Sequence[int]]


def graph_of(version: IntegrationVersion) -> dict[int, list[int]]:
    """The numbers of the tasks that follow each task."""
    graph: dict[int, list[int]] = {task.number: [] for task in version.tasks}
    for task in version.tasks:
        graph[task.number].extend(each.number for each in task.next_tasks if each.number in graph)
    return graph


def reachable(graph: Graph, starts: Iterable[int]) -> set[int]:
    """The starts and everything after them."""
    found = {start for start in starts if start in graph}
    ahead = list(found)
    while ahead:
        for following in graph[ahead.pop()]:
            if following not in found:
                found.add(following)
                ahead.append(following)
    return found


def start_above_start(graph: Graph, starts: Sequence[int]) -> tuple[int, int] | None:
    """Two of these starts of which the first leads to the second, or None. The graph has no cycles.

    One walk for all starts: a task remembers the start it was reached from first; reaching another start is the find.
    """
    wanted = set(starts)
    found: set[int] = set()
    for start in starts:
        ahead = list(graph.get(start, ()))
        while ahead:
            number = ahead.pop()
            if number in wanted and number != start:
                return start, number
            if number not in found:
                found.add(number)
                ahead.extend(graph[number])
    return None


def cycles(graph: Graph) -> Iterator[list[int]]:
    """Cycles, each as its path with the first task at the end again; at least one if there is any, not all of them."""
    done: set[int] = set()
    for root in graph:
        if root not in done:
            path = _cycle_below(graph, root, done)
            if path:
                yield path


def _cycle_below(graph: Graph, root: int, done: set[int]) -> list[int]:
    path, on_path = [root], {root: 0}
    branches = [iter(graph[root])]
    cycle: list[int] = []
    while branches:
        following = next(branches[-1], None)
        if following is None:
            branches.pop()
            done.add(path[-1])
            del on_path[path.pop()]
        elif following in on_path:
            cycle = cycle or [*path[on_path[following] :], following]
        elif following not in done:
            on_path[following] = len(path)
            path.append(following)
            branches.append(iter(graph[following]))
    return cycle
