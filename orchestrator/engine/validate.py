"""Whether a definition that could be read can also run: every problem at once, each with its place and its remedy.

An error is what no execution could survive, so nothing is stored. A warning (``doubts``) is what runs all the same.
The functions below are one rule each; all are linear in tasks and edges.
"""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Final

from orchestrator.engine.doubts import find_doubts
from orchestrator.engine.graph import Graph, cycles, graph_of, start_above_start
from orchestrator.engine.schemas import schema_problem
from orchestrator.errors import ConditionSyntax, InvalidDefinition, InvalidValue
from orchestrator.model.conditions import parse_condition
from orchestrator.model.cron import CronSchedule, InvalidCron, UnknownTimeZone, has_times, parse_time_zone
from orchestrator.model.fields import ProblemList
from orchestrator.model.integration import EXECUTOR_ID, IntegrationVersion, NextTask, TaskConfig
from orchestrator.model.limits import MAX_RATE, MAX_RUNNING, Limits, parse_key, references_of
from orchestrator.model.parameters import is_declared
from orchestrator.model.task_types import TaskType, TaskTypes
from orchestrator.model.values import DataType, Value, coerce

WHILE_LOOP: Final = "SubWorkflowWhileLoopV2Task"
MAX_TIMEOUT_MS: Final = 366 * 86_400_000  # longer than anything should run; and no overflow of a date
_LONGEST_PATH: Final = 12  # of a cycle, in a message


@dataclass(frozen=True, kw_only=True, slots=True)
class Problems:
    """What was found; at most ``MAX_PROBLEMS`` of each."""

    errors: tuple[str, ...]
    warnings: tuple[str, ...]


def check_integration(version: IntegrationVersion, task_types: TaskTypes, source: str) -> tuple[str, ...]:
    """Refuse a definition that cannot run.

    Returns:
        The warnings.

    Raises:
        InvalidDefinition: with every error.
    """
    problems = find_problems(version, task_types)
    if problems.errors:
        raise InvalidDefinition(source, problems.errors)
    return problems.warnings


def find_problems(version: IntegrationVersion, task_types: TaskTypes) -> Problems:
    """Look for everything that is wrong or doubtful, without refusing anything."""
    graph = graph_of(version)
    found_cycles = list(cycles(graph))
    errors, warnings = ProblemList(), ProblemList()
    rules: tuple[Iterable[str], ...] = (
        _task_numbers(version),
        _task_types(version, task_types),
        _executors_and_timeouts(version),
        _edges(version, graph),
        (f"tasks {_shown_path(path)} form a cycle; loop with {WHILE_LOOP} instead" for path in found_cycles),
        _conditions(version, task_types),
        _triggers(version),
        _schedules(version),
        () if found_cycles else _starts_above_starts(version, graph),
        _error_catchers(version),
        _parameters(version),
        _limits(version),
    )
    for sentence in (sentence for rule in rules for sentence in rule):
        errors.add(sentence)
    for sentence in find_doubts(version, graph):
        warnings.add(sentence)
    return Problems(errors=errors.sentences, warnings=warnings.sentences)


# -- tasks ---------------------------------------------------------------------------------------------------------


def _task_numbers(version: IntegrationVersion) -> Iterator[str]:
    if not version.tasks:
        yield "taskConfigs: there is no task; an integration needs at least one"
    names: dict[int, list[str]] = {}
    for task in version.tasks:
        names.setdefault(task.number, []).append(repr((task.display_name or task.task)[:60]))
    for number, same in names.items():
        if len(same) > 1:
            which = ", ".join(same[:3]) + (", ..." if len(same) > 3 else "")
            yield f"task {number}: {len(same)} tasks have this number ({which}); give each its own taskId"
        if number < 1:
            yield f"task {number}: taskId must be 1 or more"


def _task_types(version: IntegrationVersion, task_types: TaskTypes) -> Iterator[str]:
    @cache
    def unknown(name: str) -> str:
        # 0.8 takes a slip of the pen; below it, GenericConnectorTask would be a GenericRestV2Task.
        names = [each.name for each in task_types] if len(name) <= 100 else []
        close = difflib.get_close_matches(name, names, n=1, cutoff=0.8)
        hint = f"did you mean {close[0]!r}? If not, " if close else ""
        return (
            f"unknown task type {name!r}; {hint}register it with @task_type({name!r}) in a module that you name with "
            "--include MODULE, or in a package with the entry-point group orchestrator.task_types"
        )

    def checked(place: str, name: str, config: Mapping[str, Value]) -> Iterator[str]:
        known = task_types.get(name)
        if known is None:
            yield f"{place}: {unknown(name)}"
            return
        yield from (f"{place}: {problem}" for problem in _own_problems(known, config))

    for task in version.tasks:
        yield from checked(task.place, task.task, task.parameters)
        if task.rollback is not None:
            yield from checked(f"{task.place}, rollback", task.rollback.task, task.rollback.parameters)


