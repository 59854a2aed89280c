"""Many light executions through real workers: in bundles, with small messages, and killed in the middle."""

import pytest

from orchestrator.engine.canvas import BUNDLE_TASK
from orchestrator.model.states import ExecutionState, TaskState
from orchestrator.runtime.app import bootstrap
from tests.flows import flow, parameter, task
from tests.integration.steering import INCLUDE, states
from tests.integration.system import running_system
from tests.integration.waiting import until
from tests.integration.wire import tapped
from tests.services import redis_url

pytestmark = pytest.mark.services

COUNT, HELD = 1_000, 450
MOST_BYTES = 2048


def squares(*, holds=None):
    """Two light tasks; that of one item may wait until the test lets it go."""
    takes = {"item": "$item$", "hold": -1, "folder": "", **(holds or {})}
    return flow(
        "squares",
        task(1, "tests.square", takes=takes, next=[2]),
        task(2, "tests.light"),
        parameters=[parameter("item", "INT_VALUE", direction="IN"), parameter("square", "INT_VALUE", direction="OUT")],
    )


def submit(system, definition):
    return system.client.submit_many(definition, [{"item": item} for item in range(COUNT)], executor=system.executor)


@pytest.mark.parametrize(("database", "broker"), [("sqlite", "redis"), ("postgres", "redis"), ("postgres", "rabbitmq")])
def test_many_light_executions_are_few_and_small_messages(tmp_path, database, broker):
    with (
        tapped(broker) as wire,
        running_system(tmp_path, database=database, broker_url=wire.url, include=INCLUDE) as system,
    ):
        ids = submit(system, squares())

        ended = [system.wait(each, within_s=60) for each in ids]
        sent = [each for each in wire.messages() if each.task is not None]
        left = system.live()

    assert [each.outputs["square"] for each in ended] == [item * item for item in range(COUNT)]
    assert left == []
    assert [each.task for each in sent] == [BUNDLE_TASK] * 10
    assert max(each.size_bytes for each in sent) < MOST_BYTES


@pytest.fixture(params=["sqlite", "postgres"])
def system(request, tmp_path):
    with running_system(tmp_path, database=request.param, broker_url=redis_url(), include=INCLUDE) as running:
        yield running
        assert running.live() == [], "a test left something going on"


def amid(system, tmp_path):
    """Executions of which one runs and does not end."""
    ids = submit(system, squares(holds={"hold": HELD, "folder": str(tmp_path)}))
    until((tmp_path / "held").exists, what="the one in the middle")
    return ids


def test_a_kill_of_the_one_that_runs_ends_it_and_the_others_go_on(system, tmp_path):
    ids = amid(system, tmp_path)

    system.client.kill(ids[HELD])
    ended = [system.wait(each, within_s=60).state for each in ids]

    assert ended.pop(HELD) is ExecutionState.CANCELLED
    assert set(ended) == {ExecutionState.SUCCEEDED}


def test_a_revoke_of_a_bundle_by_celery_is_a_kill_of_whatever_of_it_is_not_over(system, tmp_path):
    ids = amid(system, tmp_path)
    runtime = bootstrap(system.settings, raises=True)
    first = ids[HELD - HELD % 100]

    runtime.app.control.revoke(f"{first}.1.1.bundle", terminate=True)
    ended = [system.wait(each, within_s=60) for each in ids]

    runtime.app.backend.database.close()
    runtime.app.close()
    runtime.database.close()
    stopped = [place for place, each in enumerate(ended) if each.state is not ExecutionState.SUCCEEDED]
    assert HELD in stopped
    assert set(stopped) <= {*range(HELD - HELD % 100, HELD - HELD % 100 + 100)}
    assert states(ended[HELD])[1] in {TaskState.CANCELLED, TaskState.SKIPPED}
