"""Snapshots: the execution after every checkpoint, which run that was in, and what differs between two of them."""

import json
from datetime import timedelta
from functools import partial

import pytest
import sqlalchemy as sa

from orchestrator.errors import ExecutionNotFound
from orchestrator.model.history import EntryKind
from orchestrator.model.states import ExecutionState, TaskState
from orchestrator.model.task_types import Done, TaskType
from orchestrator.model.values import from_python, to_parameters
from orchestrator.service.fold import Snapshots
from orchestrator.service.query import TreeReader
from orchestrator.service.snapshots import (
    SnapshotNotFound,
    TaskNotFound,
    read_difference,
    read_history,
    read_snapshots,
)
from orchestrator.service.submit import Wishes
from orchestrator.service.suspensions import resolve
from orchestrator.store.queries import ExecutionQueries
from orchestrator.store.tables import executions, history, now, parameters
from tests.contracts.control_world import ControlWorld, asks, break_down, nests, restart, retry
from tests.contracts.world import heavy, light
from tests.flows import flow, parameter, task


@pytest.fixture
def world(database, tmp_path):
    return ControlWorld(database, tmp_path)


def taken(world, **more):
    return read_snapshots(world.id, world.services, **more)


def in_turn(*codes):
    """Code that does another thing at each attempt."""
    ahead = list(codes)

    def run():
        return ahead.pop(0)()

    return run


def python(values):
    return {key: value.python for key, value in values.items()}


def seen(snapshot):
    return {task.number: task.state.value for task in snapshot.tasks}


# -- what there is -------------------------------------------------------------------------------------------------


def test_there_is_a_snapshot_after_every_attempt_and_every_answer(world):
    world.submit(light(1, next=[2]), asks(2, next=[3], **retry(1)), light(3))
    world.code[2] = in_turn(partial(break_down, "once"), dict)

    world.drive_all()
    world.fire("RETRY")
    world.drive_all()
    resolve(world.id, world.services, is_lifted=True, actor="ann")
    world.drive_all()

    found = taken(world)
    assert [(each.index, each.kind, each.task_number, each.task_attempt) for each in found] == [
        (0, EntryKind.SUCCEEDED, 1, 1),
        (1, EntryKind.FAILED, 2, 1),
        (2, EntryKind.SUSPENDED, 2, 2),
        (3, EntryKind.LIFTED, 2, 2),
        (4, EntryKind.SUCCEEDED, 3, 1),
    ]
    assert [seen(each)[2] for each in found] == [
        "PENDING_EXECUTION",
        "RETRY_ON_HOLD",
        "SUSPENDED",
        "SUCCEED",
        "SUCCEED",
    ]
    assert [each.taken_at for each in found] == sorted(each.taken_at for each in found)


def test_a_snapshot_holds_the_parameters_of_its_time(world):
    world.submit(light(1, next=[2]), light(2, next=[3]), light(3), parameters=[parameter("a", default="0")])
    world.code |= {1: lambda: {"a": "1", "b": 1}, 2: lambda: {"a": "2"}, 3: lambda: {"c": [1, 2]}}

    world.drive_all()

    assert [python(each.parameters) for each in taken(world)] == [
        {"a": "1", "b": 1},
        {"a": "2", "b": 1},
        {"a": "2", "b": 1, "c": [1, 2]},
    ]
    assert [each.parameters for each in taken(world, with_parameters=False)] == [{}, {}, {}]


def test_a_snapshot_tells_its_task_by_label_and_type(world):
    world.submit(light(1, displayName="Price the order"))

    world.drive_all()

    (found,) = taken(world)
    assert (found.task_name, found.task_type, found.integration) == ("Price the order", "Light", "flow")


def test_snapshots_of_one_task_keep_their_places(world):
    world.submit(light(1, next=[2]), heavy(2, next=[3], **retry(2)), light(3))
    world.code[2] = in_turn(partial(break_down, "one"), partial(break_down, "two"), dict)
    for _ in range(3):
        world.drive_all()
        world.fire("RETRY")

    assert [(each.index, each.task_attempt) for each in taken(world, task=2)] == [(1, 1), (2, 2), (3, 3)]
    assert [each.index for each in taken(world, task=2, attempt=2)] == [2]
    assert [each.index for each in taken(world, attempt=1)] == [0, 1, 4]
    assert taken(world, task=2) == taken(world)[1:4]


