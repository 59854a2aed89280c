"""Performing: one phase of one attempt, from the task type's code to the event that ``decide`` understands.

Whatever the code does - returns a step, raises, names a sub-integration that does not exist, gives an output that does
not fit - comes out as a ``Result``. Nothing is written here.
"""

from __future__ import annotations

import hashlib
import time
import traceback
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from datetime import datetime
from typing import Final

from orchestrator.engine.events import ChildrenStarted, Failed, Returned, Stopped, Succeeded, Suspended, TaskOutcome
from orchestrator.engine.limits import every_key, integration_limit
from orchestrator.engine.plan import Plan
from orchestrator.errors import InvalidValue, OrchestratorError, TaskError, Unreachable
from orchestrator.model.fields import is_storable
from orchestrator.model.history import ErrorInfo
from orchestrator.model.json_text import Json
from orchestrator.model.quick_dataclass import quick_dataclass
from orchestrator.model.task_types import Child, Done, Join, StartChildren, Step, Suspend, TaskContext, TaskType
from orchestrator.model.values import Value
from orchestrator.service.chunking import FEW, cut, is_chunkable
from orchestrator.service.details import Details
from orchestrator.service.guarding import CUT_OFF_S, AttemptEnded, Ending, Watch
from orchestrator.service.limits import has_limits
from orchestrator.service.patience import patiently
from orchestrator.service.services import Services
from orchestrator.service.start import EXECUTION_MODE, SYNC, new_execution
from orchestrator.service.suspensions import new_suspension
from orchestrator.store.changes import Due, NewExecution, NewSuspension, Wait
from orchestrator.store.kinds import MAX_NAME, AttemptKey, Method, ParentLink, Wish, proof_of_end
from orchestrator.store.rows import Claimed, NewChunk

_SHORTEST_S: Final = 0.001
_SIGNAL_HANDLER: Final = "_shutdown_cleanup"  # billiard.common
MAX_MESSAGE: Final = 10_000  # characters of an error's message; it is kept with the execution, not only in the history


@quick_dataclass
class Result:
    """What performing gave: the event for ``decide``, and what goes with it."""

    event: TaskOutcome
    started_at: datetime
    ended_at: datetime
    children: tuple[NewExecution, ...] = ()
    chunks: tuple[NewChunk, ...] = ()
    wait: Wait | None = None
    details: Mapping[str, Json] | None = None
    suspension: NewSuspension | None = None
    timers: tuple[Due, ...] = ()


class Wishes:
    """What is wanted of an attempt, as far as is known. The guard asks, in a thread of its own.

    A process that is cut off from the database gives back what it runs: others take it over, and what is CANCELLED
    must have ended by the time they may say so.
    """

    def __init__(self, ask: Callable[[], Wish]) -> None:
        self._ask, self._heard_at = ask, time.monotonic()
        self.last = Wish.GO_ON

    def is_wanted(self) -> bool:
        """Whether the code is to go on."""
        try:
            self.last = self._ask()
            self._heard_at = time.monotonic()
        except Unreachable:
            if time.monotonic() - self._heard_at < CUT_OFF_S:
                raise
            self.last = Wish.GIVE_BACK
        return self.last is Wish.GO_ON


