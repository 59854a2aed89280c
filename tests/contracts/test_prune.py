"""Retention: old trees go whole, with everything that belongs to them; nothing else does, whatever breaks off."""

from dataclasses import replace
from datetime import timedelta

import pytest
import sqlalchemy as sa

from orchestrator.artifacts import Artifacts
from orchestrator.errors import ExecutionNotFound, InvalidValue
from orchestrator.failpoints import InjectedFault, arm
from orchestrator.model.history import EntryKind
from orchestrator.model.limits import Rate
from orchestrator.service import prune as pruning_service
from orchestrator.service.prune import Pruned, PruneWish, prune
from orchestrator.service.replay import ReplayWish, replay
from orchestrator.service.submit import Place
from orchestrator.store import pruning
from orchestrator.store.kinds import AttemptKey
from orchestrator.store.limit_terms import LimitStore
from orchestrator.store.queries import ExecutionQueries
from orchestrator.store.results import Expiry
from orchestrator.store.tables import (
    Instant,
    celery_chords,
    celery_groups,
    celery_results,
    executions,
    history,
    later,
    limit_starts,
)
from tests.contracts.control_world import ControlWorld
from tests.contracts.stored import NOON, PLACE, at_once, link_to, make_entry, make_execution, publish, rows_of
from tests.contracts.world import light
from tests.flows import flow

HERE = Place(**PLACE)
MONTH = timedelta(days=30)
EXPIRY = Expiry(results_s=86_400, chords_s=30 * 86_400)


@pytest.fixture
def world(database, tmp_path):
    return PruneWorld(database, tmp_path)


@pytest.fixture
def armed():
    yield arm
    arm("")


class PruneWorld(ControlWorld):
    """Executions that ended so many days ago, with a history, and artifacts."""

    def __init__(self, database, folder):
        super().__init__(database, folder)
        surroundings = replace(self.services.surroundings, artifacts_url=str(folder / "artifacts"))
        self.services = replace(self.services, surroundings=surroundings)
        self.artifacts = Artifacts(self.services.surroundings.artifacts_url)
        self.version_id = publish(database)

    def add(self, *, days=40, parent=None, state="SUCCEEDED", awaited=True, **more):
        """One execution, below another one's id or a root."""
        link = None
        if parent is not None:
            key = AttemptKey(execution_id=parent, number=1, attempt=1)
            link = link_to(key, round=1 if awaited else None)
            more["root_id"] = ExecutionQueries(self.database).one(parent).root_id
        new = make_execution(self.version_id, parent=link, ready=(), recorded=make_entry(), **more)
        self.services.store.create([new])
        ended_at = None if state in ("PENDING", "PROCESSING", "SUSPENDED", "RETRY_ON_HOLD") else ago(days)
        old = {"state": state, "created_at": ago(days), "ended_at": ended_at}
        with self.database.begin() as connection:
            connection.execute(sa.update(executions).where(executions.c.id == new.id).values(old))
        return new.id

    def add_tree(self, **more):
        """A root with two levels below it; its ids, the root first."""
        root = self.add(**more)
        child = self.add(parent=root, **more)
        return [root, child, self.add(parent=root, awaited=False, **more), self.add(parent=child, **more)]

    def prune(self, older_than=MONTH, **more):
        given = {"place": HERE, "expiry": None}
        given |= {key: more.pop(key) for key in ("place", "expiry", "tell") if key in more}
        return prune(PruneWish(older_than=older_than, **more), self.services, **given)

    def ids(self):
        return {row.id for row in self.rows(sa.select(executions.c.id))}


def ago(days):
    return later(-86_400.0 * days)


def fill(connection, column, execution_id):
    """A row that belongs to an execution, with something in every column that needs it."""
    row = {}
    for each in column.table.c:
        if each is column:
            row[each.name] = execution_id
        elif not each.nullable and each.server_default is None and each.autoincrement is not True:
            row[each.name] = 7 if isinstance(each.type, sa.Integer) else NOON if isinstance(each.type, Instant) else "x"
    connection.execute(sa.insert(column.table).values(row))


# -- what goes -----------------------------------------------------------------------------------------------------


def test_a_tree_that_ended_long_ago_goes_with_every_row_that_belongs_to_it(world):
    tree = world.add_tree()
    with world.database.begin() as connection:
        for owner in pruning._OWNERS:
            for each in tree:
                fill(connection, owner, each)
    kept = world.add(days=20)

    assert world.prune() == Pruned(roots=1, executions=4)
    assert world.ids() == {kept}
    left = {owner.table.name: {found for (found,) in world.rows(sa.select(owner))} for owner in pruning._OWNERS}
    assert {name for name, ids in left.items() if ids & set(tree)} == set()
    assert left["history"] == {kept}


def test_what_ended_later_stays(world):
    kept, gone = world.add(days=29), world.add(days=31)

    assert world.prune() == Pruned(roots=1, executions=1)
    assert gone not in world.ids()
    assert kept in world.ids()


