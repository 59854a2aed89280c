"""Looking at executions: what they are, what became of them, and why they stand so. Nothing here changes one."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from orchestrator.client.session import Session
from orchestrator.errors import WaitTimeout
from orchestrator.model.execution import Execution
from orchestrator.model.explanation import Explanation
from orchestrator.model.filters import Node
from orchestrator.model.history import Entry
from orchestrator.model.snapshots import Snapshot, SnapshotDifference
from orchestrator.model.states import ExecutionState
from orchestrator.service.at_rest import is_at_rest
from orchestrator.service.explaining.explain import explain
from orchestrator.service.fold import Snapshots
from orchestrator.service.listing import DEFAULT_PAGE, ListWish, read_page
from orchestrator.service.query import TreeReader
from orchestrator.service.snapshots import Checkpoint, read_difference, read_history, read_snapshots
from orchestrator.store.queries import ExecutionQueries
from orchestrator.store.workers import LiveWorker

_POLL_S: Final = (0.005, 0.25)  # the first pause between two looks at the database, and the longest


@dataclass(frozen=True, kw_only=True, slots=True)
class Page:
    """A part of a list. ``next_token`` is blank on the last."""

    executions: tuple[Execution, ...]
    next_token: str = ""


class Looking(Session):
    """The part of ``Orchestrator`` that only reads."""

    def workers(self) -> tuple[LiveWorker, ...]:
        """The workers that are alive, by name: what they consume, and whether they take anything new."""
        return self._open().services.workers.live()

    def get(
        self,
        execution_id: str,
        *,
        snapshots: Snapshots = Snapshots.LAST,
        with_parameters: bool = True,
        with_children: bool = True,
    ) -> Execution:
        """An execution as it is now, with everything below it.

        Args:
            execution_id: of which execution.
            snapshots: which of them to build.
            with_parameters: False leaves the parameters out of snapshots.
            with_children: False leaves out what is below it.

        Raises:
            ExecutionNotFound: there is none.
        """
        reader = self._reader(snapshots, with_parameters=with_parameters)
        return reader.read(execution_id) if with_children else reader.read_alone(execution_id)

    def snapshots(
        self, execution_id: str, *, task: int | None = None, attempt: int | None = None, with_parameters: bool = True
    ) -> tuple[Snapshot, ...]:
        """The execution after every checkpoint: each attempt's end, each answer to a suspension.

        Args:
            execution_id: of which execution.
            task: only those that were taken at this task.
            attempt: only those of this attempt.
            with_parameters: False leaves the parameters out.

        Raises:
            ExecutionNotFound: there is none.
            TaskNotFound: it has no such task.
        """
        services = self._open().services
        return read_snapshots(execution_id, services, task=task, attempt=attempt, with_parameters=with_parameters)

    def difference(self, execution_id: str, one: Checkpoint, other: Checkpoint) -> SnapshotDifference:
        """What is otherwise in the snapshot ``other`` than in ``one``: parameters, task states, edges decided.

        Args:
            execution_id: of which execution.
            one: an index (from 0, or from -1 backwards), or a task and an attempt of it.
            other: likewise.

        Raises:
            ExecutionNotFound: there is none.
            SnapshotNotFound: it has no such snapshot.
        """
        return read_difference(execution_id, one, other, self._open().services)

    def history(self, execution_id: str, *, task: int | None = None) -> tuple[Entry, ...]:
        """What happened to an execution, entry by entry; with a task, what happened to that and to the whole.

        Raises:
            ExecutionNotFound: there is none.
            TaskNotFound: it has no such task.
        """
        return read_history(execution_id, self._open().services, task=task)

    def explain(self, execution_id: str, task: int | None = None) -> tuple[Explanation, ...]:
        """Why an execution stands as it does: first the whole, then each task; or one task alone.

        Raises:
            ExecutionNotFound: there is none.
            TaskNotFound: it has no such task.
        """
        return explain(execution_id, self._open().services, task=task)

    def page(
        self,
        filter: str | Node = "",  # noqa: A002 - the word of the API
        *,
        order_by: str = "",
        integration: str | None = None,
        state: ExecutionState | None = None,
        with_children: bool | None = None,
        page_size: int = DEFAULT_PAGE,
        page_token: str = "",
    ) -> Page:
        """One page of the executions that fit, without what is below them.

        What is created between two pages moves nothing on the later one.

        Args:
            filter: such as ``state = FAILED AND create_time > 2026-01-31``; docs/looking.md has the grammar.
            order_by: ``create_time``, ``update_time`` or ``priority``, and then ``desc`` if the last comes first;
                default: the newest first.
            integration: only of this one.
            state: only in this state.
            with_children: sub-executions as well; default: if there is a filter.
            page_size: at most so many.
            page_token: the ``next_token`` of the page before, which had the same filter and order.

        Raises:
            FilterSyntax, InvalidValue, InvalidPageToken: something of it cannot be used.
        """
        wish = ListWish(
            filter=filter,
            order_by=order_by,
            integration=integration,
            state=state,
            with_children=with_children,
            page_size=page_size,
            page_token=page_token,
        )
        rows, next_token = read_page(wish, self._queries(), place=self.place)
        reader = self._reader(Snapshots.NONE)
        return Page(executions=tuple(reader.shallow(row) for row in rows), next_token=next_token)

    def list(
        self,
        filter: str | Node = "",  # noqa: A002 - likewise
        *,
        order_by: str = "",
        integration: str | None = None,
        state: ExecutionState | None = None,
        with_children: bool | None = None,
        limit: int = DEFAULT_PAGE,
    ) -> list[Execution]:
        """The first ``limit`` executions that fit: ``page`` without its token."""
        found = self.page(
            filter,
            order_by=order_by,
            integration=integration,
            state=state,
            with_children=with_children,
            page_size=limit,
        )
        return [*found.executions]

    def wait(self, execution_id: str, *, timeout_s: float | None = None) -> Execution:
        """Wait until an execution is final, or it is somebody's turn: for timers and retries it goes on waiting.

        It is somebody's turn where it is SUSPENDED, or RETRY_ON_HOLD because of a task in quarantine.

        Raises:
            WaitTimeout: it is neither after ``timeout_s`` seconds; it goes on.
            WorkerEnded: an embedded worker has ended, so nothing would ever happen.
            ExecutionNotFound: there is none.
        """
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        queries, pause_s = self._queries(), _POLL_S[0]
        while not self._is_at_rest(execution_id, state := queries.state(execution_id)):
            if deadline is not None and time.monotonic() >= deadline:
                raise WaitTimeout(execution_id, timeout_s or 0.0, state)
            self._check_workers()
            time.sleep(pause_s)
            pause_s = min(pause_s * 1.2, _POLL_S[1])
        return self.get(execution_id)

    def watch(
        self, execution_id: str, *, interval_s: float = 0.1, timeout_s: float | None = None
    ) -> Iterator[Execution]:
        """The execution again and again, whenever it has changed, until it rests as for ``wait``.

        A big tree is read less often than every ``interval_s`` seconds: reading takes at most a quarter of the time.

        Raises:
            WaitTimeout: it is neither after ``timeout_s`` seconds; it goes on.
            WorkerEnded: an embedded worker has ended, so nothing would ever happen.
            ExecutionNotFound: there is none.
        """
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        reader, seen = self._reader(Snapshots.LAST), None
        while True:
            began = time.monotonic()
            execution = reader.read(execution_id)
            pause_s = max(interval_s, 3 * (time.monotonic() - began))
            if execution != seen:
                yield execution
            if self._is_at_rest(execution_id, execution.state):
                return
            seen, now = execution, time.monotonic()
            if deadline is not None and now >= deadline:
                raise WaitTimeout(execution_id, timeout_s or 0.0, execution.state)
            self._check_workers()
            time.sleep(pause_s if deadline is None else min(pause_s, deadline - now))

    def _is_at_rest(self, execution_id: str, state: ExecutionState) -> bool:
        is_there = is_at_rest(execution_id, state, self._open().services)
        if is_there and state is ExecutionState.SUSPENDED:
            self._asked.add(execution_id)
        return is_there

    def _queries(self) -> ExecutionQueries:
        return ExecutionQueries(self._open().database)

    def _reader(self, snapshots: Snapshots, *, with_parameters: bool = True) -> TreeReader:
        plans = self._open().services.plans
        return TreeReader(self._queries(), plans, snapshots=snapshots, with_parameters=with_parameters)