def test_every_attempt_keeps_its_times_its_worker_and_its_error(world):
    world.submit(heavy(1, **retry(1)))
    world.code[1] = in_turn(partial(break_down, "no card"), dict)

    world.drive_all(worker="one")
    world.fire("RETRY")
    world.drive_all(worker="two")

    first, second = world.look().task(1).attempts
    assert (first.attempt, first.worker, second.attempt, second.worker) == (1, "one", 2, "two")
    assert first.started_at <= first.ended_at <= second.started_at <= second.ended_at
    assert (first.error.type, first.error.message, second.error) == ("Broken", "no card", None)
    assert "break_down" in first.error.traceback
    stats = first.to_document()
    assert set(stats) == {"startTime", "endTime", "attempt", "worker", "error"}
    assert {"message", "type", "traceback"} <= set(stats["error"])


def test_the_snapshots_of_a_sub_execution_name_the_tasks_above_it(world):
    world.publish(flow("leaf", light(1)))
    world.publish(flow("middle", nests(4, "leaf", count=2), starts=[4]))
    world.submit(nests(1, "middle"))

    world.drive_all()

    (middle,) = world.look().children
    second = middle.children[1]
    (alone,) = read_snapshots(second.id, world.services)
    assert (alone.ancestor_tasks, alone.ancestor_iterations) == ((1, 4), (1, 2))
    assert second.snapshots == (alone,)
    metadata = alone.to_document()["executionSnapshotMetadata"]
    assert metadata["ancestorTaskNumbers"] == ["1", "4"]
    assert metadata["ancestorIterationNumbers"] == ["1", "2"]
    assert "ancestorTaskNumbers" not in taken(world)[0].to_document()["executionSnapshotMetadata"]


def test_reading_the_tree_with_all_snapshots_gives_the_same_ones(world):
    world.submit(light(1, next=[2]), asks(2))
    world.drive_all()

    queries = ExecutionQueries(world.database)
    every = TreeReader(queries, world.services.plans, snapshots=Snapshots.ALL).read(world.id)
    bare = TreeReader(queries, world.services.plans, snapshots=Snapshots.ALL, with_parameters=False).read(world.id)

    assert every.snapshots == taken(world)
    assert bare.snapshots == taken(world, with_parameters=False)


# -- restarts ------------------------------------------------------------------------------------------------------


def run_twice(world):
    world.submit(light(1, next=[2]), heavy(2, **restart(2)))
    world.code |= {1: lambda: {"seen": 1}, 2: in_turn(partial(break_down, "not yet"), lambda: {"done": True})}
    world.drive_all()
    world.fire("RESTART")
    world.drive_all()


def test_after_a_restart_snapshots_say_which_run_they_are_of(world):
    run_twice(world)

    found = taken(world)
    assert [(each.execution_attempt, each.task_number, each.task_attempt) for each in found] == [
        (1, 1, 1),
        (1, 2, 1),
        (2, 1, 2),
        (2, 2, 2),
    ]
    assert [each.to_document()["executionSnapshotMetadata"]["executionAttempt"] for each in found] == [1, 1, 2, 2]


def test_an_execution_has_an_attempt_for_each_run(world):
    run_twice(world)

    execution = world.look()
    first, second = execution.attempts
    assert (first.attempt, first.started_at) == (1, execution.created_at)
    assert (first.error.message, first.error.type) == ("not yet", "Broken")
    assert first.ended_at == execution.task(2).attempts[0].ended_at
    assert (second.attempt, second.ended_at, second.error) == (2, execution.ended_at, None)
    assert second.started_at >= first.ended_at
    stats = execution.to_document()["executionDetails"]["attemptStats"]
    assert [each["attempt"] for each in stats] == [1, 2]


