"""What tests of running say in a word: a published integration, a call of it, and what the client raises."""

from __future__ import annotations

from contextlib import contextmanager
from typing import Any
from urllib.parse import quote

import pytest
from googleapiclient.errors import HttpError

from orchestrator.model.definition import parse_integration
from tests.clients.google.conftest import LOCATION, Google
from tests.flows import flow, parameter

Q = parameter("qty", "INT_VALUE", direction="IN_OUT", default=1)


def name_of(integration: str, execution_id: str = "") -> str:
    return f"{LOCATION}/integrations/{integration}" + (f"/executions/{execution_id}" if execution_id else "")


def published(google: Google, name: str, *tasks: Any, parameters: Any = (Q,), **more: Any) -> str:
    """The name of an integration, whose trigger is ``api_trigger/NAME``."""
    google.system.client.publish(parse_integration(flow(name, *tasks, parameters=parameters, **more)))
    return name


def request_of(google: Google, integration: str, **body: Any) -> Any:
    trigger = {} if "executionId" in body else {"triggerId": f"api_trigger/{integration}"}
    return google.integrations.execute(name=name_of(integration), body={**trigger, **body})


def within(request: Any, **query: Any) -> Any:
    """A request with what the client knows nothing of."""
    request.uri += "".join(f"&{key}={quote(str(content))}" for key, content in query.items())
    return request


def execute(google: Google, integration: str, **body: Any) -> dict[str, Any]:
    answer: dict[str, Any] = request_of(google, integration, **body).execute()
    return answer


def schedule(google: Google, integration: str, **body: Any) -> list[str]:
    wanted = {"triggerId": f"api_trigger/{integration}", **body}
    ids: list[str] = google.integrations.schedule(name=name_of(integration), body=wanted).execute()["executionInfoIds"]
    return ids


@contextmanager
def refused(status: int, *words: str):
    """The client raises this; what is caught has the error."""
    with pytest.raises(HttpError) as caught:
        yield caught
    assert caught.value.status_code == status, caught.value
    for each in words:
        assert each in str(caught.value.reason)
