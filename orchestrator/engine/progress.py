"""Progress: where every task and edge of one execution stands, as a value, and packed into a short text.

``decide`` reads and makes progress; the store keeps it packed, one character a task and one an edge, so that the
whole state of an execution is one small column that is read and compared-and-set in one row.

Packed form: ``<letters>|<edges>|<attempts>|<rest>``. Letters are in the order of ``plan.numbers``, edges (``1`` true,
``0`` false, ``?`` open) in that of ``plan.edges``; ``attempts`` has ``number:attempt`` where the letter does not say it
(0 for a task that was never ready, else 1); ``rest`` is JSON for what is rarely there (the error that counts, the
outcome that is being stopped for). The same progress is always the same text.

What must not happen: a plan that numbers its tasks otherwise than the one that packed. An execution keeps its version.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from orchestrator.engine.plan import Plan
from orchestrator.model.history import ErrorInfo
from orchestrator.model.json_text import Json
from orchestrator.model.states import ExecutionState, TaskState


@dataclass(frozen=True, slots=True)
class TaskStatus:
    """Where one task stands.

    ``is_ready``: its message may be out: a worker may claim it, or has. ``attempt`` counts from 1 once it was ready.
    ``is_ignored``: it FAILED under the policy IGNORE, and its edges behaved as after success.
    """

    state: TaskState = TaskState.PENDING_EXECUTION
    attempt: int = 0
    is_ready: bool = False
    is_ignored: bool = False

    @property
    def is_active(self) -> bool:
        """Whether code of it may be running, or will be without anyone's help."""
        return self.is_ready or self.state in _RUNNING


_RUNNING: Final = frozenset({TaskState.IN_PROCESS, TaskState.ROLLBACK_IN_PROCESS, TaskState.PENDING_ROLLBACK})
UNTOUCHED: Final = TaskStatus()


@dataclass(frozen=True, kw_only=True, slots=True)
class Progress:
    """Where an execution stands. Tasks that were never reached are not in ``tasks``.

    ``arrived`` and ``true`` count, for every task, the edges that lead to it and are decided, and those that are true.
    ``stopping`` is the final state that the execution ends in as soon as nothing of it runs (FATAL, KILL).
    """

    state: ExecutionState = ExecutionState.PENDING
    tasks: Mapping[int, TaskStatus] = field(default_factory=dict)
    edges: Mapping[int, bool] = field(default_factory=dict)
    arrived: Mapping[int, int] = field(default_factory=dict)
    true: Mapping[int, int] = field(default_factory=dict)
    active: int = 0
    suspended: int = 0
    held: int = 0
    stopping: ExecutionState | None = None
    error: ErrorInfo | None = None

    def status(self, number: int) -> TaskStatus:
        """Where this task stands."""
        return self.tasks.get(number, UNTOUCHED)


_LETTERS: Final[dict[tuple[TaskState, bool, bool], str]] = {
    # state, is_ready, is_ignored
    (TaskState.PENDING_EXECUTION, False, False): ".",
    (TaskState.PENDING_EXECUTION, True, False): "q",
    (TaskState.IN_PROCESS, False, False): "p",
    (TaskState.SUCCEED, False, False): "s",
    (TaskState.FAILED, False, False): "f",
    (TaskState.FAILED, False, True): "i",
    (TaskState.FATAL, False, False): "x",
    (TaskState.RETRY_ON_HOLD, False, False): "h",
    (TaskState.RETRY_ON_HOLD, True, False): "r",
    (TaskState.SKIPPED, False, False): "k",
    (TaskState.CANCELLED, False, False): "c",
    (TaskState.SUSPENDED, False, False): "u",
    (TaskState.PENDING_ROLLBACK, False, False): "b",
    (TaskState.ROLLBACK_IN_PROCESS, False, False): "B",
    (TaskState.ROLLEDBACK, False, False): "d",
}
_STATUSES: Final = {
    letter: TaskStatus(state, 0 if letter in ".k" else 1, is_ready, is_ignored)
    for (state, is_ready, is_ignored), letter in _LETTERS.items()
}
_ACTIVE: Final = tuple(letter for letter, status in _STATUSES.items() if status.is_active)


def pack(plan: Plan, progress: Progress) -> str:
    """Write progress as a short text."""
    statuses = [progress.tasks.get(number, UNTOUCHED) for number in plan.numbers]
    letters = "".join([_LETTERS[each.state, each.is_ready, each.is_ignored] for each in statuses])
    edges = "".join(
        "?" if result is None else "01"[result] for result in map(progress.edges.get, range(len(plan.edges)))
    )
    attempts = ",".join(
        f"{number}:{each.attempt}"
        for number, letter, each in zip(plan.numbers, letters, statuses, strict=True)
        if each.attempt != _STATUSES[letter].attempt
    )
    rest: dict[str, Json] = {}
    if progress.stopping is not None:
        rest["stopping"] = progress.stopping.value
    if progress.error is not None:
        rest["error"] = progress.error.to_json()
    return f"{letters}|{edges}|{attempts}|{json.dumps(rest, separators=(',', ':')) if rest else ''}"


def unpack(plan: Plan, text: str, state: ExecutionState) -> Progress:
    """Read what ``pack`` wrote for the same plan."""
    letters, edge_letters, attempts, rest = text.split("|", 3)
    tasks = {number: _STATUSES[letter] for number, letter in zip(plan.numbers, letters, strict=True) if letter != "."}
    for pair in filter(None, attempts.split(",")):
        number, attempt = map(int, pair.split(":"))
        tasks[number] = replace(tasks[number], attempt=attempt)
    edges, arrived, true = {}, dict[int, int](), dict[int, int]()
    for edge, letter in zip(plan.edges, edge_letters, strict=True):
        if letter != "?":
            edges[edge.index] = letter == "1"
            arrived[edge.target] = arrived.get(edge.target, 0) + 1
            true[edge.target] = true.get(edge.target, 0) + (letter == "1")
    seldom = json.loads(rest) if rest else {}
    return Progress(
        state=state,
        tasks=tasks,
        edges=edges,
        arrived=arrived,
        true=true,
        active=sum(map(letters.count, _ACTIVE)),  # counted in the text: twice as fast as asking every status
        suspended=letters.count("u"),
        held=letters.count("h"),
        stopping=ExecutionState(seldom["stopping"]) if "stopping" in seldom else None,
        error=ErrorInfo.from_json(seldom["error"]) if "error" in seldom else None,
    )
