"""The open door of a server without keys: whoever reaches the loopback may do everything. But no page in a browser.

A page of any site may have its reader's browser send requests to this machine, and by a name of its own that leads to
127.0.0.1 even read the answers. It cannot choose the headers ``Host`` and ``Origin``; so those must name the loopback.
"""

from __future__ import annotations

from functools import lru_cache
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from orchestrator.model.keys import ANYONE
from orchestrator.runtime.flower import is_loopback
from orchestrator.web.refusals import refusal
from orchestrator.wire.google.envelope import PERMISSION_DENIED


class Anyone:
    """The middleware: the caller is ``ANYONE``."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request in, unless a page of another site has sent it."""
        if scope["type"] == "http":
            foreign = _foreign_header(Headers(scope=scope))
            if foreign is not None:
                message = (
                    f"a server without keys answers this machine alone, and the header {foreign} names another; "
                    "ask it as 127.0.0.1 or localhost, or start it without --no-auth"
                )
                await refusal(scope, PERMISSION_DENIED, message)(scope, receive, send)
                return
            scope.setdefault("state", {})["caller"] = ANYONE
        await self._app(scope, receive, send)


def _foreign_header(headers: Headers) -> str | None:
    """``Host`` or ``Origin``, whichever names another machine. Programs send no origin, old ones no host."""
    if "host" in headers and not _is_local(f"//{headers['host']}"):
        return "Host"
    if "origin" in headers and not _is_local(headers["origin"]):
        return "Origin"
    return None


@lru_cache(maxsize=256)  # most requests have the same ones
def _is_local(url: str) -> bool:
    try:
        return is_loopback(urlsplit(url).hostname or "")
    except ValueError:  # no URL at all
        return False