def _own_problems(task_type: TaskType, config: Mapping[str, Value]) -> Iterator[str]:
    """What the task type's own check finds."""
    try:
        yield from task_type.check(config)
    except Exception as error:  # a check is a user's code as well; its crash must not hide the other problems
        yield f"the check of this task type failed with {type(error).__name__}: {error}"


def _executors_and_timeouts(version: IntegrationVersion) -> Iterator[str]:
    for task in version.tasks:
        if task.executor_id is not None and not EXECUTOR_ID.fullmatch(task.executor_id):
            yield (
                f"{task.place}, executorId: found {task.executor_id[:60]!r}, expected 1 to 128 letters, digits, "
                "'_', '.' and '-'"
            )
        for key, found in (("timeoutMs", task.timeout_ms), ("queueTimeoutMs", task.queue_timeout_ms)):
            if found is not None and not 0 < found <= MAX_TIMEOUT_MS:
                yield f"{task.place}, {key}: found {found}, expected milliseconds, 1 to {MAX_TIMEOUT_MS} (a year)"


# -- edges and conditions ------------------------------------------------------------------------------------------


def _missing(place: str, edges: Iterable[NextTask], graph: Graph) -> Iterator[str]:
    for index, edge in enumerate(edges):
        if edge.number not in graph:
            yield f"{place}[{index}]: there is no task {edge.number}"


def _edges(version: IntegrationVersion, graph: Graph) -> Iterator[str]:
    for task in version.tasks:
        yield from _missing(f"{task.place}, nextTasks", task.next_tasks, graph)
    for trigger in version.triggers:
        yield from _missing(f"trigger {trigger.id!r}, startTasks", trigger.start_tasks, graph)
    for catcher in version.error_catchers:
        yield from _missing(f"error catcher {catcher.id!r}, startErrorTasks", catcher.start_tasks, graph)


