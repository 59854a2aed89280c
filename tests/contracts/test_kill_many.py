"""KILL of many: what is live and fits a filter, each as by KILL, nothing twice, and whatever fails, the others end."""

import pytest

from orchestrator.errors import FilterSyntax, InvalidValue, Unreachable
from orchestrator.model.filter_params import parse_filter_params
from orchestrator.model.states import ExecutionState
from orchestrator.service import control
from orchestrator.service.control import find_live, kill_many, topmost
from orchestrator.service.submit import Place, Wishes
from orchestrator.store.kinds import Signal
from orchestrator.store.signals import Audit, SignalStore
from tests.contracts.control_world import ControlWorld, asks, nests, spawns, undone
from tests.contracts.stored import PLACE, rows_of
from tests.contracts.world import heavy, light
from tests.flows import flow

HERE = Place(**PLACE)
ANN = Audit(actor="ann", message="wrong month")


@pytest.fixture
def world(database, tmp_path):
    return ControlWorld(database, tmp_path)


@pytest.fixture
def waiting(world):
    """Three executions that wait for an answer, of which one is urgent, and one that is over."""
    version_id, _ = world.publish(flow("waiting", asks(1)))
    over, _ = world.publish(flow("short", light(1)))
    ids = [world.start_now(version_id, wishes=Wishes(priority=priority)) for priority in (4, 9, 4)]
    world.start_now(over)
    world.drive_all()
    return ids


def found(world, wanted):
    return [each.id for each in topmost(find_live(wanted, world.services, place=HERE))]


def kill(world, wanted, **more):
    return kill_many(find_live(wanted, world.services, place=HERE), world.services, audit=ANN, **more)


def states(world, ids):
    return [world.look(each).state.value for each in ids]


# -- what is found -------------------------------------------------------------------------------------------------


def test_what_is_live_and_fits_is_found_the_oldest_first(world, waiting):
    assert found(world, "state:*") == waiting
    assert found(world, "priority > 4") == [waiting[1]]
    assert found(world, "integration = short") == []
    assert found(world, parse_filter_params({"executionId": [waiting[0]]})) == [waiting[0]]


def test_what_is_found_is_of_one_project_and_location(world, waiting):
    assert find_live("state:*", world.services, place=Place(project="another")) == ()


def test_to_find_changes_nothing(world, waiting):
    before = rows_of(world.database)

    found(world, "state:*")

    assert rows_of(world.database) == before


@pytest.mark.parametrize("wanted", ["", "  \n", parse_filter_params({})])
def test_a_blank_filter_is_refused_because_it_would_be_everything(world, wanted):
    with pytest.raises(InvalidValue, match=r"filter: found nothing, expected what to kill; state:\* is everything"):
        found(world, wanted)


def test_a_filter_that_cannot_be_read_finds_nothing(world):
    with pytest.raises(FilterSyntax):
        found(world, "state = FAILED OR")


def test_what_is_below_another_match_is_left_to_it(world):
    """The middle does not fit, and the leaves below it are found to be below the root all the same."""
    world.publish(flow("leaf", asks(1)))
    world.publish(flow("middle", nests(1, "leaf", count=2)))
    version_id, _ = world.publish(flow("root", nests(1, "middle")))
    root = world.start_now(version_id)
    world.drive_all()
    (middle,) = world.children_of(root)
    leaves = world.children_of(middle)

    assert found(world, "integration = root OR integration = leaf") == [root]
    assert sorted(found(world, "integration = leaf")) == sorted(leaves)
    assert found(world, f"integration = middle OR id = {leaves[0]}") == [middle]
    assert len(found(world, "NOT parent:*")) == 1


# -- what is killed ------------------------------------------------------------------------------------------------


def test_what_was_found_is_killed_and_the_others_go_on(world, waiting):
    report = kill(world, "priority = 4")

    assert report.killed == (waiting[0], waiting[2])
    assert (report.over, report.failed) == ((), {})
    assert states(world, waiting) == ["CANCELLED", "SUSPENDED", "CANCELLED"]
    assert world.sent_signals() == [(each, "KILL", "ann", "wrong month") for each in report.killed]


def test_a_tree_of_which_all_fits_is_told_once(world):
    world.publish(flow("leaf", heavy(1)))
    version_id, _ = world.publish(flow("root", nests(1, "leaf", count=3)))
    root = world.start_now(version_id)
    world.drive(world.key(1))

    report = kill(world, "state:*")

    assert report.killed == (root,)
    assert len(world.sent_signals()) == 1
    assert set(world.tree_states()) == {"CANCELLED"}
    world.assert_over()


