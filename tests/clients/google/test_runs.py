"""Running integrations with the client: now and waiting, later, as a trial, and with an event."""

import uuid
from datetime import UTC, datetime, timedelta

import pytest

from orchestrator.model.definition import parse_integration
from orchestrator.model.states import ExecutionState
from orchestrator.store.queries import ExecutionQueries
from tests.clients.google.conftest import LOCATION
from tests.clients.google.running import Q, execute, name_of, published, refused, request_of, schedule, within
from tests.flows import flow, parameter, task
from tests.integration.steering import Steering
from tests.integration.waiting import until

pytestmark = pytest.mark.services

FAR = "2126-01-31T12:00:00Z"
SUSPEND = task(1, "SuspensionTask", successPolicy={"finalState": "SUSPENDED"})
TEXT = parameter("text", direction="IN")


@pytest.fixture
def steering(google, tmp_path):
    return Steering(google.system, tmp_path)


def answering(number=1, text="{answer: 'done'}", **more):
    return task(number, "JsonnetMapperTask", takes={"template": text}, **more)


def returning(code, message):
    return task(1, "ReturnTask", takes={"httpErrorCode": str(code), "errorMessage": message})


ANSWER = parameter("answer", direction="OUT")


def look(google, execution_id):
    return google.system.client.get(execution_id)


def count(google, name):
    return len(google.system.client.list(f'integration = "{name}"'))


def info_of(caught):
    """The metadata of the ErrorInfo, and its reason."""
    (info,) = caught.value.error_details
    assert info["@type"] == "type.googleapis.com/google.rpc.ErrorInfo"
    return info["metadata"], info["reason"]


# -- execute -------------------------------------------------------------------------------------------------------


def test_an_execution_is_answered_with_its_outputs(google):
    name = published(google, "outputs", answering(), parameters=[Q, ANSWER])

    answer = execute(google, name, inputParameters={"qty": {"intValue": "42"}})

    assert answer["outputParameters"] == {"qty": 42, "answer": "done"}
    assert answer["parameters"] == {"qty": {"intValue": "42"}, "answer": {"stringValue": "done"}}
    assert answer["executionFailed"] is False
    assert look(google, answer["executionId"]).method == "POST"
    entries = {each["key"]: each for each in answer["eventParameters"]["parameters"]}
    assert entries["qty"] == {"key": "qty", "dataType": "INT_VALUE", "value": {"intValue": "42"}}
    assert answer["parameterEntries"] == answer["eventParameters"]["parameters"]


def test_the_older_parameters_are_taken_and_the_newer_stand_over_them(google):
    declared = [parameter(key, "INT_VALUE", direction="IN_OUT", default=0) for key in "abc"]
    name = published(google, "twins", answering(text="{}"), parameters=declared)
    entry = [{"key": "a", "value": {"intValue": 1}}, {"key": "b", "value": {"intValue": "2"}, "dataType": "INT_VALUE"}]

    answer = execute(
        google,
        name,
        parameterEntries=entry,
        parameters={
            "parameters": [{"key": "b", "value": {"int_value": "3"}}, {"key": "c", "value": {"intValue": "4"}}]
        },
        input_parameters={"c": {"intValue": "5"}},
    )

    assert answer["outputParameters"] == {"a": 1, "b": 3, "c": 5}


def test_a_failed_execution_is_an_error_that_names_it(google, steering):
    name = published(google, "failing", steering.task(1, "fail:503"))

    with refused(500, "try 1 of 1 fails", "task 1") as caught:
        execute(google, name)

    metadata, reason = info_of(caught)
    assert metadata["integration"] == name
    assert metadata["errorCode"] == "503"
    assert reason == "HTTP_EXCEPTION"
    assert look(google, metadata["executionId"]).state is ExecutionState.FAILED


@pytest.mark.parametrize(
    ("word", "status"),
    [("fail:404", 400), ("fail:429", 500), ("fail:INVALID_ARGUMENT", 400), ("fail:OUT_OF_PAPER", 500)],
)
def test_what_would_fail_again_is_the_callers_error_and_what_may_not_is_ours(google, steering, word, status):
    name = published(google, "classes", steering.task(1, word, label=uuid.uuid4().hex))

    with refused(status):
        execute(google, name)