def test_the_end_counts_and_not_the_beginning(world):
    kept = world.add()
    with world.database.begin() as connection:
        connection.execute(sa.update(executions).values(ended_at=ago(1)))

    assert world.prune() == Pruned()
    assert world.ids() == {kept}


@pytest.mark.parametrize("state", ["PENDING", "PROCESSING", "SUSPENDED", "RETRY_ON_HOLD"])
def test_a_tree_of_which_anything_is_not_over_stays_whole(world, state):
    """A child that nobody waits for may outlive its root by far."""
    root, *_ = world.add_tree()
    world.add(parent=root, awaited=False, state=state)
    before = rows_of(world.database)

    assert world.prune() == Pruned()
    assert rows_of(world.database) == before


def test_a_root_that_is_not_over_stays(world):
    root = world.add(state="PROCESSING")
    world.add(parent=root)

    assert world.prune() == Pruned()


def test_what_failed_stays_if_it_is_wanted_and_the_root_decides(world):
    failed = world.add(state="FAILED")
    fine = world.add()
    world.add(parent=fine, state="FAILED")

    assert world.prune(keeps_failed=True) == Pruned(roots=1, executions=2)
    assert world.ids() == {failed}
    assert world.prune() == Pruned(roots=1, executions=1)


def test_the_oldest_go_first_as_many_as_are_wanted(world):
    ids = [world.add(days=50 - number) for number in range(5)]

    assert world.prune(limit=2) == Pruned(roots=2, executions=2)
    assert world.ids() == set(ids[2:])


def test_only_executions_of_the_place_go(world):
    elsewhere = world.add(project="another")

    assert world.prune() == Pruned()
    assert world.prune(place=Place(project="another")) == Pruned(roots=1, executions=1)
    assert elsewhere not in world.ids()


def test_many_pages_are_told_one_by_one(world, monkeypatch):
    monkeypatch.setattr(pruning_service, "_PAGE", 2)
    for _ in range(5):
        world.add_tree()
    told = []

    done = world.prune(tell=told.append)

    assert [each.roots for each in told] == [2, 4, 5]
    assert done == told[-1] == Pruned(roots=5, executions=20)
    assert world.ids() == set()


def test_definitions_stay(world):
    world.add()

    world.prune()

    assert world.add(days=0) in world.ids()


# -- artifacts -----------------------------------------------------------------------------------------------------


def test_artifacts_of_all_attempts_go_and_are_counted(world):
    gone, kept = world.add(id="a"), world.add(id="a-b", days=1)
    for name in (f"{gone}.1.1/x/stdout.log", f"{gone}.12.3/y/stderr.log", f"{kept}.1.1/x/stdout.log"):
        world.artifacts.put(f"attempts/{name}", b"12345")
    world.artifacts.put("others/a.1.1", b"1")

    assert world.prune() == Pruned(roots=1, executions=1, artifact_bytes=10)
    assert [each.name for each in world.artifacts.list()] == [f"attempts/{kept}.1.1/x/stdout.log", "others/a.1.1"]
    assert world.artifacts.folders("attempts") == (f"{kept}.1.1",)


# -- a dry run -----------------------------------------------------------------------------------------------------


def test_a_dry_run_says_what_would_go_and_changes_nothing(world):
    for days in (40, 50):
        root, *_ = world.add_tree(days=days)
        world.artifacts.put(f"attempts/{root}.1.1/x/stdout.log", b"12345")
    with world.database.begin() as connection:
        connection.execute(sa.insert(celery_results).values(task_id="a", status="SUCCESS", meta="", done_at=ago(2)))
        connection.execute(sa.insert(limit_starts).values(limit_name="x", execution_id="a", started_at=ago(99)))
    before, artifacts = rows_of(world.database), world.artifacts.list()

    dry = world.prune(dry_run=True, expiry=EXPIRY)

    assert (rows_of(world.database), world.artifacts.list()) == (before, artifacts)
    assert dry == Pruned(roots=2, executions=8, artifact_bytes=10, results=1)
    assert world.prune(expiry=EXPIRY) == dry


# -- others at the same time ---------------------------------------------------------------------------------------


def test_of_two_that_prune_at_the_same_time_each_deletes_what_the_other_does_not(world, monkeypatch):
    monkeypatch.setattr(pruning_service, "_PAGE", 3)
    for _ in range(20):
        world.add_tree()

    done = [*at_once(world.prune, world.prune), world.prune()]

    assert sum(each.roots for each in done) == 20
    assert sum(each.executions for each in done) == 80
    assert world.ids() == set()


def test_what_somebody_has_locked_is_left_to_the_next_prune(world):
    if world.database.is_sqlite:
        pytest.skip("one writer at a time")
    _, child, *_ = locked = world.add_tree()
    world.add_tree()
    with world.database.begin() as connection:
        connection.execute(sa.select(executions.c.id).where(executions.c.id == child).with_for_update(key_share=True))

        assert world.prune() == Pruned(roots=1, executions=4)

    assert world.ids() == set(locked)
    assert world.prune() == Pruned(roots=1, executions=4)


