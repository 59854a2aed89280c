"""Many light executions that are claimed by one message: each is left as if it had been driven alone, and once."""

import threading
from collections import Counter
from contextlib import nullcontext
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from types import SimpleNamespace

import pytest
import sqlalchemy as sa

from orchestrator.engine.canvas import BUNDLE_TASK
from orchestrator.engine.limits import integration_limit
from orchestrator.model.states import ExecutionState
from orchestrator.model.task_types import Suspend, TaskType
from orchestrator.runtime.guard import ProcessGuard
from orchestrator.service import bundles, patience
from orchestrator.service.guarding import AttemptEnded, Ending
from orchestrator.service.lost import MAX_LOSSES, Loss, give_up_all
from orchestrator.service.recovery import Republisher, give_back
from orchestrator.store.kinds import Method, Signal
from orchestrator.store.limit_terms import LimitStore
from orchestrator.store.tables import (
    executions,
    history,
    later,
    limit_holders,
    live_attempts,
    parameters,
    suspensions,
    timers,
)
from orchestrator.store.workers import Boot
from tests.contracts.bundle_world import BundleWorld
from tests.contracts.chunk_world import square
from tests.contracts.control_world import FATAL, IGNORE, break_down, nests, restart, retry, undone
from tests.contracts.failing import LosingAnswers
from tests.contracts.stored import at_once
from tests.contracts.test_chunks import without_times
from tests.contracts.world import heavy, light
from tests.flows import task

MANY = 40
SIZE = 20  # of its two bundles
ME, OTHER = "node/7/me", "node/8/other"
FAILING, SKIPPED, NEVER_BEGUN = 3, 11, 13
GRAPH = [light(1, next=[2, 3]), square(2, next=[4]), light(3, next=[4]), light(4)]
CONDITIONAL = [
    square(1, next=[(2, f"$item$ != {SKIPPED}"), 3]),
    light(2, next=[(4, "$out$ > 100")], **IGNORE),
    light(3, next=[4], taskExecutionStrategy="WHEN_ALL_SUCCEED"),
    light(4),
]


@pytest.fixture
def world(database, tmp_path):
    return BundleWorld(database, tmp_path)


def settled(world):
    """As if what is ready had been so for a minute."""
    with world.database.begin() as connection:
        connection.execute(sa.update(live_attempts).values(queued_at=later(-60)))


# -- which submissions ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("count", "sizes"), [(20, []), (21, [10, 11]), (200, [25] * 8), (1_050, [100] * 10 + [16, 17, 17])]
)
def test_a_submission_has_a_message_for_a_bundle(world, count, sizes):
    sent = world.submit_all(count)

    rides = world.rides()
    assert rides.pop(None, 0) == count - sum(sizes)
    assert sorted(rides.values()) == sorted(sizes)
    assert {each.execution_id for each in sent if each.name == BUNDLE_TASK} == rides.keys()
    assert len(sent) == len(sizes) + count - sum(sizes)


ORDINARY = {
    "a heavy task": [square(1, next=[2]), heavy(2)],
    "another pool": [square(1, executorId="elsewhere", next=[2]), light(2, executorId="here")],
    "a time to wait": [square(1, queueTimeoutMs=1000)],
    "a time to run": [square(1, timeoutMs=1000)],
    "a rollback": [square(1, **undone())],
    "sub-executions": [square(1, next=[2]), nests(2, "child")],
    "a task that suspends by its definition": [square(1, successPolicy={"finalState": "SUSPENDED"})],
    "a task type that suspends": [task(1, "Wait")],
    "very many tasks": [square(number, next=[number + 1]) for number in range(1, 101)] + [square(101)],
}
UNUSUAL = {
    "a limit": {"limits": {"maxConcurrent": 1000}},
    "a deadline": {"deadline_s": 60.0},
    "a time": {"at": datetime(2126, 1, 1, tzinfo=UTC)},
}


@pytest.mark.parametrize("what", [*ORDINARY, *UNUSUAL, "two start tasks"])
def test_what_may_need_more_than_one_process_is_no_bundle(world, what):
    world.services.types.add(TaskType(name="Wait", run=lambda context: Suspend(), light=True, suspends=True))
    more = {"starts": [1, 2]} if what == "two start tasks" else UNUSUAL.get(what, {})
    tasks = [square(1), light(2)] if what == "two start tasks" else ORDINARY.get(what, [])

    sent = world.submit_all(MANY, *tasks, **more)

    assert BUNDLE_TASK not in {each.name for each in sent}
    assert world.rides().keys() <= {None}


