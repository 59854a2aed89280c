"""Whether an execution rests: what every wait for an end asks."""

from __future__ import annotations

from orchestrator.engine.progress import unpack
from orchestrator.engine.quarantine import awaits_release
from orchestrator.model.states import ExecutionState
from orchestrator.service.services import Services
from orchestrator.store.queries import ExecutionQueries


def is_at_rest(execution_id: str, state: ExecutionState, services: Services) -> bool:
    """Whether nothing happens to an execution by itself: it is over, or it is somebody's turn. A timer ends by itself.

    It is somebody's turn where it is SUSPENDED, or RETRY_ON_HOLD because of a task in quarantine.
    """
    if state is ExecutionState.RETRY_ON_HOLD:
        stored = ExecutionQueries(services.store.database).one(execution_id)
        plan = services.plans.get(stored.version_id, stored.trigger_id)
        return awaits_release(unpack(plan, stored.progress, stored.state))
    if state is ExecutionState.SUSPENDED:
        return services.suspensions.awaits_answer(execution_id)
    return state.is_final
