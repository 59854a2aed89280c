"""Suspensions with real workers: answers, notices, timers, and the commands that a person types."""

import json
import os
import re
import subprocess
import sys
import threading
from datetime import UTC, datetime
from email import message_from_bytes, policy
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import sqlalchemy as sa

from orchestrator import Orchestrator
from orchestrator.errors import WaitTimeout
from orchestrator.model.states import ExecutionState, TaskState
from orchestrator.service.suspensions import CLOCK, MayNotResolve, SuspensionAnswered
from orchestrator.settings import Settings
from orchestrator.store.kinds import SuspensionState
from orchestrator.store.tables import celery_results, timers
from tests.flows import calls, flow, parameter, task
from tests.integration.system import running_system
from tests.integration.waiting import until
from tests.services import redis_url

pytestmark = pytest.mark.services

SAMPLE = Path(__file__).parents[3] / "shared" / "samples" / "ecom-order-processing.json"
ORDER = "api_trigger/ecom-order-processing_API_1"
BOSS = "boss@example.org"
COMMAND = str(Path(sys.executable).with_name("orchestrator"))
COMMAND_LIMIT_S, LIMIT_S = 60, 30.0
LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)


def make_due(database, execution_id, kind):
    with database.begin() as connection:
        changed = sa.update(timers).where(timers.c.execution_id == execution_id, timers.c.kind == kind)
        assert connection.execute(changed.values(due_at=LONG_AGO)).rowcount == 1


def mails(home, execution_id):
    """The notices of an execution, in their order."""
    paths = sorted((home / "outbox").glob(f"{execution_id}-*-notice*.eml"))
    return [message_from_bytes(path.read_bytes(), policy=policy.default) for path in paths]


def asking(number=1, *, to=(), next=(), **takes):  # noqa: A002
    named = {"notifications": list(to)} if to else {}
    return task(number, "SuspensionTask", next=next, takes={"isApproved": "$approved$"} | named | takes)


def approval(**more):
    return flow(
        "approval",
        asking(next=[(2, "$approved$ = true")], **more),
        task(2, "JsonnetMapperTask", takes={"template": "{ text: 'paid' }"}),
        parameters=[parameter("approved", "BOOLEAN_VALUE", direction="OUT"), parameter("text", direction="OUT")],
    )


def pause(number=1, *, seconds, **more):
    return task(number, "TimerTask", takes={"delaySeconds": seconds}, **more)


# -- the sample ----------------------------------------------------------------------------------------------------


