"""Progress: where every task and edge of one execution stands, as a value, and packed into a short text.

``decide`` reads and makes progress; the store keeps it packed, one character a task and one an edge, so that the
whole state of an execution is one small column that is read and compared-and-set in one row.

Packed form: ``<letters>|<edges>|<attempts>|<rest>``. Letters are in the order of ``plan.numbers``, edges (``1`` true,
``0`` false, ``?`` open) in that of ``plan.edges``; ``attempts`` has ``number:attempt`` where the letter does not say it
(0 for a task that was never ready, else 1); ``rest`` is JSON for what is rarely there (the error that counts, the
outcome that is being stopped for, restarts, rollback). The same progress is always the same text.

What must not happen: a plan that numbers its tasks otherwise than the one that packed. An execution keeps its version.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from itertools import repeat
from typing import Any, Final, NamedTuple

from orchestrator.engine.plan import Plan
from orchestrator.model.history import ErrorInfo
from orchestrator.model.json_text import Json
from orchestrator.model.quick_dataclass import quick_dataclass
from orchestrator.model.states import ExecutionState, TaskState


class TaskStatus(NamedTuple):
    """Where one task stands. A tuple, because each task goes through several: a dataclass takes three times as long.

    ``is_ready``: its message may be out: a worker may claim it, or has. ``attempt`` counts from 1 once it was ready.
    ``is_ignored``: it FAILED under the policy IGNORE, and its edges behaved as after success. ``is_caught``: it FAILED,
    and an error catcher took it. ``is_waiting``: its rollback is tried again, by a timer or by a release.
    ``is_quarantined``: it killed its worker too often, and is held until somebody releases it. ``is_killed``: it is
    active, and will be over with its attempt, whatever comes of that.
    """

    state: TaskState = TaskState.PENDING_EXECUTION
    attempt: int = 0
    is_ready: bool = False
    is_ignored: bool = False
    is_caught: bool = False
    is_waiting: bool = False
    is_quarantined: bool = False
    is_killed: bool = False

    @property
    def is_active(self) -> bool:
        """Whether code of it may be running, or will be without anyone's help."""
        return self.is_ready or self.state in _RUNNING

    @property
    def is_rolling_back(self) -> bool:
        """Whether it is being undone, or is about to be."""
        return self.state in _ROLLING_BACK

    @property
    def is_held(self) -> bool:
        """Whether a timer, or a release, will try it again."""
        return self.is_waiting or (self.state is TaskState.RETRY_ON_HOLD and not self.is_ready)


_RUNNING: Final = frozenset({TaskState.IN_PROCESS, TaskState.ROLLBACK_IN_PROCESS})
_ROLLING_BACK: Final = frozenset({TaskState.PENDING_ROLLBACK, TaskState.ROLLBACK_IN_PROCESS})
UNTOUCHED: Final = TaskStatus()


@dataclass(frozen=True, kw_only=True, slots=True)
class Restart:
    """The execution begins again, ``after_s`` seconds after nothing of it runs. The failure of the task led to it."""

    number: int
    after_s: float


@quick_dataclass
class Progress:
    """Where an execution stands. Tasks that were never reached are not in ``tasks``.

    Its dicts are its own. ``decide`` does not change them; ``decide_in_place`` makes them those of what it answers.

    Attributes:
        arrived, true: for every task, how many edges that lead to it are decided, and how many of those are true.
        active, suspended, held: how many tasks are so.
        stopping: the state that the execution takes as soon as nothing of it runs: FAILED (FATAL, a deadline),
            CANCELLED (KILL), or RETRY_ON_HOLD before it begins again.
        rolls_back: what SUCCEEDed is to be undone before that.
        restart: what a restart waits for; None again once its timer is set.
        run: the executionAttempt, from 1.
        bases: how many attempts of each task do not count against its policy: those of earlier runs, those that ended
            in quarantine, and, while it is undone, those of the task itself.
        is_resumed: it went on after a suspension, and is asynchronous ever since.
        error: the failure that counts.
    """

    state: ExecutionState = ExecutionState.PENDING
    tasks: dict[int, TaskStatus] = field(default_factory=dict)
    edges: dict[int, bool] = field(default_factory=dict)
    arrived: dict[int, int] = field(default_factory=dict)
    true: dict[int, int] = field(default_factory=dict)
    active: int = 0
    suspended: int = 0
    held: int = 0
    stopping: ExecutionState | None = None
    rolls_back: bool = False
    restart: Restart | None = None
    run: int = 1
    bases: dict[int, int] = field(default_factory=dict)
    is_resumed: bool = False
    error: ErrorInfo | None = None

    def status(self, number: int) -> TaskStatus:
        """Where this task stands."""
        return self.tasks.get(number, UNTOUCHED)

    def copy(self) -> Progress:
        """The same with dicts of its own."""
        return replace(
            self,
            tasks=dict(self.tasks),
            edges=dict(self.edges),
            arrived=dict(self.arrived),
            true=dict(self.true),
            bases=dict(self.bases),
        )


