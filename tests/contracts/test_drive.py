"""Drives that get into each other's way, without workers: every loser reads again, and nothing is done twice or lost."""

import threading
from dataclasses import replace
from functools import partial
from threading import Event

import pytest
import sqlalchemy as sa
from flows import flow, parameter, task
from stored import PLACE, at_once

from orchestrator.engine.canvas import Chord
from orchestrator.model.definition import parse_integration
from orchestrator.model.history import EntryKind
from orchestrator.model.states import ExecutionState, TaskState
from orchestrator.model.task_types import Child, Done, MailServer, StartChildren, TaskSurroundings, TaskType, TaskTypes
from orchestrator.model.values import from_python
from orchestrator.service import drive as driving
from orchestrator.service.drive import Services, drive
from orchestrator.service.plans import Plans
from orchestrator.service.query import TreeReader
from orchestrator.service.submit import Place, publish, submit
from orchestrator.store.executions import ExecutionStore
from orchestrator.store.queries import ExecutionQueries
from orchestrator.store.rows import AttemptKey
from orchestrator.store.tables import history, live_attempts
from orchestrator.store.versions import VersionStore

ANY = {"taskExecutionStrategy": "WHEN_ANY_SUCCEED"}
FATAL = {"failurePolicy": {"retryStrategy": "FATAL"}}
WAIT_S = 10


class Recorder:
    """A publisher that keeps what it gets."""

    def __init__(self):
        self.sent = []

    def publish(self, messages):
        for each in messages:
            self.sent.extend([*each.header] if isinstance(each, Chord) else [each])


class World:
    """One database, task types whose code a test puts in, and drives by hand."""

    def __init__(self, database, folder):
        self.database = database
        self.code = {}  # by task number: what runs before the task is done, and what it returns
        types = TaskTypes(
            [
                TaskType(name="Heavy", run=self.run),
                TaskType(name="Light", run=self.run, light=True),
                TaskType(name="Call", run=self.call, join=lambda context, join: Done(), light=True),
            ]
        )
        versions = VersionStore(database)
        self.services = Services(
            store=ExecutionStore(database),
            versions=versions,
            plans=Plans(versions, types),
            types=types,
            publisher=Recorder(),
            surroundings=TaskSurroundings(mail=MailServer(outbox=folder)),
            jitter=lambda: 0.0,
        )

    def run(self, context):
        outputs = self.code.get(context.task_number, dict)()
        return Done(outputs={key: from_python(data, key) for key, data in (outputs or {}).items()})

    def call(self, context):
        self.run(context)
        return StartChildren(children=[Child(integration="child", trigger_id="api_trigger/child")] * 2)

    def publish(self, document):
        version = parse_integration(document)
        version_id, _ = publish(version, self.services, place=Place(**PLACE), source="test")
        return version_id, version

    def submit(self, *tasks, **more):
        """Publish and start; the keys of its tasks, by number."""
        version_id, version = self.publish(flow("flow", *tasks, **more))
        self.id = submit(version_id, version, {}, self.services, place=Place(**PLACE))
        return [AttemptKey(execution_id=self.id, number=each.number, attempt=1) for each in version.tasks]

    def drive(self, key, *, worker="other"):
        drive(key, worker=worker, services=self.services)

    def sent(self):
        """The task numbers of the messages so far."""
        return sorted(message.number for message in self.services.publisher.sent)

    @property
    def execution(self):
        return TreeReader(ExecutionQueries(self.database), self.services.plans).read(self.id)

    def states(self):
        return {each.number: each.state.value for each in self.execution.tasks}

    def entries(self):
        return [
            (entry.task_number, entry.kind, entry.worker)
            for entry in ExecutionQueries(self.database).entries({self.id: 0}).get(self.id, [])
        ]

    def live(self):
        with self.database.read() as connection:
            rows = connection.execute(sa.select(live_attempts).where(live_attempts.c.execution_id == self.id))
            return {row.task_number: row.worker for row in rows}

    def revisions(self):
        with self.database.read() as connection:
            return connection.execute(sa.select(history.c.revision).order_by("revision")).scalars().all()


@pytest.fixture
def world(database, tmp_path):
    return World(database, tmp_path)


@pytest.fixture
def commit_after_every_task(monkeypatch):
    monkeypatch.setattr(driving, "BATCH_TASKS", 1)


def heavy(number, **more):
    return task(number, "Heavy", **more)


def light(number, **more):
    return task(number, "Light", **more)


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
    one, two, three, *_ = world.submit(
        light(1, next=[4]), heavy(2, **FATAL), heavy(3), light(4, next=[5]), light(5), light(6), starts=[1, 2, 3, 6]
    )
    world.code[2] = lambda: 1 / 0
    world.code[4] = partial(world.drive, two)

    world.drive(one, worker="me")
    assert world.execution.state is ExecutionState.PROCESSING
    world.drive(three)
    world.drive(replace(three, number=6))

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

    assert world.entries() == []
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
