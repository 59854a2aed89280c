"""A proxy that breaks connections: it hands requests on, and loses some answers."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from urllib.parse import urlsplit

LIMIT_S = 60.0


class BreakingProxy:
    """``lose`` says how many of the next answers to POSTs are lost; ``posts`` counts the POSTs that came."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self.upstream = (parts.hostname, parts.port)
        self.lose, self.posts, self.waits_for_answer = 0, 0, True
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}"
        self._threads: list[threading.Thread] = []

    def serve(self) -> None:
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:  # it was closed
                return
            thread = threading.Thread(target=self._pass_on, args=(connection,))
            thread.start()
            self._threads.append(thread)

    def _pass_on(self, client: socket.socket) -> None:
        """One request a connection: the client opens another one for the next."""
        with closing(client), suppress(OSError):
            client.settimeout(LIMIT_S)
            request = _read(client)
            if not request:
                return
            is_lost = request.startswith(b"POST") and self.lose > 0
            self.posts += request.startswith(b"POST")
            self.lose -= is_lost
            with closing(socket.create_connection(self.upstream, timeout=LIMIT_S)) as server:
                server.sendall(_closing(request))
                if is_lost and not self.waits_for_answer:
                    return  # the server is still at it when the next copy comes
                answer = b"".join(iter(lambda: server.recv(65_536), b""))
            if not is_lost:
                client.sendall(answer)

    def close(self) -> None:
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        for each in self._threads:
            each.join()


def _read(connection: socket.socket) -> bytes:
    found = b""
    while b"\r\n\r\n" not in found:
        part = connection.recv(65_536)
        if not part:
            return b""
        found += part
    head, _, body = found.partition(b"\r\n\r\n")
    lengths = [line.split(b":")[1] for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
    missing = int(lengths[0]) - len(body) if lengths else 0
    while missing > 0:
        part = connection.recv(65_536)
        found, missing = found + part, missing - len(part)
    return found


def _closing(request: bytes) -> bytes:
    head, _, body = request.partition(b"\r\n\r\n")
    lines = [line for line in head.split(b"\r\n") if not line.lower().startswith(b"connection:")]
    return b"\r\n".join([*lines, b"connection: close"]) + b"\r\n\r\n" + body


@contextmanager
def breaking(url: str) -> Iterator[BreakingProxy]:
    """A proxy in front of a server."""
    proxy = BreakingProxy(url)
    thread = threading.Thread(target=proxy.serve)
    thread.start()
    try:
        yield proxy
    finally:
        proxy.close()
        thread.join()
