"""docker-compose.yml without Docker: every service of ours is started by its own command, on local services.

And what an operator sees of it in Flower: workers, queues, tasks, and a revoke.
"""

import base64
import json
import os
import re
import subprocess
import sys
import urllib.error
import urllib.request
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from orchestrator import Orchestrator
from orchestrator.model.states import ExecutionState
from orchestrator.settings import Settings
from tests.integration.waiting import until
from tests.services import free_port, postgres_url, redis_url

pytestmark = [pytest.mark.services, pytest.mark.slow]

ROOT = Path(__file__).parents[2]
COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
OURS = {name: service for name, service in COMPOSE["services"].items() if "build" in service}
FLOWER_AUTH = "me:secret"
BIN = Path(sys.executable).parent


@dataclass
class Stack:
    """The started services, and a client of the same broker and database."""

    client: Orchestrator
    flower: str
    api: str

    def ask(self, path: str, *, auth: str | None = FLOWER_AUTH, post: bool = False) -> object:
        request = urllib.request.Request(self.flower + path, data=b"" if post else None)
        if auth is not None:
            request.add_header("Authorization", "Basic " + base64.b64encode(auth.encode()).decode())
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)


def local(value: str, replacements: dict[str, str]) -> str:
    """A value of the file with its compose variables filled in and its services replaced by ours."""
    value = re.sub(r"\$\{(\w+)(?::[-?]([^}]*))?\}", lambda m: replacements.get(m[1], m[2] or ""), value)
    return replacements.get(value, value)


@pytest.fixture(scope="module")
def stack(tmp_path_factory):
    home, broker = tmp_path_factory.mktemp("home"), redis_url()
    with ExitStack() as ends:
        database = ends.enter_context(postgres_url())
        port, api_port = free_port(), free_port()
        replacements = {
            "FLOWER_BASIC_AUTH": FLOWER_AUTH,
            "redis://redis:6379/0": broker,
            "postgresql://orchestrator:orchestrator@postgres:5432/orchestrator": database,
            "/var/lib/orchestrator": str(home),
            "0.0.0.0": "127.0.0.1",
            "5555": str(port),
            "8080": str(api_port),
        }
        for name, service in OURS.items():
            environment = {key: local(value, replacements) for key, value in service["environment"].items()}
            command = [local(word, replacements) for word in service["command"]]
            start(name, command, environment, home, ends)
        settings = Settings(
            home=home, broker_url=broker, database_url=database, include=("tests.integration.sleepy_tasks",)
        )
        client = ends.enter_context(Orchestrator(settings))
        yield Stack(client, f"http://127.0.0.1:{port}", f"http://127.0.0.1:{api_port}")


def start(name: str, command: list[str], environment: dict[str, str], home: Path, ends: ExitStack) -> None:
    """``migrate`` is waited for, as the file's conditions say; the others run until the end."""
    inherited = {key: value for key, value in os.environ.items() if not key.startswith("ORCHESTRATOR_")}
    environment = inherited | environment | {"ORCHESTRATOR_INCLUDE": "tests.integration.sleepy_tasks"}
    log = ends.enter_context((home / f"{name}.log").open("wb"))
    process = subprocess.Popen(
        [str(BIN / command[0]), *command[1:]], cwd=ROOT, env=environment, stdout=log, stderr=log, start_new_session=True
    )
    if name == "migrate":
        assert process.wait(60) == 0, (home / f"{name}.log").read_text()
        return
    ends.callback(process.wait, 20)
    ends.callback(process.terminate)


def describe(executor: str, seconds: float = 0.0) -> dict:
    return {
        "name": f"sleep-{executor}",
        "triggerConfigs": [{"triggerId": "api_trigger/sleep"}],
        "taskConfigs": [
            {
                "taskId": "1",
                "task": "tests.sleep",
                "executorId": executor,
                "parameters": {"seconds": {"doubleValue": seconds}},
            }
        ],
    }


def test_the_file_has_a_worker_service_for_each_executor_with_health_checks():
    workers = [name for name in OURS if name.startswith("worker-")]

    assert workers == ["worker-default", "worker-ingest"]
    for name, service in COMPOSE["services"].items():
        assert name == "migrate" or "healthcheck" in service


def test_only_the_api_and_flower_are_published_and_only_on_the_loopback():
    published = {name: service["ports"] for name, service in COMPOSE["services"].items() if "ports" in service}

    assert published == {"api": ["127.0.0.1:8080:8080"], "flower": ["127.0.0.1:5555:5555"]}


@pytest.mark.parametrize("executor", ["default", "ingest"])
def test_an_execution_runs_on_the_worker_of_its_executor(stack, executor):
    execution = stack.client.execute(describe(executor), timeout_s=40)

    (attempt,) = execution.task(1).attempts
    assert execution.state is ExecutionState.SUCCEEDED
    assert attempt.worker.startswith(f"{executor}@")


def api_is_ready(stack: Stack) -> bool:
    try:
        with urllib.request.urlopen(f"{stack.api}/readyz", timeout=60) as answer:
            return json.load(answer)["ready"]
    except OSError:
        return False


def test_the_api_is_ready_and_lets_nobody_in_without_a_key(stack):
    until(lambda: api_is_ready(stack), what="the API")

    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(f"{stack.api}/v1/projects/p/locations/l/integrations/i/executions/e", timeout=60)

    assert refused.value.code in {401, 403}
    refused.value.close()


def flower_is_up(stack: Stack) -> bool:
    try:
        return bool(stack.ask("/api/workers?refresh=1"))
    except (urllib.error.URLError, ConnectionError):
        return False


def test_flower_refuses_whoever_has_no_password(stack):
    until(lambda: flower_is_up(stack), what="Flower")

    with pytest.raises(urllib.error.HTTPError) as refused:
        stack.ask("/api/workers", auth=None)

    assert refused.value.code == 401
    refused.value.close()


def test_workers_and_queues_show_in_flower(stack):
    until(lambda: flower_is_up(stack), what="Flower")

    def all_workers() -> dict | None:
        found = stack.ask("/api/workers?refresh=1")
        return found if len(found) == 2 else None

    workers = until(all_workers, what="both workers in Flower")
    queues = {name.split("@")[0]: [q["name"] for q in worker["active_queues"]] for name, worker in workers.items()}
    assert queues == {"default": ["executor.default"], "ingest": ["executor.ingest"]}


def test_a_task_shows_in_flower_under_the_name_of_its_type(stack):
    until(lambda: flower_is_up(stack), what="Flower")
    execution = stack.client.execute(describe("default"), timeout_s=40)

    task = until(lambda: known_task(stack, f"{execution.id}.1.1", "SUCCESS"), what="the task in Flower")
    assert task["name"] == "tests.sleep"


def test_a_revoke_in_flower_ends_the_running_task(stack):
    until(lambda: flower_is_up(stack), what="Flower")
    execution_id = stack.client.submit(describe("ingest", seconds=600))
    task_id = f"{execution_id}.1.1"
    until(lambda: known_task(stack, task_id, "STARTED"), what="the start of the task")

    stack.ask(f"/api/task/revoke/{task_id}?terminate=true&signal=SIGKILL", post=True)

    until(lambda: known_task(stack, task_id, "REVOKED"), what="the revoke in Flower")
    assert stack.client.execute(describe("ingest"), timeout_s=40).state is ExecutionState.SUCCEEDED


def known_task(stack: Stack, task_id: str, state: str) -> dict | None:
    try:
        task = stack.ask(f"/api/task/info/{task_id}")
    except urllib.error.HTTPError as error:
        error.close()
        return None
    return task if task["state"] == state else None
