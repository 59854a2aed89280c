from __future__ import annotations

import contextlib
import gzip
import json
import os
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from orchestrator.errors import TaskError
from tasks import rest
from tests.unit.tasks.contexts import make_context, parameter_map, sample_config, values

OUTPUTS = {
    "responseStatus": ("$`Task_1_responseStatus`$",),
    "responseHeader": ("$`Task_1_responseHeader`$",),
    "responseBody": ("$`Task_1_responseBody`$",),
}


class Handler(BaseHTTPRequestHandler):
    """Answers what the path asks for, and remembers every request."""

    protocol_version = "HTTP/1.1"

    def answer(self):
        body = self.rfile.read(int(self.headers.get("content-length", 0))).decode()
        self.server.requests.append((self.command, self.path, self.headers, body))
        path = self.path.partition("?")[0].split("/")[1:]
        match path:
            case ["status", code]:
                self.reply(int(code), b"as you wish")
            case ["redirect", *target]:
                self.reply(302, b"", Location="/".join(target))
            case ["redirect307", *target]:
                self.reply(307, b"", Location="/" + "/".join(target))
            case ["gzip"]:
                self.reply(200, gzip.compress(b"x" * 5000), Content_Encoding="gzip")
            case ["latin1"]:
                self.reply(200, "Grüße".encode("latin1"), Content_Type="text/plain; charset=latin1")
            case ["nonsense-charset"]:
                self.reply(200, "Grüße".encode(), Content_Type="text/plain; charset=nonsense")
            case ["cookie"]:
                self.reply(200, b"", Set_Cookie="session=1; Path=/")
            case ["hang"]:
                self.server.released.wait(60)
                self.close_connection = True
            case ["drip"]:
                self.drip()
            case ["hang-up"]:
                self.close_connection = True
            case _:
                self.reply(200, json.dumps({"path": self.path, "body": body}).encode(), Content_Type="application/json")

    def reply(self, code, body, **headers):
        self.send_response(code)
        for name, text in headers.items():
            self.send_header(name.replace("_", "-"), text)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def drip(self):
        self.send_response(200)
        self.send_header("Content-Length", "1000")
        self.end_headers()
        with contextlib.suppress(OSError):
            while not self.server.released.wait(0.01):
                self.wfile.write(b"x")
        self.close_connection = True

    def log_message(self, *args):
        pass


for method in rest.METHODS:
    setattr(Handler, f"do_{method}", Handler.answer)


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.requests = []
        self.released = threading.Event()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}"


@pytest.fixture(scope="module")
def running_server():
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.released.set()
        server.shutdown()
        thread.join()
    for client in rest._CLIENTS.values():
        client.close()
    rest._CLIENTS.clear()


@pytest.fixture
def server(running_server):
    running_server.requests.clear()
    return running_server


def call(server, path="/", parameters=None, *, overrides=None, timeout_s=5.0, **config):
    context = make_context(
        {"httpMethod": "GET", "url": server.url + path if path.startswith("/") else path, **OUTPUTS, **config},
        parameters,
        url_overrides=overrides,
        rest_timeout_s=timeout_s,
    )
    outputs = rest.run(context).outputs
    return {name.split("_")[-1].strip("`"): value.data for name, value in outputs.items()}


def last(server):
    return server.requests[-1]


def test_an_answer_becomes_status_headers_and_body(server):
    answer = call(server, "/orders/1")

    assert answer["responseStatus"] == "200 OK"
    assert json.loads(answer["responseBody"]) == {"path": "/orders/1", "body": ""}
    assert json.loads(answer["responseHeader"])["content-type"] == "application/json"


def test_the_call_sample_runs_against_another_server(server):
    context = make_context(
        sample_config("call-rest-api", "1"), url_overrides={"https://mocktarget.apigee.net": server.url}
    )

    outputs = rest.run(context).outputs

    assert outputs["`Task_1_responseStatus`"].data == "200 OK"
    assert last(server)[:2] == ("GET", "/json")


