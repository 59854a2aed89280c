"""A rig: one system under faults. A database, a broker, workers that are started again when they are gone, the books.

The client and the looks of a test go to the servers directly; workers go through whatever URL a test gives them, so a
proxy can cut them off alone. ``supervise`` is the operator's restart policy: who is dead is started anew, without
failpoints. It runs in the loops of ``wait``, in the thread of the test: a worker dies with the thread that started it.
"""

import itertools
import time
import uuid
from contextlib import ExitStack, contextmanager, suppress

import sqlalchemy as sa

from orchestrator import Orchestrator
from orchestrator.engine.canvas import queue_of
from orchestrator.errors import Unreachable
from orchestrator.model.states import FINAL_EXECUTION_STATES, ExecutionState
from orchestrator.runtime.app import make_app
from orchestrator.service.control import ExecutionOver
from orchestrator.service.task_control import NotQuarantined
from orchestrator.settings import Settings
from orchestrator.store.database import Database
from orchestrator.store.queries import ExecutionQueries
from orchestrator.store.tables import executions, live_attempts
from tests.faults.books import Books
from tests.faults.ledger import Ledger
from tests.faults.workers import WorkerNode
from tests.integration.arrows import write_arrows_down
from tests.integration.processes import still_alive, tagged
from tests.integration.waiting import until

INCLUDE = ("tests.faults.effects", "tests.integration.drive_tasks")
REACHABLE_LIMIT_S = 60.0
DRAIN_S = 2.0  # so that a test need not wait for the usual twenty
_FINAL = [state.value for state in FINAL_EXECUTION_STATES]


