"""Our side: a worker with the configuration that ships, executions submitted, and a wait for their committed ends.

The end is what the table says, asked for every few milliseconds; it costs one indexed look, and no events.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final

import sqlalchemy as sa

from benchmarks.services import NoService, Servers
from orchestrator import Orchestrator
from orchestrator.model.states import FINAL_EXECUTION_STATES, ExecutionState
from orchestrator.runtime.embedded import EmbeddedServices, Worker
from orchestrator.settings import Settings
from orchestrator.store.database import Database
from orchestrator.store.tables import executions, texts_of

POLL_S: Final = 0.005
WAIT_S: Final = 600.0
INCLUDED: Final = ("benchmarks.task_types",)
_LOOK_S: Final = 1.0  # how often a wait makes sure that the worker lives
_FINAL: Final = frozenset(state.value for state in FINAL_EXECUTION_STATES)


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
    def worker(self) -> Iterator[Worker]:
        """A client, and a worker while the block lasts."""
        with EmbeddedServices(self.settings) as self._services, Orchestrator(self.settings) as self.client:
            yield self._services.start_worker(self.executor, concurrency=self._concurrency)
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

    def wait(self, ids: Sequence[str]) -> None:
        """Until all have SUCCEEDED: the last one is watched, and only then the others are counted.

        Raises:
            NoService: one ended otherwise, the worker has ended, or it takes too long.
        """
        last = sa.select(executions.c.state).where(executions.c.id == sa.bindparam("id"))
        others = sa.select(executions.c.state, sa.func.count()).where(executions.c.id.in_(texts_of("ids")))
        engine = self.database.engine.execution_options(isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            self._until(lambda: connection.execute(last, {"id": ids[-1]}).scalar_one() in _FINAL)
            counted = others.group_by(executions.c.state)
            self._until(lambda: _FINAL.issuperset(connection.execute(counted, {"ids": [*ids]}).scalars()))
            states = dict(connection.execute(counted, {"ids": [*ids]}).tuples().all())
        if states != {ExecutionState.SUCCEEDED.value: len(ids)}:
            raise NoService("ours", f"executions ended as {states}")

    def _until(self, is_over: Any) -> None:
        began = looked = time.monotonic()
        while not is_over():
            time.sleep(POLL_S)
            now = time.monotonic()
            if now - looked < _LOOK_S:
                continue
            looked = now
            if self._services is None or (ended := self._services.ended_workers()):
                raise NoService("ours", "; ".join(ended) if self._services else "no worker was started")
            if now - began > WAIT_S:
                raise NoService("ours", f"no end within {WAIT_S:g} s")
