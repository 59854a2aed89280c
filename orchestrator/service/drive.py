"""Driving an execution: claim an attempt, run it, decide, commit, publish, and go on with light tasks in line.

One ``drive`` is what one message causes. It holds the execution in memory from the claim to the last commit:

    claim -> run -> decide -> (a light task is ready? run it too, in the same batch) -> commit -> publish

A batch is bounded: it is written after ``BATCH_TASKS`` outcomes, or ``BATCH_S`` after its first, whichever is sooner. A
crash loses at most one batch of light tasks, which have no side effects and run again. A heavy task is always a
message and a claim of its own.

If somebody else moved the execution on in the meantime, the batch is decided again on what is there now. What this
worker holds and what no longer fits is noted as late; a light task that ran ahead of the commit and is not ready any
more, or ready in somebody else's hands, never began. If the attempt is not this worker's any more, the whole batch is
dropped.
"""

from __future__ import annotations

import logging
import time
import traceback
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

from orchestrator.engine.canvas import JOIN_TASK, Chord, Message
from orchestrator.engine.decide import (
    ChildrenStarted,
    Decision,
    Dispatch,
    Failed,
    Stopped,
    Succeeded,
    Suspended,
    TaskOutcome,
    decide,
)
from orchestrator.engine.plan import Plan
from orchestrator.engine.progress import pack, unpack
from orchestrator.errors import InvalidValue, OrchestratorError, TaskError
from orchestrator.model.fields import is_storable
from orchestrator.model.history import Entry, EntryKind, ErrorInfo
from orchestrator.model.json_text import Json
from orchestrator.model.task_types import (
    Child,
    Done,
    Join,
    StartChildren,
    Step,
    Suspend,
    TaskContext,
    TaskSurroundings,
    TaskTypes,
)
from orchestrator.model.values import Value
from orchestrator.service.plans import Plans
from orchestrator.service.start import (
    Publisher,
    new_attempt,
    new_execution,
    start_messages,
    to_message,
    to_outcome,
    with_system_variables,
)
from orchestrator.store.executions import ExecutionStore
from orchestrator.store.rows import (
    MAX_NAME,
    AttemptKey,
    Claimed,
    Commit,
    Due,
    Fired,
    Method,
    NewExecution,
    ParentLink,
    Refusal,
    StoredExecution,
    Wait,
)
from orchestrator.store.versions import VersionStore

log = logging.getLogger(__name__)

BATCH_TASKS: Final = 100
BATCH_S: Final = 0.05
_CHILD_IDS: Final = uuid.UUID("6f726368-6573-5472-8174-6f7263686964")  # the namespace of derived execution ids


@dataclass(frozen=True, kw_only=True, slots=True)
class Services:
    """What a drive works with."""

    store: ExecutionStore
    versions: VersionStore
    plans: Plans
    types: TaskTypes
    publisher: Publisher
    surroundings: TaskSurroundings
    jitter: Callable[[], float]


@dataclass(frozen=True, kw_only=True, slots=True)
class _Result:
    """What running one phase of an attempt gave: the event for ``decide``, and what goes with it."""

    event: TaskOutcome
    started_at: datetime
    ended_at: datetime
    children: tuple[NewExecution, ...] = ()
    wait: Wait | None = None
    details: dict[str, Json] | None = None


def drive(key: AttemptKey, *, worker: str, services: Services) -> bool:
    """Do what a message asks for.

    Returns:
        False if there was nothing to claim and the message was dropped.
    """
    claimed = services.store.claim(key, worker=worker)
    if claimed is None:
        log.info("message dropped: claimed before, over, or of another attempt", extra={"key": key})
        return False
    _Drive(claimed, services).run()
    return True


