"""Replay: what a new execution takes over from one that is over, and what runs again.

From the beginning it takes over nothing. From the failure points, these tasks run again:

* What did not come to its end, so that its work is missing: it FAILED and that counted, it was FATAL, CANCELLED or
  ROLLEDBACK, or it was never reached, which is SKIPPED without its join having said so.
* With another version of the definition: a task that is new, or whose config or incoming edges mean something else.
* Whatever can be reached from those, even where a WHEN_ANY_SUCCEED join had gone ahead without them: it would otherwise
  keep what it made of a state that is no more.
* The tasks of an error catcher, if every failure that called it is among those.

All others are reused: they keep their states, their decided edges and what they put out. Their attempt is 0, which no
task has that ran, so the first attempt of every task that runs is 1. The new execution begins with them; its start
joins their edges (``decide``). A restart of the whole execution takes them back like any other task.

Parameters are those of the request and, over them, the changes that reused tasks made, in order: a task that runs
again does not see what it put out before. A parameter that the caller of the replay hands in stands over both. It may
be the only way to mend what a reused task put out, and if a copied result won, it would be without effect, silently.

What must not happen: a second rule for joins. ``draft.is_due`` is the one.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, cast

from orchestrator.engine.differences import meaning
from orchestrator.engine.draft import is_due
from orchestrator.engine.plan import TRIGGER, Edge, Plan
from orchestrator.engine.progress import Progress, TaskStatus
from orchestrator.model.history import Entry, EntryKind
from orchestrator.model.integration import ForkPolicy
from orchestrator.model.json_text import Json
from orchestrator.model.states import TaskState
from orchestrator.model.values import Value, parse_value, to_value

_CHANGES: Final = "changes"  # in the details of an entry REPLAYED


class ReplayMode(StrEnum):
    """From where an execution is repeated (ReplayMode of the Integrations API v1)."""

    FROM_BEGINNING = "REPLAY_MODE_FROM_BEGINNING"
    POINT_OF_FAILURE = "REPLAY_MODE_POINT_OF_FAILURE"


class Reason(StrEnum):
    """Why a task runs again, or may."""

    BEGINNING = "everything runs again"
    FAILED = "it failed"
    CANCELLED = "it was cancelled"
    UNDONE = "it was rolled back"
    NOT_REACHED = "it was not reached"
    NEW = "it is new in this version"
    CHANGED = "its definition has changed"
    FOLLOWS = "it follows a task that runs again"
    CATCHES = "a failure may call its error catcher"

    @property
    def is_failure(self) -> bool:
        """Whether the execution stopped short here."""
        return self in _FAILURES


_FAILURES: Final = frozenset({Reason.FAILED, Reason.CANCELLED, Reason.UNDONE, Reason.NOT_REACHED})
_UNFINISHED: Final = {
    TaskState.FAILED: Reason.FAILED,
    TaskState.FATAL: Reason.FAILED,
    TaskState.CANCELLED: Reason.CANCELLED,
    TaskState.ROLLEDBACK: Reason.UNDONE,
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Reuse:
    """What a new execution begins with: ``progress``, before its start. ``again`` are all tasks that are not reused."""

    progress: Progress
    again: Mapping[int, Reason]


@dataclass(frozen=True, kw_only=True, slots=True)
class Change:
    """Parameters that a task put out."""

    number: int
    parameters: Mapping[str, Value]


# -- tasks ---------------------------------------------------------------------------------------------------------


def reuse_nothing(plan: Plan) -> Reuse:
    """For a replay from the beginning."""
    return Reuse(progress=Progress(), again=dict.fromkeys(plan.numbers, Reason.BEGINNING))


def reuse_what_succeeded(old: Plan, progress: Progress, new: Plan) -> Reuse:
    """For a replay from the failure points.

    Args:
        old: the plan of the execution that is over.
        progress: how it ended.
        new: the plan of the execution to come; the same one, or of another version.
    """
    choice = _Choice(old, progress, new)
    choice.choose()
    kept = [number for number in new.numbers if number not in choice.again]
    edges = dict(choice.kept_edges(kept))
    arrived = Counter(new.edges[index].target for index in edges)
    true = Counter(new.edges[index].target for index, result in edges.items() if result)
    return Reuse(
        progress=Progress(
            tasks={number: _taken_over(progress.status(number)) for number in kept},
            edges=edges,
            arrived=arrived,
            true={target: true[target] for target in arrived},
        ),
        again=choice.again,
    )


def _taken_over(status: TaskStatus) -> TaskStatus:
    return status._replace(attempt=0)


def is_failure_point(old: Plan, progress: Progress) -> bool:
    """Whether the execution stopped short anywhere."""
    return any(_unfinished(old, progress, number) for number in old.numbers)


def _unfinished(plan: Plan, progress: Progress, number: int) -> Reason | None:
    """Why a task of an execution that is over has not come to its end, if it has not."""
    status = progress.status(number)
    if status.is_ignored or status.is_caught or status.state is TaskState.SUCCEED:
        return None
    if status.state is not TaskState.SKIPPED:
        return _UNFINISHED.get(status.state, Reason.NOT_REACHED)
    task, arrived, true = plan.tasks[number], progress.arrived.get(number, 0), progress.true.get(number, 0)
    was_joined = arrived == task.fan_in and not is_due(task.config.join, fan_in=task.fan_in, arrived=arrived, true=true)
    return None if was_joined else Reason.NOT_REACHED


class _Choice:
    """Finds the tasks that run again, and why: ``again`` grows until nothing leads out of it."""

    def __init__(self, old: Plan, progress: Progress, new: Plan) -> None:
        self.old, self.progress, self.new = old, progress, new
        self.again: dict[int, Reason] = {}
        self._old_catchers = {_catcher_id(old, number): number for number in old.catchers}
        self._called = {
            _catcher_id(old, catcher)
            for number, task in old.tasks.items()
            if (catcher := task.catcher) is not None and progress.status(number).is_caught
        }

    def choose(self) -> None:
        """Fill ``again``."""
        entries = _entries(self.old), _entries(self.new)
        found = {number: self._reason(number, *entries) for number in self.new.numbers}
        self._add({number: reason for number, reason in found.items() if reason is not None}, then=Reason.FOLLOWS)
        while lost := self._starts_of_lost_catchers():
            self._add(dict.fromkeys(lost, Reason.CATCHES), then=Reason.FOLLOWS)
        self._add_idle_catchers()

    def _reason(
        self, number: int, old: Mapping[int, Counter[Hashable]], new: Mapping[int, Counter[Hashable]]
    ) -> Reason | None:
        """Why this one runs again, whatever the others do."""
        if number not in self.old.tasks:
            return Reason.NEW
        if (unfinished := _unfinished(self.old, self.progress, number)) is not None:
            return unfinished
        before, after = self.old.tasks[number], self.new.tasks[number]
        is_same = meaning(before.config) == meaning(after.config) and old[number] == new[number]
        if is_same and self.progress.status(number).is_caught:
            is_same = _caught_by(self.old, number) == _caught_by(self.new, number)
        return None if is_same else Reason.CHANGED

    def _add(self, found: Mapping[int, Reason], *, then: Reason) -> None:
        """Add these, and all that can be reached from them."""
        self.again |= {number: reason for number, reason in found.items() if number not in self.again}
        ahead = list(found)
        while ahead:
            for edge in self.new.edges_of(ahead.pop()):
                if edge.target not in self.again:
                    self.again[edge.target] = then
                    ahead.append(edge.target)

    def _kept_catchers(self) -> dict[int, int]:
        """The error catchers that a reused task has called, and their numbers in the old plan."""
        callers = (n for n in self.new.numbers if n not in self.again and self.progress.status(n).is_caught)
        kept = {catcher for number in callers if (catcher := self.new.tasks[number].catcher) is not None}
        return {catcher: self._old_catchers[_catcher_id(self.new, catcher)] for catcher in kept}

    def _starts_of_lost_catchers(self) -> set[int]:
        """Where the error catchers begin that were called, and will not have been."""
        lost = self.new.catchers.keys() - self._kept_catchers().keys()
        called = [catcher for catcher in lost if _catcher_id(self.new, catcher) in self._called]
        return {edge.target for catcher in called for edge in self.new.catchers[catcher]} - self.again.keys()

    def _add_idle_catchers(self) -> None:
        """The tasks that an error catcher would lead to which nobody called; those of them that ran can stay so."""
        idle = self.new.catchers.keys() - self._kept_catchers().keys()
        ahead = [edge.target for catcher in idle for edge in self.new.catchers[catcher]]
        while ahead:
            number = ahead.pop()
            if number not in self.again and self.progress.status(number).state is TaskState.SKIPPED:
                self.again[number] = Reason.CATCHES
                ahead += [edge.target for edge in self.new.edges_of(number)]

    # -- edges -----------------------------------------------------------------------------------------------------

    def kept_edges(self, kept: Iterable[int]) -> Iterator[tuple[int, bool]]:
        """The decided edges of what is reused, by their place in the new plan."""
        sources = {number: number for number in kept} | self._kept_catchers()
        for new_source, old_source in sources.items():
            pairs = zip(self.old.edges_of(old_source), self.new.edges_of(new_source), strict=True)
            yield from self._decided(pairs)
        yield from self._decided(_same_starts(self.old, self.new))

    def _decided(self, pairs: Iterable[tuple[Edge, Edge]]) -> Iterator[tuple[int, bool]]:
        for before, after in pairs:
            if before.index in self.progress.edges:  # a trigger's are not if it was stopped before it began
                yield after.index, self.progress.edges[before.index]


# -- what is the same in two versions ------------------------------------------------------------------------------


def _entries(plan: Plan) -> dict[int, Counter[Hashable]]:
    """The edges that lead to each task, in words that mean the same in all versions."""
    found: dict[int, Counter[Hashable]] = defaultdict(Counter)
    for edge in plan.edges:
        found[edge.target][_named(plan, edge)] += 1
    return found


def _named(plan: Plan, edge: Edge) -> Hashable:
    condition = _condition(edge)
    if edge.source > TRIGGER:
        return edge.source, condition
    if edge.source < TRIGGER:
        return _catcher_id(plan, edge.source), condition
    # Which start task is the first match depends on all of them.
    others = () if plan.trigger.fork is ForkPolicy.RUN_ALL_MATCH else _targets(plan.start_edges)
    return TRIGGER, condition, plan.trigger.fork, others


def _condition(edge: Edge) -> str:
    return "" if edge.condition is None else edge.condition.text.strip()


def _targets(edges: Iterable[Edge]) -> tuple[tuple[int, str], ...]:
    return tuple((edge.target, _condition(edge)) for edge in edges)


def _catcher_id(plan: Plan, number: int) -> str:
    return plan.version.error_catchers[-1 - number].id


def _caught_by(plan: Plan, number: int) -> Hashable:
    catcher = plan.tasks[number].catcher
    return None if catcher is None else (_catcher_id(plan, catcher), _targets(plan.catchers[catcher]))


def _same_starts(old: Plan, new: Plan) -> Iterator[tuple[Edge, Edge]]:
    """The trigger's edges that are in both plans. Others, and edges of another first match, are decided anew."""
    ahead: dict[Hashable, list[Edge]] = defaultdict(list)
    for edge in old.start_edges:
        ahead[edge.target, _named(old, edge)].append(edge)
    for edge in new.start_edges:
        if ahead[edge.target, _named(new, edge)]:
            yield ahead[edge.target, _named(new, edge)].pop(0), edge


