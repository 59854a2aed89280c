"""Publishing definitions and submitting executions: everything is checked before anything is stored."""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from orchestrator.engine.canvas import MOST_URGENT, is_execution_id
from orchestrator.engine.plan import Plan
from orchestrator.engine.validate import check_integration
from orchestrator.errors import InvalidValue, UnknownParameter
from orchestrator.failpoints import failpoint
from orchestrator.model.fields import is_storable
from orchestrator.model.integration import IntegrationVersion
from orchestrator.model.values import Value, coerce, from_python
from orchestrator.service.backpressure import await_room
from orchestrator.service.services import Services
from orchestrator.service.start import new_execution, start_messages
from orchestrator.store.changes import Created, NewExecution
from orchestrator.store.kinds import DEFAULT_EXECUTOR, DEFAULT_LOCATION, DEFAULT_PRIORITY, DEFAULT_PROJECT, Hold, Method

MAX_DEADLINE_S: Final = 10 * 365.25 * 86_400
MAX_ACTOR: Final = 256  # characters of the name of who submits


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """Where things belong, as in ``projects/P/locations/L``."""

    project: str = DEFAULT_PROJECT
    location: str = DEFAULT_LOCATION


def publish(
    version: IntegrationVersion, services: Services, *, place: Place, source: str, actor: str | None = None
) -> tuple[str, tuple[str, ...]]:
    """Check a definition, and make it the published version of its integration; ``actor`` is who does it.

    Returns:
        The version's id, and warnings.

    Raises:
        InvalidDefinition: it cannot run; nothing was stored.
    """
    warnings = check_integration(version, services.types, source)
    version_id = services.versions.publish(version, project=place.project, location=place.location, actor=actor)
    return version_id, warnings


@dataclass(frozen=True, kw_only=True, slots=True)
class Wishes:
    """How an execution is to run, beyond what its definition says.

    Attributes:
        method: POST runs it synchronously, which decides which failure policies apply.
        executor: where tasks go that name no executor of their own.
        at: not before this time; one that has passed is now.
        deadline_s: it is FAILED if it is not over so many seconds after it was submitted, or after ``at``.
        priority: 0 to 9, the most urgent.
        execution_id: chosen by the caller: 1 to 36 letters, digits and hyphens.
        request_id: the same one for the same integration gives the first execution back; likewise up to 36.
        wait_s: how long to wait for room in a full queue (``backpressure``).
        actor: who wants it; kept.
    """

    method: Method = Method.POST_TO_QUEUE
    executor: str = DEFAULT_EXECUTOR
    at: datetime | None = None
    deadline_s: float | None = None
    priority: int = DEFAULT_PRIORITY
    execution_id: str | None = None
    request_id: str | None = None
    wait_s: float = 0.0
    actor: str | None = None


_NO_WISHES: Final = Wishes()


def check_wishes(wishes: Wishes) -> None:
    """Refuse what cannot be done.

    Raises:
        InvalidValue: a time without a zone, a deadline that has passed already, a priority or an id of another form,
            a wait of less than nothing, the name of who wants it empty, too long or such as no database keeps.
    """
    if wishes.at is not None and wishes.at.tzinfo is None:
        raise InvalidValue("at", wishes.at.isoformat(), "a time with its zone, such as 2026-01-31T12:00:00Z")
    if wishes.deadline_s is not None and not 0 < wishes.deadline_s <= MAX_DEADLINE_S:
        expected = f"seconds from now, more than 0 and at most {MAX_DEADLINE_S:,.0f} (ten years)"
        raise InvalidValue("deadline", f"{wishes.deadline_s:g} s", expected)
    if not 0 <= wishes.priority <= MOST_URGENT:
        raise InvalidValue("priority", str(wishes.priority), f"0 to {MOST_URGENT}, the most urgent")
    if not wishes.wait_s >= 0:  # nor NaN
        raise InvalidValue("wait", f"{wishes.wait_s:g} s", "seconds to wait for room, 0 for not at all")
    if wishes.actor is not None and not (0 < len(wishes.actor) <= MAX_ACTOR and is_storable(wishes.actor)):
        expected = f"who wants it: 1 to {MAX_ACTOR} characters without NUL and surrogates"
        raise InvalidValue("actor", repr(wishes.actor)[:60], expected)
    check_ids(wishes.execution_id, wishes.request_id)


