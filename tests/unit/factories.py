"""Definitions in a few words: a test names what it is about, and gets the rest.

``make_integration(make_task(1, next=(2,)), make_task(2))`` is a chain of two with one API trigger.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from orchestrator.model.integration import (
    ErrorCatcher,
    IntegrationParameter,
    IntegrationVersion,
    NextTask,
    Rollback,
    TaskConfig,
    TriggerConfig,
)
from orchestrator.model.policies import FailurePolicy
from orchestrator.model.task_types import Done, TaskType, TaskTypes
from orchestrator.model.values import DataType

SAMPLES = Path(__file__).resolve().parents[3] / "shared" / "samples"
BUILT_IN = (
    "EmailTask",
    "FieldMappingTask",
    "GenericRestV2Task",
    "JsonnetMapperTask",
    "ReturnTask",
    "SubWorkflowForEachLoopV2Task",
    "SubWorkflowWhileLoopV2Task",
    "SuspensionTask",
)
Edge = int | tuple[int, str] | NextTask  # a number, a number with a condition, or the edge itself

needs_samples = pytest.mark.skipif(not SAMPLES.is_dir(), reason="../shared/samples is not here")


def sample_names() -> list[str]:
    return sorted(path.name for path in SAMPLES.glob("*.json"))


def make_edges(edges: Iterable[Edge]) -> tuple[NextTask, ...]:
    def made(edge: Edge) -> NextTask:
        if isinstance(edge, NextTask):
            return edge
        number, condition = edge if isinstance(edge, tuple) else (edge, "")
        return NextTask(number=number, condition=condition)

    return tuple(made(edge) for edge in edges)


def make_task(number: int = 1, task: str = "Noop", *, next: Iterable[Edge] = (), **more: Any) -> TaskConfig:  # noqa: A002
    return TaskConfig(number=number, task=task, next_tasks=make_edges(next), **more)


def make_trigger(name: str = "flow", *, starts: Iterable[Edge] = (), **more: Any) -> TriggerConfig:
    return TriggerConfig(**{"number": 1, "id": f"api_trigger/{name}", "start_tasks": make_edges(starts), **more})


def make_parameter(key: str = "x", data_type: DataType = DataType.STRING, **more: Any) -> IntegrationParameter:
    return IntegrationParameter(key=key, data_type=data_type, **more)


def make_catcher(catcher_id: str = "catcher", *, starts: Iterable[Edge] = ()) -> ErrorCatcher:
    return ErrorCatcher(id=catcher_id, number=1, start_tasks=make_edges(starts))


def make_rollback(policy: FailurePolicy | None = None) -> Rollback:
    return Rollback(task="Noop", failure_policy=policy)


def make_integration(
    *tasks: TaskConfig,
    triggers: Iterable[TriggerConfig] | None = None,
    parameters: Iterable[IntegrationParameter] = (),
    **more: Any,
) -> IntegrationVersion:
    """One Noop task and one API trigger, unless told otherwise."""
    return IntegrationVersion(
        **{
            "name": "flow",
            "tasks": tasks or (make_task(),),
            "triggers": (make_trigger(),) if triggers is None else tuple(triggers),
            "parameters": tuple(parameters),
            **more,
        }
    )


def make_task_types(*names: str) -> TaskTypes:
    """A registry in which these names, or Noop and the built-in ones, stand for types that do nothing."""
    return TaskTypes(TaskType(name=name, run=lambda _: Done(), light=True) for name in names or ("Noop", *BUILT_IN))
