"""What task code notes of its attempt is in the history, in whichever way the attempt ends."""

import time

import pytest

from orchestrator.errors import TaskError
from orchestrator.model.history import EntryKind
from orchestrator.model.task_types import Done, TaskType
from orchestrator.service.details import MAX_DETAILS
from orchestrator.store.queries import ExecutionQueries
from tests.contracts.world import World
from tests.flows import task


@pytest.fixture
def world(database, tmp_path):
    return World(database, tmp_path)


def entry_of(world, run, **more):
    """The entry of a task that did this."""
    world.services.types.add(TaskType(name="Noting", run=run))
    (key,) = world.submit(task(1, "Noting", **more))
    world.drive(key)
    return ExecutionQueries(world.database).entries({world.id: 0})[world.id][0]


def test_the_notes_of_a_success_are_kept_the_later_ones_for_the_earlier(world):
    def run(context):
        context.record({"pid": 1, "state": "begun"})
        context.record({"state": "done", "more": {"a": [1, None, "é\0"]}})
        return Done()

    entry = entry_of(world, run)

    assert entry.kind is EntryKind.SUCCEEDED
    assert entry.details == {"pid": 1, "state": "done", "more": {"a": [1, None, "é\0"]}}


def test_the_notes_of_a_failure_are_kept(world):
    def run(context):
        context.record({"pid": 1})
        raise TaskError("no")

    entry = entry_of(world, run)

    assert (entry.kind, entry.details) == (EntryKind.FAILED, {"pid": 1})


def test_what_is_noted_while_the_attempt_is_being_ended_is_kept(world):
    def run(context):
        try:
            time.sleep(60)
        finally:
            context.record({"signal": "SIGTERM"})

    entry = entry_of(world, run, timeoutMs=100)

    assert (entry.kind, entry.error.code) == (EntryKind.FAILED, "EXECUTION_TIMEOUT")
    assert entry.details["signal"] == "SIGTERM"


@pytest.mark.parametrize("details", [{"a": object()}, {"a": float("nan")}, {1: "a"}, {"a": "x" * MAX_DETAILS}])
def test_what_cannot_be_kept_is_the_failure_of_the_attempt(world, details):
    entry = entry_of(world, lambda context: context.record(details))

    assert (entry.kind, entry.error.code, entry.details) == (EntryKind.FAILED, "INVALID_ARGUMENT", {})
