"""Why an execution as a whole stands as it does: one sentence, made of those of the tasks that decide it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, assert_never

from orchestrator.engine.decide import counts
from orchestrator.model.explanation import Explanation, Reason
from orchestrator.model.json_text import Json
from orchestrator.model.states import ExecutionState, TaskState
from orchestrator.service.explaining.case import (
    Case,
    Why,
    ended_by_kill,
    error_fact,
    number_of,
    stopped,
    told,
)
from orchestrator.service.explaining.task_reasons import explain_task
from orchestrator.service.explaining.waiting_reasons import not_begun, restart

_MOST_TASKS: Final = 3  # that one sentence speaks of
_UNDER_WAY: Final = (  # what says most of an execution that goes on, first
    Reason.RUNNING,
    Reason.BEING_ENDED,
    Reason.WAITS_FOR_CHILDREN,
    Reason.NOT_TAKEN_YET,
    Reason.NO_LIVE_WORKER,
)


def explain_execution(case: Case) -> Explanation:
    """Why the execution stands as it does."""
    why = _why(case)
    return Explanation(
        task_number=0,
        state=case.stored.state.value,
        reason=why.reason,
        sentence=f"the execution {why.says}",
        facts=why.facts,
    )


def _why(case: Case) -> Why:
    if case.stop is not None and case.trail.halt is None:
        return stopped(case, "is about to be cancelled")
    match case.stored.state:
        case ExecutionState.PENDING:
            return _pending(case)
        case ExecutionState.PROCESSING:
            return _processing(case)
        case ExecutionState.RETRY_ON_HOLD:
            return _held(case)
        case ExecutionState.SUSPENDED:
            return _of_tasks(_suspended(case), "waits")
        case ExecutionState.SUCCEEDED:
            return _succeeded(case)
        case ExecutionState.FAILED:
            return _failed(case)
        case ExecutionState.CANCELLED:
            return _ended(case, "was cancelled")
        case _:
            assert_never(case.stored.state)


# -- it goes on ----------------------------------------------------------------------------------------------------


def _pending(case: Case) -> Why:
    if case.stored.hold is not None:
        return not_begun(case)
    return _of_tasks(_under_way(case), "has not begun")


def _processing(case: Case) -> Why:
    if case.stop is None:
        return _of_tasks(_under_way(case), "goes on")
    if case.stop.reason is Reason.RESTART_TO_COME:
        return restart(case)
    what = "is being undone" if _rolling_back(case) else "is being stopped"
    why = stopped(case, what)
    still = _of_tasks(_under_way(case), "")
    return Why(why.reason, f"{why.says}; still under way{still.says}", {**why.facts, **still.facts})


def _held(case: Case) -> Why:
    if case.stop is not None and case.stop.reason is Reason.RESTART_TO_COME:
        return restart(case)
    held = sorted(
        (explain_task(case, number) for number in _held_tasks(case)), key=lambda each: str(each.facts.get("at"))
    )
    return _of_tasks(held, "is being undone" if _rolling_back(case) else "waits")


def _held_tasks(case: Case) -> list[int]:
    """What a timer, or a release, will try again."""
    return [number for number in case.tasks if case.progress.status(number).is_held]


def _suspended(case: Case) -> list[Explanation]:
    return [explain_task(case, number) for number, task in case.tasks.items() if task.state is TaskState.SUSPENDED]


def _under_way(case: Case) -> list[Explanation]:
    found = [explain_task(case, number) for number in case.live]
    order = {reason: place for place, reason in enumerate(_UNDER_WAY)}
    return sorted(found, key=lambda each: (order.get(each.reason, len(order)), each.task_number))


def _rolling_back(case: Case) -> list[int]:
    return [number for number in case.tasks if case.progress.status(number).is_rolling_back]


def _of_tasks(found: Sequence[Explanation], says: str) -> Why:
    """The sentences of the first of these tasks; the first of all gives the reason."""
    if not found:
        return Why(Reason.NOT_TAKEN_YET, f"{says}: nothing of it is under way")
    shown = [each.sentence for each in found[:_MOST_TASKS]]
    if more := len(found) - len(shown):
        shown.append(f"and {number_of(more, 'more task')}")
    tasks: list[Json] = [each.task_number for each in found]
    return Why(found[0].reason, f"{says}: {'; '.join(shown)}", {**found[0].facts, "tasks": tasks})


# -- it is over ----------------------------------------------------------------------------------------------------


def _succeeded(case: Case) -> Why:
    found = [explain_task(case, number) for number, task in case.tasks.items() if task.state is TaskState.FAILED]
    says = f"succeeded: its {number_of(len(case.tasks), 'task')} came to their end, and no failure counts"
    if found:
        says += f": {'; '.join(each.sentence for each in found[:_MOST_TASKS])}"
    return Why(Reason.ALL_DONE, says)


def _failed(case: Case) -> Why:
    if case.stop is not None:
        return _ended(case, "failed")
    error = case.stored.error
    leaves = [number for number, task in case.plan.tasks.items() if task.is_leaf]
    counting = [number for number in leaves if counts(case.progress.status(number))]
    number = error.task_number if error is not None and error.task_number is not None else 0
    if number not in counting and counting:
        number = counting[0]
        error = case.trail.endings[number].entry.error if number in case.trail.endings else error
    facts: dict[str, Json] = {"task": number} | error_fact(error)
    name, killed = case.name(number), ended_by_kill(case, number)
    if counting:
        failed = f"failed: {told(error)}" if killed is None else killed.says
        return Why(Reason.LAST_TASK_FAILED, f"failed: {name}, which nothing follows, {failed}", facts)
    failed = f"failed ({told(error)})" if killed is None else killed.says
    says = f"failed: {name} {failed}, and no task that nothing follows succeeded"
    return Why(Reason.NO_LAST_TASK_SUCCEEDED, says, facts)


def _ended(case: Case, says: str) -> Why:
    """It was stopped, and what was to be undone is."""
    why = stopped(case, says)
    return Why(why.reason, why.says + _undone(case), why.facts)


def _undone(case: Case) -> str:
    """What became of the rollback."""
    found = [explain_task(case, number) for number, task in case.tasks.items() if task.state is TaskState.ROLLEDBACK]
    failed = [each for each in found if each.reason is Reason.ROLLBACK_FAILED]
    if not found:
        return ""
    says = f"; {len(found) - len(failed):,} of {number_of(len(found), 'task')} were undone"
    return says + "".join(f"; {each.sentence}" for each in failed[:_MOST_TASKS])
