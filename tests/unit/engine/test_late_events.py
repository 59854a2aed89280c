"""Which events count, and which come too late, wherever an execution stands. A late one changes nothing at all."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from orchestrator.engine.decisions import Decision
from orchestrator.engine.events import (
    ChildrenStarted,
    DeadlinePassed,
    Event,
    Failed,
    Killed,
    Lifted,
    Quarantined,
    Rejected,
    Released,
    RestartDue,
    RetryDue,
    Returned,
    Stopped,
    Succeeded,
    Suspended,
    TaskKilled,
)
from orchestrator.engine.failures import ERROR_INFO
from orchestrator.model.history import ErrorInfo
from orchestrator.model.states import ExecutionState, TaskState
from orchestrator.model.values import DataType, Value
from tests.unit.engine.runs import FATAL, RESTART, RETRY, TOO_LATE, UNDONE, UNWANTED, Run
from tests.unit.factories import make_rollback, make_task

BROKEN = ErrorInfo(message="broken")
OUTPUTS = {"x": Value(DataType.INT, 1)}


# -- where task 1 may stand ----------------------------------------------------------------------------------------


def ready() -> Run:
    return Run(make_task(1), make_task(2))


def running() -> Run:
    run = ready()
    run.start_children(1)
    return run


def over() -> Run:
    run = ready()
    run.succeed(1)
    return run


def untouched() -> Run:
    return Run(make_task(2, next=(1,)), make_task(1))


def skipped() -> Run:
    run = Run(make_task(1), make_task(2), starts=[(1, "$x$ = 7"), 2])
    assert run.tasks[1] is TaskState.SKIPPED
    return run


def held() -> Run:
    run = Run(make_task(1, failure_policy=RETRY))
    run.fail(1)
    return run


def retried() -> Run:
    run = held()
    run.retry(1)
    return run


def suspended() -> Run:
    run = Run(make_task(1))
    run.suspend(1)
    return run


def marked() -> Run:
    """A worker may run it, and it is killed."""
    run = ready()
    run.kill_task(1)
    return run


def quarantined() -> Run:
    run = ready()
    run.quarantine(1)
    return run


def released() -> Run:
    run = quarantined()
    run.release(1)
    return run


def lifted() -> Run:
    run = Run(make_task(1, next=(2,)), make_task(2))
    run.suspend(1)
    run.lift(1)
    return run


def rejected() -> Run:
    run = Run(make_task(1), make_task(2))
    run.suspend(1)
    run.reject(1)
    return run


def failed_before_a_restart() -> Run:
    """Task 2 still runs."""
    run = Run(make_task(1, failure_policy=RESTART), make_task(2))
    run.fail(1)
    return run


def waiting_for_a_restart() -> Run:
    run = failed_before_a_restart()
    run.stop(2)
    return run


def ready_beside_the_end() -> Run:
    """Task 2 failed fatally."""
    run = Run(make_task(1), make_task(2, failure_policy=FATAL))
    run.fail(2)
    return run


def ready_beside_a_restart() -> Run:
    """Task 2 is to begin everything again."""
    run = Run(make_task(1), make_task(2, failure_policy=RESTART))
    run.fail(2)
    return run


def begun_again() -> Run:
    run = waiting_for_a_restart()
    run.restart(1)
    return run


def untouched_in_the_second_run() -> Run:
    """Task 1 ran in the first one."""
    run = Run(
        make_task(2, next=((1, "NOT exists($x$)"),), failure_policy=RESTART), make_task(1, failure_policy=RESTART)
    )
    run.succeed(2)
    run.fail(1)
    run.restart(1)
    assert (run.ready, run.status(1).attempt) == ([2], 1)
    return run


def undoing(*, runs: bool = False) -> Run:
    run = Run(
        make_task(1, next=(2,), rollback=make_rollback(RETRY)),
        make_task(2, rollback=make_rollback()),
        make_task(3, failure_policy=FATAL),
    )
    run.succeed(1)
    run.succeed(2)
    run.fail(3)
    run.succeed(2, 2)
    if runs:
        run.start_children(1, 2)
    return run


def undoing_running() -> Run:
    return undoing(runs=True)


def undoing_held() -> Run:
    run = undoing()
    run.fail(1, 2)
    return run


def undoing_quarantined() -> Run:
    run = undoing()
    run.quarantine(1, 2)
    return run


def to_be_undone_after_another() -> Run:
    run = Run(
        make_task(1, next=(2,), rollback=make_rollback()),
        make_task(2, rollback=make_rollback()),
        make_task(3, failure_policy=FATAL),
    )
    run.succeed(1)
    run.succeed(2)
    run.fail(3)
    return run


def undone() -> Run:
    run = Run(make_task(1, rollback=make_rollback()), make_task(2, rollback=make_rollback()), make_task(3))
    run.succeed(1)
    run.succeed(2)
    run.kill(rolls_back=True)
    run.stop(3)
    run.succeed(1, 2)
    assert run.tasks[1] is UNDONE
    assert not run.state.is_final
    return run


def killed() -> Run:
    run = ready()
    run.kill()
    return run


def succeeded() -> Run:
    run = Run(make_task(1))
    run.succeed(1)
    return run


def failed() -> Run:
    run = Run(make_task(1))
    run.fail(1)
    return run


def cancelled() -> Run:
    run = suspended()
    run.kill()
    assert run.state is ExecutionState.CANCELLED
    return run


# -- which events count there --------------------------------------------------------------------------------------

OUTCOMES = {"Succeeded", "Failed", "Suspended", "ChildrenStarted", "Stopped", "Quarantined", "Returned"}
ANSWERS = {"Lifted", "Rejected"}
STOPS = {"Killed", "DeadlinePassed"}
KILLS = STOPS | {"TaskKilled"}

COUNTING: list[tuple[Callable[[], Run], set[str]]] = [
    (ready, OUTCOMES | KILLS),
    (running, OUTCOMES | KILLS),
    (over, STOPS),
    (untouched, KILLS),
    (skipped, STOPS),
    (held, {"RetryDue"} | KILLS),
    (retried, OUTCOMES | KILLS),
    (marked, OUTCOMES | STOPS),
    (quarantined, {"Released"} | KILLS),
    (released, OUTCOMES | KILLS),
    (suspended, ANSWERS | KILLS),
    (lifted, STOPS),
    (rejected, STOPS),
    (failed_before_a_restart, STOPS),
    (waiting_for_a_restart, {"RestartDue"} | STOPS),
    (ready_beside_the_end, OUTCOMES),
    (ready_beside_a_restart, OUTCOMES | STOPS),
    (begun_again, OUTCOMES | KILLS),
    (untouched_in_the_second_run, KILLS),
    (undoing, OUTCOMES),
    (undoing_running, OUTCOMES),
    (undoing_held, {"RetryDue"}),
    (undoing_quarantined, {"Released", "TaskKilled"}),
    (to_be_undone_after_another, set()),
    (undone, set()),
    (killed, OUTCOMES),
    (succeeded, set()),
    (failed, set()),
    (cancelled, set()),
]


def events_of(number: int, attempt: int) -> list[Event]:
    return [
        Succeeded(number=number, attempt=attempt, outputs=OUTPUTS),
        Failed(number=number, attempt=attempt, error=BROKEN),
        Suspended(number=number, attempt=attempt, outputs=OUTPUTS),
        ChildrenStarted(number=number, attempt=attempt),
        Stopped(number=number, attempt=attempt, was_running=True),
        Quarantined(number=number, attempt=attempt),
        Returned(number=number, attempt=attempt),
        Released(number=number, attempt=attempt),
        RetryDue(number=number, attempt=attempt),
        RestartDue(number=number, attempt=attempt, parameters=OUTPUTS),
        Lifted(number=number, attempt=attempt, outputs=OUTPUTS),
        Rejected(number=number, attempt=attempt, error=BROKEN),
    ]


STOPPING_EVENTS: list[Event] = [Killed(), Killed(rolls_back=True), DeadlinePassed(error=TOO_LATE)]


@pytest.mark.parametrize(("arrange", "counting"), COUNTING, ids=lambda case: getattr(case, "__name__", ""))
def test_an_event_counts_where_it_is_waited_for_and_is_late_elsewhere(arrange, counting):
    attempt = arrange().status(1).attempt

    for event in [*events_of(1, attempt), TaskKilled(number=1, error=UNWANTED), *STOPPING_EVENTS]:
        run = arrange()
        before = run.progress
        decision = run.tell(event)

        assert decision.is_late is (type(event).__name__ not in counting), event
        if decision.is_late:
            assert decision == Decision(progress=before, is_late=True)
            assert decision.progress is before


@pytest.mark.parametrize("arrange", [arrange for arrange, _ in COUNTING])
@pytest.mark.parametrize("difference", [-1, 1])
def test_an_event_of_another_attempt_is_late(arrange, difference):
    run = arrange()
    before = run.progress

    for event in events_of(1, before.status(1).attempt + difference):
        assert run.tell(event) == Decision(progress=before, is_late=True)


@pytest.mark.parametrize("arrange", [arrange for arrange, _ in COUNTING])
@pytest.mark.parametrize("attempt", [0, 1])
def test_an_event_of_a_task_that_does_not_exist_is_late(arrange, attempt):
    run = arrange()

    for event in [*events_of(77, attempt), TaskKilled(number=77, error=UNWANTED)]:
        assert run.tell(event).is_late


def test_the_outputs_of_a_late_success_are_not_taken():
    run = retried()

    run.succeed(1, 1, x=1)

    assert run.ready == [1]
    assert run.parameters.keys() == {ERROR_INFO}


def test_a_late_success_does_not_revive_a_failed_execution():
    run = Run(make_task(1, next=(2,)), make_task(2))
    run.fail(1)

    decision = run.succeed(1)

    assert decision.is_late
    assert run.state is ExecutionState.FAILED
