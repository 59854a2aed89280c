"""What a process claims before its message has its turn: everything is done once, and nothing stays held."""

import threading
import time

import pytest
import sqlalchemy as sa

from orchestrator.model.history import EntryKind
from orchestrator.model.task_types import Done, TaskType
from orchestrator.runtime import parcel_runs
from orchestrator.runtime.parcel_runs import BOARD, Order, run_parcel
from orchestrator.service import bundles, patience
from orchestrator.service.ahead import AHEAD
from orchestrator.service.bundles import drive_together
from orchestrator.service.drive import drive
from orchestrator.store.kinds import AttemptKey, Signal
from orchestrator.store.tables import executions, live_attempts
from tests.contracts.bundle_world import BundleWorld
from tests.contracts.chunk_world import square
from tests.contracts.control_world import IGNORE, Broken, break_down, nests
from tests.contracts.failing import LosingAnswers
from tests.contracts.test_bundles import FAILING, FLOWS, left_by
from tests.contracts.world import heavy, light
from tests.flows import flow, task

ME, OTHER = "node/7/me", "node/8/other"
LIGHT = ("Light", "Square", "Ask", "Nest", "Spawn")
AWAY_S = 30.0


class ParcelWorld(BundleWorld):
    """Messages reach a process in parcels. ``claims`` are those that were claims of their own."""

    def __init__(self, database, folder):
        super().__init__(database, folder)
        self.claims, self.place, self.failures = [], None, []
        self.services.types.add(TaskType(name="Items", run=self.run_item))
        self.claim_it = self.services.store.claim
        self.services.store.claim = self.claim

    def run_item(self, context):
        """A heavy one that knows its item."""
        self.does.get(context.parameters["item"].data, dict)()
        return Done()

    def claim(self, key, **more):
        self.claims.append(key)
        return self.claim_it(key, **more)

    def trace(self, name, celery_id, request, body, *_):
        """What Celery does of a task of ours."""
        execution_id, number, attempt, round_ = body[0]
        key = AttemptKey(execution_id=execution_id, number=number, attempt=attempt, round=round_)
        try:
            if companions := AHEAD.take_companions():
                drive_together([key, *companions], worker=ME, services=self.services)
            drive(key, worker=ME, services=self.services)
        except Broken as error:
            self.failures.append(key)
            return (1, error, 0.0)
        return (0, "None", 0.0)

    def run_parcel(self, messages):
        self.place = BOARD.take()
        try:
            return len(run_parcel(self.place, [order(each) for each in messages]))
        finally:
            BOARD.free(self.place)

    def take_out(self):
        BOARD.end(self.place)

    def run_in_parcels(self, size=8):
        """Every message that was sent, and those that follow."""
        sent = self.services.publisher.sent
        while sent:
            parcel = sent[:size]
            del sent[:size]
            self.run_parcel(parcel)

    def run_one_by_one(self):
        """The same, each by itself."""
        sent = self.services.publisher.sent
        while sent:
            each = sent.pop(0)
            key = self.key(each.number, attempt=each.attempt, round=each.round, of=each.execution_id)
            drive(key, worker=ME, services=self.services)

    def held(self, worker=ME):
        """What the database knows this process to have."""
        rows = self.rows(sa.select(live_attempts).where(live_attempts.c.worker == worker))
        return [self.key(row.task_number, of=row.execution_id, round=row.round) for row in rows]

    def claim_for_another(self, execution_id, number=1):
        assert self.claim_it(self.key(number, of=execution_id), worker=OTHER) is not None


def order(message):
    body = ([message.execution_id, message.number, message.attempt, message.round], {}, {})
    is_light = message.name in LIGHT
    return Order(name=message.name, id=message.celery_id, request={}, body=body, is_light=is_light)


@pytest.fixture
def world(database, tmp_path, monkeypatch):
    made = ParcelWorld(database, tmp_path)
    monkeypatch.setattr(parcel_runs, "fast_trace_task", made.trace)
    monkeypatch.setattr(patience, "_FIRST_PAUSE_S", 0.0)
    yield made
    AHEAD.forget()


def submit_heavy(world, count=3):
    return world.submit_all(count, task(1, "Items"))


