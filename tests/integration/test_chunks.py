"""Rounds of light sub-executions through real workers: in chunks, with small messages, and killed in the middle."""

import pytest

from orchestrator.engine.canvas import CHUNK_TASK, JOIN_TASK
from orchestrator.model.states import ExecutionState, TaskState
from orchestrator.runtime.app import bootstrap
from orchestrator.service.chunking import MOST, slices
from orchestrator.store.tables import chunks
from tests.flows import calls, flow, mapping, parameter, task
from tests.integration.steering import INCLUDE, states
from tests.integration.system import running_system
from tests.integration.waiting import until
from tests.integration.wire import tapped
from tests.services import redis_url

pytestmark = [pytest.mark.services, pytest.mark.slow]

WIDTH, HELD = 2_000, 1_000
MOST_BYTES = 2048


def squares(name, width, *, holds=None, **more):
    """A fan-out whose children square their item; one may wait until the test lets it go."""
    takes = {"item": "$item$", "hold": -1, "folder": "", **(holds or {})}
    child = flow(
        f"{name}-child",
        task(1, "tests.square", takes=takes, next=[2]),
        task(2, "tests.light"),
        parameters=[parameter("item", "INT_VALUE", direction="IN"), parameter("square", "INT_VALUE", direction="OUT")],
    )
    each = calls(
        f"{name}-child",
        listToIterate=list(range(width)),
        iterationElementMapping="item",
        aggregatorParameterMapping=mapping({"square": "squares"}),
    )
    parent = flow(
        name,
        task(1, "ForEachParallelTask", takes=each, **more),
        parameters=[parameter("squares", "INT_ARRAY", direction="OUT")],
    )
    return child, parent


def publish(system, *definitions):
    for each in definitions:
        system.client.publish(each)


@pytest.fixture(params=["sqlite", "postgres"])
def database(request):
    return request.param


@pytest.fixture
def system(database, tmp_path):
    with running_system(tmp_path, database=database, broker_url=redis_url(), include=INCLUDE) as running:
        yield running
        assert (running.live(), running.rows(chunks.select())) == ([], []), "a test left something going on"


@pytest.mark.parametrize(("database", "broker"), [("sqlite", "redis"), ("postgres", "redis"), ("postgres", "rabbitmq")])
def test_a_wide_fan_out_is_a_chord_of_few_and_small_messages(tmp_path, database, broker):
    with (
        tapped(broker) as wire,
        running_system(tmp_path, database=database, broker_url=wire.url, include=INCLUDE) as system,
    ):
        child, parent = squares("wide", WIDTH)
        publish(system, child, parent)

        execution = system.wait(system.submit("wide"), within_s=60)

        sent = [each for each in wire.messages() if each.task in (CHUNK_TASK, JOIN_TASK)]

    assert execution.state is ExecutionState.SUCCEEDED
    assert execution.outputs["squares"] == [item * item for item in range(WIDTH)]
    assert len(execution.children) == WIDTH
    assert sorted(each.task for each in sent) == [CHUNK_TASK] * len([*slices(WIDTH, most=MOST)]) + [JOIN_TASK]
    assert max(each.size_bytes for each in sent) < MOST_BYTES


def amid(system, tmp_path, **more):
    """A fan-out of which one child runs and does not end."""
    child, parent = squares("held", WIDTH, holds={"hold": HELD, "folder": str(tmp_path)}, **more)
    publish(system, child, parent)
    execution_id = system.submit("held")
    until((tmp_path / "held").exists, what="the child in the middle")
    return execution_id


def test_a_kill_in_the_middle_ends_what_runs_and_nothing_else_begins(system, tmp_path):
    execution_id = amid(system, tmp_path)

    system.client.kill(execution_id)
    execution = system.wait(execution_id, within_s=60)

    assert execution.state is ExecutionState.CANCELLED
    assert states(execution) == {1: TaskState.CANCELLED}
    assert {child.state for child in execution.children} <= {ExecutionState.SUCCEEDED}
    assert HELD not in {child.request["item"].data for child in execution.children}


@pytest.mark.parametrize("of", ["the round", "a chunk"])
def test_a_revoke_by_celery_is_a_kill_of_the_task_that_waits(system, tmp_path, of):
    execution_id = amid(system, tmp_path)
    runtime = bootstrap(system.settings, raises=True)
    celery_id = f"{execution_id}.1.1.1" + (".chunk0" if of == "a chunk" else "")
    said = [runtime.app.AsyncResult(celery_id).state]

    runtime.app.control.revoke(celery_id, terminate=True)
    execution = system.wait(execution_id, within_s=60)

    said.append(runtime.app.AsyncResult(celery_id).state)
    runtime.app.backend.database.close()
    runtime.app.close()
    runtime.database.close()
    assert states(execution) == {1: TaskState.CANCELLED}
    assert said == ["STARTED", "REVOKED"]
