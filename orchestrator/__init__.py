"""Durable, inspectable, killable executions of task graphs on Celery.

``Orchestrator`` is the Python API, ``task_type`` makes a plain function a task type, and ``celery -A orchestrator``
finds the Celery app here. All three are loaded when they are first asked for, so that importing a part stays cheap.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from orchestrator.client import Orchestrator
    from orchestrator.model.task_functions import task_type
    from orchestrator.model.task_types import TaskContext

__all__ = ["Orchestrator", "TaskContext", "task_type"]


def __getattr__(name: str) -> Any:
    """Load the name on first use."""
    match name:
        case "Orchestrator":
            from orchestrator.client import Orchestrator

            return Orchestrator
        case "task_type":
            from orchestrator.model.task_functions import task_type

            return task_type
        case "TaskContext":
            from orchestrator.model.task_types import TaskContext

            return TaskContext
        case "app":
            from orchestrator.runtime.app import default_app

            return default_app()
        case _:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
