"""Whatever cannot be meant has an error that its sender can read, in the envelope, and stores nothing.

On PostgreSQL, which refuses some texts that SQLite takes. What the real client would not send goes through httpx.
"""

from __future__ import annotations

import json
import socket
from urllib.parse import quote, urlsplit

import httpx
import pytest

from tests.clients.google.conftest import LOCATION, running_google
from tests.clients.google.landscape import id_of, laid_out, stored
from tests.clients.google.running import refused, within

pytestmark = pytest.mark.services

BAD_REQUEST = "type.googleapis.com/google.rpc.BadRequest"
QTY = {"intValue": "1"}


@pytest.fixture(scope="module")
def google(tmp_path_factory):
    with running_google(tmp_path_factory.mktemp("google"), database="postgres") as found:
        yield found


@pytest.fixture(scope="module")
def land(google):
    return laid_out(google)


@pytest.fixture(autouse=True)
def nothing_is_stored(google, land):
    before = stored(google)
    yield
    assert stored(google) == before


@pytest.fixture(scope="module")
def web(google):
    with httpx.Client(base_url=f"{google.url}/v1/", trust_env=False, timeout=60) as client:
        yield client


def error_of(answer, code=400):
    """What the envelope says."""
    assert (answer.status_code, answer.headers["content-type"]) == (code, "application/json"), answer.text[:500]
    error = answer.json()["error"]
    assert error["code"] == code
    assert error["message"]
    return error


def reads_of(land):
    """Paths that answer a GET."""
    return [
        f"{LOCATION}/integrations",
        f"{land.flow}/executions",
        land.over,
        f"{land.over}:download",
        f"{land.over}:watch",
        f"{land.suspended}/suspensions",
        f"{land.flow}/versions",
        land.draft,
        f"{land.draft}:download",
    ]


def lists_of(land):
    return [path for path in reads_of(land) if path.endswith(("integrations", "executions", "suspensions", "versions"))]


def writes_of(land):
    """Verbs and paths that take a body."""
    actions = [f"{land.flow}:{verb}" for verb in ("execute", "schedule", "test", "executeEvent")]
    actions += [f"{land.draft}:{verb}" for verb in ("publish", "unpublish", "takeoverEditLock", "test")]
    actions += [f"{land.suspension}:{verb}" for verb in ("lift", "resolve")]
    actions += [f"{land.over}:replay", f"{land.held}:cancel", f"{land.flow}/versions", f"{land.flow}/versions:upload"]
    return [*(("POST", path) for path in actions), ("PATCH", land.draft)]


# -- bodies that are no JSON ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"{", "line 1 column 2"),
        (b"[1]", "Expected an object"),
        (b'"text"', "Expected an object"),
        (b"null", "Expected an object"),
        (b'{"a": ' + b"[" * 10_000 + b"]" * 10_000 + b"}", "nested too deeply"),
        (b"[" * 100_000, "nested too deeply"),
        (b'{"a": NaN}', "NaN is no JSON"),
        (b'{"a": -Infinity}', "-Infinity is no JSON"),
        (b'{"a": 1e999}', "1e999 is larger than any double"),
        (b'{"a": ' + b"9" * 5_000 + b"}", "4300 digits"),
        (b'{"a": "\xff"}', "can't decode byte 0xff"),
    ],
    ids=lambda each: str(each[:16]),
)
def test_a_body_that_is_no_object_of_json_is_refused_by_every_method(web, land, content, words):
    for verb, path in writes_of(land):
        error = error_of(web.request(verb, path, content=content, headers={"content-type": "application/json"}))

        assert error["message"].startswith("Invalid JSON payload received.")
        assert words in error["message"], path
        assert error["details"][0]["@type"] == BAD_REQUEST


def test_a_field_that_no_message_has_is_refused_by_every_method_that_takes_no_json_of_ones_own(web, land):
    for verb, path in writes_of(land):
        if path.endswith(":executeEvent"):
            continue
        error = error_of(web.request(verb, path, json={"colour": "red", "shape": 1}))

        lines = error["message"].split("\n")
        for name in ("colour", "shape"):
            start = f'Invalid JSON payload received. Unknown name "{name}"'
            assert [line.startswith(start) and line.endswith(": Cannot find field.") for line in lines].count(True) == 1
        assert [each["description"] for each in error["details"][0]["fieldViolations"]] == lines


