"""Call REST Endpoint: one HTTP request.

What it takes from the task: ``httpMethod``, ``url``, ``urlQueryStrings`` and ``httpParams`` (both become the query),
``additionalHeaders``, ``jsonAdditionalHeaders``, ``requestBody``, ``userAgent``, ``followRedirects``,
``disableSSLValidation``, ``throwError``, and, ours, ``authHeader`` (the value of Authorization) and ``timeoutMs``.
What it gives: ``responseStatus`` ("400 Bad Request"), ``responseHeader`` (JSON text, lower-case names) and
``responseBody`` (text), each into the parameter that the task names.

* A body without a content-type header is sent as ``application/json`` if it is JSON, else as ``text/plain``.
* URL overrides: the longest matching prefix of ``surroundings.url_overrides`` is replaced, in redirect targets too, so
  that a flow under test stays away from the real service.
* Authorization does not follow a redirect to another host. Cookies are not kept, not even along a redirect.
* Proxies and credentials in the environment (``HTTP_PROXY``, ``.netrc``) are ignored.

What must not happen: an attempt that goes on for ever, an answer that fills the memory, two executions sharing a
cookie, or a worker using a connection that its parent process opened.
"""

from __future__ import annotations

import codecs
import json
import logging
import os
import time
from collections.abc import Iterable, Mapping
from http import HTTPStatus
from typing import TYPE_CHECKING, Final
from urllib.parse import urlencode, urlsplit

from orchestrator.errors import InvalidValue, TaskError
from orchestrator.model.first_use import on_first_use
from orchestrator.model.json_text import Json, to_json_text
from orchestrator.model.parameters import references_in
from orchestrator.model.task_types import TASK_TYPES, Done, TaskContext, TaskType
from orchestrator.model.values import DataType, Value, text_of
from tasks.parameter_map import Pairs, parse_pairs

if TYPE_CHECKING:
    import httpx
else:
    httpx = on_first_use("httpx")

METHODS: Final = ("DELETE", "GET", "HEAD", "PATCH", "POST", "PUT")  # those of the product's reference page
MAX_RESPONSE_BYTES: Final = 25 * 1024 * 1024
MAX_REDIRECTS: Final = 20
SHOWN_BODY_CHARS: Final = 500  # of an error's answer, in its message

Headers = list[tuple[str, str]]


def run(context: TaskContext) -> Done:
    """Send the request and keep the answer.

    Raises:
        TaskError: the parameters make no request (INVALID_ARGUMENT), no answer came (503; 504 in time), the answer is
            too large, or, with ``throwError``, its status is 400 or above (the status).
    """
    try:
        request = _request(context)
    except (InvalidValue, httpx.InvalidURL, ValueError) as error:
        raise TaskError(f"this makes no HTTP request: {error}", "INVALID_ARGUMENT") from error
    response, body = _answer(request, context)
    if context.flag("throwError") and response.status_code >= HTTPStatus.BAD_REQUEST:
        shown = f": {body[:SHOWN_BODY_CHARS]}" if body else ""
        raise TaskError(f"{_named(request)} answered {_status(response)}{shown}", response.status_code)
    return _done(context, response, body)


def _done(context: TaskContext, response: httpx.Response, body: str) -> Done:
    texts = {
        "responseStatus": _status(response),
        "responseHeader": to_json_text(dict(response.headers)),
        "responseBody": body,
    }
    names = {key: context.output_name(key) for key in texts}
    return Done(outputs={name: Value(DataType.STRING, texts[key]) for key, name in names.items() if name})


def _status(response: httpx.Response) -> str:
    phrase = response.reason_phrase or httpx.codes.get_reason_phrase(response.status_code)
    return f"{response.status_code} {phrase}".rstrip()


# -- the request ---------------------------------------------------------------------------------------------------


def _request(context: TaskContext) -> httpx.Request:
    method = context.text("httpMethod").upper()
    if method not in METHODS:
        raise TaskError(f"httpMethod is {method!r}; it can be: {', '.join(METHODS)}", "INVALID_ARGUMENT")
    if problem := _unsupported_authentication(context.config):
        raise TaskError(problem, "INVALID_ARGUMENT")
    headers = _headers(context)
    content = _content(context)
    if content is not None and not any(name.lower() == "content-type" for name, _ in headers):
        headers.append(("Content-Type", "application/json" if _is_json(content) else "text/plain; charset=utf-8"))
    return _client(verify=not context.flag("disableSSLValidation")).build_request(
        method,
        _url(context),
        # Bytes, because httpx takes text headers in ASCII only.
        headers=[(name.encode("ascii"), text.encode()) for name, text in headers],
        content=None if content is None else content.encode("utf-8", "replace"),
    )


