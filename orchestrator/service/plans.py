"""Plans by version and trigger, kept for the life of the process: a version never changes, so neither does its plan."""

from __future__ import annotations

from collections import OrderedDict
from threading import Lock
from typing import Final

from orchestrator.engine.plan import Plan, make_plan
from orchestrator.model.definition import parse_integration
from orchestrator.model.integration import IntegrationVersion
from orchestrator.model.task_types import TaskTypes
from orchestrator.store.versions import StoredVersion, VersionStore

_KEPT: Final = 512  # plans a process; a plan of 100 tasks takes about 100 KB


class Plans:
    """A small cache of plans."""

    def __init__(self, versions: VersionStore, types: TaskTypes) -> None:
        self._versions, self._types = versions, types
        self._plans: OrderedDict[tuple[str, str], Plan] = OrderedDict()
        self._snapshot_numbers: dict[str, int] = {}
        self._lock = Lock()

    def get(self, version_id: str, trigger_id: str) -> Plan:
        """The plan of a stored version's trigger."""
        with self._lock:
            if (plan := self._plans.get((version_id, trigger_id))) is not None:
                self._plans.move_to_end((version_id, trigger_id))
                return plan
        return self.make(self._versions.get(version_id), trigger_id)

    def snapshot_number(self, version_id: str) -> int:
        """Which snapshot of its integration a version is."""
        if version_id not in self._snapshot_numbers:
            self._snapshot_numbers[version_id] = self._versions.get(version_id).snapshot_number
        return self._snapshot_numbers[version_id]

    def make(self, stored: StoredVersion, trigger_id: str) -> Plan:
        """Plan a version that was read already.

        Raises:
            UnknownTrigger: it has no such trigger.
        """
        version = parse_integration(stored.document, name=stored.integration, source=stored.integration)
        return self.keep(stored.id, version, trigger_id)

    def keep(self, version_id: str, version: IntegrationVersion, trigger_id: str) -> Plan:
        """Plan a version and remember it."""
        trigger = version.trigger(trigger_id)
        light = frozenset(each.name for each in self._types if each.light)
        plan = make_plan(version, trigger, light=light)
        with self._lock:
            self._plans[version_id, trigger.id] = plan
            while len(self._plans) > _KEPT:
                self._plans.popitem(last=False)
        return plan
