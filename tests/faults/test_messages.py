"""Bad messages: garbage, strangers' messages, doubles, those that come too early or from another release."""

import json
import uuid

import pytest
import sqlalchemy as sa
from kombu import Connection, Queue

from orchestrator.engine.canvas import CHUNK_TASK, JOIN_TASK, to_celery_id
from orchestrator.model.states import ExecutionState
from orchestrator.store.tables import history
from tests.faults.flows import chain, held
from tests.flows import flow, parameter
from tests.integration.waiting import until

pytestmark = pytest.mark.services

EFFECT = "faults.effect"


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


def send(rig, *arguments, task=EFFECT, task_id=None, body=None, **more):
    """A Celery message to the rig's queue, in whatever way it is wrong."""
    headers = {
        "task": task,
        "id": task_id or uuid.uuid4().hex,
        "lang": "py",
        "argsrepr": "()",
        **more.pop("headers", {}),
    }
    content = json.dumps([list(arguments), {}, {}]) if body is None else body
    message = {"content_type": "application/json", "content_encoding": "utf-8", **more}
    with Connection(rig.settings.broker_url) as connection, connection.Producer() as producer:
        queue = Queue(rig.queue, routing_key=rig.queue, max_priority=9)
        producer.publish(content, routing_key=rig.queue, declare=[queue], headers=headers, serializer=None, **message)


BAD = {
    "no ids": {},
    "too few ids": {"arguments": ["x", 1]},
    "ids of the wrong kind": {"arguments": [{"a": 1}, "one", None, []]},
    "an execution that never was": {"arguments": ["00000000-0000-7000-8000-000000000000", 1, 1, 0]},
    "a chunk without its position": {"task": CHUNK_TASK, "arguments": ["x", 1, 1, 1]},
    "a chunk that never was": {"task": CHUNK_TASK, "arguments": ["00000000-0000-7000-8000-000000000000", 1, 1, 1, 0]},
    "a text that is no JSON": {"body": "{not json"},
    "a list of the wrong shape": {"body": "[1, 2]"},
    "a pickle": {"body": b"\x80\x04N.", "content_type": "application/x-python-serialize", "content_encoding": "binary"},
    "a content type that nobody knows": {"content_type": "application/x-unheard-of"},
    "a time that is none": {"arguments": ["x", 1, 1, 0], "headers": {"eta": "tomorrow, perhaps"}},
    "a task that nobody knows": {"task": "tests.unheard-of", "arguments": ["x", 1, 1, 0]},
    "a task that nobody knows, and an id of ours": {
        "task": "tests.unheard-of",
        "arguments": ["x", 1, 1, 0],
        "task_id": to_celery_id("00000000-0000-7000-8000-000000000000", 1, 1),
    },
    "no task": {"headers": {"task": None}},
}


@pytest.mark.parametrize("wrong", BAD)
def test_a_bad_message_is_dropped_and_disturbs_nobody(rig, wrong):
    (worker,) = rig.workers
    sent = dict(BAD[wrong])

    send(rig, *sent.pop("arguments", []), **sent)
    execution = rig.execute(chain(rig, "beside", 2), supervised=False)

    assert execution.state is ExecutionState.SUCCEEDED
    assert worker.is_alive()


def test_garbage_in_redis_ends_a_worker_and_costs_the_others_nothing(rig, redis_server):
    """Celery's worker gives up at what is no message at all; the next one finds it gone."""
    rig.start_worker().wait_until_ready()
    ids = [rig.submit(chain(rig, "garbage", 3, does="sleep:0.1")) for _ in range(4)]

    with redis_server.client() as client:
        client.lpush(rig.queue, "garbage", "{}", "[]")
    states = {rig.wait(each).state for each in ids}

    assert states == {ExecutionState.SUCCEEDED}
    while len(rig.workers) > 1:
        rig.dismiss(rig.workers[0])


