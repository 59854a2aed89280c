"""Where a definition says when a trigger starts executions."""

import pytest

from orchestrator.errors import InvalidDefinition
from orchestrator.model.cron import CronSchedule
from orchestrator.model.definition import parse_integration, read_definition
from orchestrator.model.integration import TriggerConfig
from tests.unit.factories import SAMPLES, needs_samples


def trigger_of(**content) -> TriggerConfig:
    (trigger,) = parse_integration({"triggerConfigs": [content]}).triggers
    return trigger


def nightly(expression="10 12 * * *", time_zone="UTC") -> CronSchedule:
    return CronSchedule(expression=expression, time_zone=time_zone)


def test_a_cron_trigger_says_it_in_its_properties():
    properties = {"Timer Name": "nightly", "Scheduled Time spec": "10 12 * * *"}

    assert trigger_of(triggerType="CRON", properties=properties).cron == nightly()
    assert trigger_of(properties=properties | {"Time zone": "Europe/Berlin"}).cron == nightly(time_zone="Europe/Berlin")


@pytest.mark.parametrize(
    ("trigger_id", "expression"),
    [
        ("cron_trigger/nightly/10+12+*+*+*", "10 12 * * *"),
        ("cron_trigger/nightly/*/5+*+*+*+MON-FRI", "*/5 * * * MON-FRI"),
        ("cron_trigger/nightly", ""),
    ],
)
def test_an_id_that_the_product_derives_says_it_as_well(trigger_id, expression):
    trigger = trigger_of(triggerId=trigger_id)

    assert trigger.cron == nightly(expression)
    assert trigger.type == "CRON"


@pytest.mark.parametrize(
    "spelling",
    [("cloudSchedulerConfig", "cronTab", "timeZone"), ("cloud_scheduler_config", "cron_tab", "time_zone")],
)
def test_a_cloud_scheduler_trigger_says_it_in_its_configuration(spelling):
    config, cron_tab, time_zone = spelling
    content = {cron_tab: "0 9 * * 1", time_zone: "Europe/Berlin", "location": "europe-west3"}

    trigger = trigger_of(triggerId="weekly", triggerType="CLOUD_SCHEDULER", **{config: content})

    assert trigger.cron == nightly("0 9 * * 1", "Europe/Berlin")


def test_the_configuration_stands_before_the_properties_and_those_before_the_id():
    content = {
        "triggerId": "cron_trigger/nightly/1+1+*+*+*",
        "properties": {"Scheduled Time spec": "2 2 * * *", "Time zone": "Asia/Tokyo"},
    }

    assert trigger_of(**content).cron == nightly("2 2 * * *", "Asia/Tokyo")
    config = {"cronTab": "3 3 * * *", "timeZone": "Asia/Kolkata"}
    assert trigger_of(**content, cloudSchedulerConfig=config).cron == nightly("3 3 * * *", "Asia/Kolkata")


def test_a_cron_trigger_that_does_not_say_when_has_an_empty_expression():
    assert trigger_of(triggerId="x", triggerType="CRON").cron == nightly("")
    assert trigger_of(triggerId="x", triggerType="CLOUD_SCHEDULER", cloudSchedulerConfig={}).cron == nightly("")


def test_no_other_trigger_has_times():
    for trigger_type in ("API", "CLOUD_PUBSUB_EXTERNAL", "PRIVATE_TRIGGER"):
        trigger = trigger_of(triggerId="x", triggerType=trigger_type, properties={"Scheduled Time spec": "10 12 * * *"})
        assert trigger.cron is None


def test_an_expression_of_any_text_is_read_as_it_is_and_only_a_text_is_read():
    assert trigger_of(triggerId="x", cloudSchedulerConfig={"cronTab": "at noon"}).cron == nightly("at noon")
    with pytest.raises(InvalidDefinition) as caught:
        trigger_of(triggerId="x", cloudSchedulerConfig={"cronTab": 5, "timeZone": ["UTC"]})
    assert caught.value.problems == (
        "trigger 'x', cloudSchedulerConfig, cronTab: found int 5, expected a string",
        "trigger 'x', cloudSchedulerConfig, timeZone: found a list, expected a string",
    )


@needs_samples
def test_the_sample_that_polls_does_so_at_ten_past_noon():
    sample = read_definition((SAMPLES / "sftp-get-file-poll.json").read_bytes(), source="sample")

    assert [trigger.cron for trigger in sample.triggers] == [nightly()]
