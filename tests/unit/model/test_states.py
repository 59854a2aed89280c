from __future__ import annotations

import pickle
from enum import StrEnum
from itertools import product

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

# The two tables a second time, by hand: a state, and behind it every arrow that leaves it. The drawings are made from
# the tables, so they would follow a slip; this does not.
TASK_TABLE = {
    "PENDING_EXECUTION": "claimed IN_PROCESS, skipped SKIPPED",
    "IN_PROCESS": (
        "succeeded SUCCEED, failed FAILED, failed fatally FATAL, held RETRY_ON_HOLD, suspended SUSPENDED, "
        "cancelled CANCELLED, returned PENDING_EXECUTION"
    ),
    "RETRY_ON_HOLD": "claimed IN_PROCESS, cancelled CANCELLED, restarted PENDING_EXECUTION",
    "SUSPENDED": "lifted SUCCEED, rejected FAILED, cancelled CANCELLED",
    "SUCCEED": "rollback wanted PENDING_ROLLBACK, restarted PENDING_EXECUTION",
    "PENDING_ROLLBACK": "rollback started ROLLBACK_IN_PROCESS",
    "ROLLBACK_IN_PROCESS": "held PENDING_ROLLBACK, rolled back ROLLEDBACK",
    "FAILED": "restarted PENDING_EXECUTION",
    "FATAL": "",
    "SKIPPED": "restarted PENDING_EXECUTION",
    "CANCELLED": "restarted PENDING_EXECUTION",
    "ROLLEDBACK": "",
}
_ALIVE = (
    "working PROCESSING, held RETRY_ON_HOLD, suspended SUSPENDED, succeeded SUCCEEDED, failed FAILED, "
    "cancelled CANCELLED"
)
EXECUTION_TABLE = {
    "PENDING": "started PROCESSING, failed FAILED, cancelled CANCELLED",
    "PROCESSING": _ALIVE,
    "RETRY_ON_HOLD": _ALIVE.replace("suspended SUSPENDED, ", ""),
    "SUSPENDED": _ALIVE,
    "SUCCEEDED": "",
    "FAILED": "",
    "CANCELLED": "",
}


def arrows_of(table: dict[str, str]) -> dict[tuple[str, str], str]:
    arrows = [(state, *arrow.rsplit(" ", 1)) for state, row in table.items() for arrow in row.split(", ") if arrow]
    return {(state, event): target for state, event, target in arrows}


def pairs(next_state, table: dict[str, str], states: type[StrEnum], events: type[StrEnum]):
    """Every state with every event, and the state that the arrow leads to, if there is one."""
    arrows = arrows_of(table)
    return [
        pytest.param(next_state, state, event, arrows.get((state, event)), id=f"{state}-{event}")
        for state, event in product(states, events)
    ]


@pytest.mark.parametrize(
    ("next_state", "state", "event", "target"),
    [
        *pairs(next_execution_state, EXECUTION_TABLE, ExecutionState, ExecutionEvent),
        *pairs(next_task_state, TASK_TABLE, TaskState, TaskEvent),
    ],
)
def test_an_event_leads_where_the_table_says_and_nowhere_else(next_state, state, event, target):
    if target is None:
        with pytest.raises(IllegalArrow):
            next_state(state, event)
    else:
        assert next_state(state, event) is type(state)(target)


@pytest.mark.parametrize(
    ("table", "states", "events"),
    [(TASK_TABLE, TaskState, TaskEvent), (EXECUTION_TABLE, ExecutionState, ExecutionEvent)],
)
def test_the_expected_table_speaks_of_every_state_and_event(table, states, events):
    assert set(table) == {state.value for state in states}
    assert {event for _, event in arrows_of(table)} == {event.value for event in events}


def ahead_of(first: StrEnum, arrows: dict) -> set[StrEnum]:
    """This state, and all that can be reached from it."""
    found: set[StrEnum] = set()
    new = {first}
    while new:
        found |= new
        new = {target for (state, _), target in arrows.items() if state in new} - found
    return found


