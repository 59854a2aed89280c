"""Definitions that others wrote, uploaded with the real client: they come back field for field, and run if they can."""

import json

import pytest
from googleapiclient.errors import HttpError

from tests.clients.google.conftest import LOCATION
from tests.clients.google.test_versions import OURS, content_of
from tests.unit.factories import SAMPLES, needs_samples, sample_names

pytestmark = [pytest.mark.services, needs_samples]

ELSEWHERE = {"sftp-get-file.json", "sftp-get-file-poll.json", "cloudfunctions.json"}


@pytest.mark.parametrize("name", sample_names())
def test_a_sample_comes_back_as_it_was_uploaded(google, name):
    content = (SAMPLES / name).read_text()
    sent = json.loads(content)
    parent = f"{LOCATION}/integrations/{name.removesuffix('.json')}"

    version = google.versions.upload(parent=parent, body={"content": content, "fileFormat": "JSON"}).execute()[
        "integrationVersion"
    ]
    downloaded = google.versions.download(name=version["name"]).execute()["content"]

    assert content_of(version) == {key: found for key, found in sent.items() if key not in OURS}
    assert json.loads(downloaded) == version


@pytest.mark.parametrize("name", sample_names())
def test_a_sample_is_published_where_its_task_types_are_known(google, name):
    parent = f"{LOCATION}/integrations/published-{name.removesuffix('.json')}"
    version = google.versions.create(parent=parent, body=json.loads((SAMPLES / name).read_text())).execute()

    if name in ELSEWHERE:
        with pytest.raises(HttpError, match="unknown task type"):
            google.versions.publish(name=version["name"]).execute()
    else:
        google.versions.publish(name=version["name"]).execute()

    expected = "DRAFT" if name in ELSEWHERE else "ACTIVE"
    assert google.versions.get(name=version["name"]).execute()["state"] == expected
