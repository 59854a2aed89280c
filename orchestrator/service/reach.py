"""What an execution may need: the executors of its tasks, and of the integrations that these call."""

from __future__ import annotations

from orchestrator.errors import IntegrationNotFound
from orchestrator.model.values import DataType
from orchestrator.service.services import Services
from orchestrator.service.submit import Place, executors_of


def executors_in_reach(version_id: str, services: Services, *, executor: str, place: Place) -> frozenset[str]:
    """The executors without whose workers an execution may stand still. A name made up at run time stays unknown.

    Args:
        version_id: of what is executed.
        services: the stores.
        executor: where tasks go that name none.
        place: where the integrations that it calls are published.
    """
    found: set[str] = set()
    seen, ahead = {version_id}, [version_id]
    while ahead:
        version = services.plans.version(ahead.pop())
        found |= executors_of(version, executor)
        for task in version.tasks:
            named = task.parameters.get("workflowName")
            if named is None or named.type is not DataType.STRING:
                continue
            called = _published(str(named.data).strip(), place, services)
            if called is not None and called not in seen:
                seen.add(called)
                ahead.append(called)
    return frozenset(found)


def _published(name: str, place: Place, services: Services) -> str | None:
    try:
        return services.versions.find(name, trigger_id="", project=place.project, location=place.location)
    except IntegrationNotFound:
        return None
