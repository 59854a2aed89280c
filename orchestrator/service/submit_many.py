"""Submitting many executions of one integration: checked as a whole, then stored and started in chunks.

check_items -> decide each start, or one for all where they begin alike -> [a transaction, and its messages] a chunk

What must not happen: anything stored while one of the inputs could still be refused.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from orchestrator.engine.inputs import Inputs
from orchestrator.engine.plan import Plan
from orchestrator.errors import InputError, InvalidItem, InvalidValue, OrchestratorError, PartlySubmitted
from orchestrator.model.integration import IntegrationVersion
from orchestrator.model.json_text import shown
from orchestrator.model.task_types import TaskTypes
from orchestrator.model.values import Value
from orchestrator.service.backpressure import await_room, check_room
from orchestrator.service.chunking import FEW, MOST_OF_A_BUNDLE, is_chunkable, slices
from orchestrator.service.services import Services
from orchestrator.service.start import begins_alike, begun_like
from orchestrator.service.submit import Place, Wishes, check_ids, new_id, start_stored, store_once, to_new, to_values
from orchestrator.store.changes import NewAttempt, NewExecution

CHUNK: Final = 1_000  # executions a transaction: what others wait for, and what a crash of the client takes along


@dataclass(frozen=True, kw_only=True, slots=True)
class Item:
    """One of many: what was handed in, the parameters that this comes to, and the ids."""

    given: Mapping[str, Value]
    request: Mapping[str, Value]
    execution_id: str
    request_id: str | None


def check_items(
    version: IntegrationVersion,
    inputs: Sequence[Mapping[str, object]],
    *,
    execution_ids: Sequence[str | None] | None = None,
    request_ids: Sequence[str | None] | None = None,
) -> list[Item]:
    """Read what was handed in for each execution.

    Args:
        version: what they run.
        inputs: the parameters of each, plain Python data or values.
        execution_ids: of the caller's own choice, as many as inputs; None for one that is made.
        request_ids: likewise.

    Raises:
        InvalidItem: one does not fit, or has an execution id that an earlier one has.
        InvalidValue: there are not as many ids as inputs.
    """
    inputs_of = Inputs(version)
    items: list[Item] = []
    position_of: dict[str, int] = {}
    ids = _as_many("execution ids", execution_ids, inputs), _as_many("request ids", request_ids, inputs)
    for position, (each, execution_id, request_id) in enumerate(zip(inputs, *ids, strict=True)):
        try:
            check_ids(execution_id, request_id)
            if not isinstance(each, Mapping):
                raise InvalidValue("parameters", shown(each), "values by name")
            given = to_values(version, each)
            item = Item(
                given=given,
                request=inputs_of.bind(given),
                execution_id=execution_id or new_id(),
                request_id=request_id,
            )
        except InputError as error:
            raise InvalidItem(position, str(error)) from error
        if position_of.setdefault(item.execution_id, position) != position:
            first = position_of[item.execution_id]
            raise InvalidItem(position, f"execution id {item.execution_id!r} is that of inputs[{first}]")
        items.append(item)
    return items


def submit_many(
    version_id: str,
    items: Sequence[Item],
    services: Services,
    *,
    place: Place,
    trigger_id: str | None = None,
    wishes: Wishes,
) -> list[str]:
    """Start an execution for each item, or put them off until their time.

    Args:
        version_id: what they run.
        items: checked for that version.
        services: the stores, and the way to the broker.
        place: where they belong.
        trigger_id: default: the only API trigger.
        wishes: of all of them; ids in it do not count.

    Returns:
        Their ids, in order; if a ``request_id`` is known, or was in an earlier item, that of the first execution.

    Raises:
        InputError: the trigger does not fit; nothing was stored.
        QueueFull: there is no room for all, and nobody is to wait, or for none in time; nothing was stored.
        ExecutionExists, Unreachable: nothing was stored, as far as one knows.
        PartlySubmitted: one of these three came after some were stored.
    """
    plan = services.plans.get(version_id, trigger_id)
    id_of: dict[str, str] = {}  # the execution of each request id
    for each in items:
        if each.request_id is not None:
            id_of.setdefault(each.request_id, each.execution_id)
    wanted = [each for each in items if each.request_id is None or id_of[each.request_id] == each.execution_id]
    new = _to_new(plan, wanted, services.types, version_id=version_id, place=place, wishes=wishes)
    id_of |= _store_and_start(new, services, wait_s=wishes.wait_s)
    return [each.execution_id if each.request_id is None else id_of[each.request_id] for each in items]


def _as_many(
    place: str, ids: Sequence[str | None] | None, inputs: Sequence[Mapping[str, object]]
) -> Iterable[str | None]:
    if ids is None:
        return [None] * len(inputs)
    if len(ids) != len(inputs):
        raise InvalidValue(place, f"{len(ids):,}", f"one for each of the {len(inputs):,} inputs, or None for it")
    return ids


def _to_new(
    plan: Plan, items: Sequence[Item], types: TaskTypes, *, version_id: str, place: Place, wishes: Wishes
) -> list[NewExecution]:
    """The executions to store; their start is decided once where all begin alike."""

    def decided(each: Item) -> NewExecution:
        own = replace(wishes, execution_id=each.execution_id, request_id=each.request_id)
        return to_new(plan, each.given, version_id=version_id, place=place, wishes=own)

    if not items:
        return []
    first, firsts = decided(items[0]), _firsts(items, plan, types, wishes)
    if not begins_alike(first, plan):
        new = [first, *map(decided, items[1:])]
        return [replace(each, ready=_riding(each.ready, with_)) for each, with_ in zip(new, firsts, strict=True)]
    ready = {with_: _riding(first.ready, with_) for with_ in {*firsts}}
    return [
        begun_like(
            first, plan, each.request, execution_id=each.execution_id, request_id=each.request_id, ready=ready[with_]
        )
        for each, with_ in zip(items, firsts, strict=True)
    ]


def _firsts(items: Sequence[Item], plan: Plan, types: TaskTypes, wishes: Wishes) -> list[str | None]:
    """The first of the bundle (``service.bundles``) that each is in; None for those that get messages of their own."""
    is_bundled = len(items) > FEW and wishes.at is None and wishes.deadline_s is None
    if not is_bundled or not is_chunkable(plan, types, executor=_executor(plan, wishes)):
        return [None] * len(items)
    stored_together = [items[start : start + CHUNK] for start in range(0, len(items), CHUNK)]
    return [
        some[start].execution_id
        for some in stored_together
        for start, end in slices(len(some), most=MOST_OF_A_BUNDLE)
        for _ in range(start, end)
    ]


def _executor(plan: Plan, wishes: Wishes) -> str:
    """Where executions begin, if all their tasks go to the same executor."""
    return next((task.config.executor_id for task in plan.tasks.values() if task.config.executor_id), wishes.executor)


def _riding(ready: tuple[NewAttempt, ...], first_id: str | None) -> tuple[NewAttempt, ...]:
    """Of several start tasks each has a message of its own."""
    if first_id is None or len(ready) != 1:
        return ready
    return (replace(ready[0], rides_with=first_id),)


def _store_and_start(new: Sequence[NewExecution], services: Services, *, wait_s: float) -> dict[str, str]:
    """Store and start them in chunks, as there is room; the ids of those that were there already, by request id."""
    known: dict[str, str] = {}
    stored: list[str] = []
    try:
        if not wait_s:
            check_room(new, services)
        ahead = new
        while ahead:
            chunk = ahead[:CHUNK]
            if wait_s:
                chunk = chunk[: await_room(chunk, services, wait_s=wait_s)]
            ahead = ahead[len(chunk) :]
            created = store_once(chunk, services)
            known |= created.known
            stored += map(created.id_of, chunk)
            start_stored(created, services)
    except OrchestratorError as error:
        if not stored:
            raise
        raise PartlySubmitted(stored, len(new), str(error)) from error
    return known
