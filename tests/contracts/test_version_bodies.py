"""Whatever comes in as a definition is stored as it is or refused in the envelope, and nothing else happens."""

from __future__ import annotations

import asyncio
import json

import httpx
import pytest
from fastapi import FastAPI
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orchestrator.model.keys import ANYONE
from orchestrator.wire.google.api import google_router
from orchestrator.wire.google.version_documents import OURS_TO_SAY
from tests.contracts.world import World
from tests.unit.wire.google.documents import anything, names, plain, spelled

VERSIONS = "/v1/projects/default/locations/local/integrations/flow/versions"
ANY = settings(deadline=None, max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
WORDS = st.sampled_from(["state", "=", "ACTIVE", "AND", "(", "description", ":", '"', "create_time", ">", "5", "\0"])


@pytest.fixture
def app(database, tmp_path):
    """The wire alone, in this process: an error that has no place in the envelope is raised here."""
    app = FastAPI()
    app.state.services = World(database, tmp_path).services

    @app.middleware("http")
    async def let_in(request, go_on):
        request.state.caller = ANYONE
        return await go_on(request)

    app.include_router(google_router())
    return app


def sent(app, method, path, body=None, **more):
    async def ask():
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
            return await client.request(method, path, **more)

    if body is not None:
        more |= {"content": json.dumps(body), "headers": {"content-type": "application/json"}}
    return asyncio.run(ask())


def content_of(version):
    return {key: content for key, content in version.items() if key not in OURS_TO_SAY}


def is_refused(answer):
    error = answer.json()["error"]
    return (answer.status_code, error["code"], error["status"]) == (400, 400, "INVALID_ARGUMENT") and error["message"]


@ANY
@given(spelled())
def test_a_definition_comes_back_or_is_refused(app, pair):
    camel, mixed = pair

    answer = sent(app, "POST", VERSIONS, mixed)

    if answer.status_code != 200:
        assert is_refused(answer)
        return
    assert content_of(answer.json()) == content_of(camel)
    assert sent(app, "GET", f"/v1/{answer.json()['name']}").json() == answer.json()
    changed = sent(app, "PATCH", f"/v1/{answer.json()['name']}?updateMask=*", mixed)
    assert content_of(changed.json()) == content_of(camel)


@ANY
@given(anything | plain, st.sampled_from(["", ":upload", "/nothing:publish"]))
def test_any_body_is_refused_or_taken(app, body, verb):
    answer = sent(app, "POST", VERSIONS + verb, body)

    assert answer.status_code in (200, 404) or is_refused(answer)


@ANY
@given(
    st.lists(WORDS | names, max_size=6).map(" ".join), st.sampled_from(["filter", "orderBy", "pageToken", "fieldMask"])
)
def test_any_list_is_given_or_refused(app, text, parameter):
    for path in (VERSIONS, VERSIONS.removesuffix("/flow/versions")):
        answer = sent(app, "GET", path, params={parameter: text})

        assert answer.status_code == 200 or is_refused(answer)
