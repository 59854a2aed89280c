"""What we publish is what Celery's own ``apply_async`` and ``chord`` would have sent, on every kind of broker."""

import json
import uuid
from contextlib import contextmanager, nullcontext

import pytest
from celery import chord
from celery._state import _task_stack

from orchestrator.engine.canvas import BUNDLE_TASK, JOIN_TASK, NOTIFY_TASK, Chord, Message
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
    chord(members, body=signature(body), app=app, task_id=body.celery_id).apply_async(task_id=body.celery_id)


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
