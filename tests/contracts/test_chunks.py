"""Rounds of light sub-executions in chunks: what they leave is the same as otherwise, and each is over once."""

import json
import threading
import uuid
from contextlib import suppress
from dataclasses import replace
from functools import partial

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orchestrator.engine.limits import integration_limit
from orchestrator.errors import StateError
from orchestrator.model.history import EntryKind
from orchestrator.model.states import ExecutionState
from orchestrator.model.task_types import Child, StartChildren, Suspend, TaskType
from orchestrator.runtime.guard import ProcessGuard
from orchestrator.service import patience
from orchestrator.service.chunks import Siblings, let_go
from orchestrator.service.explaining.explain import explain
from orchestrator.service.lost import MAX_LOSSES, Loss, give_up
from orchestrator.service.perform import child_ids
from orchestrator.service.recovery import Republisher, give_back
from orchestrator.service.submit import Wishes
from orchestrator.store.changes import EndedChild, Refusal
from orchestrator.store.kinds import ChunkKey, Signal, WorkerState
from orchestrator.store.limit_terms import LimitStore
from orchestrator.store.tables import chunks, later, metadata
from orchestrator.store.workers import Boot
from tests.contracts.chunk_world import ITEM, ChunkWorld, each, square
from tests.contracts.control_world import FATAL, IGNORE, break_down, nests, retry, undone
from tests.contracts.failing import LosingAnswers
from tests.contracts.stored import at_once
from tests.contracts.world import heavy, light
from tests.flows import flow, task

MANY = 50
CHILD = flow("child", square(1), parameters=[ITEM])
ME, OTHER = "node/7/me", "node/8/other"
PARENT = "6f726368-6573-4472-8174-6f7263686964"


@pytest.fixture
def world(database, tmp_path):
    return ChunkWorld(database, tmp_path)


# -- which rounds --------------------------------------------------------------------------------------------------


def test_a_round_of_many_has_a_row_and_a_small_message_for_a_chunk_and_none_for_a_child(world):
    world.begin(1_000)

    rows, messages = world.chunk_rows(), world.chunk_messages()
    assert [(row.first_position, row.size) for row in rows] == [(first, 125) for first in range(0, 1_000, 125)]
    assert world.child_rows() == []
    assert world.waits() == (0, 1_000, "wait")
    assert {each.celery_id for each in messages} == {f"{world.id}.1.1.1.chunk{first}" for first in range(0, 1_000, 125)}
    assert max(len(json.dumps(each.arguments)) for each in messages) < 100


@pytest.mark.parametrize(
    ("count", "sizes"), [(20, []), (21, [10, 11]), (160, [20] * 8), (161, [17] + [18] * 8), (3_000, [250] * 12)]
)
def test_a_round_is_cut_into_chunks_that_keep_several_processes_busy(world, count, sizes):
    world.begin(count)

    assert sorted(row.size for row in world.chunk_rows()) == sizes
    assert len(world.child_rows()) + sum(sizes) == count


ORDINARY = {
    "a heavy task": {"tasks": [square(1, next=[2]), heavy(2)]},
    "another pool": {"tasks": [square(1, executorId="elsewhere")]},
    "a time to wait": {"tasks": [square(1, queueTimeoutMs=1000)]},
    "a time to run": {"tasks": [square(1, timeoutMs=1000)]},
    "a rollback": {"tasks": [square(1, **undone())]},
    "sub-executions": {"tasks": [square(1, next=[2]), nests(2, "child")]},
    "a task that suspends by its definition": {"tasks": [square(1, successPolicy={"finalState": "SUSPENDED"})]},
    "a task type that suspends": {"tasks": [task(1, "Wait")]},
    "a limit": {"limits": {"maxConcurrent": 1000}},
    "very many tasks": {"tasks": [square(number, next=[number + 1]) for number in range(1, 101)] + [square(101)]},
}


@pytest.mark.parametrize("what", ORDINARY)
def test_children_that_may_need_more_than_one_process_are_created_one_by_one(world, what):
    world.services.types.add(TaskType(name="Wait", run=lambda context: Suspend(), light=True, suspends=True))
    more = dict(ORDINARY[what])
    limits_of_child = {"limits": more.pop("limits")} if "limits" in more else {}
    world.publish(flow("child", *more.get("tasks", [square(1)]), parameters=[ITEM]) | limits_of_child)
    world.submit(each(1, MANY))

    world.drive(world.key(1))

    assert world.chunk_rows() == []
    assert len(world.child_rows()) == MANY


