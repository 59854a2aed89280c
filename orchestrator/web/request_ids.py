"""An id for every request: the caller's ``X-Request-Id`` if it is sane, else one of ours.

It is in the answer's ``X-Request-Id``, in every line that is logged about the request, and in ``scope["state"]``. It
names a request for people who read logs; it is no promise that the same request has no effect twice.

Plain ASGI, as all middlewares here: Starlette's ``BaseHTTPMiddleware`` runs the app in a task of its own and puts a
queue before the answer, which breaks streams and hides disconnects.
"""

from __future__ import annotations

import re
import uuid
from typing import Final

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

HEADER: Final = "X-Request-Id"
_SANE: Final = re.compile(r"[A-Za-z0-9._~:/+=@-]{1,128}")  # nothing that a log, a header or a shell takes for its own


def is_sane(text: str) -> bool:
    """Whether it may go into headers and logs as it is."""
    return _SANE.fullmatch(text) is not None


class RequestIds:
    """The middleware; the outermost one, so that the others have the id."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Give a request its id."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        given = Headers(scope=scope).get(HEADER, "")
        request_id = given if is_sane(given) else uuid.uuid4().hex
        scope.setdefault("state", {})["request_id"] = request_id

        async def send_with_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)[HEADER] = request_id
            await send(message)

        await self._app(scope, receive, send_with_id)
