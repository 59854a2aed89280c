"""What we publish is what Celery's own ``apply_async`` and ``chord`` would have sent, on every kind of broker."""

import base64
import json
import uuid
from contextlib import contextmanager, nullcontext
from itertools import chain

import pytest
from celery import chord as celery_chord
from celery import signals
from celery._state import _task_stack

from orchestrator.engine.canvas import BUNDLE_TASK, JOIN_TASK, NOTIFY_TASK, Chord, Message
from orchestrator.errors import Unreachable
from orchestrator.runtime import redis_messages
from orchestrator.runtime.app import bootstrap
from orchestrator.settings import Settings
from tests.services import rabbitmq_url, redis_url

EXECUTION = "0198e7a0-0000-7000-8000-000000000001"
BROKERS = [
    pytest.param(lambda _: redis_url(), marks=pytest.mark.services, id="redis"),
    pytest.param(lambda _: rabbitmq_url(), marks=pytest.mark.services, id="rabbitmq"),
    pytest.param(lambda folder: f"filesystem://{folder}", id="file"),
]


@pytest.fixture(params=BROKERS)
def runtime(request, tmp_path):
    url = request.param(tmp_path)
    settings = Settings(broker_url=url, database_url=f"sqlite:///{tmp_path}/store.db")
    made = bootstrap(settings, raises=True)
    made.database.upgrade()
    yield made
    made.app.close()
    made.database.close()


@pytest.fixture
def executor():
    return f"published-{uuid.uuid4().hex[:8]}"


def message(executor, number, phase=0, name="tests.noop", **more):
    return Message(name=name, execution_id=EXECUTION, number=number, attempt=1, round=phase, executor=executor, **more)


def as_celery_sends_it(app, each):
    """The same, by Celery's own means."""

    def signature(one):
        is_amqp = str(app.conf.broker_url).startswith("amqp")
        return app.signature(
            one.name,
            args=one.arguments,
            immutable=True,
            task_id=one.celery_id,
            queue=one.queue,
            priority=one.priority if is_amqp else 9 - one.priority,
        )

    if isinstance(each, Message):
        signature(each).apply_async(add_to_parent=False)
        return
    body = each.body
    members = [signature(member) for member in each.header]
    celery_chord(members, body=signature(body), app=app, task_id=body.celery_id).apply_async(task_id=body.celery_id)


def received(app, executor, count):
    """The messages of the executor's queue, without what is another one each time."""
    found = []
    with app.connection_for_read() as connection, connection.SimpleQueue(app.amqp.queues[f"executor.{executor}"]) as q:
        for _ in range(count):
            one = q.get(timeout=10)
            one.ack()
            properties = {key: value for key, value in one.properties.items() if key != "delivery_tag"}
            text = one.body if isinstance(one.body, str) else bytes(one.body).decode()
            found.append((json.loads(text), one.headers, properties))
        with pytest.raises(q.Empty):
            q.get_nowait()
    return found


@contextmanager
def within(app, task_id, root_id):
    """As in a worker that works on this message."""
    task = app.tasks[JOIN_TASK]
    task.push_request(id=task_id, root_id=root_id)
    _task_stack.push(task)
    try:
        yield
    finally:
        _task_stack.pop()
        task.pop_request()


CASES = {
    "a task": lambda executor: [message(executor, 1)],
    "an urgent one": lambda executor: [message(executor, 1, priority=9), message(executor, 2, priority=0)],
    "a join": lambda executor: [message(executor, 3, 2, JOIN_TASK)],
    "a bundle": lambda executor: [message(executor, 1, name=BUNDLE_TASK)],
    "a notice": lambda executor: [message(executor, 3, 1, NOTIFY_TASK)],
    "a round": lambda executor: [
        Chord(header=[message(executor, number) for number in (4, 5, 6)], body=message(executor, 7, 1, JOIN_TASK))
    ],
}


def count_of(messages):
    return sum(len(each.header) if isinstance(each, Chord) else 1 for each in messages)


@pytest.mark.parametrize("is_in_worker", [False, True], ids=["client", "worker"])
@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_a_message_is_the_one_that_celery_would_send(runtime, executor, case, is_in_worker):
    app, messages = runtime.app, case(executor)
    around = within(app, "the-parent", "the-root") if is_in_worker else nullcontext()

    with around:
        runtime.services.publisher.publish(messages)
        ours = received(app, executor, count_of(messages))
        for each in messages:
            as_celery_sends_it(app, each)
        theirs = received(app, executor, count_of(messages))

    assert ours == theirs


