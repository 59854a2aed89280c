from __future__ import annotations

import pytest

from orchestrator.errors import TaskError
from orchestrator.model.task_types import TASK_TYPES, Suspend
from tasks import suspension
from tests.unit.tasks.contexts import make_context, sample_config, values


def test_the_approval_of_the_order_sample_waits_for_its_addressee_for_two_days():
    step = suspension.run(make_context(sample_config("ecom-order-processing", "2")))

    assert step == Suspend(
        message="Hello user, approval request from EcomOrderProcessing integration.",
        result_name="`Task_2_isApproved`",
        who_may_resolve=("<change-this-to-email-id>",),
        remind_after_s=86_400,
        expire_after_s=172_800,
    )


def test_message_and_addresses_may_hold_references():
    config = {
        "customMessage": "Pay $amount$?",
        "notifications": {"protoValues": [{"emailAddress": {"email": "$boss$"}}, {"pubsubTopic": {"name": "t"}}]},
    }

    step = suspension.run(make_context(config, {"amount": 12, "boss": "boss@example.com"}))

    assert (step.message, step.who_may_resolve) == ("Pay 12?", ("boss@example.com",))


def test_a_bare_suspension_waits_for_ever_for_anyone():
    assert suspension.run(make_context({})) == Suspend()


def test_times_may_be_int64_strings_and_zero_is_no_limit():
    config = {"suspensionExpiration": {"expireAfterMs": "1500", "remindAfterMs": 0, "liftWhenExpired": True}}

    step = suspension.run(make_context(config))

    assert (step.expire_after_s, step.remind_after_s, step.lift_when_expired) == (1.5, None, True)


@pytest.mark.parametrize(
    "config",
    [
        {"suspensionExpiration": {"expireAfterMs": -1}},
        {"suspensionExpiration": {"expireAfterMs": "soon"}},
        {"suspensionExpiration": {"expireAfterMs": "9" * 400}},
        {"suspensionExpiration": 7},
        {"notifications": {"protoValues": "boss@example.com"}},
    ],
)
def test_settings_of_another_shape_are_told_before_anything_runs_and_fail_a_run(config):
    assert len(list(suspension.check(values(config)))) == 1
    with pytest.raises(TaskError) as caught:
        suspension.run(make_context(config))
    assert caught.value.code == "INVALID_ARGUMENT"


def test_a_reference_to_the_settings_is_left_to_the_run():
    assert not list(suspension.check(values({"suspensionExpiration": "$expiration$"})))


def test_a_suspension_is_light():
    assert TASK_TYPES.get("SuspensionTask").light
