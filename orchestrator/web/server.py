"""The server process: what it listens to, and how it ends.

    SIGTERM, SIGINT   no new connection; ``app.state.closing`` is set, so that whoever waits is answered now; every
                      request that was accepted is answered
    + drain_s         who still waits gets 503 and is cut off, and the exit code is 1 instead of 0
    SIGINT again      at once

A request counts as accepted from its connection on: a client that has connected and is about to send has a second
for it. Only connections that have had an answer already are closed while they are idle, as any server may do at any
time. One process serves everything: what takes long is done by workers.

uvicorn's own logs of requests are off, ``access_log`` has them. Its signal handling is ours, because it would raise a
signal again after it has obeyed it, and the exit code would not be 0.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

import uvicorn
from fastapi import FastAPI

from orchestrator.errors import CannotListen, CutOff, InvalidSetting, Unprotected
from orchestrator.runtime.app import bootstrap
from orchestrator.runtime.flower import is_loopback
from orchestrator.settings import Settings
from orchestrator.web.app import make_web_app
from orchestrator.web.log_lines import log_as_lines

log = logging.getLogger(__name__)

_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)
NEWCOMERS_S: Final = 1.0
_KEEP_ALIVE_S: Final = 600  # Google's client fails if it finds that its connection was closed while it was idle
_GOODBYE_S: Final = 1  # for what was cut off to say so
_LOOK_S: Final = 0.01
_GARBAGE_AFTER: Final = 10_000  # new objects: a look for those that refer to each other and are of no use


def run_api(settings: Settings, *, host: str, port: int, authenticate: bool) -> None:
    """Serve until the process is told to end.

    Args:
        settings: with a broker.
        host: where it listens; other than the loopback only if callers must be known.
        port: where it listens; 0 is any that is free, and the log says which.
        authenticate: whether callers must be known.

    Raises:
        Unprotected: everybody could come in from elsewhere.
        InvalidSetting: no broker is configured.
        CannotListen: the address is taken, or none of this machine.
        SchemaOutdated, Unreachable: the database is not ready for this code.
        CutOff: it has ended without an answer to everybody.
    """
    if not authenticate and not is_loopback(host):
        raise Unprotected(host)
    if settings.is_embedded:
        expected = "the broker that your workers read; `orchestrator up` starts everything on this machine"
        raise InvalidSetting("ORCHESTRATOR_BROKER_URL", "nothing", expected)
    log_as_lines()
    with bound(host, port) as listener:
        runtime = bootstrap(settings, raises=True)
        try:
            runtime.database.make_ready()
            app = make_web_app(runtime, authenticate=authenticate)
            _collect_less_often()
            serve(app, listener, drain_s=settings.drain_s)
        finally:
            runtime.database.close()


def _collect_less_often() -> None:
    """Look for garbage less often than Python does by itself.

    A page of a list has tens of thousands of objects. To look through them at every 700th new one takes a third of the
    time of such an answer, and finds nothing. Whatever is there at the start stays, and is not looked through at all.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_GARBAGE_AFTER)


@contextmanager
def bound(host: str, port: int) -> Iterator[socket.socket]:
    """A socket with this address, which does not listen yet: a server that is not ready takes no connection.

    Raises:
        CannotListen: the address cannot be had.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, kind, protocol, _, address = min(found)  # IPv4 first: what ``localhost`` means to most clients
        with socket.socket(family, kind, protocol) as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
            yield listener
    except OSError as error:
        raise CannotListen(host, port, error.strerror or str(error)) from error


def serve(app: FastAPI, listener: socket.socket, *, drain_s: float) -> None:
    """Serve an app that has ``app.state.closing`` until the process is told to end.

    Raises:
        CutOff: somebody was not answered within ``drain_s``. Then threads of handlers may still run, and whoever ends
            the process must not wait for them: ``leave_now``.
    """
    server = ApiServer(app, drain_s=drain_s)
    host, port = listener.getsockname()[:2]
    server.run(sockets=[listener])
    log.info("server ended", extra={"url": url_of(host, port), "cut_off": server.cut_off})
    if server.cut_off:
        raise CutOff(server.cut_off, drain_s)


def url_of(host: str, port: int) -> str:
    """The base URL of a server at this address."""
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def leave_now(code: int) -> None:
    """End the process without waiting for its threads."""
    logging.shutdown()
    sys.stderr.flush()
    os._exit(code)


class ApiServer(uvicorn.Server):
    """uvicorn, but for its end.

    Attributes:
        cut_off: how many connections had no complete answer when it ended.
    """

    def __init__(self, app: FastAPI, *, drain_s: float, **options: Any) -> None:
        config = uvicorn.Config(
            app,
            ws="none",
            http="h11",  # whatever else is installed: limits and the end are tested with it
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_keep_alive=_KEEP_ALIVE_S,
            timeout_graceful_shutdown=_GOODBYE_S,
            **options,
        )
        super().__init__(config)
        logging.getLogger("uvicorn.access").disabled = True  # it has URLs, and keys in them; ``access_log`` has not
        self.cut_off = 0
        self._drain_s = drain_s
        self._closing: asyncio.Event = app.state.closing

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to listen."""
        await super().startup(sockets)
        for server in self.servers:
            for each in server.sockets:
                host, port = each.getsockname()[:2]
                log.info("server listens", extra={"url": url_of(host, port)})

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Answer whoever has been accepted, and end."""
        log.info("server ends", extra={"requests": len(self.server_state.tasks)})
        await asyncio.sleep(0)  # accepts whoever has knocked
        for server in self.servers:
            server.close()
        self._closing.set()
        await self._while(self._has_newcomers, NEWCOMERS_S)  # uvicorn would hang up on them
        for connection in list(self.server_state.connections):
            connection.shutdown()
        await self._while(lambda: bool(self.server_state.connections), self._drain_s)
        self.cut_off = len(self.server_state.connections)
        for task in self.server_state.tasks:
            task.cancel()  # ``Unhandled`` answers
        await super().shutdown(sockets)

    async def _while(self, is_so: Callable[[], bool], limit_s: float) -> None:
        deadline = time.monotonic() + limit_s
        while is_so() and time.monotonic() < deadline and not self.force_exit:
            await asyncio.sleep(_LOOK_S)

    def _has_newcomers(self) -> bool:
        """Whether somebody has connected and not asked yet."""
        return any(getattr(each, "cycle", self) is None for each in self.server_state.connections)

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """As uvicorn's, but that no signal is raised again at the end."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.signal(number, self.handle_exit) for number in _SIGNALS}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
