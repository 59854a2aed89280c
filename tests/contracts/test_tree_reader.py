"""An execution as people see it: folded from the history, however often it is read meanwhile."""

from dataclasses import replace

import pytest

from orchestrator.model.states import ExecutionState, TaskState
from orchestrator.service.fold import Snapshots
from orchestrator.service.lost import Loss, give_up
from orchestrator.service.query import TreeReader
from orchestrator.store.kinds import AttemptKey
from orchestrator.store.queries import ExecutionQueries
from tests.contracts.world import World, heavy, light
from tests.flows import flow, task


@pytest.fixture
def world(database, tmp_path):
    return World(database, tmp_path)


def reader(world, snapshots=Snapshots.LAST):
    return TreeReader(ExecutionQueries(world.database), world.services.plans, snapshots=snapshots)


def shown(snapshots):
    return [
        (each.task_number, {task.number: task.state.value for task in each.tasks}, dict(each.parameters))
        for each in snapshots
    ]


def test_the_last_snapshot_is_the_last_of_all(world):
    world.publish(flow("child", heavy(1)))
    first, *_ = world.submit(light(1, next=[2]), light(2, next=[3]), task(3, "Call"))

    world.drive(first)

    last, every, none = (
        reader(world, keep).read(world.id).snapshots for keep in (Snapshots.LAST, Snapshots.ALL, Snapshots.NONE)
    )
    assert [number for number, *_ in shown(every)] == [1, 2]
    assert shown(last) == shown(every)[-1:]
    assert none == ()


def test_a_snapshot_holds_what_was_so_right_after_its_task_and_not_what_came_later(world):
    """Sub-executions have started since; that is no checkpoint."""
    world.publish(flow("child", heavy(1)))
    first, *_ = world.submit(light(1, next=[2]), task(2, "Call"))

    world.drive(first)

    execution = reader(world).read(world.id)
    assert execution.task(2).state is TaskState.IN_PROCESS
    assert shown(execution.snapshots) == [(1, {1: "SUCCEED", 2: "PENDING_EXECUTION"}, {})]


def test_reading_again_and_again_shows_the_same_as_reading_once(world):
    world.publish(flow("child", heavy(1)))
    first, *_, last = world.submit(heavy(1, next=[2]), task(2, "Call", next=[3]), heavy(3))
    patient = reader(world)

    patient.read(world.id)
    world.drive(first)
    patient.read(world.id)
    for child in patient.read(world.id).children:
        world.drive(AttemptKey(execution_id=child.id, number=1, attempt=1))
        patient.read(world.id)
    world.drive(AttemptKey(execution_id=world.id, number=2, attempt=1, round=1))
    patient.read(world.id)
    world.drive(last)

    assert patient.read(world.id) == reader(world).read(world.id)
    assert [each.state for each in patient.read(world.id).tasks] == [TaskState.SUCCEED] * 3


def test_a_task_that_a_worker_has_claimed_is_shown_as_running(world):
    seen = []
    (key,) = world.submit(heavy(1))
    world.code[1] = lambda: seen.append(reader(world).read(world.id).task(1))

    world.drive(key, worker="me")

    (running,) = seen
    assert running.state is TaskState.IN_PROCESS
    assert [(each.attempt, each.worker, each.ended_at) for each in running.attempts] == [(1, "me", None)]
    assert running.duration_s is None


def test_a_task_whose_worker_died_waits_again_and_keeps_the_attempt_that_was_lost(world):
    (key,) = world.submit(heavy(1))
    world.services.store.claim(key, worker="dead")
    give_up(world.id, world.services, worker="dead", loss=Loss("signal 9"))

    waiting = reader(world).read(world.id).task(1)
    world.drive(key, worker="other")

    done = reader(world).read(world.id).task(1)
    assert waiting.state is TaskState.PENDING_EXECUTION
    assert [(each.worker, each.error.code) for each in waiting.attempts] == [("dead", "WORKER_LOST")]
    assert [(each.attempt, each.worker) for each in done.attempts] == [(1, "dead"), (1, "other")]


def test_an_execution_can_be_read_without_what_is_below_it(world):
    world.publish(flow("child", heavy(1)))
    first, *_ = world.submit(task(1, "Call"))
    world.drive(first)

    alone = reader(world).read_alone(world.id)

    assert alone == replace(reader(world).read(world.id), children=())
    assert alone.task(1).state is TaskState.IN_PROCESS


def test_an_execution_is_read_as_it_was_at_one_moment(world, monkeypatch):
    """The last task ends between two looks at the database: state and tasks must fit each other all the same."""
    first, second = world.submit(heavy(1, next=[2]), heavy(2))
    world.drive(first)
    read_entries = ExecutionQueries.entries

    def entries_after_the_end(queries, revisions):
        world.drive(second)
        return read_entries(queries, revisions)

    monkeypatch.setattr(ExecutionQueries, "entries", entries_after_the_end)
    execution = reader(world).read(world.id)

    assert execution.state is ExecutionState.PROCESSING
    assert [task.state for task in execution.tasks] == [TaskState.SUCCEED, TaskState.PENDING_EXECUTION]


def test_a_start_task_that_its_condition_skipped_is_shown_skipped(world):
    """The start is decided when the execution is created, before there is any history."""
    first, *_ = world.submit(heavy(1), heavy(2), starts=[1, (2, "$absent$ = 1")])

    before = world.states()
    world.drive(first)

    assert before == {1: "PENDING_EXECUTION", 2: "SKIPPED"}
    assert world.states() == {1: "SUCCEED", 2: "SKIPPED"}
