"""A world in which rounds of light sub-executions run in chunks, and a test says what one of them does."""

import sqlalchemy as sa

from orchestrator.engine.canvas import CHUNK_TASK, JOIN_TASK
from orchestrator.model.task_types import Child, Done, StartChildren, TaskType
from orchestrator.model.values import from_python
from orchestrator.service.chunks import drive_chunk
from orchestrator.service.lost import Loss, give_up
from orchestrator.store.kinds import ChunkKey
from orchestrator.store.tables import chunks, executions, live_attempts
from tests.contracts.control_world import ControlWorld
from tests.flows import flow, parameter, task

ITEM = parameter("item", "INT_VALUE", direction="IN")
OUT = parameter("out", "INT_VALUE", direction="OUT")


def each(number, count, **more):
    """A task that runs ``child`` for every number below ``count``, and waits."""
    return task(number, "Each", takes={"count": count}, **more)


def square(number, **more):
    """A light task: ``out`` is the square of ``item``, unless the test has put other code there for that item."""
    return task(number, "Square", **more)


class ChunkWorld(ControlWorld):
    """``does`` is the code of sub-executions, by their item; ``joined`` has the outcomes that each join has seen."""

    def __init__(self, database, folder):
        super().__init__(database, folder)
        self.does, self.joined = {}, []
        for new in (
            TaskType(name="Each", run=self.start_each, join=self.join_each, light=True),
            TaskType(name="Square", run=self.square, light=True),
        ):
            self.services.types.add(new)

    # -- task types ------------------------------------------------------------------------------------------------

    def start_each(self, context):
        items = [from_python(item, "item") for item in range(int(context.value("count").data))]
        children = [
            Child(integration="child", trigger_id="api_trigger/child", parameters={"item": item}) for item in items
        ]
        return StartChildren(children=children)

    def join_each(self, context, join):
        self.joined.append([*join.outcomes])
        return Done()

    def square(self, context):
        item = context.parameters["item"].data
        step = self.does.get(item, dict)()
        return step or Done(outputs={"out": from_python(item * item, "out")})

    # -- doing -----------------------------------------------------------------------------------------------------

    def begin(self, count, *others, tasks=(), **more):
        """A parent that waits for so many children of these tasks; task 1 is the one that waits."""
        self.publish(flow("child", *(tasks or [square(1)]), parameters=[ITEM, OUT], **more))
        self.submit(each(1, count), *others, starts=[1, *(other["taskId"] for other in others)])
        self.drive(self.key(1))
        return self.chunk_keys()

    def run_chunk(self, key, *, worker="node/7/boot"):
        return drive_chunk(key, worker=worker, services=self.services)

    def run_all(self):
        """Chunks and attempts, until nothing can be claimed."""
        while [self.run_chunk(key) for key in self.chunk_keys()].count(True) or self.ready():
            self.drive_all()

    def lose_chunk(self, key, *, times=1, worker="node/8/dead"):
        for _ in range(times):
            assert self.services.chunks.claim(key, worker=worker) is not None
            give_up(key.execution_id, self.services, worker=worker, loss=Loss("signal 9 (SIGKILL)"))

    # -- looking ---------------------------------------------------------------------------------------------------

    def chunk_rows(self):
        return self.rows(sa.select(chunks).order_by(chunks.c.attempt, chunks.c.first_position))

    def chunk_keys(self):
        return [
            ChunkKey(
                execution_id=row.execution_id,
                number=row.task_number,
                attempt=row.attempt,
                round=row.round,
                first_position=row.first_position,
            )
            for row in self.chunk_rows()
            if row.worker is None
        ]

    def child_rows(self, execution_id=None):
        wanted = sa.select(executions).where(executions.c.parent_id == (execution_id or self.id))
        return self.rows(wanted.order_by(executions.c.parent_attempt, executions.c.position))

    def waits(self):
        """How many of how many have arrived, and in which phase the parent's task is."""
        (row,) = self.rows(sa.select(live_attempts).where(live_attempts.c.execution_id == self.id))
        return row.arrived, row.children, row.phase

    def chunk_messages(self):
        return [each for each in self.services.publisher.sent if each.name == CHUNK_TASK]

    def join_messages(self):
        return [each for each in self.services.publisher.sent if each.name == JOIN_TASK]

    def assert_over(self):
        assert self.chunk_rows() == []
        super().assert_over()