def test_a_body_that_has_to_be_there_is_missed(web, land):
    for verb, path in writes_of(land):
        if path.endswith((":execute", ":schedule", ":upload", ":resolve", ":replay", "/versions")) or verb == "PATCH":
            assert error_of(web.request(verb, path))["message"]


def test_a_body_of_thirty_megabytes_is_refused(google, web, land):
    body = {"triggerId": land.trigger, "requestId": "x" * 30_000_000}

    with refused(413, "larger than 26,214,400 bytes"):
        google.integrations.execute(name=land.flow, body=body).execute()
    for verb, path in writes_of(land):
        assert error_of(web.request(verb, path, content=b" " * 26_214_401), 413)["status"] == "INVALID_ARGUMENT"


@pytest.mark.parametrize(
    "body",
    [
        {str(number): 1 for number in range(200_000)},
        {"inputParameters": {str(number): 1 for number in range(200_000)}},
        {"parameterEntries": [1] * 200_000},
        {"parameterEntries": [{str(number): 1 for number in range(4_000)}] * 50},
        {"taskConfigs": [1] * 200_000},
    ],
    ids=["names", "parameters", "entries", "names of entries", "tasks"],
)
def test_of_many_faults_the_first_ones_are_told(web, land, body):
    for path in (f"{land.flow}:execute", f"{land.flow}/versions"):
        error = error_of(web.post(path, json=body))

        assert len(error["message"]) < 50_000
        assert 1 <= len(error["details"][0]["fieldViolations"]) <= 50


# -- fields --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ({"stringValue": "1", "intValue": "1"}, "exactly one"),
        ({}, "exactly one"),
        ({"intValue": str(2**63)}, "64"),
        ({"intValue": -(2**63) - 1}, "64"),
        ({"intValue": "one"}, "found str 'one'"),
        ({"intValue": 1.5}, "1.5"),
        ({"doubleValue": "much"}, "found str 'much'"),
        ({"booleanValue": "maybe"}, "found str 'maybe'"),
        ({"stringValue": ["a"]}, "found list"),
        ({"colourValue": "red"}, "colourValue"),
        ({"stringArray": {"stringValues": "a"}}, "expected a list of stringValues"),
        ("1", "found str '1'"),
    ],
)
def test_a_value_that_is_none_is_refused_with_its_place(google, land, value, words):
    body = {"triggerId": land.trigger, "inputParameters": {"qty": value}}

    for method in (google.integrations.execute, google.integrations.schedule, google.integrations.test):
        with refused(400, 'input_parameters["qty"]', words) as caught:
            method(name=land.flow, body=body).execute()
        assert caught.value.error_details[0]["fieldViolations"][0]["field"] == 'input_parameters["qty"]'


@pytest.mark.parametrize("text", ["a\0b", "\ud800"], ids=["NUL", "surrogate"])
def test_texts_that_no_database_takes_are_refused_where_they_are_looked_for(google, land, text):
    requests = [
        google.integrations.execute(name=land.flow, body={"triggerId": text}),
        google.integrations.execute(name=land.flow, body={"triggerId": land.trigger, "requestId": text}),
        google.integrations.execute(name=land.flow, body={"triggerId": land.trigger, "executionId": text}),
        google.integrations.schedule(
            name=land.flow, body={"triggerId": land.trigger, "userGeneratedExecutionId": text}
        ),
        google.integrations.schedule(
            name=land.flow, body={"triggerId": land.trigger, "inputParameters": {text: {"intValue": "1"}}}
        ),
        google.integrations.test(name=land.flow, body={"integrationVersion": {"name": f"x/versions/{text}"}}),
        google.executions.replay(name=land.over, body={"replayReason": text}),
        google.executions.replay(name=land.over, body={"replayReason": "x", "updateMask": text}),
        google.executions.cancel(name=land.held, body={"cancelReason": text}),
        google.executions.suspensions().resolve(
            name=land.suspension, body={"suspension": {"state": "LIFTED", "taskId": text}}
        ),
        google.versions.publish(name=land.draft, body={"configParameters": {text: {"stringValue": text}}}),
        google.versions.upload(parent=land.flow, body={"content": text}),
    ]
    for each in requests:
        with refused(400):
            each.execute()


