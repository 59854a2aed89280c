"""``orchestrator up``: everything on one machine, kept up, and gone when it is told to end."""

import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import uuid
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
import redis
from typer.testing import CliRunner

from orchestrator.cli import app
from orchestrator.cli.up import first_key
from orchestrator.settings import Settings
from orchestrator.store.database import Database
from orchestrator.store.workers import WorkerStore
from tests.integration.processes import still_alive, tagged
from tests.integration.waiting import until
from tests.services import free_port

pytestmark = [pytest.mark.services, pytest.mark.slow]

ORCHESTRATOR = Path(sys.executable).parent / "orchestrator"
LIMIT_S = 120
DEFINITION = """\
name: hello
triggerConfigs: [{triggerId: api_trigger/hello}]
integrationParameters: [{key: text, dataType: STRING_VALUE, inputOutputType: OUT}]
taskConfigs:
  - taskId: "1"
    task: JsonnetMapperTask
    parameters: {template: {stringValue: "{text: 'hi'}"}}
"""


def environment_of(home, tag):
    inherited = {key: value for key, value in os.environ.items() if not key.startswith("ORCHESTRATOR_")}
    return inherited | {"ORCHESTRATOR_HOME": str(home), "ORCHESTRATOR_DRAIN_S": "5", "TEST_TAG": tag}


class Up:
    """The running command, and what it has said."""

    def __init__(self, home, tag, port, process, said):
        self.home, self.tag, self.port, self.process, self._said = home, tag, port, process, said

    @property
    def said(self):
        return self._said.read_text()

    def is_up(self):
        assert self.process.poll() is None, self.said
        return "Ctrl-C ends it all." in self.said

    def ready(self):
        return httpx.get(f"http://127.0.0.1:{self.port}/readyz", trust_env=False, timeout=60)

    def elsewhere(self):
        """The environment of somebody who has typed what the command said."""
        line = re.search(r"^elsewhere +export (.*)$", self.said, re.MULTILINE)[1]
        return dict(word.split("=", 1) for word in shlex.split(line))

    def broker_pid(self):
        """Of the private Redis, which has no tag: its title lies where its environment was."""
        socket_path = self.elsewhere()["ORCHESTRATOR_BROKER_URL"].removeprefix("redis+socket://")
        with redis.Redis(unix_socket_path=socket_path) as client:
            return client.info("server")["process_id"]

    def workers(self):
        database = Database(f"sqlite:///{self.home}/orchestrator.db")
        try:
            return WorkerStore(database).live()
        finally:
            database.close()

    def pid_of(self, word):
        """The process whose command line has the word, and that no other of the command has started."""
        pids = [pid for pid in tagged(self.tag) if word in Path(f"/proc/{pid}/cmdline").read_text().split("\0")]
        return min(pids)


@contextmanager
def running_up(folder, *arguments, is_open=True):
    home, tag, port, said = folder / "home", uuid.uuid4().hex, free_port(), folder / "said"
    command = [str(ORCHESTRATOR), "up", *(["--no-auth"] if is_open else []), "--port", str(port), *arguments]
    signal.signal(signal.SIGINT, signal.default_int_handler)  # what started the tests may have it ignored
    with (
        said.open("wb") as output,
        subprocess.Popen(command, env=environment_of(home, tag), stdout=output, stderr=output) as process,
    ):
        try:
            yield Up(home, tag, port, process, said)
        finally:
            process.kill()
    assert still_alive(tagged(tag)) == []


def test_everything_is_there_runs_executions_and_is_gone_when_told_to_end(tmp_path):
    (tmp_path / "hello.yaml").write_text(DEFINITION)
    flower = free_port()
    wanted = ["--executor", "default=1", "--executor", "ingest=2", "--flower", "--flower-port", str(flower)]
    with running_up(tmp_path, *wanted) as up:
        until(up.is_up, within_s=LIMIT_S, what="everything")

        assert up.ready().status_code == 200
        assert {each.name.split("@")[0] for each in up.workers()} == {"default", "ingest"}
        assert "default (1 process), ingest (2 processes)" in up.said
        assert httpx.get(f"http://127.0.0.1:{flower}/healthcheck", trust_env=False).status_code == 200
        assert httpx.get(f"http://127.0.0.1:{flower}/api/workers", trust_env=False).status_code == 401
        command = [str(ORCHESTRATOR), "run", str(tmp_path / "hello.yaml"), "--executor", "ingest"]
        done = subprocess.run(
            command, env=os.environ | up.elsewhere(), capture_output=True, text=True, timeout=LIMIT_S, check=False
        )
        assert 'text = "hi"' in done.stdout, done.stderr
        broker = up.broker_pid()
        up.process.send_signal(signal.SIGTERM)

        assert up.process.wait(LIMIT_S) == 0
        assert still_alive([broker, *tagged(up.tag)], within_s=0) == []
        assert up.said.endswith("ended\n")
        assert '"message": "server ended"' in (up.home / "log" / "api.log").read_text()


