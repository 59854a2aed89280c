from __future__ import annotations

import pickle

import pytest

from orchestrator.errors import IllegalArrow
from orchestrator.model.states import (
    EXECUTION_ARROWS,
    TASK_ARROWS,
    ExecutionEvent,
    ExecutionState,
    TaskEvent,
    TaskState,
    next_execution_state,
    next_task_state,
)

# What DESIGN section 5 and the drawings say, written a second time: a state, and behind it every arrow that leaves it.
TASK_TABLE = {
    "PENDING_EXECUTION": "claimed IN_PROCESS, skipped SKIPPED",
    "IN_PROCESS": (
        "succeeded SUCCEED, failed FAILED, failed fatally FATAL, held RETRY_ON_HOLD, suspended SUSPENDED, "
        "cancelled CANCELLED, returned PENDING_EXECUTION"
    ),
    "RETRY_ON_HOLD": "claimed IN_PROCESS, cancelled CANCELLED",
    "SUSPENDED": "lifted SUCCEED, rejected FAILED, cancelled CANCELLED",
    "SUCCEED": "rollback wanted PENDING_ROLLBACK",
    "PENDING_ROLLBACK": "rollback started ROLLBACK_IN_PROCESS",
    "ROLLBACK_IN_PROCESS": "rolled back ROLLEDBACK",
    "FAILED": "",
    "FATAL": "",
    "SKIPPED": "",
    "CANCELLED": "",
    "ROLLEDBACK": "",
}
_ALIVE = (
    "working PROCESSING, held RETRY_ON_HOLD, suspended SUSPENDED, succeeded SUCCEEDED, failed FAILED, "
    "cancelled CANCELLED"
)
EXECUTION_TABLE = {
    "PENDING": "started PROCESSING, failed FAILED, cancelled CANCELLED",
    "PROCESSING": _ALIVE,
    "RETRY_ON_HOLD": _ALIVE,
    "SUSPENDED": _ALIVE,
    "SUCCEEDED": "",
    "FAILED": "",
    "CANCELLED": "",
}


def arrows_of(table: dict[str, str]) -> dict[tuple[str, str], str]:
    arrows = [(state, *arrow.rsplit(" ", 1)) for state, row in table.items() for arrow in row.split(", ") if arrow]
    return {(state, event): target for state, event, target in arrows}


@pytest.mark.parametrize("state", TaskState)
@pytest.mark.parametrize("event", TaskEvent)
def test_a_task_follows_exactly_the_arrows_that_are_drawn(state, event):
    expected = arrows_of(TASK_TABLE).get((state.value, event.value))

    if expected is None:
        with pytest.raises(IllegalArrow):
            next_task_state(state, event)
    else:
        assert next_task_state(state, event) is TaskState(expected)


@pytest.mark.parametrize("state", ExecutionState)
@pytest.mark.parametrize("event", ExecutionEvent)
def test_an_execution_follows_exactly_the_arrows_that_are_drawn(state, event):
    expected = arrows_of(EXECUTION_TABLE).get((state.value, event.value))

    if expected is None:
        with pytest.raises(IllegalArrow):
            next_execution_state(state, event)
    else:
        assert next_execution_state(state, event) is ExecutionState(expected)


@pytest.mark.parametrize(
    ("table", "states", "events"),
    [(TASK_TABLE, TaskState, TaskEvent), (EXECUTION_TABLE, ExecutionState, ExecutionEvent)],
)
def test_the_expected_table_speaks_of_every_state_and_event(table, states, events):
    assert set(table) == {state.value for state in states}
    assert {event for _, event in arrows_of(table)} == {event.value for event in events}


@pytest.mark.parametrize(
    ("arrows", "first", "states"),
    [
        (TASK_ARROWS, TaskState.PENDING_EXECUTION, TaskState),
        (EXECUTION_ARROWS, ExecutionState.PENDING, ExecutionState),
    ],
)
def test_every_state_can_be_reached_from_the_first_one(arrows, first, states):
    found = {first}
    for _ in states:
        found |= {target for (state, _), target in arrows.items() if state in found}

    assert found == set(states)


def test_only_a_rollback_leads_out_of_a_final_task_state():
    leaving = {arrow: target for arrow, target in TASK_ARROWS.items() if arrow[0].is_final}

    assert leaving == {(TaskState.SUCCEED, TaskEvent.ROLLBACK_WANTED): TaskState.PENDING_ROLLBACK}


def test_no_arrow_leads_out_of_a_final_execution_state():
    assert not [arrow for arrow in EXECUTION_ARROWS if arrow[0].is_final]


def test_a_state_without_arrows_is_final():
    assert all(state.is_final for state in TaskState if not TASK_TABLE[state.value])
    assert [state for state in ExecutionState if state.is_final] == [
        state for state in ExecutionState if not EXECUTION_TABLE[state.value]
    ]


@pytest.mark.parametrize(
    ("state", "is_final"),
    [
        (TaskState.PENDING_EXECUTION, False),
        (TaskState.IN_PROCESS, False),
        (TaskState.SUCCEED, True),
        (TaskState.FAILED, True),
        (TaskState.FATAL, True),
        (TaskState.RETRY_ON_HOLD, False),
        (TaskState.SKIPPED, True),
        (TaskState.CANCELLED, True),
        (TaskState.PENDING_ROLLBACK, False),
        (TaskState.ROLLBACK_IN_PROCESS, False),
        (TaskState.ROLLEDBACK, True),
        (TaskState.SUSPENDED, False),
    ],
)
def test_a_task_is_over_in_six_states(state, is_final):
    assert state.is_final is is_final


def test_states_are_spelt_as_the_integrations_api_spells_them():
    """Google's discovery document, in its order: SUCCEED has no -ED, CANCELLED has two L, ROLLEDBACK is one word."""
    assert [state.value for state in TaskState] == [
        "PENDING_EXECUTION",
        "IN_PROCESS",
        "SUCCEED",
        "FAILED",
        "FATAL",
        "RETRY_ON_HOLD",
        "SKIPPED",
        "CANCELLED",
        "PENDING_ROLLBACK",
        "ROLLBACK_IN_PROCESS",
        "ROLLEDBACK",
        "SUSPENDED",
    ]
    assert {state.value for state in ExecutionState} == {
        "PENDING",
        "PROCESSING",
        "SUCCEEDED",
        "FAILED",
        "CANCELLED",
        "RETRY_ON_HOLD",
        "SUSPENDED",
    }


def test_an_illegal_arrow_names_the_state_and_the_event_and_survives_pickling():
    with pytest.raises(IllegalArrow) as caught:
        next_task_state(TaskState.SKIPPED, TaskEvent.CLAIMED)

    again = pickle.loads(pickle.dumps(caught.value))
    assert "SKIPPED" in str(again)
    assert "claimed" in str(again)
