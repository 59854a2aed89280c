from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.engine.plan import Plan, make_plan
from orchestrator.engine.progress import Progress, Restart, TaskStatus, pack, unpack
from orchestrator.model.history import ErrorInfo
from orchestrator.model.policies import MAX_DELAY_S
from orchestrator.model.states import ExecutionState, TaskState
from tests.unit.factories import make_integration, make_task

# Every way a task can stand: its state, and what is true of it.
STANDS: dict[str, tuple[TaskState, set[str]]] = {
    ".": (TaskState.PENDING_EXECUTION, set()),
    "q": (TaskState.PENDING_EXECUTION, {"is_ready"}),
    "Q": (TaskState.PENDING_EXECUTION, {"is_ready", "is_killed"}),
    "p": (TaskState.IN_PROCESS, set()),
    "P": (TaskState.IN_PROCESS, {"is_killed"}),
    "s": (TaskState.SUCCEED, set()),
    "f": (TaskState.FAILED, set()),
    "i": (TaskState.FAILED, {"is_ignored"}),
    "a": (TaskState.FAILED, {"is_caught"}),
    "x": (TaskState.FATAL, set()),
    "h": (TaskState.RETRY_ON_HOLD, set()),
    "r": (TaskState.RETRY_ON_HOLD, {"is_ready"}),
    "R": (TaskState.RETRY_ON_HOLD, {"is_ready", "is_killed"}),
    "z": (TaskState.RETRY_ON_HOLD, {"is_quarantined"}),
    "k": (TaskState.SKIPPED, set()),
    "c": (TaskState.CANCELLED, set()),
    "u": (TaskState.SUSPENDED, set()),
    "b": (TaskState.PENDING_ROLLBACK, set()),  # waits for the tasks that follow it
    "w": (TaskState.PENDING_ROLLBACK, {"is_waiting"}),
    "W": (TaskState.PENDING_ROLLBACK, {"is_waiting", "is_quarantined"}),
    "e": (TaskState.PENDING_ROLLBACK, {"is_ready"}),
    "B": (TaskState.ROLLBACK_IN_PROCESS, set()),
    "d": (TaskState.ROLLEDBACK, set()),
}
ACTIVE, HELD, UNDOING = set("qQpPrReB"), set("hzwW"), set("bwWeB")


def chain(count: int) -> Plan:
    version = make_integration(*(make_task(n, next=(n + 1,) if n < count else ()) for n in range(1, count + 1)))
    return make_plan(version, version.triggers[0], light=())


def make_progress(letters: str = "", attempts: dict[int, int] | None = None, edges: str = "", **more: Any) -> Progress:
    """Of a chain: what ``letters`` and ``edges`` say, counted here a second time."""
    tasks = {}
    for number, letter in enumerate(letters, 1):
        usual = 0 if letter in ".k" else 1
        state, marks = STANDS[letter]
        status = TaskStatus(state, (attempts or {}).get(number, usual), **dict.fromkeys(marks, True))
        if status != TaskStatus():
            tasks[number] = status
    decided = {index: letter == "1" for index, letter in enumerate(edges) if letter != "?"}
    return Progress(
        **{
            "state": ExecutionState.PROCESSING,
            "tasks": tasks,
            "edges": decided,
            "arrived": dict(Counter(index + 1 for index in decided)),
            "true": {index + 1: int(result) for index, result in decided.items()},
            "active": sum(letter in ACTIVE for letter in letters),
            "suspended": letters.count("u"),
            "held": sum(letter in HELD for letter in letters),
            **more,
        }
    )


@pytest.mark.parametrize("letter", STANDS)
def test_one_letter_is_enough_for_where_a_task_stands(letter):
    progress = make_progress(letter)

    text = pack(chain(1), progress)

    assert text == f"{letter}|?||"
    assert unpack(chain(1), text, progress.state) == progress


def test_a_task_that_is_ready_or_running_is_active():
    """So a rollback that waits for those of the tasks that follow is not: nothing of it runs, or will by itself."""
    assert {letter for letter in STANDS if make_progress(letter).status(1).is_active} == ACTIVE


def test_a_task_is_held_while_a_timer_or_a_release_is_to_try_it_or_its_rollback_again():
    assert {letter for letter in STANDS if make_progress(letter).status(1).is_held} == HELD


def test_a_task_is_rolling_back_from_the_wish_to_the_end():
    assert {letter for letter in STANDS if make_progress(letter).status(1).is_rolling_back} == UNDOING


def test_a_task_that_was_never_reached_is_untouched():
    assert make_progress("s").status(99) == TaskStatus()


