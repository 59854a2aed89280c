"""What use cases work with. ``runtime.app`` picks the real ones, once a process; tests pick their own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from orchestrator.engine.canvas import Chord, Message
from orchestrator.model.task_types import TaskSurroundings, TaskTypes
from orchestrator.service.guarding import Guard
from orchestrator.service.plans import Plans
from orchestrator.store.executions import ExecutionStore
from orchestrator.store.signals import SignalStore
from orchestrator.store.suspensions import SuspensionStore
from orchestrator.store.versions import VersionStore


class Publisher(Protocol):
    """Hands messages to the broker. Losing one loses time, never work: the rows say what is to be done."""

    def publish(self, messages: Sequence[Message | Chord]) -> None:
        """Send them all."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Services:
    """The stores, the task types and the way out to the broker. ``jitter`` gives a random number in [0, 1)."""

    store: ExecutionStore
    signals: SignalStore
    suspensions: SuspensionStore
    guard: Guard
    versions: VersionStore
    plans: Plans
    types: TaskTypes
    publisher: Publisher
    surroundings: TaskSurroundings
    jitter: Callable[[], float]
