"""The trail: the history of one execution walked once, for whoever asks how it came to stand as it does.

It keeps what the fold of a snapshot does not: since which entry each task is as it is, how its last attempt ended, with
which parameters each edge was decided, and what stopped the execution.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from orchestrator.engine.failures import counting_policy, policies_of, to_parameters
from orchestrator.engine.plan import TRIGGER, Plan
from orchestrator.model.history import Entry, EntryKind
from orchestrator.model.policies import FailurePolicy, RetryStrategy
from orchestrator.model.states import TaskState
from orchestrator.model.values import Value
from orchestrator.service.fold import first_decision
from orchestrator.service.start import with_system_variables
from orchestrator.store.kinds import Method
from orchestrator.store.rows import StoredExecution


class HaltKind(StrEnum):
    """What can stop an execution."""

    FATAL = "FATAL"
    KILLED = "KILLED"
    DEADLINE = "DEADLINE"
    RESTART = "RESTART"  # it is to begin again


@dataclass(frozen=True, kw_only=True, slots=True)
class Halt:
    """What stopped an execution. ``number`` is the task whose failure did, else 0."""

    kind: HaltKind
    number: int
    entry: Entry


@dataclass(frozen=True, kw_only=True, slots=True)
class Ending:
    """How the last attempt of a task ended. ``policy`` is the one that counted, if it failed."""

    entry: Entry
    policy: FailurePolicy | None = None
    is_halted: bool = False  # the execution was stopping before it


class Trail:
    """What the entries of one execution say.

    Attributes:
        since: the entry by which each task took its state; one that the start decided is not in it.
        endings: by task.
        edge_parameters: what each edge, (source, target), was decided with, system variables included; without those
            that a replay has taken over, which another execution decided.
        halt: what stopped the present run.
        halted: the tasks that took their state with that, or after it.
        kills: the entries of the KILLs of single tasks in the present run, by task.
        runs: how many there were, this one included.
    """

    def __init__(self, stored: StoredExecution, plan: Plan, entries: Iterable[Entry]) -> None:
        self._plan, self._is_post = plan, stored.method is Method.POST
        self._request: Mapping[str, Value] = stored.request
        self._parameters: Mapping[str, Value] = stored.request
        self._is_resumed = False
        self.since: dict[int, Entry] = {}
        self.endings: dict[int, Ending] = {}
        self.edge_parameters: dict[tuple[int, int], Mapping[str, Value]] = {}
        self.halt: Halt | None = None
        self.halted: set[int] = set()
        self.kills: dict[int, Entry] = {}
        self.runs = 1
        self._keep_edges(first_decision(stored, plan).edges)
        for entry in entries:
            self._walk(entry)

    def _walk(self, entry: Entry) -> None:
        if entry.kind is EntryKind.RESTARTED:
            self._begin_again()
        if entry.parameters:
            self._parameters = {**self._parameters, **entry.parameters}
        taken_over = entry.kind is EntryKind.REPLAYED
        self._keep_edges({edge: each for edge, each in entry.edges.items() if not (taken_over and edge[0] != TRIGGER)})
        for number in entry.states:
            self.since[number] = entry
        is_halted = self.halt is not None
        policy = self._policy(entry) if entry.kind in (EntryKind.FAILED, EntryKind.ROLLBACK_FAILED) else None
        if entry.kind.is_checkpoint:
            self.endings[entry.task_number] = Ending(entry=entry, policy=policy, is_halted=is_halted)
        if entry.kind is EntryKind.TASK_KILLED:
            self.kills[entry.task_number] = entry
        self._see_halt(entry, policy)
        if self.halt is not None:
            self.halted.update(entry.states)
        if entry.kind in (EntryKind.LIFTED, EntryKind.REJECTED):
            self._is_resumed = True  # from the next entry on: this one was decided before

    def _begin_again(self) -> None:
        self.runs += 1
        self.halt, self._parameters = None, self._request
        self.halted.clear()
        self.kills.clear()
        self.edge_parameters.clear()

    def _keep_edges(self, edges: Mapping[tuple[int, int], bool]) -> None:
        if edges:
            seen = with_system_variables(self._parameters, is_sync=self._is_sync)
            self.edge_parameters.update(dict.fromkeys(edges, seen))

    @property
    def _is_sync(self) -> bool:
        return self._is_post and not self._is_resumed

    def _policy(self, entry: Entry) -> FailurePolicy:
        """The policy that counted, found as it was then (``engine.failures``, ``engine.rollback``)."""
        config = self._plan.tasks[entry.task_number].config
        seen = with_system_variables(self._parameters, is_sync=self._is_sync)
        if entry.kind is EntryKind.FAILED:
            return counting_policy(policies_of(config, is_sync=self._is_sync), seen)
        error = {} if entry.error is None else to_parameters(entry.error)
        undoing = None if config.rollback is None else config.rollback.failure_policy
        return counting_policy([undoing], {**seen, **error})

    def _see_halt(self, entry: Entry, policy: FailurePolicy | None) -> None:
        """The first thing that stops it for good counts; before that, a restart that was to come."""
        if self.halt is not None and self.halt.kind is not HaltKind.RESTART:
            return
        fatal = next((number for number, state in entry.states.items() if state is TaskState.FATAL), None)
        if fatal is not None:
            self.halt = Halt(kind=HaltKind.FATAL, number=fatal, entry=entry)
        elif entry.kind is EntryKind.KILLED:
            self.halt = Halt(kind=HaltKind.KILLED, number=0, entry=entry)
        elif entry.kind is EntryKind.DEADLINE_PASSED:
            self.halt = Halt(kind=HaltKind.DEADLINE, number=0, entry=entry)
        elif self.halt is None and policy is not None and self._restarts(entry, policy):
            self.halt = Halt(kind=HaltKind.RESTART, number=entry.task_number, entry=entry)

    def _restarts(self, entry: Entry, policy: FailurePolicy) -> bool:
        is_held = entry.states.get(entry.task_number) is TaskState.RETRY_ON_HOLD
        return is_held and policy.strategy is RetryStrategy.RESTART_INTEGRATION_WITH_BACKOFF
