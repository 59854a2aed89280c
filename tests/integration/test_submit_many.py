"""Many executions at once through real workers: by the Python API, by the command, and against a queue that is full."""

import json
from concurrent.futures import ThreadPoolExecutor

import pytest
import sqlalchemy as sa
from typer.testing import CliRunner

from orchestrator import Orchestrator
from orchestrator.cli import app
from orchestrator.errors import InvalidItem, QueueFull
from orchestrator.model.states import ExecutionState
from orchestrator.runtime.app import bootstrap
from orchestrator.settings import Settings
from orchestrator.store.rows import load_parameters
from orchestrator.store.tables import executions
from tests.flows import flow, parameter, task
from tests.integration.steering import INCLUDE, Steering
from tests.integration.system import running_system
from tests.integration.waiting import until
from tests.services import rabbitmq_url, redis_url

pytestmark = pytest.mark.services

COUNT = 300
LIMIT = 3
SUCCEEDED = ExecutionState.SUCCEEDED.value
CONCURRENCY = 2
SERVICES = [("sqlite", redis_url), ("postgres", redis_url), ("postgres", rabbitmq_url)]
ROUND = flow(
    "round",
    task(1, "tests.nothing", next=[2]),
    task(2, "billing.round", takes={"amount": "$amount$"}),
    parameters=[
        parameter("amount", "DOUBLE_VALUE", direction="IN"),
        parameter("rounded", "DOUBLE_VALUE", direction="OUT"),
    ],
)


@pytest.fixture(scope="module", params=SERVICES, ids=["sqlite-redis", "postgres-redis", "postgres-rabbitmq"])
def system(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("system")
    database, broker_url = request.param
    with running_system(
        folder, database=database, broker_url=broker_url(), include=INCLUDE, concurrency=CONCURRENCY
    ) as running:
        running.client.publish(ROUND)
        yield running
        assert running.live() == [], "a test left something going on"


@pytest.fixture
def typed(system, monkeypatch):
    """Type a command as somebody with the system's settings would."""
    for name, value in system.settings.to_environment().items():
        monkeypatch.setenv(name, value)

    def invoke(*arguments, said=None):
        return CliRunner().invoke(app, [*map(str, arguments)], input=said)

    return invoke


def outputs(system, ids):
    """What these executions put out, once all of them have SUCCEEDED."""
    these = sa.select(executions.c.id, executions.c.state, executions.c.response).where(executions.c.id.in_(ids))

    def all_over():
        found = system.rows(these)
        return found if {row.state for row in found} == {SUCCEEDED} else None

    responses = {row.id: load_parameters(row.response) for row in until(all_over, within_s=60, what="the end of all")}
    return [responses[each]["rounded"].data for each in ids]


def count(system):
    return system.rows(sa.select(sa.func.count()).select_from(executions))[0][0]


# -- from Python ---------------------------------------------------------------------------------------------------


def test_a_few_hundred_run_each_with_its_own_input(system):
    ids = system.client.submit_many(
        "round", ({"amount": number + 0.25} for number in range(COUNT)), executor=system.executor
    )

    assert len(set(ids)) == COUNT
    assert outputs(system, ids) == list(range(COUNT))


def test_a_definition_is_published_only_if_every_input_fits(system):
    other = ROUND | {"name": "other", "triggerConfigs": flow("other")["triggerConfigs"]}

    with pytest.raises(InvalidItem, match=r"inputs\[1\]: parameter 'amount'"):
        system.client.submit_many(other, [{"amount": 1}, {"amount": "x"}], executor=system.executor)

    assert "other" not in {row.integration for row in system.rows(sa.select(executions.c.integration))}
    ids = system.client.submit_many(other, [{"amount": 1}, {"amount": 2}], executor=system.executor)
    assert outputs(system, ids) == [1, 2]


def test_without_a_broker_it_brings_its_own_workers(tmp_path):
    with Orchestrator(Settings(home=tmp_path / "home", include=INCLUDE)) as orchestrator:
        ids = orchestrator.submit_many(ROUND, [{"amount": 1.4}, {"amount": 1.6}])
        ends = [orchestrator.wait(each, timeout_s=30).outputs for each in ids]

    assert ends == [{"rounded": 1.0}, {"rounded": 2.0}]


# -- by the command ------------------------------------------------------------------------------------------------


def lines(*inputs):
    return "".join(f"{json.dumps(each)}\n" for each in inputs)


def test_the_command_starts_one_for_each_line_and_prints_the_ids_in_order(system, typed, tmp_path):
    file = tmp_path / "amounts.jsonl"
    file.write_text("\ufeff" + lines({"amount": 1.2}, {"amount": "2.2"}) + "\r\n\n" + lines({}))

    done = typed("submit", "round", "--each", file, "--param", "amount=3.2", "--executor", system.executor)

    assert done.exit_code == 0, done.output
    assert outputs(system, done.stdout.split()) == [1, 2, 3]


def test_the_command_given_again_with_its_request_id_starts_only_what_is_missing(system, typed):
    arguments = ("submit", "round", "--each", "-", "--request-id", "again", "--executor", system.executor)
    first = typed(*arguments, said=lines({"amount": 1}, {"amount": 2})).stdout.split()

    again = typed(*arguments, said=lines({"amount": 1}, {"amount": 2}, {"amount": 3})).stdout.split()

    assert again[:2] == first
    assert outputs(system, again) == [1, 2, 3]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ('{"amount": 1', "line 2: found column 13: not JSON: "),
        ("amount: 1", "line 2: found 'amount: 1', expected a JSON object of parameters"),
        ("[1]", "line 2: found column 1: found a list, expected an object"),
        ('{"amount": 1, "amount": 2}', "line 2: found column "),
        ('{"amount": NaN}', "line 2: found column "),
        ('{"amount": "much"}', "line 2: parameter 'amount': found str 'much', expected a number"),
        ('{"amuont": 1}', "line 2: there is no parameter 'amuont'"),
    ],
)
def test_a_bad_line_is_refused_with_its_number_and_nothing_is_stored(system, typed, line, reason):
    before = count(system)

    done = typed("submit", "round", "--each", "-", said=f'{{"amount": 1}}\n{line}\n{{"amount": 3}}\n')

    assert (done.exit_code, done.stdout) == (2, "")
    assert f"error: stdin, {reason}" in done.stderr
    assert count(system) == before