# -- parameters ----------------------------------------------------------------------------------------------------


def changes_of(entries: Iterable[Entry]) -> list[Change]:
    """What the tasks of an execution changed, in order, by its history; in a replay, also what it took over."""
    found: list[Change] = []
    for entry in entries:
        if entry.kind is EntryKind.RESTARTED:
            found.clear()
        elif entry.kind is EntryKind.REPLAYED:
            found += _taken_changes(entry)
        elif entry.parameters:
            found.append(Change(number=entry.task_number, parameters=entry.parameters))
    return found


def kept_changes(changes: Iterable[Change], *, reused: Collection[int], given: Collection[str]) -> list[Change]:
    """Those of reused tasks, without the parameters that the caller hands in."""
    kept = [
        Change(
            number=each.number, parameters={key: value for key, value in each.parameters.items() if key not in given}
        )
        for each in changes
        if each.number in reused
    ]
    return [each for each in kept if each.parameters]


def results_of(changes: Iterable[Change]) -> dict[str, Value]:
    """What they come to."""
    return {key: value for each in changes for key, value in each.parameters.items()}


def to_details(changes: list[Change]) -> dict[str, Json]:
    """Who put out what, for a replay of the replay. A value that is the last one stands in the entry's parameters."""
    last = {key: place for place, each in enumerate(changes) for key in each.parameters}
    told: list[Json] = [
        [each.number, {key: None if last[key] == place else to_value(value) for key, value in each.parameters.items()}]
        for place, each in enumerate(changes)
    ]
    return {_CHANGES: told} if told else {}


def _taken_changes(entry: Entry) -> Iterator[Change]:
    """The inverse of ``to_details``."""
    for number, values in cast("list[tuple[int, dict[str, Json]]]", entry.details.get(_CHANGES, [])):
        parameters = {
            key: entry.parameters[key] if value is None else parse_value(value, f"history, {key}")
            for key, value in values.items()
        }
        yield Change(number=number, parameters=parameters)


# -- the entry that tells of it ------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True, slots=True)
class Start:
    """Task states and edges as the history of a replay begins with them."""

    states: Mapping[int, TaskState] = field(default_factory=dict)
    edges: Mapping[tuple[int, int], bool] = field(default_factory=dict)


def start_of(plan: Plan, progress: Progress) -> Start:
    """What is over when a replay has begun: what it reuses, and what that skips."""
    states = {number: status.state for number, status in progress.tasks.items() if status.state.is_final}
    edges: dict[tuple[int, int], bool] = {}
    for index, result in sorted(progress.edges.items()):
        pair = plan.edges[index].source, plan.edges[index].target
        edges[pair] = result or edges.get(pair, False)
    return Start(states=states, edges=edges)
