"""Why a task stands as it does: one function for each state."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, assert_never

from orchestrator.engine.canvas import queue_of
from orchestrator.engine.explain import FalseEdge, catcher_name, false_edges, open_sources, undone_first
from orchestrator.engine.plan import TRIGGER
from orchestrator.model.explanation import Explanation, Reason
from orchestrator.model.history import EntryKind
from orchestrator.model.json_text import Json
from orchestrator.model.policies import RetryStrategy
from orchestrator.model.snapshots import to_timestamp
from orchestrator.model.states import TaskState
from orchestrator.model.timers import TimerKind
from orchestrator.service.case import Case, Why, error_fact, listed, moment, number_of, short, told
from orchestrator.store.rows import Hold, LiveAttempt, Phase

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
            return _pending(case, number)
        case TaskState.IN_PROCESS | TaskState.ROLLBACK_IN_PROCESS:
            return _running(case, number)
        case TaskState.SUCCEED:
            return _succeeded(case, number)
        case TaskState.FAILED | TaskState.FATAL:
            return _failed(case, number)
        case TaskState.RETRY_ON_HOLD:
            return _held(case, number)
        case TaskState.SUSPENDED:
            return _suspended(case, number)
        case TaskState.SKIPPED:
            return _skipped(case, number)
        case TaskState.CANCELLED:
            return _stopped(case, "was cancelled")
        case TaskState.PENDING_ROLLBACK:
            return _pending_rollback(case, number)
        case TaskState.ROLLEDBACK:
            return _rolled_back(case, number)
        case _:
            assert_never(state)


# -- it has not begun ----------------------------------------------------------------------------------------------


def not_begun(case: Case) -> Why:
    """Why the start of an execution that is held is not decided yet; goes on after "the execution"."""
    stored, line = case.stored, case.around.line
    if stored.hold is Hold.SCHEDULED and stored.scheduled_at is not None:
        facts: dict[str, Json] = {"at": to_timestamp(stored.scheduled_at)}
        return Why(Reason.SCHEDULED, f"is scheduled to begin {case.due(stored.scheduled_at)}", facts)
    if line is None:
        return Why(Reason.ADMITTED, "was let in by its limits, and is about to start")
    facts = {
        "limit": line.limit,
        "running": line.running,
        "maxRunning": line.max_running,
        "rate": None if line.rate is None else f"{line.rate.count} in {line.rate.period_s} s",
        "holders": list(line.holders),
        "ahead": line.ahead,
    }
    says = f"waits for the limit {line.limit!r}: {number_of(line.running, 'execution')} of {_room(line.max_running)}"
    if line.holders:
        more = line.running - len(line.holders)
        says += f" run ({', '.join(line.holders)}{f' and {more:,} more' if more > 0 else ''})"
    if line.rate is not None:
        says += f", and at most {line.rate.count:,} start in {line.rate.period_s:,} s"
    return Why(Reason.LIMIT_FULL, f"{says}; {line.ahead:,} before it in line", facts)


def _room(most: int | None) -> str:
    return "any number" if most is None else f"{most:,}"


def _pending(case: Case, number: int) -> Why:
    live, stop = case.live.get(number), case.stop
    if stop is not None and stop.reason is not Reason.RESTART_TO_COME:
        return _stopped(case, "does not run any more")
    if case.stored.hold is not None:
        why = not_begun(case)
        return Why(why.reason, f"waits for the execution, which {why.says}", why.facts)
    if stop is not None:
        return _restart(case, "runs when the execution begins again")
    if live is not None:
        return ready(case, live)
    sources = open_sources(case.progress, case.incoming[number])
    tasks = [source for source in sources if source > TRIGGER]
    catchers = [catcher_name(case.plan, source) for source in sources if source < TRIGGER]
    if tasks:
        return Why(Reason.WAITS_FOR_TASKS, f"waits for {case.names(tasks)}", {"tasks": list(tasks)})
    called = listed(f"{each!r}" for each in catchers) if catchers else "of its own"
    facts: dict[str, Json] = {"catcher": catchers[0]} if catchers else {}
    return Why(Reason.CATCHER_NOT_CALLED, f"runs if error catcher {called} is called; nothing has called it yet", facts)


def ready(case: Case, live: LiveAttempt, *, says: str = "is ready") -> Why:
    """Why no worker has taken what is ready."""
    queue = queue_of(live.executor)
    count = sum(queue in worker.queues for worker in case.around.workers)
    waited_s = max((case.around.now - live.queued_at).total_seconds(), 0.0)
    facts: dict[str, Json] = {
        "executor": live.executor,
        "queue": queue,
        "readyAt": to_timestamp(live.queued_at),
        "waitedS": waited_s,
        "workers": count,
        "losses": live.losses,
    }
    lost = f"; it has lost {number_of(live.losses, 'worker')} already" if live.losses else ""
    if not count:
        no_worker = f"{says}, and queue {queue} has no live worker, for {waited_s:.0f} s now{lost}"
        return Why(Reason.NO_LIVE_WORKER, no_worker, facts)
    taken = f"{says}, and no worker has taken it for {waited_s:.0f} s"
    return Why(Reason.NOT_TAKEN_YET, f"{taken} ({number_of(count, 'live worker')} on queue {queue}){lost}", facts)


# -- it runs -------------------------------------------------------------------------------------------------------


def _running(case: Case, number: int) -> Why:
    live = case.live.get(number)
    assert live is not None, "what runs has a live attempt, at one moment with it"
    is_rollback = case.progress.status(number).is_rolling_back
    if live.phase is Phase.WAIT:
        return _waits_for_children(case, live)
    if live.worker is None:
        total = sum(case.around.children_of(live).values())
        return ready(case, live, says=f"has seen {number_of(total, 'sub-execution')} end, its join is ready")
    began_at = live.started_at or live.queued_at
    facts: dict[str, Json] = {"since": to_timestamp(began_at), "worker": live.worker, "attempt": live.key.attempt}
    node = live.worker.rpartition("/")[0]
    is_alive = any(worker.id.rpartition("/")[0] == node for worker in case.around.workers)
    where = f"on worker {live.worker}" + ("" if is_alive else ", which has no heartbeat")
    if live.stop_at is not None and case.stop is not None:
        says = f"is being ended since {moment(live.stop_at)}, {where}: {case.stop.because}"
        return Why(Reason.BEING_ENDED, says, {**case.stop.facts, **facts})
    doing = "is being undone" if is_rollback else "is running"
    return Why(Reason.RUNNING, f"{doing} since {moment(began_at)} {where}", facts)


def _waits_for_children(case: Case, live: LiveAttempt) -> Why:
    states = case.around.children_of(live)
    total, over = sum(states.values()), sum(count for state, count in states.items() if state.is_final)
    going = ", ".join(f"{count:,} {state}" for state, count in states.items() if not state.is_final)
    facts: dict[str, Json] = {
        "total": total,
        "over": over,
        "states": {state.value: count for state, count in states.items()},
    }
    says = f"waits for its sub-executions: {over:,} of {total:,} are over" + (f" ({going})" if going else "")
    return Why(Reason.WAITS_FOR_CHILDREN, says, facts)


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


def _stopped(case: Case, says: str) -> Why:
    """What stopped the execution did this to the task."""
    if case.stop is None:
        return Why(Reason.KILLED, f"{says} with the execution")
    return Why(case.stop.reason, f"{says}: {case.stop.because}", case.stop.facts)


def _skipped(case: Case, number: int) -> Why:
    if number in case.trail.halted:
        return _stopped(case, "was skipped")
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


# -- it waits ------------------------------------------------------------------------------------------------------


def _restart(case: Case, says: str) -> Why:
    """The execution begins again: when its time has come, or once nothing of it runs."""
    halt, runs = case.trail.halt, case.trail.runs
    assert halt is not None, "a restart to come has a failure that led to it"
    policy = case.trail.endings[halt.number].policy
    most = runs + 1 if policy is None else policy.max_retries + 1
    timer = case.around.timer(TimerKind.RESTART, halt.number)
    facts: dict[str, Json] = {"task": halt.number, "run": runs + 1, "runs": most} | error_fact(halt.entry.error)
    when = "once nothing of it runs any more" if timer is None else case.due(timer.due_at)
    if timer is not None:
        facts["at"] = to_timestamp(timer.due_at)
    because = f"{case.name(halt.number)} failed: {told(halt.entry.error)}"
    return Why(Reason.RESTART_TO_COME, f"{says} {when}, for run {runs + 1} of {most}, because {because}", facts)


def restart(case: Case) -> Why:
    """Likewise; goes on after "the execution"."""
    return _restart(case, "begins again")


def _held(case: Case, number: int) -> Why:
    live, ending = case.live.get(number), case.trail.endings.get(number)
    halt = case.trail.halt
    if halt is not None and halt.number == number:
        return _restart(case, "failed, and the execution begins again")
    if case.stop is not None:
        return _stopped(case, "is not tried again")
    if live is not None:
        return ready(case, live, says="is ready for its next attempt")
    return _retry(case, number, "failed", error_facts=error_fact(None if ending is None else ending.entry.error))


def _retry(case: Case, number: int, what: str, *, error_facts: Mapping[str, Json]) -> Why:
    ending, (tried, most) = case.trail.endings.get(number), case.tries(number)
    timer = case.around.timer(TimerKind.RETRY, number)
    facts: dict[str, Json] = {"attempt": tried, "attempts": most, **error_facts}
    says = f"{what} at attempt {tried} of {most}: {told(None if ending is None else ending.entry.error)}"
    if timer is None:
        return Why(Reason.RETRY_TO_COME, f"{says}; the next is due", facts)
    return Why(
        Reason.RETRY_TO_COME,
        f"{says}; the next is due {case.due(timer.due_at)}",
        {**facts, "at": to_timestamp(timer.due_at)},
    )


def _suspended(case: Case, number: int) -> Why:
    found = case.suspensions.get(number)
    if found is None:
        return Why(Reason.WAITS_FOR_ANSWER, "waits for an answer")
    facts: dict[str, Json] = {"suspension": found.id, "since": to_timestamp(found.created_at)}
    if found.expires_at is not None:
        facts["expiresAt"] = to_timestamp(found.expires_at)
    if found.is_timer and found.expires_at is not None:
        return Why(Reason.WAITS_FOR_TIME, f"waits for a time, {case.due(found.expires_at)}", facts)
    who = listed(found.who_may_resolve) if found.who_may_resolve else "anybody"
    facts |= {"whoMayResolve": list(found.who_may_resolve), "message": found.message}
    says = f"waits for the answer of {who} since {moment(found.created_at)}"
    says += f", to {short(found.message)!r}" if found.message else ""
    if found.expires_at is not None:
        end = "lifted" if found.is_lifted_when_expired else "rejected"
        says += f"; it is {end} {case.due(found.expires_at)}"
    return Why(Reason.WAITS_FOR_ANSWER, says, facts)


# -- it is undone --------------------------------------------------------------------------------------------------


def _pending_rollback(case: Case, number: int) -> Why:
    live = case.live.get(number)
    if live is not None:
        return ready(case, live, says="is ready to be undone")
    if case.progress.status(number).is_waiting:
        ending = case.trail.endings.get(number)
        error = None if ending is None else ending.entry.error
        return _rollback_retry(case, number, error_fact(error))
    first = undone_first(case.plan, case.progress, number)
    return Why(Reason.WAITS_FOR_ROLLBACKS, f"is undone after {case.names(first)}", {"tasks": list(first)})


def _rollback_retry(case: Case, number: int, facts: Mapping[str, Json]) -> Why:
    return _retry(case, number, "could not be undone", error_facts=facts)


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
