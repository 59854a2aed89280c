"""How a server ends that is told to: nobody who has been let in goes without an answer."""

import json
import signal
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests.integration.processes import Pipe
from tests.integration.waiting import until
from tests.services import free_port

pytestmark = pytest.mark.services

ROOT = Path(__file__).parents[2]
LIMIT_S = 60
LONG_S = 3600


class Slow:
    """The process of ``slow_api``."""

    def __init__(self, folder, port, process):
        self.folder, self.port, self.process = folder, port, process
        self.url = f"http://127.0.0.1:{port}"
        self._begun, self._threads = Pipe(folder / "begun"), ThreadPoolExecutor()
        self.release = Pipe(folder / "release")

    def ask(self, path):
        """Ask in a thread; returns as soon as the request has begun."""
        asked = self._threads.submit(httpx.get, self.url + path, timeout=LIMIT_S, trust_env=False)
        self._begun.line()
        return asked

    def is_up(self):
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def tell_to_end(self, number=signal.SIGTERM):
        self.process.send_signal(number)
        until(lambda: not self.is_up(), what="the end of listening")

    def lines(self):
        return [json.loads(line) for line in (self.folder / "log").read_text().splitlines()]

    def close(self):
        self._begun.close()
        self.release.close()
        self._threads.shutdown()


@contextmanager
def slow_api(folder, *, drain_s=LONG_S):
    port = free_port()
    command = [sys.executable, "-m", "tests.integration.slow_api", str(port), str(drain_s), str(folder)]
    signal.signal(signal.SIGINT, signal.default_int_handler)  # what started the tests may have it ignored
    with (folder / "log").open("wb") as log, subprocess.Popen(command, cwd=ROOT, stderr=log) as process:
        slow = Slow(folder, port, process)
        try:
            until(lambda: slow.is_up() or process.poll() is not None, what="the start of the server")
            yield slow
        finally:
            process.kill()
            slow.close()


def test_a_request_in_a_thread_is_answered_although_nobody_new_is_let_in(tmp_path):
    with slow_api(tmp_path) as slow:
        asked = slow.ask("/thread")
        slow.tell_to_end()
        with slow.release.path.open("w") as pipe:
            pipe.write("now\n")

        assert asked.result().json() == {"released": "now\n"}
        assert slow.process.wait(LIMIT_S) == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_who_waits_is_told_to_end_and_answered(tmp_path, number):
    with slow_api(tmp_path) as slow:
        poll, stream = slow.ask("/poll"), slow.ask("/stream")
        slow.tell_to_end(number)

        assert poll.result().json() == {"closing": True}
        assert stream.result().text == "first\nlast\n"
        assert slow.process.wait(LIMIT_S) == 0


def test_who_waits_for_ever_hears_of_the_end_and_the_exit_code_says_so(tmp_path):
    with slow_api(tmp_path, drain_s=0.5) as slow:
        never, thread = slow.ask("/never"), slow.ask("/thread")
        slow.tell_to_end()

        assert never.result().status_code == thread.result().status_code == 503
        assert "ending" in never.result().json()["error"]
        assert slow.process.wait(LIMIT_S) == 1
        assert [line["status"] for line in slow.lines() if line["message"] == "request"] == [503, 503]


def test_who_has_just_connected_is_heard(tmp_path):
    with slow_api(tmp_path) as slow, socket.create_connection(("127.0.0.1", slow.port)) as newcomer:
        httpx.get(slow.url + "/quick", trust_env=False)  # connections are accepted in order: ours has been
        slow.tell_to_end()
        newcomer.sendall(b"GET /quick HTTP/1.1\r\nHost: localhost\r\n\r\n")
        with newcomer.makefile("rb") as answer:
            assert answer.readline() == b"HTTP/1.1 200 OK\r\n"

        assert slow.process.wait(LIMIT_S) == 0


def test_an_idle_connection_holds_nobody_up(tmp_path):
    with slow_api(tmp_path) as slow, httpx.Client(trust_env=False) as client:
        assert client.get(slow.url + "/quick").json() == "quick"
        slow.process.send_signal(signal.SIGTERM)

        assert slow.process.wait(LIMIT_S) == 0


def test_a_fault_is_logged_once_and_the_connection_goes_on(tmp_path):
    with slow_api(tmp_path) as slow, httpx.Client(trust_env=False) as client:
        failed = client.get(slow.url + "/fail", headers={"X-Request-Id": "r-1"})
        assert failed.status_code == 500
        assert client.get(slow.url + "/quick").status_code == 200
        slow.tell_to_end()
        slow.process.wait(LIMIT_S)

    faults = [line for line in slow.lines() if "traceback" in line]
    assert [(each["request_id"], each["message"]) for each in faults] == [("r-1", "request failed")]