class _Drive:
    """One claimed execution, in memory until the last commit."""

    def __init__(self, claimed: Claimed, services: Services) -> None:
        self.claimed, self.services = claimed, services
        stored = claimed.execution
        self.plan = services.plans.get(stored.version_id, stored.trigger_id)
        self.is_sync = stored.method is Method.POST
        self._clock_zero = time.monotonic()
        self._held = {claimed.key.number: claimed.key}  # live attempts whose row names this worker
        self._kept: dict[int, Dispatch] = {}  # those of them that are light and still to be run in line
        self._results: list[_Result] = []  # of the batch that is not committed yet
        self._first_result_at = 0.0
        self._rebase(stored, claimed.parameters)

    # -- the loop --------------------------------------------------------------------------------------------------

    def run(self) -> None:
        key = self.claimed.key
        self._add(self._perform(key.number, key.attempt, key.round))
        while True:
            ahead = self._next_in_line()
            if ahead is None or self._is_due():
                if not self._commit():
                    return
                ahead = self._next_in_line()
            if ahead is None:
                return
            self._add(self._perform(ahead.number, ahead.attempt))

    def _next_in_line(self) -> Dispatch | None:
        """A light task that this drive goes on with: kept from an earlier commit, or ready since."""
        ahead = [*self._kept.values(), *(each for each in self._ready.values() if self._is_mine(each))]
        waiting = {wait.number for wait in self._waits}
        return next((each for each in ahead if each.number not in self._over | waiting), None)

    def _is_mine(self, dispatch: Dispatch) -> bool:
        task = self.plan.tasks[dispatch.number]
        return task.is_light and task.config.executor_id in (None, self.claimed.executor)

    def _is_due(self) -> bool:
        return len(self._results) >= BATCH_TASKS or time.monotonic() - self._first_result_at >= BATCH_S

    def _now(self) -> datetime:
        """The database's clock, carried on by this machine's monotonic one."""
        return self.claimed.now + timedelta(seconds=time.monotonic() - self._clock_zero)

    # -- the batch -------------------------------------------------------------------------------------------------

    def _rebase(self, stored: StoredExecution, parameters: dict[str, Value]) -> None:
        """Stand on what the database says; decide the batch's results again on top of it."""
        self.stored = stored
        self.progress = unpack(self.plan, stored.progress, stored.state)
        self.parameters = with_system_variables(parameters, is_sync=self.is_sync)
        self._clear_batch()
        results, self._results = self._results, []
        for result in results:
            if self._is_held(result.event):
                self._results.append(result)
                self._decide(result)

    def _is_held(self, event: TaskOutcome) -> bool:
        """Whether the attempt's row names this worker, or will with this batch: then nobody else can run it."""
        held = self._held.get(event.number) or self._ready.get(event.number)
        return held is not None and held.attempt == event.attempt

    def _clear_batch(self) -> None:
        self._entries: list[Entry] = []
        self._changed: dict[str, Value] = {}
        self._ready: dict[int, Dispatch] = {}
        self._over: set[int] = set()
        self._waits: list[Wait] = []
        self._children: list[NewExecution] = []
        self._timers: list[Due] = []
        self._decision: Decision | None = None

    def _add(self, result: _Result) -> None:
        if not self._results:
            self._first_result_at = time.monotonic()
        self._results.append(result)
        self._decide(result)

    def _decide(self, result: _Result) -> None:
        event = result.event
        decision = decide(self.plan, self.progress, event, parameters=self.parameters, is_sync=self.is_sync)
        self._entries.append(_entry(result, decision, worker=self.claimed.worker))
        if result.wait is None or decision.is_late:
            self._over.add(event.number)
            self._ready.pop(event.number, None)
        if decision.is_late:
            return
        self._decision, self.progress = decision, decision.progress
        self.parameters.update(decision.parameters)
        self._changed.update(decision.parameters)
        self._children.extend(result.children)
        if result.wait is not None:
            self._waits.append(result.wait)
        self._ready.update({each.number: each for each in decision.dispatch})
        self._timers.extend(Due(number=t.number, attempt=t.attempt, after_s=t.after_s) for t in decision.timers)

    # -- writing ---------------------------------------------------------------------------------------------------

    def _commit(self) -> bool:
        """Write the batch, deciding again as often as somebody else was faster. False: the work was taken away."""
        while True:
            change = self._change()
            written = self.services.store.commit(change)
            if written is Refusal.FENCED:
                log.warning(
                    "result refused: the attempt is not this worker's any more", extra={"key": self.claimed.key}
                )
                return False
            if written is not Refusal.STALE:
                break
            stored, parameters = self.services.store.read(self.stored.id)
            if stored.state.is_final:
                log.warning("result refused: the execution is over", extra={"key": self.claimed.key})
                return False
            self._rebase(stored, parameters)
        self._publish(change, written)
        self._stand_on(change)
        return True

    def _change(self) -> Commit:
        progress, stored = self.progress, self.stored
        waiting = {wait.number for wait in self._waits}
        ready = []
        for each in self._ready.values():
            is_kept = each.number in waiting or self._is_mine(each)
            worker = self.claimed.worker if is_kept else None
            ready.append(new_attempt(self.plan, each, executor=stored.executor, worker=worker))
        is_over = progress.state.is_final and self._decision is not None
        return Commit(
            execution=stored,
            worker=self.claimed.worker,
            state=progress.state,
            progress=pack(self.plan, progress),
            entries=tuple(self._entries),
            parameters=self._changed,
            released=tuple(key for number, key in self._held.items() if number in self._over),
            waits=tuple(self._waits),
            ready=tuple(ready),
            children=tuple(self._children),
            timers=tuple(self._timers),
            outcome=to_outcome(self.plan, self._decision, self.parameters) if is_over and self._decision else None,
        )

    def _publish(self, change: Commit, fired: Sequence[Fired]) -> None:
        types = self.services.types
        messages: list[Message | Chord] = [
            to_message(change.execution.id, each, types) for each in change.ready if each.worker is None
        ]
        messages += self._children_messages(change)
        messages += [_join_message(each) for each in fired]
        if messages:
            self.services.publisher.publish(messages)

    def _children_messages(self, change: Commit) -> list[Message | Chord]:
        """A round of several children is a chord; one child, or children that nobody waits for, are plain messages."""
        messages: list[Message | Chord] = []
        for wait in change.waits:
            mine = [c for c in change.children if c.parent and c.parent.number == wait.number and c.parent.round]
            header = start_messages(mine, self.services.types)
            body = _join_message(
                Fired(
                    key=AttemptKey(
                        execution_id=change.execution.id,
                        number=wait.number,
                        attempt=self.progress.status(wait.number).attempt,
                        round=wait.round,
                    ),
                    task_type=self.plan.tasks[wait.number].config.task,
                    executor=self.plan.tasks[wait.number].config.executor_id or change.execution.executor,
                )
            )
            messages += [Chord(header=header, body=body)] if len(header) > 1 else header
        on_their_own = [child for child in change.children if child.parent and child.parent.round is None]
        return messages + list(start_messages(on_their_own, self.services.types))

    def _stand_on(self, change: Commit) -> None:
        """The batch is written: what follows builds on it."""
        waiting = {wait.number for wait in change.waits}
        for number in self._over | waiting:
            self._held.pop(number, None)
            self._kept.pop(number, None)
        for each in change.ready:
            if each.worker is not None and each.number not in waiting:
                self._kept[each.number] = Dispatch(number=each.number, attempt=each.attempt)
                self._held[each.number] = AttemptKey(
                    execution_id=self.stored.id, number=each.number, attempt=each.attempt
                )
        revision = self.stored.revision + len(change.entries)
        self.stored = replace(self.stored, revision=revision, state=change.state, progress=change.progress)
        self._results = []
        self._clear_batch()

    # -- running task code -----------------------------------------------------------------------------------------

    def _perform(self, number: int, attempt: int, round: int = 0) -> _Result:  # noqa: A002 - the word is ours
        started_at = self._now()
        if self.progress.stopping is not None:
            event: TaskOutcome = Stopped(number=number, attempt=attempt, was_running=round > 0)
            return _Result(event=event, started_at=started_at, ended_at=started_at)
        try:
            step = self._run_code(number, attempt, round)
            result = self._to_result(step, number, attempt, round)
        except Exception as error:  # whatever task code raises is the attempt's failure
            jitter = self.services.jitter()
            event = Failed(number=number, attempt=attempt, error=_to_error(error), jitter=jitter)
            result = _Result(event=event, started_at=started_at, ended_at=started_at)
        return replace(result, started_at=started_at, ended_at=self._now())

    def _run_code(self, number: int, attempt: int, round: int) -> Step:  # noqa: A002
        config = self.plan.tasks[number].config
        task_type = self.services.types.get(config.task)
        if task_type is None:
            raise TaskError(
                f"this worker does not know task type {config.task!r}; start it with --include MODULE", "TASK_NOT_FOUND"
            )
        stored = self.stored
        context = TaskContext(
            execution_id=stored.id,
            integration=stored.integration,
            project=stored.project,
            location=stored.location,
            task_number=number,
            attempt=attempt,
            now=self._now(),
            config=config.parameters,
            parameters=self.parameters,
            surroundings=self.services.surroundings,
            is_sync=self.is_sync,
        )
        if round == 0:
            return task_type.run(context)
        assert task_type.join is not None, f"{config.task} started sub-executions and cannot join them"
        key, store = self.claimed.key, self.services.store
        return task_type.join(
            context,
            Join(
                round=round,
                outcomes=store.outcomes(key),
                carry=self.claimed.carry,
                all_outcomes=lambda: store.outcomes(key, every_round=True),
            ),
        )

    def _to_result(self, step: Step, number: int, attempt: int, round: int) -> _Result:  # noqa: A002
        now = self._now()
        outputs = self.plan.typed({} if isinstance(step, StartChildren) and step.wait else step.outputs)
        _check_names(outputs)
        match step:
            case Done() if not self.plan.tasks[number].config.suspends:
                event: TaskOutcome = Succeeded(number=number, attempt=attempt, outputs=outputs)
                return _Result(event=event, started_at=now, ended_at=now)
            case Done():
                event = Suspended(number=number, attempt=attempt, outputs=outputs)
                return _Result(event=event, started_at=now, ended_at=now)
            case Suspend():
                event = Suspended(number=number, attempt=attempt, outputs=outputs)
                return _Result(event=event, started_at=now, ended_at=now, details=_terms(step))
            case StartChildren(wait=False):
                children = self._new_children(step.children, number, attempt, None, first=0)
                event = Succeeded(number=number, attempt=attempt, outputs=outputs)
                return _Result(event=event, started_at=now, ended_at=now, children=children)
            case StartChildren():
                first = self.claimed.next_position if round else 0
                children = self._new_children(step.children, number, attempt, round + 1, first=first)
                wait = Wait(
                    number=number,
                    round=round + 1,
                    children=len(children),
                    arrived=sum(child.outcome is not None for child in children),
                    first_position=first,
                    carry=step.carry,
                )
                event = ChildrenStarted(number=number, attempt=attempt)
                details: dict[str, Json] = {"children": len(children), "round": round + 1}
                return _Result(event=event, started_at=now, ended_at=now, children=children, wait=wait, details=details)

    def _new_children(
        self,
        wanted: Sequence[Child],
        number: int,
        attempt: int,
        round: int | None,  # noqa: A002
        *,
        first: int,
    ) -> tuple[NewExecution, ...]:
        stored = self.stored
        found: dict[tuple[str, str], tuple[str, Plan]] = {}
        children = []
        for position, child in enumerate(wanted, first):
            name = (child.integration, child.trigger_id)
            if name not in found:
                found[name] = self._find(*name)
            version_id, plan = found[name]
            children.append(
                new_execution(
                    plan,
                    child.parameters,
                    execution_id=str(uuid.uuid5(_CHILD_IDS, f"{stored.id}.{number}.{attempt}.{position}")),
                    version_id=version_id,
                    project=stored.project,
                    location=stored.location,
                    method=Method.POST_TO_QUEUE if round is None else Method.POST,
                    executor=stored.executor,
                    root_id=stored.root_id,
                    parent=ParentLink(
                        execution_id=stored.id, number=number, attempt=attempt, round=round, position=position
                    ),
                )
            )
        return tuple(children)

    def _find(self, integration: str, trigger_id: str) -> tuple[str, Plan]:
        version_id = self.services.versions.find(
            integration, trigger_id=trigger_id, project=self.stored.project, location=self.stored.location
        )
        return version_id, self.services.plans.get(version_id, trigger_id)


