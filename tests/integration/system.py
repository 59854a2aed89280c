"""A whole system for a test: a database, a broker and worker processes, all its own, and gone with it."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from kombu import Connection

from orchestrator import Orchestrator
from orchestrator.engine.canvas import queue_of
from orchestrator.model.execution import Execution
from orchestrator.model.states import ExecutionState
from orchestrator.runtime.embedded import EmbeddedServices, Worker
from orchestrator.settings import Settings
from orchestrator.store.database import Database
from orchestrator.store.queries import ExecutionQueries
from orchestrator.store.tables import live_attempts
from tests.integration.waiting import until
from tests.services import postgres_database, sqlite_database

LIMIT_S = 60.0


@dataclass
class System:
    """``executor`` is this system's alone, and where its executions run if nothing else is said."""

    settings: Settings
    services: EmbeddedServices
    client: Orchestrator
    database: Database
    executor: str

    def start_worker(self, executor: str | None = None, *, concurrency: int = 2) -> Worker:
        return self.services.start_worker(executor or self.executor, concurrency=concurrency)

    def submit(self, definition: Any, parameters: Any = None, **more: Any) -> str:
        return self.client.submit(definition, parameters, executor=self.executor, **more)

    def execute(self, definition: Any, parameters: Any = None, *, within_s: float = LIMIT_S) -> Execution:
        return self.wait(self.submit(definition, parameters), within_s=within_s)

    def wait(self, execution_id: str, *, within_s: float = LIMIT_S) -> Execution:
        """Until it rests; a worker that has ended says so at once."""

        def rests() -> bool:
            assert self.services.ended_workers() == []
            return ExecutionQueries(self.database).state(execution_id) in {
                ExecutionState.SUCCEEDED,
                ExecutionState.FAILED,
                ExecutionState.CANCELLED,
                ExecutionState.SUSPENDED,
            }

        until(rests, within_s=within_s, what=f"the end of {execution_id}")
        return self.client.get(execution_id)

    def rows(self, statement: Any) -> Sequence[sa.Row[Any]]:
        with self.database.read() as connection:
            return connection.execute(statement).all()

    def live(self) -> Sequence[sa.Row[Any]]:
        return self.rows(sa.select(live_attempts))


@contextmanager
def running_system(
    folder: Path,
    *,
    database: str,
    broker_url: str,
    include: Sequence[str] = (),
    workers: int = 1,
    concurrency: int = 2,
    **more: Any,
) -> Iterator[System]:
    """A system with workers for its own executor.

    Args:
        folder: for its home.
        database: "sqlite" or "postgres".
        broker_url: of Redis or RabbitMQ.
        include: modules with task types.
        workers: how many worker processes, with ``concurrency`` pool processes each.
        more: settings.
    """
    executor = f"test-{uuid.uuid4().hex[:12]}"
    with ExitStack() as stack:
        opened = stack.enter_context(sqlite_database(folder) if database == "sqlite" else postgres_database())
        settings = Settings(
            home=folder / "home",
            broker_url=broker_url,
            database_url=opened.url.render_as_string(hide_password=False),
            include=tuple(include),
            **more,
        )
        if broker_url.startswith("amqp"):
            stack.callback(_delete_queue, broker_url, queue_of(executor))
        services = stack.enter_context(EmbeddedServices(settings, grace_s=0))
        client = stack.enter_context(Orchestrator(settings))
        system = System(settings, services, client, opened, executor)
        for _ in range(workers):
            system.start_worker(concurrency=concurrency)
        yield system


def _delete_queue(broker_url: str, queue: str) -> None:
    with Connection(broker_url) as connection:
        connection.default_channel.queue_delete(queue)
