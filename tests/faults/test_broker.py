"""Faults of the broker: it forgets, remembers too much, is full, goes away, or the way to it is cut."""

import uuid
from functools import partial

import pytest

from orchestrator import Orchestrator
from orchestrator.errors import Unreachable
from orchestrator.model.states import ExecutionState
from tests.faults.flows import chain, fan_out, held
from tests.faults.proxy import TO_CLIENT, Proxy
from tests.faults.rig import running_rig
from tests.faults.servers import PrivateRedis
from tests.flows import flow
from tests.integration.waiting import until

pytestmark = pytest.mark.services


@pytest.fixture
def rig(sqlite_rig):
    """With one worker of two processes; what a test leaves comes to its end, and the books are right."""
    if not sqlite_rig.workers:
        sqlite_rig.start_worker().wait_until_ready()
    sqlite_rig.supervise()
    yield sqlite_rig
    sqlite_rig.check()


@pytest.fixture
def label():
    return uuid.uuid4().hex[:8]


def load(rig, count=6):
    """Executions that go on for some seconds."""
    return [rig.submit(chain(rig, "load", 4, does="sleep:0.1")) for _ in range(count)]


def wait_for_some(rig, count=4):
    """Until some tasks more have had their effect."""
    before = len(rig.ledger.lines())
    until(lambda: len(rig.ledger.lines()) >= before + count, what="some effects")


# -- Redis forgets -------------------------------------------------------------------------------------------------


def test_a_redis_that_forgets_everything_amid_a_chord_loses_no_execution(rig, redis_server, label):
    execution_id = rig.submit(fan_out(rig, f"flushed-{label}", 8, does="hold"))
    rig.ledger.wait_for(f"flushed-{label}-child", tries=2)

    with redis_server.client() as client:
        client.flushall()
    rig.ledger.let_go(f"flushed-{label}-child")
    execution = rig.wait(execution_id)

    assert execution.state is ExecutionState.SUCCEEDED
    assert len(rig.ledger.lines(f"flushed-{label}-child")) == 8


def test_a_redis_that_is_killed_and_comes_back_empty_loses_no_execution(rig, redis_server):
    ids = load(rig)
    wait_for_some(rig)

    redis_server.kill()
    redis_server.start()
    states = {rig.wait(each).state for each in ids}

    assert states == {ExecutionState.SUCCEEDED}


# -- Redis remembers -----------------------------------------------------------------------------------------------


@pytest.fixture
def kept_rig(tmp_path):
    """A rig on a Redis that keeps what it is told."""
    with PrivateRedis(tmp_path / "redis", keeps=True) as server:
        urls = {"broker_url": server.url(), "database_url": f"sqlite:///{tmp_path}/test.db"}
        with running_rig(tmp_path, **urls) as rig:
            rig.server = server
            yield rig
            rig.check()


def test_messages_that_a_redis_has_kept_twice_do_not_disturb_what_runs(kept_rig, label):
    """An old file comes back: in it, what runs now still waits. (Airflow marked the running task as failed.)"""
    rig = kept_rig
    ids = [rig.submit(held(rig, "kept", label)) for _ in range(2)]
    rig.server.kill()
    old = {each: each.read_bytes() for each in rig.server.folder.rglob("*.aof")}
    rig.server.start()
    rig.start_worker(concurrency=4)
    rig.ledger.wait_for(label, tries=2)

    rig.server.kill()
    for path, content in old.items():
        path.write_bytes(content)
    rig.server.start()
    assert rig.execute(flow("beside", rig.ledger.task(1))).state is ExecutionState.SUCCEEDED
    rig.ledger.let_go(label)
    states = {rig.wait(each).state for each in ids}

    assert states == {ExecutionState.SUCCEEDED}
    assert len(rig.ledger.lines(label)) == 2


# -- Redis is full -------------------------------------------------------------------------------------------------


def test_a_redis_that_is_full_refuses_and_what_was_stored_runs_later(rig, redis_server, label):
    with redis_server.client() as client:
        client.config_set("maxmemory", 1)
        try:
            with pytest.raises(Unreachable, match="broker"):
                rig.submit(flow("full", rig.ledger.task(1, label=label)), execution_id=f"full-{label}")
        finally:
            client.config_set("maxmemory", 0)
    rig.expected[f"full-{label}"] = {"SUCCEEDED"}

    execution = rig.wait(f"full-{label}")

    assert execution.state is ExecutionState.SUCCEEDED
    assert len(rig.ledger.lines(label)) == 1


def test_a_worker_that_cannot_publish_commits_all_the_same(rig, redis_server, label):
    execution_id = rig.submit(held(rig, "full-later", label))
    rig.ledger.wait_for(label)

    with redis_server.client() as client:
        client.config_set("maxmemory", 1)
        rig.ledger.let_go(label)
        until(lambda: rig.kinds(execution_id, 1) == ["task succeeded"], what="the commit")
        client.config_set("maxmemory", 0)
    execution = rig.wait(execution_id)

    assert execution.state is ExecutionState.SUCCEEDED


# -- the way to it -------------------------------------------------------------------------------------------------


