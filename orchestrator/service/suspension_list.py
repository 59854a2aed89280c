"""Lists of the suspensions of one execution: a filter, an order and pages.

An execution has few suspensions, so all of them are read and the rest is done here. Timers, which the clock ends and
nobody else, are not among them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from orchestrator.errors import InvalidValue
from orchestrator.model import filter_fields
from orchestrator.model.filter_fields import Field, Kind, Operand, find_field
from orchestrator.model.filters import And, Comparison, Operator, fits, parse_filter
from orchestrator.model.listing import Order, parse_page_token, to_page_token
from orchestrator.service.services import Services
from orchestrator.store.kinds import SuspensionState
from orchestrator.store.suspensions import Suspension

NAME: Final = Field("name", Kind.TEXT, ("id", "suspension_id"))
TASK: Final = Field("task_id", Kind.TEXT, ("task_number",))
STATE: Final = Field("state", Kind.CHOICE, (), tuple((state.value, state.value) for state in SuspensionState))
RESOLVER: Final = Field("resolver", Kind.TEXT)
CREATED: Final = Field("create_time", Kind.TIME, ("created_at",))
MODIFIED: Final = Field("last_modify_time", Kind.TIME, ("last_modified_time", "update_time"))
FIELDS: Final = (NAME, TASK, STATE, RESOLVER, CREATED, MODIFIED)
_ORDERED_BY: Final = (CREATED, MODIFIED)
DEFAULT_PAGE: Final = 50


@dataclass(frozen=True, kw_only=True, slots=True)
class SuspensionWish:
    """What a list is to show.

    Attributes:
        filter: as ``parse_filter`` takes it, of ``FIELDS``; blank is everything.
        order_by: ``create_time`` or ``last_modify_time``, and then asc or desc; blank is the oldest first.
        page_size: at most so many, from 1 up.
        page_token: what the page before has ended with; blank for the first.
    """

    filter: str = ""
    order_by: str = ""
    page_size: int = DEFAULT_PAGE
    page_token: str = ""


def read_suspensions(execution_id: str, wish: SuspensionWish, services: Services) -> tuple[list[Suspension], str]:
    """One page of the suspensions of an execution.

    Returns:
        Its suspensions, and the token of the next page; blank after the last.

    Raises:
        FilterSyntax, InvalidValue, InvalidPageToken: something of the wish cannot be used.
    """
    tree, (by, order) = parse_filter(wish.filter, FIELDS), _parse_order(wish.order_by)
    of_this = And((Comparison(filter_fields.EXECUTION_ID, Operator.EQUAL, execution_id), tree))
    after = parse_page_token(wish.page_token, of_this, order) if wish.page_token else None
    asked = [each for each in services.suspensions.of_execution(execution_id) if not each.is_timer]
    found = [each for each in asked if fits(tree, _values(each))]

    def place(each: Suspension) -> tuple[datetime | int, str]:
        return (modified_at(each) if by is MODIFIED else each.created_at), each.id

    found.sort(key=place, reverse=order.is_descending)
    if after is not None:
        found = [each for each in found if (place(each) < after if order.is_descending else place(each) > after)]
    page = found[: wish.page_size]
    return page, to_page_token(place(page[-1]), of_this, order) if len(found) > len(page) else ""


def modified_at(suspension: Suspension) -> datetime:
    """When it was answered; before that, when it began."""
    return suspension.resolved_at or suspension.created_at


def _parse_order(text: str) -> tuple[Field, Order]:
    """The field, and the order as page tokens know it."""
    words = text.split() or [CREATED.name]
    by = find_field(words[0], _ORDERED_BY)
    direction = words[1].lower() if len(words) == 2 else "asc"
    if by is None or direction not in ("asc", "desc") or len(words) > 2:
        raise InvalidValue("order", repr(text[:60]), "create_time or last_modify_time, and then asc or desc")
    as_known = filter_fields.UPDATE_TIME if by is MODIFIED else filter_fields.CREATE_TIME
    return by, Order(as_known, is_descending=direction == "desc")


def _values(suspension: Suspension) -> Mapping[Field, Operand | None]:
    return {
        NAME: suspension.id,
        TASK: str(suspension.task_number),
        STATE: suspension.state.value,
        RESOLVER: suspension.resolver,
        CREATED: suspension.created_at,
        MODIFIED: modified_at(suspension),
    }