def test_a_limit_of_an_operator_is_kept(world):
    LimitStore(world.database).set_limit(integration_limit("default", "local", "child"), max_running=3)

    world.begin(MANY)

    assert world.chunk_rows() == []
    assert sum(row.hold is None for row in world.child_rows()) == 3


def test_inputs_that_do_not_fit_fail_the_task_before_anything_is_stored(world):
    world.publish(flow("child", square(1)))
    world.submit(each(1, MANY))

    world.drive(world.key(1))

    (entry,) = world.history()
    assert (entry.kind, entry.error.type) == (EntryKind.FAILED, "UnknownParameter")
    assert (world.chunk_rows(), world.child_rows()) == ([], [])


# -- as otherwise --------------------------------------------------------------------------------------------------

FAILING, SKIPPED, NEVER_BEGUN = 3, 11, 13
GRAPH = {"tasks": [light(1, next=[2, 3]), square(2, next=[4]), light(3, next=[4]), light(4)]}
CONDITIONAL = {
    "tasks": [
        square(1, next=[(2, f"$item$ != {SKIPPED}"), 3]),
        light(2, next=[(4, "$out$ > 100")], **IGNORE),
        light(3, next=[4], taskExecutionStrategy="WHEN_ALL_SUCCEED"),
        light(4),
    ],
}


def run_one_way(world, *, few, **more):
    """What is left of a parent and its children, without ids and times."""
    world.does = {FAILING: break_down}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("orchestrator.service.perform.FEW", few)
        world.begin(MANY, **more)
    world.run_all()
    return left_by(world)


def left_by(world):
    told = []
    for row in world.child_rows():
        stored = row._asdict()
        for varies in ("id", "root_id", "parent_id", "created_at", "updated_at", "ended_at"):
            assert stored.pop(varies) is not None
        told.append((stored, [without_times(entry) for entry in world.history(row.id)]))
    outcomes = [[replace(outcome, execution_id="") for outcome in joined] for joined in world.joined]
    return told, outcomes, [without_times(entry) for entry in world.history()]


def without_times(entry):
    error = entry.error and replace(entry.error, traceback="")
    details = {key: found for key, found in entry.details.items() if key != "chunks"}
    return replace(entry, started_at=None, ended_at=None, worker="", error=error, details=details)


@pytest.mark.parametrize(
    "more",
    [{}, GRAPH, CONDITIONAL, {"tasks": [square(1, **FATAL)]}, {"starts": [(1, f"$item$ != {NEVER_BEGUN}")]}],
    ids=["one task", "a graph", "conditions", "fatal", "a start condition"],
)
def test_children_and_the_join_are_the_same_in_chunks_and_one_by_one(world, more):
    others = run_one_way(world, few=10**6, **more)
    world.joined.clear()

    in_chunks = run_one_way(world, few=20, **more)

    assert in_chunks == others
    assert len(in_chunks[1][0]) == MANY


def test_the_times_of_a_child_follow_each_other(world):
    world.begin(MANY)

    world.run_all()

    for row in world.child_rows():
        (entry,) = world.history(row.id)
        assert row.created_at <= entry.started_at <= entry.ended_at <= row.ended_at == row.updated_at
        assert entry.worker == "node/7/boot"


def test_children_have_the_ids_that_they_would_have_one_by_one(world):
    """So that who starts them again starts the same ones."""
    world.begin(MANY)
    (claimed, *_) = [world.services.chunks.claim(key, worker=ME) for key in world.chunk_keys()]

    siblings = Siblings(claimed, world.services, clock=lambda: claimed.now)

    assert siblings.ordinary(3).id == siblings.run(3).id


def test_the_ids_of_children_are_uuids_in_the_order_of_their_positions():
    """So that the index entries of those that are written together lie together."""
    positions = [0, 1, 9, 10, 99_999, 2**31 - 1]
    others = [child_ids(*attempt) for attempt in ((PARENT, 1, 2), (PARENT, 2, 1), ("another", 1, 1))]

    ids = [child_ids(PARENT, 1, 1)(position) for position in positions]

    assert ids == sorted({*ids})
    assert ids == [str(uuid.UUID(each)) for each in ids]
    assert {uuid.UUID(each).version for each in ids} == {8}  # of our own making
    assert {other(0)[:28] for other in others}.isdisjoint(each[:28] for each in ids)


