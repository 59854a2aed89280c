"""Bodies that are too large, over real sockets: the client hears the reason, however it sends."""

import asyncio
import http.client
import itertools
import json
import socket
from urllib.parse import urlsplit

import pytest
from fastapi import FastAPI, Request
from starlette.middleware import Middleware

from orchestrator.web.body_limit import BodyLimit
from tests.clients.serving import listening

LIMIT_BYTES = 2**23
PIECE = b"x" * 2**16
AT_LIMIT = LIMIT_BYTES // len(PIECE)  # pieces


@pytest.fixture(scope="module")
def address():
    app = FastAPI(middleware=[Middleware(BodyLimit, LIMIT_BYTES)])
    app.state.closing = asyncio.Event()

    @app.post("/")
    async def take(request: Request) -> int:
        return len(await request.body())

    with listening(app) as url:
        found = urlsplit(url)
        yield found.hostname, found.port


def answer_to(address, body, **headers):
    """Of a client that reads when it has sent everything."""
    connection = http.client.HTTPConnection(*address, timeout=60)
    try:
        connection.request("POST", "/", body=body, headers=headers)
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())
    finally:
        connection.close()


def test_a_body_at_the_limit_passes(address):
    assert answer_to(address, b"x" * LIMIT_BYTES) == (200, LIMIT_BYTES)
    assert answer_to(address, itertools.repeat(PIECE, AT_LIMIT)) == (200, LIMIT_BYTES)


@pytest.mark.parametrize("is_chunked", [False, True])
def test_who_reads_after_sending_hears_that_it_was_too_much(address, is_chunked):
    """More than the buffers of both sides hold: nobody could send it if nobody read."""
    status, said = answer_to(address, itertools.repeat(PIECE, 3 * AT_LIMIT) if is_chunked else PIECE * (3 * AT_LIMIT))

    assert status == 413
    assert "ORCHESTRATOR_MAX_REQUEST_BYTES" in said["error"]


def test_who_asks_first_sends_nothing(address):
    request = f"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: {LIMIT_BYTES + 1}\r\nExpect: 100-continue\r\n\r\n"
    with socket.create_connection(address) as client, client.makefile("rb") as answer:
        client.sendall(request.encode())

        assert answer.readline() == b"HTTP/1.1 413 Request Entity Too Large\r\n"


def test_who_never_ends_is_hung_up_on(address):
    request = b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
    chunk = b"10000\r\n" + PIECE + b"\r\n"
    with socket.create_connection(address) as client:
        client.sendall(request)
        with pytest.raises(ConnectionError):
            all(client.sendall(chunk) is None for _ in itertools.count())


def test_a_head_of_more_than_16_kib_is_refused(address):
    with socket.create_connection(address) as client, client.makefile("rb") as answer:
        client.sendall(b"GET / HTTP/1.1\r\nHost: h\r\nX-Long: " + b"x" * 2**14 + b"\r\n")

        assert answer.readline() == b"HTTP/1.1 400 Bad Request\r\n"