def test_tasks_that_all_name_one_executor_are_a_bundle_there(world):
    sent = world.submit_all(MANY, square(1, executorId="there", next=[2]), light(2, executorId="there"))

    assert {(each.name, each.executor) for each in sent} == {(BUNDLE_TASK, "there")}
    world.receive_all()
    assert set(world.states_of_all()) == {"SUCCEEDED"}


# -- as otherwise --------------------------------------------------------------------------------------------------


def left_by(world):
    """All rows of the executions, in order, without ids, times and workers."""
    tables = {each.name: Counter() for each in (live_attempts, parameters, timers, suspensions)}
    place = {each: number for number, each in enumerate(world.ids)}
    told = []
    for row in sorted(
        world.rows(sa.select(executions).where(executions.c.id.in_(world.ids))), key=lambda r: place[r.id]
    ):
        stored = {name: found for name, found in row._asdict().items() if name not in {"id", "root_id"}}
        times = {name: stored.pop(name) for name in ("created_at", "updated_at", "ended_at")}
        told.append((stored, times["ended_at"] is None, [without_times(entry) for entry in world.history(row.id)]))
    for table in (live_attempts, parameters, timers, suspensions):
        for row in world.rows(sa.select(table).where(table.c.execution_id.in_(world.ids))):
            varies = {"execution_id", "rides_with", "owner", "worker", "attempt_began_at"}
            kept = {
                name: (found is None if isinstance(found, datetime) else found)
                for name, found in row._asdict().items()
                if name not in varies
            }
            tables[table.name][place[row.execution_id], str(sorted(kept.items())), getattr(row, "worker", None)] += 1
    return told, tables


def run_one_way(world, count, *tasks, is_bundled, **more):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("orchestrator.service.submit_many.FEW", 20 if is_bundled else 10**6)
        sent = world.submit_all(count, *tasks, **more)
    assert (BUNDLE_TASK in {each.name for each in sent}) is is_bundled
    world.receive_all()
    first = left_by(world)
    for _ in range(3):
        world.fire()
        world.receive_all()
    return first, left_by(world)


FLOWS = {
    "one task": ([], {}),
    "a graph": (GRAPH, {}),
    "a synchronous graph": (GRAPH, {"method": Method.POST}),
    "conditions": (CONDITIONAL, {}),
    "fatal": ([square(1, **FATAL)], {}),
    "a retry that waits": ([light(1, next=[2]), square(2, next=[3], **retry(1)), light(3)], {}),
    "a restart": ([light(1, next=[2]), square(2, **restart(1))], {}),
    "an error that is ignored": ([square(1, next=[2], **IGNORE), light(2)], {}),
    "a start condition": ([], {"starts": [(1, f"$item$ != {NEVER_BEGUN}")]}),
    "two ways to start": ([square(1), light(2)], {"starts": [(1, f"$item$ > {FAILING}"), (2, f"$item$ <= {FAILING}")]}),
}


@pytest.mark.parametrize("name", FLOWS)
def test_executions_are_the_same_in_bundles_and_alone(world, name):
    tasks, more = FLOWS[name]
    world.does = {FAILING: break_down, 5: lambda: Suspend(message="may it?")}

    others = run_one_way(world, MANY, *tasks, is_bundled=False, **more)
    in_bundles = run_one_way(world, MANY, *tasks, is_bundled=True, **more)

    assert in_bundles == others
    assert len(others[0][0]) == MANY


def test_the_times_of_an_execution_follow_each_other(world):
    world.submit_all(MANY, *GRAPH)

    world.receive_all()

    for row in world.rows(sa.select(executions)):
        entries = world.history(row.id)
        times = [row.created_at, *(time for each in entries for time in (each.started_at, each.ended_at)), row.ended_at]
        assert times == sorted(times)
        assert {each.worker for each in entries} == {"node/7/boot"}


def test_a_bundle_is_written_in_parts_and_each_of_them_counts(world, monkeypatch):
    monkeypatch.setattr(bundles, "BATCH_S", 0.0)
    first, *_ = world.submit_all(MANY)
    seen = []
    world.does = {item: lambda: seen.append(world.states_of_all().count("SUCCEEDED")) for item in range(MANY)}

    world.receive(first)

    assert seen == [*range(SIZE)]


# -- claims --------------------------------------------------------------------------------------------------------


def test_of_many_that_claim_a_bundle_each_execution_goes_to_one(world):
    world.submit_all(MANY)
    first_id = world.ids[0]

    claims = [partial(world.services.bundles.claim, first_id, worker=f"node/{number}/boot") for number in range(4)]
    claimed = at_once(*claims)

    assert sorted(each.key.execution_id for found in claimed for each in found) == world.ids[:SIZE]