# -- more than light work ------------------------------------------------------------------------------------------


def test_a_child_whose_retry_waits_goes_on_like_any_other(world):
    world.does = {3: break_down}
    world.begin(MANY, tasks=[square(1, **retry(1))])

    for key in world.chunk_keys():
        world.run_chunk(key)
    assert world.waits() == (MANY - 1, MANY, "wait")
    assert [row.position for row in world.child_rows() if row.state == "PENDING"] == [3]
    world.does.clear()
    world.drive_all()

    assert [outcome.state for outcome in world.joined[0]] == ["SUCCEEDED"] * MANY
    assert world.execution.state is ExecutionState.SUCCEEDED
    world.assert_over()


def test_a_child_that_suspends_goes_on_like_any_other(world):
    world.does = {5: lambda: Suspend(message="may it?")}
    world.begin(MANY)

    world.run_all()

    (asked,) = [row for row in world.child_rows() if row.state == "SUSPENDED"]
    assert asked.position == 5
    assert world.waits() == (MANY - 1, MANY, "wait")
    world.kill()
    assert world.tree_states().count("CANCELLED") == 2
    world.assert_over()


def test_a_child_that_starts_others_and_does_not_wait_goes_on_like_any_other(world):
    below = [Child(integration="below", trigger_id="api_trigger/below")]
    world.publish(flow("below", heavy(1)))
    world.does = {5: lambda: StartChildren(children=below, wait=False)}
    world.begin(MANY)

    world.run_all()

    assert [outcome.state for outcome in world.joined[0]] == ["SUCCEEDED"] * MANY
    assert [len(child.children) for child in world.execution.children].count(1) == 1
    world.assert_over()


def test_a_child_has_a_message_as_soon_as_it_is_one_of_its_own(world):
    world.does = {0: lambda: Suspend(message="may it?")}
    first, *_ = world.begin(MANY)
    world.services.publisher.sent.clear()

    world.run_chunk(first)

    (begun,) = [row for row in world.child_rows() if row.state == "PENDING"]
    assert [(message.execution_id, message.number) for message in world.services.publisher.sent] == [(begun.id, 1)]


# -- claims --------------------------------------------------------------------------------------------------------


def test_of_many_that_claim_a_chunk_one_gets_it(world):
    first, *_ = world.begin(MANY)

    claims = [partial(world.services.chunks.claim, first, worker=f"node/{number}/boot") for number in range(4)]
    claimed = at_once(*claims)

    assert sum(found is not None for found in claimed) == 1


def test_a_message_that_comes_again_is_dropped(world):
    first, *_ = world.begin(MANY)

    assert [world.run_chunk(first) for _ in range(3)] == [True, False, False]
    assert [row.position for row in world.child_rows()] == [*range(world.waits()[0])]


def test_who_asks_again_because_the_answer_was_lost_has_its_chunk(world):
    first, *_ = world.begin(MANY)
    world.services.chunks.claim(first, worker=ME)

    assert world.services.chunks.claim(first, worker=ME, is_again=True) is not None
    assert world.services.chunks.claim(first, worker=OTHER, is_again=True) is None


def test_a_chunk_of_another_round_is_not_claimed(world):
    first, *_ = world.begin(MANY)

    assert world.services.chunks.claim(replace(first, round=2), worker=ME) is None


# -- parts and fences ----------------------------------------------------------------------------------------------


def ended(world, claimed, *indexes):
    siblings = Siblings(claimed, world.services, clock=lambda: claimed.now)
    return [siblings.run(index) for index in indexes]


def test_what_is_over_counts_at_once_and_the_rest_stays(world):
    first, *_ = world.begin(MANY)
    claimed = world.services.chunks.claim(first, worker=ME)

    written = world.services.chunks.write(claimed, ended(world, claimed, 0, 1, 2), [], done=3)

    assert written == ()
    assert world.waits() == (3, MANY, "wait")
    assert [row.position for row in world.child_rows()] == [0, 1, 2]
    assert world.chunk_rows()[0].done == 3


