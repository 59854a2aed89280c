"""Reads that are shared: requests that want the same of the database at the same time are answered by one read.

Two hundred clients that poll one execution cost about as many reads as one client that asks again at once.

Invariant: **the read that answers a request begins after the request has come.** Whoever asks has perhaps seen a change
already, by an answer of this server or in any other way, and must see it in this answer too. So nobody is answered by
the read that is under way when they come, which may have begun before the change; they are answered by the next one. ::

    request A    -> read 1 .................. answers A
    request B, C       wait ................. -> read 2 ......... answers B and C
    request D                                        waits ...... -> read 3

Nothing is kept when a read is over: this is no cache, and no answer is older than its request. At most one read of a
kind is under way, in a thread.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

from fastapi.concurrency import run_in_threadpool

T = TypeVar("T")


@dataclass(slots=True)
class _Batch:
    """Those who are answered by one read, which has not begun. The future of one who went away is cancelled."""

    read: Callable[[], Any]
    waiters: list[asyncio.Future[Any]] = field(default_factory=list)


class SharedReads:
    """All shared reads of one event loop."""

    def __init__(self) -> None:
        self._next: Final[dict[Hashable, _Batch]] = {}
        self._tasks: Final[dict[Hashable, asyncio.Task[None]]] = {}

    @property
    def is_idle(self) -> bool:
        """Whether nothing is read, nobody waits, and nothing is kept."""
        return not self._next and not self._tasks

    async def read(self, key: Hashable, read: Callable[[], T]) -> T:
        """What ``read`` finds, or raises, in a call that begins after this one has.

        Args:
            key: whoever asks with an equal one wants the same, and may have it.
            read: blocks; it runs in a thread, for the first of those who are answered together.
        """
        batch = self._next.get(key)
        if batch is None:
            batch = self._next[key] = _Batch(read)
        answer: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        batch.waiters.append(answer)
        if key not in self._tasks:  # it begins in the next turn of the loop, with all who come in this one
            self._tasks[key] = asyncio.create_task(self._read_on(key), name="shared reads")
        return await answer

    async def _read_on(self, key: Hashable) -> None:
        """One read after the other, until nobody waits."""
        try:
            while (batch := self._next.pop(key, None)) is not None:  # whoever comes from here on waits for another
                await _answer(batch)
        finally:
            del self._tasks[key]


async def _answer(batch: _Batch) -> None:
    if all(each.done() for each in batch.waiters):
        return
    try:
        found = await run_in_threadpool(batch.read)
    except Exception as error:  # each of them is to hear of it
        for each in batch.waiters:
            if not each.done():
                each.set_exception(error)
    else:
        for each in batch.waiters:
            if not each.done():
                each.set_result(found)