def test_what_has_a_rollback_is_undone_if_that_is_asked_for(world):
    version_id, _ = world.publish(flow("paid", heavy(1, next=[2], **undone()), asks(2)))
    ids = [world.start_now(version_id) for _ in range(2)]
    world.drive_all()

    report = kill(world, "integration = paid", rolls_back=True)
    world.drive_all()

    assert report.killed == tuple(ids)
    assert world.undone == [1, 1]
    assert states(world, ids) == ["CANCELLED", "CANCELLED"]


def test_what_a_worker_runs_is_left_to_that_worker(world):
    version_id, _ = world.publish(flow("running", heavy(1)))
    execution_id = world.start_now(version_id)
    assert world.services.store.claim(world.key(1), worker="busy") is not None

    report = kill(world, "state:*")

    assert report.killed == (execution_id,)
    assert world.asked_to_stop() == [(1, "busy")]
    assert not world.look().state.is_final


def test_what_is_final_meanwhile_is_passed_over_and_counted(world, waiting):
    matches = find_live("state:*", world.services, place=HERE)
    world.kill(waiting[1])

    report = kill_many(matches, world.services, audit=ANN)

    assert report.killed == (waiting[0], waiting[2])
    assert report.over == (waiting[1],)
    assert [actor for _, _, actor, message in world.sent_signals() if message == "wrong month"] == ["ann", "ann"]


def test_what_is_below_one_that_is_final_meanwhile_is_killed_by_itself(world):
    """The root ends by itself before it can be told, and leaves one behind that nobody waits for."""
    world.publish(flow("leaf", asks(1)))
    version_id, _ = world.publish(flow("root", spawns(1, "leaf", next=[2]), heavy(2)))
    root = world.start_now(version_id)
    world.drive(world.key(1))
    matches = find_live("state:*", world.services, place=HERE)
    world.drive(world.key(2))
    (leaf,) = world.children_of(root)

    report = kill_many(matches, world.services, audit=ANN)

    assert (report.killed, report.over) == ((leaf,), (root,))
    assert world.tree_states() == ["SUCCEEDED", "CANCELLED"]


def test_what_begins_to_fit_later_is_left_alone(world, waiting):
    matches = find_live("integration = waiting", world.services, place=HERE)
    version_id, _ = world.publish(flow("waiting", asks(1)))
    later = world.start_now(version_id)

    kill_many(matches, world.services, audit=ANN)

    assert states(world, [later]) == ["PENDING"]


def test_nothing_that_is_to_be_killed_starts_in_the_place_of_what_ends(world):
    """One may run at once: the end of the first lets in the second, which is marked by then."""
    version_id, _ = world.publish(flow("narrow", asks(1)) | {"limits": {"maxConcurrent": 1}})
    ids = [world.start_now(version_id) for _ in range(3)]
    world.drive_all()
    assert states(world, ids) == ["SUSPENDED", "PENDING", "PENDING"]
    sent = world.sent()

    report = kill(world, "integration = narrow")

    assert report.killed == tuple(ids)
    assert states(world, ids) == ["CANCELLED"] * 3
    assert world.sent() == sent


# -- what fails ----------------------------------------------------------------------------------------------------


def test_one_that_cannot_be_told_does_not_save_the_others(world, waiting, monkeypatch):
    send = SignalStore.send

    def broken(self, execution_id, signal, audit):
        if execution_id == waiting[0]:
            raise RuntimeError("no such luck")
        return send(self, execution_id, signal, audit)

    monkeypatch.setattr(SignalStore, "send", broken)

    report = kill(world, "state:*")

    assert report.killed == (waiting[1], waiting[2])
    assert report.failed == {waiting[0]: "RuntimeError: no such luck"}
    assert states(world, waiting) == ["SUSPENDED", "CANCELLED", "CANCELLED"]


def test_one_that_cannot_be_ended_stays_marked(world, waiting, monkeypatch):
    pursue = control.pursue

    def broken(execution_id, services, *, start):
        if execution_id == waiting[0]:
            raise RuntimeError("no such luck")
        pursue(execution_id, services, start=start)

    monkeypatch.setattr(control, "pursue", broken)

    report = kill(world, "state:*")

    assert report.failed == {waiting[0]: "RuntimeError: no such luck"}
    assert world.marks() == [Signal.KILL.value]


def test_a_database_that_does_not_answer_ends_it(world, waiting, monkeypatch):
    matches = find_live("state:*", world.services, place=HERE)

    def unreachable(self, execution_id, signal, audit):
        raise Unreachable("the database", "somewhere", "no answer")

    monkeypatch.setattr(SignalStore, "send", unreachable)

    with pytest.raises(Unreachable):
        kill_many(matches, world.services, audit=ANN)
    assert {each.state for each in matches} == {ExecutionState.SUSPENDED}
