"""``snapshots``, ``logs`` and ``why`` as a shell sees them, on executions that were driven by hand."""

import json
import os
import re
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from orchestrator.model.states import TaskState
from orchestrator.store.database import Database
from tests.contracts.control_world import ControlWorld, asks, break_down, retry
from tests.contracts.world import heavy, light
from tests.integration.test_docs import ROOT, blocks, environment, typed

pytestmark = pytest.mark.slow

COMMAND = str(Path(sys.executable).with_name("orchestrator"))
COMMAND_LIMIT_S = 300  # against hanging alone


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def world(home):
    """One execution: a task that was tried twice, one that was skipped, and one that waits for a worker."""
    database = Database(f"sqlite:///{home / 'orchestrator.db'}")
    database.upgrade()
    world = ControlWorld(database, home)
    failures = [partial(break_down, "no answer"), lambda: {"total": 80}]
    world.code[1] = lambda: failures.pop(0)()  # noqa: PLW0108 - another one each time
    world.submit(
        light(1, next=[(2, "$total$ > 100"), 3], displayName="Price", **retry(1)),
        light(2, displayName="Ship express"),
        asks(3, next=[4], displayName="Approve"),
        heavy(4),
    )
    world.drive_all(worker="default@host/7")
    world.fire("RETRY")
    world.drive_all(worker="default@host/8")
    yield world
    database.close()


def orchestrator(*arguments, home):
    inherited = {key: value for key, value in os.environ.items() if not key.startswith("ORCHESTRATOR_")}
    return subprocess.run(
        [COMMAND, *map(str, arguments)],
        env=inherited | {"ORCHESTRATOR_HOME": str(home)},
        capture_output=True,
        text=True,
        timeout=COMMAND_LIMIT_S,
        check=False,
    )


def printed(*arguments, home):
    done = orchestrator(*arguments, home=home)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_snapshots_shows_every_checkpoint_with_its_parameters(world, home):
    lines = printed("snapshots", world.id, home=home).splitlines()

    heads = [line for line in lines if not line.startswith(" ")]
    assert [line.split("  ", 2)[2] for line in heads] == [
        "task failed  task 1 'Price' attempt 1",
        "task succeeded  task 1 'Price' attempt 2",
        "task suspended  task 3 'Approve' attempt 1",
    ]
    assert "    total = 80" in lines


def test_snapshots_can_be_those_of_one_task_without_parameters(world, home):
    lines = printed("snapshots", world.id, "--task", 3, "--no-parameters", home=home).splitlines()

    assert len(lines) == 2
    assert lines[0].startswith("2  ")
    assert lines[1] == "    tasks: 1 SUCCEED, 1 SKIPPED, 1 SUSPENDED, 1 PENDING_EXECUTION"


def test_snapshots_as_json_are_documents_of_the_product(world, home):
    document = json.loads(printed("snapshots", world.id, "--json", home=home))

    taken = document["executionSnapshots"]
    assert [each["executionSnapshotMetadata"]["taskAttempt"] for each in taken] == [1, 2, 1]
    assert taken[1]["params"]["total"] == {"intValue": "80"}


@pytest.mark.parametrize("names", [("0", "-1"), ("1-1", "3-1")])
def test_a_difference_is_between_two_indexes_or_attempts(world, home, names):
    lines = printed("snapshots", world.id, "--diff", *names, home=home).splitlines()

    assert lines[:2] == ["from snapshot 0, task 1 'Price' attempt 1", "to snapshot 2, task 3 'Approve' attempt 1"]
    assert "+ total = 80" in lines
    assert "task 1 'Price': RETRY_ON_HOLD -> SUCCEED" in lines
    assert "edge from task 1 to task 2: false" in lines


def test_a_difference_as_json_has_both_values(world, home):
    document = json.loads(printed("snapshots", world.id, "--diff", 0, 1, "--json", home=home))

    assert document["addedParams"] == {"total": {"intValue": "80"}}
    assert document["snapshots"] == [0, 1]


def test_a_snapshot_that_cannot_be_is_wrong_usage_and_one_that_is_not_there_a_problem(world, home):
    nonsense = orchestrator("snapshots", world.id, "--diff", "first", "last", home=home)
    missing = orchestrator("snapshots", world.id, "--diff", "0", "7", home=home)

    assert (nonsense.returncode, missing.returncode) == (2, 1)
    assert nonsense.stderr == "error: --diff: found 'first', expected an index such as 0 or -1, or TASK-ATTEMPT\n"
    assert missing.stderr == f"error: execution {world.id} has no snapshot 7; it has 3, from 0\n"


