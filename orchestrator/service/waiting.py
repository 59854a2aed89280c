"""Waiting for executions: many waiters, one look at the database for all of them, and no thread for any.

There is one ``Waiting`` a process. A coroutine that waits says what it has seen, and goes on once a look finds
something else. Looks are made by one task, one at a time, from a thread: each is one query for all executions that are
due for one. How often an execution is looked at depends on it alone: 10 ms after somebody begins to wait for it or it
has changed, and less and less often down to four times a second while nothing happens. Two hundred waiters of one
execution cost as much as one; two hundred executions of which nothing is heard are looked at together, some eight times
a second.

A database that does not answer is waited for: nobody learns more by failing, and each waiter has a deadline of its own.
Callers of the Python API, which have a thread to themselves, look for themselves (``client.looking``).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar, cast

from orchestrator.errors import ExecutionNotFound, Unreachable
from orchestrator.store.glances import Glance

log = logging.getLogger(__name__)

T = TypeVar("T")

FIRST_PAUSE_S: Final = 0.01
LONGEST_PAUSE_S: Final = 0.25
_LONGER: Final = 1.2  # each pause than the one before


@dataclass(slots=True, eq=False)
class _Watched:
    """An execution that somebody waits for. Times are the event loop's."""

    due_at: float
    pause_s: float = FIRST_PAUSE_S
    watchers: int = 0
    looked_at: float = -1.0  # when the last look began
    glance: Glance | None = None  # None: there is no such execution
    error: Exception | None = None
    looked: asyncio.Event = field(default_factory=asyncio.Event)  # set by the next look

    def take(self, glance: Glance | None, error: Exception | None, *, began: float, now: float) -> None:
        self.pause_s = FIRST_PAUSE_S if glance != self.glance else min(self.pause_s * _LONGER, LONGEST_PAUSE_S)
        self.glance, self.error, self.looked_at, self.due_at = glance, error, began, now + self.pause_s
        self.wake()

    def wake(self) -> None:
        self.looked.set()
        self.looked = asyncio.Event()


class Watch:
    """One waiter's look at one execution."""

    def __init__(self, execution_id: str, watched: _Watched) -> None:
        self.execution_id, self._watched = execution_id, watched
        self._since = asyncio.get_running_loop().time()

    async def after(self, seen: Glance | None, *, wait_s: float) -> Glance | None:
        """How the execution stands once that is not what was seen.

        Args:
            seen: what is known; None for nothing: then the first look answers.
            wait_s: after so many seconds ``seen`` is the answer.

        Raises:
            ExecutionNotFound: there is none, or none any more.
        """
        with suppress(TimeoutError):
            async with asyncio.timeout(wait_s):
                while not self._is_news(seen):
                    await self._watched.looked.wait()
                return self._watched.glance
        return seen

    def _is_news(self, seen: Glance | None) -> bool:
        watched = self._watched
        if watched.looked_at < self._since:  # an older look may be older than what was seen
            return False
        if watched.error is not None:
            raise watched.error
        if watched.glance is None:
            raise ExecutionNotFound(self.execution_id)
        return watched.glance != seen


class Waiting:
    """All that waits in this process. ``look`` blocks: it glances at executions, and leaves out what is not there."""

    def __init__(self, look: Callable[[Sequence[str]], Mapping[str, Glance]]) -> None:
        self._look = look
        self._watched: dict[str, _Watched] = {}
        self._reads: dict[Hashable, asyncio.Task[Any]] = {}
        self._changed = asyncio.Event()  # in what is watched
        self._looking: asyncio.Task[None] | None = None

    @property
    def waiters(self) -> int:
        """How many wait."""
        return sum(each.watchers for each in self._watched.values())

    @contextmanager
    def watch(self, execution_id: str) -> Iterator[Watch]:
        """Be one of those who wait for an execution, in a coroutine; looks go on for as long as this does."""
        now = asyncio.get_running_loop().time()
        watched = self._watched.setdefault(execution_id, _Watched(due_at=now))
        watched.watchers += 1
        watched.due_at = now
        self._changed.set()
        if self._looking is None or self._looking.done():
            self._looking = asyncio.get_running_loop().create_task(self._look_on(), name="waiting")
        try:
            yield Watch(execution_id, watched)
        finally:
            watched.watchers -= 1
            if not watched.watchers:
                del self._watched[execution_id]
                self._changed.set()

    async def shared(self, key: Hashable, read: Callable[[], T]) -> T:
        """What ``read`` finds, which blocks; read once for all who ask for the same at the same time."""
        if key not in self._reads:
            reading = asyncio.get_running_loop().create_task(asyncio.to_thread(read))
            reading.add_done_callback(lambda _: self._reads.pop(key, None))
            self._reads[key] = reading
        return cast("T", await asyncio.shield(self._reads[key]))

    async def _look_on(self) -> None:
        """Until nobody waits any more."""
        time = asyncio.get_running_loop().time
        self._changed = asyncio.Event()  # of this event loop
        while self._watched:
            due = [each for each in self._watched.items() if each[1].due_at - time() <= each[1].pause_s / 2]
            if due and min(each.due_at for _, each in due) <= time():
                await self._look_at(dict(due))
                continue
            first = min(each.due_at for each in self._watched.values())
            self._changed.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout_at(first):
                    await self._changed.wait()

    async def _look_at(self, due: Mapping[str, _Watched]) -> None:
        time = asyncio.get_running_loop().time
        found: Mapping[str, Glance] = {}
        error, began = None, time()
        try:
            found = await asyncio.to_thread(self._look, [*due])
        except Unreachable as away:
            log.warning("waiting: %s", away)
            for each in due.values():
                each.due_at = time() + LONGEST_PAUSE_S
            return
        except Exception as failure:  # each waiter is to hear of it, or would wait in vain
            error = failure
        for execution_id, each in due.items():
            each.take(found.get(execution_id), error, began=began, now=time())