def assert_each_was_done_once(world):
    assert world.states_of_all() == ["SUCCEEDED"] * len(world.ids)
    assert {each: world.kinds(each) for each in world.ids} == {each: ["task succeeded"] for each in world.ids}
    assert world.held() == []


# -- the next one is claimed by a commit ---------------------------------------------------------------------------


def test_a_commit_claims_the_next_one(world):
    sent = submit_heavy(world)

    assert world.run_parcel(sent) == 3

    assert world.claims == [world.key(1, of=world.ids[0])]
    assert_each_was_done_once(world)


def test_it_may_be_of_the_same_execution(world):
    keys = world.submit(heavy(1), heavy(2), starts=[1, 2])

    world.run_parcel(world.services.publisher.sent)

    assert world.claims == keys[:1]
    assert world.states() == {1: "SUCCEED", 2: "SUCCEED"}
    assert world.execution.state.value == "SUCCEEDED"


def test_it_is_in_the_same_transaction(world, monkeypatch):
    """Whoever sees the first one over sees the next one claimed, at any moment."""
    sent = submit_heavy(world, 2)
    store, seen = world.services.store, []
    commit_and_claim = store.commit_and_claim

    def look_after(*arguments, **more):
        found = commit_and_claim(*arguments, **more)
        seen.append((world.states_of_all()[0], [each.execution_id for each in world.held()]))
        return found

    monkeypatch.setattr(store, "commit_and_claim", look_after)
    world.run_parcel(sent)

    assert seen == [("SUCCEEDED", [world.ids[1]])]


@pytest.mark.parametrize("what", ["killed", "taken", "over", "marked"])
def test_what_is_not_to_be_had_is_not_claimed(world, what):
    sent = submit_heavy(world)
    second = world.ids[1]
    if what == "over":
        drive(world.key(1, of=second), worker=OTHER, services=world.services)
        world.claims.clear()
    else:
        change = {
            "killed": world.kill,
            "taken": world.claim_for_another,
            "marked": lambda each: world.mark(Signal.KILL, each),
        }
        world.does[0] = lambda: change[what](second)

    assert world.run_parcel(sent) == 3

    assert world.claims == [world.key(1, of=each) for each in world.ids], "the third one's commit had nothing before it"
    assert (world.states_of_all()[0], world.states_of_all()[2]) == ("SUCCEEDED", "SUCCEEDED")
    assert world.held() == []
    assert [each.execution_id for each in world.held(OTHER)] == ([second] if what == "taken" else [])


def test_what_is_not_wanted_any_more_is_not_claimed(world):
    sent = submit_heavy(world)
    world.does[1] = world.take_out

    assert world.run_parcel(sent) == 2

    assert world.states_of_all() == ["SUCCEEDED", "SUCCEEDED", "PENDING"]
    assert world.held() == []


def test_nobody_waits_for_what_somebody_else_has_locked(world):
    if world.database.is_sqlite:
        pytest.skip("SQLite has one writer at a time")
    submit_heavy(world, 2)
    first, second = (world.key(1, of=each) for each in world.ids)
    locked = sa.select(live_attempts).where(live_attempts.c.execution_id == world.ids[1]).with_for_update()
    with world.database.engine.connect() as other, other.begin() as transaction:
        other.execute(locked)
        late = threading.Timer(AWAY_S, transaction.rollback)  # or a failure would not end
        late.start()
        began = time.monotonic()
        AHEAD.offer(second, is_wanted=lambda: True)
        drive(first, worker=ME, services=world.services)
        late.cancel()

    assert time.monotonic() - began < AWAY_S
    assert not AHEAD.knows(second)
    assert world.held() == []


# -- refused -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("is_taken_out", [False, True])
def test_of_a_commit_that_came_too_late_no_claim_is_left(world, is_taken_out):
    """STALE: on PostgreSQL the claim is kept, on SQLite it is not; the process knows which."""
    sent = submit_heavy(world)
    entries = []

    def be_faster():
        if is_taken_out:
            AHEAD.offer(AHEAD.to_claim(), is_wanted=lambda: True)  # it is taken out after the commit
        with world.database.begin() as connection:
            mine = executions.c.id == world.ids[0]
            connection.execute(sa.update(executions).where(mine).values(revision=executions.c.revision + 1))
        entries.append(1)

    world.does[0] = be_faster
    world.run_parcel(sent)

    assert entries == [1]
    assert world.states_of_all() == ["SUCCEEDED"] * 3
    assert world.held() == []


