"""The app: the wires and our own routes, over one set of services.

Handlers are plain functions, which the server runs in threads, because the stores block; what waits for long is
``async`` and looks from a thread now and then.
"""

from __future__ import annotations

from fastapi import FastAPI

from orchestrator.runtime.app import Runtime
from orchestrator.web.auth import AskForKey, LetAnyoneIn
from orchestrator.wire.google.api import google_router


def make_web_app(runtime: Runtime, *, authenticate: bool = True) -> FastAPI:
    """The app over what ``bootstrap(settings, raises=True)`` has put together.

    Args:
        runtime: its services.
        authenticate: ask for a key; otherwise anyone may do anything.
    """
    app = FastAPI(title="Execution orchestrator")
    app.state.services = runtime.services
    if authenticate:
        app.add_middleware(AskForKey, services=runtime.services)
    else:
        app.add_middleware(LetAnyoneIn)
    app.include_router(google_router())
    return app