def test_an_enum_has_no_other_values(google, land):
    with refused(400, "suspension.state", "found str 'MAYBE', expected one of LIFTED, REJECTED"):
        google.executions.suspensions().resolve(name=land.suspension, body={"suspension": {"state": "MAYBE"}}).execute()
    with refused(400, "replay_mode", "expected one of REPLAY_MODE_UNSPECIFIED"):
        google.executions.replay(name=land.over, body={"replayReason": "x", "replayMode": "BACKWARDS"}).execute()
    with refused(400, "fileFormat", "JSON or YAML"):
        google.versions.upload(parent=land.flow, body={"content": "{}", "fileFormat": "XML"}).execute()


def test_of_a_name_that_is_there_twice_the_last_one_counts(web, land):
    """As JSON readers have it: what is refused here is the second."""
    twice = f'{{"triggerId": "{land.trigger}", "triggerId": "api_trigger/second"}}'

    error = error_of(web.post(f"{land.flow}:execute", content=twice))

    assert "api_trigger/second" in error["message"]


@pytest.mark.parametrize("content_type", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""])
def test_a_body_is_read_as_json_whatever_it_is_called(web, land, content_type):
    for verb, path in writes_of(land):
        answer = web.request(verb, path, content=b"a=b", headers={"content-type": content_type})

        assert "Invalid JSON payload received." in error_of(answer)["message"]


# -- queries -------------------------------------------------------------------------------------------------------


def test_a_parameter_that_no_method_has_is_refused_by_all(web, land):
    for verb, path in [*(("GET", path) for path in reads_of(land)), *writes_of(land), ("DELETE", land.draft)]:
        error = error_of(web.request(verb, f"{path}?colour=red&page_siz=1"))

        assert "\n" in error["message"], path
        assert [each["field"] for each in error["details"][0]["fieldViolations"]] == ["colour", "page_siz"]


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("pageSize=-1", "pageSize: found '-1'"),
        ("pageSize=many", "pageSize: found 'many'"),
        ("page_size=many", "pageSize: found 'many'"),
        ("pageSize=1&pageSize=2", "2 of them"),
        ("pageToken=made-up", "page token 'made-up' is not one that a list gave"),
        ("pageToken=%00", "page token"),
        ("orderBy=colour", "order"),
        ("orderBy=%00", "order"),
        ("filter=colour%3Dred", "column 1: expected one of"),
        ("filter=%00", "column 1"),
        ("filter=" + "(" * 10_000, "column"),
        ("fields=colour", "path 'colour'"),
        ("fields=a(((", "fields"),
        ("fields=%00", "column 1"),
        ("alt=media", "alt: found 'media', expected json"),
    ],
    ids=lambda each: each[:24],
)
def test_what_a_list_cannot_be_asked_is_said(web, land, query, words):
    for path in lists_of(land):
        if query.startswith("fields=c") or not query.startswith("fields"):
            assert words in error_of(web.get(f"{path}?{query}"))["message"], path


def test_a_filter_of_ten_thousand_terms_is_refused(google, land):
    terms = " OR ".join(["state=ACTIVE"] * 10_000)
    with refused(400, "at most"):
        google.versions.list(parent=land.flow, filter=terms).execute()
    with refused(400, "at most"):
        google.integrations.list(parent=LOCATION, filter=terms).execute()
    with refused(400, "at most"):
        google.executions.suspensions().list(parent=land.suspended, filter=terms).execute()


def test_a_page_of_another_list_is_refused(google, land):
    token = google.versions.list(parent=f"{LOCATION}/integrations/-", pageSize=1).execute()["nextPageToken"]

    for other in (
        google.versions.list(parent=f"{LOCATION}/integrations/-", filter="state=DRAFT", pageToken=token),
        google.versions.list(parent=land.flow, orderBy="create_time", pageToken=token),
        google.integrations.list(parent=LOCATION, pageToken=token),
        google.executions.list(parent=land.flow, pageToken=token),
    ):
        with refused(400, "page token"):
            other.execute()