@pytest.mark.parametrize("kind", ["run", "join"])
def test_a_message_that_comes_ten_times_has_one_effect(rig, label, kind):
    execution_id = rig.submit(held(rig, "doubled", label))
    rig.ledger.wait_for(label)

    for _ in range(10):
        send(rig, execution_id, 1, 1, int(kind == "join"), task=JOIN_TASK if kind == "join" else EFFECT)
    rig.ledger.let_go(label)
    execution = rig.wait(execution_id)

    assert execution.state is ExecutionState.SUCCEEDED
    assert len(rig.ledger.lines(label)) == 1


def test_a_message_that_comes_before_its_task_is_ready_is_dropped_and_the_task_runs_in_its_turn(rig, label):
    definition = flow(
        "early", rig.ledger.task(1, "hold", label=label, next=[2]), rig.ledger.task(2, label=f"{label}-2")
    )
    execution_id = rig.submit(definition)
    rig.ledger.wait_for(label)

    send(rig, execution_id, 2, 1, 0, task_id=to_celery_id(execution_id, 2, 1))
    rig.execute(chain(rig, "behind", 1))
    early = rig.ledger.lines(f"{label}-2")
    rig.ledger.let_go(label)
    execution = rig.wait(execution_id)

    assert early == []
    assert execution.state is ExecutionState.SUCCEEDED
    assert len(rig.ledger.lines(f"{label}-2")) == 1


# -- releases ------------------------------------------------------------------------------------------------------


def test_a_message_of_an_older_release_is_obeyed(rig, label):
    """As the first release wrote it; it must not change but by keeping this one readable."""
    rig.dismiss_all()
    execution_id = rig.submit(flow("older", rig.ledger.task(1, label=label)))
    with Connection(rig.settings.broker_url) as connection:
        connection.default_channel.queue_purge(rig.queue)

    send(rig, execution_id, 1, 1, 0, task_id=f"{execution_id}.1.1")
    rig.start_worker()
    execution = rig.wait(execution_id)

    assert execution.state is ExecutionState.SUCCEEDED


def test_a_task_type_of_a_newer_release_fails_its_task_with_the_remedy_and_nothing_waits_for_ever(rig):
    rig.client.publish(flow("newer", rig.ledger.task(1)))
    rig.dismiss_all()
    worker = rig.start_worker(include=())

    execution = rig.execute("newer", ends=[ExecutionState.FAILED], supervised=False)
    rig.dismiss(worker)

    assert execution.error.code == "TASK_NOT_FOUND"
    assert "--include" in execution.error.message


# -- sizes ---------------------------------------------------------------------------------------------------------


def messages_in(client, queue):
    """Their sizes in bytes, whatever their priority."""
    return [len(each) for key in client.scan_iter(f"{queue}*") for each in client.lrange(key, 0, -1)]


def test_a_message_is_as_small_whatever_the_parameters_and_however_long_the_chain(rig, redis_server, label):
    rig.dismiss_all()
    big = flow("big", *chain(rig, "big", 300)["taskConfigs"], parameters=[parameter("text", direction="IN")])
    with redis_server.client() as client:
        ids = [rig.submit(flow("small", rig.ledger.task(1)))]
        (small,) = messages_in(client, rig.queue)
        ids.append(rig.submit(big, {"text": "x" * 1_000_000}, ends=[ExecutionState.CANCELLED]))
        sizes = messages_in(client, rig.queue)
    rig.client.kill(ids[1])
    rig.start_worker()
    rig.wait(ids[0])

    assert sizes == [small] * 2
    assert small < 4000


def test_a_parameter_of_a_megabyte_comes_through_and_history_keeps_it_once(rig):
    text = "x" * 1_000_000
    document = flow("heavy", rig.ledger.task(1), parameters=[parameter("text", direction="IN_OUT")])

    execution = rig.execute(document, {"text": text})

    assert execution.outputs["text"] == text
    sizes = rig.rows(sa.select(sa.func.length(history.c.entry)).where(history.c.execution_id == execution.id))
    assert sum(size for (size,) in sizes) < 1_000_000


def test_the_queue_is_empty_when_everything_is_over(rig, redis_server):
    rig.settle()

    with redis_server.client() as client:
        until(lambda: messages_in(client, rig.queue) == [], what="an empty queue")