_S: Final = TaskState
_STATUSES: Final[dict[str, TaskStatus]] = {
    ".": UNTOUCHED,
    "q": TaskStatus(_S.PENDING_EXECUTION, 1, is_ready=True),
    "Q": TaskStatus(_S.PENDING_EXECUTION, 1, is_ready=True, is_killed=True),
    "p": TaskStatus(_S.IN_PROCESS, 1),
    "P": TaskStatus(_S.IN_PROCESS, 1, is_killed=True),
    "s": TaskStatus(_S.SUCCEED, 1),
    "f": TaskStatus(_S.FAILED, 1),
    "i": TaskStatus(_S.FAILED, 1, is_ignored=True),
    "a": TaskStatus(_S.FAILED, 1, is_caught=True),
    "x": TaskStatus(_S.FATAL, 1),
    "h": TaskStatus(_S.RETRY_ON_HOLD, 1),
    "r": TaskStatus(_S.RETRY_ON_HOLD, 1, is_ready=True),
    "R": TaskStatus(_S.RETRY_ON_HOLD, 1, is_ready=True, is_killed=True),
    "z": TaskStatus(_S.RETRY_ON_HOLD, 1, is_quarantined=True),
    "k": TaskStatus(_S.SKIPPED, 0),
    "c": TaskStatus(_S.CANCELLED, 1),
    "u": TaskStatus(_S.SUSPENDED, 1),
    "b": TaskStatus(_S.PENDING_ROLLBACK, 1),
    "w": TaskStatus(_S.PENDING_ROLLBACK, 1, is_waiting=True),
    "W": TaskStatus(_S.PENDING_ROLLBACK, 1, is_waiting=True, is_quarantined=True),
    "e": TaskStatus(_S.PENDING_ROLLBACK, 1, is_ready=True),
    "B": TaskStatus(_S.ROLLBACK_IN_PROCESS, 1),
    "d": TaskStatus(_S.ROLLEDBACK, 1),
}


_LETTERS: Final = {status._replace(attempt=0): letter for letter, status in _STATUSES.items()}
_USUAL: Final = {status: letter for letter, status in _STATUSES.items()}  # with the attempt that the letter says
_RESULTS: Final = {None: "?", False: "0", True: "1"}
_ACTIVE: Final = tuple(letter for letter, status in _STATUSES.items() if status.is_active)
_HELD: Final = tuple(letter for letter, status in _STATUSES.items() if status.is_held)


def pack(plan: Plan, progress: Progress) -> str:
    """Write progress as a short text."""
    statuses = list(map(progress.tasks.get, plan.numbers, repeat(UNTOUCHED)))
    letters = list(map(_USUAL.get, statuses, repeat("")))
    attempts = []
    for place in [place for place, letter in enumerate(letters) if not letter]:
        letters[place] = _LETTERS[statuses[place]._replace(attempt=0)]
        attempts.append(f"{plan.numbers[place]}:{statuses[place].attempt}")
    edges = map(_RESULTS.__getitem__, map(progress.edges.get, range(len(plan.edges))))
    return f"{''.join(letters)}|{''.join(edges)}|{','.join(attempts)}|{_pack_rest(progress)}"


def _pack_rest(progress: Progress) -> str:
    rest: dict[str, Json] = {}
    if progress.stopping is not None:
        rest["stopping"] = progress.stopping.value
    if progress.rolls_back:
        rest["rollsBack"] = True
    if progress.restart is not None:
        rest["restart"] = [progress.restart.number, progress.restart.after_s]
    if progress.run > 1:
        rest["run"] = progress.run
    if progress.bases:
        rest["bases"] = {str(number): attempt for number, attempt in sorted(progress.bases.items())}
    if progress.is_resumed:
        rest["resumed"] = True
    if progress.error is not None:
        rest["error"] = progress.error.to_json()
    return json.dumps(rest, separators=(",", ":")) if rest else ""


def unpack(plan: Plan, text: str, state: ExecutionState) -> Progress:
    """Read what ``pack`` wrote for the same plan."""
    letters, edge_letters, attempts, rest = text.split("|", 3)
    tasks = {number: _STATUSES[letter] for number, letter in zip(plan.numbers, letters, strict=True) if letter != "."}
    for pair in filter(None, attempts.split(",")):
        number, attempt = map(int, pair.split(":"))
        tasks[number] = tasks.get(number, UNTOUCHED)._replace(attempt=attempt)
    edges, arrived, true = {}, dict[int, int](), dict[int, int]()
    for edge, letter in zip(plan.edges, edge_letters, strict=True):
        if letter != "?":
            edges[edge.index] = letter == "1"
            arrived[edge.target] = arrived.get(edge.target, 0) + 1
            true[edge.target] = true.get(edge.target, 0) + (letter == "1")
    return Progress(
        state=state,
        tasks=tasks,
        edges=edges,
        arrived=arrived,
        true=true,
        active=sum(map(letters.count, _ACTIVE)),  # counted in the text: twice as fast as asking every status
        suspended=letters.count("u"),
        held=sum(map(letters.count, _HELD)),
        **_unpack_rest(rest),
    )


def _unpack_rest(text: str) -> dict[str, Any]:
    if not text:
        return {}
    rest = json.loads(text)
    restart = rest.get("restart")
    return {
        "stopping": ExecutionState(rest["stopping"]) if "stopping" in rest else None,
        "rolls_back": rest.get("rollsBack", False),
        "restart": Restart(number=restart[0], after_s=restart[1]) if restart else None,
        "run": rest.get("run", 1),
        "bases": {int(number): attempt for number, attempt in rest.get("bases", {}).items()},
        "is_resumed": rest.get("resumed", False),
        "error": ErrorInfo.from_json(rest["error"]) if "error" in rest else None,
    }