def test_only_outputs_that_the_task_names_are_kept(server):
    context = make_context({"httpMethod": "GET", "url": server.url, "responseBody": "$body$"})

    assert list(rest.run(context).outputs) == ["body"]


@pytest.mark.parametrize("method", rest.METHODS)
def test_every_method_of_the_product_is_sent(server, method):
    call(server, httpMethod=method.lower())

    assert last(server)[0] == method


def test_references_are_replaced_in_the_url(server):
    call(server, "/orders/$order.id$", {"order": {"id": 7}})

    assert last(server)[1] == "/orders/7"


# -- failures ------------------------------------------------------------------------------------------------------


def test_with_throw_error_a_status_of_400_is_the_errors_code(server):
    with pytest.raises(TaskError, match="answered 400 Bad Request: as you wish") as caught:
        call(server, "/status/400?key=secret", throwError=True)

    assert caught.value.code == 400
    assert "secret" not in caught.value.message


def test_without_throw_error_a_status_of_400_is_an_answer(server):
    assert call(server, "/status/400", throwError=False)["responseStatus"] == "400 Bad Request"


def test_a_status_without_a_known_phrase_is_the_number(server):
    assert call(server, "/status/799")["responseStatus"] == "799"


def test_a_refused_connection_has_the_code_503_and_hides_passwords(server):
    with Server() as gone:
        port = gone.server_port

    with pytest.raises(TaskError) as caught:
        call(server, f"http://user:hidden@127.0.0.1:{port}/x")

    assert caught.value.code == 503
    assert f"GET http://127.0.0.1:{port}/x failed" in caught.value.message
    assert "hidden" not in caught.value.message


def test_a_server_that_hangs_up_has_the_code_503(server):
    with pytest.raises(TaskError) as caught:
        call(server, "/hang-up")

    assert caught.value.code == 503


@pytest.mark.parametrize("path", ["/hang", "/drip"])
def test_an_answer_that_takes_too_long_has_the_code_504(server, path):
    with pytest.raises(TaskError, match=r"within 0\.05 s") as caught:
        call(server, path, timeout_s=0.05)

    assert caught.value.code == 504


def test_the_task_may_set_its_own_time(server):
    with pytest.raises(TaskError, match=r"within 0\.04 s"):
        call(server, "/hang", timeoutMs=40)


def test_an_answer_above_the_limit_is_refused_also_if_it_is_packed(server, monkeypatch):
    monkeypatch.setattr(rest, "MAX_RESPONSE_BYTES", 4999)

    with pytest.raises(TaskError, match="more than 4,999 bytes"):
        call(server, "/gzip")


@pytest.mark.parametrize(
    "config",
    [
        {"url": "ftp://example.com/x"},
        {"url": "file:///etc/passwd"},
        {"url": "$unset$"},
        {"url": "http://"},
        {"url": "http://[::1"},
        {"url": "http://127.0.0.1:99999/"},
        {"httpMethod": "TRACE"},
        {"httpMethod": ""},
        {"authConfigName": "my-profile"},
        {"additionalHeaders": {"X-A": "a\r\nX-B: b"}},
        {"additionalHeaders": {"Ä": "a"}},
        {"additionalHeaders": {"a b": "a"}},
        {"additionalHeaders": {"entries": [1]}},
    ],
)
def test_what_makes_no_request_fails_with_invalid_argument(server, config):
    with pytest.raises(TaskError) as caught:
        rest.run(make_context({"httpMethod": "GET", "url": server.url, **config}))

    assert caught.value.code == "INVALID_ARGUMENT"
    assert not server.requests


# -- headers and query ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "written",
    [
        parameter_map(**{"X-One": "1", "X-Two": "$two$"}),
        {"entries": [{"key": "X-One", "value": 1}, {"key": "X-Two", "value": {"referenceKey": "$two$"}}]},
        {"X-One": "1", "X-Two": "$two$"},
        "X-One: 1\n X-Two:$two$\n",
        '{"X-One": "1", "X-Two": "$two$"}',
        "$headers$",
    ],
)
def test_headers_are_read_in_every_shape_that_exports_have(server, written):
    call(server, "/", {"two": "b", "headers": {"X-One": "1", "X-Two": "b"}}, additionalHeaders=written)

    headers = last(server)[2]
    assert (headers["X-One"], headers["X-Two"]) == ("1", "b")


