"""KILL of a wide fan-out with real workers, in a system of its own: the messages of what never began are left in it."""

from datetime import datetime

import pytest

from orchestrator.model.history import EntryKind
from orchestrator.model.states import ExecutionState
from orchestrator.store.queries import ExecutionQueries
from tests.flows import calls, flow, parameter, task
from tests.integration.steering import INCLUDE, states
from tests.integration.system import running_system
from tests.integration.waiting import until
from tests.services import redis_url

pytestmark = [pytest.mark.services, pytest.mark.slow]

CANCELLED = ExecutionState.CANCELLED


@pytest.fixture(params=["sqlite", "postgres"])
def system(request, tmp_path):
    with running_system(tmp_path, database=request.param, broker_url=redis_url(), include=INCLUDE, concurrency=4) as it:
        yield it


def test_nothing_begins_after_the_kill_of_a_fan_out_whose_children_are_just_starting(system, tmp_path):
    """What has begun is in the ledger, with the database's time of its claim."""
    count, ledger = 2_000, tmp_path / "ledger"
    system.client.publish(
        flow(
            "leaf",
            task(1, "tests.begun", takes={"ledger": str(ledger)}),
            parameters=[parameter("item", "INT_VALUE", direction="IN")],
        )
    )
    leaves = calls("leaf", listToIterate=list(range(count)), iterationElementMapping="item")
    root = system.submit(flow("root", task(1, "ForEachParallelTask", takes=leaves)))
    until(lambda: len(begun(ledger)) >= 20, what="twenty children that have begun")

    system.client.kill(root)
    execution = system.wait(root)

    histories = ExecutionQueries(system.database).entries({each.id: 0 for each in execution.children}).values()
    looks = [entry.ended_at for entries in histories for entry in entries if entry.kind is EntryKind.KILLED]
    killed_at = min(looks)  # the first look at a mark, which was committed before
    assert all(claimed_at <= killed_at for claimed_at in begun(ledger).values())
    assert len(execution.children) == count
    assert {each.state for each in execution.children} <= {CANCELLED, ExecutionState.SUCCEEDED}
    assert {each.id for each in execution.children if states(each)[1] != "SKIPPED"} >= set(begun(ledger))
    assert execution.state is CANCELLED
    assert system.live() == []


def begun(ledger):
    """When each execution was claimed, of those that are in the ledger."""
    lines = ledger.read_text().splitlines() if ledger.exists() else []
    return {execution_id: datetime.fromisoformat(at) for execution_id, at in map(str.split, lines)}
