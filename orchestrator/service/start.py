"""Starting an execution: its first decision, and the messages that this makes ready. Roots and children alike."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from orchestrator.engine.canvas import Message
from orchestrator.engine.decide import Decision, Dispatch, decide
from orchestrator.engine.events import Started
from orchestrator.engine.inputs import bind_inputs
from orchestrator.engine.plan import Plan
from orchestrator.engine.progress import Progress, pack
from orchestrator.model.history import Outcome
from orchestrator.model.states import ExecutionState
from orchestrator.model.task_types import TaskTypes
from orchestrator.model.values import DataType, Value
from orchestrator.store.rows import Method, NewAttempt, NewExecution, ParentLink

EXECUTION_MODE = "`ExecutionMode`"  # the system variable that conditions see: SYNC or ASYNC


def with_system_variables(parameters: Mapping[str, Value], *, is_sync: bool) -> dict[str, Value]:
    """The parameters as conditions and tasks see them."""
    return {**parameters, EXECUTION_MODE: Value(DataType.STRING, "SYNC" if is_sync else "ASYNC")}


def new_execution(
    plan: Plan,
    given: Mapping[str, Value],
    *,
    execution_id: str,
    version_id: str,
    project: str,
    location: str,
    method: Method,
    executor: str,
    root_id: str,
    parent: ParentLink | None = None,
) -> NewExecution:
    """Bind the inputs and decide the start.

    Raises:
        InputError: the inputs do not fit the integration.
    """
    request = bind_inputs(plan.version, given)
    is_sync = method is Method.POST
    seen = with_system_variables(request, is_sync=is_sync)
    decision = decide(plan, Progress(), Started(), parameters=seen, is_sync=is_sync)
    is_over = decision.progress.state.is_final
    return NewExecution(
        id=execution_id,
        project=project,
        location=location,
        integration=plan.version.name,
        version_id=version_id,
        trigger_id=plan.trigger.id,
        method=method,
        executor=executor,
        progress=pack(plan, decision.progress),
        request=request,
        root_id=root_id,
        state=decision.progress.state if is_over else ExecutionState.PENDING,
        parent=parent,
        ready=tuple(new_attempt(plan, dispatch, executor=executor) for dispatch in decision.dispatch),
        outcome=to_outcome(plan, decision, request) if is_over else None,
    )


def new_attempt(plan: Plan, dispatch: Dispatch, *, executor: str, worker: str | None = None) -> NewAttempt:
    """The live attempt of a task that became ready."""
    config = plan.tasks[dispatch.number].config
    return NewAttempt(
        number=dispatch.number,
        attempt=dispatch.attempt,
        task_type=config.task,
        executor=config.executor_id or executor,
        worker=worker,
    )


def to_outcome(plan: Plan, decision: Decision, parameters: Mapping[str, Value]) -> Outcome:
    """How an execution that is over answers: its OUT parameters, and the error that counts if it FAILED."""
    failed = decision.progress.state is ExecutionState.FAILED
    return Outcome(
        state=decision.progress.state,
        response={key: value for key, value in parameters.items() if key in plan.output_keys},
        error=decision.progress.error if failed else None,
    )


def start_messages(new: Iterable[NewExecution], types: TaskTypes) -> list[Message]:
    """The messages of the start tasks of executions that were just created."""
    return [to_message(each.id, attempt, types) for each in new for attempt in each.ready]


def to_message(execution_id: str, attempt: NewAttempt, types: TaskTypes) -> Message:
    """The message that runs a live attempt."""
    return Message(
        name=celery_name(attempt.task_type, types),
        execution_id=execution_id,
        number=attempt.number,
        attempt=attempt.attempt,
        round=0,
        executor=attempt.executor,
    )


def celery_name(task_type: str, types: TaskTypes) -> str:
    """The Celery task that runs a task type; a worker that lacks the type still finds the row and says so."""
    known = types.get(task_type)
    return (known.celery_name or known.name) if known is not None else task_type
