"""What stopped an execution: a failure, a signal, its deadline - its own, or what happened above it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, assert_never

from orchestrator.engine.plan import Plan
from orchestrator.model.explanation import Reason
from orchestrator.model.history import Entry
from orchestrator.model.json_text import Json
from orchestrator.model.snapshots import to_timestamp
from orchestrator.service.explaining.case import Stop, error_fact, killing, name_in, task_killing, told
from orchestrator.service.trail import Halt, HaltKind, Trail
from orchestrator.store.kinds import ParentLink, Signal
from orchestrator.store.rows import StoredExecution
from orchestrator.store.signals import Audit


@dataclass(frozen=True, kw_only=True, slots=True)
class Walked:
    """An execution and its trail."""

    stored: StoredExecution
    plan: Plan
    entries: Sequence[Entry]
    trail: Trail


class Reader(Protocol):
    """Reads what is above an execution, as far as it is asked for."""

    def walk(self, execution_id: str) -> Walked:
        """Another execution."""

    def audit(self, execution_id: str) -> Audit | None:
        """Who gave the latest signal to it."""


def find_stop(walked: Walked, reader: Reader) -> Stop | None:
    """What stopped it; None if nothing did."""
    stored, halt = walked.stored, walked.trail.halt
    if halt is None:
        is_told = stored.signal in (Signal.KILL, Signal.KILL_AND_ROLL_BACK) and not stored.state.is_final
        return _killed(walked, None, reader) if is_told else None
    match halt.kind:
        case HaltKind.KILLED:
            return _killed(walked, halt, reader)
        case HaltKind.FATAL:
            name, error = name_in(walked.plan, halt.number), halt.entry.error
            facts: dict[str, Json] = {"task": halt.number} | error_fact(error)
            return Stop(Reason.FATAL, f"{name} failed fatally: {told(error)}", facts)
        case HaltKind.DEADLINE:
            facts = {"at": to_timestamp(halt.entry.ended_at)}
            return Stop(Reason.DEADLINE_PASSED, told(halt.entry.error), facts)
        case HaltKind.RESTART:
            name, error = name_in(walked.plan, halt.number), halt.entry.error
            facts = {"task": halt.number} | error_fact(error)
            because = f"{name} failed, and the execution begins again: {told(error)}"
            return Stop(Reason.RESTART_TO_COME, because, facts)
        case _:
            assert_never(halt.kind)


def _killed(walked: Walked, halt: Halt | None, reader: Reader) -> Stop:
    """By a signal to this execution, or because of what happened above it."""
    execution_id = walked.stored.id
    audit = reader.audit(execution_id)
    if audit is not None:
        return _by_signal(execution_id, audit, halt, whom="it")
    if walked.stored.parent is not None:
        return _from_above(walked.stored.parent, halt, reader)
    return Stop(Reason.KILLED, "it was killed", {"execution": execution_id})


def _from_above(link: ParentLink, halt: Halt | None, reader: Reader) -> Stop:
    parent = reader.walk(link.execution_id)
    above = parent.trail.halt
    place: dict[str, Json] = {"execution": link.execution_id, "task": link.number}
    kill = parent.trail.kills.get(link.number)
    if kill is not None and kill.attempt == link.attempt:
        because, facts = task_killing(
            kill, whom=f"{name_in(parent.plan, link.number)} of execution {link.execution_id} above it"
        )
        return Stop(Reason.KILLED, because, place | facts)
    if above is None and parent.stored.signal not in (Signal.KILL, Signal.KILL_AND_ROLL_BACK):
        ending = parent.trail.endings.get(link.number)
        error = ending.entry.error if ending is not None and ending.entry.attempt == link.attempt else None
        name = f"{name_in(parent.plan, link.number)} of execution {link.execution_id}"
        because = f"{name}, which had started it, does not wait for it any more"
        because += "" if error is None else f": {told(error)}"
        return Stop(Reason.PARENT_GAVE_UP, because, place | error_fact(error))
    if above is not None and above.kind is not HaltKind.KILLED:
        stop = find_stop(parent, reader)
        assert stop is not None, "it has a halt"
        because = f"execution {link.execution_id} above it was stopped: {stop.because}"
        return Stop(Reason.PARENT_STOPPED, because, {**stop.facts, **place, "because": stop.reason.value})
    audit = reader.audit(link.execution_id)
    if audit is not None:
        return _by_signal(link.execution_id, audit, halt, whom=f"execution {link.execution_id} above it")
    return _killed(parent, halt, reader)


def _by_signal(execution_id: str, audit: Audit, halt: Halt | None, *, whom: str) -> Stop:
    because, facts = killing(audit, whom=whom, at=None if halt is None else halt.entry.ended_at)
    return Stop(Reason.KILLED, because, {"execution": execution_id, **facts})
