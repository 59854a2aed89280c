"""Taking in definitions that were written elsewhere: what can run, and what it lacks here.

A definition that cannot run yet is work to be done, and no reason to refuse the others: it becomes a DRAFT.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from orchestrator.engine.validate import find_problems
from orchestrator.model.integration import IntegrationVersion
from orchestrator.model.task_types import TaskTypes
from orchestrator.model.version_states import VersionState
from orchestrator.service.services import Services
from orchestrator.service.submit import Place
from orchestrator.service.versions import create_draft


@dataclass(frozen=True, kw_only=True, slots=True)
class Imported:
    """What became of a definition.

    Attributes:
        state: DRAFT, or ACTIVE if it was published.
        missing: the task types that are not known here, and the numbers of the tasks that have them.
        problems: what else keeps it from running.
        warnings: what does not.
    """

    integration: str
    version_id: str
    state: VersionState
    missing: Mapping[str, tuple[int, ...]]
    problems: tuple[str, ...]
    warnings: tuple[str, ...]

    @property
    def can_run(self) -> bool:
        """Whether publishing would take it, or has."""
        return not (self.missing or self.problems)


def import_definition(
    version: IntegrationVersion, services: Services, *, place: Place, actor: str, publishes: bool = False
) -> Imported:
    """Store a definition: publish it if that is wished and possible, as ``submit.publish`` does; else as a DRAFT."""
    missing = missing_task_types(version, services.types)
    found = find_problems(version, services.types)
    if publishes and not found.errors:
        version_id, state = _publish(version, services, place=place, actor=actor), VersionState.ACTIVE
    else:
        document = version.document
        created = create_draft(document, services, integration=version.name, place=place, actor=actor)
        version_id, state = created.id, created.state
    return Imported(
        integration=version.name,
        version_id=version_id,
        state=state,
        missing=missing,
        problems=tuple(each for each in found.errors if not any(f"type {name!r};" in each for name in missing)),
        warnings=found.warnings,
    )


def _publish(version: IntegrationVersion, services: Services, *, place: Place, actor: str) -> str:
    return services.versions.publish(version, project=place.project, location=place.location, actor=actor)


def missing_task_types(version: IntegrationVersion, types: TaskTypes) -> dict[str, tuple[int, ...]]:
    """The task types of a definition, rollbacks included, that are not known; with the numbers of their tasks."""
    missing: dict[str, tuple[int, ...]] = {}
    for task in version.tasks:
        names = (task.task, task.rollback.task) if task.rollback is not None else (task.task,)
        for name in dict.fromkeys(names):
            if types.get(name) is None:
                missing[name] = (*missing.get(name, ()), task.number)
    return missing
