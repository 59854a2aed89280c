"""Commands through real workers: KILL, timeouts, and workers that die. Afterwards nothing of a command is left."""

import os
import signal
import subprocess
import sys

import pytest

from orchestrator.artifacts import Artifacts
from orchestrator.model.history import EntryKind
from orchestrator.model.states import ExecutionState
from orchestrator.processes.sweep import sweep_folders
from tests.flows import flow, task
from tests.integration.commands import TREE
from tests.integration.processes import Pipe, python, still_alive, tagged
from tests.integration.steering import is_running, states
from tests.integration.system import running_system
from tests.integration.waiting import until
from tests.services import redis_url

pytestmark = pytest.mark.services

TREE_SIZE = 5


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def system(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("system")
    with running_system(folder, database=request.param, broker_url=redis_url(), concurrency=2) as running:
        yield running
        assert running.live() == [], "a test left something going on"


@pytest.fixture
def pipe(tmp_path):
    opened = Pipe(tmp_path / "pipe")
    yield opened
    opened.close()


def command(*arguments, **more):
    return task(1, "CommandTask", takes={"command": [str(each) for each in arguments], **more})


def tree(pipe, kind, **more):
    return command(*python("-I", "-S", TREE, kind, pipe.path), **more)


def pids(pipe, count=TREE_SIZE):
    return [int(pipe.line()) for _ in range(count)]


def entry(system, execution_id, kind):
    """The first entry of this kind."""
    return next(each for each in system.client.history(execution_id) if each.kind is kind)


def pool_process(system, execution_id):
    """The process that works on it."""
    (live,) = [row for row in system.live() if row.execution_id == execution_id]
    return int(live.worker.split("/")[1])


def test_a_command_runs_and_its_report_is_in_the_history(system):
    execution = system.execute(flow("hello", command("sh", "-c", "echo hello; echo $ORCHESTRATOR_BROKER_URL")))

    details = entry(system, execution.id, EntryKind.SUCCEEDED).details
    assert (details["ending"], details["exitCode"], details["reaped"]) == ("finished", 0, 1)
    store = Artifacts(system.settings.resolved_artifacts_url)
    assert store.get(details["stdout"]["artifact"]) == b"hello\n\n"


def test_the_logs_of_the_command_line_show_the_report(system):
    execution = system.execute(flow("logged", command("sh", "-c", "exit 3")))

    logs = [sys.executable, "-m", "orchestrator", "logs", execution.id]
    shown = subprocess.run(logs, env=system.settings.to_environment(), capture_output=True, text=True, check=True)

    assert "sh ended with exit code 3 (EXIT_CODE_3)" in shown.stdout
    assert "ending: finished" in shown.stdout
    assert "exitCode: 3" in shown.stdout


# -- KILL ----------------------------------------------------------------------------------------------------------


def test_kill_ends_the_command_and_all_it_has_started(system, pipe):
    execution_id = system.submit(flow("tree", tree(pipe, "tree")))
    running, worker = pids(pipe), pool_process(system, execution_id)

    system.client.kill(execution_id)
    execution = system.wait(execution_id)

    assert (execution.state, states(execution)) == (ExecutionState.CANCELLED, {1: "CANCELLED"})
    assert still_alive(running, within_s=0) == []
    assert tagged(execution_id) == []
    assert is_running(worker)
    details = entry(system, execution_id, EntryKind.STOPPED).details
    assert (details["ending"], details["signal"], details["terminated"]) == ("stopped", "SIGTERM", TREE_SIZE)


def test_kill_waits_for_a_grace_that_is_longer_than_that_of_other_code(system, pipe):
    """The pool process is not ended meanwhile, and CANCELLED is not said while something still runs."""
    execution_id = system.submit(flow("stubborn", tree(pipe, "stubborn", graceMs=7000)))
    running, worker = pids(pipe), pool_process(system, execution_id)
    seen = []

    def look():
        is_cancelled = system.client.get(execution_id).state is ExecutionState.CANCELLED  # first: then nothing may live
        seen.append((is_cancelled, bool(tagged(execution_id))))
        return is_cancelled

    system.client.kill(execution_id)
    until(look, what="the end")

    assert (True, True) not in seen
    assert (False, True) in seen
    assert still_alive(running, within_s=0) == []
    assert is_running(worker)
    details = entry(system, execution_id, EntryKind.STOPPED).details
    assert (details["signal"], details["killed"]) == ("SIGKILL", TREE_SIZE)


def test_the_output_of_a_command_that_is_killed_is_kept_to_the_last_byte(system, pipe):
    script = f"trap 'echo last words; exit 0' TERM; echo first; echo $$ > {pipe.path}; while :; do sleep 0.01; done"
    execution_id = system.submit(flow("words", command("sh", "-c", script)))
    pids(pipe, 1)

    system.client.kill(execution_id)
    system.wait(execution_id)

    details = entry(system, execution_id, EntryKind.STOPPED).details
    store = Artifacts(system.settings.resolved_artifacts_url)
    assert store.get(details["stdout"]["artifact"]) == b"first\nlast words\n"


def test_the_timeout_of_the_task_ends_the_command_too(system, pipe):
    slow = {**tree(pipe, "tree"), "timeoutMs": 5000}

    execution = system.execute(flow("slow", slow))

    assert execution.error.code == "EXECUTION_TIMEOUT"
    assert still_alive(pids(pipe), within_s=0) == []
    assert entry(system, execution.id, EntryKind.FAILED).details["ending"] == "stopped"


# -- deaths --------------------------------------------------------------------------------------------------------


def test_a_pool_process_that_is_killed_takes_the_command_along_and_the_attempt_runs_again(system, pipe, tmp_path):
    script = (
        f"test -e {tmp_path}/again && exit 0; touch {tmp_path}/again; setsid sleep 1000 & echo $$ > {pipe.path}; wait"
    )
    execution_id = system.submit(flow("lost", command("sh", "-c", script)))
    running = pids(pipe, 1)

    os.kill(pool_process(system, execution_id), signal.SIGKILL)
    execution = system.wait(execution_id)

    assert execution.state is ExecutionState.SUCCEEDED
    assert still_alive(running) == []
    until(lambda: tagged(execution_id) == [], what="the end of the tree")
    runs, artifacts = system.settings.home / "runs", Artifacts(system.settings.resolved_artifacts_url)
    assert sweep_folders(runs, artifacts) == []  # it has said nothing
    assert [each for each in runs.iterdir() if each.is_dir()] == []


def test_a_worker_that_is_killed_with_all_its_processes_takes_the_command_along(tmp_path, pipe):
    """It is never heard of again: its execution has to be taken over by others, its processes are gone at once."""
    with running_system(tmp_path, database="sqlite", broker_url=redis_url(), concurrency=1) as system:
        execution_id = system.submit(flow("crash", tree(pipe, "stubborn", graceMs=3_600_000)))
        running, worker = pids(pipe), system.services.workers[0].process

        os.killpg(worker.pid, signal.SIGKILL)
        worker.wait()

        assert still_alive(running) == []
        until(lambda: tagged(f"{execution_id}.1.1/") == [], what="the end of the shim")
