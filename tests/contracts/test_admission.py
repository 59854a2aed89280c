"""Waiting executions are admitted and really begin; what a crash has left is taken up by the next look."""

from dataclasses import replace
from functools import partial

import pytest
import sqlalchemy as sa

from orchestrator.engine.limits import integration_limit, limits_for
from orchestrator.model.states import ExecutionState
from orchestrator.service.apply import start_held
from orchestrator.service.limits import admit_after, admit_waiting, look_at_limits, may_begin
from orchestrator.service.start import new_execution
from orchestrator.service.submit import new_id
from orchestrator.store.creation import insert_executions
from orchestrator.store.kinds import Hold, Method
from orchestrator.store.limit_rooms import UNSTARTED_S
from orchestrator.store.limit_terms import LimitStore
from orchestrator.store.limits import Entrant, enter, leave, take_turn
from orchestrator.store.tables import executions, later, limit_holders, now
from tests.contracts.stored import NOON, PLACE, at_once
from tests.contracts.world import World, heavy
from tests.flows import flow, parameter

I = integration_limit(**PLACE, integration="flow")  # noqa: E741 - as engine.limits draws it


class Waiting:
    """Executions of one limited integration, as the write path stores them."""

    def __init__(self, world):
        self.world, self.services, self.database = world, world.services, world.database
        self.started = []

    def publish(self, *tasks, **limits):
        document = flow("flow", *tasks, parameters=[parameter("customer", direction="IN", default="acme")])
        self.version_id, _ = self.world.publish(document | ({"limits": limits} if limits else {}))

    def submit(self, *, hold=None):
        plan = self.services.plans.get(self.version_id, None)
        execution_id = new_id()
        new = new_execution(
            plan,
            {},
            execution_id=execution_id,
            version_id=self.version_id,
            **PLACE,
            method=Method.POST_TO_QUEUE,
            executor="default",
            root_id=execution_id,
            hold=hold or Hold.LIMITED,
        )
        if hold is Hold.SCHEDULED:
            new = replace(new, scheduled_at=NOON)
        needs = limits_for(plan.version, new.request, **PLACE, executor="default", is_root=True)
        with self.database.begin() as connection:
            answer = {} if hold else enter(connection, [Entrant(execution_id=execution_id, needs=needs)])
            insert_executions(connection, [new])
            limited = sa.update(executions).where(executions.c.id == execution_id)
            connection.execute(limited.values(is_limited=bool(answer)))
        if answer.get(execution_id):
            self.start([execution_id], self.services)
        return execution_id

    def start(self, ids, services):
        self.started += ids
        return start_held(ids, services)

    def end(self, execution_id):
        """Its final commit, as far as it matters here."""
        with self.database.begin() as connection:
            is_it = executions.c.id == execution_id
            connection.execute(sa.update(executions).where(is_it).values(state="SUCCEEDED", ended_at=now()))
            return leave(connection, execution_id)

    def admit(self, names):
        return admit_waiting(self.services, names, start=self.start)

    def look(self):
        return look_at_limits(self.services, start=self.start)

    def state(self, execution_id):
        stored, _ = self.services.store.read(execution_id)
        return stored.state, stored.hold


@pytest.fixture
def waiting(database, tmp_path):
    return Waiting(World(database, tmp_path))


def test_who_takes_a_turn_begins(waiting):
    waiting.publish(heavy(1), maxConcurrent=1)
    first, second, third = (waiting.submit() for _ in range(3))
    assert waiting.started == [first]

    assert waiting.admit(waiting.end(first)) == 1

    assert waiting.started == [first, second]
    assert waiting.state(second) == (ExecutionState.PENDING, None)
    assert waiting.state(third) == (ExecutionState.PENDING, Hold.LIMITED)
    assert [each.execution_id for each in waiting.services.publisher.sent] == [first, second]


def test_the_end_of_a_limited_execution_lets_the_next_begin(waiting):
    waiting.publish(heavy(1), maxConcurrent=3, key="$customer$", maxConcurrentPerKey=1)
    first, second = waiting.submit(), waiting.submit()
    waiting.end(first)
    ended, _ = waiting.services.store.read(first)

    admit_after([ended], waiting.services, start=waiting.start)

    assert waiting.started == [first, second]


