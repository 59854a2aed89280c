"""Many quick tasks and one that takes long, through real workers: nobody waits behind it, and all run once."""

import pytest
import sqlalchemy as sa

from orchestrator.model.states import ExecutionState
from orchestrator.runtime.app import bootstrap
from orchestrator.store.tables import executions
from tests.flows import flow, parameter, task
from tests.integration.steering import INCLUDE, Steering
from tests.integration.system import running_system
from tests.integration.waiting import until
from tests.services import rabbitmq_url, redis_url

pytestmark = pytest.mark.services

LEARNT, COUNT = 80, 60  # so many quick ones first: then the worker fetches ahead
BROKERS = {"redis": redis_url, "rabbitmq": rabbitmq_url}


ON_REDIS = [("sqlite", "redis"), ("postgres", "redis")]  # RabbitMQ takes two workers of one name on a machine for one


@pytest.fixture(params=[*ON_REDIS, ("postgres", "rabbitmq")])
def steering(request, tmp_path):
    database, broker = request.param
    with running_system(tmp_path, database=database, broker_url=BROKERS[broker](), include=INCLUDE) as running:
        steering = Steering(running, tmp_path)
        run_quick(steering, "learnt", LEARNT)
        yield steering
        assert running.live() == [], "a test left something going on"


def steered(steering):
    takes = {"folder": str(steering.folder), "label": "$label$", "words": "$words$"}
    parameters = [parameter("label", direction="IN"), parameter("words", direction="IN")]
    return flow("steered", task(1, "tests.steered", takes=takes), parameters=parameters)


def submit(steering, given):
    """(label, words) of each."""
    inputs = [{"label": label, "words": words} for label, words in given]
    system = steering.system
    return [*system.client.submit_many(steered(steering), inputs, executor=system.executor)]


def await_all(steering, ids):
    done = sa.select(sa.func.count()).where(executions.c.id.in_(ids), executions.c.state == "SUCCEEDED")
    until(lambda: steering.system.rows(done)[0][0] == len(ids), what="the end of all")


def run_quick(steering, name, count):
    ids = submit(steering, [(f"{name}-{index}", "ok") for index in range(count)])
    await_all(steering, ids)


def quick(name, count=COUNT):
    return [(f"{name}-{index}", "ok") for index in range(count)]


def assert_each_ran_once(steering, given):
    assert {label: len(steering.tries(label)) for label, _ in given} == {label: 1 for label, _ in given}


def test_what_is_behind_a_long_one_runs_elsewhere(steering):
    given = [*quick("before"), ("long", "hold"), *quick("behind")]

    ids = submit(steering, given)
    await_all(steering, ids[:COUNT] + ids[COUNT + 1 :])
    held = steering.system.client.get(ids[COUNT])
    steering.go("long")
    await_all(steering, ids)

    assert held.state is ExecutionState.PROCESSING
    assert_each_ran_once(steering, given)


def submit_with_two_long(steering):
    """Both processes are held, whatever was fetched by then."""
    given = [*quick("before"), ("long-1", "hold"), ("long-2", "hold"), *quick("behind")]
    ids = submit(steering, given)
    until(lambda: steering.tries("long-1") and steering.tries("long-2"), what="both long ones")
    return given, ids


def let_both_go(steering, ids):
    for label in ("long-1", "long-2"):
        steering.go(label)
    await_all(steering, ids)


def test_what_a_worker_cannot_begin_goes_back(steering):
    given, ids = submit_with_two_long(steering)
    system = steering.system
    publisher = bootstrap(system.settings, raises=True).services.publisher

    def is_back():
        return publisher.depth(system.executor) == sum(not steering.tries(label) for label, _ in given)

    until(is_back, what="all that was not begun")
    let_both_go(steering, ids)

    assert_each_ran_once(steering, given)


@pytest.mark.parametrize("steering", ON_REDIS, indirect=True)
def test_what_a_worker_cannot_begin_is_done_by_another_one(steering):
    given, ids = submit_with_two_long(steering)

    steering.system.start_worker()
    await_all(steering, ids[:COUNT] + ids[COUNT + 2 :])
    let_both_go(steering, ids)

    assert_each_ran_once(steering, given)


@pytest.mark.parametrize("steering", ON_REDIS, indirect=True)
def test_a_worker_that_is_told_to_stop_gives_back_what_it_has_not_begun(steering):
    system = steering.system
    given, ids = submit_with_two_long(steering)

    (first,) = system.services.workers
    second = system.start_worker()
    first.process.terminate()
    await_all(steering, ids[:COUNT] + ids[COUNT + 2 :])
    let_both_go(steering, ids)

    assert second.process.poll() is None
    assert_each_ran_once(steering, given)