def test_a_header_whose_reference_has_no_value_is_left_out(server):
    call(server, additionalHeaders={"entries": [{"key": "X-One", "value": {"referenceKey": "$unset$"}}]})

    assert "X-One" not in last(server)[2]


def test_json_null_means_no_headers(server):
    context = make_context({"httpMethod": "GET", "url": server.url, **values({"jsonAdditionalHeaders": None})})

    rest.run(context)

    assert len(server.requests) == 1


def test_headers_may_hold_any_text(server):
    call(server, additionalHeaders={"X-One": "Grüße"})

    assert last(server)[2]["X-One"].encode("latin1").decode() == "Grüße"


@pytest.mark.parametrize(
    "written", [parameter_map(q="a b&c", n="1"), {"q": "a b&c", "n": 1}, "q: a b&c\nn: 1", "?q=a+b%26c&n=1"]
)
def test_query_parameters_are_encoded_and_join_those_of_the_url(server, written):
    call(server, "/find?x=0#part", urlQueryStrings=written, httpParams={"p": "2"})

    assert last(server)[1] == "/find?x=0&q=a+b%26c&n=1&p=2"


def test_the_user_agent_is_the_tasks_or_ours(server):
    call(server, userAgent="")
    call(server, userAgent="flow/1")

    assert [headers["User-Agent"] for _, _, headers, _ in server.requests] == ["orchestrator", "flow/1"]


@pytest.mark.parametrize(
    "config",
    [
        {"authHeader": "Bearer $token$"},
        {
            "authHeader": "Bearer $token$",
            "authConfigName": "ignored",
            "additionalHeaders": {"authorization": "Basic x"},
        },
        {"authConfigName": "ignored", "additionalHeaders": {"Authorization": "Bearer $token$"}},
    ],
)
def test_an_authorization_header_can_be_given_in_two_places(server, config):
    call(server, "/", {"token": "t"}, **config)

    assert last(server)[2].get_all("Authorization") == ["Bearer t"]


