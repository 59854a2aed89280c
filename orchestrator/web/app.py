"""The app: the wires and our own routes, over one set of services.

Handlers are plain functions, which the server runs in threads, because the stores block; what waits for long is
``async`` and looks from a thread now and then.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from fastapi import FastAPI, Request, Response

from orchestrator.model.keys import ANYONE
from orchestrator.runtime.app import Runtime
from orchestrator.wire.google.api import google_router


def make_web_app(runtime: Runtime) -> FastAPI:
    """The app over what ``bootstrap(settings, raises=True)`` has put together."""
    app = FastAPI(title="Execution orchestrator")
    app.state.services = runtime.services
    app.middleware("http")(_let_anyone_in)
    app.include_router(google_router())
    return app


async def _let_anyone_in(request: Request, go_on: Callable[[Request], Awaitable[Response]]) -> Response:
    request.state.caller = ANYONE
    return await go_on(request)