def _shown_path(path: list[int]) -> str:
    steps = [str(number) for number in path]
    if len(steps) > _LONGEST_PATH:
        steps[_LONGEST_PATH // 2 : -_LONGEST_PATH // 2] = ["..."]
    return " -> ".join(steps)


def _conditions(version: IntegrationVersion, task_types: TaskTypes) -> Iterator[str]:
    @cache
    def problem(text: str) -> str | None:
        try:
            parse_condition(text)
        except ConditionSyntax as error:
            return str(error)
        return None

    for place, text in _written_conditions(version, task_types):
        if text.strip() and (found := problem(text)):
            yield f"{place}: {found}"


def _written_conditions(version: IntegrationVersion, task_types: TaskTypes) -> Iterator[tuple[str, str]]:
    for task in version.tasks:
        place = task.place
        for index, edge in enumerate(task.next_tasks):
            yield f"{place}, nextTasks[{index}]", edge.condition
        for key, policy in task.policies():
            yield f"{place}, {key}", policy.condition
        yield from _while_condition(task, task_types)
    for trigger in version.triggers:
        for index, edge in enumerate(trigger.start_tasks):
            yield f"trigger {trigger.id!r}, startTasks[{index}]", edge.condition
    for catcher in version.error_catchers:
        for index, edge in enumerate(catcher.start_tasks):
            yield f"error catcher {catcher.id!r}, startErrorTasks[{index}]", edge.condition


def _while_condition(task: TaskConfig, task_types: TaskTypes) -> Iterator[tuple[str, str]]:
    """The condition of a while loop, unless the loop's own check has something to say: then it says this too."""
    written = task.parameters.get("whileCondition") if task.task == WHILE_LOOP else None
    known = task_types.get(task.task)
    if written is None or (known is not None and any(_own_problems(known, task.parameters))):
        return
    if written.type is DataType.STRING:
        yield f"{task.place}, whileCondition", str(written.data)


# -- triggers and error catchers -----------------------------------------------------------------------------------


def _twice(names: Iterable[str]) -> list[str]:
    return [name for name, times in Counter(names).items() if times > 1]


def _triggers(version: IntegrationVersion) -> Iterator[str]:
    for name in _twice(trigger.id for trigger in version.triggers):
        yield f"trigger {name!r}: two triggers have this id; give each its own"
    for trigger in version.triggers:
        for number, times in Counter(start.number for start in trigger.start_tasks).items():
            if times > 1:
                yield f"trigger {trigger.id!r}, startTasks: task {number} stands {times} times"


def _schedules(version: IntegrationVersion) -> Iterator[str]:
    required = [each.key for each in version.parameters if each.direction.is_input and each.default is None]
    for trigger in version.triggers:
        if trigger.cron is None:
            continue
        place = f"trigger {trigger.id!r}"
        yield from (f"{place}: {problem}" for problem in _cron_problems(trigger.cron))
        for key in required:
            yield f"{place}: nobody hands in parameter {key!r} when the time comes; give it a default value"


def _cron_problems(cron: CronSchedule) -> Iterator[str]:
    if not cron.expression.strip():
        yield (
            "it does not say when; give it a cloudSchedulerConfig with a cronTab, properties['Scheduled Time spec'], "
            "or an id such as 'cron_trigger/NAME/10+12+*+*+*'"
        )
    else:
        try:
            if not has_times(cron.expression):
                yield f"cron {cron.expression!r} names no time at all: no month it names has such a day"
        except InvalidCron as error:
            yield str(error)
    try:
        parse_time_zone(cron.time_zone)
    except UnknownTimeZone as error:
        yield str(error)


def _starts_above_starts(version: IntegrationVersion, graph: Graph) -> Iterator[str]:
    for trigger in version.triggers:
        pair = start_above_start(graph, [start.number for start in trigger.start_tasks])
        if pair:
            yield (
                f"trigger {trigger.id!r}, startTasks: task {pair[0]} leads to task {pair[1]}; "
                "a start task must not follow another one"
            )


def _error_catchers(version: IntegrationVersion) -> Iterator[str]:
    known = dict.fromkeys(catcher.id for catcher in version.error_catchers)
    shown = ", ".join(list(known)[:10]) or "none"
    for name in _twice(catcher.id for catcher in version.error_catchers):
        yield f"error catcher {name!r}: two error catchers have this id; give each its own"
    users = [(task.place, task.error_catcher_id) for task in version.tasks]
    users += [(f"trigger {trigger.id!r}", trigger.error_catcher_id) for trigger in version.triggers]
    for place, name in users:
        if name and name not in known:
            yield f"{place}, errorCatcherId: there is no error catcher {name!r}; known: {shown}"


# -- parameters ----------------------------------------------------------------------------------------------------


def _parameters(version: IntegrationVersion) -> Iterator[str]:
    for key in _twice(parameter.key for parameter in version.parameters):
        yield f"parameter {key!r}: two parameters have this key; give each its own"
    for parameter in version.parameters:
        place = f"parameter {parameter.key!r}"
        if parameter.default is not None:
            try:
                coerce(parameter.default, parameter.data_type, f"{place}, defaultValue")
            except InvalidValue as error:
                yield f"{error} ({parameter.data_type} is declared)"
        if parameter.json_schema is not None and (problem := schema_problem(parameter.json_schema)):
            yield f"{place}, jsonSchema: {problem}"


# -- limits --------------------------------------------------------------------------------------------------------


def _limits(version: IntegrationVersion) -> Iterator[str]:
    limits = version.limits
    if limits is None:
        return
    if limits == Limits():
        yield "limits: found nothing that limits, expected maxConcurrent, key with maxConcurrentPerKey, or rate"
    rate = limits.rate
    for place, number, most in (
        ("maxConcurrent", limits.max_running, MAX_RUNNING),
        ("maxConcurrentPerKey", limits.max_running_per_key, MAX_RUNNING),
        ("rate, count", None if rate is None else rate.count, MAX_RATE),
        ("rate, perSeconds", None if rate is None else rate.period_s, MAX_RUNNING),
    ):
        if number is not None and not 1 <= number <= most:
            yield f"limits, {place}: found {number}, expected 1 to {most:,}"
    if limits.key and limits.max_running_per_key is None:
        yield "limits, key: it limits nothing by itself; add maxConcurrentPerKey"
    if limits.max_running_per_key is not None and not limits.key:
        yield "limits, maxConcurrentPerKey: there is no key to count by; add key, such as $customer_id$"
    if limits.key:
        yield from (f"limits, key: {problem}" for problem in _key_problems(limits.key, version))


def _key_problems(text: str, version: IntegrationVersion) -> Iterator[str]:
    try:
        references = list(references_of(parse_key(text)))
    except ConditionSyntax as error:
        yield str(error)
        return
    if not references:
        yield f"found {text[:60]!r}, which is the same for every execution; expected a variable such as $customer_id$"
    declared = {parameter.key for parameter in version.parameters}
    for reference in references:
        if not is_declared(reference, declared):
            yield f"there is no parameter for ${reference}$; declare it in integrationParameters"
