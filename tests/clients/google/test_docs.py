"""What docs/google-api.md says can be done as it says."""

import re
from pathlib import Path

import pytest

from tests.flows import flow, task

pytestmark = pytest.mark.services

PAGE = (Path(__file__).parents[3] / "docs" / "google-api.md").read_text()


def test_the_examples_of_the_page_run(google, capsys):
    """They list what FAILED of an integration, and send a batch."""
    fails = flow("order-fulfilment", task(1, "JsonnetMapperTask", takes={"template": "error 'wrong'"}))
    failed = google.system.client.wait(google.system.client.submit(fails))
    first, second = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    known = {}

    exec(first.replace("http://127.0.0.1:8080", google.url), known)
    assert capsys.readouterr().out == f"{failed.name}\n"

    exec(second.replace("http://127.0.0.1:8080", google.url), known)
    known["batch"].add(known["executions"].get(name=failed.name, fields="name"))
    known["batch"].execute()
    assert failed.name in capsys.readouterr().out
    known["api"].close()
