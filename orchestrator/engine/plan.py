"""The plan: what one trigger of an integration version can run, worked out once and kept for every execution of it.

A plan holds the tasks that can be reached from the trigger's start tasks, with conditions parsed and edges numbered.
The trigger itself stands in the graph as task 0, so a start task is a task with an edge like any other; the error
catchers that its tasks or the trigger name stand in it as tasks -1, -2 and so on. Tasks of the
other triggers do not exist for an execution, and edges that come from them do not count in a join.

What must not happen here: refusing a definition. ``validate`` does that, before anything is stored.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from orchestrator.model.conditions import Condition, parse_condition
from orchestrator.model.integration import (
    ErrorCatcher,
    ForkPolicy,
    IntegrationParameter,
    IntegrationVersion,
    NextTask,
    TaskConfig,
    TriggerConfig,
)
from orchestrator.model.values import Value, coerce

TRIGGER: Final = 0  # the number under which the trigger stands in the graph; real task numbers start at 1


@dataclass(frozen=True, slots=True)
class Edge:
    """One edge. ``index`` numbers all edges of the plan from 0; no condition means always true."""

    index: int
    source: int
    target: int
    condition: Condition | None

    def holds(self, parameters: Mapping[str, Value]) -> bool:
        """Whether the edge is true for these parameters."""
        return self.condition is None or self.condition.holds(parameters)


@dataclass(frozen=True, slots=True)
class PlannedTask:
    """A task that can be reached. ``fan_in`` counts the edges that lead to it within the plan."""

    config: TaskConfig
    is_light: bool
    edges: tuple[Edge, ...]
    fan_in: int
    catcher: int | None = None  # the number of the error catcher that takes its failures

    @property
    def is_leaf(self) -> bool:
        """Whether no task follows it."""
        return not self.edges


@dataclass(frozen=True, slots=True, eq=False)
class Plan:
    """What one trigger can run. ``numbers`` and ``edges`` give every task and edge its place in a packed progress.

    A plan is equal to itself alone: it is too large to be compared, and what was worked out of it is kept by it.
    """

    version: IntegrationVersion
    trigger: TriggerConfig
    start_edges: tuple[Edge, ...]
    tasks: Mapping[int, PlannedTask]
    numbers: tuple[int, ...]
    edges: tuple[Edge, ...]
    catchers: Mapping[int, tuple[Edge, ...]]  # by their numbers, which are negative
    output_keys: frozenset[str]
    parameters: Mapping[str, IntegrationParameter] = field(repr=False)

    def fork_of(self, number: int) -> ForkPolicy:
        """How the edges of this task, of the trigger or of an error catcher are followed."""
        if number < TRIGGER:
            return ForkPolicy.RUN_ALL_MATCH
        return self.trigger.fork if number == TRIGGER else self.tasks[number].config.fork

    def edges_of(self, number: int) -> tuple[Edge, ...]:
        """The edges of this task, of the trigger or of an error catcher, in definition order."""
        if number < TRIGGER:
            return self.catchers[number]
        return self.start_edges if number == TRIGGER else self.tasks[number].edges

    def typed(self, outputs: Mapping[str, Value]) -> dict[str, Value]:
        """Outputs of a task as the integration declares them; what it does not declare keeps its own type.

        Raises:
            InvalidValue: an output does not fit the declared type.
        """
        typed = {}
        for key, value in outputs.items():
            declared = self.parameters.get(key)
            typed[key] = value if declared is None else coerce(value, declared.data_type, f"output {key!r}")
        return typed


def make_plan(version: IntegrationVersion, trigger: TriggerConfig, *, light: Container[str]) -> Plan:
    """Plan what ``trigger`` can run.

    Args:
        version: a definition that ``validate`` has passed.
        trigger: one of its triggers.
        light: the names of the task types that run in line. One with a timeout does not: it is worth a message.
    """
    configs = {config.number: config for config in version.tasks}
    starts = trigger.start_tasks or default_start_tasks(version)
    usual = _reachable(configs, starts)
    catchers = _catchers(version, trigger, usual)
    caught = _reachable(configs, [start for each in catchers.values() for start in each.start_tasks])
    numbers = tuple(number for number in configs if number in usual | caught)
    sources = [(TRIGGER, starts), *((number, configs[number].next_tasks) for number in numbers)]
    sources += [(number, catcher.start_tasks) for number, catcher in catchers.items()]
    edges: list[Edge] = []
    out: dict[int, list[Edge]] = defaultdict(list)
    fan_in: dict[int, int] = defaultdict(int)
    for source, next_tasks in sources:
        for following in next_tasks:
            edge = Edge(len(edges), source, following.number, _condition(following))
            edges.append(edge)
            out[source].append(edge)
            fan_in[following.number] += 1
    by_id = {catcher.id: number for number, catcher in catchers.items()}
    return Plan(
        version=version,
        trigger=trigger,
        start_edges=tuple(out[TRIGGER]),
        tasks={
            number: PlannedTask(
                config=configs[number],
                is_light=configs[number].task in light and configs[number].timeout_ms is None,
                edges=tuple(out[number]),
                fan_in=fan_in[number],
                # Catchers cannot be nested. A task that the main graph leads to as well is none of their own, and yet
                # it may run because nobody called its catcher: then that is passed over, and would hide a failure.
                catcher=None if number in caught else _catcher_of(configs[number], trigger, by_id),
            )
            for number in numbers
        },
        numbers=numbers,
        edges=tuple(edges),
        catchers={number: tuple(out[number]) for number in catchers},
        output_keys=frozenset(each.key for each in version.parameters if each.direction.is_output),
        parameters={each.key: each for each in version.parameters},
    )


def _catcher_of(config: TaskConfig, trigger: TriggerConfig, by_id: Mapping[str, int]) -> int | None:
    own = by_id.get(config.error_catcher_id)
    return by_id.get(trigger.error_catcher_id) if own is None else own


def _catchers(version: IntegrationVersion, trigger: TriggerConfig, tasks: Container[int]) -> dict[int, ErrorCatcher]:
    """The error catchers that may be called, numbered from -1 downwards."""
    called = {task.error_catcher_id for task in version.tasks if task.number in tasks} | {trigger.error_catcher_id}
    return {-1 - index: each for index, each in enumerate(version.error_catchers) if each.id in called}


def default_start_tasks(version: IntegrationVersion) -> tuple[NextTask, ...]:
    """Where a trigger that names no start tasks begins: every task to which no edge leads, nor an error catcher."""
    targets = {following.number for config in version.tasks for following in config.next_tasks}
    targets |= {start.number for catcher in version.error_catchers for start in catcher.start_tasks}
    return tuple(NextTask(number=config.number) for config in version.tasks if config.number not in targets)


def _reachable(configs: Mapping[int, TaskConfig], starts: Iterable[NextTask]) -> set[int]:
    found: set[int] = set()
    ahead = [start.number for start in starts]
    while ahead:
        number = ahead.pop()
        if number not in found:
            found.add(number)
            ahead.extend(following.number for following in configs[number].next_tasks)
    return found


def _condition(following: NextTask) -> Condition | None:
    return parse_condition(following.condition) if following.condition.strip() else None