def test_a_message_that_comes_again_is_dropped(world):
    first, *_ = world.submit_all(MANY)

    assert [world.receive(first) for _ in range(3)] == [True, False, False]
    assert world.states_of_all() == ["SUCCEEDED"] * SIZE + ["PENDING"] * SIZE


def test_who_asks_again_because_the_answer_was_lost_has_its_bundle(world):
    world.submit_all(MANY)
    mine = world.services.bundles.claim(world.ids[0], worker=ME)

    again = world.services.bundles.claim(world.ids[0], worker=ME, is_again=True)

    assert [each.key for each in again] == [each.key for each in mine]
    assert world.services.bundles.claim(world.ids[0], worker=OTHER, is_again=True) == []


def test_what_was_killed_claimed_or_is_over_is_not_handed_out(world):
    world.submit_all(MANY)
    killed, marked, claimed, over = world.ids[:4]
    world.kill(killed)
    world.mark(Signal.KILL, marked)
    world.services.store.claim(world.key(1, of=claimed), worker=OTHER)
    world.drive(world.key(1, of=over))

    found = world.services.bundles.claim(world.ids[0], worker=ME)

    assert [each.key.execution_id for each in found] == world.ids[4:SIZE]


def test_a_claim_hands_out_what_a_single_one_does(world):
    """But for the times, and what its row says of the state before."""
    world.submit_all(MANY, *GRAPH, request_ids=[f"r-{number}" for number in range(MANY)])
    mine, *_ = world.services.bundles.claim(world.ids[0], worker=ME)
    alone = world.services.store.claim(mine.key, worker=ME, is_again=True)

    at = {"updated_at": None}
    assert replace(mine.execution, **at) == replace(alone.execution, **at)
    assert replace(mine, execution=None, now=None) == replace(alone, execution=None, now=None)
    assert mine.execution.state is ExecutionState.PROCESSING
    assert {row.state for row in world.rows(sa.select(executions).where(executions.c.id == mine.key.execution_id))} == {
        "PROCESSING"
    }


@pytest.mark.parametrize(("nth", "moment"), [(nth, moment) for nth in range(1, 5) for moment in ("before", "after")])
def test_whichever_answer_is_lost_each_execution_is_over_once(world, monkeypatch, nth, moment):
    monkeypatch.setattr(patience, "_FIRST_PAUSE_S", 0.0)
    world.does = {3: break_down}
    first, second = world.submit_all(MANY, square(1, **IGNORE, next=[2]), light(2))
    losing = LosingAnswers(world.database, lambda number: moment if number == nth else None)

    world.receive(first)
    world.receive(second)

    assert losing.lost == 1
    assert set(world.states_of_all()) == {"SUCCEEDED"}
    assert {len(world.history(each)) for each in world.ids} == {2}


# -- KILL ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("is_marked", [False, True])
def test_a_kill_of_one_that_is_over_and_not_written_counts_and_harms_no_other(world, is_marked):
    """A mark is what a process leaves that dies right after it has sent a signal."""
    first, *_ = world.submit_all(MANY)
    world.does = {5: lambda: world.mark(Signal.KILL, world.ids[2]) if is_marked else world.kill(world.ids[2])}

    world.receive(first)

    assert world.states_of_all()[:6] == ["SUCCEEDED"] * 2 + ["CANCELLED"] + ["SUCCEEDED"] * 3
    assert world.states_of_all()[6:SIZE] == ["SUCCEEDED"] * (SIZE - 6)


@pytest.mark.parametrize("kill", ["the execution", "its task", "a mark alone"])
def test_what_is_killed_before_its_part_begins_does_not_begin(world, monkeypatch, kill):
    monkeypatch.setattr(bundles, "BATCH_S", 0.0)
    first, *_ = world.submit_all(MANY)
    begun = []

    def kill_another():
        if kill == "its task":
            world.kill_task(1, of=world.ids[9])
        elif kill == "the execution":
            world.kill(world.ids[9])
        else:
            world.mark(Signal.KILL, world.ids[9])

    world.does = {5: kill_another, 9: lambda: begun.append(9)}
    world.receive(first)

    assert begun == []
    assert world.tasks_of(world.ids[9]) == {1: "SKIPPED"}
    assert world.states_of_all()[:SIZE].count("SUCCEEDED") == SIZE - 1
    assert world.rides() == {world.ids[SIZE]: SIZE}


