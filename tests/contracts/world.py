"""A world without workers: one database, task types whose code a test puts in, and drives by hand."""

import sqlalchemy as sa

from orchestrator.engine.canvas import Chord
from orchestrator.model.definition import parse_integration
from orchestrator.model.task_types import Child, Done, MailServer, StartChildren, TaskSurroundings, TaskType, TaskTypes
from orchestrator.model.values import from_python
from orchestrator.runtime.guard import ProcessGuard
from orchestrator.service.drive import drive
from orchestrator.service.query import TreeReader
from orchestrator.service.services import Services
from orchestrator.service.submit import Place, publish, submit
from orchestrator.store.kinds import AttemptKey
from orchestrator.store.queries import ExecutionQueries
from orchestrator.store.tables import history, live_attempts
from tests.contracts.stored import PLACE
from tests.flows import flow, task


class Recorder:
    """A publisher that keeps what it gets."""

    def __init__(self):
        self.sent, self.nudged = [], []

    def nudge(self, attempts):
        self.nudged.extend(each.key for each in attempts)

    def depth(self, executor):
        return sum(each.executor == executor for each in self.sent)

    def publish(self, messages):
        for each in messages:
            self.sent.extend([*each.header] if isinstance(each, Chord) else [each])


class World:
    """One database, task types whose code a test puts in, and drives by hand."""

    def __init__(self, database, folder):
        self.database = database
        self.code = {}  # by task number: what runs before the task is done, and what it returns
        types = TaskTypes(
            [
                TaskType(name="Heavy", run=self.run),
                TaskType(name="Light", run=self.run, light=True),
                TaskType(name="Call", run=self.call, join=lambda context, join: Done(), light=True),
            ]
        )
        self.services = Services.of(
            database,
            types=types,
            publisher=Recorder(),
            guard=ProcessGuard(),
            surroundings=TaskSurroundings(mail=MailServer(outbox=folder)),
            jitter=lambda: 0.0,
        )

    def run(self, context):
        outputs = self.code.get(context.task_number, dict)()
        return Done(outputs={key: from_python(data, key) for key, data in (outputs or {}).items()})

    def call(self, context):
        self.run(context)
        return StartChildren(children=[Child(integration="child", trigger_id="api_trigger/child")] * 2)

    def publish(self, document):
        version = parse_integration(document)
        version_id, _ = publish(version, self.services, place=Place(**PLACE), source="test")
        return version_id, version

    def submit(self, *tasks, **more):
        """Publish and start; the keys of its tasks, by number."""
        version_id, version = self.publish(flow("flow", *tasks, **more))
        self.id = submit(version_id, {}, self.services, place=Place(**PLACE))
        return [AttemptKey(execution_id=self.id, number=each.number, attempt=1) for each in version.tasks]

    def drive(self, key, *, worker="other"):
        drive(key, worker=worker, services=self.services)

    def sent(self):
        """The task numbers of the messages so far."""
        return sorted(message.number for message in self.services.publisher.sent)

    @property
    def execution(self):
        return TreeReader(ExecutionQueries(self.database), self.services.plans).read(self.id)

    def states(self):
        return {each.number: each.state.value for each in self.execution.tasks}

    def entries(self):
        return [
            (entry.task_number, entry.kind, entry.worker)
            for entry in ExecutionQueries(self.database).entries({self.id: 0}).get(self.id, [])
        ]

    def live(self):
        with self.database.read() as connection:
            rows = connection.execute(sa.select(live_attempts).where(live_attempts.c.execution_id == self.id))
            return {row.task_number: row.worker for row in rows}

    def revisions(self):
        with self.database.read() as connection:
            return connection.execute(sa.select(history.c.revision).order_by("revision")).scalars().all()


def heavy(number, **more):
    return task(number, "Heavy", **more)


def light(number, **more):
    return task(number, "Light", **more)
