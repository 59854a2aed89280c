"""Executions as the store takes them, made with what a test is about. Progress may be any text: it does not look."""

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from threading import Barrier

import sqlalchemy as sa

from orchestrator.model.definition import parse_integration
from orchestrator.model.history import Entry, EntryKind, Outcome
from orchestrator.model.states import ExecutionState
from orchestrator.service.submit import new_id
from orchestrator.store.changes import Commit, NewAttempt, NewExecution, Wait
from orchestrator.store.executions import ExecutionStore
from orchestrator.store.kinds import AttemptKey, Method, ParentLink
from orchestrator.store.tables import metadata, now
from orchestrator.store.versions import VersionStore

PLACE = {"project": "default", "location": "local"}
NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)
SUCCESS = Outcome(state=ExecutionState.SUCCEEDED)


def clock(database):
    """What it says that the time is; what happens between two looks is stamped between the two."""
    with database.read() as connection:
        return connection.execute(sa.select(now())).scalar_one()


def make_document(name="flow", **more):
    return {
        "name": name,
        "triggerConfigs": [{"triggerId": f"api_trigger/{name}", "startTasks": [{"taskId": "1"}]}],
        "taskConfigs": [{"taskId": "1", "task": "Noop"}],
        **more,
    }


def make_version(name="flow", **more):
    return parse_integration(make_document(name, **more))


def publish(database, name="flow", **more):
    return VersionStore(database).publish(make_version(name, **more), **PLACE)


def make_attempt(number=1, *, attempt=1, worker=None):
    return NewAttempt(number=number, attempt=attempt, task_type="Noop", executor="default", worker=worker)


def make_execution(version_id, *, ready=(1,), parent=None, **more):
    execution_id = more.pop("id", None) or new_id()
    given = {
        "project": "default",
        "location": "local",
        "integration": "flow",
        "trigger_id": "api_trigger/flow",
        "method": Method.POST_TO_QUEUE,
        "executor": "default",
        "progress": "q|?||",
        "request": {},
        "root_id": parent.execution_id if parent else execution_id,
    }
    return NewExecution(
        id=execution_id,
        version_id=version_id,
        parent=parent,
        ready=tuple(make_attempt(each) if isinstance(each, int) else each for each in ready),
        **(given | more),
    )


def make_entry(number=1, *, kind=EntryKind.SUCCEEDED, attempt=1, **more):
    return Entry(kind=kind, task_number=number, attempt=attempt, **({"started_at": NOON, "ended_at": NOON} | more))


def make_commit(claimed, **more):
    """The claimed task is over, and the execution goes on."""
    given = {
        "execution": claimed.execution,
        "worker": claimed.worker,
        "state": ExecutionState.PROCESSING,
        "progress": "s|1||",
        "entries": (make_entry(claimed.key.number),),
        "released": (claimed.key,),
    }
    return Commit(**(given | more))


def make_end(claimed, **more):
    """The claimed task is over, and with it the execution."""
    return make_commit(claimed, **({"state": ExecutionState.SUCCEEDED, "outcome": SUCCESS} | more))


def make_wait(number=1, *, children, arrived=0, round=1, first_position=0, carry=None):  # noqa: A002
    return Wait(
        number=number,
        attempt=1,
        round=round,
        executor="default",
        children=children,
        arrived=arrived,
        first_position=first_position,
        carry=carry,
    )


def link_to(key, *, position=0, round=1):  # noqa: A002 - the word is ours
    return ParentLink(
        execution_id=key.execution_id, number=key.number, attempt=key.attempt, round=round, position=position
    )


def start(database, *, ready=(1,), **more):
    """A stored execution and the keys of its ready tasks."""
    new = make_execution(publish(database), ready=ready, **more)
    ExecutionStore(database).create([new])
    return [AttemptKey(execution_id=new.id, number=each.number, attempt=each.attempt) for each in new.ready]


def start_children(database, key, *, number_of_children, **more):
    """Claim the task and let it wait for a round of sub-executions.

    Returns:
        The keys of the children's start tasks.
    """
    store = ExecutionStore(database)
    claimed = store.claim(key, worker="parent")
    version_id = claimed.execution.version_id
    children = [
        make_execution(version_id, parent=link_to(key, position=position)) for position in range(number_of_children)
    ]
    wait = make_wait(key.number, children=number_of_children, **more)
    written = store.commit(
        make_commit(
            claimed,
            entries=(make_entry(kind=EntryKind.CHILDREN_STARTED),),
            released=(),
            waits=(wait,),
            children=tuple(children),
        )
    )
    assert written == ()
    return [AttemptKey(execution_id=child.id, number=1, attempt=1) for child in children]


def rows_of(database, *tables):
    """Everything in the tables (default: in all), to be compared before and after."""
    with database.read() as connection:
        return {
            table.name: sorted(map(repr, connection.execute(sa.select(table)).all()))
            for table in tables or metadata.sorted_tables
        }


def at_once(*calls):
    """Run the calls in a thread each, all starting at the same moment; their results in order."""
    barrier = Barrier(len(calls))

    def run(call):
        barrier.wait(60)
        return call()

    with ThreadPoolExecutor(len(calls)) as pool:
        return list(pool.map(run, calls))


def count(results):
    return dict(Counter(results))
