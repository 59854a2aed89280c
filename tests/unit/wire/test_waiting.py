"""Marks: a text for how an execution stands."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.model.states import ExecutionState
from orchestrator.store.glances import Glance
from orchestrator.wire.waiting import mark_of

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)
TIMES = st.one_of(st.none(), st.integers(0, 10**12).map(lambda us: NOON + timedelta(microseconds=us)))
GLANCES = st.builds(
    Glance,
    state=st.sampled_from(ExecutionState),
    revision=st.integers(0, 2**31),
    begun_at=TIMES,
    arrived=st.integers(0, 10**6),
)


@given(GLANCES, GLANCES)
def test_two_marks_are_equal_if_and_only_if_nothing_has_changed(one, other):
    assert (mark_of(one) == mark_of(other)) is (one == other)


@given(GLANCES)
def test_a_mark_begins_with_the_revision_and_can_stand_in_a_header(glance):
    mark = mark_of(glance)

    assert mark.partition("-")[0] == str(glance.revision)
    assert mark.isascii()
    assert not set(mark) & set('" ,\r\n')