def test_the_first_key_is_made_and_shown_once(tmp_path):
    with running_up(tmp_path, "--executor", "default=1", is_open=False) as up:
        until(up.is_up, within_s=LIMIT_S, what="everything")
        key = re.search(r"^key +(orc_\S+) ", up.said, re.MULTILINE)[1]
        url = f"http://127.0.0.1:{up.port}/v1/projects/default/locations/local/integrations"

        assert httpx.get(url, trust_env=False).status_code == 403
        assert httpx.get(url, trust_env=False, headers={"Authorization": f"Bearer {key}"}).status_code == 200
        assert first_key(Settings(home=up.home)) is None


def test_a_worker_and_a_server_that_die_are_started_again_until_ctrl_c(tmp_path):
    with running_up(tmp_path, "--executor", "default=1") as up:
        until(up.is_up, within_s=LIMIT_S, what="everything")
        (before,) = up.workers()
        for word in ("orchestrator.runtime.worker", "api"):
            os.kill(up.pid_of(word), signal.SIGKILL)

        until(lambda: any(each.id != before.id for each in up.workers()), within_s=LIMIT_S, what="another worker")
        until(lambda: "the API server is started again" in up.said, what="the start of the server")
        until(lambda: answers(up), within_s=LIMIT_S, what="the answer of the server")
        assert "the worker of executor 'default' ended with -9" in up.said
        up.process.send_signal(signal.SIGINT)

        assert up.process.wait(LIMIT_S) == 0
        assert tagged(up.tag) == []


def answers(up):
    try:
        return up.ready().status_code == 200
    except httpx.TransportError:
        return False


def test_a_private_broker_that_dies_ends_everything(tmp_path):
    with running_up(tmp_path, "--executor", "default=1") as up:
        until(up.is_up, within_s=LIMIT_S, what="everything")
        os.kill(up.broker_pid(), signal.SIGKILL)

        assert up.process.wait(LIMIT_S) == 1
        assert "error: the private Redis ended with -9" in up.said
        assert tagged(up.tag) == []


def test_a_worker_that_cannot_start_ends_everything_at_once(tmp_path):
    with running_up(tmp_path, "--include", "nothing.of_the_kind") as up:
        assert up.process.wait(LIMIT_S) == 1
        assert "error: the worker of executor 'default' ended with 2" in up.said
        assert "nothing.of_the_kind" in up.said
        assert "Traceback" not in up.said
        assert tagged(up.tag) == []


@pytest.mark.parametrize("option", ["--port", "--flower-port"])
def test_a_port_that_is_taken_is_said_before_anything_is_started(tmp_path, option):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        done = CliRunner().invoke(app, ["up", "--no-auth", "--flower", option, port, "--home", str(tmp_path / "home")])

    assert done.exit_code == 1
    assert f"cannot listen on 127.0.0.1 port {port}" in done.output
    assert not (tmp_path / "home").exists()


def test_without_keys_it_is_for_this_machine_alone(tmp_path):
    done = CliRunner().invoke(app, ["up", "--no-auth", "--host", "0.0.0.0", "--home", str(tmp_path / "home")])

    assert done.exit_code == 2
    assert "leave --no-auth out" in done.output
    assert not (tmp_path / "home").exists()


@pytest.mark.parametrize("text", ["", "=2", "a=", "a=0", "a=1025", "a=many", "a=-1", "a b=1", "default"])
def test_an_executor_that_is_none_is_refused(text):
    done = CliRunner().invoke(app, ["up", "--executor", "default", "--executor", text])

    assert done.exit_code == 2
    assert "NAME" in done.output
