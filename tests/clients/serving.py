"""The app of ``web`` over a running system, on a real socket, in a thread of the test's process."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from fastapi import FastAPI

from orchestrator.runtime.app import bootstrap
from orchestrator.web.app import make_web_app
from orchestrator.web.server import ApiServer
from tests.integration.system import System
from tests.integration.waiting import until
from tests.services import free_port

DRAIN_S = 20.0


@contextmanager
def served(system: System, *, authenticate: bool = False) -> Iterator[str]:
    """The base URL of an API server over the system's database and broker; whether it asks for keys."""
    runtime = bootstrap(system.settings, raises=True)
    try:
        with listening(make_web_app(runtime, authenticate=authenticate)) as url:
            yield url
    finally:
        runtime.database.close()


@contextmanager
def listening(app: FastAPI) -> Iterator[str]:
    """The base URL of an app."""
    port = free_port()
    server = ApiServer(app, drain_s=DRAIN_S, host="127.0.0.1", port=port)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        until(lambda: server.started or not thread.is_alive(), what="the start of the API server")
        assert server.started, "the API server did not start"
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join()
