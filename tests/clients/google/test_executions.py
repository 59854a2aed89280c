"""``executions.get`` and ``download``, as the user of the client sees them."""

import json

import pytest
from googleapiclient.errors import HttpError

from orchestrator.service.control import kill
from orchestrator.service.replay import ReplayMode
from orchestrator.store.signals import Audit
from tests.clients.google.conftest import LOCATION
from tests.clients.google.discovered import DOCUMENT
from tests.flows import calls, flow, parameter, task
from tests.integration.steering import NEVER_S, Steering, retry

pytestmark = pytest.mark.services

LARGE = 2**63 - 1


@pytest.fixture
def steering(google, tmp_path):
    return Steering(google.system, tmp_path)


def name_of(execution_id, integration):
    return f"{LOCATION}/integrations/{integration}/executions/{execution_id}"


def get(google, execution_id, integration, **more):
    return google.executions.get(name=name_of(execution_id, integration), **more).execute()


def jsonnet(number, text, **more):
    return task(number, "JsonnetMapperTask", takes={"template": text}, **more)


def states_in(snapshot):
    return {each["taskNumber"]: each["taskExecutionState"] for each in snapshot["taskExecutionDetails"]}


def unknown_fields(document, schema):
    """What a document has that its schema has not, however deep, and values of a wrong kind."""
    if "$ref" in schema:
        schema = DOCUMENT["schemas"][schema["$ref"]]
    match schema.get("type"):
        case "object" if "additionalProperties" in schema:
            return [
                each for value in document.values() for each in unknown_fields(value, schema["additionalProperties"])
            ]
        case "object":
            known = schema.get("properties", {})
            strange = [f"{schema.get('id')}.{key}" for key in document if key not in known]
            return strange + [
                each for key, value in document.items() if key in known for each in unknown_fields(value, known[key])
            ]
        case "array":
            return [each for value in document for each in unknown_fields(value, schema["items"])]
        case kind:
            wanted = {"string": str, "integer": int, "boolean": bool, "number": (int, float)}.get(kind, object)
            is_fine = isinstance(document, wanted) and document in schema.get("enum", [document])
            return [] if is_fine else [f"{document!r} is no {kind} {schema.get('enum', '')}"]


@pytest.fixture(scope="module")
def family(google):
    """A parent that calls two children, with parameters of every kind; over."""
    child = flow(
        "child",
        jsonnet(1, "{twice: 2 * std.extVar('number')}"),
        parameters=[parameter("number", "INT_VALUE", direction="IN"), parameter("twice", "INT_VALUE", direction="OUT")],
    )
    google.system.client.publish(child)
    parent = flow(
        "parent",
        jsonnet(1, "{total: std.length(std.extVar('list'))}", next=[(2, "$total$ > 1"), (3, "$total$ > 9")]),
        task(
            2,
            "SubWorkflowForEachLoopV2Task",
            takes=calls("child", listToIterate="$list$", iterationElementMapping="number"),
        ),
        jsonnet(3, "{}"),
        parameters=[
            parameter("list", "INT_ARRAY", direction="IN"),
            parameter("large", "INT_VALUE", direction="IN"),
            parameter("secret", "STRING_VALUE", direction="IN") | {"masked": True},
            parameter("note", "JSON_VALUE", direction="IN_OUT"),
            parameter("total", "INT_VALUE", direction="OUT"),
        ],
    ) | {
        "userLabel": "first label",
        "cloudLoggingDetails": {"enableCloudLogging": True, "cloudLoggingSeverity": "INFO"},
    }
    inputs = {"list": [3, 4], "large": LARGE, "secret": "pssst", "note": {"lone": "\ud800", "text": "é"}}
    return google.system.client.wait(google.system.client.submit(parent, inputs)).id


