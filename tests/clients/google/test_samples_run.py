"""Definitions that others wrote, run with the real client: what comes out is what their own descriptions say."""

import json

import pytest
from google.oauth2.credentials import Credentials
from googleapiclient.errors import HttpError

from tests.clients.google.conftest import LOCATION, client_of, running_google
from tests.clients.serving import served
from tests.integration.sample_stand_in import outside
from tests.unit.factories import SAMPLES, needs_samples

pytestmark = [pytest.mark.services, needs_samples]

ADDRESS = "1155 Borregas Ave Sunnyvale CA 94089"
ORDER = {
    "ordDate": "29/5/2022",
    "orderID": "123",
    "btAddr": {"btAddr": ADDRESS, "btCode": "CX3H+XC Sunnyvale, California"},
    "stAddr": {"stAddress": ADDRESS, "stCode": "CX3H-XC Sunnyvale, California"},
}
APPROVAL = "ecom-order-processing"


@pytest.fixture(scope="module")
def google(tmp_path_factory):
    folder = tmp_path_factory.mktemp("samples")
    with outside() as overrides, running_google(folder, database="sqlite", url_overrides=overrides) as found:
        yield found


def published(google, name):
    """The definition, uploaded and published under its file's name."""
    content = (SAMPLES / f"{name}.json").read_text()
    body = {"content": content, "fileFormat": "JSON"}
    uploaded = google.versions.upload(parent=f"{LOCATION}/integrations/{name}", body=body).execute()
    google.versions.publish(name=uploaded["integrationVersion"]["name"]).execute()
    return json.loads(content)


def executed(google, name, **parameters):
    """The answer, and the execution as it is then."""
    definition = published(google, name)
    trigger = next(each["triggerId"] for each in definition["triggerConfigs"] if "api_trigger/" in each["triggerId"])
    body = {"triggerId": trigger, "inputParameters": parameters}
    answer = google.integrations.execute(name=f"{LOCATION}/integrations/{name}", body=body).execute()
    path = f"{LOCATION}/integrations/{name}/executions/{answer['executionId']}"
    return answer["outputParameters"], google.executions.get(name=path).execute()


def last(execution, key):
    return execution["executionDetails"]["executionSnapshots"][-1]["params"][key]


def state_of(execution):
    return execution["executionDetails"]["state"]


@pytest.mark.parametrize(
    ("name", "outputs"),
    [
        (
            "concat-string-array",
            {"stringArray": [f"{each}AreGreatFruits" for each in ("oranges", "apples", "bananas", "mangos")]},
        ),
        ("resolve-json", {"output_order_json": {"order": ORDER}}),
        (
            "update-json-array",
            {"outputJsonArray": [{"prop1": each} for each in ("val11", "val21", "valUserDefined", "val41")]},
        ),
        ("call-rest-api", {"OutputJson": {"firstName": "john", "lastName": "doe", "city": "San Jose"}}),
    ],
)
def test_what_a_sample_puts_out(google, name, outputs):
    found, execution = executed(google, name)

    assert state_of(execution) == "SUCCEEDED"
    assert {key: found[key] for key in outputs} == outputs


def test_case_conversion_puts_every_text_in_upper_case(google):
    _, execution = executed(google, "case-conversion")

    assert last(execution, "outputStringArray") == {"stringArray": {"stringValues": ["ONE", "TWO", "THREE"]}}


def test_remove_json_property_takes_it_from_every_element(google):
    _, execution = executed(google, "remove-json-property")

    names = [each["name"] for each in json.loads(last(execution, "outputJsonArray")["jsonValue"])["students"]]
    assert names == ["Abhishek", "Chirag", "Sachin", "Vivek"]


def test_catch_task_error_takes_the_error_edge_when_the_mapping_fails(google):
    _, execution = executed(google, "catch-task-error")

    tasks = execution["executionDetails"]["executionSnapshots"][-1]["taskExecutionDetails"]
    states = {each["taskNumber"]: each["taskExecutionState"] for each in tasks}
    assert state_of(execution) == "SUCCEEDED"
    assert states == {"2": "FAILED", "1": "SUCCEED", "3": "SKIPPED"}


@pytest.mark.parametrize(
    ("name", "below", "children"),
    [
        ("foreach-loop-send-email", "foreach-loop-send-email-sub", 4),
        ("status-based-retry-main", "status-based-retry-sub", 2),
    ],
)
def test_loops_run_what_they_call(google, name, below, children):
    published(google, below)
    given = {"Recipients": "reader@example.org", "Email_Subject": "A content"} if "email" in name else {}
    _, execution = executed(google, name, **{key: {"stringValue": text} for key, text in given.items()})

    assert [state_of(each) for each in execution["directSubExecutions"]] == ["SUCCEEDED"] * children


def test_an_order_below_the_threshold_is_processed(google):
    outputs, execution = executed(google, APPROVAL)

    assert state_of(execution) == "SUCCEEDED"
    assert outputs["total_order_value"] == 34.0
    assert outputs["orders_response"] == {"STATUS": "PROCESSING_COMPLETE"}


def test_an_order_above_the_threshold_goes_on_once_whoever_may_has_approved_it(google):
    """The definition names who may; the sample has only the place for it."""
    _, execution = executed(google, APPROVAL, threshold_order_value={"doubleValue": 30.0})
    assert state_of(execution) == "SUSPENDED"
    suspensions = google.executions.suspensions()
    (waits,) = suspensions.list(parent=execution["name"], filter='state="PENDING"').execute()["suspensions"]
    body = {"suspensionResult": "Approved"}
    with pytest.raises(HttpError, match="may not answer"):
        suspensions.lift(name=waits["name"], body=body).execute()

    boss = google.system.client.keys.create(scopes=["control"], actor="<change-this-to-email-id>")
    with (
        served(google.system, authenticate=True) as url,
        client_of(url, credentials=Credentials(boss.text)) as client,
    ):
        theirs = client.projects().locations().integrations().executions().suspensions()
        theirs.lift(name=waits["name"], body=body).execute()

    assert google.system.client.wait(execution["name"].rpartition("/")[2]).state.value == "SUCCEEDED"
