"""Our rows the way Celery sees tasks: which ids are ours, and what ``AsyncResult`` is told of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from celery import states
from celery.exceptions import TaskRevokedError

from orchestrator.engine.canvas import parse_celery_id
from orchestrator.errors import TaskError
from orchestrator.model.history import Entry, EntryKind, ErrorInfo
from orchestrator.model.states import ExecutionState
from orchestrator.model.values import Value
from orchestrator.store.kinds import AttemptKey, Phase
from orchestrator.store.results import ExecutionResult, LiveAttempt

SUSPENDED: Final = "SUSPENDED"  # no word of Celery's: not ready, and nothing runs

# -- ids -------------------------------------------------------------------------------------------------------------


def to_key(celery_id: str) -> AttemptKey | None:
    """The attempt or join that an id names, if it is one of ours; for a chunk the join that waits for it."""
    parsed = parse_celery_id(str(celery_id))
    if parsed is None:
        return None
    execution_id, number, attempt, round_ = parsed
    return AttemptKey(execution_id=execution_id, number=number, attempt=attempt, round=round_)


def is_ours(celery_id: str) -> bool:
    """Whether an id is that of an attempt or a join. An execution's own id looks like any UUID: its row tells."""
    return to_key(celery_id) is not None


# -- rows as Celery's metas --------------------------------------------------------------------------------------------

_EXECUTION_STATUS: Final = {
    ExecutionState.PENDING: states.PENDING,
    ExecutionState.PROCESSING: states.STARTED,
    ExecutionState.SUCCEEDED: states.SUCCESS,
    ExecutionState.FAILED: states.FAILURE,
    ExecutionState.CANCELLED: states.REVOKED,
    ExecutionState.RETRY_ON_HOLD: states.RETRY,
    ExecutionState.SUSPENDED: SUSPENDED,
}
_ENTRY_STATUS: Final = {
    EntryKind.SUCCEEDED: states.SUCCESS,
    EntryKind.FAILED: states.FAILURE,
    EntryKind.STOPPED: states.REVOKED,
    EntryKind.SUSPENDED: SUSPENDED,
}


def execution_meta(found: ExecutionResult) -> dict[str, Any]:
    """An execution as Celery sees a task; the result is its response parameters as plain JSON."""
    status = _EXECUTION_STATUS[found.state]
    meta = _outcome_meta(status, parameters=found.response, error=found.error)
    return meta | {"date_done": found.ended_at and found.ended_at.isoformat()}


def attempt_meta(found: LiveAttempt | Entry) -> dict[str, Any]:
    """An attempt as Celery sees a task; the result is its outputs as plain JSON."""
    if isinstance(found, Entry):
        meta = _outcome_meta(_ENTRY_STATUS[found.kind], parameters=found.parameters, error=found.error)
        return meta | {"date_done": found.ended_at.isoformat(), "worker": found.worker}
    if found.phase is Phase.RUN and found.worker is None:
        return {"status": states.PENDING, "result": None, "name": found.task_type}
    info = {"hostname": found.worker} if found.worker else None  # nobody, while it waits for sub-executions
    return {"status": states.STARTED, "result": info, "name": found.task_type, "worker": found.worker}


def _outcome_meta(status: str, *, parameters: Mapping[str, Value], error: ErrorInfo | None) -> dict[str, Any]:
    result: Any = None
    if status == states.SUCCESS:
        result = {key: value.python for key, value in parameters.items()}
    elif status == states.FAILURE:
        result = _raised(TaskError, *((error.message, error.code) if error else ("it failed",)))
    elif status == states.REVOKED:
        result = _raised(TaskRevokedError, "cancelled")
    return {"status": status, "result": result, "traceback": error.traceback or None if error else None, "children": []}


def _raised(kind: type[Exception], *arguments: Any) -> dict[str, Any]:
    """An exception the way Celery keeps one: it makes it again only if the class is loaded and is an exception."""
    return {"exc_type": kind.__name__, "exc_message": list(arguments), "exc_module": kind.__module__}
