"""A trigger that starts executions by itself must say when, and must not need anything that nobody hands in."""

import pytest

from orchestrator.engine.validate import find_problems
from orchestrator.model.cron import CronSchedule
from orchestrator.model.integration import InputOutput
from orchestrator.model.values import DataType, Value
from tests.unit.factories import make_integration, make_parameter, make_task_types, make_trigger


def errors_of(*parameters, cron="10 12 * * *", time_zone="UTC"):
    trigger = make_trigger(id="nightly", type="CRON", cron=CronSchedule(expression=cron, time_zone=time_zone))
    version = make_integration(triggers=[make_trigger(), trigger], parameters=parameters)
    return find_problems(version, make_task_types()).errors


def test_a_sound_schedule_has_no_problem():
    assert errors_of(cron="*/5 9-17 * * MON-FRI", time_zone="Europe/Berlin") == ()


@pytest.mark.parametrize(
    ("content", "error"),
    [
        (
            {"cron": "10 25 * * *"},
            "trigger 'nightly': cron '10 25 * * *': found hour '25', expected 0 to 23, also as a list (1,2), "
            "a range (1-5), a step (*/5) or *",
        ),
        (
            {"cron": " "},
            "trigger 'nightly': it does not say when; give it a cloudSchedulerConfig with a cronTab, "
            "properties['Scheduled Time spec'], or an id such as 'cron_trigger/NAME/10+12+*+*+*'",
        ),
        (
            {"cron": "0 0 30 2 *"},
            "trigger 'nightly': cron '0 0 30 2 *' names no time at all: no month it names has such a day",
        ),
        (
            {"time_zone": "CEST"},
            "trigger 'nightly': there is no time zone 'CEST'; expected a name such as Europe/Berlin, or UTC",
        ),
    ],
)
def test_nonsense_is_refused_in_one_sentence(content, error):
    assert errors_of(**content) == (error,)


def test_a_bad_expression_does_not_hide_a_bad_time_zone():
    assert len(errors_of(cron="never", time_zone="nowhere")) == 2


@pytest.mark.parametrize("direction", [InputOutput.IN, InputOutput.IN_OUT])
def test_a_required_parameter_is_refused_because_nobody_hands_it_in(direction):
    order = make_parameter("order", direction=direction)

    assert errors_of(order) == (
        "trigger 'nightly': nobody hands in parameter 'order' when the time comes; give it a default value",
    )


def test_what_has_a_default_or_is_no_input_need_not_be_handed_in():
    default = make_parameter("limit", DataType.INT, direction=InputOutput.IN, default=Value(DataType.INT, 5))
    plain, output = make_parameter("plain"), make_parameter("output", direction=InputOutput.OUT)

    assert errors_of(default, plain, output) == ()


def test_a_trigger_that_is_called_may_need_what_is_handed_in():
    version = make_integration(parameters=[make_parameter("order", direction=InputOutput.IN)])

    assert find_problems(version, make_task_types()).errors == ()
