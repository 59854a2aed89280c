"""Versions as resources: what is theirs comes back, what is ours is put in; masks of patches and lists."""

import json
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.errors import InvalidValue
from orchestrator.model.version_states import VersionState
from orchestrator.store.version_rows import StoredVersion
from orchestrator.wire.google.version_documents import (
    OURS_TO_SAY,
    masked,
    parse_mask,
    patched,
    portable,
    read_definition_body,
    to_integration_version,
)
from tests.unit.wire.google.documents import spelled

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)
KEYS = ("description", "userLabel", "cloudLoggingDetails", "taskConfigs")
documents = st.dictionaries(
    st.sampled_from(KEYS), st.integers() | st.dictionaries(st.sampled_from("ab"), st.integers())
)


def without_ours(document):
    return {key: content for key, content in document.items() if key not in OURS_TO_SAY}


def make_stored(document):
    return StoredVersion(
        id="v",
        project="p",
        location="l",
        integration="i",
        snapshot_number=7,
        state=VersionState.DRAFT,
        document=document,
        digest="",
        created_at=NOON,
        updated_at=NOON + timedelta(microseconds=5),
        state_at=NOON,
        user_label="",
        description="",
        lock_holder="me",
        last_modifier=None,
    )


def test_what_only_we_can_know_is_taken_out():
    body = dict.fromkeys(OURS_TO_SAY, "theirs") | {"description": "d", "lock_holder": "theirs", "origin": "UI"}
    del body["lockHolder"]

    assert read_definition_body(body) == {"description": "d", "origin": "UI"}


@settings(deadline=None)
@given(spelled())
def test_a_definition_goes_out_field_for_field_as_it_came_in(pair):
    camel, mixed = pair
    stored = json.loads(json.dumps(read_definition_body(mixed)))

    resource = to_integration_version(make_stored(stored))

    assert without_ours(resource) == without_ours(camel)
    assert without_ours(read_definition_body(resource)) == without_ours(camel)
    assert portable(portable(resource, "i"), "i") == {"name": "i", **without_ours(camel)}


def test_what_only_we_can_know_is_put_in():
    resource = to_integration_version(make_stored({"name": "theirs", "state": "ARCHIVED", "description": "d"}))

    assert resource == {
        "name": "projects/p/locations/l/integrations/i/versions/v",
        "description": "d",
        "state": "DRAFT",
        "status": "DRAFT",
        "snapshotNumber": "7",
        "createTime": "2026-01-31T12:00:00Z",
        "updateTime": "2026-01-31T12:00:00.000005Z",
        "lockHolder": "me",
    }


@pytest.mark.parametrize(
    ("text", "paths"),
    [
        ("", ()),
        ("description", (("description",),)),
        ("user_label, task_configs", (("userLabel",), ("taskConfigs",))),
        ("cloud_logging_details.enable_cloud_logging", (("cloudLoggingDetails", "enableCloudLogging"),)),
        ("limits.rate.perSeconds", (("limits", "rate", "perSeconds"),)),
        ("*", (("*",),)),
    ],
)
def test_a_mask_is_read_in_either_spelling(text, paths):
    assert parse_mask(text, "updateMask") == paths


@pytest.mark.parametrize("text", ["x", "taskConfigs.task", "description.x", "limits.x", "description,x", "a..b", "."])
def test_a_mask_of_what_there_is_not_is_refused(text):
    with pytest.raises(InvalidValue, match="updateMask"):
        parse_mask(text, "updateMask")


@given(documents, documents)
def test_without_a_mask_everything_that_is_there_is_taken_and_the_rest_stays(old, new):
    assert patched(old, new, ()) == {**old, **new}


@given(documents, documents, st.lists(st.sampled_from(KEYS)))
def test_a_patch_takes_exactly_the_fields_of_its_mask(old, new, keys):
    if not keys:
        return
    found = patched(old, new, tuple((key,) for key in keys))

    assert {key: found.get(key) for key in KEYS} == {key: (new if key in keys else old).get(key) for key in KEYS}
    again = patched(found, new, tuple((key,) for key in keys))
    assert again == found


def test_a_path_into_a_message_leaves_the_rest_of_it():
    old = {"limits": {"maxConcurrent": 1, "rate": {"count": 1, "perSeconds": 2}}, "description": "d"}
    paths = parse_mask("limits.rate.count,limits.maxConcurrent", "updateMask")

    assert patched(old, {"limits": {"rate": {"count": 5}}}, paths) == {
        "limits": {"rate": {"count": 5, "perSeconds": 2}},
        "description": "d",
    }


def test_fields_that_are_ours_are_taken_by_no_mask():
    assert patched({}, {"state": "ACTIVE"}, parse_mask("state", "updateMask")) == {}


def test_a_list_shows_the_fields_of_a_mask_alone():
    version = {"name": "n", "limits": {"maxConcurrent": 1, "key": "k"}, "taskConfigs": [{"taskId": "1"}]}

    assert masked(version, parse_mask("name,limits.key", "fieldMask")) == {"name": "n", "limits": {"key": "k"}}
    assert masked(version, parse_mask("task_configs", "fieldMask")) == {"taskConfigs": [{"taskId": "1"}]}
    assert masked(version, ()) == version
    assert masked(version, (("*",),)) == version
