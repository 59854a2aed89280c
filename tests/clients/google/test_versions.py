"""Definitions through the real client: drafts, publishing, lists, files, and what it is told when it is refused."""

import json
import uuid
from datetime import datetime

import pytest
import yaml
from googleapiclient.errors import HttpError

from tests.clients.google.conftest import LOCATION
from tests.flows import flow, task

pytestmark = pytest.mark.services

OURS = ("name", "state", "status", "snapshotNumber", "createTime", "updateTime", "lastModifierEmail", "lockHolder")


@pytest.fixture
def parent():
    """An integration of this test's own."""
    return f"{LOCATION}/integrations/flow-{uuid.uuid4().hex[:8]}"


def definition(**more):
    made = flow("greet", task(1, "tests.nothing"))
    return {key: content for key, content in made.items() if key != "name"} | more


def content_of(version):
    return {key: content for key, content in version.items() if key not in OURS}


def create(google, parent, **more):
    return google.versions.create(parent=parent, body=definition(**more)).execute()


def publish(google, parent, **more):
    version = create(google, parent, **more)
    google.versions.publish(name=version["name"]).execute()
    return version


def state_of(google, version):
    return google.versions.get(name=version["name"]).execute()["state"]


def refused(request, code, *said):
    with pytest.raises(HttpError) as caught:
        request.execute()
    assert caught.value.status_code == code
    for each in said:
        assert each in caught.value.reason


# -- drafts --------------------------------------------------------------------------------------------------------


def test_a_new_version_is_a_draft_with_what_was_sent(google, parent):
    sent = definition(description="says hello", userLabel="v1", limits={"maxConcurrent": 3})

    version = google.versions.create(parent=parent, newIntegration=True, body=sent).execute()

    assert version["name"].startswith(f"{parent}/versions/")
    assert (version["state"], version["status"], version["snapshotNumber"]) == ("DRAFT", "DRAFT", "1")
    assert (version["lockHolder"], version["lastModifierEmail"]) == ("anonymous", "anonymous")
    assert datetime.fromisoformat(version["createTime"]) <= datetime.fromisoformat(version["updateTime"])
    assert version["createTime"].endswith("Z")
    assert content_of(version) == sent
    assert google.versions.get(name=version["name"]).execute() == version
    assert google.versions.get(name=version["name"].replace(parent, f"{LOCATION}/integrations/-")).execute() == version


def test_snake_case_is_taken_and_camel_case_given(google, parent):
    sent = {
        "user_label": "v1",
        "task_configs": [
            {
                "task_id": "1",
                "task": "tests.nothing",
                "parameters": {"my_key": {"key": "my_key", "value": {"string_array": {"string_values": ["a_b"]}}}},
                "next_tasks": [],
            }
        ],
        "trigger_configs": [{"trigger_id": "api_trigger/x_y", "properties": {"Trigger name": "a_b", "c_d": "e"}}],
        "task_configs_internal": [{"snake_in": {"a": 1}, "unheardOf": True}],
    }

    version = google.versions.create(parent=parent, body=sent).execute()

    parameter = {"key": "my_key", "value": {"stringArray": {"stringValues": ["a_b"]}}}
    assert content_of(version) == {
        "userLabel": "v1",
        "taskConfigs": [{"taskId": "1", "task": "tests.nothing", "parameters": {"my_key": parameter}, "nextTasks": []}],
        "triggerConfigs": [{"triggerId": "api_trigger/x_y", "properties": {"Trigger name": "a_b", "c_d": "e"}}],
        "taskConfigsInternal": [{"snake_in": {"a": 1}, "unheardOf": True}],
    }


def test_a_second_new_integration_of_a_name_is_refused(google, parent):
    create(google, parent)

    request = google.versions.create(parent=parent, newIntegration=True, body=definition())

    refused(request, 409, "is there already")


def test_names_that_there_are_not_are_told_one_a_line(google, parent):
    body = definition(taskConfig=[], userlabel="x")
    body["taskConfigs"][0]["nextTask"] = []
    body["taskConfigs"][0]["parameters"] = {"a": {"key": "a", "values": {}}}

    refused(
        google.versions.create(parent=parent, body=body),
        400,
        "Invalid JSON payload received. Unknown name \"taskConfig\" at 'integration_version': Cannot find field.\n",
        "Unknown name \"nextTask\" at 'integration_version.task_configs[0]': Cannot find field.",
        "Unknown name \"values\" at 'integration_version.task_configs[0].parameters[0].value': Cannot find field.",
        "Unknown name \"userlabel\" at 'integration_version': Cannot find field.",
    )