def test_of_an_attempt_that_was_taken_away_no_claim_is_left(world):
    """FENCED."""
    sent = submit_heavy(world)

    def take_away():
        with world.database.begin() as connection:
            mine = live_attempts.c.execution_id == world.ids[0]
            connection.execute(sa.update(live_attempts).where(mine).values(worker=OTHER, owner="other"))

    world.does[0] = take_away
    world.run_parcel(sent)

    assert world.states_of_all() == ["PROCESSING", "SUCCEEDED", "SUCCEEDED"]
    assert world.kinds(world.ids[0]) == [EntryKind.LATE.value]
    assert world.held() == []


# -- answers that are lost -----------------------------------------------------------------------------------------

MIXES = {"heavy": ["Items"] * 4, "light": ["Square"] * 4, "mixed": ["Items", "Square", "Square", "Items", "Square"]}


def submit_mix(world, names):
    ids, sent = [], []
    for position, name in enumerate(names):
        sent += world.submit_all(1, task(1, name), inputs=[{"item": position}])
        ids += world.ids
    world.ids = ids
    return sent


@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("nth", range(1, 6))
@pytest.mark.parametrize("taken_out_at", [None, 0])
@pytest.mark.parametrize("mix", MIXES)
def test_whichever_answer_is_lost_everything_is_done_once(world, mix, taken_out_at, nth, moment):
    sent = submit_mix(world, MIXES[mix])
    losing = LosingAnswers(world.database, lambda number: moment if number == nth else None)
    if taken_out_at is not None:
        take_out_after_the_commit_of(world, taken_out_at)

    begun = world.run_parcel(sent)

    assert losing.lost <= 1
    assert world.held() == [], "nothing is held that nobody runs"
    for each in sent[begun:]:
        drive(world.key(1, of=each.execution_id), worker=OTHER, services=world.services)
    assert_each_was_done_once(world)


def take_out_after_the_commit_of(world, position):
    """It is taken out when the next one is claimed, and the answer to that may be lost."""
    store = world.services.store
    commit_and_claim = store.commit_and_claim

    def take_out(change, following, *, worker):
        try:
            return commit_and_claim(change, following, worker=worker)
        finally:
            if change.execution.id == world.ids[position]:
                world.take_out()

    store.commit_and_claim = take_out


# -- several at once -----------------------------------------------------------------------------------------------


def test_several_are_claimed_in_the_order_of_their_keys(world):
    submit_heavy(world, 6)
    keys = [world.key(1, of=world.ids[each]) for each in (4, 0, 5, 2)]

    claimed = world.services.store.claim_each(keys, worker=ME)

    assert [each.key for each in claimed] == keys
    assert {each.worker for each in claimed} == {ME}
    assert {key.execution_id for key in world.held()} == {key.execution_id for key in keys}
    assert world.states_of_all() == ["PROCESSING", "PENDING", "PROCESSING", "PENDING", "PROCESSING", "PROCESSING"]


def test_each_is_what_a_claim_of_its_own_hands_out(world):
    world.submit_all(2, heavy(1))
    keys = [world.key(1, of=each) for each in world.ids]

    together = world.services.store.claim_each(keys, worker=ME)
    again = [world.claim_it(key, worker=ME, is_again=True) for key in keys]

    assert [(each.key, each.parameters, each.executor, each.started_at) for each in together] == [
        (each.key, each.parameters, each.executor, each.started_at) for each in again
    ]
    assert [each.execution.id for each in together] == world.ids


def test_what_is_killed_claimed_or_over_is_left_out(world):
    submit_heavy(world, 5)
    killed, marked, taken, over, free = keys = [world.key(1, of=each) for each in world.ids]
    world.kill(killed.execution_id)
    world.mark(Signal.KILL, marked.execution_id)
    world.claim_for_another(taken.execution_id)
    drive(over, worker=OTHER, services=world.services)

    claimed = world.services.store.claim_each(keys, worker=ME)

    assert [each.key for each in claimed] == [free]


def test_who_asks_again_has_what_it_claimed_and_nobody_elses(world):
    submit_heavy(world, 3)
    mine, others, free = keys = [world.key(1, of=each) for each in world.ids]
    world.claim_it(mine, worker=ME)
    world.claim_it(others, worker=OTHER)

    assert [each.key for each in world.services.store.claim_each(keys, worker=ME, is_again=True)] == [mine, free]
    assert world.services.store.claim_each(keys, worker=ME) == []


