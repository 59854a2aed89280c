"""Control of live executions: KILL."""

from __future__ import annotations

from orchestrator.errors import StateError
from orchestrator.service.apply import pursue
from orchestrator.service.services import Services
from orchestrator.store.rows import Signal
from orchestrator.store.signals import Audit


class ExecutionOver(StateError):
    """What was asked for needs a live execution."""

    def __init__(self, execution_id: str, state: str, wanted: str) -> None:
        super().__init__(execution_id, state, wanted)
        self.execution_id, self.state, self.wanted = execution_id, state, wanted

    def __str__(self) -> str:
        return f"execution {self.execution_id} is {self.state}, which is final: nothing is left to {self.wanted}"


def kill(execution_id: str, services: Services, *, audit: Audit, rolls_back: bool = False) -> None:
    """End an execution and everything live below it; each is CANCELLED once no code of it runs.

    What nobody runs is over when this returns. What a worker runs is ended by that worker, within seconds.

    Args:
        execution_id: of which execution.
        services: the stores.
        audit: who wants it, and why; kept.
        rolls_back: undo what SUCCEEDed and has a rollback before it is CANCELLED.

    Raises:
        ExecutionOver: it is final already; nothing was changed.
        ExecutionNotFound: there is none.
    """
    signal = Signal.KILL_AND_ROLL_BACK if rolls_back else Signal.KILL
    state = services.signals.send(execution_id, signal, audit)
    if state is not None:
        raise ExecutionOver(execution_id, state.value, "kill")
    pursue(execution_id, services)