class Performer:
    """Runs the task code of one claimed execution. ``clock`` gives the database's time."""

    def __init__(self, claimed: Claimed, plan: Plan, services: Services, *, clock: Callable[[], datetime]) -> None:
        self._claimed, self._stored, self._plan = claimed, claimed.execution, plan
        self._services, self._clock = services, clock
        self._id = claimed.execution.id

    def of_sibling(self, execution_id: str) -> Performer:
        """That of an execution that differs from this one in its id, its times and its parameters alone."""
        sibling = Performer(self._claimed, self._plan, self._services, clock=self._clock)
        sibling._id = execution_id
        return sibling

    def stop(self, number: int, attempt: int, round: int = 0) -> Result:  # noqa: A002 - the word is ours
        """The task is to end: its code does not run. After a round of sub-executions it had begun."""
        now = self._clock()
        return Result(
            event=Stopped(number=number, attempt=attempt, was_running=round > 0), started_at=now, ended_at=now
        )

    def perform(
        self,
        number: int,
        attempt: int,
        round: int,  # noqa: A002 - the word is ours
        *,
        parameters: Mapping[str, Value],
        is_rollback: bool = False,
    ) -> Result:
        """Run the code; round 0 is the attempt itself, a higher one the join of that round of sub-executions."""
        started_at, details = self._clock(), Details()
        try:
            step = self._run_code(number, attempt, round, parameters, details, now=started_at, is_rollback=is_rollback)
            if is_rollback and not isinstance(step, Done):
                what = "wait for an answer" if isinstance(step, Suspend) else "start sub-executions"
                raise TaskError(f"a rollback cannot {what}", "FAILED_PRECONDITION")
            result = self._to_result(step, number, attempt, round, started_at=started_at, suspends=not is_rollback)
        except AttemptEnded as ended:
            result = self._ended(ended, number, attempt, started_at=started_at)
        except Exception as error:  # whatever task code raises is the attempt's failure
            event = Failed(number=number, attempt=attempt, error=_to_error(error), jitter=self._services.jitter())
            result = Result(event=event, started_at=started_at, ended_at=self._clock())
        return result if details.is_empty else replace(result, details=details.beside(result.details))

    def _run_code(
        self,
        number: int,
        attempt: int,
        round: int,  # noqa: A002
        parameters: Mapping[str, Value],
        details: Details,
        *,
        now: datetime,
        is_rollback: bool,
    ) -> Step:
        config = self._plan.tasks[number].config
        work = config.rollback if is_rollback and config.rollback is not None else config
        task_type = self._services.types.get(work.task)
        if task_type is None:
            raise TaskError(
                f"this worker does not know task type {work.task!r}; start it with --include MODULE", "TASK_NOT_FOUND"
            )
        run = self._prepared(task_type, round)
        try:
            with self._watched(number, attempt, round, is_rollback=is_rollback) as watch:
                context = self._context(
                    number, attempt, work.parameters, parameters, now=now, watch=watch, details=details
                )
                return run(context)
        except SystemExit as error:
            if is_from_outside(error):
                raise
            raise TaskError(f"the task's code called sys.exit({error.code!r})", "SYSTEM_EXIT") from error

    def _prepared(self, task_type: TaskType, round: int) -> Callable[[TaskContext], Step]:  # noqa: A002
        """The code to run, with what the store has to say to it read before."""
        if round == 0:
            return task_type.run
        join_step, key, store = task_type.join, self._claimed.key, self._services.store
        assert join_step is not None, f"{task_type.name} started sub-executions and cannot join them"
        join = Join(
            round=round,
            outcomes=patiently(lambda _: store.outcomes(key)),
            carry=self._claimed.carry,
            all_outcomes=lambda: store.outcomes(key, every_round=True),
        )
        return lambda context: join_step(context, join)

    def _watched(
        self,
        number: int,
        attempt: int,
        round: int,  # noqa: A002
        *,
        is_rollback: bool,
    ) -> AbstractContextManager[Watch]:
        """The guard of this phase. What is left of the attempt's timeout is the phase's."""
        store, task = self._services.store, self._plan.tasks[number]
        timeout_s = None
        if task.config.timeout_ms is not None:
            spent_s = (self._clock() - self._claimed.started_at).total_seconds()
            timeout_s = max(task.config.timeout_ms / 1000 - spent_s, _SHORTEST_S)

        def ask() -> Wish:
            key = AttemptKey(execution_id=self._id, number=number, attempt=attempt, round=round)
            if task.is_light and not is_rollback:  # its row may not be written yet
                return Wish.STOP if store.is_stopping(key) else Wish.GO_ON
            return store.wish(key, worker=self._claimed.worker)

        self._wishes = Wishes(ask)
        return self._services.guard.watch(timeout_s=timeout_s, is_wanted=self._wishes.is_wanted)

    def _context(
        self,
        number: int,
        attempt: int,
        config: Mapping[str, Value],
        parameters: Mapping[str, Value],
        *,
        now: datetime,
        watch: Watch,
        details: Details,
    ) -> TaskContext:
        stored = self._stored
        return TaskContext(
            execution_id=self._id,
            integration=stored.integration,
            project=stored.project,
            location=stored.location,
            task_number=number,
            attempt=attempt,
            now=now,
            config=config,
            parameters=parameters,
            surroundings=self._services.surroundings,
            is_sync=parameters[EXECUTION_MODE].data == SYNC,
            cancelled=watch.is_cancelled,
            set_grace=watch.set_grace,
            record=details.record,
        )

    def _ended(self, ended: AttemptEnded, number: int, attempt: int, *, started_at: datetime) -> Result:
        """The guard ended the code: a failure if it took too long, else what was asked for."""
        timeout_ms = self._plan.tasks[number].config.timeout_ms
        event: TaskOutcome = Stopped(number=number, attempt=attempt, was_running=True)
        if self._wishes.last is Wish.GIVE_BACK:
            event = Returned(number=number, attempt=attempt)
        if ended.ending is Ending.TIMEOUT and timeout_ms is not None:
            error = timeout_error(timeout_ms / 1000)
            event = Failed(number=number, attempt=attempt, error=error, jitter=self._services.jitter())
        proof = proof_of_end(self._claimed.worker, "an exception that was raised in its code")
        return Result(event=event, started_at=started_at, ended_at=self._clock(), details=proof)

    def _to_result(
        self,
        step: Step,
        number: int,
        attempt: int,
        round: int,  # noqa: A002
        *,
        started_at: datetime,
        suspends: bool,
    ) -> Result:
        ended_at = self._clock()
        outputs = self._plan.typed({} if isinstance(step, StartChildren) and step.wait else step.outputs)
        _check_names(outputs)
        match step:
            case Done() if not (suspends and self._plan.tasks[number].config.suspends):
                event: TaskOutcome = Succeeded(number=number, attempt=attempt, outputs=outputs)
                return Result(event=event, started_at=started_at, ended_at=ended_at)
            case Done():
                event = Suspended(number=number, attempt=attempt, outputs=outputs)
                waits = NewSuspension(number=number, attempt=attempt, terms={})
                return Result(event=event, started_at=started_at, ended_at=ended_at, suspension=waits)
            case Suspend():
                event = Suspended(number=number, attempt=attempt, outputs=outputs)
                _check_names(filter(None, (step.result_name, step.payload_name)))
                waits, timers = new_suspension(step, number, attempt)
                return Result(event=event, started_at=started_at, ended_at=ended_at, suspension=waits, timers=timers)
            case StartChildren(wait=False):
                children = self._new_children(step.children, number, attempt, None, first=0)
                event = Succeeded(number=number, attempt=attempt, outputs=outputs)
                return Result(event=event, started_at=started_at, ended_at=ended_at, children=children)
            case StartChildren():
                first = self._claimed.next_position if round else 0
                chunks = self._new_chunks(step.children, number, attempt, round + 1, first=first)
                children = () if chunks else self._new_children(step.children, number, attempt, round + 1, first=first)
                wait = Wait(
                    number=number,
                    attempt=attempt,
                    round=round + 1,
                    executor=self._plan.tasks[number].config.executor_id or self._stored.executor,
                    children=len(step.children),
                    arrived=sum(child.outcome is not None for child in children),
                    first_position=first,
                    carry=step.carry,
                )
                event = ChildrenStarted(number=number, attempt=attempt)
                details: dict[str, Json] = {"children": len(step.children), "round": round + 1}
                if chunks:
                    details["chunks"] = len(chunks)
                return Result(
                    event=event,
                    started_at=started_at,
                    ended_at=ended_at,
                    children=children,
                    chunks=chunks,
                    wait=wait,
                    details=details,
                )

    def _new_chunks(
        self,
        wanted: Sequence[Child],
        number: int,
        attempt: int,
        round: int,  # noqa: A002
        *,
        first: int,
    ) -> tuple[NewChunk, ...]:
        """A round of sub-executions that runs in chunks; none if it does not."""
        stored, names = self._stored, {(child.integration, child.trigger_id) for child in wanted}
        if len(wanted) <= FEW or len(names) > 1:
            return ()
        version_id, plan = self._find(*names.pop())
        if not is_chunkable(plan, self._services.types, executor=stored.executor) or self._is_limited(plan):
            return ()
        return cut(
            wanted,
            plan,
            version_id=version_id,
            join=AttemptKey(execution_id=self._id, number=number, attempt=attempt, round=round),
            first_position=first,
            executor=stored.executor,
            priority=stored.priority,
        )

    def _is_limited(self, plan: Plan) -> bool:
        name = integration_limit(self._stored.project, self._stored.location, plan.version.name)
        return patiently(lambda _: has_limits(self._services, {name, every_key(name)}))

    def _new_children(
        self,
        wanted: Sequence[Child],
        number: int,
        attempt: int,
        round: int | None,  # noqa: A002
        *,
        first: int,
    ) -> tuple[NewExecution, ...]:
        stored, id_of = self._stored, child_ids(self._id, number, attempt)
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
                    execution_id=id_of(position),
                    version_id=version_id,
                    project=stored.project,
                    location=stored.location,
                    method=Method.POST_TO_QUEUE if round is None else Method.POST,
                    executor=stored.executor,
                    root_id=stored.root_id,
                    priority=stored.priority,
                    parent=ParentLink(
                        execution_id=self._id, number=number, attempt=attempt, round=round, position=position
                    ),
                )
            )
        return tuple(children)

    def _find(self, integration: str, trigger_id: str) -> tuple[str, Plan]:
        def find(_: bool) -> tuple[str, Plan]:
            version_id = self._services.versions.find(
                integration, trigger_id=trigger_id, project=self._stored.project, location=self._stored.location
            )
            return version_id, self._services.plans.get(version_id, trigger_id)

        return patiently(find)


