"""Looking at executions over the network: what is read, at which depth, and with how many statements."""

import pytest

from orchestrator.service.fold import Snapshots
from orchestrator.service.listing import ListWish
from orchestrator.service.looking import Depth, look_at, look_at_page
from orchestrator.service.query import TreeReader
from orchestrator.service.replay import ReplayWish, replay
from orchestrator.service.submit import Place
from orchestrator.store.queries import ExecutionQueries
from tests.contracts.control_world import ControlWorld, asks, break_down, nests, retry
from tests.contracts.large import captured
from tests.contracts.stored import PLACE
from tests.contracts.world import heavy, light
from tests.flows import flow

HERE = Place(**PLACE)
ROWS = Depth(with_history=False, with_snapshots=False)


@pytest.fixture
def world(database, tmp_path):
    return ControlWorld(database, tmp_path)


def page(world, depth=Depth(), **wish):  # noqa: B008 - frozen
    return look_at_page(ListWish(with_children=True, **wish), world.services, place=HERE, depth=depth)


def family(world, count=2):
    """A parent, its children, and what is below them, all over."""
    world.publish(flow("leaf", light(1)))
    world.publish(flow("middle", nests(1, "leaf", count=1)))
    world.submit(nests(1, "middle", count=count))
    world.drive_all()
    return world.id


def test_a_look_tells_what_is_kept_beside_the_history(world):
    version_id, _ = world.publish(flow("flow", heavy(1)) | {"userLabel": "first"})
    world.start_now(version_id)
    facts = look_at(world.id, world.services, depth=Depth()).facts
    assert (facts.version.user_label, facts.version_state) == ("first", "ACTIVE")
    assert (facts.request_id, facts.cancel_reason, facts.next_at) == (None, "", None)

    world.publish(flow("flow", heavy(1), heavy(2)))
    assert look_at(world.id, world.services, depth=Depth()).facts.version_state == "SNAPSHOT"


def test_why_it_was_killed_is_told_of_everything_below_it(world):
    world.publish(flow("leaf", asks(1)))
    world.publish(flow("middle", nests(1, "leaf")))
    world.submit(nests(1, "middle"))
    world.drive_all()

    world.kill()

    execution = look_at(world.id, world.services, depth=Depth())
    (middle,) = execution.children
    (leaf,) = middle.children
    assert [each.state.value for each in (execution, middle, leaf)] == ["CANCELLED"] * 3
    assert [each.facts.cancel_reason for each in (execution, middle, leaf)] == ["enough"] * 3
    assert {each.facts.cancel_reason for each in page(world)[0]} == {"enough"}
    for each in (middle, leaf):
        assert look_at(each.id, world.services, depth=ROWS).facts.cancel_reason == "enough"


def test_when_it_goes_on_is_told_while_it_is_on_hold(world):
    world.code[1] = break_down
    (key,) = world.submit(heavy(1, **retry(1)))
    world.drive(key)

    held = look_at(world.id, world.services, depth=ROWS)

    assert held.state.value == "RETRY_ON_HOLD"
    assert 50 < (held.facts.next_at - held.updated_at).total_seconds() < 70
    world.kill()
    assert look_at(world.id, world.services, depth=ROWS).facts.next_at is None


def test_a_page_shows_each_execution_as_a_look_at_it_alone_does(world):
    family(world)

    executions, token = page(world)

    assert len(executions) == 5
    assert token == ""
    alone = Depth(with_children=False)
    assert executions == [look_at(each.id, world.services, depth=alone) for each in executions]
    assert max(len(each.snapshots[0].ancestor_tasks) for each in executions) == 2


def test_replays_are_told_in_a_page(world):
    world.submit(heavy(1))
    world.drive_all()
    again = replay(ReplayWish(execution_id=world.id), world.services)

    executions, _ = page(world)

    assert {each.id: (each.replay_of, each.replays) for each in executions} == {
        world.id: (None, (again,)),
        again: (world.id, ()),
    }


def test_rows_alone_tell_the_same_of_what_they_have(world):
    top = family(world)

    bare, full = (look_at(top, world.services, depth=each) for each in (ROWS, Depth()))

    assert (bare.tasks, bare.attempts, bare.snapshots) == ((), (), ())
    assert (bare.state, bare.response, bare.facts) == (full.state, full.response, full.facts)
    assert [each.id for each in bare.children] == [each.id for each in full.children]


@pytest.mark.parametrize("depth", [Depth(), ROWS])
def test_a_page_costs_as_many_statements_however_long_it_is(world, depth):
    family(world, count=10)
    page(world, depth)  # plans are read once a process
    counts = []
    for size in (2, 21):
        with captured(world.database) as seen:
            assert len(page(world, depth, page_size=size)[0]) == size
        counts.append(len(seen))

    assert counts[0] == counts[1]
    if not depth.with_history:
        assert not [each for each in seen if "FROM history" in str(each)]


def test_looking_again_through_one_reader_shows_the_same(world):
    family(world)
    queries = ExecutionQueries(world.database)
    reader = TreeReader(queries, world.services.plans, snapshots=Snapshots.ALL, with_facts=True)

    assert reader.read(world.id) == reader.read(world.id) == look_at(world.id, world.services, depth=Depth())