class Rig:
    """Attributes: ``settings`` go to the servers directly; ``executor`` is this rig's alone; ``expected`` has the
    states that submitted executions may end in; ``workers`` are those that are there, or should be; ``through`` are the
    settings that only workers have.
    """

    def __init__(self, settings, database, client, through):
        self.settings, self.database, self.client, self.through = settings, database, client, through
        self.executor = f"faults-{uuid.uuid4().hex[:12]}"
        self.ledger = Ledger(settings.home)
        self.queries = ExecutionQueries(database)
        self.expected, self.workers = {}, []
        self.claims_may_vanish = False
        self._told = set()
        self._names = itertools.count(1)

    # -- workers ---------------------------------------------------------------------------------------------------

    def start_worker(self, *, executor=None, concurrency=2, environment=None, is_elsewhere=False, **changes):
        """A worker, not ready yet. ``changes`` are those of its settings, ``failpoints`` for instance."""
        worker = WorkerNode.start(
            self.settings.replaced(**{**self.through, **changes}),
            executor or self.executor,
            self.settings.home / f"worker-{next(self._names)}.log",
            concurrency=concurrency,
            environment=environment,
            is_elsewhere=is_elsewhere,
        )
        self.workers.append(worker)
        return worker

    def only_worker(self, **changes):
        """A new one, at work, instead of those that are there."""
        self.dismiss_all()
        return self.start_worker(**changes).wait_until_ready()

    def supervise(self):
        """Start a worker for each one that is dead."""
        for dead in [each for each in self.workers if not each.is_alive()]:
            self.dismiss(dead)
            self.start_worker()

    def dismiss(self, worker):
        """It is not to be there any more."""
        self.workers.remove(worker)
        worker.teardown()

    def dismiss_all(self):
        while self.workers:
            self.dismiss(self.workers[-1])

    # -- executions ------------------------------------------------------------------------------------------------

    def submit(self, definition, parameters=None, *, ends=(ExecutionState.SUCCEEDED,), **more):
        """Start one that is to end in one of these states."""
        execution_id = self.client.submit(definition, parameters, executor=self.executor, **more)
        self.expected[execution_id] = {state.value for state in ends}
        return execution_id

    def execute(self, definition, parameters=None, *, within_s=120.0, supervised=True, **more):
        return self.wait(self.submit(definition, parameters, **more), within_s=within_s, supervised=supervised)

    def wait(self, execution_id, *, within_s=120.0, supervised=True):
        """The execution once it is final."""

        def is_over():
            if supervised:
                self.supervise()
            return self.state(execution_id).is_final

        until(is_over, within_s=within_s, what=f"the end of {execution_id}, now {self.standing()}")
        return _once_reachable(lambda: self.client.get(execution_id))

    def settle(self, *, within_s=90.0, meanwhile=None):
        """Wait until every execution is final, and release what is in quarantine. What is left is in the books."""

        def is_over():
            (meanwhile or self.supervise)()
            self.release()
            return not self.rows(sa.select(executions.c.id).where(executions.c.state.not_in(_FINAL)).limit(1))

        try:
            until(is_over, within_s=within_s)
        except AssertionError:
            return

    def release(self):
        """Everything that is in quarantine, as an operator who has looked at it."""
        held = self.rows(sa.select(executions.c.id).where(executions.c.state == ExecutionState.RETRY_ON_HOLD.value))
        for execution_id in [row.id for row in held]:
            for each in self.client.get(execution_id, with_children=False).tasks:
                with suppress(NotQuarantined, ExecutionOver):
                    self.client.release(execution_id, each.number)

    def rows(self, statement):
        def read():
            with self.database.read() as connection:
                return connection.execute(statement).all()

        return _once_reachable(read)

    def live(self):
        return self.rows(sa.select(live_attempts))

    def standing(self):
        """What goes on, for a message."""
        return [(row.execution_id[-6:], row.task_number, row.phase, row.worker) for row in self.live()]

    def state(self, execution_id):
        return _once_reachable(lambda: self.queries.state(execution_id))

    def kinds(self, execution_id, number=None):
        """What happened to it, or to one of its tasks."""
        entries = _once_reachable(lambda: self.queries.entries({execution_id: 0})).get(execution_id, [])
        return [each.kind.value for each in entries if number in (None, each.task_number)]

    @property
    def queue(self):
        return queue_of(self.executor)

    # -- the end ---------------------------------------------------------------------------------------------------

    def violations(self):
        """What is wrong in the books now."""
        app = make_app(self.settings)
        try:
            books = Books(self.database, self.ledger.lines(), app, claims_may_vanish=self.claims_may_vanish)
            return books.violations(self.expected)
        finally:
            app.backend.database.close()
            app.close()

    def check(self, *, within_s=90.0):
        """Everything comes to its end, and the books are right; what a check before has told is not told again."""
        self.settle(within_s=within_s)
        found = [each for each in self.violations() if each not in self._told]
        self._told.update(found)
        assert found == []


def _once_reachable(look):
    """What a look finds; a test may have cut the connection of the test itself, too."""
    deadline = time.monotonic() + REACHABLE_LIMIT_S
    while True:
        try:
            return look()
        except Unreachable:
            if time.monotonic() > deadline:
                raise


@contextmanager
def running_rig(folder, *, broker_url, database_url, workers=0, through=None, **more):
    """A rig; after it none of its processes is left.

    Args:
        folder: for its home, which is also what its processes are known by.
        broker_url: of a broker that no other rig uses, or at least not for this executor.
        database_url: of an empty database.
        workers: how many to begin with.
        through: the settings that only workers have: URLs of proxies.
        more: settings.
    """
    home = folder / f"home-{uuid.uuid4().hex[:8]}"
    home.mkdir(parents=True)
    settings = Settings(
        home=home, broker_url=broker_url, database_url=database_url, include=INCLUDE, **{"drain_s": DRAIN_S, **more}
    )
    with ExitStack() as stack:
        database = Database(settings.resolved_database_url)
        stack.callback(database.close)
        database.upgrade()
        write_arrows_down(database)
        rig = Rig(settings, database, stack.enter_context(Orchestrator(settings)), through or {})
        stack.callback(rig.dismiss_all)
        for _ in range(workers):
            rig.start_worker()
        for each in rig.workers:
            each.wait_until_ready()
        yield rig
    assert still_alive(tagged(str(home))) == [], "a process outlived its rig"
