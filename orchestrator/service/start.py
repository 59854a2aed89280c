"""Starting an execution: its first decision, and the messages that this makes ready. Roots and children alike."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Final

from orchestrator.engine.canvas import BUNDLE_TASK, CHUNK_TASK, JOIN_TASK, Message
from orchestrator.engine.decide import decide
from orchestrator.engine.decisions import Decision, Dispatch, Timer
from orchestrator.engine.events import Started
from orchestrator.engine.inputs import bind_inputs
from orchestrator.engine.limits import limits_for
from orchestrator.engine.plan import Plan
from orchestrator.engine.progress import Progress, pack
from orchestrator.model.history import Outcome
from orchestrator.model.states import ExecutionState
from orchestrator.model.task_types import TaskTypes
from orchestrator.model.values import DataType, Value
from orchestrator.store.changes import Due, Fired, NewAttempt, NewExecution
from orchestrator.store.kinds import DEFAULT_PRIORITY, Hold, Method, ParentLink, Phase, Signal
from orchestrator.store.rows import LiveAttempt, NewChunk

EXECUTION_MODE = "`ExecutionMode`"  # the system variable that conditions see: SYNC or ASYNC
SYNC, ASYNC = "SYNC", "ASYNC"
_MODES: Final = {True: Value(DataType.STRING, SYNC), False: Value(DataType.STRING, ASYNC)}  # by whether it is sync
NOTHING: Final = Progress()  # what an execution stands at before its start, unless it is a replay


def with_system_variables(parameters: Mapping[str, Value], *, is_sync: bool) -> dict[str, Value]:
    """The parameters as conditions and tasks see them."""
    return {**parameters, EXECUTION_MODE: _MODES[is_sync]}


def runs_sync(method: Method, progress: Progress) -> bool:
    """Whether an execution runs synchronously: asked for so, and not suspended since."""
    return method is Method.POST and not progress.is_resumed


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
    hold: Hold | None = None,
    priority: int = DEFAULT_PRIORITY,
    taken_over: Progress = NOTHING,
    results: Mapping[str, Value] | None = None,
) -> NewExecution:
    """Bind the inputs and decide the start, unless it is held. A replay takes over what is done, and its results.

    Raises:
        InputError: the inputs do not fit the integration.
    """
    request = bind_inputs(plan.version, given)
    is_sync = method is Method.POST
    seen = with_system_variables({**request, **(results or {})}, is_sync=is_sync)
    if hold is not None:
        decision, packed = Decision(progress=taken_over), pack(plan, taken_over)
    elif taken_over is NOTHING and _start_alike(plan):
        decision, packed = _start_of_all(plan, is_sync=is_sync)
    else:
        decision, packed = _decide_start(plan, taken_over, seen, is_sync=is_sync)
    is_over = decision.progress.state.is_final
    needs = limits_for(
        plan.version, request, project=project, location=location, executor=executor, is_root=parent is None
    )
    return NewExecution(
        id=execution_id,
        project=project,
        location=location,
        integration=plan.version.name,
        version_id=version_id,
        trigger_id=plan.trigger.id,
        method=method,
        executor=executor,
        progress=packed,
        request=request,
        root_id=root_id,
        state=decision.progress.state if is_over else ExecutionState.PENDING,
        parent=parent,
        ready=new_attempts(plan, decision.dispatch, executor=executor),
        outcome=to_outcome(plan, decision, seen) if is_over else None,
        hold=hold,
        priority=priority,
        parameters=results or {},
        needs=() if is_over or hold is not None else needs,
        undecided=pack(plan, taken_over),
    )


def _decide_start(
    plan: Plan, taken_over: Progress, seen: Mapping[str, Value], *, is_sync: bool
) -> tuple[Decision, str]:
    """The start, and the progress that it makes as text."""
    decision = decide(plan, taken_over, Started(), parameters=seen, is_sync=is_sync)
    return decision, pack(plan, decision.progress)


@functools.lru_cache(maxsize=512)
def _start_of_all(plan: Plan, *, is_sync: bool) -> tuple[Decision, str]:
    """The start of any execution of a plan whose start conditions read no parameters."""
    return _decide_start(plan, NOTHING, {}, is_sync=is_sync)


def _start_alike(plan: Plan) -> bool:
    return all(edge.condition is None for edge in plan.start_edges)


def begins_alike(new: NewExecution, plan: Plan) -> bool:
    """Whether all executions of the plan begin as this one did: no start condition reads the parameters."""
    return new.outcome is None and _start_alike(plan)


def begun_like(
    first: NewExecution,
    plan: Plan,
    request: Mapping[str, Value],
    *,
    execution_id: str,
    request_id: str | None,
    ready: tuple[NewAttempt, ...],
) -> NewExecution:
    """Another root execution, of a plan whose executions begin alike. Deciding it as well takes ten times as long."""
    needs = first.needs
    if needs and plan.version.limits is not None and plan.version.limits.key:
        place = {"project": first.project, "location": first.location}
        needs = limits_for(plan.version, request, **place, executor=first.executor, is_root=True)
    return replace(
        first,
        id=execution_id,
        root_id=execution_id,
        request=request,
        request_id=request_id,
        needs=needs,
        ready=ready,
    )


def new_attempts(plan: Plan, dispatched: Iterable[Dispatch], *, executor: str) -> tuple[NewAttempt, ...]:
    """The live attempts of tasks that became ready, for anyone to claim."""
    return tuple(new_attempt(plan, each, executor=executor) for each in dispatched)


def new_attempt(plan: Plan, dispatch: Dispatch, *, executor: str, worker: str | None = None) -> NewAttempt:
    """The live attempt of a task that became ready, or of its rollback."""
    config = plan.tasks[dispatch.number].config
    undoes = config.rollback if dispatch.is_rollback else None
    return NewAttempt(
        number=dispatch.number,
        attempt=dispatch.attempt,
        task_type=config.task if undoes is None else undoes.task,
        executor=config.executor_id or executor,
        worker=worker,
        queue_timeout_s=None if config.queue_timeout_ms is None else config.queue_timeout_ms / 1000,
    )


def to_due(timers: Iterable[Timer]) -> tuple[Due, ...]:
    """The timers of a decision as the store takes them."""
    return tuple(Due(kind=t.kind, number=t.number, attempt=t.attempt, after_s=t.after_s) for t in timers)


def signal_of(progress: Progress) -> Signal | None:
    """What is to stand at an execution: whether it is being stopped."""
    return Signal.STOPPING if progress.stopping is not None and not progress.state.is_final else None


def to_outcome(plan: Plan, decision: Decision, parameters: Mapping[str, Value]) -> Outcome:
    """How an execution that is over answers: its OUT parameters, and the error that counts if it FAILED."""
    failed = decision.progress.state is ExecutionState.FAILED
    return Outcome(
        state=decision.progress.state,
        response={key: value for key, value in parameters.items() if key in plan.output_keys},
        error=decision.progress.error if failed else None,
    )


def start_messages(new: Iterable[NewExecution], types: TaskTypes) -> list[Message]:
    """The messages of the start tasks of executions that were just created; those of a bundle have the first one's."""
    messages, firsts = [], set[str]()
    for each in new:
        for attempt in each.ready:
            if attempt.rides_with == each.id:
                firsts.add(each.id)
            if attempt.rides_with == each.id or attempt.rides_with not in firsts:
                messages.append(to_message(each.id, attempt, types, priority=each.priority))
    return messages