class _Outside(BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def orchestrator(tmp_path_factory):
    with ThreadingHTTPServer(("127.0.0.1", 0), _Outside) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        outside = f"http://127.0.0.1:{server.server_port}"
        overrides = {"https://mocktarget.apigee.net": outside, "https://httpbin.org": outside}
        settings = Settings(home=tmp_path_factory.mktemp("home"), url_overrides=overrides, concurrency=2)
        with Orchestrator(settings) as opened:
            yield opened
        server.shutdown()


@pytest.fixture(scope="module")
def sample():
    """The order sample, with an address in place of the one to be changed."""
    if not SAMPLE.exists():
        pytest.skip(f"the sample definitions are not at {SAMPLE}")
    document = json.loads(SAMPLE.read_text().replace("\\\\u003cchange-this-to-email-id\\\\u003e", BOSS))
    assert BOSS in json.dumps(document)
    return {"name": "ecom-order-processing"} | document


@pytest.fixture
def order(orchestrator, sample):
    """An execution of the sample that waits for its approval."""
    execution = orchestrator.execute(sample, {"threshold_order_value": 30.0}, trigger=ORDER, timeout_s=LIMIT_S)
    assert execution.state is ExecutionState.SUSPENDED
    return execution.id


def test_an_order_that_is_approved_is_processed(orchestrator, order):
    orchestrator.suspensions.lift(order, actor=BOSS)
    execution = orchestrator.wait(order, timeout_s=LIMIT_S)

    assert execution.state is ExecutionState.SUCCEEDED
    assert execution.task(2).state is TaskState.SUCCEED
    assert execution.outputs["orders_response"] == {"STATUS": "PROCESSING_COMPLETE"}
    assert execution.outputs["rest_call_response_status"] == ["200 OK"]


def test_an_order_that_is_rejected_is_not_processed(orchestrator, order):
    orchestrator.suspensions.resolve(order, approve=False, actor=BOSS)
    execution = orchestrator.wait(order, timeout_s=LIMIT_S)

    assert execution.state is ExecutionState.SUCCEEDED
    assert execution.task(2).state is TaskState.SUCCEED
    assert execution.task(3).state is TaskState.SKIPPED
    assert "orders_response" not in execution.outputs


def test_an_order_without_an_answer_is_rejected_by_the_clock(orchestrator, order):
    database = orchestrator._open().database
    make_due(database, order, "EXPIRE")
    until(lambda: orchestrator.get(order).state.is_final, what="the end of its time")

    assert orchestrator.get(order).task(3).state is TaskState.SKIPPED
    assert orchestrator.suspensions.get(order).resolver == CLOCK
    with pytest.raises(SuspensionAnswered, match=f"was REJECTED by {CLOCK}"):
        orchestrator.suspensions.lift(order, actor=BOSS)


def test_the_approver_of_an_order_is_told_and_reminded(orchestrator, order):
    home, database = orchestrator.settings.home, orchestrator._open().database
    (first,) = until(lambda: mails(home, order), what="the first mail")

    make_due(database, order, "REMIND")
    _, second = until(lambda: found if len(found := mails(home, order)) > 1 else None, what="the reminder")

    assert first["To"] == BOSS
    assert f"orchestrator lift {order}" in first.get_content()
    assert second["Subject"] == f"Reminder: {first['Subject']}"
    assert orchestrator.suspensions.get(order).reminders == 1


def test_what_waits_is_listed_and_nobody_else_may_answer_it(orchestrator, order):
    with pytest.raises(MayNotResolve):
        orchestrator.suspensions.lift(order)

    (waiting,) = orchestrator.suspensions.list(execution=order)
    assert (waiting.id, waiting.state, waiting.who_may_resolve) == ("2-1", SuspensionState.PENDING, (BOSS,))
    assert orchestrator.get(order).state is ExecutionState.SUSPENDED


# -- embedded services ---------------------------------------------------------------------------------------------


def test_an_answer_brings_the_workers_that_the_rest_needs(tmp_path):
    """The one that asked is gone; a task that is still to run belongs to an executor of its own."""
    definition = flow(
        "office",
        asking(next=[2]),
        task(2, "SubWorkflowExecutorV2Task", takes=calls("elsewhere")),
        parameters=[parameter("approved", "BOOLEAN_VALUE", direction="OUT")],
    )
    called = flow("elsewhere", task(1, "JsonnetMapperTask", executorId="far", takes={"template": "{}"}))
    settings = Settings(home=tmp_path, concurrency=1)
    with Orchestrator(settings) as asker:
        asker.publish(called)
        execution_id = asker.execute(definition, timeout_s=LIMIT_S).id

    with Orchestrator(settings) as answerer:
        answerer.suspensions.lift(execution_id)
        execution = answerer.wait(execution_id, timeout_s=LIMIT_S)

    assert (execution.state, execution.outputs) == (ExecutionState.SUCCEEDED, {"approved": True})


def test_those_who_may_answer_are_told_although_the_workers_end_right_away(tmp_path):
    with Orchestrator(Settings(home=tmp_path, concurrency=1)) as orchestrator:
        execution = orchestrator.execute(approval(to=[BOSS]), timeout_s=LIMIT_S)

    assert [mail["To"] for mail in mails(tmp_path, execution.id)] == [BOSS]


# -- timers --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def system(tmp_path_factory):
    """One worker process of one pool process."""
    with running_system(
        tmp_path_factory.mktemp("system"), database="sqlite", broker_url=redis_url(), concurrency=1
    ) as opened:
        yield opened


def test_whoever_waits_for_an_execution_goes_on_waiting_for_its_timers(system):
    definition = flow("rest", pause(next=[2], seconds=0.2), pause(2, seconds=0.2))

    execution_id = system.submit(definition)
    seen = list(system.client.watch(execution_id, interval_s=0.01, timeout_s=LIMIT_S))

    assert ExecutionState.SUSPENDED in {each.state for each in seen}
    assert seen[-1].state is ExecutionState.SUCCEEDED
    assert system.client.wait(system.submit(definition), timeout_s=LIMIT_S).state is ExecutionState.SUCCEEDED


def test_a_timer_holds_no_worker(system):
    waiting = system.submit(flow("long", pause(seconds=3600)))
    until(lambda: system.client.get(waiting).state is ExecutionState.SUSPENDED, what="the timer")

    other = system.execute(flow("short", task(1, "JsonnetMapperTask", takes={"template": "{}"})))

    assert other.state is ExecutionState.SUCCEEDED
    assert system.live() == []
    with pytest.raises(WaitTimeout, match="is still SUSPENDED"):
        system.client.wait(waiting, timeout_s=0)

    make_due(system.database, waiting, "EXPIRE")

    assert system.client.wait(waiting, timeout_s=LIMIT_S).state is ExecutionState.SUCCEEDED


def test_an_execution_that_waits_for_a_timer_and_for_somebody_is_somebodys_turn(system):
    definition = flow("both", pause(1, seconds=3600), asking(2), starts=[1, 2])

    assert system.client.wait(system.submit(definition), timeout_s=LIMIT_S).state is ExecutionState.SUSPENDED


# -- notices -------------------------------------------------------------------------------------------------------


def test_a_notice_leaves_no_result_and_no_message_behind(system):
    execution_id = system.submit(approval(to=[BOSS]))

    until(lambda: mails(system.settings.home, execution_id), what="the mail")
    system.client.suspensions.lift(execution_id, actor=BOSS)
    system.wait(execution_id)

    assert system.rows(sa.select(celery_results)) == []
    assert system.rows(sa.select(timers).where(timers.c.execution_id == execution_id)) == []
    assert len(mails(system.settings.home, execution_id)) == 1


def test_a_mail_server_that_does_not_answer_changes_nothing(tmp_path):
    """Port 9 of this host refuses connections."""
    settings = Settings(home=tmp_path, concurrency=1, smtp_host="127.0.0.1", smtp_port=9)
    with Orchestrator(settings) as orchestrator:
        execution_id = orchestrator.execute(approval(to=[BOSS]), timeout_s=LIMIT_S).id
        store = orchestrator._open().services.suspensions
        until(lambda: not store.owes_notices([execution_id]), what="the attempt to mail")
        orchestrator.suspensions.lift(execution_id, actor=BOSS)
        execution = orchestrator.wait(execution_id, timeout_s=LIMIT_S)

    assert execution.state is ExecutionState.SUCCEEDED
    assert "notice not given" in (tmp_path / "log" / "worker-default.log").read_text()


# -- the command line ----------------------------------------------------------------------------------------------


@pytest.fixture
def typed(tmp_path):
    """Type a command, in a folder and a home of its own; ``more`` are variables of the environment."""
    inherited = {key: value for key, value in os.environ.items() if not key.startswith("ORCHESTRATOR_")}

    def run(*arguments, **more):
        return subprocess.run(
            [COMMAND, *map(str, arguments)],
            cwd=tmp_path,
            env=inherited | {"ORCHESTRATOR_HOME": str(tmp_path / "home"), "USER": "ann", "LOGNAME": "ann"} | more,
            capture_output=True,
            text=True,
            timeout=COMMAND_LIMIT_S,
            check=False,
        )

    return run


def write(folder, definition):
    (folder / "flow.json").write_text(json.dumps(definition))


def waiting_of(typed, **more):
    """The lines of ``orchestrator suspensions``, in columns."""
    return [line.split("\t") for line in typed("suspensions", **more).stdout.splitlines()]


def test_an_approval_is_run_listed_lifted_and_gone_on_with(typed, tmp_path):
    write(tmp_path, approval(to=[BOSS], customMessage="Pay?"))
    ran = typed("run", "flow.json")
    ((execution_id, name, state, *_, who, message),) = waiting_of(typed)
    refused = typed("lift", execution_id)
    lifted = typed("lift", execution_id, "--actor", BOSS)
    again = typed("lift", execution_id, "--actor", BOSS)

    assert (ran.returncode, ran.stdout.splitlines()[-1]) == (
        4,
        "task 1 'SuspensionTask' waits for a person or an outside system",
    )
    assert f"orchestrator lift {execution_id}" in ran.stderr
    assert (name, state, who, message) == ("1-1", "PENDING", BOSS, "Pay?")
    assert (refused.returncode, refused.stdout) == (2, "")
    assert f"'ann' may not answer this suspension; these may: {BOSS}" in refused.stderr
    assert lifted.returncode == 0, lifted.stderr
    assert 'text = "paid"' in lifted.stdout
    assert f"suspension 1-1 of execution {execution_id}: LIFTED by {BOSS}" in lifted.stderr
    assert again.returncode == 1
    assert f"was LIFTED by {BOSS} at " in again.stderr
    assert waiting_of(typed) == []


def test_a_wait_that_is_rejected_fails_the_command(typed, tmp_path):
    write(tmp_path, flow("wait", task(1, "SuspensionTask")))
    typed("run", "flow.json")
    ((execution_id, *_),) = waiting_of(typed)

    done = typed("resolve", execution_id, "--reject", "--json")

    assert done.returncode == 1
    document = json.loads(done.stdout)
    assert document["executionDetails"]["state"] == "FAILED"
    assert "rejected by ann" in document["responseParameters"]["ErrorInfo"]["jsonValue"]


def test_a_second_question_ends_the_command_again_and_a_result_is_json(typed, tmp_path):
    outputs = [
        parameter("approved", "BOOLEAN_VALUE", direction="OUT"),
        parameter("size", "JSON_VALUE", direction="OUT"),
    ]
    second = task(2, "SuspensionTask", takes={"suspensionResult": "$size$"})
    write(tmp_path, flow("two", asking(next=[2]), second, parameters=outputs))
    typed("run", "flow.json")
    ((execution_id, *_),) = waiting_of(typed)

    first = typed("resolve", execution_id, "--lift")
    wrong = typed("lift", execution_id, "--result", "L")
    last = typed("lift", execution_id, "--task", "2", "--result", '{"size": "L"}')

    assert first.returncode == 4
    assert (wrong.returncode, "a text stands in quotes" in wrong.stderr) == (2, True)
    assert last.returncode == 0
    assert 'size = {"size": "L"}' in last.stdout


def test_the_parent_goes_on_when_its_sub_execution_is_answered(typed, tmp_path):
    parent = flow("parent", task(1, "SubWorkflowExecutorV2Task", takes=calls("approval", executionMode="SYNC")))
    with Orchestrator(Settings(home=tmp_path / "home", concurrency=1)) as orchestrator:
        orchestrator.publish(approval())
        orchestrator.submit(parent)
        (waiting,) = until(orchestrator.suspensions.list, what="the question")

    lifted = typed("lift", waiting.execution_id)

    assert lifted.returncode == 0, lifted.stderr
    assert "execution of 'parent' SUCCEEDED" in lifted.stdout


def test_with_a_configured_broker_the_answer_is_given_and_the_workers_go_on(system, typed):
    settings = system.settings
    env = {"ORCHESTRATOR_BROKER_URL": settings.broker_url, "ORCHESTRATOR_DATABASE_URL": settings.database_url}
    execution_id = system.submit(approval())
    system.wait(execution_id)

    done = typed("lift", execution_id, "--actor", "bob", **env)

    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr == f"suspension 1-1 of execution {execution_id}: LIFTED by bob\n"
    assert system.wait(execution_id).state is ExecutionState.SUCCEEDED


def test_suspensions_are_listed_as_one_document_or_with_those_that_are_over(system, typed):
    settings = system.settings
    env = {"ORCHESTRATOR_BROKER_URL": settings.broker_url, "ORCHESTRATOR_DATABASE_URL": settings.database_url}
    paused, asked = system.submit(flow("long", pause(seconds=3600))), system.submit(approval())
    until(lambda: system.client.get(paused).state is ExecutionState.SUSPENDED, what="the timer")
    system.wait(asked)

    waiting = json.loads(typed("suspensions", "--json", **env).stdout)["suspensions"]
    everything = typed("suspensions", "--all", **env).stdout

    assert asked in {each["execution"] for each in waiting}
    assert paused not in {each["execution"] for each in waiting}
    assert re.search(rf"^{paused}\t1-1\tPENDING\t", everything, re.MULTILINE)


def test_a_home_where_nothing_ran_has_no_suspension_and_gets_no_database(typed, tmp_path):
    listed, lifted = typed("suspensions"), typed("lift", "nobody")

    assert (listed.returncode, listed.stdout, listed.stderr) == (0, "", "nothing waits for an answer\n")
    assert (lifted.returncode, "there is no execution 'nobody'" in lifted.stderr) == (1, True)
    assert not (tmp_path / "home").exists()