@pytest.mark.parametrize("code", [400, 403, 404, 409, 429, 499])
def test_a_return_task_chooses_the_status(google, code):
    name = published(google, "returning", returning(code, "no such order"))

    with refused(code) as caught:
        execute(google, name)

    assert caught.value.reason == "no such order"
    assert info_of(caught)[0]["errorCode"] == str(code)


def test_a_failure_that_is_not_to_be_an_error_is_answered(google):
    name = published(google, "quiet", returning(404, "no such order"), parameters=[Q])

    answer = execute(google, name, doNotPropagateError=True)

    assert answer["executionFailed"] is True
    assert answer["outputParameters"]["`ExecutionState`"] == "FAILED"
    assert answer["outputParameters"]["ErrorInfo"] == {"message": "no such order", "code": 404, "taskNumber": 1}
    entries = {each["key"]: each["value"] for each in answer["eventParameters"]["parameters"]}
    assert entries["PostWithTriggerIdExecutionException"] == {"stringValue": "no such order"}
    assert look(google, answer["executionId"]).state is ExecutionState.FAILED


def test_an_execution_that_is_cancelled_meanwhile_is_cancelled_for_the_caller(google, steering):
    name = published(google, "stopped", SUSPEND)
    (execution_id,) = schedule(google, name, scheduleTime=FAR)
    google.system.client.kill(execution_id)

    with refused(400, "CANCELLED"):
        execute(google, name, executionId=execution_id)


def test_a_request_id_that_comes_again_gives_the_first_answer(google, steering):
    name = published(google, "once", steering.task(1), parameters=[Q])

    first = execute(google, name, requestId="r-1", inputParameters={"qty": {"intValue": "7"}})
    again = execute(google, name, requestId="r-1")

    assert again == first
    assert len(steering.tries(1)) == 1


def test_two_requests_without_an_id_are_two_executions(google, steering):
    name = published(google, "twice", steering.task(1))

    assert execute(google, name)["executionId"] != execute(google, name)["executionId"]


def test_a_deadline_that_passes_leaves_the_execution_going_on(google, steering):
    name = published(google, "slow", steering.task(1, "hold"))

    answer = within(request_of(google, name, requestId="slow-1"), timeout=0.3).execute()

    assert answer["outputParameters"] == {"`ExecutionState`": "PROCESSING"}
    assert answer["parameters"] == {"`ExecutionState`": {"stringValue": "PROCESSING"}}
    assert answer["executionFailed"] is False
    steering.go(1)
    assert execute(google, name, requestId="slow-1")["outputParameters"] == {"qty": 1}


def test_one_that_waits_for_a_person_is_answered_at_once_and_goes_on_later(google):
    name = published(google, "asking", SUSPEND)

    answer = execute(google, name)

    assert answer["outputParameters"]["`ExecutionState`"] == "SUSPENDED"
    google.system.client.suspensions.lift(answer["executionId"])
    until(lambda: look(google, answer["executionId"]).state is ExecutionState.SUCCEEDED, what="the end")


def test_a_timer_is_waited_for(google):
    waiting = task(1, "TimerTask", takes={"delaySeconds": 1}, next=[2])
    name = published(google, "timed", waiting, answering(2), parameters=[ANSWER])

    assert execute(google, name)["outputParameters"] == {"answer": "done"}


def test_an_execution_on_hold_is_started_and_waited_for(google, steering):
    name = published(google, "held", steering.task(1), parameters=[Q])
    (execution_id,) = schedule(google, name, scheduleTime=FAR, inputParameters={"qty": {"intValue": "3"}})

    answer = execute(google, name, executionId=execution_id)

    assert (answer["executionId"], answer["outputParameters"]) == (execution_id, {"qty": 3})
    with refused(400, "only one whose time has not come"):
        execute(google, name, executionId=execution_id)


