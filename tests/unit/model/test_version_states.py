"""The states of versions: every pair of a state and an event leads where the table says, or nowhere."""

import itertools

import pytest

from orchestrator.errors import IllegalArrow
from orchestrator.model.version_states import (
    VERSION_ARROWS,
    VersionEvent,
    VersionState,
    next_version_state,
    states_before,
)

PAIRS = list(itertools.product(VersionState, VersionEvent))


@pytest.mark.parametrize(("state", "event"), PAIRS)
def test_an_event_leads_along_an_arrow_or_is_refused(state, event):
    target = VERSION_ARROWS.get((state, event))
    if target is not None:
        assert next_version_state(state, event) is target
        return
    with pytest.raises(IllegalArrow, match=f"{event} is not possible in state {state}"):
        next_version_state(state, event)


def test_nothing_leads_out_of_archived_and_nothing_back_to_draft():
    assert not [event for state, event in VERSION_ARROWS if state is VersionState.ARCHIVED]
    assert [state for (state, _), target in VERSION_ARROWS.items() if target is VersionState.DRAFT] == ["DRAFT"]


def test_publishing_is_the_only_way_to_active():
    events = {event for (_, event), target in VERSION_ARROWS.items() if target is VersionState.ACTIVE}

    assert events == {VersionEvent.PUBLISHED}


@pytest.mark.parametrize(
    ("event", "states"),
    [
        (VersionEvent.CHANGED, ("DRAFT",)),
        (VersionEvent.PUBLISHED, ("DRAFT", "SNAPSHOT")),
        (VersionEvent.UNPUBLISHED, ("ACTIVE",)),
        (VersionEvent.DELETED, ("DRAFT", "SNAPSHOT")),
    ],
)
def test_each_event_happens_in_these_states_alone(event, states):
    assert states_before(event) == states
