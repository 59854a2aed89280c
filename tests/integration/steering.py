"""What a test tells the tasks of ``steered_tasks``, and what it can see of them."""

import os
from datetime import UTC, datetime
from pathlib import Path

import sqlalchemy as sa

from orchestrator.store.queries import ExecutionQueries
from orchestrator.store.tables import executions, live_attempts, timers
from tests.flows import task
from tests.integration.waiting import until

INCLUDE = ["tests.integration.steered_tasks", "tests.integration.drive_tasks"]
LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)
NEVER_S = "3600s"  # an interval that a test does not wait for: it makes the timer due, or ends the execution


def on_failure(strategy, retries=0, *, interval="0.1s", **more):
    """The same policy for synchronous and other runs."""
    policy = {"retryStrategy": strategy, "maxRetries": retries, "intervalTime": interval, **more}
    return {"failurePolicy": policy, "synchronousCallFailurePolicy": policy}


FATAL, IGNORE = on_failure("FATAL"), on_failure("IGNORE")


def retry(retries=1, **more):
    return on_failure("FIXED_INTERVAL", retries, **more)


def restart(retries=1, **more):
    return on_failure("RESTART_INTEGRATION_WITH_BACKOFF", retries, **more)


class Steering:
    """A system, and a folder through which a test and its tasks speak."""

    def __init__(self, system, folder: Path):
        self.system, self.folder = system, folder

    # -- definitions -----------------------------------------------------------------------------------------------

    def takes(self, label, words):
        return {"folder": str(self.folder), "label": str(label), "words": words}

    def task(self, number, words="ok", *, label=None, **more):
        return task(number, "tests.steered", takes=self.takes(label or number, words), **more)

    def rollback(self, label, words="ok", **more):
        """What undoes a task; it counts its own tries."""
        undoing = task(1, "tests.steered", takes=self.takes(label, words))
        return {"rollback": {"task": undoing["task"], "parameters": undoing["parameters"], **more}}

    # -- doing -----------------------------------------------------------------------------------------------------

    def go(self, label):
        """Let go what holds, and what will."""
        (self.folder / f"{label}.go").touch()

    def make_due(self, execution_id, kind):
        """Now, once it is set."""
        changed = sa.update(timers).where(timers.c.execution_id == execution_id, timers.c.kind == kind)

        def is_changed():
            with self.system.database.begin() as connection:
                return connection.execute(changed.values(due_at=LONG_AGO)).rowcount

        until(is_changed, what=f"timer {kind}")

    # -- looking ---------------------------------------------------------------------------------------------------

    def tries(self, label):
        """(execution id, task number, attempt, pid) of each try."""
        path = self.folder / str(label)
        lines = path.read_text().splitlines() if path.exists() else []
        return [(execution_id, *map(int, rest)) for execution_id, *rest in map(str.split, lines)]

    def order(self):
        """The labels of all tries, as they came."""
        path = self.folder / "all"
        return path.read_text().split() if path.exists() else []

    def wait_for(self, label, tries=1):
        """Until it has been tried so often."""
        return until(lambda: self.tries(label)[tries - 1 :], what=f"try {tries} of {label}")[0]

    def wait_for_all(self, label, tries):
        """Until it has been tried so often; all of them."""
        self.wait_for(label, tries)
        return self.tries(label)

    def wait_for_state(self, execution_id, state):
        queries = ExecutionQueries(self.system.database)
        until(lambda: queries.state(execution_id) == state, what=f"{state} of {execution_id}")
        return self.system.client.get(execution_id)

    def wait_for_task(self, execution_id, number, state):
        """Until a client sees the task so."""
        get = self.system.client.get
        until(lambda: get(execution_id).task(number).state == state, what=f"{state} of task {number}")
        return get(execution_id)

    def entries(self, execution_id):
        return ExecutionQueries(self.system.database).entries({execution_id: 0}).get(execution_id, [])

    def kinds(self, execution_id):
        return [entry.kind.value for entry in self.entries(execution_id)]

    def children(self, execution_id):
        wanted = sa.select(executions.c.id).where(executions.c.parent_id == execution_id)
        return [row.id for row in self.system.rows(wanted.order_by(executions.c.position))]

    def timers(self, execution_id):
        return self.system.rows(sa.select(timers).where(timers.c.execution_id == execution_id))

    def live(self, execution_id):
        return self.system.rows(sa.select(live_attempts).where(live_attempts.c.execution_id == execution_id))


def states(execution):
    return {each.number: each.state.value for each in execution.tasks}


def is_running(pid):
    """Whether there is such a process, and it is no zombie."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return status.rpartition(")")[2].split()[0] != "Z" and pid != os.getpid()
