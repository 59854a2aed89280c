"""Contexts and mapping definitions for tests of task types, from plain Python data."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from orchestrator.model.task_types import MailServer, TaskContext, TaskSurroundings
from orchestrator.model.values import Value, from_python

NOW = datetime(2026, 3, 14, 15, 9, 26, 535_000, tzinfo=UTC)


def to_values(data: Mapping[str, object] | None) -> dict[str, Value]:
    """Give plain Python data the narrowest types that fit; a ``Value`` stays as it is."""
    return {key: item if isinstance(item, Value) else from_python(item, key) for key, item in (data or {}).items()}


def make_context(
    config: Mapping[str, object] | None = None, parameters: Mapping[str, object] | None = None, **changes: Any
) -> TaskContext:
    """One attempt of a task; ``changes`` are fields of ``TaskContext``."""
    fields: dict[str, Any] = {
        "execution_id": "83fb009a-0152-433d-a3b6-e38118335308",
        "integration": "orders",
        "project": "acme",
        "location": "europe-west1",
        "task_number": 1,
        "attempt": 1,
        "now": NOW,
        "config": to_values(config),
        "parameters": to_values(parameters),
        "surroundings": TaskSurroundings(mail=MailServer(outbox=Path("outbox"))),
    }
    return TaskContext(**fields | changes)
