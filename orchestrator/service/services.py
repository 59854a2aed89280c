"""What use cases work with. ``runtime.app`` picks the real ones, once a process; tests pick their own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, Self

from orchestrator.engine.canvas import Chord, Message
from orchestrator.model.task_types import TaskSurroundings, TaskTypes
from orchestrator.service.guarding import Guard
from orchestrator.service.plans import Plans
from orchestrator.service.waiting import Waiting
from orchestrator.store.bundles import BundleStore
from orchestrator.store.chunks import ChunkStore
from orchestrator.store.database import Database
from orchestrator.store.executions import ExecutionStore
from orchestrator.store.glances import GlanceStore
from orchestrator.store.keys import KeyStore
from orchestrator.store.outbox import Outbox
from orchestrator.store.rows import LiveAttempt
from orchestrator.store.signals import SignalStore
from orchestrator.store.suspensions import SuspensionStore
from orchestrator.store.versions import VersionStore
from orchestrator.store.workers import WorkerStore


class Publisher(Protocol):
    """Hands messages to the broker. Losing one loses time, never work: the rows say what is to be done."""

    def publish(self, messages: Sequence[Message | Chord]) -> None:
        """Send them all."""

    def nudge(self, attempts: Sequence[LiveAttempt]) -> None:
        """Have workers look at once whether what they run is to end. It may get lost: they look now and then anyway."""

    def depth(self, executor: str) -> int | None:
        """How many messages wait for an executor; None if the broker cannot say now."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Services:
    """The stores, the task types and the way out to the broker. ``jitter`` gives a random number in [0, 1).

    ``waiting`` is for coroutines alone.

    ``max_queue_depth`` is how many messages may wait for an executor before submissions to it are refused.
    """

    store: ExecutionStore
    chunks: ChunkStore
    bundles: BundleStore
    signals: SignalStore
    suspensions: SuspensionStore
    workers: WorkerStore
    outbox: Outbox
    guard: Guard
    versions: VersionStore
    keys: KeyStore
    plans: Plans
    waiting: Waiting
    types: TaskTypes
    publisher: Publisher
    surroundings: TaskSurroundings
    jitter: Callable[[], float]
    max_queue_depth: int | None = None

    @classmethod
    def of(
        cls,
        database: Database,
        *,
        types: TaskTypes,
        publisher: Publisher,
        guard: Guard,
        surroundings: TaskSurroundings,
        jitter: Callable[[], float],
        max_queue_depth: int | None = None,
    ) -> Self:
        """With every store in this database."""
        versions = VersionStore(database)
        return cls(
            store=ExecutionStore(database),
            chunks=ChunkStore(database),
            bundles=BundleStore(database),
            signals=SignalStore(database),
            suspensions=SuspensionStore(database),
            workers=WorkerStore(database),
            outbox=Outbox(database),
            guard=guard,
            versions=versions,
            keys=KeyStore(database),
            plans=Plans(versions, types),
            waiting=Waiting(GlanceStore(database).look),
            types=types,
            publisher=publisher,
            surroundings=surroundings,
            jitter=jitter,
            max_queue_depth=max_queue_depth,
        )
