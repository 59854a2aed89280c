"""Definitions and plans by version, kept for the life of the process: a version never changes, nor does its plan.

That is so from its first publishing on. A DRAFT changes, and must not be looked up here.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from threading import Lock
from typing import Final, Generic, TypeVar

from orchestrator.engine.plan import Plan, make_plan
from orchestrator.model.definition import parse_integration
from orchestrator.model.integration import IntegrationVersion
from orchestrator.model.task_types import TaskTypes
from orchestrator.store.versions import VersionStore

_KEPT: Final = 512  # of each kind a process; a plan of 100 tasks takes about 100 KB

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Plans:
    """Reads, parses and plans what it has not seen yet."""

    def __init__(self, versions: VersionStore, types: TaskTypes) -> None:
        self._store, self._types = versions, types
        self._versions: _Recent[str, tuple[IntegrationVersion, int]] = _Recent()
        self._plans: _Recent[tuple[str, str], Plan] = _Recent()

    def get(self, version_id: str, trigger_id: str | None) -> Plan:
        """The plan of a stored version's trigger; None or empty is the only API trigger.

        Raises:
            UnknownTrigger: the version has no such trigger.
        """
        return self._plans.get((version_id, trigger_id or ""), lambda: self._make(version_id, trigger_id))

    def version(self, version_id: str) -> IntegrationVersion:
        """A stored version, parsed."""
        return self._read(version_id)[0]

    def snapshot_number(self, version_id: str) -> int:
        """Which snapshot of its integration a version is."""
        return self._read(version_id)[1]

    def after_fork(self) -> None:
        """Forget a lock that another thread of the parent may have held."""
        self._versions.lock, self._plans.lock = Lock(), Lock()

    def _make(self, version_id: str, trigger_id: str | None) -> Plan:
        version = self.version(version_id)
        light = frozenset(each.name for each in self._types if each.light)
        return make_plan(version, version.trigger(trigger_id), light=light)

    def _read(self, version_id: str) -> tuple[IntegrationVersion, int]:
        return self._versions.get(version_id, lambda: self._parse(version_id))

    def _parse(self, version_id: str) -> tuple[IntegrationVersion, int]:
        stored = self._store.get(version_id)
        version = parse_integration(stored.document, name=stored.integration, source=stored.integration)
        return version, stored.snapshot_number


class _Recent(Generic[K, V]):
    """The values that were asked for last. Two threads may make the same one; either will do."""

    def __init__(self) -> None:
        self.lock = Lock()
        self._values: OrderedDict[K, V] = OrderedDict()

    def get(self, key: K, make: Callable[[], V]) -> V:
        with self.lock:
            if key in self._values:
                self._values.move_to_end(key)
                return self._values[key]
        value = make()
        with self.lock:
            self._values[key] = value
            if len(self._values) > _KEPT:
                self._values.popitem(last=False)
        return value
