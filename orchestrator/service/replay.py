"""Replaying an execution that is over: a new one that repeats it, with other parameters or another version if wanted.

What runs again and what is reused, ``engine.replay`` decides. ``prepare`` works everything out and stores nothing. A
replay and its preview are both made of it, so what the one says is what the other does. An execution that is over never
changes, so there is no race between the look at it and the replay.

Decisions:

- A replay is a root: nobody's task waits for it, also if what it repeats is a sub-execution. The parent of that has
  gone on, or is over.
- It runs on the executor, with the priority, and within the time that the original was given; synchronously if that
  was. A schedule is not repeated: somebody wants it now.
- The request of the original holds for what the caller does not hand in, defaults included that another version
  declares otherwise: it is the same execution once more. A parameter that this version does not declare is left out,
  and the preview says so.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Final, TypeVar

from orchestrator.engine.differences import is_same
from orchestrator.engine.plan import Plan
from orchestrator.engine.progress import unpack
from orchestrator.engine.replay import (
    Change,
    ReplayMode,
    Reuse,
    changes_of,
    is_failure_point,
    kept_changes,
    results_of,
    reuse_nothing,
    reuse_what_succeeded,
    start_of,
    to_details,
)
from orchestrator.errors import ExecutionExists, InvalidValue, StateError
from orchestrator.model.fields import is_storable, shown
from orchestrator.model.history import Entry, EntryKind
from orchestrator.model.integration import IntegrationVersion
from orchestrator.model.json_text import Json
from orchestrator.model.states import ExecutionState
from orchestrator.model.values import Value, coerce
from orchestrator.service.reach import executors_in_reach
from orchestrator.service.services import Services
from orchestrator.service.standing import Standing, stand
from orchestrator.service.start import new_execution, start_messages
from orchestrator.service.submit import Place, check_ids, new_id, to_values
from orchestrator.store.changes import NewExecution
from orchestrator.store.kinds import Method, Replay
from orchestrator.store.queries import ExecutionQueries
from orchestrator.store.rows import StoredExecution

MAX_TEXT: Final = 10_000  # characters of a reason

E = TypeVar("E", bound=StrEnum)


class ReplayVersion(StrEnum):
    """Which version of the integration a replay runs."""

    PINNED = "pinned"  # the one that the execution ran
    PUBLISHED = "published"  # the one that is published now


class NotOver(StateError):
    """Only what is over can be replayed: anything else would run twice at the same time."""

    def __init__(self, execution_id: str, state: str) -> None:
        super().__init__(execution_id, state)
        self.execution_id, self.state = execution_id, state

    def __str__(self) -> str:
        return (
            f"execution {self.execution_id} is {self.state}, and only one that is over can be replayed: "
            f"wait for its end, or end it with `orchestrator kill {self.execution_id}`"
        )


class NoFailurePoint(StateError):
    """Nothing failed, so there is nowhere to go on from."""

    def __init__(self, execution_id: str) -> None:
        super().__init__(execution_id)
        self.execution_id = execution_id

    def __str__(self) -> str:
        return (
            f"execution {self.execution_id} SUCCEEDED and no task of it failed, so there is no failure point: "
            "replay it from the beginning"
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class ReplayWish:
    """What is wanted.

    Attributes:
        execution_id: which execution is to be repeated.
        mode: from the beginning, or from its failure points.
        parameters: handed in anew, plain data or values; they stand over the original request.
        only: leave the original request out altogether.
        version: which version of the integration to run.
        reason: why; kept.
        actor: who wants it; kept.
        new_id: the id of the new execution, chosen by the caller; a second replay under it is the first one.
    """

    execution_id: str
    mode: ReplayMode = ReplayMode.FROM_BEGINNING
    parameters: Mapping[str, object] = field(default_factory=dict)
    only: bool = False
    version: ReplayVersion = ReplayVersion.PINNED
    reason: str = ""
    actor: str = ""
    new_id: str | None = None


# -- doing it ------------------------------------------------------------------------------------------------------


def replay(wish: ReplayWish, services: Services) -> str:
    """Start a new execution that repeats one that is over.

    Returns:
        The id of the new one.

    Raises:
        NotOver: it goes on; nothing was stored, here and below.
        NoFailurePoint: it is to go on where it failed, and nothing did.
        ExecutionNotFound: there is no such execution.
        IntegrationNotFound: the published version is wanted, and none is published.
        InputError: the parameters do not fit, or the published version lacks the trigger.
        ExecutionExists: the chosen id is that of something else.
        Unreachable: the database, or after the execution was stored, the broker.
    """
    new = prepare(wish, services).new
    try:
        created = services.store.create_once([new])
    except ExecutionExists:
        stored = ExecutionQueries(services.store.database).one(new.id)
        if stored.replay != new.replay:
            raise
        return new.id
    services.publisher.publish(start_messages(created.new, services.types))
    return new.id


def version_for(execution_id: str, services: Services, *, version: ReplayVersion) -> IntegrationVersion:
    """The version that a replay would run: what its parameters have to fit.

    Raises:
        ExecutionNotFound: there is no such execution.
        IntegrationNotFound: the published version is wanted, and none is published.
    """
    stored = ExecutionQueries(services.store.database).one(execution_id)
    return services.plans.version(_version_id(stored, version, services))


def executors_for(wish: ReplayWish, services: Services) -> frozenset[str]:
    """The executors that a replay needs workers of: its own, and those of the integrations that it calls.

    Raises:
        StateError, StoreError, InputError: as ``replay``.
    """
    new = prepare(wish, services).new
    place = Place(project=new.project, location=new.location)
    return executors_in_reach(new.version_id, services, executor=new.executor, place=place)


# -- working it out ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True, slots=True)
class Prepared:
    """Everything about a replay, before anything is stored."""

    original: Standing
    plan: Plan
    mode: ReplayMode
    reuse: Reuse
    new: NewExecution


def prepare(wish: ReplayWish, services: Services) -> Prepared:
    """Work out a replay and store nothing; raises what ``replay`` does."""
    mode, version = _choice(ReplayMode, wish.mode, "mode"), _choice(ReplayVersion, wish.version, "version")
    for place, text in (("reason", wish.reason), ("actor", wish.actor)):
        if not is_storable(text) or len(text) > MAX_TEXT:
            raise InvalidValue(f"{place} of the replay", shown(text), f"at most {MAX_TEXT:,} characters, no NUL in it")
    check_ids(wish.new_id, None)
    original = stand(wish.execution_id, services)
    stored = original.stored
    if not stored.state.is_final:
        raise NotOver(stored.id, stored.state.value)
    version_id = _version_id(stored, version, services)
    plan = services.plans.get(version_id, stored.trigger_id)
    given = to_values(plan.version, wish.parameters)
    reuse, changes = _reuse(original, plan, mode, given, services)
    new = new_execution(
        plan,
        given if wish.only else {**_repeated(stored, plan), **given},
        execution_id=(execution_id := wish.new_id or new_id()),
        version_id=version_id,
        project=stored.project,
        location=stored.location,
        method=Method.POST if stored.method is Method.POST else Method.POST_TO_QUEUE,
        executor=stored.executor,
        root_id=execution_id,
        priority=stored.priority,
        taken_over=reuse.progress,
        results=plan.typed(results_of(changes)),
    )
    new = replace(
        new,
        replay=Replay(of=stored.id, mode=mode.value, reason=wish.reason),
        deadline_s=_deadline_s(stored),
        submitted_by=wish.actor or None,
        recorded=_entry(new, plan, changes, actor=wish.actor, original=original, mode=mode),
    )
    return Prepared(original=original, plan=plan, mode=mode, reuse=reuse, new=new)


def _choice(kind: type[E], found: str, place: str) -> E:
    try:
        return kind(found)
    except ValueError:
        raise InvalidValue(f"{place} of the replay", repr(found)[:60], " or ".join(kind)) from None


def _version_id(stored: StoredExecution, version: ReplayVersion, services: Services) -> str:
    if version is ReplayVersion.PINNED:
        return stored.version_id
    place = {"project": stored.project, "location": stored.location}
    return services.versions.find(stored.integration, trigger_id="", **place)


def _reuse(
    original: Standing, plan: Plan, mode: ReplayMode, given: Mapping[str, Value], services: Services
) -> tuple[Reuse, list[Change]]:
    """What is taken over, and what those tasks changed."""
    if mode is ReplayMode.FROM_BEGINNING:
        return reuse_nothing(plan), []
    stored = original.stored
    if stored.state is ExecutionState.SUCCEEDED and not is_failure_point(original.plan, original.progress):
        raise NoFailurePoint(stored.id)
    reuse = reuse_what_succeeded(original.plan, original.progress, plan)
    entries = ExecutionQueries(services.store.database).entries({stored.id: 0}).get(stored.id, [])
    return reuse, kept_changes(changes_of(entries), reused=reuse.progress.tasks.keys(), given=given.keys())


def _repeated(stored: StoredExecution, plan: Plan) -> dict[str, Value]:
    """The original request, as far as this version declares it.

    Defaults are left to be bound again: what is handed in is held to its schema, and they are not.
    """
    declared = {key: plan.parameters[key] for key in stored.request if key in plan.parameters}
    defaults = {
        key: coerce(each.default, each.data_type, key) for key, each in declared.items() if each.default is not None
    }
    return {key: stored.request[key] for key in declared if not is_same(stored.request[key], defaults.get(key))}


def _deadline_s(stored: StoredExecution) -> float | None:
    """As much time as the original had."""
    if stored.deadline_at is None:
        return None
    return (stored.deadline_at - (stored.scheduled_at or stored.created_at)).total_seconds()


def _entry(
    new: NewExecution, plan: Plan, changes: list[Change], *, actor: str, original: Standing, mode: ReplayMode
) -> Entry:
    """What the history of the replay begins with."""
    start = start_of(plan, unpack(plan, new.progress, new.state))
    details: dict[str, Json] = {"of": original.stored.id, "mode": mode.value}
    return Entry(
        kind=EntryKind.REPLAYED,
        task_number=0,
        attempt=0,
        started_at=original.now,
        ended_at=original.now,
        actor=actor,
        states=start.states,
        edges=start.edges,
        parameters=new.parameters,
        details=details | to_details(changes),
    )
