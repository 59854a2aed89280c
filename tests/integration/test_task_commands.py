"""``kill --task`` and ``release`` as a shell sees them, with services that a command brings along and with a broker."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.store.queries import ExecutionQueries
from tests.flows import flow, task
from tests.integration.steering import INCLUDE, Steering
from tests.integration.system import running_system
from tests.services import redis_url

pytestmark = pytest.mark.services

COMMAND = str(Path(sys.executable).with_name("orchestrator"))
COMMAND_LIMIT_S = 300  # against hanging alone
ROOT = Path(__file__).parents[2]


@pytest.fixture
def typed(tmp_path):
    """Type a command, in a home of its own; ``more`` are variables of the environment."""
    inherited = {key: value for key, value in os.environ.items() if not key.startswith("ORCHESTRATOR_")}
    mine = {"ORCHESTRATOR_HOME": str(tmp_path / "home"), "ORCHESTRATOR_INCLUDE": ",".join(INCLUDE), "USER": "ann"}

    def run(*arguments, **more):
        return subprocess.run(
            [COMMAND, *map(str, arguments)],
            cwd=ROOT,  # where the task types of the tests are found
            env=inherited | mine | {"LOGNAME": "ann", "PYTHONPATH": str(ROOT)} | more,
            capture_output=True,
            text=True,
            timeout=COMMAND_LIMIT_S,
            check=False,
        )

    return run


def written(folder, definition):
    (folder / "flow.json").write_text(json.dumps(definition))
    return folder / "flow.json"


def the_only_one(typed):
    (document,) = json.loads(typed("list", "--json").stdout)["executions"]
    return document["name"].rpartition("/")[2]


def test_one_of_two_questions_is_killed_and_what_follows_runs(typed, tmp_path):
    definition = flow(
        "ask", task(1, "SuspensionTask", next=[2]), task(2, "tests.nothing"), task(3, "tests.nothing"), starts=[1, 3]
    )
    ran = typed("run", written(tmp_path, definition))
    execution_id = the_only_one(typed)

    both = typed("kill", execution_id, "--task", "1", "--rollback")
    killed = typed("kill", execution_id, "--task", "1", "--message", "not needed")
    again = typed("kill", execution_id, "--task", "1")

    assert ran.returncode == 4
    assert (both.returncode, "--rollback: found --task as well" in both.stderr) == (2, True)
    assert killed.returncode == 0, killed.stderr
    assert f"task 1 of execution {execution_id}: CANCELLED" in killed.stderr
    assert "execution of 'ask' SUCCEEDED" in killed.stdout
    assert (again.returncode, "which is final: nothing is left to kill" in again.stderr) == (1, True)
    assert "task killed" in typed("logs", execution_id, "1").stdout
    assert "task 1 'SuspensionTask' was cancelled: ann killed it at" in typed("why", execution_id, "1").stdout


def test_a_task_in_quarantine_ends_the_command_and_a_release_goes_on(typed, tmp_path):
    steering = Steering(None, tmp_path)
    ran = typed("run", written(tmp_path, flow("poison", steering.task(1, "die die die ok"))), "--concurrency", "1")
    execution_id = the_only_one(typed)

    refused = typed("release", execution_id, "7")
    released = typed("release", execution_id, "1", "--concurrency", "1")

    assert ran.returncode == 4
    assert f"`orchestrator release {execution_id} 1` lets it run again" in ran.stderr
    assert (refused.returncode, "has no task 7; it has: 1" in refused.stderr) == (1, True)
    assert released.returncode == 0, released.stderr
    assert f"task 1 of execution {execution_id} is released" in released.stderr
    assert "execution of 'poison' SUCCEEDED" in released.stdout


def test_with_a_configured_broker_the_workers_go_on(typed, tmp_path):
    with running_system(tmp_path, database="sqlite", broker_url=redis_url(), include=INCLUDE) as system:
        steering = Steering(system, tmp_path)
        settings = system.settings
        env = {"ORCHESTRATOR_BROKER_URL": settings.broker_url, "ORCHESTRATOR_DATABASE_URL": settings.database_url}
        execution_id = system.submit(flow("branches", steering.task(1, "hold"), steering.task(2), starts=[1, 2]))
        steering.wait_for(1)

        killed = typed("kill", execution_id, "--task", "1", "--json", **env)

        assert killed.returncode == 0, killed.stderr
        assert json.loads(killed.stdout)["name"].endswith(execution_id)
        assert system.wait(execution_id).state.value == "FAILED"
        assert ExecutionQueries(system.database).state(execution_id).is_final