def check_ids(execution_id: str | None, request_id: str | None) -> None:
    """Refuse ids of another form.

    Raises:
        InvalidValue: one is no id.
    """
    for place, found in (("execution id", execution_id), ("request id", request_id)):
        if found is not None and not is_execution_id(found):
            raise InvalidValue(place, repr(found)[:60], "1 to 36 letters, digits and hyphens")


def submit(
    version_id: str,
    given: Mapping[str, Value],
    services: Services,
    *,
    place: Place,
    trigger_id: str | None = None,
    wishes: Wishes = _NO_WISHES,
    only_published: bool = False,
) -> str:
    """Start an execution, or put it off until its time.

    Args:
        version_id: what it runs.
        given: its parameters.
        services: the stores, and the way to the broker.
        place: where it belongs.
        trigger_id: default: the only API trigger.
        wishes: how it is to run.
        only_published: only if the version is the published one of its integration when the execution is stored.

    Returns:
        Its id; if its ``request_id`` is known, that of the first execution with it.

    Raises:
        InputError: the trigger, the parameters or the wishes do not fit; nothing was stored.
        QueueFull: too much waits for an executor that it starts on, also after ``wait_s``; nothing was stored.
        ExecutionExists: the chosen id is taken.
        NotPublished: the version is not the published one any more; nothing was stored.
        Unreachable: the database, or after the execution was stored, the broker.
    """
    check_wishes(wishes)
    plan = services.plans.get(version_id, trigger_id)
    new = to_new(plan, given, version_id=version_id, place=place, wishes=wishes)
    await_room([new], services, wait_s=wishes.wait_s)
    created = store_once([new], services, only_published=only_published)
    start_stored(created, services)
    return created.id_of(new)


def to_new(plan: Plan, given: Mapping[str, Value], *, version_id: str, place: Place, wishes: Wishes) -> NewExecution:
    """What is wanted as an execution to store.

    Raises:
        InputError: the parameters do not fit.
    """
    execution_id = wishes.execution_id or new_id()
    new = new_execution(
        plan,
        given,
        execution_id=execution_id,
        version_id=version_id,
        project=place.project,
        location=place.location,
        method=wishes.method if wishes.at is None else Method.SCHEDULE,
        executor=wishes.executor,
        root_id=execution_id,
        hold=None if wishes.at is None else Hold.SCHEDULED,
        priority=wishes.priority,
    )
    return replace(
        new,
        scheduled_at=wishes.at,
        deadline_s=wishes.deadline_s,
        request_id=wishes.request_id,
        submitted_by=wishes.actor,
    )


def store_once(new: Sequence[NewExecution], services: Services, *, only_published: bool = False) -> Created:
    """Store executions, but for those whose request id is known, in one transaction; ``create_once`` says what of."""
    failpoint("submit.before")
    created = services.store.create_once(new, only_published=only_published)
    failpoint("submit.committed")
    return created


def start_stored(created: Created, services: Services) -> None:
    """Send the first messages of executions that were just stored."""
    if messages := start_messages(created.new, services.types):
        services.publisher.publish(messages)
    failpoint("submit.published")


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
    """A UUID of version 7: time first, so that rows of one time lie together in every index.

    To a quarter of a microsecond (RFC 9562, section 6.2, method 3): what was submitted first is listed first.
    """
    milliseconds, rest = divmod(time.time_ns(), 1_000_000)
    fraction, chance = rest * 4096 // 1_000_000, int.from_bytes(os.urandom(8))
    bits = (milliseconds & (1 << 48) - 1) << 80 | 0x7 << 76 | fraction << 64
    return str(uuid.UUID(int=bits | 0b10 << 62 | chance & (1 << 62) - 1))
