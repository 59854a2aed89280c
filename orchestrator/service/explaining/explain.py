"""Explaining: why an execution and each of its tasks stand as they do.

Everything is read at one moment and nothing is kept for it: the history, the timers, the suspensions and the signals
hold the reasons already. The sentences are made by ``task_reasons`` and ``execution_reasons``.
"""

from __future__ import annotations

from orchestrator.engine.explain import edges_by_target
from orchestrator.engine.progress import unpack
from orchestrator.model.explanation import Explanation
from orchestrator.service.explaining.case import Case
from orchestrator.service.explaining.execution_reasons import explain_execution
from orchestrator.service.explaining.halts import Walked, find_stop
from orchestrator.service.explaining.task_reasons import explain_task
from orchestrator.service.fold import begin_fold
from orchestrator.service.query import with_live
from orchestrator.service.services import Services
from orchestrator.service.snapshots import TaskNotFound
from orchestrator.service.trail import Trail
from orchestrator.store.circumstances import read_circumstances
from orchestrator.store.queries import ExecutionQueries
from orchestrator.store.signals import Audit
from orchestrator.store.suspensions import SuspensionStore


def explain(execution_id: str, services: Services, *, task: int | None = None) -> tuple[Explanation, ...]:
    """Why an execution stands as it does: first the whole, then each task; or one task alone.

    Raises:
        ExecutionNotFound: there is none.
        TaskNotFound: it has no such task.
    """
    case = read_case(execution_id, services)
    if task is not None:
        if task not in case.tasks:
            raise TaskNotFound(execution_id, task, sorted(case.tasks))
        return (explain_task(case, task),)
    return explain_execution(case), *(explain_task(case, number) for number in sorted(case.tasks))


def read_case(execution_id: str, services: Services) -> Case:
    """Everything that is known of it.

    Raises:
        ExecutionNotFound: there is none.
    """
    database = services.store.database
    with database.read(at_one_moment=True) as connection:
        queries = ExecutionQueries(database, connection)
        reader = _Reader(queries, services)
        walked = reader.walk(execution_id)
        live = queries.live([execution_id]).get(execution_id, {})
        around = read_circumstances(connection, execution_id)
        stop = find_stop(walked, reader)
    stored, plan = walked.stored, walked.plan
    fold = begin_fold(stored, plan)
    for entry in walked.entries:
        fold.add(entry)
    return Case(
        stored=stored,
        plan=plan,
        progress=unpack(plan, stored.progress, stored.state),
        trail=walked.trail,
        tasks={number: with_live(task, live.get(number)) for number, task in fold.tasks.items()},
        live=live,
        suspensions={each.task_number: each for each in SuspensionStore(database).of_execution(execution_id)},
        incoming=edges_by_target(plan),
        around=around,
        stop=stop,
    )


class _Reader:
    """Reads executions, all at the same moment."""

    def __init__(self, queries: ExecutionQueries, services: Services) -> None:
        self._queries, self._services = queries, services

    def walk(self, execution_id: str) -> Walked:
        stored = self._queries.one(execution_id)
        entries = self._queries.entries({execution_id: 0}).get(execution_id, [])
        plan = self._services.plans.get(stored.version_id, stored.trigger_id)
        return Walked(stored=stored, plan=plan, entries=entries, trail=Trail(stored, plan, entries))

    def audit(self, execution_id: str) -> Audit | None:
        return self._services.signals.last(execution_id)