def test_after_a_loss_the_rest_runs_and_what_is_over_does_not(world):
    first, *_ = world.begin(MANY)
    claimed = world.services.chunks.claim(first, worker=ME)
    world.services.chunks.write(claimed, ended(world, claimed, 0, 1, 2), [], done=3)
    give_up(world.id, world.services, worker=ME, loss=Loss("signal 9"))
    ran = []
    world.does = {item: lambda item=item: ran.append(item) for item in range(MANY)}

    world.run_all()

    assert sorted(ran) == [*range(3, MANY)]
    assert [outcome.parameters["out"].data for outcome in world.joined[0]] == [item * item for item in range(MANY)]
    world.assert_over()


@pytest.mark.parametrize("meanwhile", ["nothing", "another has claimed it", "another has written the same"])
def test_what_a_worker_writes_that_has_lost_its_chunk_is_refused(world, meanwhile):
    first, *_ = world.begin(MANY)
    mine = world.services.chunks.claim(first, worker=ME)
    give_up(world.id, world.services, worker=ME, loss=Loss("signal 9"))
    if meanwhile != "nothing":
        others = world.services.chunks.claim(first, worker=OTHER)
    if meanwhile == "another has written the same":
        world.services.chunks.write(others, ended(world, others, 0, 1), [], done=2)
    before = world.child_rows()

    written = world.services.chunks.write(mine, ended(world, mine, 0, 1, 2), [], done=3)

    assert written is Refusal.FENCED
    assert world.child_rows() == before
    assert world.waits()[0] == len(before)
    assert let_go(mine, world.services) is False


@pytest.mark.parametrize(("nth", "moment"), [(nth, moment) for nth in range(1, 6) for moment in ("before", "after")])
def test_whichever_answer_is_lost_each_child_is_over_once(world, monkeypatch, nth, moment):
    monkeypatch.setattr(patience, "_FIRST_PAUSE_S", 0.0)
    world.does = {3: lambda: Suspend(message="may it?")}
    first, *others = world.begin(MANY)
    losing = LosingAnswers(world.database, lambda number: moment if number == nth else None)

    world.run_chunk(first)
    for key in others:
        world.run_chunk(key)

    assert losing.lost == 1
    assert [row.position for row in world.child_rows()] == [*range(MANY)]
    assert world.waits() == (MANY - 1, MANY, "wait")


# -- loss ----------------------------------------------------------------------------------------------------------


def test_a_lost_chunk_is_sent_again(world):
    first, *_ = world.begin(MANY)
    world.services.publisher.sent.clear()

    world.lose_chunk(first)

    (row, *_) = world.chunk_rows()
    assert (row.worker, row.owner, row.losses) == (None, None, 1)
    assert [message.first_position for message in world.chunk_messages()] == [first.first_position]


def test_a_chunk_that_killed_three_workers_is_unpacked(world):
    first, *others = world.begin(MANY)
    world.services.publisher.sent.clear()

    world.lose_chunk(first, times=MAX_LOSSES)

    unpacked = world.child_rows()
    assert [(row.position, row.state) for row in unpacked] == [(index, "PENDING") for index in range(len(unpacked))]
    assert world.chunk_keys() == others
    assert {message.execution_id for message in world.services.publisher.sent if message.number == 1} >= {
        row.id for row in unpacked
    }
    world.run_all()
    assert [outcome.state for outcome in world.joined[0]] == ["SUCCEEDED"] * MANY
    world.assert_over()


def test_the_child_that_kills_its_workers_is_found_and_quarantined(world):
    first, *_ = world.begin(MANY)
    world.lose_chunk(first, times=MAX_LOSSES)
    poison = world.child_rows()[4].id
    world.lose(world.key(1, of=poison), times=MAX_LOSSES)

    world.run_all()

    assert world.tasks_of(poison) == {1: "RETRY_ON_HOLD"}
    assert world.waits() == (MANY - 1, MANY, "wait")


def test_a_stopping_worker_gives_its_chunk_back_and_that_is_no_loss(world):
    first, *_ = world.begin(MANY)
    boot = Boot(id="boot", name="node", machine="here", pid=7, began=1)
    world.services.workers.beat(boot, [])
    world.services.chunks.claim(first, worker="node/7/boot")
    world.services.workers.leave("boot")
    assert world.rows(sa.text("SELECT id FROM workers")) != [], "it holds something"

    give_back(world.services, boot)

    (row, *_) = world.chunk_rows()
    assert (row.worker, row.losses) == (None, 0)
    assert not world.services.store.has_claims()