def test_a_draft_that_cannot_be_read_is_refused_with_every_place(google, parent):
    body = definition(taskConfigs=[{"taskId": "one", "task": "x"}, {"taskId": "2"}])

    refused(google.versions.create(parent=parent, body=body), 400, "taskConfigs[0], taskId", "task 2, task")


@pytest.mark.parametrize(
    ("mask", "expected"),
    [
        ({}, {"description": "new", "userLabel": "old", "cloudLoggingDetails": {"cloudLoggingSeverity": "INFO"}}),
        ({"updateMask": "description"}, {"description": "new", "userLabel": "old"}),
        ({"updateMask": "description,user_label"}, {"description": "new"}),
        ({"updateMask": "cloud_logging_details.cloudLoggingSeverity,userLabel"}, {"description": "old"}),
    ],
)
def test_a_patch_changes_what_its_mask_names(google, parent, mask, expected):
    logging = {"cloudLoggingSeverity": "ERROR", "enableCloudLogging": True}
    version = create(google, parent, description="old", userLabel="old", cloudLoggingDetails=logging)
    body = {"description": "new", "cloudLoggingDetails": {"cloudLoggingSeverity": "INFO"}, "state": "ACTIVE"}

    changed = google.versions.patch(name=version["name"], body=body, **mask).execute()

    if "cloud_logging_details" in mask.get("updateMask", ""):
        expected = expected | {"cloudLoggingDetails": {"cloudLoggingSeverity": "INFO", "enableCloudLogging": True}}
    assert content_of(changed) == definition(**{"cloudLoggingDetails": logging} | expected)
    assert changed["state"] == "DRAFT"
    assert google.versions.get(name=version["name"]).execute() == changed


def test_a_patch_with_a_mask_of_everything_replaces_the_definition(google, parent):
    version = create(google, parent, description="old")

    changed = google.versions.patch(name=version["name"], body={"userLabel": "x"}, updateMask="*").execute()

    assert content_of(changed) == {"userLabel": "x"}


def test_a_mask_of_what_there_is_not_is_refused(google, parent):
    version = create(google, parent)

    for mask in ("colour", "taskConfigs.task", "description.x"):
        refused(google.versions.patch(name=version["name"], body={}, updateMask=mask), 400, "updateMask", mask)


def test_only_drafts_are_patched(google, parent):
    version = publish(google, parent)

    refused(google.versions.patch(name=version["name"], body={"description": "x"}), 400, "is ACTIVE", "DRAFT")


@pytest.mark.parametrize(
    ("parent", "said"),
    [
        (f"projects/{'p' * 65}/locations/local/integrations/i", "1 to 64 characters"),
        ("projects/default/locations/a\0/integrations/i", "1 to 64 characters"),
        (f"{LOCATION}/integrations/{'i' * 257}", "1 to 256 characters"),
        (f"{LOCATION}/integrations/a\0", "without NUL"),
        (f"{LOCATION}/integrations/-", "the name of one"),
    ],
)
def test_nothing_is_made_where_nothing_can_be(google, parent, said):
    refused(google.versions.create(parent=parent, body=definition()), 400, said)


def test_an_id_that_no_database_takes_is_refused(google, parent):
    refused(google.versions.get(name=f"{parent}/versions/a\0"), 400, "without NUL")


def test_half_of_a_surrogate_pair_that_nobody_looks_at_comes_back(google, parent):
    version = create(google, parent, taskConfigsInternal=[{"a": "\ud800"}])

    assert google.versions.get(name=version["name"]).execute()["taskConfigsInternal"] == [{"a": "\ud800"}]
    refused(google.versions.download(name=version["name"], fileFormat="YAML"), 400, "JSON: YAML cannot write that")


# -- states --------------------------------------------------------------------------------------------------------


def test_a_version_is_published_replaced_unpublished_and_deleted(google, parent):
    first, second = publish(google, parent), publish(google, parent, description="second")
    assert [state_of(google, each) for each in (first, second)] == ["SNAPSHOT", "ACTIVE"]

    assert google.versions.unpublish(name=second["name"]).execute() == {}
    assert state_of(google, second) == "SNAPSHOT"
    assert google.versions.publish(name=first["name"], body={}).execute() == {}
    assert google.versions.delete(name=second["name"]).execute() == {}

    assert [state_of(google, each) for each in (first, second)] == ["ACTIVE", "ARCHIVED"]
    published = google.versions.get(name=first["name"]).execute()
    assert "lockHolder" not in published


