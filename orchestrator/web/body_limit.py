"""The limit of a request's body: above it the answer is 413, and no more of it is ever in memory than the limit.

A body that says its length is refused before it is read, a chunked one as soon as it is too long. Most clients read an
answer only when they have sent everything, and see a broken connection if they cannot; so the answer goes out at once,
and then as much again as ``_DROPPED_LIMITS`` bodies of the largest size is read and dropped, for a few seconds. A
client that asks first (``Expect: 100-continue``) sends nothing.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Final

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from orchestrator.web.refusals import refusal
from orchestrator.wire.google.envelope import TOO_LARGE

_DROPPED_LIMITS: Final = 4
_DROPPED_S: Final = 10.0


class _TooLarge(Exception):
    """Ends whoever reads the body."""


class BodyLimit:
    """The middleware."""

    def __init__(self, app: ASGIApp, limit_bytes: int) -> None:
        self._app, self._limit_bytes = app, limit_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, with a body that ends at the limit."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        said = Headers(scope=scope).get("content-length", "")
        if said.isdecimal() and int(said) > self._limit_bytes:
            await self._refuse(scope, receive, send)
            return
        read_bytes, is_begun = 0, False

        async def receive_and_count() -> Message:
            nonlocal read_bytes
            message = await receive()
            read_bytes += len(message.get("body", b""))
            if read_bytes > self._limit_bytes:
                raise _TooLarge
            return message

        async def send_unless_refused(message: Message) -> None:
            nonlocal is_begun
            if read_bytes <= self._limit_bytes:
                is_begun = True
                await send(message)

        try:
            await self._app(scope, receive_and_count, send_unless_refused)
        except Exception:  # ours, or what the app has made of it
            if read_bytes <= self._limit_bytes:
                raise
        if read_bytes > self._limit_bytes and not is_begun:
            await self._refuse(scope, receive, send)

    async def _refuse(self, scope: Scope, receive: Receive, send: Send) -> None:
        message = (
            f"the body of the request is larger than {self._limit_bytes:,} bytes; "
            "send less, or have the server take more with ORCHESTRATOR_MAX_REQUEST_BYTES"
        )
        answer = refusal(scope, TOO_LARGE, message, {"Connection": "close"})
        await send({"type": "http.response.start", "status": answer.status_code, "headers": answer.raw_headers})
        await send({"type": "http.response.body", "body": answer.body, "more_body": True})
        with suppress(TimeoutError):
            async with asyncio.timeout(_DROPPED_S):
                await self._drop_rest(receive)
        await send({"type": "http.response.body"})

    async def _drop_rest(self, receive: Receive) -> None:
        dropped_bytes = 0
        while dropped_bytes <= _DROPPED_LIMITS * self._limit_bytes:
            message = await receive()
            dropped_bytes += len(message.get("body", b""))
            if message["type"] == "http.disconnect" or not message.get("more_body", False):
                return
