"""Why a task, or an execution, waits: for its time, a limit, other tasks, a worker, the clock, or a person."""

from __future__ import annotations

from orchestrator.engine.canvas import queue_of
from orchestrator.engine.explain import catcher_name, open_sources, undone_first
from orchestrator.engine.plan import TRIGGER
from orchestrator.model.explanation import Reason
from orchestrator.model.json_text import Json
from orchestrator.model.snapshots import to_timestamp
from orchestrator.model.timers import TimerKind
from orchestrator.service.explaining.case import Case, Why, error_fact, listed, moment, number_of, short, stopped, told
from orchestrator.store.circumstances import Line
from orchestrator.store.kinds import Hold, WorkerState
from orchestrator.store.rows import LiveAttempt

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
    return Why(Reason.LIMIT_FULL, f"waits for the limit {line.limit!r}, {_fullness(line)}", facts)


def _fullness(line: Line) -> str:
    """``which is full: 2 of 2 run (ID, ID); 3 are before it in line``."""
    if line.max_running is not None and line.running >= line.max_running:
        says = f"which is full: {line.running:,} of {line.max_running:,} run"
    elif line.rate is not None:
        says = f"which lets {line.rate.count:,} start in {line.rate.period_s:,} s: {line.running:,} run"
    else:
        says = f"where it is not its turn yet: {line.running:,} run"
    if line.holders:
        more = line.running - len(line.holders)
        says += f" ({', '.join(line.holders)}{f' and {more:,} more' if more > 0 else ''})"
    return f"{says}; {line.ahead:,} {'is' if line.ahead == 1 else 'are'} before it in line"


def pending(case: Case, number: int) -> Why:
    """Why a task has not begun."""
    live, stop = case.live.get(number), case.stop
    if stop is not None and stop.reason is not Reason.RESTART_TO_COME:
        return stopped(case, "does not run any more")
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


def live_workers_on(case: Case, queue: str) -> int:
    """How many workers take what is in a queue."""
    return sum(queue in worker.queues for worker in case.around.workers if worker.state is WorkerState.READY)


def ready(case: Case, live: LiveAttempt, *, says: str = "is ready") -> Why:
    """Why no worker has taken what is ready."""
    queue = queue_of(live.executor)
    count = live_workers_on(case, queue)
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


def held(case: Case, number: int) -> Why:
    """Why a task that failed is not over."""
    live, halt = case.live.get(number), case.trail.halt
    if halt is not None and halt.number == number:
        return _restart(case, "failed, and the execution begins again")
    if case.stop is not None:
        return stopped(case, "is not tried again")
    if live is not None:
        return ready(case, live, says="is ready for its next attempt")
    if case.progress.status(number).is_quarantined:
        return _quarantined(case, number)
    return _retry(case, number, "failed")


def _retry(case: Case, number: int, what: str) -> Why:
    ending, (tried, most) = case.trail.endings.get(number), case.tries(number)
    error = None if ending is None else ending.entry.error
    timer = case.around.timer(TimerKind.RETRY, number)
    facts: dict[str, Json] = {"attempt": tried, "attempts": most} | error_fact(error)
    says = f"{what} at attempt {tried} of {most}: {told(error)}"
    if timer is None:
        return Why(Reason.RETRY_TO_COME, f"{says}; the next is due", facts)
    return Why(
        Reason.RETRY_TO_COME,
        f"{says}; the next is due {case.due(timer.due_at)}",
        {**facts, "at": to_timestamp(timer.due_at)},
    )


def _quarantined(case: Case, number: int) -> Why:
    entry = case.trail.endings[number].entry
    says = f"is in quarantine since {moment(entry.ended_at)}: {told(entry.error)}"
    facts: dict[str, Json] = {"since": to_timestamp(entry.ended_at), **error_fact(entry.error)}
    return Why(Reason.QUARANTINED, f"{says}; `orchestrator release {case.stored.id} {number}` lets it run again", facts)


def suspended(case: Case, number: int) -> Why:
    """Whom a task waits for, or until when."""
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


# -- it is to be undone ---------------------------------------------------------------------------------------------


def pending_rollback(case: Case, number: int) -> Why:
    """Why a task is not undone yet."""
    live = case.live.get(number)
    if live is not None:
        return ready(case, live, says="is ready to be undone")
    if case.progress.status(number).is_quarantined:
        return _quarantined(case, number)
    if case.progress.status(number).is_waiting:
        return _retry(case, number, "could not be undone")
    first = undone_first(case.plan, case.progress, number)
    return Why(Reason.WAITS_FOR_ROLLBACKS, f"is undone after {case.names(first)}", {"tasks": list(first)})