def test_one_on_hold_takes_no_other_parameters(google, steering):
    name = published(google, "held", steering.task(1), parameters=[Q])
    (execution_id,) = schedule(google, name, scheduleTime=FAR)

    with refused(400, "inputParameters"):
        execute(google, name, executionId=execution_id, inputParameters={"qty": {"intValue": "3"}})

    assert look(google, execution_id).state is ExecutionState.PENDING


# -- what is refused -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        ({"triggerId": "api_trigger/another"}, 400, "api_trigger/another"),
        ({"triggerId": ""}, 400, "Required field 'trigger_id' is missing"),
        ({}, 400, "parameter 'text' (STRING_VALUE) is required"),
        ({"inputParameters": {"text": {"stringValue": "x", "intValue": "1"}}}, 400, 'input_parameters["text"]'),
        ({"inputParameters": {"text": {"intValue": "x"}}}, 400, 'input_parameters["text"]'),
        ({"inputParameters": {"other": {"stringValue": "x"}}}, 400, "other"),
        ({"inputParameters": {"text": {"stringValue": "x"}}, "requestId": "a b"}, 400, "request id"),
        ({"inputParameters": {"text": {"stringValue": "x"}}, "colour": 1}, 400, 'Unknown name "colour"'),
    ],
)
def test_what_does_not_fit_is_refused_and_nothing_is_stored(google, body, status, words):
    name = published(google, "strict", answering(), parameters=[TEXT])

    with refused(status, words):
        execute(google, name, **body)

    assert count(google, name) == 0


def test_an_unknown_integration_is_not_found_also_if_another_one_has_the_trigger(google):
    published(google, "known", answering())

    with refused(404, "unknown"):
        execute(google, "unknown", triggerId="api_trigger/known")


def test_a_timeout_beyond_the_longest_is_refused(google):
    name = published(google, "known", answering())

    with refused(400, "timeout"):
        within(request_of(google, name), timeout=1000).execute()


# -- every integration with a trigger ------------------------------------------------------------------------------


def with_trigger(name, trigger, *tasks, **more):
    document = flow(name, *tasks, **more)
    document["triggerConfigs"][0]["triggerId"] = trigger
    return document


@pytest.fixture
def both(google):
    """Two integrations with one trigger, and the trigger."""
    trigger = f"api_trigger/{uuid.uuid4().hex}"
    for each in ("one", "other"):
        document = with_trigger(f"{each}-{trigger[-8:]}", trigger, answering(), parameters=[Q])
        google.system.client.publish(parse_integration(document))
    return trigger


def test_a_dash_runs_every_integration_with_the_trigger(google, both):
    answer = google.integrations.execute(name=name_of("-"), body={"triggerId": both}).execute()

    ids = answer["outputParameters"]["`ExecutionIds`"]
    assert answer["outputParameters"] == {"`ExecutionIds`": ids}
    assert answer["executionId"] == ids[0]
    assert sorted(look(google, each).integration for each in ids) == [f"one-{both[-8:]}", f"other-{both[-8:]}"]


def test_a_dash_with_one_integration_gives_its_outputs(google):
    name = published(google, "alone", answering(), parameters=[Q])

    body = {"triggerId": f"api_trigger/{name}"}
    assert google.integrations.execute(name=name_of("-"), body=body).execute()["outputParameters"] == {"qty": 1}


def test_a_dash_schedules_all_and_an_id_is_for_one(google, both):
    scheduling = google.integrations.schedule
    own = {"triggerId": both, "userGeneratedExecutionId": str(uuid.uuid4())}
    with refused(400, "execution id"):
        scheduling(name=name_of("-"), body=own).execute()

    ids = scheduling(name=name_of("-"), body={"triggerId": both}).execute()["executionInfoIds"]

    assert len({look(google, each).integration for each in ids}) == 2


def test_a_dash_with_a_trigger_that_nothing_has_is_not_found(google):
    with refused(404, "api_trigger/nobody"):
        google.integrations.execute(name=name_of("-"), body={"triggerId": "api_trigger/nobody"}).execute()