def test_a_published_version_runs(google, parent):
    version = publish(google, parent)

    execution_id = google.system.client.submit(parent.rpartition("/")[2])

    assert google.system.wait(execution_id).state == "SUCCEEDED"
    assert google.system.client.version_of(execution_id).document["taskConfigs"] == version["taskConfigs"]


@pytest.mark.parametrize(
    ("verb", "states"), [("publish", ("ACTIVE", "ARCHIVED")), ("unpublish", ("DRAFT",)), ("delete", ("ACTIVE",))]
)
def test_what_a_state_does_not_allow_is_a_failed_precondition(google, parent, verb, states):
    for state in states:
        version = publish(google, parent) if state == "ACTIVE" else create(google, parent)
        if state == "ARCHIVED":
            google.versions.delete(name=version["name"]).execute()

        with pytest.raises(HttpError) as caught:
            getattr(google.versions, verb)(name=version["name"]).execute()

        assert json.loads(caught.value.content)["error"]["status"] == "FAILED_PRECONDITION"
        assert f"is {state}" in caught.value.reason
        assert state_of(google, version) == state


def test_what_cannot_run_is_not_published_and_validation_says_so_beforehand(google, parent):
    version = create(google, parent, taskConfigs=[{"taskId": "1", "task": "Unheard"}])

    for body in ({"validateOnly": True}, {}):
        refused(google.versions.publish(name=version["name"], body=body), 400, "unknown task type 'Unheard'")

    assert state_of(google, version) == "DRAFT"


def test_validation_of_what_can_run_changes_nothing(google, parent):
    version = create(google, parent)

    assert google.versions.publish(name=version["name"], body={"validateOnly": True}).execute() == {}

    assert google.versions.get(name=version["name"]).execute() == version


def test_config_parameters_are_set_when_a_version_is_published(google, parent):
    parameter = {"key": "`CONFIG_url`", "dataType": "STRING_VALUE"}
    version = create(google, parent, integrationConfigParameters=[{"parameter": parameter}])

    request = google.versions.publish(name=version["name"], body={"configParameters": {"CONFIG_uri": "x"}})
    refused(request, 400, "no parameter 'CONFIG_uri'")
    google.versions.publish(name=version["name"], body={"configParameters": {"`CONFIG_url`": "u"}}).execute()

    found = google.versions.get(name=version["name"]).execute()
    assert found["integrationConfigParameters"] == [{"parameter": parameter, "value": {"stringValue": "u"}}]


@pytest.mark.parametrize("verb", ["get", "delete", "publish", "unpublish", "download"])
def test_what_is_not_there_is_not_found(google, parent, verb):
    refused(getattr(google.versions, verb)(name=f"{parent}/versions/nothing"), 404, "no version 'nothing'")


def test_an_edit_lock_is_taken_over(google, parent):
    version = create(google, parent)
    name = version["name"].replace("/integrations/", "/products/apigee/integrations/")
    products = google.client.projects().locations().products().integrations().versions()

    taken = products.takeoverEditLock(integrationVersion=name, body={}).execute()

    assert taken["integrationVersion"]["lockHolder"] == "anonymous"
    assert taken["integrationVersion"]["name"] == version["name"]


# -- lists ---------------------------------------------------------------------------------------------------------


def test_versions_are_listed_page_by_page(google, parent):
    made = [create(google, parent, description=f"number {number}") for number in range(5)]
    google.versions.publish(name=made[1]["name"]).execute()

    found, pages = [], 0
    request = google.versions.list(
        parent=parent, pageSize=2, orderBy="snapshot_number asc", fieldMask="name,user_label"
    )
    while request is not None:
        page = request.execute()
        found += page.get("integrationVersions", [])
        pages += 1
        request = google.versions.list_next(request, page)

    assert pages == 3
    assert found == [{"name": each["name"]} for each in made]


