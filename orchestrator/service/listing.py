"""Lists of executions: a filter, an order and pages. The handy wishes become parts of the same tree as the filter.

A list is of one project and location. Without a filter it shows roots alone; with one it shows whatever fits, because
whoever asks for an execution's id, or for all that FAILED, does not mean only what happens to be a root.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from orchestrator.errors import InvalidValue
from orchestrator.model import filter_fields as fields
from orchestrator.model.filters import EVERYTHING, And, Comparison, Filled, Node, Not, Operator, parse_filter
from orchestrator.model.listing import Order, parse_order, parse_page_token, to_page_token
from orchestrator.model.states import ExecutionState
from orchestrator.service.submit import Place
from orchestrator.store.queries import ExecutionQueries
from orchestrator.store.rows import StoredExecution

MAX_PAGE: Final = 10_000  # executions
DEFAULT_PAGE: Final = 50


@dataclass(frozen=True, kw_only=True, slots=True)
class ListWish:
    """What a list is to show.

    Attributes:
        filter: as text, or as a tree that was made of something else; blank is everything.
        order_by: as ``model.listing.parse_order`` takes it; blank is the newest first.
        integration: only of this one.
        state: only in this state.
        with_children: sub-executions as well; None: if there is a filter.
        page_size: at most so many.
        page_token: what the page before has ended with; blank for the first.
    """

    filter: str | Node = ""
    order_by: str = ""
    integration: str | None = None
    state: ExecutionState | None = None
    with_children: bool | None = None
    page_size: int = DEFAULT_PAGE
    page_token: str = ""


def read_page(wish: ListWish, queries: ExecutionQueries, *, place: Place) -> tuple[list[StoredExecution], str]:
    """One page of a list.

    Returns:
        Its executions, and the token of the next page; blank after the last.

    Raises:
        FilterSyntax, InvalidValue, InvalidPageToken: something of it cannot be used.
    """
    if not 1 <= wish.page_size <= MAX_PAGE:
        raise InvalidValue("page size", str(wish.page_size), f"1 to {MAX_PAGE:,}")
    tree, order = _to_tree(wish, place), parse_order(wish.order_by)
    after = parse_page_token(wish.page_token, tree, order) if wish.page_token else None
    rows = queries.list(tree, order=order, after=after, limit=wish.page_size + 1)
    page = rows[: wish.page_size]
    if len(rows) == len(page):
        return page, ""
    return page, to_page_token((_value_of(page[-1], order), page[-1].id), tree, order)


def within(place: Place, *parts: Node) -> Node:
    """What fits all parts, in one project and location."""
    project = Comparison(fields.PROJECT, Operator.EQUAL, place.project)
    return And((project, Comparison(fields.LOCATION, Operator.EQUAL, place.location), *parts))


def _to_tree(wish: ListWish, place: Place) -> Node:
    parts = [parse_filter(wish.filter) if isinstance(wish.filter, str) else wish.filter]
    is_filtered = parts[0] != EVERYTHING
    if wish.integration is not None:
        parts.append(Comparison(fields.INTEGRATION, Operator.EQUAL, wish.integration))
    if wish.state is not None:
        parts.append(Comparison(fields.STATE, Operator.EQUAL, wish.state.value))
    if not (is_filtered if wish.with_children is None else wish.with_children):
        parts.append(Not(Filled(fields.PARENT_ID)))
    return within(place, *parts)


def _value_of(stored: StoredExecution, order: Order) -> datetime | int:
    if order.field is fields.PRIORITY:
        return stored.priority
    return stored.updated_at if order.field is fields.UPDATE_TIME else stored.created_at
