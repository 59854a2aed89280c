"""What waiting promises: a change is told to all who wait for it, with one look for all of them."""

import asyncio
from contextlib import ExitStack
from functools import partial

import pytest
import sqlalchemy as sa

from orchestrator.errors import ExecutionNotFound, Unreachable
from orchestrator.model.states import ExecutionState
from orchestrator.service.at_rest import is_at_rest
from orchestrator.service.waiting import Waiting
from orchestrator.store.executions import ExecutionStore
from orchestrator.store.glances import Glance, GlanceStore
from orchestrator.store.kinds import AttemptKey
from orchestrator.store.tables import executions
from tests.contracts.control_world import ControlWorld, asks
from tests.contracts.stored import make_end, start, start_children
from tests.contracts.world import World, heavy

NEVER_S = 3600.0


def glance(**more):
    given = {"state": ExecutionState.PROCESSING, "revision": 1, "begun_at": None, "arrived": 0}
    return Glance(**(given | more))


class Looks:
    """What is looked at; keeps who was looked at together."""

    def __init__(self, **standing):
        self.standing, self.looks = standing, []

    def __call__(self, ids):
        self.looks.append(sorted(ids))
        return {each: self.standing[each] for each in ids if each in self.standing}


async def first_of(waiting, execution_id):
    with waiting.watch(execution_id) as watch:
        return await watch.after(None, wait_s=NEVER_S)


# -- glances -------------------------------------------------------------------------------------------------------


@pytest.fixture
def look(database):
    return lambda key: GlanceStore(database).look([key.execution_id])[key.execution_id]


def test_a_glance_changes_with_a_claim_and_with_a_commit(database, look):
    (key,) = start(database)
    store, seen = ExecutionStore(database), [look(key)]

    claimed = store.claim(key, worker="w")
    seen.append(look(key))
    store.commit(make_end(claimed))
    seen.append(look(key))

    assert [each.state.value for each in seen] == ["PENDING", "PROCESSING", "SUCCEEDED"]
    assert [each.revision for each in seen] == [0, 0, 1]
    assert [each.begun_at is None for each in seen] == [True, False, True]


def test_a_glance_changes_when_another_task_begins(database, look):
    one, other = start(database, ready=(1, 2))
    store = ExecutionStore(database)
    store.claim(one, worker="w")
    before = look(one)

    store.claim(other, worker="w")

    assert look(one) != before
    assert look(one).revision == before.revision


def test_a_glance_counts_sub_executions_that_are_over(database, look):
    (key,) = start(database)
    children = start_children(database, key, number_of_children=2)
    before, store = look(key), ExecutionStore(database)

    store.commit(make_end(store.claim(children[0], worker="w")))

    assert (before.arrived, look(key).arrived) == (0, 1)


def test_what_is_not_there_is_left_out(database):
    (key,) = start(database)

    assert set(GlanceStore(database).look([key.execution_id, "nothing"])) == {key.execution_id}


# -- waiting -------------------------------------------------------------------------------------------------------


def test_whoever_knows_nothing_is_answered_by_the_first_look(database):
    (key,) = start(database)
    waiting = Waiting(GlanceStore(database).look)

    assert asyncio.run(first_of(waiting, key.execution_id)).state is ExecutionState.PENDING


def test_a_change_ends_the_wait(database):
    (key,) = start(database)
    store, waiting = ExecutionStore(database), Waiting(GlanceStore(database).look)

    async def wait():
        with waiting.watch(key.execution_id) as watch:
            seen = await watch.after(None, wait_s=NEVER_S)
            claiming = asyncio.to_thread(partial(store.claim, key, worker="w"))
            changed, _ = await asyncio.gather(watch.after(seen, wait_s=NEVER_S), claiming)
            return changed.state

    assert asyncio.run(wait()) is ExecutionState.PROCESSING


def test_without_a_change_the_answer_is_what_was_known(database):
    (key,) = start(database)
    waiting = Waiting(GlanceStore(database).look)

    async def wait():
        with waiting.watch(key.execution_id) as watch:
            seen = await watch.after(None, wait_s=NEVER_S)
            return await watch.after(seen, wait_s=0.05) is seen

    assert asyncio.run(wait())


def test_what_is_deleted_meanwhile_is_told(database):
    (key,) = start(database)
    waiting = Waiting(GlanceStore(database).look)

    async def wait():
        with waiting.watch(key.execution_id) as watch:
            seen = await watch.after(None, wait_s=NEVER_S)
            await asyncio.gather(watch.after(seen, wait_s=NEVER_S), asyncio.to_thread(partial(remove, database)))

    with pytest.raises(ExecutionNotFound):
        asyncio.run(wait())


def remove(database):
    with database.begin() as connection:
        connection.execute(sa.text("DELETE FROM live_attempts"))
        connection.execute(sa.delete(executions))