def test_logs_tell_what_happened_in_order(world, home):
    lines = printed("logs", world.id, home=home).splitlines()

    told = [line[25:] for line in lines]
    assert told[0] == "execution created       of 'flow'"
    assert told[1] == (
        "task failed             task 1 'Price' attempt 1, on default@host/7, Broken: no answer (INTERNAL_ERROR)"
    )
    assert told[2].startswith("retry due ")
    assert told[3].endswith("so task 2 SKIPPED")
    assert told[4].startswith("task suspended          task 3 'Approve' attempt 1, on default@host/8")
    assert len(told) == 5


def test_logs_of_one_task_have_tracebacks_on_demand(world, home):
    output = printed("logs", world.id, 1, "--tracebacks", home=home)

    assert "    Traceback (most recent call last):" in output.splitlines()
    assert "Approve" not in output


def test_logs_as_json_are_the_entries(world, home):
    document = json.loads(printed("logs", world.id, "--json", home=home))

    assert [entry["kind"] for entry in document["entries"]] == [
        "task failed",
        "retry due",
        "task succeeded",
        "task suspended",
    ]


def test_why_explains_the_execution_and_each_task(world, home):
    lines = printed("why", world.id, home=home).splitlines()

    states, sentences = zip(*(line.split(maxsplit=1) for line in lines), strict=True)
    assert states == ("SUSPENDED", "SUCCEED", "SKIPPED", "SUSPENDED", "PENDING_EXECUTION")
    assert sentences[0].startswith("the execution waits: task 3 'Approve' waits for the answer of anybody since ")
    assert sentences[2] == (
        "task 2 'Ship express' was skipped: the edge from task 1 'Price' was false because `$total$ = 80` is not > 100"
    )
    assert sentences[4] == "task 4 'Heavy' waits for task 3 'Approve' (SUSPENDED)"


def test_why_explains_one_task_and_writes_json(world, home):
    document = json.loads(printed("why", world.id, 2, "--json", home=home))

    (found,) = document["explanations"]
    assert (found["taskNumber"], found["state"], found["reason"]) == (2, "SKIPPED", "CONDITION_FALSE")


@pytest.mark.parametrize("command", ["snapshots", "logs", "why"])
def test_what_is_not_there_is_one_line_and_makes_no_database(world, home, tmp_path, command):
    unknown, elsewhere = orchestrator(command, "nowhere", home=home), orchestrator(command, world.id, home=tmp_path)

    assert (unknown.returncode, elsewhere.returncode) == (1, 1)
    assert unknown.stderr.startswith("error: there is no execution 'nowhere' in this database")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("command", [("logs", 9), ("why", 9), ("snapshots", "--task", 9)])
def test_a_task_that_is_not_there_is_said_so(world, home, command):
    name, *more = command
    done = orchestrator(name, world.id, *more, home=home)

    assert (done.returncode, done.stderr) == (1, f"error: execution {world.id} has no task 9; it has: 1, 2, 3, 4\n")


# -- the page ------------------------------------------------------------------------------------------------------

VARYING = (
    (re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(\.\d{3}| UTC)"), "TIME"),
    (re.compile(r"default@[\w.-]+/\d+/[0-9a-f]+"), "WORKER"),
)


def fixed(text):
    for varying, name in VARYING:
        text = varying.sub(name, text)
    return text


@pytest.mark.services
def test_the_page_does_what_it_says_and_prints_what_it_shows(tmp_path):
    env, output, compared = environment(tmp_path / ".orchestrator") | {"LOGNAME": "ann"}, "", 0
    for kind, info, text in blocks("docs/looking.md"):
        if info.startswith("file="):
            (tmp_path / info.removeprefix("file=")).write_text(text)
        elif kind == "sh":
            output, env = typed(text, tmp_path, env)
        elif kind == "text":
            assert fixed(output) == fixed(text)
            compared += 1

    assert compared == 10


def test_the_page_names_every_state_that_a_task_can_be_explained_in():
    page = (ROOT / "docs" / "looking.md").read_text()

    assert [state for state in TaskState if f"| {state}" not in page and f", {state} |" not in page] == []
