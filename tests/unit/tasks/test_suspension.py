from __future__ import annotations

from datetime import UTC, datetime
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path

import pytest

from orchestrator.errors import InvalidValue, TaskError
from orchestrator.model.task_types import MAX_WAIT_S, TASK_TYPES, MailServer, Notice, Suspend
from orchestrator.model.values import DataType, Value
from tasks import suspension
from tests.unit.tasks.contexts import make_context, sample_config, values

BOSS = "boss@example.org"


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

    step = suspension.run(make_context(config, {"amount": 12, "boss": BOSS}))

    assert (step.message, step.who_may_resolve) == ("Pay 12?", (BOSS,))


def test_a_bare_suspension_waits_for_ever_for_anyone():
    assert suspension.run(make_context({})) == Suspend()


def test_a_suspension_that_lets_others_hand_it_something_names_where_to():
    step = suspension.run(make_context({"suspensionResult": ["$`Task_1_suspensionResult`$"]}))

    assert step == Suspend(payload_name="`Task_1_suspensionResult`")


@pytest.mark.parametrize("written", ["$approved$", ["$approved$"], Value(DataType.JSON, ["$approved$"])])
def test_the_parameter_for_the_answer_is_named_by_a_reference_or_a_list_of_one(written):
    assert suspension.run(make_context({"isApproved": written})).result_name == "approved"


def test_an_empty_name_is_none():
    assert suspension.run(make_context({"isApproved": "", "suspensionResult": []})) == Suspend()


def test_times_may_be_int64_strings_and_zero_is_no_limit():
    config = {"suspensionExpiration": {"expireAfterMs": "1500", "remindAfterMs": 0, "liftWhenExpired": True}}

    step = suspension.run(make_context(config))

    assert (step.expire_after_s, step.remind_after_s, step.lift_when_expired) == (1.5, None, True)


@pytest.mark.parametrize(
    ("named", "addresses"),
    [
        ([BOSS, "other@example.org"], (BOSS, "other@example.org")),
        ({"protoValues": [{"emailAddress": {"email": f"{BOSS}, other@example.org"}}]}, (BOSS, "other@example.org")),
        ({"emailAddress": {"email": [BOSS, BOSS]}}, (BOSS,)),
        ({"emailAddress": BOSS}, (BOSS,)),
        ({"protoValues": [{"emailAddress": {"email": "$team$"}}]}, (BOSS, "other@example.org")),
        ({"protoValues": [{"cloudPubsub": {"topic": "t"}}]}, ()),
        ({"protoValues": []}, ()),
    ],
)
def test_addresses_may_be_written_in_several_ways(named, addresses):
    step = suspension.run(make_context({"notifications": named}, {"team": [BOSS, "other@example.org"]}))

    assert step.who_may_resolve == addresses


@pytest.mark.parametrize(
    "named",
    [
        [{"emailAddress": {"email": ""}}],
        [{"emailAddress": {}}],
        [BOSS, ""],
        [7],
        [f"{BOSS},,"],
    ],
)
def test_addresses_that_come_to_nothing_are_refused_since_anybody_could_answer(named):
    """An empty list of addresses means that anybody may."""
    assert len(list(suspension.check(values({"notifications": named})))) == 1
    with pytest.raises(TaskError, match="notifications"):
        suspension.run(make_context({"notifications": named}))


def test_an_address_that_is_a_reference_to_nothing_fails_the_run():
    with pytest.raises(TaskError, match="nobody"):
        suspension.run(make_context({"notifications": [{"emailAddress": {"email": "$boss$"}}]}))


@pytest.mark.parametrize(
    "config",
    [
        {"suspensionExpiration": {"expireAfterMs": -1}},
        {"suspensionExpiration": {"expireAfterMs": "soon"}},
        {"suspensionExpiration": {"expireAfterMs": True}},
        {"suspensionExpiration": {"expireAfterMs": "9" * 400}},
        {"suspensionExpiration": {"expireAfterMs": "9" * 15}},
        {"suspensionExpiration": 7},
        {"notifications": {"protoValues": BOSS}},
        {"isApproved": "approved"},
        {"suspensionResult": ["a", "$b$"]},
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


@pytest.mark.parametrize("after_s", [-1.0, MAX_WAIT_S + 1, float("inf"), float("nan")])
@pytest.mark.parametrize("name", ["remind_after_s", "expire_after_s"])
def test_a_wait_that_no_database_can_keep_is_refused(name, after_s):
    with pytest.raises(InvalidValue, match=name):
        Suspend(**{name: after_s})


# -- the mail ------------------------------------------------------------------------------------------------------


def notice(*addressees: str, message: str = "Pay 12?", reminder: int = 0, expires: bool = False) -> Notice:
    expires_at = datetime(2026, 1, 4, 3, 4, 5, tzinfo=UTC) if expires else None
    return Notice(name="1-1", message=message, addressees=addressees, expires_at=expires_at, reminder=reminder)


def mailed(folder: Path, given: Notice) -> list[EmailMessage]:
    suspension.notify(make_context(mail=MailServer(outbox=folder)), given)
    return [message_from_bytes(path.read_bytes(), policy=policy.default) for path in sorted(folder.glob("*.eml"))]


def test_the_mail_says_what_is_asked_and_how_to_answer(tmp_path):
    (mail,) = mailed(tmp_path, notice(BOSS, "other@example.org", expires=True))

    text = " ".join(mail.get_content().replace("\\\n", "").split())
    assert (mail["To"], mail["Subject"]) == (f"{BOSS}, other@example.org", "main waits for your answer")
    assert text.startswith("Pay 12? ")
    assert "orchestrator lift execution-1 --task 1-1 --actor ADDRESS" in text
    assert "orchestrator resolve --reject execution-1 --task 1-1 --actor ADDRESS" in text
    assert "at 2026-01-04 03:04 UTC" in text
    assert mail["Content-Transfer-Encoding"] == "7bit"


def test_a_reminder_says_so_and_is_a_mail_of_its_own(tmp_path):
    mailed(tmp_path, notice(BOSS))

    mails = mailed(tmp_path, notice(BOSS, reminder=1))

    assert [mail["Subject"].startswith("Reminder: ") for mail in mails] == [False, True]


def test_the_mail_of_the_same_notice_takes_the_place_of_the_first(tmp_path):
    mailed(tmp_path, notice(BOSS))

    assert len(mailed(tmp_path, notice(BOSS))) == 1


def test_what_is_no_address_gets_no_mail_and_the_others_do(tmp_path, caplog):
    (mail,) = mailed(tmp_path, notice("<change-this>", BOSS, "a\r\nBcc: x@example.org"))

    assert mail["To"] == BOSS
    assert mail["Bcc"] is None
    assert "no mail to what is no address" in caplog.text


def test_nobody_to_write_to_is_no_mail(tmp_path):
    assert mailed(tmp_path, notice("<change-this>")) == []


def test_a_message_that_no_mail_can_hold_is_mailed_all_the_same(tmp_path):
    (mail,) = mailed(tmp_path, notice(BOSS, message="broken \ud800"))

    assert mail.get_content().startswith("broken ?")
