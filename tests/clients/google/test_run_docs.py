"""The Python blocks of the pages about running and watching, as a reader would use them."""

import re
from pathlib import Path

import pytest

from orchestrator.model.definition import parse_integration
from tests.clients.google.running import published, schedule
from tests.flows import flow, task
from tests.integration.steering import Steering

pytestmark = pytest.mark.services

DOCS = Path(__file__).parents[3] / "docs"
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def follow(page, **names):
    """Run the blocks of a page one after the other; how many there were."""
    blocks = BLOCK.findall((DOCS / page).read_text())
    for each in blocks:
        exec(compile(each, page, "exec"), names)
    return len(blocks)


def test_running_and_steering(google):
    published(google, "orders", task(1, "JsonnetMapperTask", takes={"template": "{}"}))
    refusing = task(1, "ReturnTask", takes={"httpErrorCode": "404", "errorMessage": "no such order"})
    google.system.client.publish(parse_integration(flow("refuse", refusing)))

    assert follow("google-runs.md", client=google.client) == 6


def test_watching(google, tmp_path):
    name = published(google, "watched-page", Steering(google.system, tmp_path).task(1))
    (execution_id,) = schedule(google, name)

    url = f"{google.url}/v1/projects/default/locations/local/integrations/{name}/executions/{execution_id}"
    assert follow("watching.md", url=url) == 2
