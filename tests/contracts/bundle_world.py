"""A world in which many executions are submitted at once, and a test says what one of them does."""

import sqlalchemy as sa

from orchestrator.engine.canvas import BUNDLE_TASK
from orchestrator.service.bundles import drive_bundle
from orchestrator.service.drive import drive
from orchestrator.service.submit import Place, Wishes
from orchestrator.service.submit_many import check_items, submit_many
from orchestrator.store.kinds import AttemptKey
from orchestrator.store.tables import executions, live_attempts
from tests.contracts.chunk_world import ITEM, OUT, ChunkWorld, square
from tests.contracts.stored import PLACE
from tests.flows import flow


class BundleWorld(ChunkWorld):
    """``ids`` are those of the last submission, and an item is the place of an execution in it."""

    def submit_all(self, count, *tasks, request_ids=None, limits=None, inputs=None, **more):
        """Publish and submit so many; the messages that this has sent."""
        wishes = {each: more.pop(each) for each in ("at", "deadline_s", "executor", "method") if each in more}
        document = flow("many", *(tasks or [square(1)]), parameters=[ITEM, OUT], **more)
        version_id, version = self.publish(document if limits is None else document | {"limits": limits})
        items = check_items(version, inputs or [{"item": item} for item in range(count)], request_ids=request_ids)
        self.services.publisher.sent.clear()
        self.ids = submit_many(version_id, items, self.services, place=Place(**PLACE), wishes=Wishes(**wishes))
        return [*self.services.publisher.sent]

    # -- doing -----------------------------------------------------------------------------------------------------

    def run_bundle(self, first_id, *, worker="node/7/boot"):
        return drive_bundle(first_id, worker=worker, services=self.services)

    def receive(self, message, *, worker="node/7/boot"):
        """What a worker does with a message."""
        if message.name == BUNDLE_TASK:
            return self.run_bundle(message.execution_id, worker=worker)
        key = AttemptKey(execution_id=message.execution_id, number=message.number, attempt=message.attempt)
        return drive(key, worker=worker, services=self.services)

    def receive_all(self):
        """Every message that was sent, and those that follow."""
        sent = self.services.publisher.sent
        while sent:
            self.receive(sent.pop(0))

    # -- looking ---------------------------------------------------------------------------------------------------

    def rides(self):
        """How many rows each first takes along, itself included; and how many ride with nobody."""
        rows = self.rows(sa.select(live_attempts.c.rides_with, sa.func.count()).group_by("rides_with"))
        return {row[0]: row[1] for row in rows}

    def states_of_all(self):
        rows = self.rows(sa.select(executions.c.id, executions.c.state).where(executions.c.parent_id.is_(None)))
        found = {row.id: row.state for row in rows}
        return [found[each] for each in self.ids]
