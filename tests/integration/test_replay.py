"""Replays with real workers, from Python and from a shell: what is reused does not run again, and that is counted."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator import Orchestrator
from orchestrator.engine.replay import ReplayMode
from orchestrator.errors import UnknownParameter
from orchestrator.model.states import ExecutionState
from orchestrator.service.replay import NoFailurePoint, NotOver, ReplayVersion
from orchestrator.settings import Settings
from tests.flows import calls, flow, mapping, parameter, task
from tests.integration.test_docs import blocks, environment, typed

pytestmark = pytest.mark.services

FAILURE = ReplayMode.POINT_OF_FAILURE
LIMIT_S = 60
INCLUDE = ("tests.integration.flaky_tasks", "tests.integration.sleepy_tasks")
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def orchestrator(tmp_path_factory):
    with Orchestrator(Settings(home=tmp_path_factory.mktemp("home"), concurrency=2, include=INCLUDE)) as opened:
        yield opened


@pytest.fixture
def ledger(tmp_path):
    """Where tasks count how often they ran, by name."""

    class Ledger:
        def at(self, name):
            return str(tmp_path / name)

        def __call__(self, *names):
            return [len(path.read_text().splitlines()) if (path := tmp_path / name).exists() else 0 for name in names]

    return Ledger()


def flaky(number, name, ledger, *, failures=0, **more):
    """A task that fails so many times."""
    return task(number, "tests.flaky", takes={"ledger": ledger.at(name), "failures": failures}, **more)


def wait(orchestrator, execution_id):
    return orchestrator.wait(execution_id, timeout_s=LIMIT_S)


def fails_once(ledger, name="once"):
    """1 leads to 2 and 3, and both to 4; 3 fails the first time."""
    return flow(
        name,
        flaky(1, "first", ledger, next=[2, 3]),
        flaky(2, "kept", ledger, next=[4]),
        flaky(3, "fails", ledger, failures=1, next=[4]),
        flaky(4, "last", ledger, taskExecutionStrategy="WHEN_ALL_TASKS_AND_CONDITIONS_SUCCEED"),
        parameters=[parameter("tries", "INT_VALUE", direction="OUT")],
    )


def test_what_succeeded_does_not_run_again(orchestrator, ledger):
    first = orchestrator.execute(fails_once(ledger), timeout_s=LIMIT_S)

    second = wait(orchestrator, orchestrator.replay(first.id, mode=FAILURE))

    assert (first.state, second.state) == (ExecutionState.FAILED, ExecutionState.SUCCEEDED)
    assert ledger("first", "kept", "fails", "last") == [1, 1, 2, 1]
    assert [(each.number, each.is_reused) for each in second.tasks] == [(1, True), (2, True), (3, False), (4, False)]
    assert (second.replay_of, orchestrator.get(first.id).replays) == (first.id, (second.id,))
    assert second.outputs == {"tries": 1}


def test_from_the_beginning_everything_runs_again(orchestrator, ledger):
    first = orchestrator.execute(fails_once(ledger), timeout_s=LIMIT_S)

    second = wait(orchestrator, orchestrator.replay(first.id))

    assert second.state is ExecutionState.SUCCEEDED
    assert ledger("first", "kept", "fails", "last") == [2, 2, 2, 1]


def test_sub_executions_of_a_reused_task_do_not_run_again(orchestrator, ledger):
    orchestrator.publish(
        flow(
            "each",
            flaky(1, "child", ledger),
            parameters=[
                parameter("item", "INT_VALUE", direction="IN"),
                parameter("tries", "INT_VALUE", direction="OUT"),
            ],
        )
    )
    fan_out = {
        "listToIterate": "$items$",
        "iterationElementMapping": "item",
        "aggregatorParameterMapping": mapping({"tries": "all"}),
    }
    first = orchestrator.execute(
        flow(
            "fan-out",
            task(1, "ForEachParallelTask", next=[2], takes=calls("each", **fan_out)),
            flaky(2, "fails", ledger, failures=1),
            parameters=[
                parameter("items", "JSON_VALUE", direction="IN", default=[1, 2, 3]),
                parameter("all", "JSON_VALUE", direction="OUT"),
            ],
        ),
        timeout_s=LIMIT_S,
    )

    second = wait(orchestrator, orchestrator.replay(first.id, mode=FAILURE))

    assert (len(first.children), len(second.children)) == (3, 0)
    assert ledger("child", "fails") == [3, 2]
    assert second.outputs["all"] == first.outputs["all"] != []


def test_a_killed_execution_is_replayed_with_other_parameters(orchestrator, ledger):
    first = orchestrator.submit(
        flow(
            "patient",
            flaky(1, "first", ledger, next=[2]),
            task(2, "tests.sleep", takes={"seconds": "$seconds$"}),
            parameters=[parameter("seconds", "DOUBLE_VALUE", direction="IN")],
        ),
        {"seconds": 600.0},
    )
    for seen in orchestrator.watch(first, timeout_s=LIMIT_S):
        if seen.task(2).attempts:
            break
    with pytest.raises(NotOver, match="PROCESSING"):
        orchestrator.replay(first, mode=FAILURE)
    orchestrator.kill(first)
    assert wait(orchestrator, first).state is ExecutionState.CANCELLED

    second = wait(orchestrator, orchestrator.replay(first, mode=FAILURE, parameters={"seconds": 0.0}))

    assert second.state is ExecutionState.SUCCEEDED
    assert ledger("first") == [1]


def test_a_mended_definition_goes_on_where_the_broken_one_failed(orchestrator, ledger):
    broken = flow("mended", flaky(1, "first", ledger, next=[2]), flaky(2, "bad", ledger, failures=9))
    first = orchestrator.execute(broken, timeout_s=LIMIT_S)
    orchestrator.publish(flow("mended", flaky(1, "first", ledger, next=[2]), flaky(2, "good", ledger)))

    seen = orchestrator.preview_replay(first.id, mode=FAILURE, version=ReplayVersion.PUBLISHED)
    second = wait(orchestrator, orchestrator.replay(first.id, mode=FAILURE, version=ReplayVersion.PUBLISHED))

    assert [each.number for each in seen.again] == [2]
    assert seen.differences.changed == {2: ("parameters",)}
    assert second.state is ExecutionState.SUCCEEDED
    assert ledger("first", "bad", "good") == [1, 1, 1]


def test_a_new_process_brings_the_workers_that_a_replay_needs(ledger, tmp_path):
    """Also of an executor that only an integration names which the original never came to."""
    settings = Settings(home=tmp_path / "home", concurrency=1, include=INCLUDE)
    with Orchestrator(settings) as opened:
        opened.publish(flow("far", flaky(1, "far", ledger, executorId="far")))
        first = opened.execute(
            flow(
                "near",
                flaky(1, "near", ledger, failures=1, next=[2], executorId="near"),
                task(2, "SubWorkflowExecutorV2Task", takes=calls("far")),
            ),
            timeout_s=LIMIT_S,
        )

    with Orchestrator(settings) as opened:
        second = opened.wait(opened.replay(first.id, mode=FAILURE), timeout_s=LIMIT_S)

    assert (first.state, second.state) == (ExecutionState.FAILED, ExecutionState.SUCCEEDED)
    assert ledger("near", "far") == [2, 1]


def test_what_cannot_be_replayed_starts_nothing(orchestrator, ledger):
    done = orchestrator.execute(flow("done", flaky(1, "done", ledger)), timeout_s=LIMIT_S)

    with pytest.raises(NoFailurePoint):
        orchestrator.replay(done.id, mode=FAILURE)
    with pytest.raises(UnknownParameter):
        orchestrator.replay(done.id, parameters={"x": 1})

    assert orchestrator.get(done.id).replays == ()
    assert ledger("done") == [1]


# -- from a shell --------------------------------------------------------------------------------------------------


@pytest.fixture
def shell(orchestrator, tmp_path):
    """Type a command: its exit code, what it printed, and what it said. With the same home, so the same executions."""
    inherited = {key: value for key, value in os.environ.items() if not key.startswith("ORCHESTRATOR_")}
    env = inherited | {
        "ORCHESTRATOR_HOME": str(orchestrator.settings.home),
        "ORCHESTRATOR_INCLUDE": ",".join(INCLUDE),
        "PYTHONPATH": str(ROOT),
    }

    def type_in(*arguments):
        done = subprocess.run(
            [sys.executable, "-m", "orchestrator", *map(str, arguments)],
            cwd=tmp_path,
            env=env,
            capture_output=True,
            text=True,
            timeout=2 * LIMIT_S,
            check=False,
        )
        return done.returncode, done.stdout, done.stderr

    return type_in


def test_the_command_follows_the_replay_to_its_end(orchestrator, shell, ledger):
    first = orchestrator.execute(fails_once(ledger), timeout_s=LIMIT_S)

    code, printed, said = shell("replay", first.id, "--from-failure", "--reason", "it was flaky")

    assert (code, said) == (0, "")
    assert re.search(r"^task 2 'tests.flaky' SUCCEED \(reused\)$", printed, re.MULTILINE)
    assert re.search(r"^task 3 'tests.flaky' SUCCEED \(attempt 1, .* s\)$", printed, re.MULTILINE)
    assert printed.endswith("tries = 1\n")
    (second,) = orchestrator.get(first.id).replays
    assert orchestrator.get(second).replay_reason == "it was flaky"
    assert ledger("first", "kept", "fails", "last") == [1, 1, 2, 1]


def test_the_command_prints_one_document_if_asked_to(orchestrator, shell, ledger):
    first = orchestrator.execute(flow("bad", flaky(1, "bad", ledger, failures=9)), timeout_s=LIMIT_S)

    code, printed, _ = shell("replay", first.id, "--json")

    document = json.loads(printed)
    assert code == 1
    assert document["executionDetails"]["state"] == "FAILED"
    assert document["replayInfo"] == {
        "originalExecutionInfoId": first.id,
        "replayMode": "REPLAY_MODE_FROM_BEGINNING",
    }


def test_a_preview_names_what_runs_again_and_starts_nothing(orchestrator, shell, ledger):
    first = orchestrator.execute(
        flow(
            "named",
            flaky(1, "kept", ledger, displayName="First", next=[2]),
            flaky(2, "bad", ledger, failures=9, displayName="Second"),
            parameters=[parameter("name", direction="IN", default="Ada")],
        ),
        timeout_s=LIMIT_S,
    )

    code, printed, _ = shell("replay", first.id, "--from-failure", "--preview", "--param", "name=Bob")
    as_json = shell("replay", first.id, "--from-failure", "--preview", "--only", "--json")

    assert code == 0
    assert printed.splitlines() == [
        f"replay of {first.id} ('named', FAILED) from its failure points",
        "  task 1 'First' is reused (SUCCEED)",
        "  task 2 'Second' runs at once: it failed",
        'parameter \'name\' is handed in otherwise: "Ada" -> "Bob"',
    ]
    assert [each["isReused"] for each in json.loads(as_json[1])["tasks"]] == [True, False]
    assert orchestrator.get(first.id).replays == ()
    assert ledger("kept", "bad") == [1, 1]


def test_a_preview_says_what_another_version_changes(orchestrator, shell, ledger):
    first = orchestrator.execute(flow("newer", flaky(1, "bad", ledger, failures=9)), timeout_s=LIMIT_S)
    orchestrator.publish(
        flow(
            "newer",
            flaky(1, "bad", ledger, next=[2]),
            flaky(2, "new", ledger),
            parameters=[parameter("name", direction="IN", default="Ada")],
        )
    )

    _, printed, _ = shell("replay", first.id, "--from-failure", "--published", "--preview")

    assert printed.splitlines() == [
        f"replay of {first.id} ('newer', FAILED) from its failure points",
        "  task 1 'tests.flaky' runs at once: it failed",
        "  task 2 'tests.flaky' runs: it is new in this version",
        "runs version 2 of the definition; the original ran version 1",
        "task 2 is added",
        "task 1 is changed: parameters, nextTasks",
        "parameter 'name' is added (STRING_VALUE)",
        "parameter 'name' is handed in otherwise: nothing -> \"Ada\"",
    ]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--from-failure"], 1, "there is no failure point: replay it from the beginning"),
        (["--param", "x=1"], 2, "there is no parameter 'x'"),
        (["--param", "many=much"], 2, "parameter 'many': found str 'much', expected an int64"),
        (["--param", "many"], 2, "expected KEY=VALUE"),
        (["--only"], 2, "parameter 'needed' (STRING_VALUE) is required"),
    ],
)
def test_what_cannot_be_is_one_message_and_an_exit_code(orchestrator, shell, ledger, arguments, code, message):
    many, needed = parameter("many", "INT_VALUE", direction="NONE"), parameter("needed", direction="IN")
    done = orchestrator.execute(
        flow("exact", flaky(1, "done", ledger), parameters=[many, needed]), {"needed": "it"}, timeout_s=LIMIT_S
    )

    found, printed, said = shell("replay", done.id, *arguments)

    assert (found, printed) == (code, "")
    assert said.startswith("error: ")
    assert message in said
    assert said.count("\n") == 1
    assert orchestrator.get(done.id).replays == ()


def test_an_execution_that_nobody_knows_makes_no_database(shell, tmp_path):
    code, printed, said = shell("replay", "nobody", "--home", tmp_path / "unused")

    assert (code, printed) == (1, "")
    assert "there is no execution 'nobody'" in said
    assert not (tmp_path / "unused").exists()


# -- the page ------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_page_does_what_it_says(tmp_path):
    printed, env = [], environment(tmp_path / "home")
    for kind, info, text in blocks("docs/replay.md"):
        if info.startswith("file="):
            (tmp_path / info.removeprefix("file=")).write_text(text)
        elif kind == "sh":
            output, env = typed(text, tmp_path, env | {"FAILED": env.get("FAILED", "")})
            printed.append(output)
        elif kind == "python":
            (tmp_path / "example.py").write_text(text)
            printed.append(typed("python example.py", tmp_path, env)[0])

    everything = "\n".join(printed)
    expected = next(text for kind, _, text in blocks("docs/replay.md") if kind == "text")
    assert "as it should" in everything
    assert expected.splitlines()[1:] == printed[1].splitlines()[1:]
    assert 'text = "It is 25 for each of you"' in printed[2]
    assert "task 1 'Look up' SUCCEED (reused)" in printed[2]
    assert 'text = "It is 20 for each of you"' in printed[3]
    assert printed[4].count("-") >= 8  # two ids
    assert "[2, 3] [1]" in everything
    assert "'text': 'It is 50 for each of you'" in everything