def test_an_execution_that_is_scheduled_has_an_attempt_in_the_future(world, clock_in_an_hour):
    version_id, _ = world.publish(flow("flow", light(1)))
    world.start_now(version_id, wishes=Wishes(at=clock_in_an_hour))

    (ahead,) = world.look().attempts
    world.fire("START")
    world.drive_all()

    (begun,) = world.look().attempts
    assert (ahead.started_at, ahead.ended_at) == (clock_in_an_hour, None)
    assert begun.started_at < clock_in_an_hour
    assert begun.ended_at == world.look().ended_at


@pytest.fixture
def clock_in_an_hour(database):
    with database.read() as connection:
        return connection.execute(sa.select(now())).scalar_one() + timedelta(hours=1)


# -- differences ---------------------------------------------------------------------------------------------------


def three_tasks(world):
    world.submit(
        light(1, next=[2, (3, "$b$ = 9")]),
        light(2),
        light(3),
        parameters=[parameter("a", default="0")],
    )
    world.code |= {1: lambda: {"a": "1", "b": 1}, 2: lambda: {"a": "2", "d": {"x": 1}}}
    world.drive_all()


def test_a_difference_tells_parameters_states_and_edges(world):
    world.submit(light(1, next=[2]), light(2, next=[3, (4, "$b$ = 9")]), light(3), light(4))
    world.code |= {1: lambda: {"a": "1", "b": 1}, 2: lambda: {"a": "2", "d": {"x": 1}}}
    world.drive_all()

    found = read_difference(world.id, 0, 1, world.services)

    assert python(found.added) == {"d": {"x": 1}}
    assert found.removed == {}
    assert {key: (was.python, now.python) for key, (was, now) in found.changed.items()} == {"a": ("1", "2")}
    assert found.states == {
        2: (TaskState.PENDING_EXECUTION, TaskState.SUCCEED),
        4: (TaskState.PENDING_EXECUTION, TaskState.SKIPPED),
    }
    assert found.edges == {(2, 3): True, (2, 4): False}


def test_a_difference_backwards_removes_what_was_added(world):
    three_tasks(world)

    found = read_difference(world.id, -1, 0, world.services)

    assert python(found.removed) == {"d": {"x": 1}}
    assert found.added == {}
    assert {key: (was.python, now.python) for key, (was, now) in found.changed.items()} == {"a": ("2", "1")}


def test_a_snapshot_can_be_named_by_its_task_and_attempt(world):
    world.submit(light(1, next=[2]), asks(2))
    world.drive_all()
    resolve(world.id, world.services, is_lifted=True, actor="ann")

    found = read_difference(world.id, (1, 1), (2, 1), world.services)

    assert (found.one.index, found.other.index) == (0, 2)  # the answer, not the question
    assert found.states == {2: (TaskState.PENDING_EXECUTION, TaskState.SUCCEED)}


def test_over_a_restart_all_edges_of_the_later_run_were_decided_in_between(world):
    run_twice(world)

    found = read_difference(world.id, 1, 2, world.services)

    assert found.edges == {(1, 2): True}
    assert found.states == {2: (TaskState.RETRY_ON_HOLD, TaskState.PENDING_EXECUTION)}
    assert python(found.removed) == {"`ErrorInfo`": {"message": "not yet", "code": "INTERNAL_ERROR"}}


def test_nothing_differs_from_itself(world):
    three_tasks(world)

    found = read_difference(world.id, 1, 1, world.services)

    assert (found.added, found.removed, found.changed, found.states, found.edges) == ({}, {}, {}, {}, {})


@pytest.mark.parametrize("wanted", [2, -3, (1, 2), (9, 1)])
def test_a_snapshot_that_is_not_there_is_said_so(world, wanted):
    three_tasks(world)

    with pytest.raises(SnapshotNotFound, match="it has 2, from 0") as raised:
        read_difference(world.id, 0, wanted, world.services)

    assert type(raised.value)(*raised.value.args).args == raised.value.args


def test_a_task_that_is_not_there_is_said_so(world):
    three_tasks(world)

    for read in (read_snapshots, read_history):
        with pytest.raises(TaskNotFound, match="it has: 1, 2, 3") as raised:
            read(world.id, world.services, task=9)
        assert type(raised.value)(*raised.value.args).args == raised.value.args


