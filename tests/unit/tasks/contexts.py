"""Contexts for testing task types by hand, and the real definitions that tests read."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from orchestrator.model.task_types import MailServer, TaskContext, TaskSurroundings
from orchestrator.model.values import Value, from_python, parse_value

SAMPLES = Path(__file__).resolve().parents[4] / "shared" / "samples"


def make_context(
    config: Mapping[str, object] | None = None,
    parameters: Mapping[str, object] | None = None,
    *,
    mail: MailServer | None = None,
    url_overrides: Mapping[str, str] | None = None,
    rest_timeout_s: float = 5.0,
    execution_id: str = "execution-1",
    attempt: int = 1,
) -> TaskContext:
    return TaskContext(
        execution_id=execution_id,
        integration="main",
        project="p",
        location="l",
        task_number=1,
        attempt=attempt,
        now=datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
        config=values(config or {}),
        parameters=values(parameters or {}),
        surroundings=TaskSurroundings(
            mail=mail or MailServer(outbox=Path("/nonexistent")),
            url_overrides=url_overrides or {},
            rest_timeout_s=rest_timeout_s,
        ),
    )


def values(plain: Mapping[str, object]) -> dict[str, Value]:
    return {key: item if isinstance(item, Value) else from_python(item, key) for key, item in plain.items()}


def parameter_map(**pairs: object) -> dict[str, object]:
    return {
        "@type": "type.googleapis.com/enterprise.crm.eventbus.proto.ParameterMap",
        "entries": [
            {"key": {"literalValue": {"stringValue": key}}, "value": {"literalValue": {"stringValue": item}}}
            for key, item in pairs.items()
        ],
    }


def sample(name: str) -> dict[str, Any]:
    path = SAMPLES / f"{name}.json"
    if not path.exists():
        pytest.skip(f"{path} is not here")
    return json.loads(path.read_text())


def sample_config(name: str, task_id: str) -> dict[str, Value]:
    """A task's parameters as the definition's reader hands them over: those without a value are left out."""
    task = next(task for task in sample(name)["taskConfigs"] if task["taskId"] == task_id)
    return {key: parse_value(entry["value"], key) for key, entry in task["parameters"].items() if entry.get("value")}
