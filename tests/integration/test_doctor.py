import socket
import threading
from types import SimpleNamespace

import pytest

from orchestrator.runtime import doctor
from orchestrator.runtime.doctor import examine
from orchestrator.runtime.embedded import EmbeddedServices
from orchestrator.settings import Settings

pytestmark = pytest.mark.services


@pytest.fixture
def settings(tmp_path):
    return Settings(home=tmp_path / "home")


@pytest.fixture
def silent():
    """A server that takes the connection and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@pytest.fixture
def closed():
    """A port that nobody listens on: bound, so that nobody else takes it meanwhile."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]


def finding(settings, name, **arguments):
    return next(each for each in examine(settings, **arguments) if each.name == name)


def test_a_machine_without_any_setting_is_fine_and_nothing_is_made(settings):
    findings = examine(settings, task_type_count=3, schema_check=pytest.fail)

    assert [(each.name, each.ok) for each in findings] == [
        ("python", True),
        ("home", True),
        ("redis-server", True),
        ("broker", True),
        ("database", True),
        ("mail", True),
        ("task types", True),
    ]
    assert not settings.home.exists()


def test_a_broker_that_answers_is_said_to(settings):
    with EmbeddedServices(settings) as services:
        found = finding(services.settings, "broker")

    assert (found.ok, found.message) == (True, f"{services.broker_url} answers")


@pytest.mark.parametrize("scheme", ["redis", "amqp"])
def test_a_broker_that_is_not_there_is_said_with_a_remedy_and_without_its_password(settings, closed, scheme):
    found = finding(settings.replaced(broker_url=f"{scheme}://me:hidden@127.0.0.1:{closed}/0"), "broker")

    assert found.ok is False
    assert f"{scheme}://me:***@127.0.0.1:{closed}/0 does not answer" in found.message
    assert "hidden" not in found.message
    assert "ORCHESTRATOR_BROKER_URL" in found.remedy


@pytest.mark.parametrize("url", ["redis://127.0.0.1:{}/0", "amqp://127.0.0.1:{}//"])
def test_a_broker_that_takes_the_connection_and_says_nothing_cannot_hang_the_doctor(settings, silent, url, monkeypatch):
    monkeypatch.setattr(doctor, "CONNECT_LIMIT_S", 0.2)
    monkeypatch.setattr(doctor, "CHECK_LIMIT_S", 1.5)

    found = finding(settings.replaced(broker_url=url.format(silent)), "broker")

    assert found.ok is False


def test_a_check_that_never_comes_back_is_given_up(settings, monkeypatch):
    monkeypatch.setattr(doctor, "CHECK_LIMIT_S", 0.1)
    never = threading.Event()
    (settings.home).mkdir()
    (settings.home / "orchestrator.db").touch()

    found = finding(settings, "schema", schema_check=never.wait)
    never.set()

    assert (found.ok, found.message) == (False, "no answer within 0.1 s")


def test_a_look_that_hangs_is_never_begun_again_beside_itself():
    never, begun = threading.Event(), []
    check = doctor.Check("slow", lambda: begun.append(1) or never.wait())
    for _ in range(3):
        check.begin()
        assert check.finding(0.05).message == "no answer within 0.05 s"
    never.set()

    assert begun == [1]


def test_a_database_that_is_not_there_is_said_without_its_password(settings, closed):
    found = finding(settings.replaced(database_url=f"postgresql://me:hidden@127.0.0.1:{closed}/d"), "database")

    assert found.ok is False
    assert "Connection refused" in found.message
    assert "hidden" not in found.message


def test_a_file_that_is_no_database_is_said_to_be_none(settings, tmp_path):
    (tmp_path / "text.db").write_text("this is not a database, but long enough to be looked at as if it were one\n" * 9)

    found = finding(settings.replaced(database_url=f"sqlite:///{tmp_path}/text.db"), "database")

    assert found.ok is False
    assert "file is not a database" in found.message


def test_a_schema_problem_is_passed_on(settings):
    settings.home.mkdir()
    (settings.home / "orchestrator.db").touch()

    assert finding(settings, "schema", schema_check=lambda: None).ok
    found = finding(settings, "schema", schema_check=lambda: "schema is 1, this version needs 2")

    assert (found.ok, found.remedy) == (False, "run `orchestrator db upgrade`")


def test_a_check_that_raises_is_a_finding(settings):
    settings.home.mkdir()
    (settings.home / "orchestrator.db").touch()

    def broken():
        raise RuntimeError("cannot look at postgresql://me:hidden@h/d")

    found = finding(settings, "schema", schema_check=broken)

    assert (found.ok, found.message) == (False, "cannot look at postgresql://me:***@h/d")


def test_no_live_worker_is_a_warning_and_live_ones_are_counted_by_queue(settings):
    def app(queues):
        return SimpleNamespace(
            control=SimpleNamespace(inspect=lambda **_: SimpleNamespace(active_queues=lambda: queues))
        )

    one = {"a@h": [{"name": "executor.default"}], "b@h": [{"name": "executor.default"}, {"name": "executor.ingest"}]}
    with EmbeddedServices(settings) as services:
        without = finding(services.settings, "workers", app=app(None))
        with_two = finding(services.settings, "workers", app=app(one))

    assert (without.ok, without.message) == (None, "no live worker")
    assert with_two.message == "2 live; queues: executor.default (2), executor.ingest (1)"


def test_a_home_that_cannot_be_written_is_said(settings, tmp_path):
    (tmp_path / "file").touch()

    found = finding(settings.replaced(home=tmp_path / "file" / "home"), "home")

    assert (found.ok, found.message) == (False, f"{tmp_path}/file cannot be written")


def test_a_mail_server_that_is_not_there_is_said(settings, closed):
    found = finding(settings.replaced(smtp_host="127.0.0.1", smtp_port=closed, smtp_password="hidden"), "mail")

    assert found.ok is False
    assert "Connection refused" in found.message


def test_a_mail_server_that_answers_is_said_to(settings):
    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=answer_as_mail_server, args=(server,))
        thread.start()
        found = finding(settings.replaced(smtp_host="127.0.0.1", smtp_port=server.getsockname()[1]), "mail")
        thread.join()

    assert found.ok


def answer_as_mail_server(server):
    connection, _ = server.accept()
    with connection, connection.makefile("rwb") as stream:
        stream.write(b"220 here\r\n")
        stream.flush()
        for line in stream:
            stream.write(b"221 bye\r\n" if line.lower().startswith(b"quit") else b"250 fine\r\n")
            stream.flush()


def test_without_task_types_nothing_can_run(settings):
    assert finding(settings, "task types", task_type_count=0).ok is False


def test_a_misspelt_variable_is_a_warning(settings, monkeypatch):
    monkeypatch.setenv("ORCHESTRATOR_BROKER_URI", "redis://h")

    found = finding(settings, "environment")

    assert (found.ok, found.message) == (None, "no setting reads ORCHESTRATOR_BROKER_URI")
