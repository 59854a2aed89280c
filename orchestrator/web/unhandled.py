"""What nobody has handled: a fault of ours is logged with its request's id, and answered with nothing but that id.

And who waits longer than the server does when it is told to end gets 503, not a broken connection. Inside of the access
log, so that the status is in it.
"""

from __future__ import annotations

import asyncio
import logging

from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from orchestrator.web.access_log import shown_path
from orchestrator.web.refusals import refusal, request_id_of
from orchestrator.wire.google.envelope import INTERNAL, UNAVAILABLE

log = logging.getLogger(__name__)


class Unhandled:
    """The middleware."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, and answer it if nobody has."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        is_begun = False

        async def send_and_note(message: Message) -> None:
            nonlocal is_begun
            is_begun = True
            await send(message)

        try:
            await self._app(scope, receive, send_and_note)
        except asyncio.CancelledError:  # the server has waited for this one as long as it may
            if is_begun:
                raise
            message = "the server is ending and could not wait for this answer; ask again"
            await refusal(scope, UNAVAILABLE, message, {"Retry-After": "1"})(scope, receive, send)
        except ClientDisconnect:  # amid its own body: there is nobody to answer
            return
        except Exception:
            request_id = request_id_of(scope)
            fields = {"request_id": request_id, "method": scope["method"], "path": shown_path(scope)}
            log.exception("request failed", extra=fields)
            if not is_begun:  # else the connection is closed, and the client sees that something is missing
                message = f"a fault of the server; its log has the reason under the request id {request_id}"
                await refusal(scope, INTERNAL, message)(scope, receive, send)