def test_what_is_not_there_is_told_to_each_who_waits():
    waiting = Waiting(Looks())

    async def wait():
        return await asyncio.gather(*(first_of(waiting, "x") for _ in range(3)), return_exceptions=True)

    assert [type(each) for each in asyncio.run(wait())] == [ExecutionNotFound] * 3


def test_two_hundred_who_wait_for_one_cost_one_look_at_a_time():
    looks = Looks(x=glance())
    waiting = Waiting(looks)

    async def wait():
        with ExitStack() as stack:
            watches = [stack.enter_context(waiting.watch("x")) for _ in range(200)]
            seen = await asyncio.gather(*(each.after(None, wait_s=NEVER_S) for each in watches))
            at_first = len(looks.looks)
            waits = [asyncio.ensure_future(each.after(seen[0], wait_s=NEVER_S)) for each in watches]
            await asyncio.sleep(0)  # they wait
            looks.standing["x"] = glance(revision=2)
            told = await asyncio.gather(*waits)
            return at_first, {each.revision for each in told}, waiting.waiters

    assert asyncio.run(wait()) == (1, {2}, 200)
    assert set(map(tuple, looks.looks)) == {("x",)}
    assert waiting.waiters == 0


def test_many_executions_are_looked_at_together():
    ids = [f"e{number:03}" for number in range(200)]
    looks = Looks(**dict.fromkeys(ids, glance()))
    waiting = Waiting(looks)

    async def wait():
        with ExitStack() as stack:
            watches = [stack.enter_context(waiting.watch(each)) for each in ids]
            return await asyncio.gather(*(each.after(None, wait_s=NEVER_S) for each in watches))

    assert len(asyncio.run(wait())) == 200
    assert looks.looks == [ids]


def test_looks_become_rarer_while_nothing_happens_and_end_with_the_last_waiter():
    looks = Looks(x=glance())
    waiting = Waiting(looks)

    async def wait():
        with waiting.watch("x") as watch:
            await watch.after(glance(), wait_s=1.0)
        await first_of(waiting, "y")

    looks.standing["y"] = glance()
    asyncio.run(wait())
    assert 1 < len(looks.looks) < 30  # a look each 10 ms would be 100
    assert looks.looks[-1] == ["y"]


def test_a_look_that_began_before_somebody_waits_does_not_answer_them():
    looks = Looks(x=glance())
    waiting = Waiting(looks)

    async def wait():
        with waiting.watch("x") as watch:
            await watch.after(None, wait_s=NEVER_S)
            looks.standing["x"] = glance(revision=2)  # nobody has looked since
            return await first_of(waiting, "x")

    assert asyncio.run(wait()).revision == 2


def test_a_database_that_is_away_is_waited_for():
    looks, answers = Looks(x=glance()), [Unreachable("the database", "u", "r")] * 2

    def look(ids):
        if answers:
            raise answers.pop()
        return looks(ids)

    assert asyncio.run(first_of(Waiting(look), "x")) == glance()


def test_a_look_that_fails_otherwise_fails_for_all_who_wait():
    def look(ids):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        asyncio.run(first_of(Waiting(look), "x"))


def test_what_many_read_at_the_same_time_is_read_once():
    waiting, reads = Waiting(Looks()), []

    def read():
        reads.append("read")
        return len(reads)

    async def ask():
        first = await asyncio.gather(*(waiting.shared("key", read) for _ in range(5)))
        return first, await waiting.shared("key", read)

    assert asyncio.run(ask()) == ([1] * 5, 2)


def test_whoever_stops_waiting_for_a_read_takes_it_from_no_other():
    waiting = Waiting(Looks())

    async def ask():
        one, other = (asyncio.ensure_future(waiting.shared("key", lambda: "found")) for _ in range(2))
        await asyncio.sleep(0)
        one.cancel()
        return await other

    assert asyncio.run(ask()) == "found"


# -- rest ----------------------------------------------------------------------------------------------------------


def test_an_execution_rests_when_it_is_over_or_somebody_is_asked(database, tmp_path):
    world = ControlWorld(database, tmp_path)
    (key,) = world.submit(asks(1))
    resting = [is_at_rest(world.id, world.execution.state, world.services)]

    world.drive(key)
    resting.append(is_at_rest(world.id, world.execution.state, world.services))

    assert world.execution.state is ExecutionState.SUSPENDED
    assert resting == [False, True]


def test_an_execution_that_waits_for_its_worker_does_not_rest(database, tmp_path):
    world = World(database, tmp_path)
    key = AttemptKey(execution_id=world.submit(heavy(1))[0].execution_id, number=1, attempt=1)
    assert not is_at_rest(world.id, world.execution.state, world.services)

    world.drive(key)

    assert is_at_rest(world.id, world.execution.state, world.services)
