"""Limits with real workers: never too many at once, all done, and nobody left behind."""

from collections import defaultdict
from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa

from orchestrator.model.history import EntryKind
from orchestrator.model.limits import Rate
from orchestrator.model.states import ExecutionState
from orchestrator.store.queries import ExecutionQueries
from orchestrator.store.tables import executions, limit_holders, limit_starts, limit_waiters
from tests.flows import flow, parameter, task
from tests.integration.system import running_system
from tests.integration.waiting import until
from tests.services import redis_url

pytestmark = pytest.mark.services

KEYS, PER_KEY, COUNT = 10, 7, 500


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def system(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("system")
    with running_system(
        folder,
        database=request.param,
        broker_url=redis_url(),
        include=["tests.integration.drive_tasks"],
        workers=2,
        concurrency=4,
    ) as running:
        yield running


def limited(name, **limits):
    return flow(name, task(1, next=[2]), task(2), parameters=[parameter("customer", direction="IN")]) | {
        "limits": limits
    }


def intervals(system, ids):
    """From the start of an execution's first attempt to the end of its last, by the history."""
    found = ExecutionQueries(system.database).entries(dict.fromkeys(ids, 0))
    ended = {
        execution_id: [entry for entry in entries if entry.kind is EntryKind.SUCCEEDED]
        for execution_id, entries in found.items()
    }
    return {
        execution_id: (min(e.started_at for e in entries), max(e.ended_at for e in entries))
        for execution_id, entries in ended.items()
    }


def most_at_once(spans):
    events = sorted([(start, 1) for start, _ in spans] + [(end, -1) for _, end in spans], key=lambda e: (e[0], e[1]))
    running = most = 0
    for _, change in events:
        running += change
        most = max(most, running)
    return most


def all_final(system, ids):
    over = sa.select(sa.func.count()).select_from(executions).where(executions.c.ended_at.is_not(None))
    return system.rows(over.where(executions.c.id.in_(ids)))[0][0] == len(ids)


def test_five_hundred_executions_over_ten_keys_never_run_more_than_seven_of_a_key(system):
    system.client.publish(limited("by-customer", key="$customer$", maxConcurrentPerKey=PER_KEY))
    keys = {
        system.submit("by-customer", {"customer": f"c{number % KEYS}"}): f"c{number % KEYS}" for number in range(COUNT)
    }

    until(lambda: all_final(system, keys), within_s=120, what="the end of all")

    by_key = defaultdict(list)
    for execution_id, span in intervals(system, keys).items():
        by_key[keys[execution_id]].append(span)
    assert {key: len(spans) for key, spans in by_key.items()} == {f"c{n}": COUNT // KEYS for n in range(KEYS)}
    assert max(map(most_at_once, by_key.values())) <= PER_KEY
    states = system.rows(sa.select(executions.c.state).where(executions.c.id.in_(keys)).distinct())
    assert [row.state for row in states] == [ExecutionState.SUCCEEDED.value]
    assert system.rows(sa.select(limit_holders)) == system.rows(sa.select(limit_waiters)) == []


def test_those_of_one_key_begin_in_the_order_in_which_they_came_and_the_most_urgent_first(system):
    system.client.publish(limited("in-order", key="$customer$", maxConcurrentPerKey=1))
    first = system.submit("in-order", {"customer": "a"})
    usual = [system.submit("in-order", {"customer": "a"}) for _ in range(5)]
    urgent = [system.submit("in-order", {"customer": "a"}, priority=9) for _ in range(3)]
    waiting = {row.execution_id for row in system.rows(sa.select(limit_waiters))}

    until(lambda: all_final(system, [first, *usual, *urgent]), what="the end of all")

    began = {execution_id: start for execution_id, (start, _) in intervals(system, [*usual, *urgent]).items()}
    assert sorted((each for each in usual), key=began.__getitem__) == usual
    assert sorted((each for each in urgent), key=began.__getitem__) == urgent
    still_waiting = [each for each in usual if each in waiting]  # those had to let the urgent ones go first
    assert all(began[one] < began[other] for one in urgent for other in still_waiting[1:])


def test_what_waits_for_a_limit_is_cancelled_without_ever_running(system):
    system.client.publish(limited("killed", maxConcurrent=1))
    held = system.client.submit("killed", {"customer": "a"}, executor=f"{system.executor}-nobody")
    waits = system.submit("killed", {"customer": "a"})

    system.client.kill(waits)
    system.client.kill(held)

    assert {system.client.get(each).state for each in (held, waits)} == {ExecutionState.CANCELLED}
    assert system.rows(sa.select(limit_holders)) == system.rows(sa.select(limit_waiters)) == []


def test_a_scheduled_execution_takes_its_slot_when_its_time_has_come(system):
    system.client.publish(limited("later", maxConcurrent=1))
    held = system.client.submit("later", {"customer": "a"}, executor=f"{system.executor}-nobody")
    later = system.submit("later", {"customer": "a"}, at=datetime.now(UTC) + timedelta(seconds=0.2))
    until(lambda: system.rows(sa.select(limit_waiters).where(limit_waiters.c.execution_id == later)), what="its turn")

    system.client.kill(held)

    assert system.wait(later).state is ExecutionState.SUCCEEDED


def test_no_more_executions_start_in_a_time_than_the_rate_allows(system):
    system.client.publish(limited("rated", rate={"count": 3, "perSeconds": 2}))
    ids = [system.submit("rated", {"customer": "a"}) for _ in range(7)]
    admitted = {}

    def note_admitted():
        """A row stays for as long as it counts; a worker may begin with what was admitted later than that."""
        admitted.update((row.execution_id, row.started_at) for row in system.rows(sa.select(limit_starts)))
        return all_final(system, ids)

    until(note_admitted, what="the end of all")

    times = sorted(admitted[each] for each in ids)
    assert all(times[index + 3] - times[index] > timedelta(seconds=1.5) for index in range(4))


def test_an_operator_limits_an_executor(system):
    name = f"executor/{system.executor}"
    system.client.limits.set_limit(name, max_running=2, rate=Rate(count=1000, period_s=1))
    ids = [system.submit(flow("any", task(1))) for _ in range(20)]

    until(lambda: all_final(system, ids), what="the end of all")
    system.client.limits.remove_limit(name)

    assert most_at_once(intervals(system, ids).values()) <= 2
