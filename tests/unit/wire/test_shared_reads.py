"""Shared reads: one for many, and never one that may be older than the request that it answers."""

from __future__ import annotations

import asyncio
from concurrent.futures import Future

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.wire.shared_reads import SharedReads


class Source:
    """What is read: a number that grows. Each read takes it when it begins, and ends when it is told to."""

    def __init__(self) -> None:
        self.now = 0
        self.begun: list[int] = []
        self._ends: list[Future[None]] = []
        self._ended = 0

    def read(self) -> int:
        end: Future[None] = Future()
        self.begun.append(self.now)
        found = self.begun[-1]
        self._ends.append(end)
        end.result(10)
        return found

    @property
    def is_read(self) -> bool:
        return len(self._ends) > self._ended

    async def has_begun(self) -> None:
        while not self.is_read:
            await asyncio.sleep(0)

    async def end(self, error: Exception | None = None) -> None:
        """Have the next read end, once it has begun."""
        await self.has_begun()
        if error is None:
            self._ends[self._ended].set_result(None)
        else:
            self._ends[self._ended].set_exception(error)
        self._ended += 1


def ask(reads: SharedReads, source: Source, key: str = "key") -> asyncio.Task[int]:
    return asyncio.create_task(reads.read(key, source.read))


async def turn() -> None:
    """Everything that is ready goes on."""
    for _ in range(5):
        await asyncio.sleep(0)


def test_who_comes_while_a_read_is_under_way_is_answered_by_the_next_one_and_all_of_them_by_one():
    async def run() -> None:
        reads, source = SharedReads(), Source()
        first = ask(reads, source)
        await source.has_begun()
        source.now = 1  # as everybody knows who asks from here on
        late = [ask(reads, source) for _ in range(200)]
        await turn()
        await source.end()
        await source.end()

        assert await first == 0
        assert await asyncio.gather(*late) == [1] * 200
        assert source.begun == [0, 1]
        assert reads.is_idle

    asyncio.run(run())


def test_who_comes_at_once_shares_the_first_read():
    async def run() -> None:
        reads, source = SharedReads(), Source()
        asked = [ask(reads, source) for _ in range(200)]
        await turn()
        await source.end()

        assert await asyncio.gather(*asked) == [0] * 200
        assert source.begun == [0]

    asyncio.run(run())


def test_other_keys_are_read_at_the_same_time():
    async def run() -> None:
        reads, one, other = SharedReads(), Source(), Source()
        waits, comes = ask(reads, one, "one"), ask(reads, other, "other")
        await one.has_begun()
        await other.end()
        assert await comes == 0
        assert not waits.done()
        await one.end()
        assert await waits == 0

    asyncio.run(run())


def test_an_error_is_everybodys_who_waits_for_the_same_read_and_nobody_elses():
    async def run() -> None:
        reads, source = SharedReads(), Source()
        failing = [ask(reads, source) for _ in range(3)]
        await source.has_begun()
        after = ask(reads, source)
        await turn()
        await source.end(LookupError("gone"))
        await source.end()

        found = await asyncio.gather(*failing, return_exceptions=True)
        assert [repr(each) for each in found] == ["LookupError('gone')"] * 3
        assert await after == 0
        assert reads.is_idle

    asyncio.run(run())


def test_who_goes_away_harms_nobody_and_nothing_is_read_for_nobody():
    async def run() -> None:
        reads, source = SharedReads(), Source()
        first, goes = ask(reads, source), ask(reads, source)
        await source.has_begun()
        nobody = ask(reads, source)
        await turn()
        goes.cancel()
        nobody.cancel()
        await source.end()

        assert await first == 0
        for each in (goes, nobody):
            with pytest.raises(asyncio.CancelledError):
                await each
        await turn()
        assert source.begun == [0]
        assert reads.is_idle

    asyncio.run(run())


STEPS = st.lists(st.sampled_from(["ask", "ask other", "change", "turn", "end", "go away"]), max_size=40)


async def end_all(sources: dict[str, Source]) -> None:
    for each in sources.values():
        if each.is_read:
            await each.end()


@given(STEPS)
def test_no_answer_is_older_than_its_request_and_no_read_is_one_too_many(steps):
    async def run() -> None:
        reads, sources = SharedReads(), {"one": Source(), "other": Source()}
        asked: list[tuple[asyncio.Task[int], int]] = []
        for step in steps:
            match step:
                case "ask" | "ask other":
                    key = "one" if step == "ask" else "other"
                    asked.append((ask(reads, sources[key], key), sources[key].now))
                    await asyncio.sleep(0)  # the request has come
                case "change":
                    for each in sources.values():
                        each.now += 1
                case "turn":
                    await turn()
                case "end":
                    await end_all(sources)
                    await turn()
                case "go away" if asked:
                    asked.pop()[0].cancel()
        while not reads.is_idle:
            await end_all(sources)
            await asyncio.sleep(0)

        for answer, known in asked:
            assert await answer >= known
        assert sum(len(each.begun) for each in sources.values()) <= sum(step.startswith("ask") for step in steps)

    asyncio.run(run())
