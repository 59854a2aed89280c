"""Why a task was skipped, or waits: what its incoming edges say, in the words of the rules of ``decide``.

Pure: where the execution stands and what each edge was decided with is handed in.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from orchestrator.engine.plan import TRIGGER, Edge, Plan
from orchestrator.engine.progress import Progress
from orchestrator.model.explanation import Reason
from orchestrator.model.states import TaskState
from orchestrator.model.values import Value

_HAS_SUCCEEDED: Final = frozenset(
    {TaskState.SUCCEED, TaskState.PENDING_ROLLBACK, TaskState.ROLLBACK_IN_PROCESS, TaskState.ROLLEDBACK}
)

_WHAT_BECAME: Final = {TaskState.SKIPPED: Reason.SOURCE_SKIPPED, TaskState.CANCELLED: Reason.SOURCE_CANCELLED}


@dataclass(frozen=True, kw_only=True, slots=True)
class FalseEdge:
    """An edge that did not lead on. ``because`` explains a false condition; ``taken`` is where the fork went."""

    edge: Edge
    reason: Reason
    because: str = ""
    taken: int = 0


def edges_by_target(plan: Plan) -> dict[int, list[Edge]]:
    """The edges that lead to each task."""
    found: dict[int, list[Edge]] = {number: [] for number in plan.numbers}
    for edge in plan.edges:
        found[edge.target].append(edge)
    return found


def open_sources(progress: Progress, edges: Iterable[Edge]) -> list[int]:
    """What a task waits for: the tasks, or error catchers, whose edges to it are not decided; each once, in order."""
    return list(dict.fromkeys(edge.source for edge in edges if edge.index not in progress.edges))


def false_edges(
    plan: Plan, progress: Progress, edges: Iterable[Edge], *, seen: Mapping[tuple[int, int], Mapping[str, Value]]
) -> list[FalseEdge]:
    """The edges to a skipped task that were false, and why each was.

    Args:
        plan: of the execution.
        progress: where it stands now.
        edges: those that lead to the task.
        seen: the parameters that each edge, (source, target), was decided with; one that another execution decided is
            not in it.
    """
    false = (edge for edge in edges if progress.edges.get(edge.index) is False)
    return [_explain(plan, progress, edge, seen.get((edge.source, edge.target))) for edge in false]


def catcher_name(plan: Plan, catcher: int) -> str:
    """What the definition calls an error catcher."""
    return plan.version.error_catchers[-1 - catcher].id


def undone_first(plan: Plan, progress: Progress, number: int) -> list[int]:
    """The tasks that follow this one, however far, and have to be undone before it."""
    found: set[int] = set()
    ahead = [number]
    while ahead:
        new = [edge.target for edge in plan.edges_of(ahead.pop()) if edge.target not in found]
        found.update(new)
        ahead.extend(new)
    return sorted(each for each in found if progress.status(each).is_rolling_back)


def _explain(plan: Plan, progress: Progress, edge: Edge, seen: Mapping[str, Value] | None) -> FalseEdge:
    if not _leads_on(plan, progress, edge.source):
        return FalseEdge(edge=edge, reason=_why_not(progress, edge.source))
    if seen is None:
        return FalseEdge(edge=edge, reason=Reason.REPLAYED)
    if edge.condition is not None and not edge.holds(seen):
        return FalseEdge(edge=edge, reason=Reason.CONDITION_FALSE, because=edge.condition.explain(seen))
    taken = next((each.target for each in plan.edges_of(edge.source) if progress.edges.get(each.index)), 0)
    return FalseEdge(edge=edge, reason=Reason.OTHER_EDGE_TAKEN, taken=taken)


def _leads_on(plan: Plan, progress: Progress, source: int) -> bool:
    """Whether the edges of this source were decided by their conditions."""
    if source == TRIGGER:
        return True
    if source < TRIGGER:
        return any(progress.status(each).is_caught and task.catcher == source for each, task in plan.tasks.items())
    status = progress.status(source)
    return status.state in _HAS_SUCCEEDED or status.is_ignored


def _why_not(progress: Progress, source: int) -> Reason:
    if source < TRIGGER:
        return Reason.CATCHER_NOT_CALLED
    return _WHAT_BECAME.get(progress.status(source).state, Reason.SOURCE_FAILED)