def test_an_execution_that_is_not_there_is_said_so(world):
    for read in (read_snapshots, read_history):
        with pytest.raises(ExecutionNotFound):
            read("nowhere", world.services)


# -- the history ---------------------------------------------------------------------------------------------------


def test_the_history_of_a_task_has_what_others_did_to_it(world):
    world.submit(light(1, next=[(2, "$absent$ = 1"), 3]), light(2), light(3))

    world.drive_all()

    assert [each.task_number for each in read_history(world.id, world.services)] == [1, 3]
    assert [(each.task_number, each.states[2]) for each in read_history(world.id, world.services, task=2)] == [
        (1, TaskState.SKIPPED)
    ]


def test_the_history_says_who_killed_and_why(world):
    world.submit(heavy(1))

    world.kill()

    killed = next(each for each in read_history(world.id, world.services) if each.kind is EntryKind.KILLED)
    assert (killed.actor, killed.details) == ("ann", {"message": "enough"})


# -- linear storage ------------------------------------------------------------------------------------------------


def stored_bytes(world):
    """The text of all rows that one execution has: itself, its history, its parameters."""
    total = 0
    for table, key in ((executions, "id"), (history, "execution_id"), (parameters, "execution_id")):
        lengths = [sa.func.coalesce(sa.func.length(sa.cast(column, sa.Text)), 0) for column in table.c]
        statement = sa.select(sa.func.sum(sum(lengths[1:], lengths[0]))).where(table.c[key] == world.id)
        total += world.rows(statement)[0][0] or 0
    return int(total)


def as_text(document):
    return json.dumps(document, separators=(",", ":"))


TASKS, KEYS, WIDTH = 1_000, 100, 100


def test_a_thousand_tasks_with_10_kb_of_parameters_are_stored_in_less_than_three_times_their_final_state(world):
    """Each task changes one of a hundred parameters of 100 bytes. The final state is the last snapshot: all parameters,
    all tasks with their attempts. Parameters written once for each task would be a hundred times 100 KB.
    """
    keys = [f"p{number:03}" for number in range(KEYS)]

    def write(number):
        return lambda: {keys[number % KEYS]: f"{number:0{WIDTH}}"}

    world.code = {number: write(number) for number in range(1, TASKS + 1)}
    chain = [light(number, next=[number + 1] if number < TASKS else []) for number in range(1, TASKS + 1)]
    declared = [parameter(key, direction="IN_OUT", default="0" * WIDTH) for key in keys]
    world.submit(*chain, parameters=declared)

    world.drive_all()

    last = world.look().snapshots[-1]
    full = [each.parameters for each in taken(world)]
    final_bytes = len(as_text(last.to_document()))
    assert world.look().state is ExecutionState.SUCCEEDED
    assert len(full) == TASKS
    assert 10_000 < len(as_text(to_parameters(last.parameters))) < 20_000
    assert stored_bytes(world) < 3 * final_bytes
    # The contrast: a copy of nothing but the parameters at each checkpoint, as the product keeps them.
    assert sum(len(as_text(to_parameters(each))) for each in full) > 10 * stored_bytes(world)


def test_a_thousand_tasks_that_add_10_kb_each_are_stored_in_less_than_three_times_their_final_state(world):
    """The other extreme: nothing is ever changed twice, and the final state is 10 MB of parameters."""
    tasks, width = 1_000, 10_000
    world.services.types.add(add_type := adds(width))
    chain = [task(number, add_type.name, next=[number + 1] if number < tasks else []) for number in range(1, tasks + 1)]
    world.submit(*chain, parameters=[parameter(f"p{number}", direction="OUT") for number in range(1, tasks + 1)])

    world.drive_all()

    last = world.look().snapshots[-1]
    assert len(last.parameters) == tasks
    assert stored_bytes(world) < 3 * len(as_text(last.to_document()))


def adds(width):
    def run(context):
        return Done(outputs={f"p{context.task_number}": from_python(f"{context.task_number:0{width}}", "p")})

    return TaskType(name="Add", run=run, light=True)
