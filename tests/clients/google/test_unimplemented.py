"""Every method of the API answers, and what is not answered says so in the envelope."""

import re

import httpx
import pytest
from googleapiclient.errors import HttpError

from tests.clients.google.conftest import LOCATION
from tests.clients.google.discovered import methods

pytestmark = pytest.mark.services

X = f"/v1/{LOCATION}/integrations/i/executions"


def path_of(method):
    return "/" + re.sub(r"\{\w+\}", "nothing", method["flatPath"])


@pytest.mark.parametrize("method", methods(), ids=lambda method: method["id"])
def test_every_method_of_the_api_answers_json_that_the_client_understands(google, method):
    """What is answered may well say that nothing is there; what is not answered is 501."""
    body = None if method["httpMethod"] in ("GET", "DELETE") else {}
    answer = httpx.request(method["httpMethod"], google.url + path_of(method), json=body, trust_env=False)

    assert answer.headers["content-type"] == "application/json"
    if answer.status_code != 200:
        error = answer.json()["error"]
        assert error["code"] == answer.status_code
        assert error["message"]
        assert (error["status"] == "UNIMPLEMENTED") == (answer.status_code == 501)
        assert answer.status_code in (400, 404, 501), error


def test_the_client_says_what_is_not_answered(google):
    with pytest.raises(HttpError) as caught:
        google.client.projects().locations().templates().list(parent=LOCATION).execute()

    assert caught.value.status_code == 501
    assert caught.value.reason == (
        "GET /v1/projects/*/locations/*/templates is not answered here; docs/google-api.md has what is"
    )


@pytest.mark.parametrize(
    ("verb", "path", "code"),
    [
        ("GET", "/v1/projects", 404),
        ("GET", f"/v1/{LOCATION}/nothing", 404),
        ("PUT", f"{X}/e", 404),
        ("POST", f"{X}/e", 404),
        ("GET", f"{X}/e:cancel", 404),
        ("POST", f"{X}/e:dance", 404),
        ("GET", "/v2" + X.removeprefix("/v1"), 501),
        ("GET", "/v1alpha" + X.removeprefix("/v1"), 501),
        ("GET", f"{X}/e?alt=proto", 400),
        ("GET", f"{X}/e?alt=media", 400),
        ("GET", f"{X}/%ff", 404),
        ("GET", f"{X}/e%00", 400),
        ("GET", f"{X}?pageSize=many", 400),
        ("GET", f"{X}?pageToken=%00", 400),
        ("GET", f"{X}?filter=execution_id%3D%22%00%22", 400),
        ("GET", f"{X}?orderBy=a+b+c", 400),
        ("GET", f"{X}?snapshotMetadataWithoutParams=maybe", 400),
        ("GET", f"{X}?filter=a&filter=b", 400),
        ("POST", f"{X}/e/suspensions/1:lift", 404),
    ],
)
def test_whatever_is_wrong_is_told_in_the_envelope(google, verb, path, code):
    answer = httpx.request(verb, google.url + path, trust_env=False)

    assert answer.status_code == code
    assert answer.json()["error"].keys() >= {"code", "message", "status"}


@pytest.mark.parametrize("body", ["{", "[]", '{"a": NaN}', '"x"', "[" * 100_000, "\x00", '{"a": "\\ud800"}'])
def test_a_body_that_is_no_message_is_told(google, body):
    answer = httpx.post(f"{google.url}{X}/e/suspensions/1-1:lift", content=body, trust_env=False)

    assert answer.status_code == 400
    assert answer.json()["error"]["message"].startswith("Invalid JSON payload received.")


def test_errors_have_the_shape_that_the_client_reads(google):
    """``error_details`` is the list of details where there is one, and the message where there is none."""
    with pytest.raises(HttpError) as caught:
        google.executions.get(name=f"{LOCATION}/integrations/i/executions/e").execute()
    assert caught.value.error_details == caught.value.reason

    with pytest.raises(HttpError) as caught:
        google.executions.get(name=f"{LOCATION}/integrations/i/executions/e", fields="colour").execute()
    assert caught.value.error_details[0]["@type"] == "type.googleapis.com/google.rpc.BadRequest"


def test_the_paths_that_google_s_command_line_makes_are_taken(google):
    """It puts a slash before the verb, and names a product where Apigee is meant."""
    at = google.url + X
    for path in (
        f"{at}/e:download",
        f"{at}/e/:download",
        f"{at.replace('/integrations/', '/products/apigee/integrations/')}/e:download",
    ):
        answer = httpx.get(path, trust_env=False)
        assert answer.json()["error"]["message"].startswith("there is no execution 'e'")


def test_an_id_with_odd_characters_comes_through(google):
    for odd in ("a bé/", "100%", "..%2F..", "a+b", "a&b=c"):
        with pytest.raises(HttpError) as caught:
            google.executions.get(name=f"{LOCATION}/integrations/i/executions/{odd.replace('/', '%2F')}").execute()
        assert caught.value.status_code == 404
        assert "there is no execution" in caught.value.reason
