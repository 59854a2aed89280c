"""Many requests in one: what the client's ``BatchHttpRequest`` sends, and what may go wrong in it."""

import re

import httplib2
import httpx
import pytest
from googleapiclient.errors import HttpError
from googleapiclient.http import BatchHttpRequest, HttpRequest

from tests.clients.google.conftest import LOCATION, client_of
from tests.flows import flow, parameter, task

pytestmark = pytest.mark.services

PARENT = f"{LOCATION}/integrations/batched"


@pytest.fixture(scope="module")
def batched(google):
    """The ids of a few executions that nobody runs."""
    definition = flow("batched", task(1), parameters=[parameter("n", "INT_VALUE", direction="IN")])
    inputs = [{"n": number} for number in range(30)]
    return google.system.client.submit_many(definition, inputs, executor=google.system.executor)


class Answers(dict):
    """What came back, by the name of the request."""

    def __call__(self, name, response, error):
        self[name] = error or response


def execute(google, requests):
    answers = Answers()
    batch = BatchHttpRequest(callback=answers, batch_uri=f"{google.url}/batch")
    for name, request in requests.items():
        batch.add(request, request_id=name)
    http = httplib2.Http()  # of its own: the client's connection may have idled for too long while the batch was made
    try:
        batch.execute(http=http)
    finally:
        http.close()
    return answers


def get(google, execution_id, **more):
    return google.executions.get(name=f"{PARENT}/executions/{execution_id}", **more)


def test_each_request_has_its_own_answer(google, batched):
    requests = {f"é {each}": get(google, each, fields="name,requestParameters") for each in batched}
    requests["list"] = google.executions.list(parent=PARENT, pageSize=3, readMask="createTime")
    requests["not there"] = get(google, "nothing")
    requests["refused"] = google.executions.suspensions().lift(
        name=f"{PARENT}/executions/{batched[0]}/suspensions/1-1", body={"colour": "red\r\n\r\n"}
    )

    answers = execute(google, requests)

    assert list(answers) == list(requests)
    for number, each in enumerate(batched):
        answer = answers[f"é {each}"]
        assert answer["name"] == f"{PARENT}/executions/{each}"
        assert answer["requestParameters"] == {"n": {"intValue": str(number)}}
    assert len(answers["list"]["executions"]) == 3
    assert isinstance(answers["not there"], HttpError)
    assert answers["not there"].status_code == 404
    assert 'Unknown name "colour"' in answers["refused"].reason


def test_a_thousand_requests_fit_into_one(google, batched):
    requests = {str(number): get(google, batched[number % 30], fields="name") for number in range(1000)}

    answers = execute(google, requests)

    assert len(answers) == 1000
    assert all("name" in each for each in answers.values())


def test_what_is_no_path_of_the_api_is_refused_and_so_is_a_batch(google, batched):
    def other(path, **more):
        return HttpRequest(google.client._http, lambda response, content: content, google.url + path, **more)

    requests = {
        "batch": other("/batch", method="POST", body="--x--", headers={"content-type": "multipart/mixed"}),
        "docs": other("/docs"),
        "good": get(google, batched[0], fields="name"),
    }

    answers = execute(google, requests)

    assert [answers[each].status_code for each in ("batch", "docs")] == [400, 400]
    assert "'/batch' cannot be asked for in a batch" in answers["batch"].reason
    assert "name" in answers["good"]


def send(google, content, content_type="multipart/mixed; boundary=x"):
    return httpx.post(f"{google.url}/batch", content=content, headers={"content-type": content_type}, trust_env=False)


@pytest.mark.parametrize(
    ("content", "content_type"),
    [
        (b"", "multipart/mixed; boundary=x"),
        (b"{}", "application/json"),
        (b"--x\r\n\r\n--x--", "multipart/form-data; boundary=x"),
        (b"no boundary in here", "multipart/mixed; boundary=x"),
        (b"--x\r\n\r\n--x--", "multipart/mixed"),
        (b"--x\r\n\r\n" * 1001 + b"--x--", "multipart/mixed; boundary=x"),
    ],
)
def test_what_is_no_batch_is_refused(google, content, content_type):
    answer = send(google, content, content_type)

    assert answer.status_code == 400
    assert answer.json()["error"]["status"] == "INVALID_ARGUMENT"


@pytest.mark.parametrize(
    "part",
    [
        b"",
        b"Content-Type: text/plain\r\n\r\nGET /v1/projects/p HTTP/1.1",
        b"Content-Type: application/http\r\n\r\n",
        b"Content-Type: application/http\r\n\r\nBREW /v1/projects/p HTTP/1.1\r\n\r\n",
        b"Content-Type: application/http\r\n\r\nGET\r\n\r\n",
        b"Content-Type: application/http\r\n\r\nGET http://example.org/other HTTP/1.1\r\n\r\n",
        b"Content-Type: application/http\r\n\r\nGET http://[ HTTP/1.1\r\n\r\n",
        b"Content-Type: application/http\r\n\r\nGET /v1/\xff\xfe HTTP/1.1\r\n\r\n",
        b"Content-Type: application/http\r\n\r\nGET /v1/projects/%ZZ HTTP/1.1\r\nA\xff: \xff\r\n\r\n",
        b"Content-Type: application/http\nContent-Transfer-Encoding: base64\n\n!!!",
    ],
)
def test_a_broken_part_is_answered_alone(google, batched, part):
    path = f"/v1/{PARENT}/executions/{batched[0]}?fields=name"
    good = f"Content-Type: application/http\nContent-ID: <a + 1>\n\nGET {path}".encode()

    answer = send(google, b"--x\r\n" + part + b"\r\n--x\r\n" + good + b"\r\n--x--")

    assert answer.status_code == 200
    first, second = re.findall(rb"HTTP/1.1 (\d+)", answer.content)
    assert (first, second) in ((b"400", b"200"), (b"404", b"200"))
    assert b"Content-ID: <response-a + 1>" in answer.content


def test_what_is_answered_in_a_batch_is_not_compressed(google, batched):
    """Each part asks for gzip, as every request of the client does."""
    with client_of(google.url) as client:
        request = client.projects().locations().integrations().executions().list(parent=PARENT, pageSize=30)
        answers = execute(google, {"long": request})
    assert len(answers["long"]["executions"]) == 30