def test_a_result_that_comes_after_its_execution_was_deleted_is_dropped(world):
    execution_id = world.add()
    world.prune()

    world.services.store.note(execution_id, make_entry(kind=EntryKind.LATE))

    assert rows_of(world.database, history) == {"history": []}


# -- whatever breaks off -------------------------------------------------------------------------------------------


def check_that_what_is_there_is_whole(world, sizes):
    """Each execution that is left has its history, everything above it, and if its tree is small, all of that."""
    rows = {row.id: row for row in world.rows(sa.select(executions))}
    owned = {row.execution_id for row in world.rows(sa.select(history.c.execution_id))}
    assert owned == rows.keys()
    assert all(row.parent_id is None or row.parent_id in rows for row in rows.values())
    for root_id, size in sizes.items():
        left = sum(row.root_id == root_id for row in rows.values())
        assert left in ((0, size) if size <= pruning.MOST_AT_ONCE else range(size + 1))


@pytest.mark.parametrize("point", ["prune.artifacts", "prune.inside", "prune.deleted"])
@pytest.mark.parametrize("nth", range(1, 7))
def test_wherever_a_prune_breaks_off_what_is_shown_is_whole_and_the_next_one_finishes(
    world, monkeypatch, armed, point, nth
):
    for module in (pruning, pruning_service):
        monkeypatch.setattr(module, "MOST_AT_ONCE", 5)
    trees = [world.add_tree(), world.add_tree(), [world.add()]]
    trees[1] += [world.add(parent=each) for each in trees[1] * 2]  # too large for one transaction
    kept = world.add(days=1)
    for each in (*trees[0], *trees[1], *trees[2], kept):
        world.artifacts.put(f"attempts/{each}.1.1/x/stdout.log", b"1")
    armed(f"{point}=raise@{nth}")

    broke_off = False
    try:
        world.prune()
    except InjectedFault:
        broke_off = True

    assert broke_off or world.ids() == {kept}
    check_that_what_is_there_is_whole(world, {tree[0]: len(tree) for tree in trees})
    world.prune()
    assert world.ids() == {kept}
    assert world.artifacts.folders("attempts") == (f"{kept}.1.1",)


# -- what else goes ------------------------------------------------------------------------------------------------


def test_results_of_plain_tasks_go_when_they_have_expired(world):
    with world.database.begin() as connection:
        for name, days in (("old", 2), ("young", 0)):
            connection.execute(sa.insert(celery_results).values(task_id=name, status="x", meta="", done_at=ago(days)))
            connection.execute(sa.insert(celery_groups).values(group_id=name, result="", done_at=ago(days)))
            connection.execute(sa.insert(celery_chords).values(group_id=name, created_at=ago(days)))

    assert world.prune(expiry=EXPIRY) == Pruned(results=2)
    assert world.rows(sa.select(celery_results.c.task_id)) == [("young",)]
    assert sorted(world.rows(sa.select(celery_chords.c.group_id))) == [("old",), ("young",)]


def test_starts_that_no_rate_counts_any_more_go(world):
    LimitStore(world.database).set_limit("executor/e", rate=Rate(count=1, period_s=3 * 86_400))
    with world.database.begin() as connection:
        for days in (0, 2, 5):
            row = {"limit_name": "executor/e", "execution_id": str(days), "started_at": ago(days)}
            connection.execute(sa.insert(limit_starts).values(row))

    world.prune(timedelta(days=1))

    assert sorted(world.rows(sa.select(limit_starts.c.execution_id))) == [("0",), ("2",)]


# -- what is left of it --------------------------------------------------------------------------------------------


def test_a_replay_says_that_what_it_repeats_was_deleted(world):
    version_id, _ = world.publish(flow("short", light(1)))
    original = world.start_now(version_id)
    world.drive_all()
    repeating = replay(ReplayWish(execution_id=original), world.services)
    world.drive_all()
    assert not world.look(repeating).is_original_gone

    world.prune(timedelta(0), limit=1)

    assert world.look(repeating).is_original_gone
    assert world.look(repeating).replay_of == original
    with pytest.raises(ExecutionNotFound, match="it never was, or it was pruned"):
        replay(ReplayWish(execution_id=original), world.services)
    assert replay(ReplayWish(execution_id=repeating), world.services) in world.ids()


# -- what cannot be ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wish", "said"),
    [
        ({"older_than": timedelta(seconds=-1)}, "age: found -1 day, 23:59:59, expected a time from 0"),
        ({"older_than": timedelta(days=40_000)}, "age: found 40000 days, 0:00:00, expected a time from 0 to 36,525 d"),
        ({"older_than": MONTH, "limit": 0}, "limit: found 0, expected 1 or more"),
    ],
)
def test_a_wish_that_cannot_be_is_refused_before_anything_is_deleted(world, wish, said):
    world.add()

    with pytest.raises(InvalidValue) as refused:
        prune(PruneWish(**wish), world.services, place=HERE, expiry=EXPIRY)

    assert said in str(refused.value)
    assert len(world.ids()) == 1