def test_an_execution_has_every_field_that_there_is_something_to_say_for(google, family):
    found = get(google, family, "parent")

    assert unknown_fields(found, {"$ref": "GoogleCloudIntegrationsV1alphaExecution"}) == []
    assert found["name"] == name_of(family, "parent")
    assert found["triggerId"] == "api_trigger/parent"
    assert found["executionMethod"] == "POST_TO_QUEUE"
    assert found["createTime"].endswith("Z")
    assert found["createTime"] <= found["updateTime"]
    assert (found["snapshotNumber"], found["integrationVersionState"]) == ("1", "ACTIVE")
    assert found["cloudLoggingDetails"] == {"enableCloudLogging": True, "cloudLoggingSeverity": "INFO"}
    assert found["executionDetails"]["state"] == "SUCCEEDED"
    assert found["requestParameters"]["large"] == {"intValue": str(LARGE)}
    assert found["requestParameters"]["list"] == {"intArray": {"intValues": ["3", "4"]}}
    assert json.loads(found["requestParameters"]["note"]["jsonValue"]) == {"lone": "\ud800", "text": "é"}
    assert found["responseParameters"]["total"] == {"intValue": "2"}


def test_a_snapshot_shows_parameters_and_all_tasks_at_its_checkpoint(google, family):
    details = get(google, family, "parent")["executionDetails"]

    first, last = details["executionSnapshots"]
    assert int(details["eventExecutionSnapshotsSize"]) > 500
    assert first["checkpointTaskNumber"] == "1"
    assert first["executionSnapshotMetadata"] == {
        "taskNumber": "1",
        "task": "JsonnetMapperTask",
        "taskLabel": "JsonnetMapperTask",
        "executionAttempt": 1,
        "taskAttempt": 1,
        "integrationName": "parent",
    }
    assert first["params"]["total"] == {"intValue": "2"}
    states = [
        {each["taskNumber"]: each["taskExecutionState"] for each in one["taskExecutionDetails"]}
        for one in (first, last)
    ]
    assert states[0] == {"1": "SUCCEED", "2": "PENDING_EXECUTION", "3": "SKIPPED"}
    assert states[1] == {"1": "SUCCEED", "2": "SUCCEED", "3": "SKIPPED"}
    (attempt,) = first["taskExecutionDetails"][0]["taskAttemptStats"]
    assert attempt["startTime"] <= attempt["endTime"]


def test_the_older_twin_has_what_has_no_other_home(google, family):
    details = get(google, family, "parent")["eventExecutionDetails"]

    assert details["eventExecutionState"] == "SUCCEEDED"
    assert details["eventRetriesFromBeginningCount"] == 0
    first, last = details["eventExecutionSnapshot"]
    assert first["conditionResults"] == [
        {"currentTaskNumber": "1", "nextTaskNumber": "2", "result": True},
        {"currentTaskNumber": "1", "nextTaskNumber": "3", "result": False},
    ]
    assert first["diffParams"] == {"parameters": [{"key": "total", "value": {"intValue": "2"}}]}
    assert int(first["snapshotTime"]) <= int(last["snapshotTime"])


def test_what_is_below_an_execution_is_nested_in_it(google, family):
    found = get(google, family, "parent")

    children = found["directSubExecutions"]
    assert [each["responseParameters"]["twice"] for each in children] == [{"intValue": "6"}, {"intValue": "8"}]
    metadata = children[1]["executionDetails"]["executionSnapshots"][0]["executionSnapshotMetadata"]
    assert (metadata["ancestorTaskNumbers"], metadata["ancestorIterationNumbers"]) == (["2"], ["2"])
    child_id = children[0]["name"].rpartition("/")[2]
    assert get(google, child_id, "child") == children[0]
    listed = google.executions.list(parent=f"{LOCATION}/integrations/child", readMask="name").execute()["executions"]
    assert {each["name"] for each in children} <= {each["name"] for each in listed}