def test_one_that_does_not_end_is_ended_by_a_kill_and_the_others_go_on(world):
    first, *_ = world.submit_all(MANY)
    killing = threading.Thread(target=world.kill, args=(world.ids[3],))

    def hangs():  # what it is ended in must not be what tells that it is to end
        killing.start()
        while True:
            pass

    world.does = {3: hangs}
    world.services = replace(world.services, guard=ProcessGuard(look_every_s=0.05))
    world.receive(first)
    killing.join()

    assert world.states_of_all()[:SIZE] == ["SUCCEEDED"] * 3 + ["CANCELLED"] + ["SUCCEEDED"] * (SIZE - 4)


def test_a_kill_of_the_task_of_one_that_is_over_and_not_written_counts(world):
    first, *_ = world.submit_all(MANY)
    world.does = {5: lambda: world.kill_task(1, of=world.ids[2])}

    world.receive(first)

    assert world.tasks_of(world.ids[2]) == {1: "CANCELLED"}
    assert world.kinds(world.ids[2]) == ["task killed", "task stopped"]
    assert world.states_of_all()[:SIZE].count("SUCCEEDED") == SIZE - 1


class TellsOnce:
    """A guard that has told a watch to end by the time that what it was to end is over: another one runs by then."""

    is_told = False

    def watch(self, **_):
        self.is_told = False
        return nullcontext(SimpleNamespace(is_cancelled=lambda: self.is_told, set_grace=lambda grace_s: None))


def test_one_that_was_ended_in_place_of_another_runs_again(world):
    guard, runs = TellsOnce(), []

    def ended_once():
        runs.append(len(runs))
        if len(runs) == 1:
            guard.is_told = True
            raise AttemptEnded(Ending.STOP)

    first, *_ = world.submit_all(MANY)
    world.does = {3: ended_once}
    world.services = replace(world.services, guard=guard)
    world.receive(first)

    assert runs == [0, 1]
    assert world.kinds(world.ids[3]) == ["task succeeded"]
    assert world.states_of_all()[:SIZE] == ["SUCCEEDED"] * SIZE


# -- loss ----------------------------------------------------------------------------------------------------------


def lose_bundle(world, first_id, *, worker="node/8/dead"):
    world.services.bundles.claim(first_id, worker=worker)
    give_up_all(world.services, worker=worker, loss=Loss("signal 9 (SIGKILL)"))


def test_what_a_dead_worker_held_of_a_bundle_falls_apart(world):
    """One of it may be what has killed it."""
    world.submit_all(MANY)
    world.services.publisher.sent.clear()

    lose_bundle(world, world.ids[0])

    assert world.rides() == {None: SIZE, world.ids[SIZE]: SIZE}
    sent = world.services.publisher.sent
    assert sorted(each.execution_id for each in sent) == world.ids[:SIZE]
    assert BUNDLE_TASK not in {each.name for each in sent}
    world.receive_all()
    assert world.states_of_all() == ["SUCCEEDED"] * SIZE + ["PENDING"] * SIZE


def test_the_one_that_kills_its_workers_is_quarantined_and_no_other(world):
    world.submit_all(MANY)
    lose_bundle(world, world.ids[0])
    poison = world.ids[4]
    world.lose(world.key(1, of=poison), times=MAX_LOSSES - 1)

    world.receive_all()

    assert world.tasks_of(poison) == {1: "RETRY_ON_HOLD"}
    assert world.states_of_all()[:SIZE].count("SUCCEEDED") == SIZE - 1


def test_what_a_worker_writes_that_counts_as_dead_is_refused(world):
    first, *_ = world.submit_all(MANY)
    world.does = {7: lambda: give_up_all(world.services, worker="node/7/boot", loss=Loss("signal 9"))}

    world.receive(first)

    assert set(world.states_of_all()) == {"PENDING", "PROCESSING"}
    assert world.rides() == {None: SIZE, world.ids[SIZE]: SIZE}
    world.does = {}
    world.receive_all()
    assert set(world.states_of_all()) == {"SUCCEEDED"}


def test_what_another_worker_has_is_left_to_it_and_the_others_are_written(world):
    """A crash of the database may undo a claim, and nothing else tells of it."""
    first, *_ = world.submit_all(MANY)

    def lose_claim():
        with world.database.begin() as connection:
            its = live_attempts.c.execution_id == world.ids[2]
            connection.execute(sa.update(live_attempts).where(its).values(worker=OTHER, owner="other"))

    world.does = {5: lose_claim}
    world.receive(first)

    assert world.states_of_all()[:SIZE] == ["SUCCEEDED"] * 2 + ["PROCESSING"] + ["SUCCEEDED"] * (SIZE - 3)
    assert world.kinds(world.ids[2]) == ["late result refused"]


