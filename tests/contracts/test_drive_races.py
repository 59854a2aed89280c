"""Drives that get into each other's way, without workers: a loser reads again, and nothing is done twice or lost."""

import threading
from functools import partial
from threading import Event

import pytest
import sqlalchemy as sa

from orchestrator.errors import TaskError
from orchestrator.model.history import EntryKind
from orchestrator.model.states import ExecutionState, TaskState
from orchestrator.service import drive as driving
from orchestrator.service.drive import drive
from orchestrator.store.kinds import AttemptKey
from orchestrator.store.tables import live_attempts
from tests.contracts.stored import at_once
from tests.contracts.world import World, heavy, light
from tests.flows import flow, parameter, task

ANY = {"taskExecutionStrategy": "WHEN_ANY_SUCCEED"}
FATAL = {"failurePolicy": {"retryStrategy": "FATAL"}}
WAIT_S = 10


@pytest.fixture
def world(database, tmp_path):
    return World(database, tmp_path)


@pytest.fixture
def commit_after_every_task(monkeypatch):
    monkeypatch.setattr(driving, "BATCH_TASKS", 1)


# -- one drive -----------------------------------------------------------------------------------------------------


def test_a_message_that_comes_again_is_dropped(world):
    (key,) = world.submit(heavy(1))

    was_claimed = [drive(key, worker="me", services=world.services) for _ in range(3)]

    assert was_claimed == [True, False, False]
    assert world.entries() == [(1, EntryKind.SUCCEEDED, "me")]


def test_light_tasks_are_run_in_line_and_written_at_once(world):
    first, *_ = world.submit(
        heavy(1, next=[2]), *(light(number, next=[number + 1]) for number in range(2, 9)), heavy(9)
    )

    world.drive(first)

    assert set(world.states().values()) == {"SUCCEED", "PENDING_EXECUTION"}
    assert world.sent() == [1, 9]
    assert world.live() == {9: None}


def test_light_tasks_of_a_batch_that_is_full_are_kept_from_others(world, commit_after_every_task):
    seen = []
    first, *_ = world.submit(light(1, next=[2, 3]), light(2), light(3))
    world.code[2] = lambda: seen.append(world.live())
    world.code[3] = lambda: seen.append(world.live())

    world.drive(first, worker="me")

    assert seen == [{2: "me", 3: "me"}, {3: "me"}]
    assert world.live() == {}
    assert world.execution.state is ExecutionState.SUCCEEDED


def test_a_light_task_of_another_executor_is_sent_there(world):
    first, *_ = world.submit(light(1, next=[2]), light(2, executorId="elsewhere"))

    world.drive(first)

    assert [(each.number, each.executor) for each in world.services.publisher.sent] == [
        (1, "default"),
        (2, "elsewhere"),
    ]


@pytest.mark.parametrize("key", ["a\0b", "a\ud800b", "x" * 513])
def test_an_output_that_no_database_can_name_fails_the_task(world, key):
    (first,) = world.submit(heavy(1))
    world.code[1] = lambda: {key: "x"}

    world.drive(first)

    assert world.execution.state is ExecutionState.FAILED
    assert "512 characters" in world.execution.error.message
    assert world.live() == {}


# -- several -------------------------------------------------------------------------------------------------------


def test_a_batch_is_decided_again_on_what_another_worker_has_written(world):
    one, two, *_ = world.submit(
        heavy(1, next=[3]), heavy(2, next=[5]), light(3, next=[4]), light(4, next=[5]), light(5), starts=[1, 2]
    )
    world.code[4] = partial(world.drive, two)

    world.drive(one, worker="me")

    assert set(world.states().values()) == {"SUCCEED"}
    assert [number for number, *_ in world.entries()] == [2, 1, 3, 4, 5]
    assert world.revisions() == [1, 2, 3, 4, 5]
    assert world.live() == {}


