"""Cancelling and replaying with the client."""

import pytest

from orchestrator.model.states import ExecutionState
from orchestrator.store.signals import Audit, SignalStore
from tests.clients.google.running import execute, name_of, published, refused, schedule, within
from tests.flows import parameter, task
from tests.integration.steering import Steering, states

pytestmark = pytest.mark.services

FAR = "2126-01-31T12:00:00Z"
SUSPEND = task(1, "SuspensionTask", successPolicy={"finalState": "SUSPENDED"})
A_AND_B = [parameter("a", "INT_VALUE", direction="IN_OUT", default=1), parameter("b", direction="IN_OUT", default="x")]


@pytest.fixture
def steering(google, tmp_path):
    return Steering(google.system, tmp_path)


def look(google, execution_id):
    return google.system.client.get(execution_id)


def cancel(google, name, execution_id, body=None):
    more = {} if body is None else {"body": body}
    return google.executions.cancel(name=name_of(name, execution_id), **more).execute()


def replay(google, name, execution_id, *, timeout=None, **body):
    request = google.executions.replay(name=name_of(name, execution_id), body={"replayReason": "again", **body})
    return (request if timeout is None else within(request, timeout=timeout)).execute()


def quietly(google, name, **inputs):
    """The id of a synchronous execution that is over, however that was."""
    return execute(google, name, doNotPropagateError=True, inputParameters=inputs)["executionId"]


# -- cancel --------------------------------------------------------------------------------------------------------


def test_what_runs_is_cancelled_and_who_and_why_is_kept(google, steering):
    name = published(google, "running", steering.task(1, "hold", next=[2]), steering.task(2))
    (execution_id,) = schedule(google, name)
    steering.wait_for(1)

    assert cancel(google, name, execution_id, {"cancelReason": "stop"}) == {"isCanceled": True}

    execution = google.system.wait(execution_id)
    assert execution.state is ExecutionState.CANCELLED
    assert states(execution) == {1: "CANCELLED", 2: "SKIPPED"}
    assert SignalStore(google.system.database).last(execution_id) == Audit(actor="anonymous", message="stop")


def test_what_is_below_is_cancelled_as_well(google, steering):
    child = published(google, "below", steering.task(1, "hold"))
    calling = task(1, "SubWorkflowExecutorV2Task", takes={"workflowName": child, "triggerId": f"api_trigger/{child}"})
    name = published(google, "above", calling)
    (execution_id,) = schedule(google, name)
    steering.wait_for(1)

    cancel(google, name, execution_id, {"cancelReason": "stop"})

    execution = google.system.wait(execution_id)
    assert execution.children
    assert {each.state for each in (execution, *execution.children)} == {ExecutionState.CANCELLED}


@pytest.mark.parametrize("body", [None, {}, {"cancel_reason": "stop"}])
def test_a_reason_need_not_be_given_and_may_be_spelt_either_way(google, body):
    name = published(google, "waiting", SUSPEND)
    execution_id = execute(google, name)["executionId"]

    assert cancel(google, name, execution_id, body) == {"isCanceled": True}
    assert look(google, execution_id).state is ExecutionState.CANCELLED


def test_what_is_scheduled_is_cancelled(google, steering):
    name = published(google, "never", steering.task(1))
    (execution_id,) = schedule(google, name, scheduleTime=FAR)

    assert cancel(google, name, execution_id, {"cancelReason": "stop"}) == {"isCanceled": True}

    assert look(google, execution_id).state is ExecutionState.CANCELLED
    assert steering.tries(1) == []


@pytest.mark.parametrize(("word", "state"), [("ok", "SUCCEEDED"), ("fail:404", "FAILED")])
def test_what_is_over_is_not_cancelled(google, steering, word, state):
    name = published(google, "over", steering.task(1, word))
    execution_id = quietly(google, name)

    assert cancel(google, name, execution_id, {"cancelReason": "stop"}) == {"isCanceled": False}
    assert look(google, execution_id).state == state


def test_a_second_cancel_is_told_whether_it_was_the_first_one(google):
    name = published(google, "waiting", SUSPEND)
    execution_id = execute(google, name)["executionId"]

    answers = [cancel(google, name, execution_id, {"cancelReason": each}) for each in ("a", "a", "b")]

    assert [each["isCanceled"] for each in answers] == [True, True, False]
    assert SignalStore(google.system.database).last(execution_id).message == "a"


def test_an_execution_is_cancelled_under_its_name_alone(google):
    name = published(google, "waiting", SUSPEND)
    execution_id = execute(google, name)["executionId"]

    with refused(404, execution_id):
        cancel(google, "another", execution_id, {"cancelReason": "stop"})
    with refused(404, "nothing"):
        cancel(google, name, "nothing", {"cancelReason": "stop"})

    assert look(google, execution_id).state is ExecutionState.SUSPENDED
    assert cancel(google, "-", execution_id, {"cancelReason": "stop"}) == {"isCanceled": True}


def test_a_reason_that_cannot_be_kept_is_refused(google):
    name = published(google, "waiting", SUSPEND)
    execution_id = execute(google, name)["executionId"]

    for reason in ("x" * 10_001, "\0"):
        with refused(400, "cancelReason"):
            cancel(google, name, execution_id, {"cancelReason": reason})
    assert look(google, execution_id).state is ExecutionState.SUSPENDED


# -- replay --------------------------------------------------------------------------------------------------------


