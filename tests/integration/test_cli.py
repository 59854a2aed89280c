"""The command line as a shell sees it: real processes, exit codes, what is on stdout and what on stderr.

Most executions run on one Redis and one worker that the module shares; ``embedded`` is for what a command brings along.
"""

import base64
import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from socket import create_server

import pytest

from orchestrator.runtime.embedded import EmbeddedServices
from orchestrator.runtime.redis_server import find_redis_server
from orchestrator.settings import Settings
from tests.integration.processes import still_alive, tagged

pytestmark = pytest.mark.services

COMMAND = str(Path(sys.executable).with_name("orchestrator"))
COMMAND_LIMIT_S = 300  # against hanging alone
EXECUTION_ID = re.compile(r"[0-9a-f]{8}-[0-9a-f-]{27}")
TASK_TYPES = """
import time
from orchestrator import task_type

@task_type("cli.greet")
def greet(name: str) -> dict[str, str]:
    return {"greeting": f"Hello, {name}!"}

@task_type("cli.sleep")
def sleep(seconds: float) -> None:
    time.sleep(seconds)

@task_type("cli.fail")
def fail() -> None:
    raise ValueError("no [bold]money[/bold] left")
"""


# -- definitions ---------------------------------------------------------------------------------------------------


def make_definition(name, *tasks, parameters=()):
    return {
        "name": name,
        "taskConfigs": list(tasks),
        "triggerConfigs": [{"triggerId": f"api_trigger/{name}", "triggerType": "API"}],
        "integrationParameters": list(parameters),
    }


def make_task(number, task, *, next=(), **parameters):  # noqa: A002
    written = {
        key: {"key": key, "value": content if isinstance(content, dict) else {"stringValue": content}}
        for key, content in parameters.items()
    }
    following = [{"taskId": str(each)} for each in next]
    return {
        "taskId": str(number),
        "task": task,
        "displayName": f"Do {number}",
        "parameters": written,
        "nextTasks": following,
    }


def make_parameter(key, direction, data_type="STRING_VALUE"):
    return {"key": key, "dataType": data_type, "inputOutputType": direction}