def test_a_worker_that_is_leaving_is_asked_to_give_its_chunk_back(world):
    first, *_ = world.begin(MANY)
    boot = Boot(id="boot", name="node", machine="here", pid=7, began=1)
    world.services.workers.beat(boot, [], WorkerState.READY)
    world.services.chunks.claim(first, worker="node/7/boot")

    wishes = [world.services.chunks.wish(first, worker="node/7/boot")]
    world.services.workers.beat(boot, [], WorkerState.LEAVING)
    wishes.append(world.services.chunks.wish(first, worker="node/7/boot"))
    world.kill()
    wishes.append(world.services.chunks.wish(first, worker="node/7/boot"))

    assert wishes == ["go on", "give back", "stop"]
    assert world.services.store.has_claims()


def test_a_child_that_does_not_end_is_cut_off_and_the_rest_goes_to_another_worker(world):
    """The guard looks, and finds that the worker leaves."""
    boot = Boot(id="boot", name="node", machine="here", pid=7, began=1)
    world.services.workers.beat(boot, [])
    first, *_ = world.begin(MANY)

    def hangs():  # what it is ended in must not be what tells that it is to end
        threading.Thread(target=world.services.workers.beat, args=(boot, [], WorkerState.LEAVING)).start()
        while True:
            pass

    world.does = {2: hangs}
    world.services = replace(world.services, guard=ProcessGuard(look_every_s=0.05))
    world.run_chunk(first)

    (row, *_) = world.chunk_rows()
    assert (row.worker, row.done, row.losses) == (None, 2, 0)
    world.does.clear()
    world.run_all()
    assert [outcome.state for outcome in world.joined[0]] == ["SUCCEEDED"] * MANY


# -- messages ------------------------------------------------------------------------------------------------------


def settled(world):
    with world.database.begin() as connection:
        connection.execute(sa.update(chunks).values(queued_at=later(-60)))


def test_a_chunk_whose_message_is_lost_gets_one(world):
    keys = world.begin(MANY)
    world.services.publisher.sent.clear()
    settled(world)
    republisher = Republisher("me")

    for _ in range(3):
        republisher.look(world.services, ["default"])

    assert sorted(message.first_position for message in world.chunk_messages()) == [key.first_position for key in keys]


def test_chunks_that_wait_with_their_messages_are_left_alone(world):
    keys = world.begin(MANY)
    settled(world)
    republisher = Republisher("me")

    for _ in range(3):
        republisher.look(world.services, ["default"])

    assert len(world.chunk_messages()) == len(keys)


# -- KILL and other ends -------------------------------------------------------------------------------------------


def test_a_kill_ends_ten_thousand_that_are_not_begun_at_once(world):
    world.begin(10_000)

    world.kill()

    assert world.execution.state is ExecutionState.CANCELLED
    assert world.child_rows() == []
    assert world.joined == []
    world.assert_over()


def test_a_chunk_that_runs_while_its_parent_is_killed_is_refused_and_gone(world):
    first, *_ = world.begin(MANY)
    claimed = world.services.chunks.claim(first, worker=ME)
    part = ended(world, claimed, 0, 1)
    world.kill()
    assert world.execution.state is ExecutionState.PROCESSING, "its code may run"

    assert world.services.chunks.write(claimed, part, [], done=2) is Refusal.FENCED
    assert let_go(claimed, world.services) is True

    assert world.execution.state is ExecutionState.CANCELLED
    assert world.child_rows() == []
    world.assert_over()


def test_a_kill_amid_a_chunk_leaves_what_is_over_and_nothing_else(world):
    first, *_ = world.begin(MANY)
    world.does = {5: world.kill}

    world.run_chunk(first)

    assert world.execution.state is ExecutionState.CANCELLED
    assert world.child_rows() == []
    world.assert_over()


