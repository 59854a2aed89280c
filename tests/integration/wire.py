"""What is really published, seen at the broker: every message of every process, tasks and events alike.

Redis tells it itself (MONITOR). In front of RabbitMQ stands a proxy that reads the AMQP frames which pass through it.
"""

from __future__ import annotations

import re
import socket
import socketserver
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from benchmarks.wire import Published, monitored
from tests.services import rabbitmq_url, redis_url


@dataclass
class Wire:
    """The broker to use, and what it was sent so far."""

    url: str
    seen: list[Published] = field(default_factory=list)
    catch_up: Callable[[], None] = lambda: None

    def messages(self) -> list[Published]:
        self.catch_up()
        return list(self.seen)


@contextmanager
def tapped(broker: str) -> Iterator[Wire]:
    """A broker of our own, "redis" or "rabbitmq", and an eye on it."""
    with _monitored_redis() if broker == "redis" else _proxied_rabbitmq() as wire:
        yield wire


# -- Redis ---------------------------------------------------------------------------------------------------------


@contextmanager
def _monitored_redis() -> Iterator[Wire]:
    wire = Wire(redis_url())
    parts = urlsplit(wire.url)
    number = int(parse_qs(parts.query)["virtual_host"][0])
    with monitored(Path(parts.path), number, wire.seen.append) as wire.catch_up:
        yield wire


# -- RabbitMQ ------------------------------------------------------------------------------------------------------

_METHOD, _HEADER, _BODY = 1, 2, 3
_PUBLISH = struct.pack("!HH", 60, 40)
_TASK_HEADER = re.compile(rb"\x04taskS(.{4})", re.DOTALL)


@contextmanager
def _proxied_rabbitmq() -> Iterator[Wire]:
    url = rabbitmq_url()
    parts = urlsplit(url)
    address = (parts.hostname, parts.port or 5672)
    wire = Wire(url)

    opened: list[socket.socket] = []

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            with socket.create_connection(address) as broker:
                opened.append(broker)
                back = threading.Thread(target=_copy, args=(broker, self.request, lambda _: None))
                back.start()
                _copy(self.request, broker, _Frames(wire.seen).read)
                back.join()

    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = False  # closing the server waits for the connections

    with Server(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,)).start()
        user = parts.netloc.rpartition("@")[0]
        wire.url = parts._replace(netloc=f"{user}@127.0.0.1:{server.server_address[1]}").geturl()
        try:
            yield wire
        finally:
            server.shutdown()
            for each in opened:  # of clients that keep theirs in a pool
                with suppress(OSError):
                    each.shutdown(socket.SHUT_RDWR)


def _copy(source: socket.socket, target: socket.socket, look: Callable[[bytes], None]) -> None:
    with suppress(OSError):
        while chunk := source.recv(65536):
            look(chunk)
            target.sendall(chunk)
    for each in (source, target):
        with suppress(OSError):
            each.shutdown(socket.SHUT_RDWR)


class _Frames:
    """Reads what a client sends: adds up the frames of each published message."""

    def __init__(self, seen: list[Published]) -> None:
        self._seen = seen
        self._buffer = b""
        self._skip = len(b"AMQP\0\0\x09\x01")
        self._open: dict[int, list[bytes]] = {}  # by channel

    def read(self, chunk: bytes) -> None:
        self._buffer += chunk
        if self._skip and len(self._buffer) >= self._skip:
            self._buffer, self._skip = self._buffer[self._skip :], 0
        while not self._skip and len(self._buffer) >= 7:
            kind, channel, size = struct.unpack("!BHI", self._buffer[:7])
            if len(self._buffer) < size + 8:
                return
            frame, self._buffer = self._buffer[: size + 8], self._buffer[size + 8 :]
            self._add(kind, channel, frame)

    def _add(self, kind: int, channel: int, frame: bytes) -> None:
        if kind == _METHOD and frame[7:11] == _PUBLISH:
            self._open[channel] = [frame]
        elif kind in (_HEADER, _BODY) and channel in self._open:
            self._open[channel].append(frame)
            frames = self._open[channel]
            body_bytes = struct.unpack("!Q", frames[1][11:19])[0]
            if sum(len(each) - 8 for each in frames[2:]) >= body_bytes:
                self._seen.append(Published(_task_of(frames[1]), sum(map(len, frames))))
                del self._open[channel]


def _task_of(header: bytes) -> str | None:
    found = _TASK_HEADER.search(header)
    if found is None:
        return None
    return header[found.end() : found.end() + struct.unpack("!I", found[1])[0]].decode()
