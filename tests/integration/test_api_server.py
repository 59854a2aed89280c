"""``orchestrator api`` as an operator sees it: what it needs, what it says, what it logs, what it refuses."""

import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests.integration.waiting import until
from tests.services import free_port, postgres_url, redis_url

pytestmark = pytest.mark.services

ORCHESTRATOR = Path(sys.executable).parent / "orchestrator"
LIMIT_S = 60
GOOGLES = "/v1/projects/default/locations/local/integrations/i/executions/nothing"


def command_of(home, *arguments, **settings):
    inherited = {key: value for key, value in os.environ.items() if not key.startswith("ORCHESTRATOR_")}
    named = {f"ORCHESTRATOR_{key.upper()}": value for key, value in settings.items()}
    return [str(ORCHESTRATOR), *arguments], inherited | named | {"ORCHESTRATOR_HOME": str(home)}


class Api(httpx.Client):
    """A client of the process; ``lines`` is what it has logged."""

    def __init__(self, port, process, log):
        super().__init__(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=LIMIT_S)
        self.port, self.process, self._log = port, process, log

    def lines(self):
        return [json.loads(line) for line in self._log.read_text().splitlines()]


@contextmanager
def running_api(home, *arguments, **settings):
    home.mkdir(exist_ok=True)
    port, log = free_port(), home / "api-test.log"
    command, environment = command_of(home, "api", "--port", str(port), *arguments, **settings)
    with (
        log.open("wb") as output,
        subprocess.Popen(command, env=environment, stderr=output) as process,
        Api(port, process, log) as api,
    ):
        try:
            until(lambda: "server listens" in log.read_text() or process.poll(), what="the start of the server")
            assert process.returncode is None, log.read_text()
            yield api
        finally:
            process.terminate()
            process.wait(LIMIT_S)


def refused(home, *arguments, **settings):
    """What the command says that does not start; and its exit code."""
    command, environment = command_of(home, "api", *arguments, **settings)
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=LIMIT_S, check=False)
    return done.returncode, done.stderr


@pytest.fixture(scope="module")
def api(tmp_path_factory):
    with running_api(tmp_path_factory.mktemp("api") / "home", "--no-auth", broker_url=redis_url()) as found:
        yield found


# -- health --------------------------------------------------------------------------------------------------------


def test_a_server_with_all_it_needs_is_alive_and_ready(api):
    assert api.get("/healthz").json() == {"status": "alive"}
    ready = api.get("/readyz")
    checks = ready.json()["checks"]
    assert ready.status_code == 200
    assert ready.json()["ready"] is True
    assert {name: check["state"] for name, check in checks.items()} == dict.fromkeys(
        ("server", "broker", "database", "schema"), "ok"
    )


def test_a_broker_that_does_not_answer_is_said_without_its_password(tmp_path):
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = f"redis://me:hidden@127.0.0.1:{closed.getsockname()[1]}/0"
        with running_api(tmp_path / "home", "--no-auth", broker_url=url) as api:
            ready = api.get("/readyz")

            assert ready.status_code == 503
            assert ready.json()["ready"] is False
            broker = ready.json()["checks"]["broker"]
            assert broker["state"] == "broken"
            assert "ORCHESTRATOR_BROKER_URL" in broker["remedy"]
            assert "hidden" not in ready.text
            assert api.get("/healthz").status_code == 200


