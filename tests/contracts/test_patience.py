"""A worker whose database is away, or whose answers get lost, does everything once all the same."""

from itertools import product

import pytest

from orchestrator.model.history import EntryKind
from orchestrator.service import patience
from orchestrator.service.drive import drive
from tests.contracts.control_world import ControlWorld, nests
from tests.contracts.failing import LosingAnswers
from tests.contracts.world import heavy, light
from tests.flows import flow


@pytest.fixture
def world(database, tmp_path, monkeypatch):
    monkeypatch.setattr(patience, "_FIRST_PAUSE_S", 0.0)
    return ControlWorld(database, tmp_path)


@pytest.mark.parametrize(("nth", "moment"), list(product(range(1, 9), ["before", "after"])))
def test_whichever_answer_is_lost_everything_is_done_once(world, nth, moment):
    world.publish(flow("child", heavy(1)))
    world.submit(heavy(1, next=[2]), light(2, next=[3]), nests(3, "child", count=2, next=[4]), heavy(4))
    losing = LosingAnswers(world.database, lambda number: moment if number == nth else None)

    world.drive_all()

    assert losing.lost == 1
    assert set(world.states().values()) == {"SUCCEED"}
    kinds = [kind for _, kind, _ in world.entries()]
    assert kinds.count(EntryKind.SUCCEEDED) == 4
    assert kinds.count(EntryKind.CHILDREN_STARTED) == 1
    assert [child.state.value for child in world.execution.children] == ["SUCCEEDED"] * 2
    assert world.live() == {}


def test_while_the_database_is_away_a_result_is_kept(world):
    (key,) = world.submit(heavy(1))
    LosingAnswers(world.database, lambda number: "before" if 1 < number < 20 else None)

    drive(key, worker="me", services=world.services)

    assert world.entries() == [(1, EntryKind.SUCCEEDED, "me")]
