"""What an execution may need: the executors of its tasks, and of the integrations that these call."""

from __future__ import annotations

from orchestrator.errors import IntegrationNotFound
from orchestrator.model.values import DataType
from orchestrator.service.services import Services
from orchestrator.service.submit import Place, executors_of
from orchestrator.service.suspensions import waiting_with


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


def executors_going_on(execution_id: str, services: Services) -> list[str]:
    """The executors that an execution, and what waits for its end, may need to go on.

    Raises:
        ExecutionNotFound: there is no such execution.
    """
    found: set[str] = set()
    for each in waiting_with(execution_id, services):
        place = Place(project=each.project, location=each.location)
        found |= executors_in_reach(each.version_id, services, executor=each.executor, place=place)
    return sorted(found)


def _published(name: str, place: Place, services: Services) -> str | None:
    try:
        return services.versions.find(name, trigger_id="", project=place.project, location=place.location)
    except IntegrationNotFound:
        return None
