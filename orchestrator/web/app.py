"""The app: the wires and our own routes, over one set of services.

Handlers are plain functions, which the server runs in threads, because the stores block; what waits for long is
``async`` and looks from a thread now and then.

A request passes, from the outside: ``RequestIds``, ``AccessLog``, ``Unhandled``, ``BodyLimit``, ``GooglePaths``, and
who finds out who asks. All of them are plain ASGI; ``request_ids`` says why.
"""

from __future__ import annotations

import asyncio
from importlib.metadata import version
from typing import Final

from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware

from orchestrator.runtime.app import Runtime
from orchestrator.runtime.doctor import service_checks
from orchestrator.web import health
from orchestrator.web.access_log import AccessLog
from orchestrator.web.anyone import Anyone
from orchestrator.web.auth import AskForKey
from orchestrator.web.body_limit import BodyLimit
from orchestrator.web.refusals import refuse_as_told
from orchestrator.web.request_ids import RequestIds
from orchestrator.web.unhandled import Unhandled
from orchestrator.wire.google.api import google_router
from orchestrator.wire.google.paths import GooglePaths
from orchestrator.wire.shared_reads import SharedReads

TAGS: Final = [
    {"name": "health", "description": "Whether the server is alive and ready."},
    {"name": "google", "description": "Google Application Integration, version 1."},
]


def make_web_app(runtime: Runtime, *, authenticate: bool = True) -> FastAPI:
    """The app over what ``bootstrap(settings, raises=True)`` has put together.

    Args:
        runtime: its services are what handlers get; its settings have the limits.
        authenticate: ask for a key; otherwise anyone may do anything.
    """
    app = FastAPI(
        title="Execution orchestrator",
        version=version("orchestrator"),
        openapi_tags=TAGS,
        docs_url=None,  # both load their scripts from elsewhere
        redoc_url=None,
        redirect_slashes=False,  # a path with one slash more is none; clients of APIs follow no redirects
        middleware=[
            Middleware(RequestIds),
            Middleware(AccessLog),
            Middleware(Unhandled),
            Middleware(BodyLimit, runtime.settings.max_request_bytes),
            Middleware(GooglePaths),  # outside of what looks for keys: one may be in a query that it has put together
            Middleware(AskForKey, services=runtime.services) if authenticate else Middleware(Anyone),
        ],
        exception_handlers={HTTPException: refuse_as_told},
    )
    app.state.services = runtime.services
    app.state.closing = asyncio.Event()
    app.state.reads = SharedReads()
    app.state.readiness = health.Readiness(service_checks(runtime.settings))
    app.include_router(google_router(), tags=["google"])
    app.include_router(health.router)
    return app
