"""What a replay would do, before anybody does it: which tasks run again, which results are reused, what differs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from orchestrator.engine.differences import Differences, compare, is_same
from orchestrator.engine.replay import Reason, ReplayMode
from orchestrator.model.json_text import Json
from orchestrator.model.states import TaskState
from orchestrator.model.values import Value, to_value
from orchestrator.service.replay import ReplayWish, prepare
from orchestrator.service.services import Services


@dataclass(frozen=True, kw_only=True, slots=True)
class TaskPreview:
    """What becomes of one task.

    Attributes:
        state: how it ended in the original; None if that has no such task.
        again: why it runs again, or may; None if its result is reused.
        is_first: whether it begins at once.
    """

    number: int
    type: str
    name: str
    state: TaskState | None
    again: Reason | None
    is_first: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class ReplayPreview:
    """What a replay would do.

    Attributes:
        snapshot_numbers: of the version that the original ran, and of the one that the replay would run.
        tasks: all tasks of the latter.
        differences: between the two versions.
        inputs: the parameters of the request that differ: before and after, None where there is none.
        results: what is taken over from reused tasks.
    """

    execution_id: str
    integration: str
    state: str
    mode: ReplayMode
    snapshot_numbers: tuple[int, int]
    tasks: tuple[TaskPreview, ...]
    differences: Differences
    inputs: Mapping[str, tuple[Value | None, Value | None]]
    results: Mapping[str, Value]

    @property
    def again(self) -> tuple[TaskPreview, ...]:
        """The tasks that run again, or may."""
        return tuple(task for task in self.tasks if task.again is not None)

    @property
    def reused(self) -> tuple[TaskPreview, ...]:
        """The tasks whose results are reused."""
        return tuple(task for task in self.tasks if task.again is None)

    def to_document(self) -> dict[str, Json]:
        """As JSON data: values as ValueTypes."""
        changed: dict[str, Json] = {str(number): list(keys) for number, keys in self.differences.changed.items()}
        return {
            "originalExecutionInfoId": self.execution_id,
            "integration": self.integration,
            "state": self.state,
            "replayMode": self.mode.value,
            "originalSnapshotNumber": str(self.snapshot_numbers[0]),
            "snapshotNumber": str(self.snapshot_numbers[1]),
            "tasks": [_to_document(task) for task in self.tasks],
            "definition": {
                "added": [str(number) for number in self.differences.added],
                "removed": [str(number) for number in self.differences.removed],
                "changed": changed,
                "others": list(self.differences.others),
            },
            "inputs": {
                key: {"before": _to_json(before), "after": _to_json(after)}
                for key, (before, after) in self.inputs.items()
            },
            "results": {key: to_value(value) for key, value in self.results.items()},
        }


def _to_json(value: Value | None) -> Json:
    return None if value is None else to_value(value)


def _to_document(task: TaskPreview) -> Json:
    return {
        "taskNumber": str(task.number),
        "task": task.type,
        "taskLabel": task.name,
        "taskExecutionState": task.state,
        "isReused": task.again is None,
        "isFirst": task.is_first,
        "reason": task.again,
    }


def preview(wish: ReplayWish, services: Services) -> ReplayPreview:
    """What ``replay`` would do; raises what it would. Nothing is stored or started."""
    found = prepare(wish, services)
    old, new, plan = found.original, found.new, found.plan
    first = {attempt.number for attempt in new.ready}
    return ReplayPreview(
        execution_id=old.stored.id,
        integration=old.stored.integration,
        state=old.stored.state.value,
        mode=found.mode,
        snapshot_numbers=(
            services.plans.snapshot_number(old.stored.version_id),
            services.plans.snapshot_number(new.version_id),
        ),
        tasks=tuple(
            TaskPreview(
                number=number,
                type=task.config.task,
                name=task.config.display_name or task.config.task,
                state=old.progress.status(number).state if number in old.plan.tasks else None,
                again=found.reuse.again.get(number),
                is_first=number in first,
            )
            for number, task in sorted(plan.tasks.items())
        ),
        differences=compare(old.plan.version, plan.version, trigger_id=plan.trigger.id),
        inputs=dict(_inputs(old.stored.request, new.request)),
        results=new.parameters,
    )


def _inputs(
    before: Mapping[str, Value], after: Mapping[str, Value]
) -> Iterator[tuple[str, tuple[Value | None, Value | None]]]:
    for key in dict.fromkeys((*before, *after)):
        if not is_same(before.get(key), after.get(key)):
            yield key, (before.get(key), after.get(key))