GREET = make_definition(
    "greet",
    make_task(1, "cli.greet", name="$name$"),
    parameters=[make_parameter("name", "IN"), make_parameter("greeting", "OUT")],
)
MAIN = make_definition(
    "main",
    make_task(
        1,
        "SubWorkflowExecutorV2Task",
        next=[2],
        workflowName="greet",
        triggerId="api_trigger/greet",
        requestParameterMapping='{"name": "name"}',
        responseParameterMapping='{"greeting": "greeting"}',
    ),
    make_task(
        2,
        "GenericRestV2Task",
        url="https://api.invalid/$name$",
        httpMethod="GET",
        responseBody={"stringArray": {"stringValues": ["$answer$"]}},
    ),
    parameters=[
        make_parameter("name", "IN"),
        make_parameter("times", "IN", "INT_VALUE"),
        make_parameter("greeting", "OUT"),
        make_parameter("answer", "OUT"),
    ],
)
FAIL = make_definition("fail", make_task(1, "cli.fail"))
SUSPEND = make_definition("suspend", make_task(1, "SuspensionTask"))
SLEEP = make_definition("sleep", make_task(1, "cli.sleep", seconds={"doubleValue": 60}))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Where the commands are typed: definitions, and a module of task types."""
    folder = tmp_path_factory.mktemp("cli")
    (folder / "cli_tasks.py").write_text(TASK_TYPES)
    for definition in (GREET, MAIN, FAIL, SUSPEND, SLEEP):
        (folder / f"{definition['name']}.json").write_text(json.dumps(definition))
    return folder


# -- processes -----------------------------------------------------------------------------------------------------


def environment(home, **more):
    inherited = {key: value for key, value in os.environ.items() if not key.startswith("ORCHESTRATOR_")}
    return inherited | {"ORCHESTRATOR_HOME": str(home), "ORCHESTRATOR_INCLUDE": "cli_tasks"} | more


def orchestrator(*arguments, folder, env):
    return subprocess.run(
        [COMMAND, *map(str, arguments)],
        cwd=folder,
        env=env,
        capture_output=True,
        text=True,
        timeout=COMMAND_LIMIT_S,
        check=False,
    )


@pytest.fixture(scope="module")
def shared(folder, tmp_path_factory):
    """The environment of commands with a configured broker, on which a worker is there."""
    home = tmp_path_factory.mktemp("shared")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)  # where the worker finds cli_tasks
        settings = Settings(home=home, include=("cli_tasks",), concurrency=2)
        with EmbeddedServices(settings) as services:
            services.start_worker()
            yield environment(
                home,
                ORCHESTRATOR_BROKER_URL=services.settings.broker_url,
                ORCHESTRATOR_DATABASE_URL=services.settings.database_url,
            )


@pytest.fixture
def typed(folder, shared):
    return lambda *arguments: orchestrator(*arguments, folder=folder, env=shared)


@contextmanager
def started(*arguments, folder, env):
    """A command that goes on; whatever it leaves is killed."""
    command = [COMMAND, *map(str, arguments)]
    process = subprocess.Popen(
        command, cwd=folder, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, bufsize=1
    )
    limit = threading.Timer(COMMAND_LIMIT_S, process.kill)
    limit.start()
    with process:
        try:
            yield process
        finally:
            limit.cancel()
            process.kill()


# -- run, with services of its own ---------------------------------------------------------------------------------


class _Api(BaseHTTPRequestHandler):
    def do_GET(self):
        body = f"you asked for {self.path}".encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments):
        pass


@pytest.fixture
def api():
    with ThreadingHTTPServer(("127.0.0.1", 0), _Api) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_a_run_with_everything_it_can_be_told(folder, tmp_path, api):
    """--with, --param over --params, --include, --home, --executor, --concurrency, --override-url: embedded."""
    home, params, tag = tmp_path / "home", tmp_path / "params.yaml", f"CLI_TEST={tmp_path}"
    params.write_text("name: nobody\ntimes: 3\n")
    env = environment(tmp_path / "unused", CLI_TEST=str(tmp_path))
    del env["ORCHESTRATOR_INCLUDE"]

    done = orchestrator(
        *("run", "main.json", "--with", "greet=greet.json", "--params", params, "--param", "name=Ada"),
        *("--include", "cli_tasks", "--home", home, "--executor", "blue", "--concurrency", 1),
        *("--override-url", f"https://api.invalid={api}"),
        folder=folder,
        env=env,
    )

    assert done.returncode == 0, done
    assert done.stderr == ""
    lines = done.stdout.splitlines()
    assert re.fullmatch(rf"execution of 'main' PENDING \({EXECUTION_ID.pattern}\)", lines[0])
    assert any(re.fullmatch(r"task 2 'Do 2' SUCCEED \(attempt 1, \d\.\d\d s\)", line) for line in lines)
    assert any(line.startswith("task 1 > sub-execution 1 of 'greet' SUCCEEDED") for line in lines)
    assert lines[-3].startswith("execution of 'main' SUCCEEDED")
    assert set(lines[-2:]) == {'greeting = "Hello, Ada!"', 'answer = "you asked for /Ada"'}
    assert (home / "log" / "worker-blue.log").exists()
    assert not (tmp_path / "unused").exists()
    assert tagged(tag) == []


@pytest.fixture
def interruptible():
    """A shell starts what is in its background with Ctrl-C ignored, and processes inherit that."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def interrupted(folder, home, number):
    """Start a run, end it in the middle of its task; the exit code, what it said, and the home's id of it."""
    env = environment(home, CLI_TEST=str(home))
    with started("run", "sleep.json", "--concurrency", 1, folder=folder, env=env) as process:
        for line in process.stdout:
            if "IN_PROCESS" in line:
                break
        before = tagged(f"CLI_TEST={home}")
        process.send_signal(number)
        code = process.wait(COMMAND_LIMIT_S)
        return code, process.stderr.read(), before


CODES = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGKILL: -9}


@pytest.mark.usefixtures("interruptible")
def test_ctrl_c_sigterm_and_kill_9_end_a_run_and_leave_no_process(folder, tmp_path):
    results = {}

    def run(number):
        results[number] = interrupted(folder, tmp_path / number.name, number)

    threads = [threading.Thread(target=run, args=[number]) for number in CODES]
    for each in threads:
        each.start()
    for each in threads:
        each.join()

    assert {number: code for number, (code, _, _) in results.items()} == CODES
    for number, (_, said, before) in results.items():
        assert len(before) >= 3, "command, redis and worker"
        assert still_alive(before, within_s=5) == []
        assert tagged(f"CLI_TEST={tmp_path / number.name}") == []
        assert "Traceback" not in said
    assert "error: interrupted" in results[signal.SIGINT][1]


# -- run, on a configured broker -----------------------------------------------------------------------------------


def test_a_failed_run_exits_with_1_and_json_is_alone_on_stdout(typed):
    done = typed("run", "fail.json", "--json")

    assert done.returncode == 1
    document = json.loads(done.stdout)
    assert document["executionDetails"]["state"] == "FAILED"
    assert "no [bold]money[/bold] left" in document["responseParameters"]["ErrorInfo"]["jsonValue"]
    assert "task 1 'Do 1' FAILED" in done.stderr


def test_a_failed_run_says_which_task_and_why(typed):
    done = typed("run", "fail.json")

    assert done.returncode == 1
    assert "task 1 'Do 1' FAILED: " in done.stdout.splitlines()[-1]
    assert "no [bold]money[/bold] left" in done.stdout.splitlines()[-1]