# -- light ones together -------------------------------------------------------------------------------------------


def run_one_way(world, count, *tasks, in_parcels, **more):
    world.submit_all(count, *tasks, **more)
    run = world.run_in_parcels if in_parcels else world.run_one_by_one
    run()
    first = left_by(world)
    for _ in range(3):
        world.fire()
        run()
    return first, left_by(world)


@pytest.mark.parametrize("name", FLOWS)
def test_executions_are_the_same_in_parcels_and_alone(world, name):
    tasks, more = FLOWS[name]
    world.does = {FAILING: break_down}

    alone = run_one_way(world, 16, *tasks, in_parcels=False, **more)
    in_parcels = run_one_way(world, 16, *tasks, in_parcels=True, **more)

    assert in_parcels == alone
    assert len(alone[0][0]) == 16
    assert world.held() == []


def test_light_ones_are_claimed_together_and_written_together(world):
    sent = world.submit_all(8)
    losing = LosingAnswers(world.database, lambda number: None)

    world.run_parcel(sent)

    assert losing.count == 2
    assert_each_was_done_once(world)


def test_what_waits_for_sub_executions_goes_on_by_itself(world):
    world.publish(flow("child", light(1)))
    sent = world.submit_all(3, nests(1, "child", count=2))
    more = world.submit_all(1)
    world.services.publisher.sent.clear()

    world.run_parcel([*sent, *more])
    world.run_in_parcels()

    for each in [*sent, *more]:
        assert set(world.tree_states(each.execution_id)) == {"SUCCEEDED"}
    assert world.held() == []


def test_two_starts_of_one_execution_both_run(world):
    world.submit(light(1), light(2), starts=[1, 2])

    world.run_parcel([*world.services.publisher.sent])

    assert world.states() == {1: "SUCCEED", 2: "SUCCEED"}
    assert world.execution.state.value == "SUCCEEDED"
    assert world.held() == []


def test_one_message_twice_in_a_parcel_is_done_once(world):
    sent = world.submit_all(3)

    world.run_parcel([sent[0], *sent, sent[1]])

    assert_each_was_done_once(world)


def test_what_is_killed_meanwhile_does_not_begin(world, monkeypatch):
    monkeypatch.setattr(bundles, "BATCH_S", 0.0)
    sent, begun = world.submit_all(4), []
    world.does = {0: lambda: world.kill(world.ids[2]), 2: lambda: begun.append(2)}

    world.run_parcel(sent)

    assert begun == []
    assert world.states_of_all() == ["SUCCEEDED", "SUCCEEDED", "CANCELLED", "SUCCEEDED"]
    assert world.held() == []


@pytest.mark.parametrize("is_taken_out", [False, True])
@pytest.mark.parametrize("tasks", [[square(1)], [square(1, **IGNORE, next=[2]), heavy(2)]], ids=["bundle", "alone"])
def test_where_it_breaks_off_in_the_middle_nothing_stays_held(world, monkeypatch, tasks, is_taken_out):
    """What is held of the message that failed is taken back by the main process; the second one has another worker."""
    sent = world.submit_all(4, *tasks)
    world.claim_for_another(world.ids[1])
    broken = []

    def break_off(*_, **__):
        if not broken:
            broken.append(1)
            if is_taken_out:
                world.take_out()
            raise Broken("our own handling")
        return real(*_, **__)

    name = "go_on" if len(tasks) > 1 else "_BundleDrive"
    real = getattr(bundles, name)
    monkeypatch.setattr(bundles, name, break_off)
    world.run_parcel(sent)

    assert world.failures == [world.key(1, of=world.ids[0])]
    assert [each.execution_id for each in world.held()] == [world.ids[0]]
    assert AHEAD.take(world.key(1, of=world.ids[0])) is None, "it is claimed anew if it comes again"


def test_nothing_is_remembered_of_a_parcel_that_is_over(world):
    sent = world.submit_all(4)
    world.does[0] = world.take_out

    assert world.run_parcel(sent) >= 1

    assert not any(AHEAD.knows(world.key(1, of=each)) for each in world.ids)
