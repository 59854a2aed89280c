"""Why a task stands as it does: what runs, and what is over. What waits is told by ``waiting_reasons``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, assert_never

from orchestrator.engine.canvas import queue_of
from orchestrator.engine.explain import FalseEdge, catcher_name, false_edges
from orchestrator.model.explanation import Explanation, Reason
from orchestrator.model.history import EntryKind
from orchestrator.model.json_text import Json
from orchestrator.model.policies import RetryStrategy
from orchestrator.model.snapshots import to_timestamp
from orchestrator.model.states import TaskState
from orchestrator.service.explaining.case import (
    Case,
    Why,
    ended_by_kill,
    error_fact,
    moment,
    number_of,
    stopped,
    task_killing,
    told,
)
from orchestrator.service.explaining.waiting_reasons import (
    held,
    live_workers_on,
    pending,
    pending_rollback,
    ready,
    suspended,
)
from orchestrator.store.circumstances import InChunks
from orchestrator.store.kinds import Phase, owner_of
from orchestrator.store.rows import LiveAttempt

_MOST_EDGES: Final = 3  # that one sentence strings together


def explain_task(case: Case, number: int) -> Explanation:
    """Why this task stands as it does."""
    state = case.tasks[number].state
    why = _why(case, number, state)
    return Explanation(
        task_number=number,
        state=state.value,
        reason=why.reason,
        sentence=f"{case.name(number)} {why.says}",
        facts=why.facts,
    )


def _why(case: Case, number: int, state: TaskState) -> Why:
    match state:
        case TaskState.PENDING_EXECUTION:
            return pending(case, number)
        case TaskState.IN_PROCESS | TaskState.ROLLBACK_IN_PROCESS:
            return _running(case, number)
        case TaskState.SUCCEED:
            return _succeeded(case, number)
        case TaskState.FAILED | TaskState.FATAL:
            return _failed(case, number)
        case TaskState.RETRY_ON_HOLD:
            return held(case, number)
        case TaskState.SUSPENDED:
            return suspended(case, number)
        case TaskState.SKIPPED:
            return _skipped(case, number)
        case TaskState.CANCELLED:
            return ended_by_kill(case, number) or stopped(case, "was cancelled")
        case TaskState.PENDING_ROLLBACK:
            return pending_rollback(case, number)
        case TaskState.ROLLEDBACK:
            return _rolled_back(case, number)
        case _:
            assert_never(state)


# -- it runs -------------------------------------------------------------------------------------------------------


def _running(case: Case, number: int) -> Why:
    live = case.live.get(number)
    assert live is not None, "what runs has a live attempt, at one moment with it"
    is_rollback = case.progress.status(number).is_rolling_back
    ending = _ending(case, live)
    if live.phase is Phase.WAIT:
        why = _waits_for_children(case, live)
        if ending is None:
            return why
        return Why(Reason.BEING_ENDED, f"{why.says}, and ends then: {ending[0]}", {**ending[1], **why.facts})
    if live.worker is None:
        total = sum(case.around.children_of(live).values())
        return ready(case, live, says=f"has seen {number_of(total, 'sub-execution')} end, its join is ready")
    began_at = live.started_at or live.queued_at
    facts: dict[str, Json] = {"since": to_timestamp(began_at), "worker": live.worker, "attempt": live.key.attempt}
    is_alive = any(worker.id == owner_of(live.worker) for worker in case.around.workers)
    where = f"on worker {live.worker}" + ("" if is_alive else ", which has no heartbeat")
    if live.stop_at is not None and ending is not None:
        says = f"is being ended since {moment(live.stop_at)}, {where}: {ending[0]}"
        return Why(Reason.BEING_ENDED, says, {**ending[1], **facts})
    doing = "is being undone" if is_rollback else "is running"
    return Why(Reason.RUNNING, f"{doing} since {moment(began_at)} {where}", facts)


def _ending(case: Case, live: LiveAttempt) -> tuple[str, Mapping[str, Json]] | None:
    """Why what runs is being ended, if it is."""
    entry = case.trail.kills.get(live.key.number)
    if entry is not None and case.progress.status(live.key.number).is_killed:
        return task_killing(entry)
    return None if case.stop is None or live.stop_at is None else (case.stop.because, case.stop.facts)


def _waits_for_children(case: Case, live: LiveAttempt) -> Why:
    states, chunks = case.around.children_of(live), case.around.chunks_of(live)
    total = sum(states.values()) + chunks.total
    over = sum(count for state, count in states.items() if state.is_final)
    going = [f"{count:,} {state}" for state, count in states.items() if not state.is_final]
    facts: dict[str, Json] = {
        "total": total,
        "over": over,
        "states": {state.value: count for state, count in states.items()},
    }
    if chunks.total:
        facts["inChunks"] = {"running": chunks.running, "unclaimed": chunks.unclaimed}
        going += [f"{chunks.running:,} are being run in chunks"] if chunks.running else []
        going += [f"{chunks.unclaimed:,} wait in chunks {_for_a_worker(case, chunks)}"] if chunks.unclaimed else []
    says = f"waits for its sub-executions: {over:,} of {total:,} are over" + (f" ({', '.join(going)})" if going else "")
    return Why(Reason.WAITS_FOR_CHILDREN, says, facts)


def _for_a_worker(case: Case, chunks: InChunks) -> str:
    queue = queue_of(chunks.executor)
    count = live_workers_on(case, queue)
    return (
        f"for {number_of(count, 'live worker')} on queue {queue}" if count else f"and queue {queue} has no live worker"
    )


# -- it is over ----------------------------------------------------------------------------------------------------


def _replayed(case: Case, says: str) -> Why:
    replay = case.stored.replay
    execution_id = "" if replay is None else replay.of
    return Why(
        Reason.REPLAYED, f"{says} in execution {execution_id}, which this one repeats", {"execution": execution_id}
    )


def _succeeded(case: Case, number: int) -> Why:
    ending = case.trail.endings.get(number)
    if ending is None:
        return _replayed(case, "succeeded")
    entry = ending.entry
    facts: dict[str, Json] = {"at": to_timestamp(entry.ended_at), "attempt": entry.attempt}
    if entry.kind is EntryKind.LIFTED:
        says = f"was lifted by {entry.actor or 'somebody'} at {moment(entry.ended_at)}"
        return Why(Reason.LIFTED, says, {**facts, "actor": entry.actor})
    says = f"succeeded at {moment(entry.ended_at)} on worker {entry.worker}, at attempt {entry.attempt}"
    return Why(Reason.SUCCEEDED, says, {**facts, "worker": entry.worker})


def _failed(case: Case, number: int) -> Why:
    ending, status = case.trail.endings.get(number), case.progress.status(number)
    if ending is None:
        return _replayed(case, "failed")
    entry, (tried, most) = ending.entry, case.tries(number)
    facts: dict[str, Json] = {"attempt": tried, "attempts": most} | error_fact(entry.error)
    failed = f"failed at attempt {tried} of {most}: {told(entry.error)}"
    if entry.kind is EntryKind.REJECTED:
        failed = f"was rejected by {entry.actor or 'somebody'} at {moment(entry.ended_at)}"
        facts |= {"at": to_timestamp(entry.ended_at), "actor": entry.actor}
    if status.state is TaskState.FATAL:
        return Why(Reason.FATAL, f"{failed}; its policy FATAL stops the execution", facts)
    if status.is_ignored:
        return Why(Reason.IGNORED, f"{failed}; its policy IGNORE goes on as after success", facts)
    if status.is_caught and (catcher := case.plan.tasks[number].catcher) is not None:
        name = catcher_name(case.plan, catcher)
        return Why(Reason.CAUGHT, f"{failed}; error catcher {name!r} took it", {**facts, "catcher": name})
    if entry.kind is EntryKind.REJECTED:
        return Why(Reason.REJECTED, failed, facts)
    strategy = RetryStrategy.NONE if ending.policy is None else ending.policy.strategy
    if not strategy.is_retrying:
        return Why(Reason.FAILED, f"{failed}; no policy tries it again", facts)
    if ending.is_halted:
        return Why(Reason.NOT_RETRIED, f"{failed}; it is not tried again, because the execution was stopping", facts)
    return Why(Reason.RETRIES_USED_UP, f"{failed}; its policy {strategy} is used up", facts)


def _skipped(case: Case, number: int) -> Why:
    killed = ended_by_kill(case, number)
    if killed is not None:
        return killed
    if number in case.trail.halted:
        return stopped(case, "was skipped")
    found = false_edges(case.plan, case.progress, case.incoming[number], seen=case.trail.edge_parameters)
    if not found:
        return _replayed(case, "was skipped")
    reasons = {each.reason for each in found}
    shown = [_edge_says(case, each) for each in found[:_MOST_EDGES]]
    if more := len(found) - len(shown):
        shown.append(f"{number_of(more, 'more edge')} that lead here were false")
    facts: dict[str, Json] = {"edges": [_edge_fact(each) for each in found]}
    return Why(reasons.pop() if len(reasons) == 1 else Reason.NO_EDGE_TRUE, f"was skipped: {'; '.join(shown)}", facts)


def _edge_says(case: Case, false: FalseEdge) -> str:
    source = case.name(false.edge.source)
    match false.reason:
        case Reason.CONDITION_FALSE:
            return f"the edge from {source} was false because {false.because}"
        case Reason.OTHER_EDGE_TAKEN:
            return f"{source} led to {case.name(false.taken)} instead, its first match"
        case Reason.CATCHER_NOT_CALLED:
            return f"nothing called {source}"
        case Reason.REPLAYED:
            replay = case.stored.replay
            return f"so it was in execution {'' if replay is None else replay.of}, which this one repeats"
        case _:
            return f"{source} {_WHAT_BECAME[false.reason]}"


_WHAT_BECAME: Final[Mapping[Reason, str]] = {
    Reason.SOURCE_SKIPPED: "was skipped",
    Reason.SOURCE_FAILED: "failed",
    Reason.SOURCE_CANCELLED: "was cancelled",
}


def _edge_fact(false: FalseEdge) -> dict[str, Json]:
    facts: dict[str, Json] = {"source": false.edge.source, "reason": false.reason.value}
    if false.edge.condition is not None:
        facts["condition"] = false.edge.condition.text
    if false.because:
        facts["because"] = false.because
    if false.taken:
        facts["taken"] = false.taken
    return facts


# -- it is undone --------------------------------------------------------------------------------------------------


def _rolled_back(case: Case, number: int) -> Why:
    ending = case.trail.endings.get(number)
    if ending is None:
        return _replayed(case, "was undone")
    entry = ending.entry
    facts: dict[str, Json] = {"at": to_timestamp(entry.ended_at), "worker": entry.worker}
    if entry.kind is EntryKind.ROLLED_BACK:
        return Why(Reason.ROLLED_BACK, f"was undone at {moment(entry.ended_at)} on worker {entry.worker}", facts)
    says = f"could not be undone, and its effects remain: {told(entry.error)}"
    return Why(Reason.ROLLBACK_FAILED, says, {**facts, **error_fact(entry.error)})
