"""Ways: executions of one plan, one after another in memory, each from its first task as far as light tasks lead.

Each is decided and performed by what ``drive`` uses for any other execution, so its rows and its history are the same.

Where no edge of the plan has a condition, parameters decide nothing: all that begin alike and whose tasks SUCCEED go
the same way, which is decided for the first of them. The others perform its tasks and take over what was decided. One
that leaves the way, by a failure for instance, is decided like the first, from what it has performed so far; tests hold
both to the same.

What must not happen: an execution that follows a way and was not begun alike. So a way is kept with the progress that
it began at.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import datetime

from orchestrator.engine.decisions import Dispatch
from orchestrator.engine.events import Succeeded
from orchestrator.engine.plan import Plan
from orchestrator.engine.progress import unpack
from orchestrator.model.history import Entry, EntryKind, Outcome
from orchestrator.model.quick_dataclass import quick_dataclass
from orchestrator.model.values import Value
from orchestrator.service.batch import Batch
from orchestrator.service.guarding import Watch
from orchestrator.service.perform import Performer, Result
from orchestrator.service.services import Services
from orchestrator.service.start import NOTHING, runs_sync, with_system_variables
from orchestrator.store.changes import Commit
from orchestrator.store.rows import Claimed


@quick_dataclass
class End:
    """How one came to its end; of the first one whose tasks all SUCCEEDed it is the way of the others."""

    progress: str
    outcome: Outcome
    entries: tuple[Entry, ...]

    def to_commit(self, claimed: Claimed) -> Commit:
        """What writing it takes, where its first task was claimed in the database."""
        return Commit(
            execution=claimed.execution,
            worker=claimed.worker,
            state=self.outcome.state,
            progress=self.progress,
            entries=self.entries,
            released=(claimed.key,),
            outcome=self.outcome,
        )


class Ways:
    """Runs claimed executions of one plan. ``clock`` gives the database's time."""

    def __init__(self, plan: Plan, services: Services, *, clock: Callable[[], datetime]) -> None:
        self._plan, self._services, self._clock = plan, services, clock
        self._are_alike = all(edge.condition is None for edge in plan.edges)
        self._way: End | None = None
        self._began_at, self._begun = "", NOTHING  # the progress that the way begins at, as text and as it is

    def run(self, claimed: Claimed, kept: Iterable[Dispatch], results: list[Result]) -> End | None:
        """Run one.

        Args:
            claimed: what a claim has handed out, or would have.
            kept: the tasks that it begins with.
            results: takes what came of each task.

        Returns:
            Its end; None if there is more to it than light tasks.
        """
        performer = self.performer(claimed)
        if self.leads_on(claimed.execution.progress):
            is_sync = runs_sync(claimed.execution.method, self._begun)
            end = self.follow(performer, claimed.parameters, results, is_sync=is_sync)
            if end is not None:
                return end
        return self.find(performer, claimed, kept, results)

    def performer(self, claimed: Claimed) -> Performer:
        """What runs the tasks of an execution."""
        return Performer(claimed, self._plan, self._services, clock=self._clock)

    def find(
        self, performer: Performer, claimed: Claimed, kept: Iterable[Dispatch], results: list[Result]
    ) -> End | None:
        """Decide what comes of each task, as ``run`` says, for one that follows no way or has left it."""
        batch = Batch(claimed, self._plan, kept=kept)
        for result in results:
            batch.add(result)
        while (ahead := batch.next_in_line()) is not None:
            result = performer.perform(ahead.number, ahead.attempt, 0, parameters=batch.parameters)
            results.append(result)
            batch.add(result)
        change = batch.to_commit()
        if change.outcome is None or change.children or change.chunks:
            return None
        end = End(progress=change.progress, outcome=change.outcome, entries=change.entries)
        if self._are_alike and all(entry.kind is EntryKind.SUCCEEDED for entry in end.entries):
            stored, self._way = claimed.execution, end
            self._began_at, self._begun = stored.progress, unpack(self._plan, stored.progress, stored.state)
        return end

    def leads_on(self, progress: str) -> bool:
        """Whether a way is known that begins so."""
        return self._way is not None and self._began_at == progress

    def follow(
        self, performer: Performer, given: Mapping[str, Value], results: list[Result], *, is_sync: bool
    ) -> End | None:
        """Perform the tasks of the way that ``leads_on``, with these parameters; None if one of them leaves it."""
        way = self._way
        assert way is not None
        parameters, entries = with_system_variables(given, is_sync=is_sync), []
        for step in way.entries:
            result = performer.perform(step.task_number, step.attempt, 0, parameters=parameters)
            results.append(result)
            if not isinstance(result.event, Succeeded) or result.children:
                return None
            parameters.update(result.event.outputs)
            entries.append(
                Entry(
                    kind=step.kind,
                    task_number=step.task_number,
                    attempt=step.attempt,
                    started_at=result.started_at,
                    ended_at=result.ended_at,
                    worker=step.worker,
                    states=step.states,
                    edges=step.edges,
                    parameters=result.event.outputs,
                    details=result.details or {},
                )
            )
        response = {key: value for key, value in parameters.items() if key in self._plan.output_keys}
        outcome = Outcome(state=way.outcome.state, response=response)
        return End(progress=way.progress, outcome=outcome, entries=tuple(entries))


@contextmanager
def uncollected() -> Iterator[None]:
    """Put the garbage collector off: for a part, of which all is kept until it is written.

    It would look through that, again and again, for as long as the tasks themselves take.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


class WithinAPart:
    """The guard of tasks that run within one watch for all of them: whether it is wanted, the current task says."""

    part: Watch

    def __init__(self) -> None:
        self._is_wanted: Callable[[], bool] = lambda: True

    def is_wanted(self) -> bool:
        """Whether what runs now is to go on: for the watch of the part, which asks in a thread of its own."""
        return self._is_wanted()

    def watch(self, *, timeout_s: float | None, is_wanted: Callable[[], bool]) -> AbstractContextManager[Watch]:  # noqa: ARG002
        """See ``Guard.watch``."""
        self._is_wanted = is_wanted
        return nullcontext(self.part)
