"""Keys, as the users of the real client hand them over, and what they are told of one that is not good."""

import logging
import re
from datetime import UTC, datetime
from pathlib import Path

import google.auth.api_key
import httplib2
import httpx
import pytest
import sqlalchemy as sa
from google.oauth2.credentials import Credentials
from googleapiclient.errors import HttpError

from orchestrator.store.tables import executions, keys
from tests.clients.google.conftest import LOCATION, client_of
from tests.clients.serving import served
from tests.flows import flow, task
from tests.integration.system import running_system
from tests.integration.waiting import until
from tests.services import redis_url

pytestmark = pytest.mark.services

NAME = f"{LOCATION}/integrations/i/executions/nothing"
HOW_TO_GET_ONE = "`orchestrator keys create NAME --scope read` makes one"
WAYS = {
    "token": lambda key: {"credentials": Credentials(key)},
    "developer key": lambda key: {"developerKey": key, "http": httplib2.Http()},
    "api key": lambda key: {"credentials": google.auth.api_key.Credentials(key)},
}


@pytest.fixture(scope="module")
def guarded(tmp_path_factory):
    """A system without workers, and the URL of its server, which asks for keys."""
    folder = tmp_path_factory.mktemp("access")
    with (
        running_system(folder, database="sqlite", broker_url=redis_url(), workers=0) as system,
        served(system, authenticate=True) as url,
    ):
        yield system, url


@pytest.fixture
def make(guarded):
    return lambda *scopes, **more: guarded[0].client.keys.create("ci", scopes=scopes or ["read"], **more)


@pytest.fixture
def refusal(guarded):
    """What the client's user is told of a look at an execution."""

    def refusal(**credentials):
        with client_of(guarded[1], **credentials) as client, pytest.raises(HttpError) as caught:
            client.projects().locations().integrations().executions().get(name=NAME).execute()
        return caught.value.status_code, caught.value.reason

    return refusal


@pytest.mark.parametrize("way", WAYS)
def test_a_good_key_is_let_in(make, refusal, way):
    status, reason = refusal(**WAYS[way](make().text))

    assert status == 404  # there is no such execution, which only who may look is told
    assert "nothing" in reason


def test_other_clients_may_send_it_in_a_header_of_its_own(guarded, make):
    answer = httpx.get(f"{guarded[1]}/v1/{NAME}", headers={"X-Api-Key": make().text})

    assert answer.status_code == 404


def test_without_a_key_one_is_told_how_to_get_one(refusal):
    """Not the InvalidOperation of credentials that cannot be renewed, which is what a 401 would be."""
    status, reason = refusal()

    assert status == 403
    assert reason.startswith("this needs an API key")
    assert reason.endswith(HOW_TO_GET_ONE)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("what", ["wrong", "revoked", "expired"])
def test_a_key_that_is_not_good_is_refused_with_a_way_out(guarded, make, refusal, way, what):
    system, _ = guarded
    made = make()
    if what == "revoked":
        system.client.keys.revoke(made.key.id)
    elif what == "expired":
        with system.database.begin() as connection:
            past = datetime(2020, 1, 1, tzinfo=UTC)
            connection.execute(sa.update(keys).where(keys.c.id == made.key.id).values(expires_at=past))

    status, reason = refusal(**WAYS[way]("wrong" if what == "wrong" else made.text))

    assert status == 403
    assert reason.startswith("this API key is not valid")
    assert reason.endswith(HOW_TO_GET_ONE)


def test_a_key_is_refused_from_the_request_on_that_follows_its_end(guarded, make):
    made = make()
    with client_of(guarded[1], credentials=Credentials(made.text)) as client:
        look = client.projects().locations().integrations().executions().get(name=NAME)
        with pytest.raises(HttpError, match="404"):
            look.execute()

        guarded[0].client.keys.revoke(made.key.id)

        with pytest.raises(HttpError, match="403"):
            look.execute()


def test_a_key_without_the_scope_is_told_which(make, refusal):
    status, reason = refusal(credentials=Credentials(make("run", "control").text))

    assert status == 403
    assert reason == "key:ci may not do this: it needs a key with the scope 'read'"