def _url(context: TaskContext) -> str:
    url = _overridden(context.text("url").strip(), context.surroundings.url_overrides)
    query = urlencode([(name, _text(item)) for name, item in _query(context)])
    if not query:
        return _checked(url)
    url, hash_sign, fragment = url.partition("#")
    return _checked(f"{url}{'&' if '?' in url else '?'}{query}{hash_sign}{fragment}")


def _query(context: TaskContext) -> Pairs:
    return [
        (name, item)
        for key in ("urlQueryStrings", "httpParams")
        for name, item in parse_pairs(context.value(key), key)
        if item is not None
    ]


def _overridden(url: str, overrides: Mapping[str, str]) -> str:
    prefix = max((prefix for prefix in overrides if prefix and url.startswith(prefix)), key=len, default=None)
    return url if prefix is None else overrides[prefix] + url.removeprefix(prefix)


def _checked(url: str) -> str:
    try:
        parts = urlsplit(url)
        usable = parts.scheme.lower() in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:  # half an IPv6 address, or a port above 65535
        usable = False
    if not usable:
        raise TaskError(
            f"url is {_shown(url)!r}; it must begin with http:// or https:// and a host", "INVALID_ARGUMENT"
        )
    return url


def _headers(context: TaskContext) -> Headers:
    headers = [
        (name.strip(), _text(item))
        for key in ("additionalHeaders", "jsonAdditionalHeaders")
        for name, item in parse_pairs(context.value(key), key)
        if item is not None
    ]
    authorization = context.text("authHeader")
    if authorization:
        headers = [(name, text) for name, text in headers if name.lower() != "authorization"]
        headers.append(("Authorization", authorization))
    if not any(name.lower() == "user-agent" for name, _ in headers):
        headers.append(("User-Agent", context.text("userAgent", "orchestrator")))
    for name, text in headers:
        if not name.isascii() or any(sign in name + text for sign in "\r\n\0"):
            raise TaskError(f"header {name!r} has a line break or another sign that HTTP forbids", "INVALID_ARGUMENT")
    return headers


def _content(context: TaskContext) -> str | None:
    body = context.value("requestBody")
    return None if body is None else (text_of(body) or None)


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def _text(item: Json) -> str:
    return item if isinstance(item, str) else to_json_text(item)


# -- the answer ----------------------------------------------------------------------------------------------------


def _answer(request: httpx.Request, context: TaskContext) -> tuple[httpx.Response, str]:
    timeout_s = _timeout_s(context)
    try:
        return _send(request, context, deadline=time.monotonic() + timeout_s)
    except httpx.TimeoutException as error:
        raise TaskError(f"{_named(request)} did not answer within {timeout_s:g} s", 504) from error
    except httpx.LocalProtocolError as error:
        raise TaskError(f"this makes no HTTP request: {error}", "INVALID_ARGUMENT") from error
    except httpx.RequestError as error:
        raise TaskError(f"{_named(request)} failed: {error or type(error).__name__}", 503) from error


def _timeout_s(context: TaskContext) -> float:
    value = context.value("timeoutMs")
    if value is not None and isinstance(value.data, int | float) and value.data > 0:
        return value.data / 1000
    return context.surroundings.rest_timeout_s


def _send(request: httpx.Request, context: TaskContext, *, deadline: float) -> tuple[httpx.Response, str]:
    """Send, and follow redirects here rather than in httpx, so that overrides and the deadline hold on every hop."""
    client = _client(verify=not context.flag("disableSSLValidation"))
    for _ in range(MAX_REDIRECTS + 1):
        left_s = max(deadline - time.monotonic(), 0.001)
        request.extensions = {**request.extensions, "timeout": httpx.Timeout(left_s).as_dict()}
        response = client.send(request, stream=True, follow_redirects=False)
        try:
            if response.next_request is None or not context.flag("followRedirects", default=True):
                return response, _read(response, deadline=deadline)
            request = _next_hop(response.next_request, context.surroundings.url_overrides)
        finally:
            response.close()
    raise TaskError(f"more than {MAX_REDIRECTS} redirects, the last one to {_shown(str(request.url))}", 503)


