"""What Google's clients do to a URL, undone before it is routed. Nothing but paths of this API is touched.

- Routing goes by the path as it was sent: ``a%2Fb`` is one id. ``GoogleRoute`` decodes ids after routing.
- ``integrationcli`` puts a slash before a verb: ``.../executions/ID/:cancel``.
- The Apigee tree, ``.../locations/L/products/P/integrations/...``, has the same handlers as the other one.
- A client whose URL is longer than 2,048 characters sends POST with ``x-http-method-override: GET``, and the query as a
  form. It becomes the GET that was meant. Such a form is read before anything else runs, so its length is limited.

It is ASGI alone, no ``BaseHTTPMiddleware``: it costs a string comparison a request, and bodies pass it as they come.
"""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import quote

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from orchestrator.wire.google.envelope import INVALID_ARGUMENT, RAW, TOO_LARGE, error_response

PREFIX: Final = "/v1/projects/"
MAX_FORM: Final = 1_000_000  # bytes of a query that comes as a form
METHODS: Final = frozenset({"GET", "PUT", "PATCH", "DELETE"})  # what a POST may stand for
_VERB_AFTER_SLASH: Final = re.compile(r"/+(:[A-Za-z]+)$")
_PRODUCT: Final = re.compile(r"^(/v1/projects/[^/]+/locations/[^/]+)/products/[^/]+(?=/)")


def to_routed(raw_path: str) -> str:
    """The path that is routed: that of the plain tree, with the verb right behind its name."""
    return _PRODUCT.sub(r"\1", _VERB_AFTER_SLASH.sub(r"\1", raw_path))


class GooglePaths:
    """The middleware. It stands before the one that looks for keys, which may be in the query."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand on the request that was meant."""
        if scope["type"] != "http" or not scope["path"].startswith(PREFIX):
            await self.app(scope, receive, send)
            return
        raw = scope.get("raw_path")
        path = quote(scope["path"], safe="/:") if raw is None else raw.decode("latin-1")
        scope = {**scope, "path": to_routed(path), RAW: True}
        meant = Headers(scope=scope).get("x-http-method-override", "").upper()
        if not meant or scope["method"] != "POST":
            await self.app(scope, receive, send)
        elif meant not in METHODS:
            expected = f"x-http-method-override: found {meant[:20]!r}, expected one of {', '.join(sorted(METHODS))}"
            await error_response(INVALID_ARGUMENT, expected)(scope, receive, send)
        elif meant != "GET":
            await self.app({**scope, "method": meant}, receive, send)
        else:
            await self._as_get(scope, receive, send)

    async def _as_get(self, scope: Scope, receive: Receive, send: Send) -> None:
        form = await _read(receive)
        if form is None:
            message = f"the query is longer than {MAX_FORM:,} bytes; ask for less"
            await error_response(TOO_LARGE, message)(scope, receive, send)
            return
        query = b"&".join(part for part in (scope["query_string"], form.strip()) if part)
        headers = [each for each in scope["headers"] if each[0] not in (b"content-type", b"content-length")]
        scope = {**scope, "method": "GET", "query_string": query, "headers": headers}
        is_handed_on = False

        async def receive_nothing() -> Message:
            nonlocal is_handed_on
            if is_handed_on:
                return await receive()  # which tells of a client that goes away
            is_handed_on = True
            return {"type": "http.request", "body": b"", "more_body": False}

        await self.app(scope, receive_nothing, send)


async def _read(receive: Receive) -> bytes | None:
    """The body; None if it is too long, or does not come to its end."""
    form = b""
    while len(form) <= MAX_FORM:
        message = await receive()
        if message["type"] != "http.request":
            return None
        form += message.get("body", b"")
        if not message.get("more_body", False):
            return form if len(form) <= MAX_FORM else None
    return None
