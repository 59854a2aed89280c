from __future__ import annotations

import pytest
from fastapi import FastAPI, Request
from starlette.middleware.gzip import GZipMiddleware

from orchestrator.wire.google import batch
from tests.unit.wire.asking import ask

PART = b"Content-Type: application/http\nContent-ID: <a + 1>\n\n"
MULTIPART = {"content-type": "multipart/mixed; boundary=x", "x-api-key": "of the whole", "accept-encoding": "gzip"}


@pytest.fixture(scope="module")
def app():
    app = FastAPI()
    app.include_router(batch.router)

    @app.api_route("/v1/{rest:path}", methods=["GET", "POST"])
    async def tell(rest: str, request: Request) -> dict[str, object]:
        return {
            "path": rest,
            "key": request.headers.get("x-api-key"),
            "keys": request.query_params.getlist("key"),
            "body": (await request.body()).decode(),
            "filling": "x" * 2000,
        }

    app.add_middleware(GZipMiddleware)
    return app


def answer_to(app, request, *, query=""):
    content = b"--x\n" + PART + request + b"\n--x--"
    answer = ask(app, "POST", f"/batch{query}", content=content, headers=MULTIPART)
    assert answer.headers["content-type"].startswith("multipart/mixed")
    return answer.text


def test_a_part_has_the_key_of_the_whole_unless_it_has_its_own(app):
    assert '"key":"of the whole"' in answer_to(app, b"GET /v1/a HTTP/1.1")
    assert '"key":"its own"' in answer_to(app, b"GET /v1/a HTTP/1.1\nX-Api-Key: its own\n\n")
    assert '"keys":["w"]' in answer_to(app, b"GET /v1/a HTTP/1.1", query="?key=w")
    assert '"keys":["o"]' in answer_to(app, b"GET /v1/a?key=o HTTP/1.1", query="?key=w")
    assert '"keys":[]' in answer_to(app, b"GET /v1/a HTTP/1.1", query="?fields=w")


def test_an_answer_within_an_answer_is_not_compressed(app):
    assert '"path":"a"' in answer_to(app, b"GET /v1/a HTTP/1.1\nAccept-Encoding: gzip\n\n")


def test_a_body_comes_through_as_it_was(app):
    body = b'{"a": "\\r\\n\\r\\n"}'
    head = b"POST /v1/a HTTP/1.1\r\nContent-Type: application/json\r\nContent-Length: 999\r\n\r\n"

    assert '"body":"{\\"a\\": \\"\\\\r\\\\n\\\\r\\\\n\\"}"' in answer_to(app, head + body)


def test_answers_say_whose_they_are(app):
    answer = answer_to(app, b"GET /v1/a HTTP/1.1")

    assert "Content-ID: <response-a + 1>\r\n\r\nHTTP/1.1 200 OK\r\n" in answer