def test_a_suspended_run_exits_with_4(typed):
    done = typed("run", "suspend.json")

    assert done.returncode == 4
    assert done.stdout.splitlines()[-1] == "task 1 'Do 1' waits for a person or an outside system"


def test_a_run_that_takes_too_long_exits_with_1(folder, shared):
    """On an executor without workers, so that nothing goes on in the shared one."""
    done = orchestrator(
        "run", "sleep.json", "--timeout", 0.3, "--executor", "nobody", "--json", folder=folder, env=shared
    )

    assert (done.returncode, done.stdout) == (1, "")
    assert re.search(r"error: execution \S+ is still PENDING after 0.3 s; it goes on", done.stderr)


def test_a_broker_that_is_away_is_one_message(folder, shared, tmp_path):
    with create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    env = environment(tmp_path, ORCHESTRATOR_BROKER_URL=f"redis://me:hidden@127.0.0.1:{port}/0")

    done = orchestrator("run", "fail.json", folder=folder, env=env)

    assert (done.returncode, done.stdout) == (1, "")
    assert f"error: the broker at redis://me:***@127.0.0.1:{port}/0 does not answer" in done.stderr
    assert "Traceback" not in done.stderr


def test_options_for_workers_of_ones_own_are_warned_of(typed):
    done = typed("run", "suspend.json", "--concurrency", 2)

    assert "warning: --override-url and --concurrency do nothing here" in done.stderr


def test_on_a_terminal_a_run_draws_a_live_tree(folder, shared):
    code, seen = on_a_terminal("run", "main.json", "--with", "greet.json", "--param", "name=Ada", "--param", "times=1",
                               folder=folder, env=shared)  # fmt: skip

    assert code == 1, "nobody answers at api.invalid"
    assert "\x1b[?25l" in seen, "the cursor was hidden"
    assert "├── task 1 'Do 1'" in seen
    assert "│   └── sub-execution 1 of 'greet'" in seen
    assert "└── task 2 'Do 2'" in seen


def on_a_terminal(*arguments, folder, env):
    """Exit code and output of a command whose stdout and stderr are a terminal."""
    ours, theirs = pty.openpty()
    env = env | {"TERM": "xterm", "COLUMNS": "120", "LINES": "40"}
    process = subprocess.Popen(
        [COMMAND, *arguments], cwd=folder, env=env, stdin=theirs, stdout=theirs, stderr=theirs, close_fds=True
    )
    os.close(theirs)
    seen, deadline = b"", time.monotonic() + COMMAND_LIMIT_S
    try:
        while select.select([ours], [], [], max(0, deadline - time.monotonic()))[0]:
            try:
                seen += os.read(ours, 65536)
            except OSError:  # Linux says EIO when the other side is closed
                break
        return process.wait(COMMAND_LIMIT_S), seen.decode()
    finally:
        process.kill()
        process.wait()
        os.close(ours)


# -- looking -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def kept(folder, tmp_path_factory, shared):
    """A home in which two executions are kept, and no broker: what earlier commands leave."""
    home = tmp_path_factory.mktemp("kept")
    env = shared | {"ORCHESTRATOR_HOME": str(home), "ORCHESTRATOR_DATABASE_URL": f"sqlite:///{home}/orchestrator.db"}
    for name in ("fail", "suspend"):  # nobody works for this database: both stay PENDING
        orchestrator("run", f"{name}.json", "--timeout", 0, folder=folder, env=env)
    return environment(home)


def test_executions_of_earlier_runs_are_listed_and_shown_without_a_broker(folder, kept):
    listed = orchestrator("list", folder=folder, env=kept)

    rows = [line.split("\t") for line in listed.stdout.splitlines()]
    assert [(row[1], row[4]) for row in rows] == [("PENDING", "suspend"), ("PENDING", "fail")]
    assert (listed.returncode, listed.stderr) == (0, "")

    shown = orchestrator("get", rows[1][0], folder=folder, env=kept)

    assert shown.returncode == 0
    assert shown.stdout == f"execution of 'fail' PENDING ({rows[1][0]})\n"


def test_list_takes_filters_and_prints_one_document(folder, kept):
    found = orchestrator(
        *("list", "--json", "--integration", "fail", "--state", "PENDING", "--children", "--limit", 5),
        folder=folder,
        env=kept,
    )

    (execution,) = json.loads(found.stdout)["executions"]
    assert execution["triggerId"] == "api_trigger/fail"


def test_get_prints_one_document(folder, kept):
    listed = orchestrator("list", "--limit", 1, folder=folder, env=kept)
    execution_id = listed.stdout.split("\t")[0]

    shown = orchestrator("get", execution_id, "--json", folder=folder, env=kept)

    assert json.loads(shown.stdout)["name"].endswith(f"/executions/{execution_id}")


