"""Server-sent events, read from a socket as a browser's EventSource does."""

from __future__ import annotations

import http.client
import json
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

LIMIT_S = 60.0


@dataclass(frozen=True)
class Event:
    kind: str
    id: str
    data: Any


class Stream:
    """What comes over one connection."""

    def __init__(self, answer: http.client.HTTPResponse) -> None:
        self.answer, self.status = answer, answer.status

    def __iter__(self):
        fields: dict[str, str] = {}
        for line in map(bytes.decode, self.answer):
            name, _, content = line.rstrip("\n").partition(": ")
            if name:
                fields[name] = content
            elif "data" in fields:
                yield Event(fields["event"], fields.get("id", ""), json.loads(fields["data"]))
                fields = {}

    def until(self, is_wanted) -> list[Event]:
        """What comes up to the first event that is wanted."""
        found = []
        for event in self:
            found.append(event)
            if is_wanted(event):
                return found
        raise AssertionError(f"the stream ended before: {found}")


@contextmanager
def streamed(url: str, *, last_event_id: str = ""):
    """The stream at a URL; the connection is closed at the end."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=LIMIT_S)
    headers = {"last-event-id": last_event_id} if last_event_id else {}
    connection.request("GET", parts.path, headers=headers)
    try:
        yield Stream(connection.getresponse())
    finally:
        connection.close()
