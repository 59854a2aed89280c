import asyncio
import json
import logging

import pytest

from orchestrator.model.keys import ANYONE
from orchestrator.web.access_log import AccessLog, without_secrets
from orchestrator.web.log_lines import LogLines
from orchestrator.web.request_ids import RequestIds
from tests.unit.web.asgi import answering, ask, asked


@pytest.fixture
def lines(caplog):
    """The lines that were logged, parsed."""
    caplog.set_level(logging.INFO, "orchestrator")
    return lambda: [json.loads(LogLines().format(record)) for record in caplog.records]


async def let_in(scope, receive, send):
    scope["state"]["caller"] = ANYONE
    await answering(send, b"12345", status=201)


def test_a_line_says_who_asked_what_and_how_it_went(lines):
    ask(
        RequestIds(AccessLog(let_in)),
        "/v1/a%2Fb?pageSize=2",
        method="POST",
        headers={"X-Request-Id": "r-1", "Authorization": "Bearer hidden"},
    )

    (line,) = lines()
    assert line.pop("time").endswith("Z")
    assert line.pop("duration_ms") >= 0
    assert line == {
        "level": "INFO",
        "logger": "orchestrator.web.access_log",
        "message": "request",
        "request_id": "r-1",
        "method": "POST",
        "path": "/v1/a%2Fb?pageSize=2",
        "status": 201,
        "size_bytes": 5,
        "actor": "anonymous",
        "client": "127.0.0.1",
    }


@pytest.mark.parametrize(
    ("query", "shown"),
    [
        ("key=hidden&alt=json", "key=***&alt=json"),
        ("alt=json&access_token=hidden&oauth_token=hidden", "alt=json&access_token=***&oauth_token=***"),
        ("KEY=hidden", "KEY=***"),
        ("%6Bey=hidden", "%6Bey=***"),
        ("api_key=hidden&x-key=hidden&sig=hidden", "api_key=***&x-key=***&sig=***"),
        ("filterParams.parameterKey=k&monkey=m&key", "filterParams.parameterKey=k&monkey=m&key"),
        ("", ""),
    ],
)
def test_what_may_be_a_secret_is_not_shown(query, shown):
    assert without_secrets(query) == shown


def test_a_request_without_an_answer_has_a_line_too(lines):
    async def fail(scope, receive, send):
        raise ConnectionError

    with pytest.raises(ConnectionError):
        ask(AccessLog(fail))

    (line,) = lines()
    assert (line["status"], line["actor"]) == (None, None)


def test_a_path_cannot_begin_a_line_of_its_own(caplog):
    caplog.set_level(logging.INFO, "orchestrator")
    ask(AccessLog(let_in), scope={"raw_path": '/a\n{"message": "forged"}\u2028'.encode()})

    text = LogLines().format(caplog.records[0])
    assert text.splitlines() == [text]
    assert json.loads(text)["path"].startswith("/a\n{")


def test_a_stream_is_passed_on_piece_by_piece():
    """A middleware that collects the answer would never let the client have the first piece."""

    async def both():
        has_first, received = asyncio.Event(), []

        async def stream(scope, receive, send):
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"first", "more_body": True})
            await asyncio.wait_for(has_first.wait(), 30)
            await send({"type": "http.response.body", "body": b"second"})

        async def app(scope, receive, send):
            async def noting(message):
                await send(message)
                received.append(message)
                if message.get("body") == b"first":
                    has_first.set()

            await RequestIds(AccessLog(stream))(scope, receive, noting)

        return await asked(app)

    assert asyncio.run(both()).body == b"firstsecond"