def test_all_of_many_that_end_at_the_same_time_are_recorded(world):
    numbers = range(1, 9)
    keys = world.submit(*(heavy(number, next=[9]) for number in numbers), light(9), starts=numbers)

    at_once(*(partial(world.drive, key, worker=f"worker {key.number}") for key in keys[:-1]))

    assert sorted(number for number, *_ in world.entries()) == list(range(1, 10))
    assert world.execution.state is ExecutionState.SUCCEEDED
    assert world.live() == {}


def test_a_condition_that_has_turned_false_meanwhile_takes_the_task_behind_it_back(world):
    """It ran in line, ahead of the commit; nobody has seen it, so nothing is recorded of it."""
    one, two, *_ = world.submit(
        heavy(1, next=[(3, '$go$ = "yes"')]),
        heavy(2),
        light(3, next=[4]),
        heavy(4),
        starts=[1, 2],
        parameters=[parameter("go", default="yes")],
    )
    world.code[2] = lambda: {"go": "no"}
    world.code[3] = partial(world.drive, two)

    world.drive(one, worker="me")

    assert world.states() == {1: "SUCCEED", 2: "SUCCEED", 3: "SKIPPED", 4: "SKIPPED"}
    assert world.entries() == [(2, EntryKind.SUCCEEDED, "other"), (1, EntryKind.SUCCEEDED, "me")]
    assert world.sent() == [1, 2]


def test_a_task_that_another_worker_has_made_ready_meanwhile_is_left_to_it(world, commit_after_every_task, monkeypatch):
    """WHEN_ANY: both parents make the join ready ahead of their commits; the one that commits first runs it."""
    one, two, _ = world.submit(heavy(1, next=[3]), heavy(2, next=[3]), light(3, **ANY), starts=[1, 2])
    others_join_began, my_commit_is_done = Event(), Event()
    thread = threading.Thread(target=world.drive, args=(two,))

    def join():
        if threading.current_thread() is thread:  # after its first commit, which made the join its own
            others_join_began.set()
            assert my_commit_is_done.wait(WAIT_S)
        else:
            thread.start()
            assert others_join_began.wait(WAIT_S)

    world.code[1] = partial(monkeypatch.setattr, driving, "BATCH_TASKS", 100)
    world.code[2] = partial(monkeypatch.setattr, driving, "BATCH_TASKS", 1)
    world.code[3] = join
    world.drive(one, worker="me")
    assert world.live() == {3: "other"}
    my_commit_is_done.set()
    thread.join(WAIT_S)

    assert world.entries() == [
        (2, EntryKind.SUCCEEDED, "other"),
        (1, EntryKind.SUCCEEDED, "me"),
        (3, EntryKind.SUCCEEDED, "other"),
    ]
    assert world.execution.state is ExecutionState.SUCCEEDED
    assert world.live() == {}


def test_a_sibling_that_fails_fatally_takes_back_what_ran_ahead(world):
    one, two, *_ = world.submit(heavy(1, next=[3]), heavy(2, **FATAL), light(3, next=[4]), heavy(4), starts=[1, 2])
    world.code[2] = lambda: 1 / 0
    world.code[3] = partial(world.drive, two)

    world.drive(one, worker="me")

    assert world.states() == {1: "SUCCEED", 2: "FATAL", 3: "SKIPPED", 4: "SKIPPED"}
    assert world.execution.state is ExecutionState.FAILED
    assert world.sent() == [1, 2]
    assert world.live() == {}


def test_after_a_fatal_failure_what_is_kept_or_queued_is_skipped_and_what_runs_ends(world, commit_after_every_task):
    one, two, *_ = world.submit(
        light(1, next=[4]), heavy(2, **FATAL), heavy(3), light(4, next=[5]), light(5), light(6), starts=[1, 2, 3, 6]
    )
    world.code[2] = lambda: 1 / 0
    world.code[4] = partial(world.drive, two)

    world.drive(one, worker="me")

    assert world.states() == {
        1: "SUCCEED",
        2: "FATAL",
        3: "SKIPPED",
        4: "SUCCEED",
        5: "SKIPPED",
        6: "SKIPPED",
    }
    assert world.execution.state is ExecutionState.FAILED
    assert "division by zero" in world.execution.error.message
    assert world.live() == {}