def test_a_developer_key_beside_another_token_is_refused(make, refusal):
    status, reason = refusal(credentials=Credentials(make().text), developerKey=make().text)

    assert status == 403
    assert "several API keys that differ" in reason


@pytest.mark.parametrize(("key", "said"), [("wrong", "this API key is not valid"), (None, "this needs an API key")])
def test_a_list_whose_url_is_too_long_has_its_developer_key_in_the_body(guarded, key, said):
    with client_of(guarded[1], developerKey=key, http=httplib2.Http()) as client:
        executions = client.projects().locations().integrations().executions()
        with pytest.raises(HttpError) as caught:
            executions.list(parent=f"{LOCATION}/integrations/i", filter="x" * 3_000).execute()

    assert caught.value.status_code == 403
    assert caught.value.reason.startswith(said)


def test_the_refusal_of_a_large_request_arrives(guarded):
    """The server has its answer before it has the request, and must not hang up on a client that is still sending."""
    body = {"inputParameters": {"a": {"stringValue": "x" * 2_000_000}}}
    with client_of(guarded[1], credentials=Credentials("wrong")) as client, pytest.raises(HttpError) as caught:
        client.projects().locations().integrations().execute(name=f"{LOCATION}/integrations/i", body=body).execute()

    assert caught.value.status_code == 403


def test_the_client_is_built_as_the_page_says(guarded, make, monkeypatch):
    page = (Path(__file__).parents[3] / "docs" / "keys.md").read_text()
    (example,) = re.findall(r"^```python google\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    monkeypatch.setenv("KEY", make().text)
    monkeypatch.setenv("ORCHESTRATOR_URL", guarded[1])
    names = {}

    exec(compile(example, "keys.md", "exec"), names)

    with names["integrations"] as client, pytest.raises(HttpError, match="404"):
        client.projects().locations().integrations().executions().get(name=NAME).execute()


def test_our_own_paths_ask_for_a_key_as_http_does(guarded):
    answer = httpx.get(f"{guarded[1]}/no-such-page")

    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == "Bearer"


def test_no_log_has_a_key(guarded, make, refusal, caplog):
    """That of uvicorn would have the URL."""
    good = make()
    with caplog.at_level(logging.DEBUG):
        for way in WAYS.values():
            refusal(**way(good.text))
        guarded[0].client.keys.revoke(good.key.id)
        for way in WAYS.values():
            refusal(**way(good.text))
        lines = "orchestrator.web.access_log"  # the last is written when its answer is out
        until(lambda: sum(each.name == lines for each in caplog.records) == 6, what="a line for each request")
    served_records = [each for each in caplog.records if each.name.startswith(("uvicorn", "orchestrator"))]

    assert not [each for each in served_records if each.name == "uvicorn.access"]
    assert sum(each.message == "request refused" for each in served_records) == 3
    assert good.text.rpartition("_")[2] not in repr([(each.getMessage(), vars(each)) for each in served_records])


def test_a_bound_key_starts_what_runs_on_its_executor_and_nothing_else(guarded, make):
    """What names no executor goes to that of the key."""
    system, url = guarded
    system.client.publish(flow("anywhere", task(1, "JsonnetMapperTask", takes={"template": "{}"})))
    system.client.publish(flow("elsewhere", task(1, "JsonnetMapperTask", takes={"template": "{}"}, executorId="big")))
    key = make("run", executor="small", actor="nightly")
    with client_of(url, credentials=Credentials(key.text)) as client:
        integrations = client.projects().locations().integrations()

        def schedule(name):
            body = {"triggerId": f"api_trigger/{name}"}
            return integrations.schedule(name=f"{LOCATION}/integrations/{name}", body=body).execute()

        with pytest.raises(HttpError) as caught:
            schedule("elsewhere")
        (started,) = schedule("anywhere")["executionInfoIds"]

    assert caught.value.status_code == 403
    assert "big" in caught.value.reason
    row = system.rows(sa.select(executions.c.executor, executions.c.submitted_by).where(executions.c.id == started))
    assert row == [("small", "nightly")]