def test_versions_are_filtered(google, parent):
    first, second = create(google, parent, description="a test"), publish(google, parent)

    def names(wanted, under=parent):
        page = google.versions.list(parent=under, filter=wanted).execute()
        return [each["name"] for each in page["integrationVersions"]]

    assert names("state=ACTIVE") == [second["name"]]
    assert names('state=DRAFT AND description:"test"') == [first["name"]]
    everywhere = names(f"workflowName={parent.rpartition('/')[2]} AND state=ACTIVE", f"{LOCATION}/integrations/-")
    assert everywhere == [second["name"]]
    assert names("state=ARCHIVED") == []
    refused(google.versions.list(parent=parent, filter="colour=red"), 400, "one of the fields integration")
    refused(google.versions.list(parent=parent, orderBy="colour"), 400, "order")
    refused(google.versions.list(parent=parent, pageToken="x"), 400, "page token")
    refused(google.versions.list(parent=parent, pageSize=-1), 400, "pageSize")


def test_integrations_are_listed_until_they_are_deleted(google, parent):
    version = publish(google, parent, description="the published one")
    create(google, parent, description="a draft")
    name = parent.rpartition("/")[2]

    def found():
        page = google.integrations.list(parent=LOCATION, filter=f"workflowName={name}").execute()
        return page["integrations"]

    (row,) = found()
    assert (row["name"], row["active"], row["description"]) == (parent, True, "the published one")
    assert row["createTime"] == version["createTime"]
    assert row["lastModifierEmail"] == "anonymous"

    assert google.integrations.delete(name=parent).execute() == {}

    assert found() == []
    assert state_of(google, version) == "ARCHIVED"
    refused(google.integrations.delete(name=parent), 404, f"no integration '{name}'")


def test_integrations_are_listed_page_by_page(google, parent):
    names = [f"{parent}-{letter}" for letter in "bac"]
    for each in names:
        create(google, each, userLabel=parent)

    found = []
    request = google.integrations.list(parent=LOCATION, filter=f"userLabel='{parent}'", orderBy="name", pageSize=2)
    while request is not None:
        page = request.execute()
        found.append([each["name"] for each in page["integrations"]])
        request = google.integrations.list_next(request, page)

    assert found == [sorted(names)[:2], sorted(names)[2:]]


# -- files ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("file_format", ["JSON", "YAML"])
def test_what_is_downloaded_can_be_uploaded(google, parent, file_format):
    version = publish(google, parent, description="on: 012\n\u00e9")

    content = google.versions.download(name=version["name"], fileFormat=file_format).execute()["content"]
    body = {"content": content, "fileFormat": file_format}
    uploaded = google.versions.upload(parent=f"{parent}-copy", body=body).execute()["integrationVersion"]

    read = json.loads(content) if file_format == "JSON" else yaml.safe_load(content)
    assert read == google.versions.get(name=version["name"]).execute()
    assert content_of(uploaded) == content_of(version)
    assert (uploaded["state"], uploaded["snapshotNumber"]) == ("DRAFT", "1")
    assert uploaded["name"].startswith(f"{parent}-copy/versions/")


def test_config_variables_are_a_file_of_their_own(google, parent):
    parameter = {"key": "`CONFIG_url`", "dataType": "STRING_VALUE"}
    entry = {"parameter": parameter, "value": {"stringValue": "u"}}
    version = create(google, parent, integrationConfigParameters=[entry])

    wanted = ["INTEGRATION_CONFIG_VARIABLES", "INTEGRATION"]
    found = google.versions.download(name=version["name"], files=wanted).execute()

    assert [each["file"] for each in found["files"]] == wanted
    assert json.loads(found["files"][0]["content"]) == {"`CONFIG_url`": {"stringValue": "u"}}
    assert found["files"][1]["content"] == found["content"]


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"content": "{", "fileFormat": "JSON"}, "line 1, column 2: not JSON"),
        ({"content": "a: *b", "fileFormat": "YAML"}, "an alias"),
        ({"content": '{"taskConfig": []}'}, "Unknown name \"taskConfig\" at 'integration_version'"),
        ({"content": "{}", "fileFormat": "WORKFLOW_TEXTPROTO"}, "'WORKFLOW_TEXTPROTO', expected JSON or YAML"),
        ({"fileFormat": "JSON"}, "content: found null"),
        ({"contents": ""}, 'Unknown name "contents": Cannot find field.'),
    ],
)
def test_what_cannot_be_uploaded_is_refused(google, parent, body, said):
    refused(google.versions.upload(parent=parent, body=body), 400, said)

    assert google.versions.list(parent=parent).execute()["integrationVersions"] == []