def test_many_are_sent_and_none_is_lost(runtime, executor):
    messages = [message(executor, number) for number in range(1, 301)]

    runtime.services.publisher.publish(messages)

    assert sorted(body[0][1] for body, _, _ in received(runtime.app, executor, 300)) == list(range(1, 301))


# -- on Redis alone, where we write messages ourselves -------------------------------------------------------------

on_redis = pytest.mark.parametrize("runtime", BROKERS[:1], indirect=True)


def written(app, executor):
    """What lies in Redis for the executor, key by key, without what is another one each time; it is gone then."""
    with app.connection_for_write() as connection, connection.channel() as channel:
        keys = [channel._q_for_pri(f"executor.{executor}", step) for step in channel.priority_steps]
        with channel.conn_or_acquire() as client:
            found = {key: [*map(json.loads, client.lrange(key, 0, -1))] for key in keys}
            client.delete(*keys)
    for each in chain.from_iterable(found.values()):
        each["body"] = json.loads(base64.b64decode(each["body"]))
        uuid.UUID(each["properties"].pop("delivery_tag"))
    return found


@on_redis
@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_what_lies_in_redis_is_what_celery_would_write(runtime, executor, case):
    messages = case(executor)

    runtime.services.publisher.publish(messages)
    ours = written(runtime.app, executor)
    for each in messages:
        as_celery_sends_it(runtime.app, each)

    assert ours == written(runtime.app, executor)
    assert sum(map(len, ours.values())) == count_of(messages)


@on_redis
def test_a_queue_is_declared_as_celery_declares_it(runtime, executor):
    other, app = f"{executor}-other", runtime.app

    runtime.services.publisher.publish([message(executor, 1), message(executor, 2)])
    as_celery_sends_it(app, message(other, 1))

    with app.connection_for_write() as connection, connection.channel() as channel:
        ours, theirs = (channel.get_table(f"executor.{each}") for each in (executor, other))
    assert ours == [tuple(each.replace(other, executor) for each in theirs[0])]


@on_redis
def test_more_than_go_out_at_once_keep_their_order(runtime, executor, monkeypatch):
    monkeypatch.setattr(redis_messages, "_MOST_AT_ONCE", 2)
    runtime.services.publisher.publish([message(executor, number) for number in (1, 2, 3, 4, 5)])
    assert [body[0][1] for body, _, _ in received(runtime.app, executor, 5)] == [1, 2, 3, 4, 5]


@on_redis
@pytest.mark.parametrize("signal", [signals.before_task_publish, signals.after_task_publish])
def test_who_listens_hears_of_each_message(runtime, executor, signal):
    heard = []

    def listen(sender, **_):
        heard.append(sender)

    signal.connect(listen)
    try:
        runtime.services.publisher.publish([message(executor, 1), message(executor, 2, name="tests.other")])
    finally:
        signal.disconnect(listen)
    runtime.services.publisher.publish([message(executor, 3)])

    assert heard == ["tests.noop", "tests.other"]
    assert len(received(runtime.app, executor, 3)) == 3


@on_redis
def test_a_connection_that_broke_meanwhile_loses_no_message(runtime, executor):
    runtime.services.publisher.publish([message(executor, 1)])
    with runtime.app.connection_for_write() as connection, connection.channel() as channel:
        channel.client.client_kill_filter(_type="normal", skipme=True)

    runtime.services.publisher.publish([message(executor, 2)])

    assert [body[0][1] for body, _, _ in received(runtime.app, executor, 2)] == [1, 2]


@on_redis
def test_what_redis_refuses_is_said_and_the_next_answer_is_its_own(runtime, executor):
    full, publisher = f"{executor}-full", runtime.services.publisher
    publisher.publish([message(full, 1)])
    with runtime.app.connection_for_write() as connection, connection.channel() as channel:
        channel.client.set(channel._q_for_pri(f"executor.{full}", 0), "no list")

    with pytest.raises(Unreachable, match="WRONGTYPE"):
        publisher.publish([message(full, 1), message(executor, 2)])
    assert len(received(runtime.app, executor, 1)) == 1
    publisher.publish([message(executor, 3)])

    assert [body[0][1] for body, _, _ in received(runtime.app, executor, 1)] == [3]


@on_redis
def test_a_channel_keeps_one_connection_and_a_fork_takes_its_own(runtime, monkeypatch):
    with runtime.app.pool.acquire(block=True) as connection:
        first = redis_messages._connection_of(connection.default_channel)
        assert redis_messages._connection_of(connection.default_channel) is first

        monkeypatch.setattr(first, "pid", first.pid + 1)

        assert redis_messages._connection_of(connection.default_channel) is not first