def test_a_masked_parameter_is_not_shown_anywhere(google, family):
    found = get(google, family, "parent")

    assert found["requestParameters"]["secret"] == {"stringValue": "Masked String of length 5"}
    assert "pssst" not in json.dumps([found, google.executions.list(parent=f"{LOCATION}/integrations/-").execute()])


def test_part_of_an_execution_can_be_asked_for(google, family):
    full = get(google, family, "parent")

    part = get(google, family, "parent", fields="name,executionDetails/state,directSubExecutions(name)")

    assert part == {
        "name": full["name"],
        "executionDetails": {"state": "SUCCEEDED"},
        "directSubExecutions": [{"name": each["name"]} for each in full["directSubExecutions"]],
    }
    attempts = get(google, family, "parent", fields="executionDetails/attemptStats")
    assert attempts == {"executionDetails": {"attemptStats": full["executionDetails"]["attemptStats"]}}
    assert get(google, family, "parent", fields="*") == full


def test_the_file_of_an_execution_is_the_same_document(google, family):
    answer = google.executions.download(name=name_of(family, "parent")).execute()

    assert json.loads(answer["content"]) == get(google, family, "parent")


def test_why_it_failed_and_when_it_goes_on(google, steering):
    definition = flow("fails", steering.task(1, "fail", next=[2]), steering.task(2, "ok", label="never"))
    failed = google.system.client.wait(google.system.client.submit(definition)).id
    found = get(google, failed, "fails")
    info = json.loads(found["responseParameters"]["ErrorInfo"]["jsonValue"])
    assert found["executionDetails"]["state"] == "FAILED"
    assert info["message"]
    assert info["taskNumber"] == 1

    again = flow("again", steering.task(1, "fail", label="again", **retry(2, interval=NEVER_S)))
    held = google.system.client.submit(again)
    steering.wait_for_state(held, "RETRY_ON_HOLD")
    details = get(google, held, "again")["eventExecutionDetails"]
    assert details["eventExecutionState"] == "RETRY_ON_HOLD"
    assert int(details["nextExecutionTime"]) > int(details["eventAttemptStats"][0]["startTime"])

    services = google.system.client._open().services
    kill(held, services, audit=Audit(actor="ann", message="not today"))
    details = get(google, held, "again")["eventExecutionDetails"]
    assert (details["eventExecutionState"], details["cancelReason"]) == ("CANCELED", "not today")


def test_replays_are_told_in_both_directions(google, family):
    client = google.system.client
    again = client.wait(client.replay(family, mode=ReplayMode.FROM_BEGINNING, reason="once more")).id

    assert get(google, again, "parent")["replayInfo"] == {
        "originalExecutionInfoId": family,
        "replayMode": "REPLAY_MODE_FROM_BEGINNING",
        "replayReason": "once more",
    }
    assert get(google, family, "parent")["replayInfo"] == {"replayedExecutionInfoIds": [again]}


@pytest.mark.parametrize(
    ("integration", "execution", "code"),
    [("parent", "nothing", 404), ("other", None, 404), ("parent", "n\x00", 400), ("parent", "é" * 600, 400)],
)
def test_what_is_not_there_is_told(google, family, integration, execution, code):
    with pytest.raises(HttpError) as caught:
        get(google, execution or family, integration)
    assert caught.value.status_code == code
    assert caught.value.reason


def test_an_execution_is_found_under_any_integration(google, family):
    assert get(google, family, "-")["name"] == name_of(family, "parent")


@pytest.mark.parametrize("fields", ["colour", "executionDetails/colour", "name(", "executionDetails/state/x"])
def test_fields_that_there_are_not_are_refused(google, family, fields):
    with pytest.raises(HttpError) as caught:
        get(google, family, "parent", fields=fields)
    assert caught.value.status_code == 400
    (detail,) = caught.value.error_details
    assert detail["@type"] == "type.googleapis.com/google.rpc.BadRequest"
    assert detail["fieldViolations"][0]["field"] == "fields"
