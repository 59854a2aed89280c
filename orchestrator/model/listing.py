"""How a list of executions is ordered, and where its next page begins.

A page token holds the place of the last execution of a page (the value that the list is ordered by, and the id), and a
digest of the filter and the order. So whatever is created meanwhile moves no page, and a token that is handed in with
another filter or order is refused, not misread. It is opaque to callers, and no secret: it can only continue the list
that it came with. An execution that moves in the order between two pages, because it was updated, is on both or none.
"""

from __future__ import annotations

import base64
import hashlib
import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, TypeAlias

from orchestrator.errors import InvalidPageToken, InvalidValue
from orchestrator.model.fields import is_storable
from orchestrator.model.filter_fields import CREATE_TIME, PRIORITY, UPDATE_TIME, Field, Kind, find_field
from orchestrator.model.filters import Node
from orchestrator.model.values import INT64_MAX, INT64_MIN

Boundary: TypeAlias = "tuple[datetime | int | str, str]"  # what the list is ordered by, and the id

_ORDERED_BY: Final = (CREATE_TIME, UPDATE_TIME, PRIORITY)  # every execution has each of them
_DIGEST_LENGTH: Final = 16
_MAX_TOKEN: Final = 4_000  # characters: the name of an integration may be most of them


@dataclass(frozen=True, slots=True)
class Order:
    """By which field, and in which direction; executions that are equal in it follow their ids, likewise."""

    field: Field
    is_descending: bool


NEWEST_FIRST: Final = Order(CREATE_TIME, is_descending=True)


def parse_order(text: str) -> Order:
    """Read an order such as ``create_time desc`` or ``priority``; a blank one is the newest first.

    Raises:
        InvalidValue: it is something else.
    """
    if not (words := text.split()):
        return NEWEST_FIRST
    by = find_field(words[0])
    direction = words[1].lower() if len(words) == 2 else "asc"
    if by not in _ORDERED_BY or direction not in ("asc", "desc") or len(words) > 2:
        names = ", ".join(each.name for each in _ORDERED_BY)
        raise InvalidValue("order", repr(text[:60]), f"one of {names}, and then asc or desc")
    return Order(by, is_descending=direction == "desc")


def to_page_token(place: Boundary, tree: Node, order: Order) -> str:
    """Where the list of this filter and order goes on."""
    value, execution_id = place
    written = value.isoformat() if isinstance(value, datetime) else value
    text = json.dumps([_digest(tree, order), written, execution_id], separators=(",", ":"))
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def parse_page_token(token: str, tree: Node, order: Order) -> Boundary:
    """The inverse of ``to_page_token``.

    Raises:
        InvalidPageToken: it is none, or that of another list.
    """
    try:
        digest, written, execution_id = _decoded(token)
    except (ValueError, TypeError, RecursionError):
        raise InvalidPageToken(token, "is not one that a list gave") from None
    if digest != _digest(tree, order):
        raise InvalidPageToken(token, "belongs to a list with another filter or order")
    try:
        return _parse_place(written, execution_id, order)
    except (ValueError, OverflowError):
        raise InvalidPageToken(token, "is not one that a list gave") from None


def _decoded(token: str) -> tuple[object, object, object]:
    if len(token) > _MAX_TOKEN:
        raise ValueError
    padded = token + "=" * (-len(token) % 4)
    digest, written, execution_id = json.loads(base64.b64decode(padded, altchars=b"-_", validate=True))
    return digest, written, execution_id


def _parse_place(written: object, execution_id: object, order: Order) -> Boundary:
    """Whoever makes tokens up has the digest as well; what is no place must not reach the database all the same."""
    if not isinstance(execution_id, str) or not is_storable(execution_id):
        raise ValueError
    if order.field is PRIORITY:
        if type(written) is not int or abs(written) > 9:
            raise ValueError
        return written, execution_id
    if order.field.kind is Kind.WHOLE:
        if type(written) is not int or not INT64_MIN <= written <= INT64_MAX:
            raise ValueError
        return written, execution_id
    if not isinstance(written, str) or not is_storable(written):
        raise ValueError
    if order.field.kind is Kind.TEXT:
        return written, execution_id
    time = datetime.fromisoformat(written)
    if time.tzinfo is None:
        raise ValueError
    return time.astimezone(UTC), execution_id


def _digest(tree: Node, order: Order) -> str:
    """The same for two texts of one meaning, such as the two spellings of a field."""
    return hashlib.sha256(repr((tree, order)).encode()).hexdigest()[:_DIGEST_LENGTH]
