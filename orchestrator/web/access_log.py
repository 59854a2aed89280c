"""The access log: one line for each request, once it is over. ``log_lines`` writes it as JSON.

What it never has: a header of the request but its id, a body, and the value of a query parameter that may be a secret
(``key=``, ``access_token=`` and the like become ``***``).
"""

from __future__ import annotations

import logging
import re
import time
from typing import Final
from urllib.parse import unquote_plus

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from orchestrator.web.refusals import request_id_of

log = logging.getLogger(__name__)

_SECRET: Final = re.compile(r"token|secret|passw|signature|credential|^(api[_-]?|x-)?key$|^sig$|^auth", re.IGNORECASE)


class AccessLog:
    """The middleware."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, and log it when it is over."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began, status, size_bytes = time.perf_counter(), None, 0

        async def send_and_count(message: Message) -> None:
            nonlocal status, size_bytes
            if message["type"] == "http.response.start":
                status = message["status"]
            elif message["type"] == "http.response.body":
                size_bytes += len(message.get("body", b""))
            await send(message)

        try:
            await self._app(scope, receive, send_and_count)
        finally:
            caller = scope.get("state", {}).get("caller")
            fields = {
                "request_id": request_id_of(scope),
                "method": scope["method"],
                "path": shown_path(scope),
                "status": status,  # null: the client went away before the answer began
                "duration_ms": round((time.perf_counter() - began) * 1000, 3),
                "size_bytes": size_bytes,
                "actor": caller.actor if caller is not None else None,
                "client": scope["client"][0] if scope.get("client") else None,
            }
            log.info("request", extra=fields)


def shown_path(scope: Scope) -> str:
    """Path and query as they were sent, with ``***`` for what may be a secret."""
    path: bytes = scope.get("raw_path") or scope["path"].encode()
    query = without_secrets(scope["query_string"].decode("ascii", "backslashreplace"))
    return path.decode("ascii", "backslashreplace") + (f"?{query}" if query else "")


def without_secrets(query: str) -> str:
    """A query with ``***`` for the values of parameters whose names say that they are secret."""
    return "&".join(map(_shown, query.split("&")))


def _shown(pair: str) -> str:
    name, equals, _ = pair.partition("=")
    return f"{name}=***" if equals and _SECRET.search(unquote_plus(name)) else pair
