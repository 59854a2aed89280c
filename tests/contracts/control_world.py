"""A world in which executions are stopped, undone and resumed: more task types, and the clock in the test's hands."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial

import pytest
import sqlalchemy as sa

from orchestrator.model.task_types import Child, Done, StartChildren, Suspend, TaskType
from orchestrator.model.values import from_python
from orchestrator.runtime.guard import ProcessGuard
from orchestrator.service import drive as driving
from orchestrator.service.control import kill
from orchestrator.service.drive import drive
from orchestrator.service.lost import Loss, give_up
from orchestrator.service.query import TreeReader
from orchestrator.service.submit import Place, submit
from orchestrator.service.task_control import kill_task, release
from orchestrator.service.timers import fire_due_timers
from orchestrator.store.kinds import AttemptKey
from orchestrator.store.queries import ExecutionQueries
from orchestrator.store.signals import Audit
from orchestrator.store.tables import executions, live_attempts, signals, suspensions, timers
from tests.contracts.stored import PLACE
from tests.contracts.world import World
from tests.flows import task

LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)
AUDIT = Audit(actor="ann", message="enough")


def policy(strategy, retries=0, *, interval="60s", **more):
    return {"retryStrategy": strategy, "maxRetries": retries, "intervalTime": interval, **more}


def on_failure(strategy, retries=0, **more):
    """The same for synchronous executions, which awaited sub-executions are, and for others."""
    written = policy(strategy, retries, **more)
    return {"failurePolicy": written, "synchronousCallFailurePolicy": written}


FATAL = on_failure("FATAL")
IGNORE = on_failure("IGNORE")


def retry(retries, **more):
    return on_failure("FIXED_INTERVAL", retries, **more)


def restart(retries, **more):
    return on_failure("RESTART_INTEGRATION_WITH_BACKOFF", retries, **more)


def undone(**more):
    return {"rollback": {"task": "Undo", **more}}


def asks(number, **more):
    return task(number, "Ask", **more)


def nests(number, name, *, count=1, **more):
    """A task that runs an integration, and waits for it."""
    return task(number, "Nest", takes={"name": name, "count": count}, **more)


def spawns(number, name, *, count=1, **more):
    """A task that starts an integration, and does not wait for it."""
    return task(number, "Spawn", takes={"name": name, "count": count}, **more)


class Broken(Exception):
    """What task code raises here."""


def break_down(message="broken"):
    raise Broken(message)


class ControlWorld(World):
    """``undo`` is the code of rollbacks, by task number."""

    def __init__(self, database, folder):
        super().__init__(database, folder)
        # The guard would end code that a test has asked to stop, once that takes a second.
        self.services = replace(self.services, guard=ProcessGuard(look_every_s=3600))
        self.undo, self.undone, self.asking = {}, [], {}
        for new in (
            TaskType(name="Undo", run=self.roll_back),
            TaskType(name="Ask", run=self.ask, light=True),
            TaskType(name="Nest", run=partial(self.start, wait=True), join=self.join, light=True),
            TaskType(name="Spawn", run=partial(self.start, wait=False), light=True),
        ):
            self.services.types.add(new)

    # -- task types ------------------------------------------------------------------------------------------------

    def roll_back(self, context):
        self.undone.append(context.task_number)
        outputs = self.undo.get(context.task_number, dict)()
        return Done(outputs={key: from_python(data, key) for key, data in (outputs or {}).items()})

    def ask(self, context):
        self.run(context)
        return Suspend(message="may it?", **self.asking)

    def start(self, context, *, wait):
        self.run(context)
        name = context.text("name")
        child = Child(integration=name, trigger_id=f"api_trigger/{name}")
        return StartChildren(children=[child] * int(context.value("count").data), wait=wait)

    def join(self, context, join):
        for outcome in join.outcomes:
            if outcome.state != "SUCCEEDED":
                raise Broken(f"sub-execution ended {outcome.state}")
        return Done()

    # -- doing -----------------------------------------------------------------------------------------------------

    def start_now(self, version_id, **more):
        self.id = submit(version_id, {}, self.services, place=Place(**PLACE), **more)
        return self.id

    def kill(self, execution_id=None, *, audit=AUDIT, **more):
        kill(execution_id or self.id, self.services, audit=audit, **more)

    def kill_task(self, number, *, of=None, audit=AUDIT):
        kill_task(of or self.id, number, self.services, audit=audit)

    def release(self, number, *, actor="ann"):
        release(self.id, number, self.services, actor=actor)

    def lose(self, key, *, times=1, worker="dead"):
        """Workers claim an attempt, and die of it."""
        for _ in range(times):
            assert self.services.store.claim(key, worker=worker) is not None
            give_up(key.execution_id, self.services, worker=worker, loss=Loss("signal 9 (SIGKILL)"))

    def key(self, number, *, attempt=1, round=0, of=None):  # noqa: A002 - the word is ours
        return AttemptKey(execution_id=of or self.id, number=number, attempt=attempt, round=round)

    def drive_all(self, *, worker="other"):
        """Whatever can be claimed, until nothing can."""
        while [drive(key, worker=worker, services=self.services) for key in self.ready()].count(True):
            pass

    def drive_without_pursuing(self, key):
        """What a worker leaves that dies right after its commit."""
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(driving, "pursue", lambda execution_id, services, start: None)
            self.drive(key)

    def ready(self):
        """What nobody has claimed, of all executions."""
        wanted = sa.select(live_attempts).where(live_attempts.c.worker.is_(None), live_attempts.c.phase != "wait")
        return [
            AttemptKey(execution_id=row.execution_id, number=row.task_number, attempt=row.attempt, round=row.round)
            for row in self.rows(wanted)
        ]

    def make_due(self, *kinds, at=LONG_AGO):
        """Let timers be due; without kinds, all."""
        changed = sa.update(timers).values(due_at=at, taken_until=None)
        with self.database.begin() as connection:
            connection.execute(changed.where(timers.c.kind.in_(kinds)) if kinds else changed)

    def forget(self, *kinds):
        """Take timers away; without kinds, all."""
        gone = sa.delete(timers)
        with self.database.begin() as connection:
            connection.execute(gone.where(timers.c.kind.in_(kinds)) if kinds else gone)

    def fire(self, *kinds):
        """Make timers due, and fire them."""
        self.make_due(*kinds)
        fire_due_timers(self.services)

    def began_s_ago(self, seconds):
        """Let all attempts that have begun be so old."""
        began = datetime.now(UTC) - timedelta(seconds=seconds)
        with self.database.begin() as connection:
            connection.execute(
                sa.update(live_attempts).where(live_attempts.c.started_at.is_not(None)).values(started_at=began)
            )

    def mark(self, signal, execution_id=None):
        """What a process leaves that dies right after it has sent a signal."""
        assert self.services.signals.send(execution_id or self.id, signal, AUDIT) is None

    # -- looking ---------------------------------------------------------------------------------------------------

    def rows(self, statement):
        with self.database.read() as connection:
            return connection.execute(statement).all()

    def look(self, execution_id=None):
        return TreeReader(ExecutionQueries(self.database), self.services.plans).read(execution_id or self.id)

    def tree(self, execution_id=None):
        """All executions from this one down."""
        found = [self.look(execution_id)]
        for each in found:
            found.extend(each.children)
        return found

    def named_tree(self, execution_id):
        """The same, each with its place in the tree."""
        named = [("", self.look(execution_id))]
        for name, each in named:
            named.extend((f"{name}/{position}", child) for position, child in enumerate(each.children))
        return named

    def tree_states(self, execution_id=None):
        return [each.state.value for each in self.tree(execution_id)]

    def tasks_of(self, execution_id=None):
        return {each.number: each.state.value for each in self.look(execution_id).tasks}

    def children_of(self, execution_id=None):
        return [child.id for child in self.look(execution_id).children]

    def kinds(self, execution_id=None):
        return [entry.kind.value for entry in self.history(execution_id)]

    def history(self, execution_id=None):
        wanted = execution_id or self.id
        return ExecutionQueries(self.database).entries({wanted: 0}).get(wanted, [])

    def timers(self):
        """Which timers are set, (kind, task, attempt), of all executions."""
        return sorted((row.kind, row.task_number, row.attempt) for row in self.rows(sa.select(timers)))

    def asked_to_stop(self):
        """The attempts whose worker is asked to end them, of all executions."""
        rows = self.rows(sa.select(live_attempts).where(live_attempts.c.stop_at.is_not(None)))
        return sorted((row.task_number, row.worker) for row in rows)

    def everything_live(self):
        return [(row.execution_id, row.task_number, row.phase) for row in self.rows(sa.select(live_attempts))]

    def marks(self):
        """The signals at executions, of all that have one."""
        return sorted(
            row.signal for row in self.rows(sa.select(executions.c.signal).where(executions.c.signal.is_not(None)))
        )

    def sent_signals(self):
        wanted = sa.select(signals).order_by(signals.c.id)
        return [(row.execution_id, row.kind, row.actor, row.message) for row in self.rows(wanted)]

    def suspensions(self):
        return [(row.task_number, row.attempt, row.state) for row in self.rows(sa.select(suspensions))]

    def assert_over(self):
        """Nothing is left of anything: no attempt, no mark, and no timer that would change something."""
        assert self.everything_live() == []
        assert self.marks() == []
        before = self.tree()
        self.fire()
        assert self.timers() == []
        assert self.tree() == before