def _next_hop(request: httpx.Request, overrides: Mapping[str, str]) -> httpx.Request:
    # httpx has dropped Authorization already if the host that the server named is another one.
    url = httpx.URL(_checked(_overridden(str(request.url), overrides)))
    request.url = url
    request.headers["Host"] = url.netloc.decode("ascii")
    return request


def _read(response: httpx.Response, *, deadline: float) -> str:
    chunks: list[bytes] = []
    size = 0
    for chunk in response.iter_bytes():
        chunks.append(chunk)
        size += len(chunk)
        if size > MAX_RESPONSE_BYTES:
            raise TaskError(
                f"{_named(response.request)} answered more than {MAX_RESPONSE_BYTES:,} bytes", "RESPONSE_TOO_LARGE"
            )
        if time.monotonic() > deadline:  # a server that drips would pass every single read's limit
            raise httpx.ReadTimeout("the answer takes too long", request=response.request)
    return b"".join(chunks).decode(_encoding(response), "replace")


def _encoding(response: httpx.Response) -> str:
    try:
        return codecs.lookup(response.charset_encoding or "utf-8").name
    except LookupError:
        return "utf-8"


def _named(request: httpx.Request) -> str:
    return f"{request.method} {_shown(str(request.url))}"


def _shown(url: str) -> str:
    """The URL as a message may show it: no password, and no query, which often carries a key."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return "no URL"
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="").geturl()


# -- the client ----------------------------------------------------------------------------------------------------

_CLIENTS: Final[dict[tuple[int, bool], httpx.Client]] = {}


def _client(*, verify: bool) -> httpx.Client:
    """This process's client. The key holds the process id: a forked worker must not share its parent's sockets."""
    from http.cookiejar import CookieJar, DefaultCookiePolicy  # 1 MB, and only for this

    key = (os.getpid(), verify)
    client = _CLIENTS.get(key)
    if client is None:
        httpx_log = logging.getLogger("httpx")
        if httpx_log.level == logging.NOTSET:
            httpx_log.setLevel(logging.WARNING)  # at INFO it writes every URL whole, keys in the query included
        # No lock: one held during a fork stays locked in the child. A loser of the race has no connection yet.
        jar = CookieJar(DefaultCookiePolicy(allowed_domains=[]))
        client = _CLIENTS.setdefault(key, httpx.Client(verify=verify, trust_env=False, cookies=jar))
    return client


# -- before anything runs ------------------------------------------------------------------------------------------


def check(config: Mapping[str, Value]) -> Iterable[str]:
    """Say what is missing or wrong, as far as it does not hang on references."""
    method = _written(config, "httpMethod")
    if not references_in(method) and method.upper() not in METHODS:
        yield f"httpMethod is {method!r}; it can be: {', '.join(METHODS)}"
    url = _written(config, "url").strip()
    if not url:
        yield "url is missing"
    elif not references_in(url) and not url.lower().startswith(("http://", "https://")):
        yield f"url is {_shown(url)!r}; it must begin with http:// or https://"
    if problem := _unsupported_authentication(config):
        yield problem
    for key in ("additionalHeaders", "jsonAdditionalHeaders", "urlQueryStrings", "httpParams"):
        try:
            parse_pairs(config.get(key), key)
        except InvalidValue as error:
            yield str(error)


def _written(config: Mapping[str, Value], key: str) -> str:
    value = config.get(key)
    return value.data if value is not None and isinstance(value.data, str) else ""


def _unsupported_authentication(config: Mapping[str, Value]) -> str | None:
    profile = next((key for key in ("authConfigName", "authConfig") if key in config and config[key].data), None)
    if profile is None or _written(config, "authHeader") or _has_authorization(config):
        return None
    return f"{profile} is not supported: give authHeader, such as 'Bearer $token$', or an Authorization header"


def _has_authorization(config: Mapping[str, Value]) -> bool:
    try:
        pairs = parse_pairs(config.get("additionalHeaders"), "additionalHeaders")
    except InvalidValue:
        return False
    return any(name.strip().lower() == "authorization" for name, _ in pairs)


TASK_TYPES.add(TaskType(name="GenericRestV2Task", run=run, celery_name="tasks.rest", check=check))
