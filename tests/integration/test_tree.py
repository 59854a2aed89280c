"""A tree of executions, 5 levels below the root and 4 wide, on every pair of database and broker that we support."""

import itertools
from collections import Counter

import pytest
import sqlalchemy as sa

from orchestrator.engine.canvas import JOIN_TASK
from orchestrator.model.history import EntryKind
from orchestrator.store.queries import ExecutionQueries
from orchestrator.store.tables import executions
from tests.flows import calls, flow, mapping, parameter, task
from tests.integration.system import running_system
from tests.integration.wire import tapped

pytestmark = [pytest.mark.services, pytest.mark.slow]

LEVELS, WIDTH = 5, 4
PARENTS = sum(WIDTH**level for level in range(LEVELS))  # 341, each with one join
EXECUTIONS = PARENTS + WIDTH**LEVELS  # 1,365
MOST_BYTES = 2048
LIMIT_S = 300.0
CALL, SUM = 2, 3

INPUTS = (
    parameter("above", direction="IN", default=""),
    parameter("position", "INT_VALUE", direction="IN", default=0),
    parameter("path"),
)
OUTPUTS = (parameter("count", "INT_VALUE", direction="OUT"), parameter("paths", direction="OUT"))


def definitions():
    """``tree-0`` is a leaf; ``tree-N`` runs ``tree-N-1`` for each position."""
    begin = task(1, "tests.tree.path", next=[2], takes={"above": "$above$", "position": "$position$"})
    yield flow("tree-0", begin, task(2, "tests.tree.leaf", takes={"path": "$path$"}), parameters=INPUTS + OUTPUTS)
    for level in range(1, LEVELS + 1):
        below = calls(
            f"tree-{level - 1}",
            listToIterate=list(range(WIDTH)),
            iterationElementMapping="position",
            requestParameterMapping=mapping({"path": "above"}),
            aggregatorParameterMapping=mapping({"count": "counts", "paths": "below"}),
        )
        yield flow(
            f"tree-{level}",
            begin,
            task(CALL, "ForEachParallelTask", next=[SUM], takes=below),
            task(SUM, "tests.tree.sum", takes={"counts": "$counts$", "below": "$below$"}),
            parameters=(*INPUTS, *OUTPUTS, parameter("counts", "INT_ARRAY"), parameter("below", "STRING_ARRAY")),
        )


@pytest.mark.parametrize(("database", "broker"), [("sqlite", "redis"), ("postgres", "redis"), ("postgres", "rabbitmq")])
def test_a_tree_of_1365_executions_completes_with_small_messages_and_each_join_once(tmp_path, database, broker):
    with (
        tapped(broker) as wire,
        running_system(
            tmp_path,
            database=database,
            broker_url=wire.url,
            include=["tests.integration.tree_tasks"],
        ) as system,
    ):
        for definition in definitions():
            system.client.publish(definition)
        root = system.execute(f"tree-{LEVELS}", within_s=LIMIT_S)
        states = system.rows(sa.select(executions.c.state, sa.func.count()).group_by(executions.c.state))
        revisions = dict(map(tuple, system.rows(sa.select(executions.c.id, executions.c.revision))))
        entries = ExecutionQueries(system.database).entries(dict.fromkeys(revisions, 0))
        live = system.live()
        sent = wire.messages()

    paths = ["".join(map(str, path)) for path in itertools.product(range(WIDTH), repeat=LEVELS)]
    assert root.outputs == {"count": EXECUTIONS, "paths": " ".join(f"0{path}" for path in paths)}
    assert states == [("SUCCEEDED", EXECUTIONS)]
    assert live == []

    assert {each: len(found) for each, found in entries.items()} == revisions
    happened = Counter((entry.kind, entry.task_number) for found in entries.values() for entry in found)
    assert happened == {
        (EntryKind.SUCCEEDED, 1): EXECUTIONS,
        (EntryKind.CHILDREN_STARTED, CALL): PARENTS,
        (EntryKind.SUCCEEDED, CALL): EXECUTIONS,  # the joins, and the leaves
        (EntryKind.SUCCEEDED, SUM): PARENTS,
    }

    names = Counter(each.task for each in sent if each.task)
    needed = {"tests.tree.path": EXECUTIONS, JOIN_TASK: PARENTS}
    assert names.keys() == needed.keys()
    again = {
        name: names[name] - count for name, count in needed.items()
    }  # what recovery took for lost, while it waited
    assert all(0 <= count <= EXECUTIONS // 10 for count in again.values()), again
    assert max(each.size_bytes for each in sent) < MOST_BYTES
    print(f"{database}, {broker}: {len(sent)} messages, the largest {max(each.size_bytes for each in sent)} bytes")