def test_the_end_of_an_execution_without_limits_looks_at_none(waiting):
    waiting.publish(heavy(1))
    ended, _ = waiting.services.store.read(waiting.submit(hold=Hold.SCHEDULED))
    asked = []
    sa.event.listen(waiting.database.engine, "before_cursor_execute", lambda *what: asked.append(what[2]))

    admit_after([ended], waiting.services, start=waiting.start)

    assert asked == []


def test_a_limit_by_key_counts_by_the_value_that_an_execution_starts_with(waiting):
    waiting.publish(heavy(1), key="$customer$", maxConcurrentPerKey=2)

    ids = [waiting.submit() for _ in range(3)]

    assert waiting.started == ids[:2]
    assert {each.name: each.running for each in LimitStore(waiting.database).list()} == {
        f"{I}/key": 0,
        f'{I}/key/"acme"': 2,
    }


def test_hundreds_that_are_over_as_soon_as_they_begin_need_no_deep_stack(waiting):
    """Each frees its slot from within its own start."""
    waiting.publish(heavy(1), maxConcurrent=1)
    first, *others = [waiting.submit() for _ in range(201)]

    def begin_and_end(ids, services):
        for each in ids:
            waiting.started.append(each)
            waiting.admit(waiting.end(each))

    waiting.started.clear()
    number = admit_waiting(waiting.services, waiting.end(first), start=begin_and_end)

    assert number == 200
    assert waiting.started == others


def test_a_look_takes_up_the_turn_of_a_process_that_died_after_its_commit(waiting):
    waiting.publish(heavy(1), maxConcurrent=1)
    first, second = waiting.submit(), waiting.submit()
    waiting.end(first)

    assert waiting.look() is None

    assert waiting.started == [first, second]


def test_a_look_starts_what_a_process_admitted_before_it_died(waiting):
    waiting.publish(heavy(1), maxConcurrent=1)
    first, second = waiting.submit(), waiting.submit()
    with waiting.database.begin() as connection:
        take_turn(connection, {I})
    freed = waiting.end(first)
    with waiting.database.begin() as connection:
        assert take_turn(connection, freed).admitted == (second,)
        held = sa.update(limit_holders).where(limit_holders.c.execution_id == second)
        connection.execute(held.values(since=later(-UNSTARTED_S - 1)))

    waiting.look()
    waiting.look()

    assert waiting.started == [first, second]


def test_a_look_takes_back_the_slot_of_one_that_is_over(database, waiting):
    waiting.publish(heavy(1), maxConcurrent=1)
    first, second = waiting.submit(), waiting.submit()
    with database.begin() as connection:
        connection.execute(sa.update(executions).where(executions.c.id == first).values(state="FAILED"))

    waiting.look()

    assert waiting.started == [first, second]


def test_a_look_says_when_a_rate_lets_the_next_start(waiting):
    waiting.publish(heavy(1), rate={"count": 1, "perSeconds": 3600})
    first, _ = waiting.submit(), waiting.submit()

    assert 3500 < waiting.look() <= 3600
    assert waiting.started == [first]


def test_looks_at_the_same_time_start_each_once(waiting):
    waiting.publish(heavy(1), maxConcurrent=1)
    first, *others = [waiting.submit() for _ in range(10)]
    waiting.end(first)
    LimitStore(waiting.database).set_limit(I, max_running=5)

    at_once(*[waiting.look] * 4)

    assert waiting.started == [first, *others[:5]]
    assert len(waiting.services.publisher.sent) == 6


def test_a_scheduled_start_waits_for_its_limit_when_its_time_has_come(waiting):
    waiting.publish(heavy(1), maxConcurrent=1)
    first, second = (waiting.submit(hold=Hold.SCHEDULED) for _ in range(2))
    stored = [waiting.services.store.read(each)[0] for each in (first, second)]

    answers = [may_begin(each, waiting.services) for each in stored]
    assert answers == [True, False]
    waiting.start([first], waiting.services)

    assert waiting.state(second) == (ExecutionState.PENDING, Hold.LIMITED)
    waiting.admit(waiting.end(first))
    assert waiting.started == [first, second]


def test_a_scheduled_start_is_admitted_once_by_many(waiting):
    waiting.publish(heavy(1), maxConcurrent=5)
    stored, _ = waiting.services.store.read(waiting.submit(hold=Hold.SCHEDULED))

    answers = at_once(*[partial(may_begin, stored, waiting.services)] * 3)

    assert sorted(answers) == [False, False, True]