@pytest.mark.parametrize("timeout", ["-1", "nan", "inf", "1e400", "121", "soon"])
def test_nobody_waits_longer_than_the_longest(google, land, timeout):
    with refused(400, "timeout"):
        within(google.integrations.execute(name=land.flow, body={"triggerId": land.trigger}), timeout=timeout).execute()
    with refused(400, "wait"):
        within(google.executions.get(name=land.held), wait=timeout).execute()


# -- paths ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["%00", "a%00b", "a" * 10_000, "%20", "%ED%A0%80"], ids=lambda each: each[:9])
def test_an_id_that_nothing_can_have_is_refused_or_not_found(web, land, text):
    """Escapes that are no UTF-8 are read as U+FFFD, which a name may have."""
    paths = [
        f"projects/{text}/locations/local/integrations",
        f"projects/default/locations/{text}/integrations/land/executions",
        f"{LOCATION}/integrations/{text}/executions",
        f"{LOCATION}/integrations/{text}/versions",
        f"{land.flow}/executions/{text}",
        f"{land.flow}/executions/{text}:watch",
        f"{land.suspended}/suspensions?pageToken={text}",
        f"{land.flow}/versions/{text}",
        f"{land.flow}/versions/{text}:download",
    ]
    for path in paths:
        answer = web.get(path)
        if answer.status_code == 200:
            assert not any(answer.json().values())  # an empty list of what is of no such place
        else:
            assert error_of(answer, answer.status_code)["status"] in ("INVALID_ARGUMENT", "NOT_FOUND")
    posts = [
        f"{LOCATION}/integrations/{text}:execute",
        f"{land.flow}/executions/{text}:cancel",
        f"{land.suspended}/suspensions/{text}:lift",
        f"{land.flow}/versions/{text}:publish",
        f"{land.flow}/versions/{text}:test",
    ]
    for path in posts:
        answer = web.post(path, json={"triggerId": land.trigger} if path.endswith((":execute", ":test")) else {})
        assert error_of(answer, answer.status_code)["status"] in ("INVALID_ARGUMENT", "NOT_FOUND")


def test_a_slash_in_an_id_is_part_of_it(web, land):
    assert "'a/b'" in error_of(web.get(f"{land.flow}/executions/a%2Fb"), 404)["message"]
    path = f"{LOCATION}/integrations/{quote('land/executions', safe='')}/{id_of(land.over)}"
    assert error_of(web.get(path), 404)["status"] == "NOT_FOUND"


def test_a_path_with_a_slash_more_is_none_and_nobody_is_sent_elsewhere(web, land):
    for path in ("../v2/projects", "../v1/projects/", f"{land.over}/", f"{land.flow}/executions/"):
        answer = web.get(path)

        assert answer.status_code in (404, 501), path
        assert "location" not in answer.headers


def test_a_method_that_there_is_not_is_said(web, land):
    assert "the API has no" in error_of(web.post(f"{land.over}:dance"), 404)["message"]
    assert "the API has no PUT" in error_of(web.put(land.over), 404)["message"]
    assert (
        "x-http-method-override"
        in error_of(web.post(land.over, headers={"x-http-method-override": "DANCE"}))["message"]
    )


def test_what_is_no_http_is_answered_and_the_server_goes_on(google, web, land):
    parts = urlsplit(google.url)
    for content in (
        b"\x16\x03\x01\x02\x00\x01\x00",
        b"GET /v1/\xff HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET /v1/projects HTTP/1.1\r\nHost: localhost\r\nContent-Length: x\r\n\r\n",
        b"POST /v1/projects HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
    ):
        with socket.create_connection((parts.hostname, parts.port), timeout=30) as client:
            client.sendall(content)
            client.shutdown(socket.SHUT_WR)
            assert client.makefile("rb").readline() in (b"", b"HTTP/1.1 400 Bad Request\r\n")

    assert json.loads(web.get(land.over).content)["name"] == land.over
