"""What a definition says that runs, and is probably not meant: the warnings beside ``validate``'s errors."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from orchestrator.engine.graph import Graph, reachable
from orchestrator.engine.plan import default_start_tasks
from orchestrator.engine.schemas import schema_problem, schema_violation
from orchestrator.model.integration import IntegrationParameter, IntegrationVersion, TriggerConfig


def find_doubts(version: IntegrationVersion, graph: Graph) -> Iterator[str]:
    """One sentence for each thing that is probably not meant."""
    if not version.triggers:
        yield "triggerConfigs: there is no trigger, so nothing can start this integration"
    yield from _unreachable(version, graph)
    yield from _idle_policies(version)
    yield from _undeclared_variables(version)
    yield from _odd_defaults(version.parameters)
    yield from _without_effect(version)


def _idle_policies(version: IntegrationVersion) -> Iterator[str]:
    for task in version.tasks:
        for key, policy in task.policies():
            if policy.strategy.is_retrying and not policy.max_retries:
                yield f"{task.place}, {key}: {policy.strategy} without maxRetries never tries again"
            elif policy.strategy.is_retrying and not policy.interval_s:
                yield f"{task.place}, {key}: {policy.strategy} without intervalTime tries again at once"


def _without_effect(version: IntegrationVersion) -> Iterator[str]:
    """What is read and kept, and has less effect than one may think."""
    for parameter in version.parameters:
        if parameter.masked:
            yield f"parameter {parameter.key!r}, masked: hidden in Google's API alone, shown elsewhere"


def _undeclared_variables(version: IntegrationVersion) -> Iterator[str]:
    declared = {parameter.key for parameter in version.parameters}
    for trigger in version.triggers:
        for key, names in (("inputVariables", trigger.input_variables), ("outputVariables", trigger.output_variables)):
            for name in names:
                if name not in declared:
                    yield f"trigger {trigger.id!r}, {key}: there is no parameter {name!r}"


def _unreachable(version: IntegrationVersion, graph: Graph) -> Iterator[str]:
    defaults = [start.number for start in default_start_tasks(version)]
    starts = [number for trigger in version.triggers for number in _starts(trigger, defaults)] or defaults
    starts += [start.number for catcher in version.error_catchers for start in catcher.start_tasks]
    found = reachable(graph, starts)
    for task in version.tasks:
        if task.number not in found:
            yield f"{task.place}: no trigger leads to it, so it never runs"


def _starts(trigger: TriggerConfig, defaults: list[int]) -> list[int]:
    return [start.number for start in trigger.start_tasks] or defaults


def _odd_defaults(parameters: Iterable[IntegrationParameter]) -> Iterator[str]:
    for parameter in parameters:
        schema = parameter.json_schema
        if parameter.default is None or schema is None or schema_problem(schema):
            continue
        violation = schema_violation(parameter.default.python, schema)
        if violation:
            yield f"parameter {parameter.key!r}, defaultValue: it breaks its own jsonSchema: {violation}"
