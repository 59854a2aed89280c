"""Who asks: the key of every request, before anything else looks at it.

A key may be in a header; for Google's paths also in the URL, where its clients put what they are given as a developer
key or as a token. It is taken out of the URL here, so that no log of ours can have it.

* For Google's paths whoever may not is told so with 403, never with 401: on that its clients try to renew their
  credentials, and their users see how that failed, and not our message.
* A batch may come without a key, as each of its parts may have one: it is ``NOBODY``'s, who may do nothing, and whoever
  answers it asks for each part who that is.
* Every refusal is logged with its reason and the key's id, never with the key. Nobody is locked out: 2 to the 256 keys
  cannot be tried out, and whoever sends a wrong one for somebody else would lock them out.
"""

from __future__ import annotations

import logging
from typing import Final
from urllib.parse import parse_qsl, unquote_plus

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from orchestrator.errors import KeyMissing, KeyRefused, KeysDiffer, OrchestratorError
from orchestrator.model.keys import NOBODY, Caller, parse_key
from orchestrator.service.keys import authenticate
from orchestrator.service.services import Services
from orchestrator.wire.google.envelope import UNAUTHENTICATED, error_response, status_of

log = logging.getLogger(__name__)

OPEN_PATHS: Final = frozenset({"/healthz", "/readyz", "/openapi.json"})
BATCH: Final = "/batch"
_HEADERS: Final = ("x-api-key", "x-goog-api-key")  # the second is what google.auth.api_key sends
_IN_URL: Final = frozenset({"key", "access_token", "oauth_token"})
_FORM: Final = "application/x-www-form-urlencoded"
_MAX_FORM_BYTES: Final = 1 << 20


class AskForKey:
    """The middleware that finds the key of a request and who has it: ``request.state.caller``."""

    def __init__(self, app: ASGIApp, services: Services) -> None:
        self._app, self._services = app, services

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Go on as whoever has the key, or refuse."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        path = scope["path"].removeprefix(scope.get("root_path", ""))
        is_google = path == BATCH or path.startswith("/v1/")
        try:
            found = _keys_in_headers(scope)
            if is_google:
                found |= _take_from_url(scope)
            if is_google and not found and _is_form_of_get(scope):
                form, receive = await _read_form(receive)
                found |= _keys_in(form)
            caller = NOBODY if path in OPEN_PATHS or (path == BATCH and not found) else await self._caller(found)
        except OrchestratorError as error:
            _log_refusal(error, scope)
            await _refusal(error, is_google=is_google)(scope, receive, send)
            return
        _name_caller(scope, caller)
        await self._app(scope, receive, send)

    async def _caller(self, found: set[str]) -> Caller:
        if not found:
            raise KeyMissing("no key")
        if len(found) > 1:
            raise KeysDiffer("several keys", ", ".join(sorted(key.id for each in found if (key := parse_key(each)))))
        return await run_in_threadpool(authenticate, found.pop(), self._services)


def _name_caller(scope: Scope, caller: Caller) -> None:
    scope.setdefault("state", {})["caller"] = caller


# -- where a key may be --------------------------------------------------------------------------------------------


def _keys_in_headers(scope: Scope) -> set[str]:
    headers = Headers(scope=scope)
    found = {text.strip() for name in _HEADERS for text in headers.getlist(name)}
    for each in headers.getlist("authorization"):
        scheme, _, text = each.strip().partition(" ")
        if scheme.lower() == "bearer":
            found.add(text.strip())
    return found - {""}


def _take_from_url(scope: Scope) -> set[str]:
    """The keys in the query, which has them no more: everybody has the same ``scope``, and so has the server's log."""
    parts = scope["query_string"].split(b"&")
    taken = [each for each in parts if unquote_plus(each.partition(b"=")[0].decode("latin-1")) in _IN_URL]
    scope["query_string"] = b"&".join(each for each in parts if each not in taken)
    return _keys_in(b"&".join(taken))


def _keys_in(query: bytes) -> set[str]:
    return {text.strip() for name, text in parse_qsl(query.decode("latin-1")) if name in _IN_URL} - {""}


def _is_form_of_get(scope: Scope) -> bool:
    """Whether a URL that was too long, over 2048 characters, comes as a body: Google's client does that to a list."""
    headers = Headers(scope=scope)
    is_get = scope.get("method") == "POST" and headers.get("x-http-method-override", "").upper() == "GET"
    return is_get and headers.get("content-type", "").startswith(_FORM)


async def _read_form(receive: Receive) -> tuple[bytes, Receive]:
    """What has come of the body, at most a little over the limit; and how the app gets all of it once more."""
    messages: list[Message] = []
    size, has_more = 0, True
    while has_more and size <= _MAX_FORM_BYTES:
        messages.append(message := await receive())
        size += len(message.get("body", b""))
        has_more = message.get("more_body", False)
    form = b"".join(message.get("body", b"") for message in messages)

    async def receive_again() -> Message:
        return messages.pop(0) if messages else await receive()

    return form, receive_again


# -- refusing ------------------------------------------------------------------------------------------------------


def _log_refusal(error: OrchestratorError, scope: Scope) -> None:
    fields = {"path": scope["path"], "client": (scope.get("client") or ("",))[0]}
    if isinstance(error, KeyRefused):
        fields |= {"reason": error.reason, "key_id": error.key_id}
    else:
        fields |= {"reason": str(error)}
    log.warning("request refused", extra=fields)


def _refusal(error: OrchestratorError, *, is_google: bool) -> JSONResponse:
    if is_google or not isinstance(error, KeyRefused):
        return error_response(status_of(error), str(error))
    response = error_response(UNAUTHENTICATED, str(error))
    response.headers["WWW-Authenticate"] = "Bearer"
    return response