def test_a_broker_that_says_nothing_hangs_nobody(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"redis://127.0.0.1:{silent.getsockname()[1]}/0"
        with running_api(tmp_path / "home", "--no-auth", broker_url=url) as api:
            checks = api.get("/readyz").json()["checks"]

    assert checks["broker"]["message"] == "no answer within 2 s"
    assert checks["database"]["state"] == "ok"


def test_a_schema_of_another_version_is_said_with_what_to_do(tmp_path):
    home = tmp_path / "home"
    with running_api(home, "--no-auth", broker_url=redis_url()) as api:
        with sqlite3.connect(home / "orchestrator.db") as connection:
            connection.execute("UPDATE alembic_version SET version_num = '0001'")
        connection.close()

        schema = api.get("/readyz").json()["checks"]["schema"]

    assert schema["state"] == "broken"
    assert schema["message"].startswith("is 0001, this version needs ")
    assert schema["remedy"] == "run `orchestrator db upgrade`"


def test_postgresql_that_went_away_is_said_and_the_server_lives_on(tmp_path):
    with postgres_url() as url:
        command, environment = command_of(tmp_path, "db", "upgrade", database_url=url)
        subprocess.run(command, env=environment, check=True, timeout=LIMIT_S, capture_output=True)
        running = running_api(tmp_path / "home", "--no-auth", broker_url=redis_url(), database_url=url)
        api = running.__enter__()
    try:
        checks = api.get("/readyz").json()["checks"]

        assert (checks["database"]["state"], checks["schema"]["state"]) == ("broken", "broken")
        assert "does not exist" in checks["database"]["message"]
        assert api.get("/healthz").status_code == 200
    finally:
        running.__exit__(None, None, None)


# -- answers and lines ---------------------------------------------------------------------------------------------


def test_each_request_has_its_id_in_the_answer_and_in_one_line_of_the_log(api):
    answer = api.get(f"{GOOGLES}?key=hidden", headers={"X-Request-Id": "test-1", "Authorization": "Bearer hidden"})

    assert answer.headers["X-Request-Id"] == "test-1"
    (line,) = until(lambda: [line for line in api.lines() if line.get("request_id") == "test-1"], what="the line")
    assert (line["method"], line["path"], line["status"]) == ("GET", f"{GOOGLES}?key=***", 404)
    assert (line["actor"], line["client"]) == ("anonymous", "127.0.0.1")
    assert line["size_bytes"] == len(answer.content)
    assert "hidden" not in json.dumps(api.lines())


def test_what_is_not_there_is_said_as_the_path_asks_for(api):
    googles = api.get("/v1/projects/default/nothing")
    plain = api.get("/nothing")

    assert googles.status_code == plain.status_code == 404
    assert googles.json()["error"]["status"] == "NOT_FOUND"
    assert plain.json() == {"error": "GET /nothing: Not Found", "requestId": plain.headers["X-Request-Id"]}
    assert api.post("/healthz").status_code == 405


def test_a_body_above_25_mib_is_refused(api):
    answer = api.post("/v1/projects/default/locations/local/integrations/i:execute", content=b"x" * (25 * 2**20 + 1))

    assert answer.status_code == 413
    assert "26,214,400 bytes" in answer.json()["error"]["message"]


def test_a_limit_of_ones_own_is_kept(tmp_path):
    with running_api(tmp_path / "home", "--no-auth", broker_url=redis_url(), max_request_bytes="2048") as api:
        assert api.post("/nothing", content=b"x" * 2048).status_code == 404
        assert api.post("/nothing", content=b"x" * 2049).status_code == 413


def test_openapi_names_our_routes_and_needs_nothing_from_elsewhere(api):
    document = api.get("/openapi.json").json()

    assert (document["info"]["title"], document["info"]["version"]) == ("Execution orchestrator", "0.1.0")
    assert {"/healthz", "/readyz"} <= document["paths"].keys()
    assert document["paths"]["/healthz"]["get"]["tags"] == ["health"]
    assert api.get("/docs").status_code == api.get("/redoc").status_code == 404


def test_it_ends_with_0_when_it_is_told_to_and_every_line_it_wrote_is_json(tmp_path):
    with running_api(tmp_path / "home", "--no-auth", broker_url=redis_url()) as api:
        api.get("/healthz")
        api.process.send_signal(signal.SIGTERM)

        assert api.process.wait(LIMIT_S) == 0
        assert [line["message"] for line in api.lines()] == ["server listens", "request", "server ends", "server ended"]


# -- who may come in -----------------------------------------------------------------------------------------------


def test_without_keys_it_listens_to_this_machine_alone(tmp_path):
    code, said = refused(tmp_path, "--no-auth", "--host", "0.0.0.0", broker_url="redis://127.0.0.1/0")

    assert code == 2
    assert "leave --no-auth out, or listen on 127.0.0.1" in said
    assert "Traceback" not in said


def test_without_keys_a_page_of_another_site_is_refused(api):
    assert api.get("/healthz", headers={"Origin": "https://evil.example"}).status_code == 403
    assert api.get("/healthz", headers={"Host": "evil.example"}).status_code == 403


def test_who_shows_no_key_where_one_is_wanted_gets_nothing_but_health(tmp_path):
    with running_api(tmp_path / "home", broker_url=redis_url()) as api:
        assert api.get(GOOGLES).status_code in {401, 403}
        assert api.get("/healthz").status_code == api.get("/readyz").status_code == 200


# -- what it needs -------------------------------------------------------------------------------------------------


def test_without_a_broker_it_says_so_and_names_the_command_that_brings_one(tmp_path):
    code, said = refused(tmp_path, "--no-auth")

    assert code == 2
    assert "ORCHESTRATOR_BROKER_URL" in said
    assert "`orchestrator up`" in said


def test_a_port_that_is_taken_is_said(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        code, said = refused(tmp_path, "--no-auth", "--port", port, broker_url="redis://127.0.0.1/0")

    assert code == 1
    assert f"cannot listen on 127.0.0.1 port {port} (Address already in use)" in said


def test_a_database_of_another_version_is_refused_at_the_start(tmp_path):
    with postgres_url() as url:
        code, said = refused(tmp_path, "--no-auth", "--port", "0", broker_url=redis_url(), database_url=url)

    assert code == 1
    assert "run `orchestrator db upgrade`" in said
