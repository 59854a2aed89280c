"""``/batch``: many requests in one, as ``BatchHttpRequest`` sends them.

A part is ``application/http``: a whole request, which goes through the app like any other - its own path, errors,
``fields`` - and whose answer is a part of the answer, in the same order. ``Content-ID: <x>`` is answered by
``Content-ID: <response-x>``, by which the client finds its requests again.

Decisions: at most 1,000 parts, which is what the client itself sends at most; Google's own limit is 100. Eight parts
run at a time, because parts may wait for executions. A part has the headers of the whole request, so that one key is
enough, under its own. A batch within a batch is refused, and so is whatever is no path of this API.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass
from email.message import Message as Part
from email.parser import BytesParser
from email.policy import HTTP
from http import HTTPStatus
from typing import Final
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit

from fastapi import APIRouter, Request, Response
from starlette.types import Message, Scope

from orchestrator.errors import InvalidValue
from orchestrator.wire.google.envelope import INVALID_ARGUMENT, GoogleRoute, error_response
from orchestrator.wire.google.violations import invalid

router = APIRouter(route_class=GoogleRoute)

MAX_PARTS: Final = 1_000
_AT_A_TIME: Final = 8
_VERBS: Final = frozenset({"GET", "POST", "PUT", "PATCH", "DELETE"})
_BOUNDARY: Final = "batch_of_answers"
_BLANK_LINE: Final = re.compile(rb"\r?\n\r?\n")
_KEYS: Final = frozenset({"key", "access_token", "oauth_token"})
_OF_THE_PART: Final = frozenset({b"content-length", b"accept-encoding"})
"""Headers of a part that are not true of it, or would have its answer compressed."""
_OF_THE_WHOLE: Final = _OF_THE_PART | {b"content-type", b"transfer-encoding", b"x-http-method-override"}
"""Headers of the whole that its parts do not have."""
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Inner:
    """One request of a batch. ``path`` and ``query`` are encoded as they were sent."""

    content_id: str
    verb: str
    path: str
    query: str
    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes


@router.post("/batch", include_in_schema=False)
async def batch(request: Request) -> Response:
    """Answer each part."""
    parts = parse_batch(await request.body(), request.headers.get("content-type", ""))
    free = asyncio.Semaphore(_AT_A_TIME)

    async def answer(part: Inner | Refused) -> bytes:
        if isinstance(part, Refused):
            response = error_response(INVALID_ARGUMENT, part.reason)
            return to_part(part.content_id, response.status_code, response.raw_headers, bytes(response.body))
        async with free:
            return await _ask(request, part)

    answers = await asyncio.gather(*map(answer, parts))
    mark = b"--" + _BOUNDARY.encode()
    content = b"".join(mark + b"\r\n" + each + b"\r\n" for each in answers) + mark + b"--\r\n"
    return Response(content, media_type=f"multipart/mixed; boundary={_BOUNDARY}")


# -- in ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Refused:
    """A part that is no request; the others are answered all the same."""

    content_id: str
    reason: str


def parse_batch(content: bytes, content_type: str) -> list[Inner | Refused]:
    """Read the parts of a batch.

    Raises:
        InvalidRequest: it is no multipart/mixed, or has no parts.
        InvalidValue: it has too many.
    """
    head = f"Content-Type: {content_type}\r\n\r\n".encode("latin-1", "replace")
    whole = BytesParser(policy=HTTP).parsebytes(head + content)
    parts = whole.get_payload()
    if whole.get_content_type() != "multipart/mixed" or not isinstance(parts, list) or not parts:
        raise invalid("", "The body of a batch is multipart/mixed, with a part of application/http for each request.")
    if len(parts) > MAX_PARTS:
        raise InvalidValue("the batch", f"{len(parts):,} parts", f"at most {MAX_PARTS:,}")
    return [_parse_part(each) for each in parts if isinstance(each, Part)]


def _parse_part(part: Part) -> Inner | Refused:
    content_id = str(part.get("Content-ID", "")).strip().strip("<>")
    if part.get_content_type() != "application/http":
        return Refused(content_id, f"a part is {part.get_content_type()}; it has to be application/http")
    content = part.get_payload(decode=True)
    head, _, body = _split(content.lstrip() if isinstance(content, bytes) else b"")
    line, _, rest = head.partition(b"\n")
    words = line.decode("latin-1").split()
    if len(words) not in (2, 3) or words[0] not in _VERBS:
        return Refused(content_id, f"a part begins with {line[:80]!r}; it has to begin like GET /v1/projects/...")
    try:
        target = urlsplit(words[1])
    except ValueError as error:
        return Refused(content_id, f"{words[1][:80]!r} is no URL: {error}")
    if not target.path.startswith("/v1/"):
        return Refused(content_id, f"{target.path[:80]!r} cannot be asked for in a batch; paths of /v1/ can")
    inner = BytesParser(policy=HTTP).parsebytes(rest + b"\n\n", headersonly=True)
    headers = tuple((_bytes(name.lower()), _bytes(str(text))) for name, text in inner.items())
    return Inner(content_id, words[0], target.path, target.query, headers, body)


def _bytes(text: str) -> bytes:
    return text.encode("latin-1", "replace")


def _split(content: bytes) -> tuple[bytes, bytes, bytes]:
    """The head of a request, the blank line after it, and its body."""
    blank = _BLANK_LINE.search(content)
    if blank is None:
        return content, b"", b""
    return content[: blank.start()], blank[0], content[blank.end() :]


# -- through the app -----------------------------------------------------------------------------------------------


async def _ask(request: Request, part: Inner) -> bytes:
    """Send one request through the whole app, and write what it answers."""
    status, headers, body = 500, list[tuple[bytes, bytes]](), b""
    is_sent = False

    async def receive() -> Message:
        nonlocal is_sent
        if is_sent:
            return await request.receive()  # which tells of a client that goes away
        is_sent = True
        return {"type": "http.request", "body": part.body, "more_body": False}

    async def send(message: Message) -> None:
        nonlocal status, headers, body
        if message["type"] == "http.response.start":
            status, headers = message["status"], list(message.get("headers", []))
        elif message["type"] == "http.response.body":
            body += message.get("body", b"")

    try:
        await request.app(_scope_of(request, part), receive, send)
    except Exception:  # the app has answered it as its own fault, and raises it for whoever runs it to see
        log.exception("a part of a batch failed", extra={"verb": part.verb, "path": part.path})
    return to_part(part.content_id, status, headers, body)


def _scope_of(request: Request, part: Inner) -> Scope:
    own = [each for each in part.headers if each[0] not in _OF_THE_PART]
    left_out = _OF_THE_WHOLE | {name for name, _ in part.headers}
    whole = [each for each in request.headers.raw if each[0] not in left_out]
    length = (b"content-length", str(len(part.body)).encode())
    return {
        "type": "http",
        "asgi": request.scope["asgi"],
        "http_version": "1.1",
        "method": part.verb,
        "scheme": request.scope["scheme"],
        "path": unquote(part.path),
        "raw_path": part.path.encode(),
        "root_path": "",
        "query_string": "&".join(each for each in (part.query, _key_of(request, part)) if each).encode("latin-1"),
        "headers": [*whole, *own, length],
        "client": request.scope.get("client"),
        "server": request.scope.get("server"),
    }


def _key_of(request: Request, part: Inner) -> str:
    """The key in the query of the whole request, for a part that has none."""
    own = {name for name, _ in parse_qsl(part.query)}
    whole = request.query_params.multi_items()
    return urlencode([(name, text) for name, text in whole if name in _KEYS and name not in own])


# -- out -----------------------------------------------------------------------------------------------------------


def to_part(content_id: str, status: int, headers: Sequence[tuple[bytes, bytes]], body: bytes) -> bytes:
    """One answer, as a part of the answer."""
    kept = b"".join(name + b": " + text + b"\r\n" for name, text in headers)
    line = f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\n".encode()
    head = b"Content-Type: application/http\r\n"
    if content_id:
        head += f"Content-ID: <response-{content_id}>\r\n".encode("latin-1", "replace")
    return head + b"\r\n" + line + kept + b"\r\n" + body