def test_a_killed_worker_is_all_that_a_kill_waits_for(world):
    first, *_ = world.begin(MANY)
    world.services.chunks.claim(first, worker=ME)
    world.kill()

    silent = Loss("no heartbeat", has_ended=False)
    assert give_up(world.id, world.services, worker=ME, loss=silent) is False
    assert world.execution.state is ExecutionState.PROCESSING
    assert give_up(world.id, world.services, worker=ME, loss=Loss("signal 9")) is True

    assert world.execution.state is ExecutionState.CANCELLED
    world.assert_over()


def test_nothing_is_claimed_of_what_is_marked(world):
    """What a process leaves that dies right after it has sent a signal."""
    world.begin(MANY)
    keys = world.chunk_keys()

    world.mark(Signal.KILL)

    assert [world.run_chunk(key) for key in keys] == [False] * len(keys)
    assert world.waits() == (MANY, MANY, "join")


def test_a_kill_from_far_above_reaches_the_chunks(world):
    world.publish(flow("middle", each(1, MANY)))
    world.publish(CHILD)
    (top,) = world.submit(nests(1, "middle", count=2))
    world.drive(top)
    world.drive_all()
    assert world.chunk_rows() != []

    world.kill()

    assert world.tree_states() == ["CANCELLED"] * 3
    world.assert_over()


def test_the_kill_of_the_task_ends_its_chunks_and_the_execution_goes_on(world):
    world.begin(MANY, heavy(2))

    world.kill_task(1)

    assert world.tasks_of() == {1: "CANCELLED", 2: "PENDING_EXECUTION"}
    assert world.chunk_rows() == []
    world.run_all()
    assert world.joined == []
    world.assert_over()


def test_the_kill_of_the_task_while_a_chunk_runs_waits_for_it(world):
    first, *_ = world.begin(MANY)
    claimed = world.services.chunks.claim(first, worker=ME)
    world.kill_task(1)
    assert world.tasks_of() == {1: "IN_PROCESS"}

    assert world.services.chunks.write(claimed, ended(world, claimed, 0), [], done=1) is Refusal.FENCED
    let_go(claimed, world.services)
    world.run_all()

    assert world.tasks_of() == {1: "CANCELLED"}
    assert world.joined == []
    world.assert_over()


def test_a_timeout_of_the_task_takes_its_chunks_along(world):
    world.publish(CHILD)
    world.submit(each(1, MANY, timeoutMs=1000))
    world.drive(world.key(1))
    first, *_ = world.chunk_keys()
    claimed = world.services.chunks.claim(first, worker=ME)
    world.began_s_ago(5)

    world.fire("TIMEOUT")

    assert world.tasks_of() == {1: "FAILED"}
    assert [row.worker for row in world.chunk_rows()] == [ME]
    assert world.services.chunks.write(claimed, ended(world, claimed, 0), [], done=1) is Refusal.FENCED
    let_go(claimed, world.services)
    world.assert_over()


def test_a_retry_of_the_task_starts_other_children(world):
    world.publish(CHILD)
    world.submit(each(1, MANY, timeoutMs=1000, **retry(1)))
    world.drive(world.key(1))
    first, *_ = world.chunk_keys()
    world.run_chunk(first)
    world.began_s_ago(5)
    world.fire("TIMEOUT")

    world.fire("RETRY")
    world.drive_all()
    world.run_all()

    assert [row.parent_attempt for row in world.child_rows()].count(2) == MANY
    assert len(world.joined[0]) == MANY
    world.assert_over()


@pytest.mark.parametrize("how", ["fatal", "deadline"])
def test_what_stops_the_parent_ends_its_chunks(world, how):
    world.publish(CHILD)
    version_id, _ = world.publish(flow("stopped", each(1, MANY), heavy(2, **FATAL), starts=[1, 2]))
    world.start_now(version_id, wishes=Wishes(deadline_s=60))
    world.drive(world.key(1))

    if how == "fatal":
        world.code[2] = break_down
        world.drive(world.key(2))
    else:
        world.fire("DEADLINE")

    assert world.execution.state is ExecutionState.FAILED
    world.assert_over()


# -- looking -------------------------------------------------------------------------------------------------------