def to_message(execution_id: str, attempt: NewAttempt, types: TaskTypes, *, priority: int) -> Message:
    """The message that runs a live attempt; if it is the first of a bundle, the bundle."""
    is_first = attempt.rides_with == execution_id
    return Message(
        name=BUNDLE_TASK if is_first else celery_name(attempt.task_type, types),
        execution_id=execution_id,
        number=attempt.number,
        attempt=attempt.attempt,
        round=0,
        executor=attempt.executor,
        priority=priority,
    )


def live_message(live: LiveAttempt, types: TaskTypes, *, priority: int) -> Message:
    """The message that has a live attempt claimed, in whatever phase it is."""
    if live.phase is not Phase.RUN:
        return join_message(Fired(key=live.key, executor=live.executor))
    attempt = NewAttempt(
        number=live.key.number,
        attempt=live.key.attempt,
        task_type=live.task_type,
        executor=live.executor,
        rides_with=live.rides_with,
    )
    return to_message(live.key.execution_id, attempt, types, priority=priority)


def join_message(fired: Fired) -> Message:
    """The message that joins a round of sub-executions."""
    return Message(
        name=JOIN_TASK,
        execution_id=fired.key.execution_id,
        number=fired.key.number,
        attempt=fired.key.attempt,
        round=fired.key.round,
        executor=fired.executor,
    )


def chunk_message(chunk: NewChunk) -> Message:
    """The message that has a chunk claimed."""
    key = chunk.key
    return Message(
        name=CHUNK_TASK,
        execution_id=key.execution_id,
        number=key.number,
        attempt=key.attempt,
        round=key.round,
        executor=chunk.executor,
        priority=chunk.priority,
        first_position=key.first_position,
    )


def celery_name(task_type: str, types: TaskTypes) -> str:
    """The Celery task that runs a task type; a worker that lacks the type still finds the row and says so."""
    known = types.get(task_type)
    return (known.celery_name or known.name) if known is not None else task_type