_KINDS: Final[dict[type[TaskOutcome], EntryKind]] = {
    Succeeded: EntryKind.SUCCEEDED,
    Failed: EntryKind.FAILED,
    Suspended: EntryKind.SUSPENDED,
    ChildrenStarted: EntryKind.CHILDREN_STARTED,
    Stopped: EntryKind.STOPPED,
}


def _entry(result: _Result, decision: Decision, *, worker: str) -> Entry:
    event = result.event
    return Entry(
        kind=EntryKind.LATE if decision.is_late else _KINDS[type(event)],
        task_number=event.number,
        attempt=event.attempt,
        started_at=result.started_at,
        ended_at=result.ended_at,
        worker=worker,
        states=decision.states,
        edges=decision.edges,
        parameters=decision.parameters,
        error=event.error if isinstance(event, Failed) else None,
        details=result.details or {},
    )


def _check_names(outputs: Mapping[str, Value]) -> None:
    for key in outputs:
        if not is_storable(key) or not 0 < len(key) <= MAX_NAME:
            expected = f"a parameter's name: 1 to {MAX_NAME} characters without NUL and surrogates"
            raise InvalidValue("outputs", repr(key)[:60], expected)


def _to_error(error: Exception) -> ErrorInfo:
    code: str | int = "INTERNAL_ERROR"
    if isinstance(error, TaskError):
        code = error.code
    elif isinstance(error, OrchestratorError):
        code = "INVALID_ARGUMENT"
    is_ours = isinstance(error, OrchestratorError)
    return ErrorInfo(
        message=str(error) or type(error).__name__,
        code=code,
        type=type(error).__name__,
        traceback="" if is_ours else "".join(traceback.format_exception(error)),
    )


def _terms(step: Suspend) -> dict[str, Json]:
    terms: dict[str, Json] = {
        "message": step.message,
        "resultName": step.result_name,
        "whoMayResolve": list(step.who_may_resolve),
        "remindAfterS": step.remind_after_s,
        "expireAfterS": step.expire_after_s,
        "liftWhenExpired": step.lift_when_expired,
    }
    return {key: content for key, content in terms.items() if content not in (None, "", [])}


def _join_message(fired: Fired) -> Message:
    return Message(
        name=JOIN_TASK,
        execution_id=fired.key.execution_id,
        number=fired.key.number,
        attempt=fired.key.attempt,
        round=fired.key.round,
        executor=fired.executor,
    )
