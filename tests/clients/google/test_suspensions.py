"""``suspensions``: what waits for an answer, and the answer."""

import pytest
from googleapiclient.errors import HttpError

from orchestrator.service.control import kill
from orchestrator.store.signals import Audit
from tests.clients.google.conftest import LOCATION
from tests.clients.google.test_executions import unknown_fields
from tests.flows import flow, parameter, task

pytestmark = pytest.mark.services


def asking(number=1, **takes):
    return task(number, "SuspensionTask", takes={"isApproved": "$approved$"} | takes)


QUESTION = flow(
    "question",
    asking(customMessage="Pay?", suspensionExpiration={"expireAfterMs": 3_600_000, "remindAfterMs": 60_000}),
    parameters=[parameter("approved", "BOOLEAN_VALUE", direction="OUT")],
)
WAIT = flow(
    "wait",
    task(1, "SuspensionTask", takes={"suspensionResult": "$word$"}),
    parameters=[parameter("word", direction="OUT")],
)


@pytest.fixture
def suspended(google):
    """Start one, wait for its suspension, and give its name."""

    def start(definition, **more):
        client = google.system.client
        execution = client.wait(client.submit(definition, **more))
        assert execution.state == "SUSPENDED"
        return f"{LOCATION}/integrations/{definition['name']}/executions/{execution.id}"

    return start


@pytest.fixture
def suspensions(google):
    return google.executions.suspensions()


def outputs(google, name):
    return google.system.client.wait(name.rpartition("/")[2]).outputs


def refused(request):
    with pytest.raises(HttpError) as caught:
        request.execute()
    return caught.value


def resolution(state, **more):
    return {"suspension": {"state": state, **more}}


def test_what_waits_is_told_with_its_terms(google, suspensions, suspended):
    name = suspended(QUESTION)

    (found,) = suspensions.list(parent=name).execute()["suspensions"]

    assert unknown_fields(found, {"$ref": "GoogleCloudIntegrationsV1alphaSuspension"}) == []
    assert found["name"] == f"{name}/suspensions/1-1"
    assert (found["state"], found["taskId"], found["integration"]) == ("PENDING", "1", "question")
    assert found["eventExecutionInfoId"] == name.rpartition("/")[2]
    assert found["approvalConfig"]["customMessage"] == "Pay?"
    expiration = found["approvalConfig"]["expiration"]
    assert expiration["liftWhenExpired"] is False
    assert found["createTime"] < expiration["remindTime"] < expiration["expireTime"]
    assert found["suspensionConfig"]["suspensionExpiration"] == {
        "expireAfterMs": 3_600_000,
        "remindAfterMs": 60_000,
        "liftWhenExpired": False,
    }
    assert "audit" not in found


@pytest.mark.parametrize(("state", "approved"), [("LIFTED", True), ("REJECTED", False)])
def test_a_question_is_resolved(google, suspensions, suspended, state, approved):
    name = suspended(QUESTION)
    (found,) = suspensions.list(parent=name).execute()["suspensions"]

    answer = suspensions.resolve(name=found["name"], body={"suspension": found | {"state": state}}).execute()

    assert answer == {}
    assert outputs(google, name) == {"approved": approved}
    (found,) = suspensions.list(parent=name).execute()["suspensions"]
    assert found["state"] == state
    assert found["audit"] == {"resolver": "anonymous", "resolveTime": found["lastModifyTime"]}


@pytest.mark.parametrize("body", [{"suspensionResult": "by all means"}, {"suspension_result": "by all means"}])
def test_a_wait_is_lifted_with_a_word(google, suspensions, suspended, body):
    name = suspended(WAIT)

    answer = suspensions.lift(name=f"{name}/suspensions/1-1", body=body).execute()

    assert answer == {"eventExecutionInfoId": name.rpartition("/")[2]}
    assert outputs(google, name) == {"word": "by all means"}


@pytest.mark.parametrize(("word", "approved"), [("Approved", True), ("Rejected", False), (None, True)])
def test_a_question_is_lifted_with_the_words_of_the_product(google, suspensions, suspended, word, approved):
    name = suspended(QUESTION)

    body = {} if word is None else {"suspensionResult": word}
    suspensions.lift(name=f"{name}/suspensions/-", body=body).execute()

    assert outputs(google, name) == {"approved": approved}