def test_a_stopping_worker_gives_its_bundle_back_and_that_is_no_loss(world):
    world.submit_all(MANY)
    boot = Boot(id="boot", name="node", machine="here", pid=7, began=1)
    world.services.workers.beat(boot, [])
    world.services.bundles.claim(world.ids[0], worker="node/7/boot")

    give_back(world.services, boot)

    assert not world.services.store.has_claims()
    assert {row.losses for row in world.rows(sa.select(live_attempts))} == {0}
    world.receive_all()
    assert set(world.states_of_all()) == {"SUCCEEDED"}


# -- messages ------------------------------------------------------------------------------------------------------


def look(world, times=2):
    republisher = Republisher("me")
    for _ in range(times):
        republisher.look(world.services, ["default"])


def test_a_bundle_counts_as_one_message(world):
    world.submit_all(1_000)
    settled(world)

    assert world.services.outbox.count_ready("default", up_to=2_000) == 10
    look(world, times=3)
    assert len(world.services.publisher.sent) == 10


def test_a_bundle_whose_message_is_lost_gets_another_one(world):
    world.submit_all(MANY)
    settled(world)
    world.services.publisher.sent.clear()

    look(world)

    assert {(each.name, each.execution_id) for each in world.services.publisher.sent} == {
        (BUNDLE_TASK, world.ids[0]),
        (BUNDLE_TASK, world.ids[SIZE]),
    }
    world.receive_all()
    assert set(world.states_of_all()) == {"SUCCEEDED"}


@pytest.mark.parametrize("what", ["claimed", "given back"])
def test_while_somebody_has_the_first_alone_the_others_get_messages_of_their_own(world, what):
    world.submit_all(MANY)
    settled(world)
    for first_id in (world.ids[0], world.ids[SIZE]):
        world.services.store.claim(world.key(1, of=first_id), worker=OTHER)
    if what == "given back":
        give_up_all(world.services, worker=OTHER, loss=Loss("signal 9"))
    world.services.publisher.sent.clear()

    look(world)

    sent = {each.execution_id for each in world.services.publisher.sent}
    assert {*world.ids[1:SIZE], *world.ids[SIZE + 1 :]} <= sent


@pytest.mark.parametrize("what", ["killed", "over"])
def test_when_the_first_is_gone_the_others_get_messages_of_their_own(world, what):
    world.submit_all(MANY)
    settled(world)
    world.services.publisher.sent.clear()
    for first_id in (world.ids[0], world.ids[SIZE]):
        if what == "killed":
            world.kill(first_id)
        else:
            world.drive(world.key(1, of=first_id))

    look(world)

    sent = world.services.publisher.sent
    assert sorted(each.execution_id for each in sent) == world.ids[1:SIZE] + world.ids[SIZE + 1 :]
    assert BUNDLE_TASK not in {each.name for each in sent}
    world.receive_all()
    assert world.states_of_all().count("SUCCEEDED") == (MANY - 2 if what == "killed" else MANY)


def test_the_message_of_a_bundle_whose_first_is_gone_runs_the_others(world):
    first, *_ = world.submit_all(MANY)
    world.kill(world.ids[0])

    assert world.receive(first) is True
    assert world.states_of_all()[:SIZE] == ["CANCELLED"] + ["SUCCEEDED"] * (SIZE - 1)


def test_those_whose_first_was_there_already_have_messages_of_their_own(world):
    """Its request id was known: it is not stored again, and its message is not sent again."""
    requests = [f"r-{number}" for number in range(MANY)]
    world.submit_all(1, inputs=[{"item": 0}], request_ids=requests[:1])
    known = world.ids[0]

    sent = world.submit_all(MANY, request_ids=requests)

    assert world.ids[0] == known
    assert sorted(Counter(each.name for each in sent).values()) == [1, SIZE - 1]
    world.receive_all()
    assert world.states_of_all() == ["PENDING"] + ["SUCCEEDED"] * (MANY - 1)


def test_a_limit_of_an_operator_is_kept_and_its_slots_are_given_back(world):
    LimitStore(world.database).set_limit(integration_limit("default", "local", "many"), max_running=30)

    world.submit_all(MANY)
    assert len(world.rows(sa.select(live_attempts))) == 30
    world.receive_all()

    assert set(world.states_of_all()) == {"SUCCEEDED"}
    assert world.rows(sa.select(limit_holders)) == []


def test_nothing_is_left(world):
    world.submit_all(MANY, *GRAPH)

    world.receive_all()

    assert world.rows(sa.select(live_attempts)) == []
    assert world.rows(sa.select(parameters)) == []
    assert len(world.rows(sa.select(history))) == 4 * MANY