# -- schedule ------------------------------------------------------------------------------------------------------


def test_what_is_scheduled_for_now_runs(google, steering):
    name = published(google, "soon", steering.task(1), parameters=[Q])

    (execution_id,) = schedule(google, name, inputParameters={"qty": {"intValue": "9"}})

    execution = google.system.wait(execution_id)
    assert (execution.method, execution.outputs) == ("POST_TO_QUEUE", {"qty": 9})


def test_a_time_that_has_passed_is_now(google, steering):
    name = published(google, "past", steering.task(1))

    (execution_id,) = schedule(google, name, scheduleTime="2020-01-31T12:00:00Z")

    assert google.system.wait(execution_id).method == "SCHEDULE"


def test_what_is_scheduled_for_later_is_pending(google, steering):
    name = published(google, "later", steering.task(1))
    at = datetime.now(UTC).replace(microsecond=0) + timedelta(days=1)

    (execution_id,) = schedule(google, name, scheduleTime=at.isoformat())

    stored = ExecutionQueries(google.system.database).one(execution_id)
    assert (stored.state, stored.scheduled_at) == (ExecutionState.PENDING, at)


def test_an_id_of_ones_own_is_the_executions_and_the_same_call_again_is_the_same_execution(google, steering):
    name, own = published(google, "own", steering.task(1), parameters=[Q]), str(uuid.uuid4())

    for _ in range(2):
        assert schedule(google, name, userGeneratedExecutionId=own) == [own]

    google.system.wait(own)
    with refused(409, own):
        schedule(google, name, userGeneratedExecutionId=own, inputParameters={"qty": {"intValue": "2"}})


def test_a_request_id_schedules_once(google, steering):
    name = published(google, "once-later", steering.task(1))

    ids = {schedule(google, name, requestId="s-1", scheduleTime=FAR)[0] for _ in range(3)}

    assert len(ids) == 1


def test_a_time_that_is_none_is_refused(google):
    name = published(google, "later", answering())

    with refused(400, "schedule_time"):
        schedule(google, name, scheduleTime="tomorrow")


# -- trials --------------------------------------------------------------------------------------------------------


def trial(google, name, document, **body):
    wanted = {"integrationVersion": document, "clientId": "c", "triggerId": f"api_trigger/{name}", **body}
    return google.integrations.test(name=name_of(name), body=wanted).execute()


def test_a_definition_is_tried_out_and_not_published(google):
    document = flow("trial", answering(), parameters=[Q, ANSWER])

    answer = trial(google, "trial", document, inputParameters={"qty": {"intValue": "2"}})

    assert answer["outputParameters"] == {"qty": 2, "answer": "done"}
    assert look(google, answer["executionId"]).integration == "trial"
    with refused(404):
        execute(google, "trial")


def test_a_trial_beside_a_published_version_leaves_that_as_it_is(google):
    name = published(google, "beside", answering(text="{answer: 'published'}"), parameters=[ANSWER])
    document = flow(name, answering(text="{answer: 'tried'}"), parameters=[ANSWER])

    tried = trial(google, name, document)["outputParameters"]

    assert tried == {"answer": "tried"}
    assert execute(google, name)["outputParameters"] == {"answer": "published"}
    google.system.client.publish(parse_integration(document))
    assert execute(google, name)["outputParameters"] == {"answer": "tried"}


def test_a_trial_that_fails_is_an_answer(google):
    answer = trial(google, "failing-trial", flow("failing-trial", returning(404, "no such order")))

    assert answer["executionFailed"] is True
    assert answer["outputParameters"]["ErrorInfo"]["message"] == "no such order"


def test_an_asynchronous_trial_answers_its_id_alone(google):
    answer = trial(google, "async-trial", flow("async-trial", answering()), asyncExecution=True)

    assert set(answer) == {"executionId"}
    assert google.system.wait(answer["executionId"]).method == "POST_TO_QUEUE"