def test_packed_progress_is_one_character_a_task_and_one_an_edge():
    """Databases hold such texts: another form needs a migration."""
    progress = make_progress(
        "sih.",
        attempts={2: 3},
        edges="111?",
        stopping=ExecutionState.FAILED,
        error=ErrorInfo(message="a|b", code=7, task_number=2),
    )

    assert pack(chain(4), progress) == (
        'sih.|111?|2:3|{"stopping":"FAILED","error":{"message":"a|b","code":7,"taskNumber":2}}'
    )


def test_what_is_rarely_there_is_written_only_where_it_is():
    """Databases hold such texts: another form needs a migration."""
    progress = make_progress(
        "h.ws",
        attempts={1: 4, 2: 2, 3: 6},
        edges="11??",
        stopping=ExecutionState.RETRY_ON_HOLD,
        rolls_back=True,
        restart=Restart(number=1, after_s=2.5),
        run=3,
        bases={3: 1, 1: 2},
        is_resumed=True,
    )

    assert pack(chain(4), progress) == (
        'h.ws|11??|1:4,2:2,3:6|{"stopping":"RETRY_ON_HOLD","rollsBack":true,"restart":[1,2.5],"run":3,'
        '"bases":{"1":2,"3":1},"resumed":true}'
    )


@pytest.mark.parametrize("letter", STANDS)
@pytest.mark.parametrize("attempt", [1, 2, 10**6])
def test_the_attempt_is_kept_in_every_state(letter, attempt):
    """SKIPPED too: a task that was ready is SKIPPED with attempt 1 if the execution is stopped before its claim.

    And PENDING_EXECUTION: a task that was not reached again since the execution began again keeps its last attempt.
    """
    progress = make_progress(letter, attempts={1: attempt})

    assert unpack(chain(1), pack(chain(1), progress), progress.state) == progress


def test_a_false_edge_has_arrived_and_is_not_true():
    read = unpack(chain(3), "sk.|10?||", ExecutionState.PROCESSING)

    assert read.arrived == {1: 1, 2: 1}
    assert read.true == {1: 1, 2: 0}


def test_the_state_is_handed_in_because_it_has_a_column_of_its_own():
    assert unpack(chain(1), "h|1||", ExecutionState.RETRY_ON_HOLD).state is ExecutionState.RETRY_ON_HOLD


def test_the_order_in_which_tasks_came_does_not_show():
    one = make_progress("sff", attempts={2: 2, 3: 3}, bases={2: 1, 3: 2})
    other = replace(one, tasks=dict(reversed(one.tasks.items())), bases={3: 2, 2: 1})

    assert pack(chain(3), one) == pack(chain(3), other)


@pytest.mark.parametrize("text", ["ss|1?||", "s|1||", "s|1???||", "?|1?||"])
def test_progress_of_another_plan_is_refused(text):
    with pytest.raises((ValueError, KeyError)):
        unpack(chain(3), text, ExecutionState.PROCESSING)


STOPPING = [ExecutionState.FAILED, ExecutionState.CANCELLED, ExecutionState.RETRY_ON_HOLD]
seconds = st.floats(0, MAX_DELAY_S)


@given(data=st.data())
@settings(max_examples=150)
def test_any_progress_is_unpacked_as_it_was_packed(data):
    letters = data.draw(st.text("".join(STANDS), min_size=1, max_size=12))
    later = data.draw(st.dictionaries(st.integers(1, len(letters)), st.integers(1, 99)))
    progress = make_progress(
        letters,
        attempts=later,
        edges=data.draw(st.text("01?", min_size=len(letters), max_size=len(letters))),
        state=data.draw(st.sampled_from(ExecutionState)),
        stopping=data.draw(st.sampled_from([None, *STOPPING])),
        rolls_back=data.draw(st.booleans()),
        restart=data.draw(st.none() | st.builds(Restart, number=st.integers(1, 99), after_s=seconds)),
        run=data.draw(st.integers(1, 99)),
        bases=data.draw(st.dictionaries(st.integers(1, 99), st.integers(1, 99), max_size=5)),
        is_resumed=data.draw(st.booleans()),
        error=data.draw(st.none() | st.builds(ErrorInfo, message=st.text(), code=st.text() | st.integers())),
    )

    text = pack(chain(len(letters)), progress)

    assert unpack(chain(len(letters)), text, progress.state) == progress


def test_the_text_grows_by_two_characters_a_task():
    small, large = (len(pack(chain(count), make_progress("s" * count, edges="1" * count))) for count in (10, 1010))

    assert large - small == 2 * 1000