def test_a_file_that_is_not_there_and_an_id_for_many_are_refused(typed, tmp_path):
    missing = typed("submit", "round", "--each", tmp_path / "nowhere.jsonl")
    named = typed("submit", "round", "--each", "-", "--id", "mine", said="{}")

    assert (missing.exit_code, named.exit_code) == (2, 2)
    assert "nowhere.jsonl: found nothing to read (No such file or directory)" in missing.stderr
    assert "--id: found --each as well" in named.stderr


# -- a full queue --------------------------------------------------------------------------------------------------


@pytest.fixture
def full(system, tmp_path):
    """All processes of the worker are held, and as many executions wait as may; let them go by ``steering.go``."""
    steering = Steering(system, tmp_path)
    held = [
        system.submit(flow(f"held-{number}", steering.task(1, "hold", label=f"held-{number}")))
        for number in range(CONCURRENCY)
    ]
    for number in range(CONCURRENCY):
        steering.wait_for(f"held-{number}")
    waiting = system.client.submit_many("round", [{"amount": 1}] * LIMIT, executor=system.executor)
    publisher = bootstrap(system.settings, raises=True).services.publisher
    # A worker whose tasks were quick so far has fetched them, and gives them back as it cannot begin them.
    until(lambda: publisher.depth(system.executor) == LIMIT, what="a full queue")
    yield steering
    for number in range(CONCURRENCY):
        steering.go(f"held-{number}")
    for each in (*held, *waiting):
        system.wait(each)


@pytest.fixture
def limited(system):
    with Orchestrator(system.settings.replaced(max_queue_depth=LIMIT)) as client:
        yield client


def test_the_broker_says_how_many_wait(system, full):
    publisher = bootstrap(system.settings, raises=True).services.publisher

    assert publisher.depth(system.executor) == LIMIT


def test_a_queue_that_is_full_refuses_and_takes_again_when_workers_go_on(system, full, limited):
    before = count(system)
    for submit in (
        lambda: limited.submit("round", {"amount": 1}, executor=system.executor),
        lambda: limited.submit_many("round", [{"amount": 1}] * 2, executor=system.executor, wait_s=0.1),
    ):
        with pytest.raises(QueueFull, match=f"{LIMIT} messages wait for executor '{system.executor}'"):
            submit()
    assert count(system) == before

    with ThreadPoolExecutor(1) as pool:
        inputs = [{"amount": number} for number in range(4 * LIMIT)]
        waits = pool.submit(limited.submit_many, "round", inputs, executor=system.executor, wait_s=60)
        for number in range(CONCURRENCY):
            full.go(f"held-{number}")
        ids = waits.result()

    assert outputs(system, ids) == list(range(4 * LIMIT))


def test_the_command_is_refused_as_well_and_says_what_to_do(system, full, typed, monkeypatch):
    monkeypatch.setenv("ORCHESTRATOR_MAX_QUEUE_DEPTH", str(LIMIT))

    done = typed("submit", "round", "--param", "amount=1", "--executor", system.executor, "--wait", "0.1")

    assert (done.exit_code, done.stdout) == (2, "")
    assert f"and ORCHESTRATOR_MAX_QUEUE_DEPTH is {LIMIT}: submit later, wait for room (--wait SECONDS" in done.stderr