def test_the_environments_proxy_is_ignored(server, monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setattr(rest, "_CLIENTS", {})

    assert call(server)["responseStatus"] == "200 OK"

    for client in rest._CLIENTS.values():
        client.close()


# -- body ----------------------------------------------------------------------------------------------------------


def test_a_json_parameter_is_sent_as_json(server):
    call(server, "/", {"order": {"id": 7}}, httpMethod="POST", requestBody="$order$")

    assert (last(server)[2]["Content-Type"], last(server)[3]) == ("application/json", '{"id":7}')


@pytest.mark.parametrize(
    ("body", "content_type"),
    [('{"a": "$x$"}', "application/json"), ("plain $x$", "text/plain; charset=utf-8")],
)
def test_text_is_sent_as_json_if_it_is_json(server, body, content_type):
    call(server, "/", {"x": "ü"}, httpMethod="POST", requestBody=body)

    assert (last(server)[2]["Content-Type"], last(server)[3]) == (content_type, body.replace("$x$", "ü"))


def test_a_content_type_of_the_task_stays(server):
    call(server, httpMethod="POST", requestBody="{}", additionalHeaders={"content-type": "application/x-mine"})

    assert last(server)[2].get_all("Content-Type") == ["application/x-mine"]


@pytest.mark.parametrize("body", ["", "$unset$"])
def test_an_empty_body_is_none(server, body):
    call(server, httpMethod="POST", requestBody=body)

    assert last(server)[2]["Content-Type"] is None


@pytest.mark.parametrize("path", ["/latin1", "/nonsense-charset"])
def test_the_answer_is_decoded_as_it_says_or_as_utf_8(server, path):
    assert call(server, path)["responseBody"] == "Grüße"


# -- redirects, overrides, connections -----------------------------------------------------------------------------


def test_redirects_are_followed_or_not_as_the_task_says(server):
    assert call(server, "/redirect//end", followRedirects=True)["responseStatus"] == "200 OK"
    assert last(server)[1] == "/end"
    assert call(server, "/redirect//end", followRedirects=False)["responseStatus"] == "302 Found"


def test_a_307_keeps_method_and_body(server):
    call(server, "/redirect307/end", httpMethod="POST", requestBody="text")

    assert (last(server)[0], last(server)[1], last(server)[3]) == ("POST", "/end", "text")


def test_authorization_does_not_follow_a_redirect_to_another_host(server):
    call(server, f"/redirect/http://localhost:{server.server_port}/end", authHeader="Bearer t")

    assert [headers["Authorization"] for _, _, headers, _ in server.requests] == ["Bearer t", None]


def test_endless_redirects_end(server):
    with pytest.raises(TaskError, match="more than 20 redirects"):
        call(server, "/redirect307/redirect307/status/200", overrides={server.url: server.url + "/redirect307"})

    assert len(server.requests) == rest.MAX_REDIRECTS + 1


def test_a_redirect_to_another_scheme_is_refused(server):
    with pytest.raises(TaskError, match=r"ftp://example\.com/x"):
        call(server, "/redirect/ftp://example.com/x")

    assert len(server.requests) == 1


def test_the_longest_override_wins(server):
    overrides = {"https://api.example": f"{server.url}/short", "https://api.example/v2": f"{server.url}/long"}

    call(server, "https://api.example/v2/orders?a=1", overrides=overrides)
    call(server, "https://api.example/v1/orders", overrides=overrides)

    assert [path for _, path, _, _ in server.requests] == ["/long/orders?a=1", "/short/v1/orders"]


def test_overrides_hold_for_redirect_targets_too(server):
    call(server, "/redirect/https://api.example/end", overrides={"https://api.example": server.url})

    method, path, headers, _ = last(server)
    assert (method, path, headers["Host"]) == ("GET", "/end", f"127.0.0.1:{server.server_port}")


def test_cookies_of_one_call_do_not_reach_another(server):
    call(server, "/cookie")
    call(server, "/")

    assert last(server)[2]["Cookie"] is None


def test_the_client_is_reused_in_a_process_and_never_across_a_fork(server, monkeypatch):
    mine = rest._client(verify=True)
    assert rest._client(verify=True) is mine
    assert rest._client(verify=False) is not mine

    monkeypatch.setattr(os, "getpid", lambda: -1)  # what a child of a fork sees
    assert rest._client(verify=True) is not mine


def test_no_log_line_tells_the_query(server, caplog):
    with caplog.at_level("INFO"):
        call(server, "/?key=secret")

    assert "secret" not in caplog.text


# -- check ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("config", "problems"),
    [
        ({"httpMethod": "GET", "url": "https://example.com"}, 0),
        ({"httpMethod": "$method$", "url": "$base$/x"}, 0),
        ({"httpMethod": "GET", "url": "example.com"}, 1),
        ({"httpMethod": "get", "url": "http://x", "authConfigName": ""}, 0),
        ({"httpMethod": "GET", "url": "http://x", "authConfigName": "profile"}, 1),
        ({"httpMethod": "GET", "url": "http://x", "authConfigName": "profile", "authHeader": "$token$"}, 0),
        ({"httpMethod": "GET", "url": "http://x", "additionalHeaders": {"entries": [1]}}, 1),
        ({}, 2),
    ],
)
def test_check_names_each_problem(config, problems):
    assert len(list(rest.check(values(config)))) == problems


@pytest.mark.parametrize(
    ("name", "task"), [("call-rest-api", "1"), ("status-based-retry-sub", "1"), ("ecom-order-processing", "6")]
)
def test_the_samples_pass_the_check(name, task):
    assert not list(rest.check(sample_config(name, task)))