def test_a_version_is_tried_out_by_its_name(google):
    name = published(google, "versioned", answering(text="{answer: 'first'}"), parameters=[ANSWER])
    version_id = google.system.client.publish(
        parse_integration(flow(name, answering(text="{answer: 'second'}"), parameters=[ANSWER]))
    )
    published(google, name, answering(text="{answer: 'third'}"), parameters=[ANSWER])
    body = {"triggerId": f"api_trigger/{name}", "clientId": "c"}

    answer = google.versions.test(name=f"{name_of(name)}/versions/{version_id}", body=body).execute()
    by_body = trial(google, name, {"name": f"{name_of(name)}/versions/{version_id}"})
    of_active = trial(google, name, {"name": name_of(name)})

    outputs = [each["outputParameters"]["answer"] for each in (answer, by_body, of_active)]
    assert outputs == ["second", "second", "third"]


def test_a_version_that_is_not_there_is_not_found(google):
    with refused(404, "nothing"):
        google.versions.test(name=f"{name_of('versioned')}/versions/nothing", body={"triggerId": "t"}).execute()


def test_a_definition_that_cannot_run_is_refused_and_not_kept(google):
    with refused(400, "NoSuchTask"):
        trial(google, "bad-trial", flow("bad-trial", task(1, "NoSuchTask")))


@pytest.mark.parametrize("asked", [{"testMode": True}, {"configParameters": {"a": 1}}])
def test_what_a_trial_cannot_do_is_said(google, asked):
    with refused(501, *asked):
        trial(google, "trial", flow("trial", answering()), **asked)


def test_a_trial_is_waited_for_until_its_deadline(google, steering):
    soon = (datetime.now(UTC) + timedelta(seconds=0.3)).isoformat()

    answer = trial(google, "slow-trial", flow("slow-trial", steering.task(1, "hold")), deadlineSecondsTime=soon)

    assert answer["outputParameters"]["`ExecutionState`"] in ("PENDING", "PROCESSING")
    steering.go(1)


# -- events --------------------------------------------------------------------------------------------------------

EVENT = parameter("event", "JSON_VALUE", direction="IN_OUT")


def fire(google, name, event, **more):
    trigger = more.get("trigger", f"api_trigger/{name}")
    request = google.integrations.executeEvent(name=name_of(name), triggerId=trigger, body=event)
    return google.system.wait(request.execute()["executionId"])


def test_an_event_becomes_the_json_input(google):
    name = published(google, "eventful", answering(text="{}"), parameters=[EVENT, Q])

    execution = fire(google, name, {"order": {"id": 7}, "colour": None})

    assert execution.outputs["event"] == {"order": {"id": 7}, "colour": None}
    assert execution.method == "POST_TO_QUEUE"


def test_a_trigger_says_which_of_several_takes_the_event(google):
    other = parameter("other", "JSON_VALUE", direction="IN_OUT", default={"is": "default"})
    document = flow("choosy", answering(text="{}"), parameters=[EVENT, other])
    document["triggerConfigs"][0]["inputVariables"] = {"names": ["event"]}
    google.system.client.publish(parse_integration(document))

    assert fire(google, "choosy", {"a": 1}).outputs == {"event": {"a": 1}, "other": {"is": "default"}}


def test_an_event_that_nothing_takes_is_refused(google):
    name = published(google, "deaf", answering(), parameters=[Q])

    with refused(400, "one JSON parameter for the event"):
        fire(google, name, {"a": 1})


def test_an_event_of_an_unknown_trigger_is_refused(google):
    name = published(google, "eventful", answering(text="{}"), parameters=[EVENT, Q])

    with refused(400, "api_trigger/other"):
        fire(google, name, {"a": 1}, trigger="api_trigger/other")


def test_the_location_of_a_name_counts(google):
    name = published(google, "here", answering())
    elsewhere = LOCATION.replace("local", "elsewhere")

    with refused(404, name):
        google.integrations.execute(
            name=f"{elsewhere}/integrations/{name}", body={"triggerId": f"api_trigger/{name}"}
        ).execute()
