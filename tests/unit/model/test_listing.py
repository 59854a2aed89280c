"""Orders and page tokens: a token goes on with the list that it came with, and with no other."""

import base64
import json
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.errors import InvalidPageToken, InvalidValue
from orchestrator.model.filter_fields import CREATE_TIME, PRIORITY, UPDATE_TIME
from orchestrator.model.filters import parse_filter
from orchestrator.model.listing import NEWEST_FIRST, Order, parse_order, parse_page_token, to_page_token

FILTER = parse_filter("state = FAILED")
PLACE = (datetime(2026, 1, 31, 12, 0, 0, 123, tzinfo=UTC), "an-id")
BY_PRIORITY = Order(PRIORITY, is_descending=False)


@pytest.mark.parametrize(
    ("text", "order"),
    [
        ("", NEWEST_FIRST),
        ("create_time", Order(CREATE_TIME, is_descending=False)),
        ("createTime desc", NEWEST_FIRST),
        ("last_modified_time DESC", Order(UPDATE_TIME, is_descending=True)),
        (" priority  asc ", BY_PRIORITY),
    ],
)
def test_an_order_is_a_field_and_a_direction(text, order):
    assert parse_order(text) == order


@pytest.mark.parametrize("text", ["state", "end_time", "create_time down", "create_time desc, id", "create_time; DROP"])
def test_another_order_is_refused(text):
    with pytest.raises(InvalidValue, match="expected one of create_time, update_time, priority, and then asc or desc"):
        parse_order(text)


@given(
    st.one_of(
        st.tuples(st.just(NEWEST_FIRST), st.tuples(st.datetimes(timezones=st.just(UTC)), st.text("ab-1", min_size=1))),
        st.tuples(st.just(BY_PRIORITY), st.tuples(st.integers(0, 9), st.text("ab-1", min_size=1))),
    )
)
def test_a_token_gives_its_place_back(given):
    order, place = given

    assert parse_page_token(to_page_token(place, FILTER, order), FILTER, order) == place


def test_a_token_is_the_same_for_two_texts_of_one_meaning():
    token = to_page_token(PLACE, parse_filter("event_execution_state : 'FAILED'"), NEWEST_FIRST)

    assert parse_page_token(token, FILTER, NEWEST_FIRST) == PLACE


@pytest.mark.parametrize(
    ("tree", "order"),
    [(parse_filter("state = PENDING"), NEWEST_FIRST), (FILTER, parse_order("create_time")), (FILTER, BY_PRIORITY)],
)
def test_a_token_of_another_filter_or_order_is_refused(tree, order):
    token = to_page_token(PLACE, FILTER, NEWEST_FIRST)

    with pytest.raises(InvalidPageToken, match="belongs to a list with another filter or order; begin again without"):
        parse_page_token(token, tree, order)


def forged(place, order):
    """A token with the right digest and whatever place."""
    padded = to_page_token(PLACE, FILTER, order) + "=="
    digest, _, _ = json.loads(base64.urlsafe_b64decode(padded))
    return base64.urlsafe_b64encode(json.dumps([digest, *place]).encode()).decode()


@pytest.mark.parametrize(
    ("place", "order"),
    [
        (("2026-01-31T12:00:00", "id"), NEWEST_FIRST),
        (("now", "id"), NEWEST_FIRST),
        ((5, "id"), NEWEST_FIRST),
        (("0001-01-01T00:00:00+14:00", "id"), NEWEST_FIRST),
        (("2026-01-31T12:00:00Z", "\0"), NEWEST_FIRST),
        (("2026-01-31T12:00:00Z", 5), NEWEST_FIRST),
        ((70_000, "id"), BY_PRIORITY),
        ((True, "id"), BY_PRIORITY),
    ],
)
def test_a_token_that_somebody_made_up_is_refused(place, order):
    with pytest.raises(InvalidPageToken, match="is not one that a list gave"):
        parse_page_token(forged(place, order), FILTER, order)


@given(st.one_of(st.text(), st.binary().map(lambda data: base64.urlsafe_b64encode(data).decode())))
def test_any_other_text_is_no_token(text):
    with pytest.raises(InvalidPageToken):
        parse_page_token(text, FILTER, NEWEST_FIRST)
