"""Undoing with real workers: what SUCCEEDed, in reverse order, whatever becomes of the workers meanwhile."""

import os
import signal

import pytest

from orchestrator.model.history import EntryKind
from orchestrator.model.states import ExecutionState, TaskState
from orchestrator.runtime.app import bootstrap
from orchestrator.service.lost import Loss, give_up
from tests.flows import flow, parameter, task
from tests.integration.steering import FATAL, INCLUDE, Steering, states
from tests.integration.system import running_system
from tests.services import redis_url

pytestmark = pytest.mark.services

ONCE_MORE = {"failurePolicy": {"retryStrategy": "FIXED_INTERVAL", "maxRetries": 1, "intervalTime": "0.1s"}}


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def system(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("system")
    with running_system(
        folder, database=request.param, broker_url=redis_url(), include=INCLUDE, concurrency=4
    ) as running:
        yield running
        assert running.live() == [], "a test left something going on"


@pytest.fixture
def steering(system, tmp_path):
    return Steering(system, tmp_path)


def undone(steering, name, second="ok", **policies):
    """1, 2 and 3 can be undone, 4 cannot, and 5 fails for good."""
    return flow(
        name,
        steering.task(1, next=[2], **steering.rollback("undo-1")),
        steering.task(2, next=[3], **steering.rollback("undo-2", second, **policies)),
        steering.task(3, next=[4], **steering.rollback("undo-3")),
        steering.task(4, next=[5]),
        steering.task(5, "fail", **FATAL),
    )


ALL_UNDONE = {1: "ROLLEDBACK", 2: "ROLLEDBACK", 3: "ROLLEDBACK", 4: "SUCCEED", 5: "FATAL"}


def test_what_was_done_is_undone_in_reverse_order(steering):
    execution = steering.system.execute(undone(steering, "undone"))

    assert steering.order() == ["1", "2", "3", "4", "5", "undo-3", "undo-2", "undo-1"]
    assert states(execution) == ALL_UNDONE
    assert execution.state is ExecutionState.FAILED
    assert (execution.error.task_number, execution.error.message) == (5, "try 1 of 5 fails")


def test_branches_are_undone_before_what_they_follow(steering):
    definition = flow(
        "branches",
        steering.task(1, next=[2, 3], **steering.rollback("undo-1")),
        steering.task(2, next=[4], **steering.rollback("undo-2", "hold")),
        steering.task(3, next=[4], **steering.rollback("undo-3")),
        steering.task(4, "fail", **FATAL),
    )
    execution_id = steering.system.submit(definition)
    steering.wait_for("undo-2")
    execution = steering.wait_for_task(execution_id, 3, TaskState.ROLLEDBACK)
    assert states(execution) == {1: "PENDING_ROLLBACK", 2: "ROLLBACK_IN_PROCESS", 3: "ROLLEDBACK", 4: "FATAL"}

    steering.go("undo-2")
    execution = steering.system.wait(execution_id)

    assert steering.order()[-1] == "undo-1"
    assert states(execution) == {1: "ROLLEDBACK", 2: "ROLLEDBACK", 3: "ROLLEDBACK", 4: "FATAL"}


def test_a_rollback_sees_the_parameters_as_they_are_now(steering):
    seen = {"folder": str(steering.folder), "label": "$label$", "words": "ok"}
    undoing = task(1, "tests.steered", takes=seen)
    definition = flow(
        "seeing",
        steering.task(1, next=[2], rollback={"task": "tests.steered", "parameters": undoing["parameters"]}),
        task(2, "JsonnetMapperTask", takes={"template": "{label: 'after'}"}, next=[3]),
        steering.task(3, "fail", **FATAL),
        parameters=[parameter("label", default="before")],
    )

    steering.system.execute(definition)

    assert steering.order() == ["1", "3", "after"]


def test_a_rollback_that_fails_once_is_tried_again(steering):
    execution = steering.system.execute(undone(steering, "once-more", "fail ok", **ONCE_MORE))

    assert steering.order()[-4:] == ["undo-3", "undo-2", "undo-2", "undo-1"]
    assert states(execution) == ALL_UNDONE
    told = [(entry.kind, entry.task_number) for entry in steering.entries(execution.id)[5:]]
    assert told == [
        (EntryKind.ROLLED_BACK, 3),
        (EntryKind.ROLLBACK_FAILED, 2),
        (EntryKind.RETRY_DUE, 2),
        (EntryKind.ROLLED_BACK, 2),
        (EntryKind.ROLLED_BACK, 1),
    ]


def test_a_rollback_that_fails_for_good_keeps_nothing_from_being_undone_and_says_why(steering):
    execution = steering.system.execute(undone(steering, "in-vain", "fail:423", **ONCE_MORE))

    assert steering.order()[-4:] == ["undo-3", "undo-2", "undo-2", "undo-1"]
    assert states(execution) == ALL_UNDONE
    failed = [entry.error.code for entry in steering.entries(execution.id) if entry.kind is EntryKind.ROLLBACK_FAILED]
    assert failed == [423, 423]
    assert execution.error.task_number == 5


def test_a_kill_that_asks_for_it_undoes_what_was_done(steering):
    definition = flow(
        "killed",
        steering.task(1, next=[2], **steering.rollback("undo-1")),
        steering.task(2, "hold", next=[3], **steering.rollback("undo-2")),
        steering.task(3),
    )
    execution_id = steering.system.submit(definition)
    steering.wait_for(2)

    steering.system.client.kill(execution_id, rolls_back=True)
    execution = steering.system.wait(execution_id)

    assert execution.state is ExecutionState.CANCELLED
    assert states(execution) == {1: "ROLLEDBACK", 2: "CANCELLED", 3: "SKIPPED"}
    assert steering.order() == ["1", "2", "undo-1"]


def test_a_deadline_undoes_what_was_done(steering):
    definition = flow(
        "late",
        steering.task(1, next=[2], **steering.rollback("undo-1")),
        steering.task(2, "hold", next=[3]),
        steering.task(3),
    )
    execution_id = steering.system.submit(definition, deadline_s=3600)
    steering.wait_for(2)

    steering.make_due(execution_id, "DEADLINE")
    execution = steering.system.wait(execution_id)

    assert execution.state is ExecutionState.FAILED
    assert execution.error.code == "EXECUTION_TIMEOUT"
    assert states(execution) == {1: "ROLLEDBACK", 2: "CANCELLED", 3: "SKIPPED"}


def test_a_rollback_whose_process_dies_is_done_by_another_one(steering):
    execution = steering.system.execute(undone(steering, "dying", "die ok"))

    assert steering.order()[-4:] == ["undo-3", "undo-2", "undo-2", "undo-1"]
    assert states(execution) == ALL_UNDONE
    one, other = (pid for *_, pid in steering.tries("undo-2"))
    assert one != other


def test_when_a_worker_is_killed_amid_a_rollback_the_rows_say_what_is_left_and_another_goes_on(steering):
    """By kill -9 of all its processes: nobody is left to tell."""
    system = steering.system
    there = f"{system.executor}-doomed"
    definition = undone(steering, "doomed", "hold") | {"name": "doomed"}
    for config in definition["taskConfigs"]:
        config["executorId"] = there
    doomed = system.start_worker(there)
    execution_id = system.submit(definition)
    steering.wait_for("undo-2")
    end_at_once(doomed)
    system.services.workers.remove(doomed)

    (left,) = steering.live(execution_id)
    assert (left.task_number, left.attempt, left.phase) == (2, 2, "run")
    assert left.worker.startswith(there)
    seen = system.client.get(execution_id)
    assert states(seen) == {1: "PENDING_ROLLBACK", 2: "ROLLBACK_IN_PROCESS", 3: "ROLLEDBACK", 4: "SUCCEED", 5: "FATAL"}
    assert seen.state is ExecutionState.PROCESSING

    other = system.start_worker(there)
    runtime = bootstrap(system.services.settings, raises=True)
    give_up(execution_id, runtime.services, worker=left.worker, loss=Loss("kill -9"))  # what finds the death, says so
    runtime.database.close()
    steering.go("undo-2")
    execution = system.wait(execution_id)

    assert other in system.services.workers
    assert steering.order()[-4:] == ["undo-3", "undo-2", "undo-2", "undo-1"]
    assert states(execution) == ALL_UNDONE


def end_at_once(worker):
    """SIGKILL to a worker and its pool processes."""
    group = os.getpgid(worker.process.pid)
    assert group == worker.process.pid
    os.killpg(group, signal.SIGKILL)
    worker.process.wait(60)
