from __future__ import annotations

import pytest

from orchestrator.errors import TaskError
from orchestrator.model.task_types import TASK_TYPES, Suspend
from tasks import timer
from tests.unit.tasks.contexts import make_context, values

MONTH_S = 31 * 86_400


def waits(seconds: float) -> Suspend:
    return Suspend(expire_after_s=seconds, lift_when_expired=True, is_timer=True)


def test_a_timer_waits_two_minutes_unless_told_otherwise():
    assert timer.run(make_context({})) == waits(120)


@pytest.mark.parametrize("delay", [0, 0.5, 90, MONTH_S, "90", "1.5"])
def test_a_timer_waits_for_its_delay(delay):
    assert timer.run(make_context({"delaySeconds": delay})) == waits(float(delay))
    assert not list(timer.check(values({"delaySeconds": delay})))


def test_the_delay_may_be_a_reference():
    config = {"delaySeconds": "$delay$"}

    assert timer.run(make_context(config, {"delay": 3})) == waits(3)
    assert not list(timer.check(values(config)))


@pytest.mark.parametrize("delay", [-1, MONTH_S + 1, "soon", True, [1], {"seconds": 1}])
def test_a_delay_that_is_none_is_told_before_anything_runs_and_fails_a_run(delay):
    (problem,) = timer.check(values({"delaySeconds": delay}))
    with pytest.raises(TaskError) as caught:
        timer.run(make_context({"delaySeconds": delay}))

    assert problem == str(caught.value)
    assert caught.value.code == "INVALID_ARGUMENT"


def test_a_reference_to_nothing_fails_instead_of_waiting_as_long_as_usual():
    with pytest.raises(TaskError, match="a reference to nothing"):
        timer.run(make_context({"delaySeconds": "$delay$"}))


def test_a_timer_is_light_and_tells_nobody():
    task_type = TASK_TYPES.get("TimerTask")

    assert task_type.light
    assert task_type.notify is None
