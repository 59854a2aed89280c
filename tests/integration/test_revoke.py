"""Celery's revoke, as Flower's buttons send it: a KILL of the task, that is final."""

import pytest

from orchestrator.engine.canvas import to_celery_id
from orchestrator.model.history import EntryKind
from orchestrator.model.states import ExecutionState, TaskState
from orchestrator.runtime.app import bootstrap, make_app
from tests.flows import flow
from tests.integration.steering import INCLUDE, Steering, states
from tests.integration.system import running_system
from tests.services import redis_url

pytestmark = pytest.mark.services


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def system(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("system")
    with running_system(
        folder, database=request.param, broker_url=redis_url(), include=INCLUDE, workers=2, concurrency=1
    ) as running:
        yield running
        assert running.live() == [], "a test left something going on"


@pytest.fixture
def steering(system, tmp_path):
    return Steering(system, tmp_path)


@pytest.fixture(params=["with our app", "with any app"])
def revoke(system, request):
    """As Flower does, and as anybody does who knows the broker alone: then only workers hear it."""
    runtime = bootstrap(system.settings, raises=True) if request.param == "with our app" else None
    app = runtime.app if runtime else make_app(system.settings)
    yield lambda execution_id, number, **more: app.control.revoke(to_celery_id(execution_id, number, 1), **more)
    app.close()
    if runtime:
        runtime.database.close()


def test_a_running_task_is_ended_and_the_rest_goes_on(steering, revoke):
    held, other = steering.task(1, "hold", next=[3]), steering.task(2, next=[3])
    definition = flow("two", held, other, steering.task(3), starts=[1, 2])
    execution_id = steering.system.submit(definition)
    steering.wait_for(1)

    revoke(execution_id, 1, terminate=True)

    execution = steering.system.wait(execution_id)
    assert execution.state is ExecutionState.SUCCEEDED
    assert states(execution) == {1: TaskState.CANCELLED} | dict.fromkeys((2, 3), TaskState.SUCCEED)
    (killed,) = [each for each in steering.entries(execution_id) if each.kind is EntryKind.TASK_KILLED]
    assert (killed.actor, killed.details["message"]) == ("celery", "revoked")


def test_a_queued_task_never_runs(steering, revoke):
    blockers = [steering.system.submit(flow("long", steering.task(1, "hold", label=f"b{each}"))) for each in range(2)]
    for each in range(2):
        steering.wait_for(f"b{each}")
    execution_id = steering.system.submit(flow("one", steering.task(1)))

    revoke(execution_id, 1)
    for each in range(2):
        steering.go(f"b{each}")

    execution = steering.system.wait(execution_id)
    assert (execution.state, states(execution)) == (ExecutionState.FAILED, {1: TaskState.SKIPPED})
    assert steering.tries(1) == []
    for each in blockers:
        assert steering.system.wait(each).state is ExecutionState.SUCCEEDED


def test_a_task_that_is_over_stays_as_it_is(steering, revoke):
    execution = steering.system.execute(flow("one", steering.task(1)))

    revoke(execution.id, 1, terminate=True)
    again = steering.system.execute(flow("one", steering.task(1)))

    assert steering.system.client.get(execution.id).state is ExecutionState.SUCCEEDED
    assert again.state is ExecutionState.SUCCEEDED


def test_a_revoke_with_no_worker_up_lasts_until_one_is(steering, system):
    executor = f"{system.executor}-later"
    definition = flow("later", steering.task(1, executorId=executor, next=[2]), steering.task(2, executorId=executor))
    killed, revoked, other = (system.submit(definition) for _ in range(3))
    runtime = bootstrap(system.settings, raises=True)

    system.client.kill(killed)
    runtime.app.control.revoke(to_celery_id(revoked, 1, 1))
    runtime.app.close()
    runtime.database.close()
    system.start_worker(executor)

    assert system.wait(other).state is ExecutionState.SUCCEEDED
    assert system.client.get(killed).state is ExecutionState.CANCELLED
    assert states(system.client.get(revoked)) == {1: TaskState.SKIPPED, 2: TaskState.SKIPPED}
    assert {each[0] for each in steering.tries(1)} == {other}


def test_a_revoke_alone_leaves_running_what_runs(steering, revoke):
    execution_id = steering.system.submit(flow("runs", steering.task(1, "hold")))
    steering.wait_for(1)

    revoke(execution_id, 1)
    steering.go(1)

    assert steering.system.wait(execution_id).state is ExecutionState.SUCCEEDED