def test_why_says_how_many_are_over_and_how_many_wait_in_chunks(world):
    first, second, *_ = world.begin(60)
    world.run_chunk(first)
    world.services.chunks.claim(second, worker=ME)

    (found,) = explain(world.id, world.services, task=1)

    assert found.sentence == (
        "task 1 'Each' waits for its sub-executions: 20 of 60 are over "
        "(20 are being run in chunks, 20 wait in chunks and queue executor.default has no live worker)"
    )
    assert found.facts == {
        "total": 60,
        "over": 20,
        "states": {"SUCCEEDED": 20},
        "inChunks": {"running": 20, "unclaimed": 20},
    }


# -- whatever happens ----------------------------------------------------------------------------------------------

ACTIONS = st.lists(
    st.tuples(
        st.sampled_from(["claim", "write", "write", "lose", "give back", "run others", "kill", "kill task", "message"]),
        st.integers(0, 2),
        st.integers(1, 8),
    ),
    max_size=25,
)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(actions=ACTIONS, failing=st.sets(st.integers(0, 20), max_size=2))
def test_in_whatever_order_it_happens_each_child_is_over_once_and_the_join_comes_once(world, actions, failing):
    with world.database.begin() as connection:
        for table in reversed(metadata.sorted_tables):
            connection.execute(sa.delete(table))
    world.joined.clear()
    world.services.publisher.sent.clear()
    world.does = dict.fromkeys(failing, break_down)
    world.begin(21, tasks=[square(1, **retry(1))])
    held, killed = {}, False
    for action, which, count in actions:
        worker = f"node/{which}/boot"
        if action == "claim" and worker not in held:
            keys = world.chunk_keys()
            claimed = world.services.chunks.claim(keys[count % len(keys)], worker=worker) if keys else None
            if claimed is not None:
                held[worker] = [claimed, claimed.done]
        elif action == "write" and worker in held:
            write_some(world, held, worker, count)
        elif action == "lose":
            give_up(world.id, world.services, worker=worker, loss=Loss("signal 9"))
            if count % 2:  # else it does not know, and goes on to write
                held.pop(worker, None)
        elif action == "give back" and worker in held:
            let_go(held.pop(worker)[0], world.services)
        elif action == "run others":
            world.drive_all()
        elif action.startswith("kill") and count == 1:
            with suppress(StateError):  # it is over, or being ended
                world.kill() if action == "kill" else world.kill_task(1)
                killed = True
        elif action == "message":
            for message in world.chunk_messages()[:count]:
                world.run_chunk(key_of(message))
        check_the_count(world)
    for worker in held:
        give_up(world.id, world.services, worker=worker, loss=Loss("signal 9"))
    world.does = {}
    for _ in range(3):
        world.run_all()
        world.fire()
    world.assert_over()
    places = [row.position for row in world.child_rows()]
    assert len(places) == len(set(places))
    assert {row.state for row in world.child_rows()} <= {"SUCCEEDED", "CANCELLED"}
    if killed:
        assert world.joined == [] or len(world.joined[0]) == 21
    else:
        assert places == [*range(21)]
        assert [len(joined) for joined in world.joined] == [21]
    assert world.kinds().count("sub-executions started") == 1
    assert len([kind for kind in world.kinds() if kind in ("task succeeded", "task stopped")]) == 1


def write_some(world, held, worker, count):
    claimed, done = held[worker]
    indexes = range(done, min(done + count, len(claimed.chunk.requests)))
    children = ended(world, claimed, *indexes)
    over = [child for child in children if isinstance(child, EndedChild)]
    begun = [child for child in children if not isinstance(child, EndedChild)]
    written = world.services.chunks.write(claimed, over, begun, done=done + len(children))
    if isinstance(written, Refusal):
        let_go(claimed, world.services)
        del held[worker]
    elif done + len(children) == len(claimed.chunk.requests):
        del held[worker]
    else:
        held[worker][1] += len(children)


def key_of(message):
    execution_id, number, attempt, round_, first_position = message.arguments
    return ChunkKey(
        execution_id=execution_id, number=number, attempt=attempt, round=round_, first_position=first_position
    )


def check_the_count(world):
    """While the parent waits, what has arrived is what is over or was dropped, and what is left is somewhere."""
    live = [row for row in world.everything_live() if row[0] == world.id]
    if not live:
        return
    arrived, children, _ = world.waits()
    in_chunks = sum(row.size - row.done for row in world.chunk_rows())
    going = sum(row.ended_at is None for row in world.child_rows())
    assert arrived + in_chunks + going == children