@pytest.fixture
def cut_off(rig, redis_server):
    """A worker that reaches the broker through a proxy, and no other one."""
    rig.dismiss_all()
    with Proxy(redis_server.port) as proxy:
        rig.start_worker(broker_url=redis_server.url(proxy.port)).wait_until_ready()
        yield proxy
        rig.dismiss_all()


@pytest.mark.parametrize("how", ["reset", "half_close", "hold", "hold to client"])
def test_a_worker_that_is_cut_off_from_its_broker_goes_on_when_it_is_not(rig, cut_off, how):
    ids = load(rig)
    wait_for_some(rig)

    breaks = {"hold": cut_off.hold, "hold to client": partial(cut_off.hold, TO_CLIENT)}
    breaks.get(how, getattr(cut_off, how, None))()
    later = rig.submit(chain(rig, "later", 2))
    cut_off.let_pass()
    states = {rig.wait(each, supervised=False).state for each in [*ids, later]}

    assert states == {ExecutionState.SUCCEEDED}


def test_a_worker_keeps_what_it_runs_while_the_broker_refuses_it(rig, cut_off, label):
    execution_id = rig.submit(held(rig, "refused", label))
    rig.ledger.wait_for(label)
    (worker,) = rig.workers

    cut_off.refuse()
    until(lambda: worker.says("Cannot connect"), what="a worker that looks for its broker")
    rig.ledger.let_go(label)
    until(lambda: rig.kinds(execution_id, 1) == ["task succeeded"], what="the commit")
    cut_off.let_pass()
    execution = rig.wait(execution_id, supervised=False)

    assert execution.state is ExecutionState.SUCCEEDED
    assert len(rig.ledger.lines(label)) == 1


def test_a_client_whose_broker_does_not_answer_is_told_so_and_its_execution_runs_later(rig, redis_server, label):
    with Proxy(redis_server.port) as proxy:
        proxy.hold()
        settings = rig.settings.replaced(broker_url=redis_server.url(proxy.port))
        with Orchestrator(settings) as client, pytest.raises(Unreachable, match="broker"):
            client.submit(flow("unsent", rig.ledger.task(1)), executor=rig.executor, execution_id=f"unsent-{label}")
    rig.expected[f"unsent-{label}"] = {"SUCCEEDED"}

    assert rig.wait(f"unsent-{label}").state is ExecutionState.SUCCEEDED


# -- RabbitMQ ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def rabbit_module(tmp_path_factory, rabbit_server):
    folder = tmp_path_factory.mktemp("rabbit-rig")
    urls = {"broker_url": rabbit_server.url(), "database_url": f"sqlite:///{folder}/test.db"}
    with running_rig(folder, **urls, workers=1) as rig:
        yield rig


@pytest.fixture
def rabbit_rig(rabbit_module):
    rabbit_module.supervise()
    yield rabbit_module
    rabbit_module.check()


def test_with_rabbitmq_another_worker_goes_on_with_what_a_killed_one_ran(rabbit_rig, label):
    rig = rabbit_rig
    execution_id = rig.submit(held(rig, "moved", label))
    rig.ledger.wait_for(label)

    rig.workers[0].kill()
    rig.supervise()
    rig.ledger.wait_for(label, tries=2)
    rig.ledger.let_go(label)

    assert rig.wait(execution_id).state is ExecutionState.SUCCEEDED


def test_a_rabbitmq_that_stops_and_starts_again_doubles_nothing(rabbit_rig, rabbit_server):
    """It delivers again what was not acknowledged, also what still runs."""
    rig = rabbit_rig
    ids = load(rig)
    wait_for_some(rig)

    rabbit_server.control("stop_app")
    rabbit_server.control("start_app")
    states = {rig.wait(each).state for each in ids}

    assert states == {ExecutionState.SUCCEEDED}


def test_what_was_in_a_queue_that_is_deleted_is_sent_again(rabbit_rig, rabbit_server, label):
    rig = rabbit_rig
    execution_id = rig.submit(fan_out(rig, f"deleted-{label}", 8, does="hold"))
    rig.ledger.wait_for(f"deleted-{label}-child", tries=2)

    rabbit_server.control("delete_queue", rig.queue)
    rig.ledger.let_go(f"deleted-{label}-child")
    execution = rig.wait(execution_id)

    assert execution.state is ExecutionState.SUCCEEDED


def test_a_message_that_rabbitmq_refuses_is_told_and_sent_again(rabbit_rig, rabbit_server, label):
    rig = rabbit_rig
    rig.dismiss_all()
    full = '{"max-length": 1, "overflow": "reject-publish"}'
    rig.submit(flow("first", rig.ledger.task(1)))
    rabbit_server.control("set_policy", "full", r"^executor\.", full, "--apply-to", "queues")
    try:
        with pytest.raises(Unreachable, match="broker"):
            rig.submit(flow("refused", rig.ledger.task(1)), execution_id=f"refused-{label}")
    finally:
        rabbit_server.control("clear_policy", "full")
    rig.expected[f"refused-{label}"] = {"SUCCEEDED"}
    rig.start_worker()

    assert rig.wait(f"refused-{label}").state is ExecutionState.SUCCEEDED