def test_a_replay_from_the_beginning_runs_everything_again_with_the_same_parameters(google, steering):
    name = published(google, "again", steering.task(1, next=[2]), steering.task(2), parameters=A_AND_B)
    first = quietly(google, name, a={"intValue": "7"})

    answer = replay(google, name, first, replayMode="REPLAY_MODE_FROM_BEGINNING")

    assert answer["replayedExecutionId"] == first
    assert answer["outputParameters"] == {"a": 7, "b": "x"}
    assert [len(steering.tries(each)) for each in (1, 2)] == [2, 2]
    execution = look(google, answer["executionId"])
    assert (execution.replay_of, execution.replay_reason, execution.method) == (first, "again", "POST")
    assert look(google, first).replays == (answer["executionId"],)


def test_a_replay_from_the_point_of_failure_runs_what_failed(google, steering):
    name = published(google, "mended", steering.task(1, next=[2]), steering.task(2, "fail ok"), parameters=A_AND_B)
    first = quietly(google, name)

    answer = replay(google, name, first, replayMode="REPLAY_MODE_POINT_OF_FAILURE")

    assert answer["outputParameters"] == {"a": 1, "b": "x"}
    assert [len(steering.tries(each)) for each in (1, 2)] == [1, 2]


@pytest.mark.parametrize(
    ("body", "outputs"),
    [
        ({}, {"a": 7, "b": "y"}),
        ({"modifiedParameters": {}}, {"a": 7, "b": "y"}),
        ({"modifiedParameters": {"a": {"intValue": "8"}}}, {"a": 8, "b": "x"}),  # the default: the original is left out
        ({"modifiedParameters": {"a": {"intValue": "8"}}, "updateMask": "a"}, {"a": 8, "b": "y"}),
        ({"modified_parameters": {"a": {"intValue": "8"}}, "update_mask": "a"}, {"a": 8, "b": "y"}),
        (
            {"modifiedParameters": {"a": {"intValue": "8"}, "b": {"stringValue": "z"}}, "updateMask": "b"},
            {"a": 7, "b": "z"},
        ),
        (
            {"modifiedParameters": {"a": {"intValue": "8"}, "b": {"stringValue": "z"}}, "updateMask": "a, b"},
            {"a": 8, "b": "z"},
        ),
    ],
)
def test_a_mask_names_what_is_modified_and_without_one_the_original_is_left_out(google, steering, body, outputs):
    name = published(google, "masked", steering.task(1), parameters=A_AND_B)
    first = quietly(google, name, a={"intValue": "7"}, b={"stringValue": "y"})

    assert replay(google, name, first, **body)["outputParameters"] == outputs


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"updateMask": "a"}, "update_mask names 'a'"),
        ({"updateMask": "a,b.c", "modifiedParameters": {"a": {"intValue": "8"}}}, "update_mask names 'b.c'"),
        ({"replayReason": " "}, "Required field 'replay_reason' is missing"),
        ({"replayMode": "REPLAY_MODE_SIDEWAYS"}, "replay_mode"),
        ({"modifiedParameters": {"other": {"intValue": "8"}}}, "other"),
        ({"modifiedParameters": {"a": {"stringValue": "seven"}}}, "parameter 'a'"),
        ({"replayMode": "REPLAY_MODE_POINT_OF_FAILURE"}, "no failure point"),
    ],
)
def test_what_cannot_be_replayed_so_is_refused_and_nothing_is_stored(google, steering, body, words):
    name = published(google, "strict-replay", steering.task(1), parameters=A_AND_B)
    first = quietly(google, name)

    with refused(400, words):
        replay(google, name, first, **body)

    assert look(google, first).replays == ()


def test_what_goes_on_cannot_be_replayed(google):
    name = published(google, "waiting", SUSPEND)
    execution_id = execute(google, name)["executionId"]

    with refused(400, "SUSPENDED"):
        replay(google, name, execution_id)


def test_a_replay_of_what_was_queued_is_not_waited_for(google, steering):
    name = published(google, "queued", steering.task(1, "ok hold"), parameters=A_AND_B)
    (first,) = schedule(google, name)
    google.system.wait(first)

    answer = replay(google, name, first)

    assert set(answer) == {"executionId", "replayedExecutionId"}
    steering.go(1)
    assert google.system.wait(answer["executionId"]).method == "POST_TO_QUEUE"


def test_a_replay_that_fails_is_answered_with_its_state(google, steering):
    name = published(google, "failing-again", steering.task(1, "fail:404"), parameters=A_AND_B)
    first = quietly(google, name)

    answer = replay(google, name, first)

    assert answer["outputParameters"]["`ExecutionState`"] == "FAILED"
    assert look(google, answer["executionId"]).state is ExecutionState.FAILED


def test_a_replay_that_takes_long_goes_on(google, steering):
    name = published(google, "slow-again", steering.task(1, "ok hold"), parameters=A_AND_B)
    first = quietly(google, name)

    answer = replay(google, name, first, timeout=0.3)

    assert answer["outputParameters"]["`ExecutionState`"] in ("PENDING", "PROCESSING")
    steering.go(1)
    assert google.system.wait(answer["executionId"]).outputs == {"a": 1, "b": "x"}


def test_an_execution_is_replayed_under_its_name_alone(google, steering):
    name = published(google, "again", steering.task(1), parameters=A_AND_B)
    first = quietly(google, name)

    with refused(404, first):
        replay(google, "another", first)
