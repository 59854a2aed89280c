"""History: what happened to an execution, one entry for every change, append-only.

The entries of an execution are numbered by its revision without gaps. Each holds what changed (task states, edge
results, parameters) and the facts of the attempt that caused it, so that the state after any entry can be built from
the entries alone, without the definition. That is what snapshots, attempt stats and audits are read from.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Final, cast

from orchestrator.model.json_text import Json, to_json_text
from orchestrator.model.quick_dataclass import quick_dataclass
from orchestrator.model.states import ExecutionState, TaskState
from orchestrator.model.values import Value, parse_parameters, to_parameters, to_parameters_text


@dataclass(frozen=True, kw_only=True, slots=True)
class ErrorInfo:
    """Why something failed. ``code`` is a number (an HTTP status) or a name; ``type`` the Python exception's name."""

    message: str
    code: str | int = "INTERNAL_ERROR"
    type: str = ""
    traceback: str = ""
    task_number: int | None = None

    def to_json(self) -> dict[str, Json]:
        """The fields that are filled, in camelCase."""
        document: dict[str, Json] = {"message": self.message, "code": self.code}
        optional = {"type": self.type, "traceback": self.traceback, "taskNumber": self.task_number}
        return document | {key: content for key, content in optional.items() if content not in ("", None)}

    @classmethod
    def from_json(cls, document: Mapping[str, Json]) -> ErrorInfo:
        """The inverse of ``to_json``."""
        number = document.get("taskNumber")
        return cls(
            message=str(document["message"]),
            code=cast("str | int", document["code"]),
            type=str(document.get("type", "")),
            traceback=str(document.get("traceback", "")),
            task_number=None if number is None else int(cast("int", number)),
        )


class EntryKind(StrEnum):
    """What an entry tells of."""

    SUCCEEDED = "task succeeded"
    FAILED = "task failed"
    SUSPENDED = "task suspended"
    STOPPED = "task stopped"
    QUARANTINED = "task quarantined"  # it killed its worker too often; held until somebody releases it
    RETURNED = "attempt returned"  # its worker died or gave it back; the same attempt is to be claimed again
    ROLLED_BACK = "task rolled back"
    ROLLBACK_FAILED = "rollback failed"
    LATE = "late result refused"
    LIFTED = "suspension lifted"
    REJECTED = "suspension rejected"
    CHILDREN_STARTED = "sub-executions started"
    RETRY_DUE = "retry due"
    RELEASED = "task released"  # out of its quarantine
    STARTED = "execution started"  # later than it was created
    RESTARTED = "execution restarted"
    REPLAYED = "execution replayed"  # it began with what another one had reached
    KILLED = "execution killed"
    TASK_KILLED = "task killed"  # it is over, or will be with its attempt; the execution goes on
    DEADLINE_PASSED = "deadline passed"

    @property
    def ends_attempt(self) -> bool:
        """Whether an attempt is over with it."""
        return self in _ENDS_ATTEMPT

    @property
    def is_checkpoint(self) -> bool:
        """Whether a snapshot is taken right after it."""
        return self.ends_attempt or self in (EntryKind.LIFTED, EntryKind.REJECTED)


_ENDS_ATTEMPT: Final = frozenset(
    {
        EntryKind.SUCCEEDED,
        EntryKind.FAILED,
        EntryKind.SUSPENDED,
        EntryKind.STOPPED,
        EntryKind.QUARANTINED,
        EntryKind.RETURNED,
        EntryKind.ROLLED_BACK,
        EntryKind.ROLLBACK_FAILED,
    }
)


_WORDS: Final = {True: "true", False: "false"}  # of JSON
_quoted: Final = functools.lru_cache(maxsize=16)(to_json_text)  # for names of workers: there are few in a process


@quick_dataclass
class Entry:
    """One change. Times are the database's, aware UTC; ``worker`` names the process that ran the attempt.

    ``task_number`` 0 is the execution as a whole. ``actor`` is who asked for the change, if somebody did.
    """

    kind: EntryKind
    task_number: int
    attempt: int
    started_at: datetime
    ended_at: datetime
    worker: str = ""
    actor: str = ""
    states: Mapping[int, TaskState] = field(default_factory=dict)
    edges: Mapping[tuple[int, int], bool] = field(default_factory=dict)
    parameters: Mapping[str, Value] = field(default_factory=dict)
    error: ErrorInfo | None = None
    details: Mapping[str, Json] = field(default_factory=dict)  # a suspension's terms, a round's number of children

    def to_json(self) -> dict[str, Json]:
        """As it is stored: short, because there is one for every attempt."""
        document: dict[str, Json] = {
            "kind": self.kind.value,
            "task": self.task_number,
            "attempt": self.attempt,
            "start": self.started_at.isoformat(),
            "end": self.ended_at.isoformat(),
        }
        if self.worker:
            document["worker"] = self.worker
        if self.actor:
            document["actor"] = self.actor
        if self.states:
            document["states"] = {str(number): state.value for number, state in self.states.items()}
        if self.edges:
            document["edges"] = [[source, target, result] for (source, target), result in self.edges.items()]
        if self.parameters:
            document["parameters"] = to_parameters(self.parameters)
        if self.error is not None:
            document["error"] = self.error.to_json()
        if self.details:
            document["details"] = dict(self.details)
        return document

    def to_text(self) -> str:
        """``to_json`` as text. The usual one is put together by hand, in a third of the time."""
        if self.error is not None or self.details or self.actor:
            return to_json_text(self.to_json())
        states = ",".join([f'"{number}":"{state.value}"' for number, state in self.states.items()])
        edges = ",".join([f"[{edge[0]},{edge[1]},{_WORDS[is_true]}]" for edge, is_true in self.edges.items()])
        parts = (
            f'{{"kind":"{self.kind.value}","task":{self.task_number},"attempt":{self.attempt}',
            f',"start":"{self.started_at.isoformat()}","end":"{self.ended_at.isoformat()}"',
            f',"worker":{_quoted(self.worker)}' if self.worker else "",
            f',"states":{{{states}}}' if states else "",
            f',"edges":[{edges}]' if edges else "",
            f',"parameters":{to_parameters_text(self.parameters)}' if self.parameters else "",
            "}",
        )
        return "".join(parts)

    @classmethod
    def from_json(cls, document: Mapping[str, Json]) -> Entry:
        """The inverse of ``to_json``."""
        error = cast("dict[str, Json] | None", document.get("error"))
        states = cast("dict[str, str]", document.get("states", {}))
        return cls(
            kind=EntryKind(cast("str", document["kind"])),
            task_number=cast("int", document["task"]),
            attempt=cast("int", document["attempt"]),
            started_at=datetime.fromisoformat(cast("str", document["start"])),
            ended_at=datetime.fromisoformat(cast("str", document["end"])),
            worker=cast("str", document.get("worker", "")),
            actor=cast("str", document.get("actor", "")),
            states={int(number): TaskState(state) for number, state in states.items()},
            edges={(s, t): r for s, t, r in cast("list[tuple[int, int, bool]]", document.get("edges", []))},
            parameters=parse_parameters(cast("dict[str, object]", document.get("parameters", {})), "history"),
            error=None if error is None else ErrorInfo.from_json(error),
            details=cast("dict[str, Json]", document.get("details", {})),
        )


@quick_dataclass
class Outcome:
    """How an execution ended: a final state, what it answers, and why if it FAILED."""

    state: ExecutionState
    response: Mapping[str, Value] = field(default_factory=dict)
    error: ErrorInfo | None = None