def test_a_result_is_refused_when_the_attempt_was_given_to_another_worker(world):
    """What recovery does with an expired lease."""
    one, _ = world.submit(heavy(1, next=[2]), heavy(2))

    def lose():
        with world.database.begin() as connection:
            connection.execute(sa.update(live_attempts).values(worker="new"))

    world.code[1] = lose
    world.drive(one, worker="lost")

    assert world.entries() == [(1, EntryKind.LATE, "lost")]
    assert world.states()[1] == "IN_PROCESS"
    assert world.live() == {1: "new"}
    assert world.sent() == [1]


def test_sub_executions_that_were_to_start_are_started_once_however_often_it_is_decided(world):
    world.publish(flow("child", heavy(1)))
    one, two, _ = world.submit(heavy(1, next=[3]), heavy(2), task(3, "Call"), starts=[1, 2])
    world.code[3] = partial(world.drive, two)

    world.drive(one, worker="me")

    assert [child.parent_task for child in world.execution.children] == [3, 3]
    assert [entry for entry in world.entries() if entry[0] == 3] == [(3, EntryKind.CHILDREN_STARTED, "me")]
    assert world.live() == {3: None}
    assert world.execution.task(3).state is TaskState.IN_PROCESS
    assert len(world.services.publisher.sent) == 4


def test_sub_executions_of_a_task_that_is_taken_back_are_not_started(world):
    world.publish(flow("child", heavy(1)))
    one, two, _ = world.submit(heavy(1, next=[3]), heavy(2, **FATAL), task(3, "Call"), starts=[1, 2])

    def other_fails():
        world.code[2] = lambda: 1 / 0
        world.drive(two)

    world.code[3] = other_fails
    world.drive(one, worker="me")

    assert world.execution.children == ()
    assert world.execution.state is ExecutionState.FAILED
    assert world.live() == {}


def test_a_join_that_runs_again_and_again_with_other_results_between_loses_nothing(world):
    """The last child of one task ends while another task of the same execution commits."""
    world.publish(flow("child", heavy(1)))
    one, two = world.submit(task(1, "Call"), heavy(2), starts=[1, 2])
    world.drive(one)
    children = [AttemptKey(execution_id=child.id, number=1, attempt=1) for child in world.execution.children]

    at_once(*(partial(world.drive, key) for key in (*children, two)))
    joins = [message for message in world.services.publisher.sent if message.round]
    world.drive(AttemptKey(execution_id=world.id, number=1, attempt=1, round=1))

    assert len(joins) == 1
    assert world.execution.state is ExecutionState.SUCCEEDED
    assert world.live() == {}


def test_sub_executions_do_not_begin_when_the_execution_is_stopping_meanwhile(world):
    """The FATAL of a sibling is committed while the task decides to start them."""
    world.publish(flow("child", heavy(1)))
    fatal, call = world.submit(heavy(1, **FATAL), task(2, "Call"), starts=[1, 2])

    def fail():
        raise TaskError("broken")

    world.code[1] = fail
    world.code[2] = lambda: world.drive(fatal, worker="sibling")
    world.drive(call)

    execution = world.execution
    assert execution.state is ExecutionState.FAILED
    assert world.states() == {1: "FATAL", 2: "CANCELLED"}
    assert execution.children == ()
    assert world.live() == {}


def test_a_success_that_is_to_be_undone_at_once_is_written_as_a_success(world):
    one, two = world.submit(heavy(1, rollback={"task": "Heavy"}), heavy(2, **FATAL), starts=[1, 2])
    world.code[2] = lambda: 1 / 0
    world.code[1] = partial(world.drive, two)

    world.drive(one, worker="me")

    assert [kind for number, kind, _ in world.entries() if number == 1] == [EntryKind.SUCCEEDED]
    assert world.states() == {1: "PENDING_ROLLBACK", 2: "FATAL"}