def child_ids(parent_id: str, number: int, attempt: int) -> Callable[[int], str]:
    """The ids of an attempt's sub-executions, by position: who starts one again starts the same one.

    They are UUIDs that begin alike and are in the order of positions. So what is written together lies together in the
    indexes; for ids all over them PostgreSQL takes a quarter more time, and the more the larger the table is.
    """
    digits = hashlib.sha256(f"{parent_id}.{number}.{attempt}".encode()).hexdigest()
    start = f"{digits[:8]}-{digits[8:12]}-8{digits[12:15]}-8{digits[15:18]}-{digits[18:22]}"
    return lambda position: f"{start}{position:08x}"


def is_from_outside(error: SystemExit) -> bool:
    """Whether a signal to this process brought it about: in a pool process billiard raises it in its handler.

    The module alone does not tell: ``sys.exit`` itself is billiard's there.
    """
    return any(frame.f_code.co_name == _SIGNAL_HANDLER for frame, _ in traceback.walk_tb(error.__traceback__))


def timeout_error(timeout_s: float) -> ErrorInfo:
    """Why an attempt that took too long FAILED."""
    return ErrorInfo(message=f"the attempt took longer than its timeout of {timeout_s:g} s", code="EXECUTION_TIMEOUT")


def _check_names(names: Iterable[str]) -> None:
    for key in names:
        if not is_storable(key) or not 0 < len(key) <= MAX_NAME:
            expected = f"a parameter's name: 1 to {MAX_NAME} characters without NUL and surrogates"
            raise InvalidValue("outputs", repr(key)[:60], expected)


def _to_error(error: Exception) -> ErrorInfo:
    code: str | int = "INTERNAL_ERROR"
    if isinstance(error, TaskError):
        code = error.code if isinstance(error.code, int) else str(error.code)
    elif isinstance(error, OrchestratorError):
        code = "INVALID_ARGUMENT"
    is_ours = isinstance(error, OrchestratorError)
    return ErrorInfo(
        message=(str(error) or type(error).__name__)[:MAX_MESSAGE],
        code=code,
        type=type(error).__name__,
        traceback="" if is_ours else "".join(traceback.format_exception(error)),
    )
