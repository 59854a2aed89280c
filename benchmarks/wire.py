"""What is really published, seen at a private Redis: every message of every process, tasks and events alike.

Redis tells it itself (MONITOR), which slows it down: nothing is timed meanwhile.
"""

from __future__ import annotations

import json
import re
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import redis

CATCH_UP_LIMIT_S: Final = 60.0
_PAUSE_S: Final = 0.01
_COMMAND: Final = re.compile(rb'\+[0-9.]+ \[(\d+) [^]]*\] "(\w+)"(.*)')
_ARGUMENT: Final = re.compile(rb'"((?:[^"\\]|\\.)*)"')
_PUBLISHING: Final = {b"LPUSH", b"RPUSH", b"PUBLISH"}
_ESCAPE: Final = re.compile(rb"\\(x..|.)")  # as Redis's sdscatrepr writes it
_CHARACTERS: Final = {b"n": b"\n", b"r": b"\r", b"t": b"\t", b"a": b"\a", b"b": b"\b", b"\\": b"\\", b'"': b'"'}


@dataclass(frozen=True)
class Published:
    """One message as the broker got it. ``task`` is the Celery task's name, None for an event."""

    task: str | None
    size_bytes: int


@contextmanager
def monitored(path: Path, number: int, note: Callable[[Published], object]) -> Iterator[Callable[[], None]]:
    """Have every message noted that is published in a database of the Redis at this socket, while the block lasts.

    Yields:
        What returns when everything that was published before has been noted.
    """
    with socket.socket(socket.AF_UNIX) as monitor, closing(redis.Redis(unix_socket_path=str(path))) as client:
        monitor.connect(str(path))
        monitor.sendall(b"MONITOR\r\n")
        lines = monitor.makefile("rb")
        assert lines.readline() == b"+OK\r\n", "Redis tells what it does"
        marks: set[bytes] = set()
        thread = threading.Thread(target=_listen, args=(lines, str(number).encode(), note, marks))
        thread.start()

        def catch_up() -> None:
            """What came before this mark has been noted when the mark has been read."""
            mark, deadline = uuid.uuid4().hex, time.monotonic() + CATCH_UP_LIMIT_S
            client.echo(mark)
            while mark.encode() not in marks:
                assert thread.is_alive(), "what Redis tells can be read"
                assert time.monotonic() < deadline, "what Redis tells is read in time"
                time.sleep(_PAUSE_S)

        try:
            yield catch_up
        finally:
            monitor.shutdown(socket.SHUT_RDWR)
            thread.join()
            lines.close()


def _listen(lines: Iterable[bytes], number: bytes, note: Callable[[Published], object], marks: set[bytes]) -> None:
    for line in lines:
        found = _COMMAND.match(line)
        if found is None:
            continue
        database, command, rest = found.groups()
        if command.upper() == b"ECHO":
            marks.add(_ARGUMENT.findall(rest)[0])
        elif database == number and command.upper() in _PUBLISHING:
            for argument in _ARGUMENT.findall(rest)[1:]:  # where to, and then what: one message, or several
                content = _unescaped(argument)
                note(Published(json.loads(content)["headers"].get("task"), len(content)))


def _unescaped(text: bytes) -> bytes:
    return _ESCAPE.sub(lambda escape: _CHARACTERS.get(escape[1]) or bytes.fromhex(escape[1][1:].decode()), text)