def test_there_is_one_answer(google, suspensions, suspended):
    name = suspended(QUESTION)
    suspensions.resolve(name=f"{name}/suspensions/1", body=resolution("LIFTED")).execute()

    error = refused(suspensions.resolve(name=f"{name}/suspensions/1", body=resolution("REJECTED", taskId="1")))

    assert error.status_code == 400
    assert "was LIFTED by anonymous" in error.reason
    assert outputs(google, name) == {"approved": True}


@pytest.mark.parametrize(
    ("more", "code", "words"),
    [
        ({"state": "PENDING"}, 400, "found str 'PENDING', expected one of LIFTED, REJECTED"),
        ({"state": "LIFTED", "taskId": "2"}, 400, "Invalid value at 'suspension.task_id': found '2'"),
        ({"state": "LIFTED", "integration": "wait"}, 400, "'suspension.integration'"),
        ({"state": "LIFTED", "name": "suspensions/9-1"}, 400, "'suspension.name'"),
        ({"state": "LIFTED", "colour": "red"}, 400, "Unknown name \"colour\" at 'suspension': Cannot find field."),
        ({}, 400, "Required field 'suspension.state' is missing."),
    ],
)
def test_a_wrong_answer_is_refused_in_words(google, suspensions, suspended, more, code, words):
    name = suspended(QUESTION)

    error = refused(suspensions.resolve(name=f"{name}/suspensions/1-1", body={"suspension": more}))

    assert (error.status_code, words in error.reason) == (code, True), error.reason
    assert error.error_details[0]["fieldViolations"]
    kill(name.rpartition("/")[2], google.system.client._open().services, audit=Audit(actor="test"))


def test_what_is_not_there_is_told(google, suspensions, suspended):
    name = suspended(WAIT)

    for missing in (f"{name}/suspensions/7-1", f"{name}x/suspensions/1-1"):
        assert refused(suspensions.lift(name=missing, body={})).status_code == 404
        assert refused(suspensions.resolve(name=missing, body=resolution("LIFTED"))).status_code == 404
    assert refused(suspensions.list(parent=f"{name}x")).status_code == 404


def test_only_those_may_answer_whom_the_task_names(google, suspensions, suspended):
    definition = flow("boss", asking(notifications=["boss@example.org"]), parameters=QUESTION["integrationParameters"])
    name = suspended(definition)

    error = refused(suspensions.resolve(name=f"{name}/suspensions/1-1", body=resolution("LIFTED")))

    assert error.status_code == 403
    (found,) = suspensions.list(parent=name).execute()["suspensions"]
    assert found["approvalConfig"]["emailAddresses"] == ["boss@example.org"]


def test_lists_have_filters_orders_and_pages(google, suspensions, suspended):
    three = flow(
        "three",
        *(task(number, "SuspensionTask") for number in (1, 2, 3)),
        starts=[1, 2, 3],
    )
    name = suspended(three)
    suspensions.lift(name=f"{name}/suspensions/2", body={}).execute()

    def tasks(**wish):
        return [each["taskId"] for each in suspensions.list(parent=name, **wish).execute().get("suspensions", [])]

    assert set(tasks(filter='state="PENDING"')) == {"1", "3"}
    assert tasks(filter="state=LIFTED") == tasks(filter="NOT state = PENDING") == ["2"]
    assert tasks(filter='task_id="3" OR taskId="1"', orderBy="createTime") == tasks(filter="task_id != 2")
    assert tasks(orderBy="last_modify_time desc")[0] == "2"
    assert tasks(orderBy="create_time desc") == tasks()[::-1]
    seen, request = [], suspensions.list(parent=name, pageSize=2)
    while request is not None:
        answer = request.execute()
        seen += [each["taskId"] for each in answer["suspensions"]]
        request = suspensions.list_next(request, answer)
    assert seen == tasks()
    token = suspensions.list(parent=name, pageSize=2).execute()["nextPageToken"]
    for wish in ({"filter": "colour=red"}, {"filter": "state=SUCCEEDED"}, {"orderBy": "state"}, {"pageSize": -1}):
        assert refused(suspensions.list(parent=name, **wish)).status_code == 400
    assert "another filter" in refused(suspensions.list(parent=name, pageToken=token, filter="state=LIFTED")).reason


def test_what_was_cancelled_has_no_state_in_the_api(google, suspensions, suspended):
    name = suspended(WAIT)
    kill(name.rpartition("/")[2], google.system.client._open().services, audit=Audit(actor="test"))

    (found,) = suspensions.list(parent=name).execute()["suspensions"]

    assert found["state"] == "RESOLUTION_STATE_UNSPECIFIED"
