"""What an execution may still need: the executors of its tasks, and of the integrations that these call."""

from __future__ import annotations

from orchestrator.errors import IntegrationNotFound
from orchestrator.model.values import DataType
from orchestrator.service.services import Services
from orchestrator.service.submit import executors_of
from orchestrator.store.rows import StoredExecution


def executors_in_reach(stored: StoredExecution, services: Services) -> frozenset[str]:
    """The executors without whose workers an execution may stand still. A name made up at run time stays unknown."""
    found: set[str] = set()
    seen, ahead = {stored.version_id}, [stored.version_id]
    while ahead:
        version = services.plans.version(ahead.pop())
        found |= executors_of(version, stored.executor)
        for task in version.tasks:
            named = task.parameters.get("workflowName")
            called = _published(str(named.data).strip(), stored, services) if named and _is_text(named.type) else None
            if called is not None and called not in seen:
                seen.add(called)
                ahead.append(called)
    return frozenset(found)


def _is_text(data_type: DataType) -> bool:
    return data_type is DataType.STRING


def _published(name: str, stored: StoredExecution, services: Services) -> str | None:
    try:
        return services.versions.find(name, trigger_id="", project=stored.project, location=stored.location)
    except IntegrationNotFound:
        return None
