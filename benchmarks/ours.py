"""Our side: a worker with the configuration that ships, executions submitted, and a wait for their committed ends.

The end is what the table says, asked for now and then; that costs one indexed look, and no events.
"""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import sqlalchemy as sa

from benchmarks.services import NoService, Servers
from benchmarks.statements import VARIABLE as STATEMENTS
from orchestrator import Orchestrator
from orchestrator.model.states import FINAL_EXECUTION_STATES, ExecutionState
from orchestrator.runtime.embedded import EmbeddedServices, Worker
from orchestrator.settings import Settings
from orchestrator.store.database import Database
from orchestrator.store.tables import executions, texts_of

POLL_S: Final = 0.005  # the pause between two looks
POLL_SHARE: Final = 0.002  # a longer pause is at most this part of the time so far: looks cost what is measured
WAIT_S: Final = 3600.0
GRACE_S: Final = 0.5  # of a worker that has nothing to do: Celery takes 2 s and more to end one
INCLUDED: Final = ("benchmarks.task_types",)
_LOOK_S: Final = 1.0  # how often a wait makes sure that the worker lives
_FINAL: Final = frozenset(state.value for state in FINAL_EXECUTION_STATES)
_BY_STATE: Final = (
    sa.select(executions.c.state, sa.func.count())
    .where(executions.c.id.in_(texts_of("ids")))
    .group_by(executions.c.state)
)


class Ours:
    """Submits and waits, by the Python API that everybody uses."""

    def __init__(self, servers: Servers, concurrency: int, *, home: str = "ours") -> None:
        self.executor = f"bench-{uuid.uuid4().hex[:8]}"
        self._concurrency = concurrency
        self.settings = Settings(
            home=servers.folder / home, database_url=servers.database, broker_url=servers.broker, include=INCLUDED
        )
        self.database = Database(self.settings.resolved_database_url)
        self.database.upgrade()
        self._services: EmbeddedServices | None = None
        self._published: set[str] = set()

    @contextmanager
    def worker(self, *, statements: Path | None = None) -> Iterator[Worker]:
        """A client, and a worker while the block lasts; it counts its ``statements`` into a file, if one is named."""
        with EmbeddedServices(self.settings, grace_s=GRACE_S) as services, Orchestrator(self.settings) as self.client:
            self._services = services
            if statements is not None:
                os.environ[STATEMENTS] = str(statements)  # the worker inherits it; this process does not look
            worker = services.start_worker(self.executor, concurrency=self._concurrency)
            os.environ.pop(STATEMENTS, None)
            yield worker
        self.database.close()

    def publish(self, definition: Mapping[str, Any]) -> None:
        """Once for each name."""
        if definition["name"] not in self._published:
            self.client.publish(definition)
            self._published.add(definition["name"])

    def run(self, name: str, parameters: Mapping[str, object] | None = None, *, count: int = 1) -> list[str]:
        """Submit executions one by one, and wait for the end of all; their ids."""
        ids = [self.client.submit(name, parameters, executor=self.executor) for _ in range(count)]
        self.wait(ids)
        return ids

    def run_many(self, name: str, count: int) -> list[str]:
        """Submit executions in one call, and wait for the end of all; their ids.

        Raises:
            NoService: this version cannot do that.
        """
        submit_many = getattr(self.client, "submit_many", None)
        if submit_many is None:
            raise NoService("ours", "this version has no Orchestrator.submit_many")
        ids = [*submit_many(name, [{}] * count)]
        self.wait(ids)
        return ids

    def suspend(self, name: str, count: int) -> list[str]:
        """Submit executions one by one, and wait until all are SUSPENDED; their ids."""
        ids = [self.client.submit(name, executor=self.executor) for _ in range(count)]
        self._wait(ids, ExecutionState.SUSPENDED)
        return ids

    def wait(self, ids: Sequence[str]) -> None:
        """Until all have SUCCEEDED.

        Raises:
            NoService: one ended otherwise, the worker has ended, or it takes too long.
        """
        self._wait(ids, ExecutionState.SUCCEEDED)

    def succeeded(self, ids: Sequence[str]) -> int:
        """How many executions have SUCCEEDED, of these roots and of all below them."""
        below = sa.select(sa.func.count()).where(executions.c.root_id.in_(texts_of("ids")))
        with self.database.read() as connection:
            wanted = below.where(executions.c.state == ExecutionState.SUCCEEDED.value)
            return int(connection.execute(wanted, {"ids": [*ids]}).scalar_one())

    def _wait(self, ids: Sequence[str], wanted: ExecutionState) -> None:
        """The last one is watched, and only then the others are counted."""
        over = _FINAL | {wanted.value}
        self._until(lambda: over.issuperset(self._states(ids[-1:])))
        self._until(lambda: over.issuperset(self._states(ids)))
        states = self._states(ids)
        if states != {wanted.value: len(ids)}:
            raise NoService("ours", f"executions ended as {states}")

    def _states(self, ids: Sequence[str]) -> dict[str, int]:
        """How many are committed in which state: one round trip on PostgreSQL, and no write lock on SQLite."""
        with self.database.read() as connection:
            return dict(connection.execute(_BY_STATE, {"ids": [*ids]}).all())

    def _until(self, is_over: Any) -> None:
        began = looked = time.monotonic()
        while not is_over():
            now = time.monotonic()
            time.sleep(max(POLL_S, (now - began) * POLL_SHARE))
            if now - looked < _LOOK_S:
                continue
            looked = now
            if self._services is None or (ended := self._services.ended_workers()):
                raise NoService("ours", "; ".join(ended) if self._services else "no worker was started")
            if now - began > WAIT_S:
                raise NoService("ours", f"no end within {WAIT_S:g} s")