def test_an_execution_that_is_not_there_exits_with_1(folder, kept):
    done = orchestrator("get", "nothing", folder=folder, env=kept)

    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        "error: there is no execution 'nothing' in this database; it never was, or it was pruned: "
        "`orchestrator list` shows what is there\n"
    )


# -- the other commands --------------------------------------------------------------------------------------------


def test_validate_says_what_is_there(folder, tmp_path):
    done = orchestrator("validate", "main.json", "--name", "other", folder=folder, env=environment(tmp_path / "home"))

    assert done.returncode == 0
    assert done.stdout == "main.json: integration 'other' is valid (2 tasks; triggers: api_trigger/main)\n"
    assert not (tmp_path / "home").exists()


def test_validate_exits_with_2_where_something_is_wrong(folder, tmp_path):
    env = environment(tmp_path / "home")
    del env["ORCHESTRATOR_INCLUDE"]

    done = orchestrator("validate", "greet.json", folder=folder, env=env)

    assert (done.returncode, done.stdout) == (2, "")
    assert "task 1 'Do 1' (cli.greet): unknown task type 'cli.greet'" in done.stderr


def test_the_doctor_finds_everything_well(typed):
    done = typed("doctor")

    assert done.returncode == 0, done.stdout
    assert re.search(r"^ok +workers: 1 live; queues: executor.default \(1\)$", done.stdout, re.MULTILINE)
    assert re.search(r"^ok +schema: ", done.stdout, re.MULTILINE)


def test_the_doctor_exits_with_1_where_something_is_broken(folder, tmp_path):
    (tmp_path / "orchestrator.db").write_bytes(b"this is no database" * 100)

    done = orchestrator("doctor", "--include", "no_such_module", folder=folder, env=environment(tmp_path))

    assert done.returncode == 1
    assert re.search(r"^broken +database: ", done.stdout, re.MULTILINE)
    assert re.search(r"^broken +task types: ", done.stdout, re.MULTILINE)
    assert "no_such_module" in done.stderr


def test_db_upgrade_makes_the_schema_that_the_doctor_asks_for(folder, tmp_path):
    env = environment(tmp_path / "home")

    done = orchestrator("db", "upgrade", folder=folder, env=env)

    assert done.returncode == 0
    assert done.stdout.startswith(f"sqlite:///{tmp_path}/home/orchestrator.db: schema is ")
    assert (tmp_path / "home" / "orchestrator.db").exists()


def test_the_version(folder, tmp_path):
    assert re.fullmatch(r"orchestrator \d+\.\d+\.\d+\n", orchestrator("--version", folder=folder, env={}).stdout)


@pytest.mark.skipif(find_redis_server() is None, reason="Flower shows no workers over a broker of files")
def test_flower_asks_for_the_password_that_it_was_started_with(folder, shared):
    with create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with started("flower", "--port", port, "--address", "127.0.0.1", folder=folder, env=shared) as process:
        assert process.stderr.readline() == f"Flower: http://127.0.0.1:{port}\n"
        user, password = re.match(r"user (\S+), password (\S+) ", process.stderr.readline()).groups()
        threading.Thread(target=process.stderr.read, daemon=True).start()

        assert answer(f"http://127.0.0.1:{port}/workers") == 401
        assert answer(f"http://127.0.0.1:{port}/workers", f"{user}:{password}") == 200


def answer(url, login=None):
    """The status that a server answers, as soon as it does."""
    headers = {"Authorization": f"Basic {base64.b64encode(login.encode()).decode()}"} if login else {}
    deadline = time.monotonic() + COMMAND_LIMIT_S
    while True:
        try:
            with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=5) as response:
                return response.status
        except urllib.error.HTTPError as error:
            with error:
                return error.code
        except OSError:
            assert time.monotonic() < deadline, f"{url} does not answer"
            time.sleep(0.1)


@pytest.mark.parametrize("command", [["--help"], ["run", "--help"]])
def test_help_is_quick_because_it_imports_nothing_heavy(folder, command):
    code = (
        "import sys\nfrom orchestrator.cli import main\n"
        "try: main()\nexcept SystemExit: pass\n"
        "sys.exit([m for m in ('celery', 'sqlalchemy', 'orchestrator.client') if m in sys.modules] or 0)"
    )

    done = subprocess.run(
        [sys.executable, "-c", code, *command], check=False, capture_output=True, text=True, cwd=folder
    )

    assert (done.returncode, done.stderr) == (0, "")
    assert "Usage" in done.stdout


def test_importing_the_commands_imports_nothing_heavy(folder):
    code = "import sys, orchestrator.cli; print([m for m in ('celery', 'sqlalchemy', 'pydantic') if m in sys.modules])"

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=folder)

    assert done.stdout == "[]\n"
