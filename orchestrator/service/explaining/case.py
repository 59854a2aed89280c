"""A case: everything that is known of one execution at one moment, and the words in which its reasons are told."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

from orchestrator.engine.explain import catcher_name
from orchestrator.engine.plan import TRIGGER, Edge, Plan
from orchestrator.engine.progress import Progress
from orchestrator.model.explanation import Reason
from orchestrator.model.history import Entry, ErrorInfo
from orchestrator.model.json_text import Json
from orchestrator.model.snapshots import TaskView, to_timestamp
from orchestrator.model.states import TaskState
from orchestrator.service.trail import Trail
from orchestrator.store.circumstances import Circumstances
from orchestrator.store.rows import LiveAttempt, StoredExecution
from orchestrator.store.signals import Audit
from orchestrator.store.suspensions import Suspension

_MOST_NAMED: Final = 5
_MOST_SHOWN: Final = 300  # characters of a message in a sentence


@dataclass(frozen=True, slots=True)
class Why:
    """A reason. ``says`` goes on after the name of the task, or after "the execution"."""

    reason: Reason
    says: str
    facts: Mapping[str, Json] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Stop:
    """What stopped an execution, or is about to. ``because`` is a sentence."""

    reason: Reason
    because: str
    facts: Mapping[str, Json] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class Case:
    """What is known. ``suspensions`` holds the latest of each task, ``incoming`` the edges that lead to each."""

    stored: StoredExecution
    plan: Plan
    progress: Progress
    trail: Trail
    tasks: Mapping[int, TaskView]
    live: Mapping[int, LiveAttempt]
    suspensions: Mapping[int, Suspension]
    incoming: Mapping[int, Sequence[Edge]]
    around: Circumstances
    stop: Stop | None

    def name(self, number: int) -> str:
        """``task 3 'Charge card'``; also of what stands in the graph like a task."""
        return name_in(self.plan, number)

    def names(self, numbers: Sequence[int]) -> str:
        """Some of them, with where they stand."""
        shown = [f"{self.name(each)} ({self.tasks[each].state})" for each in numbers[:_MOST_NAMED]]
        if more := len(numbers) - len(shown):
            shown.append(f"{more} more")
        return listed(shown)

    def tries(self, number: int) -> tuple[int, int]:
        """Which attempt of how many the last one was, by the policy that counted."""
        ending, status = self.trail.endings.get(number), self.progress.status(number)
        tried = max(status.attempt - self.progress.bases.get(number, 0), 1)
        most = 1 if ending is None or ending.policy is None else ending.policy.max_retries + 1
        return tried, max(tried, most)

    def due(self, at: datetime) -> str:
        """A time to come; or one that has passed, because nobody saw to it yet."""
        late_s = (self.around.now - at).total_seconds()
        if late_s < 1:
            return f"at {moment(at)}"
        who = "" if self.around.workers else ", and no worker is alive to see to it"
        return f"at {moment(at)}, {late_s:.0f} s ago{who}"


def stopped(case: Case, says: str) -> Why:
    """What stopped the execution did this to the task."""
    if case.stop is None:
        return Why(Reason.KILLED, f"{says} with the execution")
    return Why(case.stop.reason, f"{says}: {case.stop.because}", case.stop.facts)


def killing(audit: Audit, *, whom: str, at: datetime | None) -> tuple[str, dict[str, Json]]:
    """Who killed what and why, as a sentence; and the facts that it is made of."""
    who = audit.actor if audit.impersonator is None else f"{audit.actor} for {audit.impersonator}"
    when = "" if at is None else f" at {moment(at)}"
    why = f": {short(audit.message)}" if audit.message else ""
    facts: dict[str, Json] = {"actor": audit.actor}
    optional = {"impersonator": audit.impersonator, "message": audit.message, "at": at and to_timestamp(at)}
    return f"{who} killed {whom}{when}{why}", facts | {key: content for key, content in optional.items() if content}


def task_killing(entry: Entry, *, whom: str = "it") -> tuple[str, dict[str, Json]]:
    """The same of one task, whose KILL is an entry of the history."""
    told_in = {key: str(content) for key, content in entry.details.items()}
    audit = Audit(actor=entry.actor, impersonator=told_in.get("impersonator"), message=told_in.get("message"))
    return killing(audit, whom=whom, at=entry.ended_at)


def ended_by_kill(case: Case, number: int) -> Why | None:
    """What became of a task because somebody killed it, and nothing else of its execution."""
    entry = case.trail.kills.get(number)
    if entry is None:
        return None
    because, facts = task_killing(entry)
    ended = "skipped" if case.progress.status(number).state is TaskState.SKIPPED else "cancelled"
    return Why(Reason.TASK_KILLED, f"was {ended}: {because}", facts)


def name_in(plan: Plan, number: int) -> str:
    """As ``Case.name``."""
    if number == TRIGGER:
        return "the trigger"
    if number < TRIGGER:
        return f"error catcher {catcher_name(plan, number)!r}"
    config = plan.tasks[number].config
    return f"task {number} {(config.display_name or config.task)!r}"


def listed(parts: Iterable[str]) -> str:
    """``a, b and c``."""
    *ahead, last = parts
    return f"{', '.join(ahead)} and {last}" if ahead else last


def moment(at: datetime) -> str:
    """A time for people: ``2026-01-31 12:00:00 UTC``."""
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def number_of(count: int, what: str) -> str:
    """``1 worker``, ``2 workers``."""
    return f"{count:,} {what}" if count == 1 else f"{count:,} {what}s"


def told(error: ErrorInfo | None) -> str:
    """An error within a sentence."""
    return "it failed" if error is None else f"{short(error.message)} ({error.code})"


def short(text: str) -> str:
    """A text of others on one line, cut where it is long."""
    line = " ".join(text.split())
    return line if len(line) <= _MOST_SHOWN else f"{line[:_MOST_SHOWN]}..."


def error_fact(error: ErrorInfo | None) -> dict[str, Json]:
    """An error as a fact, without its traceback: the history has that."""
    if error is None:
        return {}
    return {"error": {"message": error.message, "code": error.code, "type": error.type}}
