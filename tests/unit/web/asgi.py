"""Asking an ASGI app without a server: each message of the request and of the answer is the test's."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, field
from urllib.parse import unquote


@dataclass
class Answer:
    """``read`` is how many messages of the request the app has taken."""

    status: int | None = None
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    is_complete: bool = False
    read: int = 0

    def json(self):
        return json.loads(self.body)


def ask(app, url="/", *, method="GET", headers=None, body=(b"",), scope=None):
    """What the app answers. ``body`` is an iterable of chunks; after it the client is gone."""
    return asyncio.run(asked(app, url, method=method, headers=headers, body=body, scope=scope))


async def asked(app, url="/", *, method="GET", headers=None, body=(b"",), scope=None):
    path, _, query = url.partition("?")
    answer, chunks = Answer(), iter(body)
    missing = object()
    coming = next(chunks, missing)

    async def receive():
        nonlocal coming
        answer.read += 1
        if coming is missing:
            return {"type": "http.disconnect"}
        chunk, coming = coming, next(chunks, missing)
        return {"type": "http.request", "body": chunk, "more_body": coming is not missing}

    async def send(message):
        assert not answer.is_complete, "nothing comes after the end"
        if message["type"] == "http.response.start":
            assert answer.status is None, "an answer begins once"
            answer.status = message["status"]
            answer.headers = {name.decode().lower(): value.decode() for name, value in message["headers"]}
        else:
            answer.body += message.get("body", b"")
            answer.is_complete = not message.get("more_body", False)

    scope = {
        "type": "http",
        "method": method,
        "path": unquote(path),
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "headers": [(name.lower().encode(), value.encode()) for name, value in (headers or {}).items()],
        "client": ("127.0.0.1", 4711),
        "state": {},
    } | (scope or {})
    await app(scope, receive, send)
    return answer


async def answering(send, body=b"ok", *, status=200):
    """What a small app does."""
    await send({"type": "http.response.start", "status": status, "headers": [(b"content-type", b"text/plain")]})
    await send({"type": "http.response.body", "body": body})