@pytest.mark.parametrize(
    ("arrows", "first"), [(TASK_ARROWS, TaskState.PENDING_EXECUTION), (EXECUTION_ARROWS, ExecutionState.PENDING)]
)
def test_every_state_can_be_reached_from_the_first_one(arrows, first):
    assert ahead_of(first, arrows) == set(type(first))


@pytest.mark.parametrize(
    ("arrows", "state"),
    [
        *((TASK_ARROWS, state) for state in TaskState if not state.is_final),
        *((EXECUTION_ARROWS, state) for state in ExecutionState if not state.is_final),
    ],
)
def test_from_every_state_that_is_not_final_a_final_one_can_be_reached(arrows, state):
    assert any(found.is_final for found in ahead_of(state, arrows))


def test_no_arrow_leads_out_of_a_final_execution_state():
    assert not [arrow for arrow in EXECUTION_ARROWS if arrow[0].is_final]


def test_an_execution_begins_once():
    assert ExecutionState.PENDING not in EXECUTION_ARROWS.values()


@pytest.mark.parametrize("event", ExecutionEvent)
def test_an_event_of_an_execution_leads_to_one_state_wherever_the_execution_stood(event):
    assert len({target for (_, by), target in EXECUTION_ARROWS.items() if by is event}) == 1


def test_only_a_restart_and_a_rollback_lead_out_of_a_final_task_state():
    leaving = {event: target for (state, event), target in TASK_ARROWS.items() if state.is_final}

    assert leaving == {
        TaskEvent.RESTARTED: TaskState.PENDING_EXECUTION,
        TaskEvent.ROLLBACK_WANTED: TaskState.PENDING_ROLLBACK,
    }


def test_a_restart_leaves_alone_what_runs_waits_for_an_answer_is_undone_or_was_fatal():
    taken_back = {state for state, event in TASK_ARROWS if event is TaskEvent.RESTARTED}

    assert set(TaskState) - taken_back == {
        TaskState.PENDING_EXECUTION,  # is there already
        TaskState.IN_PROCESS,
        TaskState.SUSPENDED,
        TaskState.PENDING_ROLLBACK,
        TaskState.ROLLBACK_IN_PROCESS,
        TaskState.ROLLEDBACK,
        TaskState.FATAL,
    }


def test_nothing_runs_that_was_not_claimed():
    events = {event for (_, event), target in TASK_ARROWS.items() if target is TaskState.IN_PROCESS}

    assert events == {TaskEvent.CLAIMED}


def test_only_what_succeeded_is_undone_and_only_a_rollback_that_ran_has_ended():
    before = {
        target: {state for (state, _), to in TASK_ARROWS.items() if to is target}
        for target in (TaskState.PENDING_ROLLBACK, TaskState.ROLLBACK_IN_PROCESS, TaskState.ROLLEDBACK)
    }

    assert before == {
        TaskState.PENDING_ROLLBACK: {TaskState.SUCCEED, TaskState.ROLLBACK_IN_PROCESS},
        TaskState.ROLLBACK_IN_PROCESS: {TaskState.PENDING_ROLLBACK},
        TaskState.ROLLEDBACK: {TaskState.ROLLBACK_IN_PROCESS},
    }


@pytest.mark.parametrize(
    ("state", "event"),
    [
        (TaskState.PENDING_EXECUTION, TaskEvent.SKIPPED),
        (TaskState.IN_PROCESS, TaskEvent.CANCELLED),
        (TaskState.RETRY_ON_HOLD, TaskEvent.CANCELLED),
        (TaskState.SUSPENDED, TaskEvent.CANCELLED),
    ],
)
def test_a_task_that_is_not_over_can_be_stopped_in_one_step(state, event):
    assert next_task_state(state, event).is_final


@pytest.mark.parametrize("state", [TaskState.PENDING_ROLLBACK, TaskState.ROLLBACK_IN_PROCESS])
@pytest.mark.parametrize("event", [TaskEvent.CANCELLED, TaskEvent.SKIPPED, TaskEvent.RESTARTED])
def test_what_undoes_is_not_stopped(state, event):
    with pytest.raises(IllegalArrow):
        next_task_state(state, event)


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
