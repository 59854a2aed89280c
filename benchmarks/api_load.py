"""The clients of ``benchmarks.api``, in a process of their own: ``python -m benchmarks.api_load PLAN``, both in JSON.

They speak just enough HTTP over connections that stay open: a client library takes longer over a request than the
server does, and would be what is measured.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import statistics
import sys
import time
from collections.abc import Coroutine
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import urlsplit

READ_BYTES: Final = 2**20
WARM_UP_S: Final = 2.0  # connections, plans and statements are made for the first time then


@dataclass
class Times:
    """What one kind of request took, in milliseconds, once it is warm."""

    begun_at: float
    found: list[float] = field(default_factory=list)
    refused: int = 0

    def add(self, asked_at: float, status: int) -> None:
        if asked_at < self.begun_at:
            return
        self.found.append((time.perf_counter() - asked_at) * 1000)
        self.refused += status != 200

    def summary(self, seconds: float) -> dict[str, float]:
        cuts = statistics.quantiles(self.found, n=100, method="inclusive") if len(self.found) > 1 else [0.0] * 99
        return {
            "answered": len(self.found),
            "refused": self.refused,
            "per_second": len(self.found) / seconds,
            "p50_ms": cuts[49],
            "p95_ms": cuts[94],
            "p99_ms": cuts[98],
        }


class Connection:
    """One that stays open."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    @classmethod
    async def to(cls, url: str) -> Connection:
        place = urlsplit(url)
        return cls(*await asyncio.open_connection(place.hostname, place.port, limit=READ_BYTES))

    async def get(self, path: str) -> int:
        """The status; the body is read, and dropped."""
        self._writer.write(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nAccept: application/json\r\n\r\n".encode())
        head = (await self._reader.readuntil(b"\r\n\r\n")).lower()
        length = int(head.partition(b"content-length:")[2].partition(b"\r\n")[0])
        await self._reader.readexactly(length)
        return int(head.split(b" ", 2)[1])

    def close(self) -> None:
        self._writer.close()


async def clients(plan: dict[str, Any], times: Times) -> None:
    """So many clients, each of which asks as soon as it has an answer, or after its pause."""

    async def ask(number: int) -> None:
        connection = await Connection.to(plan["url"])
        try:
            await asyncio.sleep(plan["pause_s"] * number / plan["clients"])  # they do not pause all together
            while True:
                asked_at = time.perf_counter()
                times.add(asked_at, await connection.get(plan["get"]))
                if plan["pause_s"]:
                    await asyncio.sleep(max(0.0, asked_at + plan["pause_s"] - time.perf_counter()))
        finally:
            connection.close()

    async with asyncio.TaskGroup() as tasks:
        for number in range(plan["clients"]):
            tasks.create_task(ask(number))


async def lists(plan: dict[str, Any], times: Times) -> None:
    """So many a second, whether those before are answered or not; time counts from when one was due."""
    idle: list[Connection] = []

    async def ask(due_at: float) -> None:
        connection = idle.pop() if idle else await Connection.to(plan["url"])
        times.add(due_at, await connection.get(plan["list"]))
        idle.append(connection)

    begun_at = time.perf_counter()
    async with asyncio.TaskGroup() as tasks:
        for number in itertools.count():
            due_at = begun_at + number / plan["lists"]
            await asyncio.sleep(max(0.0, due_at - time.perf_counter()))
            tasks.create_task(ask(due_at))


async def load(plan: dict[str, Any]) -> dict[str, dict[str, float]]:
    """Everything at once; what each kind took."""
    begun_at = time.perf_counter() + WARM_UP_S
    kinds: dict[str, Times] = {"get": Times(begun_at)}
    running: list[Coroutine[Any, Any, None]] = [clients(plan, kinds["get"])]
    if plan["lists"]:
        kinds["list"] = Times(begun_at)
        running.append(lists(plan, kinds["list"]))
    with suppress(TimeoutError):
        async with asyncio.timeout(WARM_UP_S + plan["seconds"]):
            await asyncio.gather(*running)
    return {name: times.summary(plan["seconds"]) for name, times in kinds.items()}


if __name__ == "__main__":
    print(json.dumps(asyncio.run(load(json.loads(sys.argv[1])))))
