"""Publishing definitions and submitting executions: everything is checked before anything is stored."""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass

from orchestrator.engine.validate import check_integration
from orchestrator.errors import UnknownParameter
from orchestrator.model.integration import IntegrationVersion
from orchestrator.model.values import Value, coerce, from_python
from orchestrator.service.services import Services
from orchestrator.service.start import new_execution, start_messages
from orchestrator.store.rows import DEFAULT_EXECUTOR, DEFAULT_LOCATION, DEFAULT_PROJECT, Method


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """Where things belong, as in ``projects/P/locations/L``."""

    project: str = DEFAULT_PROJECT
    location: str = DEFAULT_LOCATION


def publish(
    version: IntegrationVersion, services: Services, *, place: Place, source: str
) -> tuple[str, tuple[str, ...]]:
    """Check a definition, and make it the published version of its integration.

    Returns:
        The version's id, and warnings.

    Raises:
        InvalidDefinition: it cannot run; nothing was stored.
    """
    warnings = check_integration(version, services.types, source)
    version_id = services.versions.publish(version, project=place.project, location=place.location)
    return version_id, warnings


def submit(
    version_id: str,
    given: Mapping[str, Value],
    services: Services,
    *,
    place: Place,
    trigger_id: str | None = None,
    method: Method = Method.POST_TO_QUEUE,
    executor: str = DEFAULT_EXECUTOR,
) -> str:
    """Start an execution.

    Returns:
        Its id.

    Raises:
        InputError: the trigger or the parameters do not fit; nothing was stored.
        Unreachable: the database, or after the execution was stored, the broker.
    """
    plan = services.plans.get(version_id, trigger_id)
    execution_id = new_id()
    new = new_execution(
        plan,
        given,
        execution_id=execution_id,
        version_id=version_id,
        project=place.project,
        location=place.location,
        method=method,
        executor=executor,
        root_id=execution_id,
    )
    services.store.create([new])
    services.publisher.publish(start_messages([new], services.types))
    return execution_id


def to_values(version: IntegrationVersion, given: Mapping[str, object]) -> dict[str, Value]:
    """Plain Python data as values of the declared types.

    Raises:
        UnknownParameter: the integration does not declare one of them.
        InvalidValue: one of them does not fit its type.
    """
    declared = {each.key: each for each in version.parameters}
    values = {}
    for key, data in given.items():
        if key not in declared:
            raise UnknownParameter(key, tuple(declared))
        place, data_type = f"parameter {key!r}", declared[key].data_type
        if isinstance(data, Value):
            values[key] = coerce(data, data_type, place)
        else:
            values[key] = from_python(data, place, data_type)
    return values


def executors_of(version: IntegrationVersion, executor: str = DEFAULT_EXECUTOR) -> frozenset[str]:
    """The executors that the tasks of a definition go to."""
    return frozenset(task.executor_id or executor for task in version.tasks)


def new_id() -> str:
    """A UUID of version 7: time first, so that rows of one time lie together in every index."""
    milliseconds, chance = time.time_ns() // 1_000_000, int.from_bytes(os.urandom(10))
    bits = (milliseconds & (1 << 48) - 1) << 80 | 0x7 << 76 | (chance >> 64 & 0xFFF) << 64
    return str(uuid.UUID(int=bits | 0b10 << 62 | chance & (1 << 62) - 1))
