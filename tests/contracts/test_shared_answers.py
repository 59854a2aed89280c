"""Many requests at once, answered by few reads: each gets what it would have got alone, and nothing older."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter

import httpx
import pytest
from fastapi import FastAPI

from orchestrator.model.keys import ANYONE
from orchestrator.wire.google.api import google_router
from orchestrator.wire.shared_reads import SharedReads
from tests.contracts.stored import PLACE
from tests.contracts.world import World, heavy

EXECUTIONS = f"/v1/projects/{PLACE['project']}/locations/{PLACE['location']}/integrations/flow/executions"


class Watched(SharedReads):
    """Says who has asked and what was read; a read may be held up at its end, when it knows what it will say."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = 0
        self.reads: Counter[object] = Counter()
        self.has_read, self.may_end = threading.Event(), threading.Event()
        self.may_end.set()

    async def read(self, key, read):
        def watched():
            self.reads[key] += 1
            found = read()
            self.has_read.set()
            self.may_end.wait(10)
            return found

        self.asked += 1
        return await super().read(key, watched)


@pytest.fixture
def world(database, tmp_path):
    return World(database, tmp_path)


@pytest.fixture
def app(world):
    """The wire alone, in this process."""
    app = FastAPI()
    app.state.services, app.state.reads = world.services, Watched()

    @app.middleware("http")
    async def let_in(request, go_on):
        request.state.caller = ANYONE
        return await go_on(request)

    app.include_router(google_router())
    return app


async def ask(app, *paths):
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
        answers = await asyncio.gather(*(client.get(path) for path in paths))
    return [(each.status_code, each.text) for each in answers]


def test_each_of_many_gets_what_it_would_have_got_alone(app, world):
    world.submit(heavy(1))
    one = f"{EXECUTIONS}/{world.id}"
    paths = [
        one,
        f"{one}?fields=name",
        f"{one}?fields=executionDetails/state",
        f"{EXECUTIONS}/nothing",
        EXECUTIONS,
        f"{EXECUTIONS}?fields=executions/name",
        f"{EXECUTIONS}?readMask=triggerId",
        f"{EXECUTIONS}?filter=nonsense",
        EXECUTIONS.replace("/flow/", "/other/"),
        one.replace("/flow/", "/other/"),
    ]
    alone = [asyncio.run(ask(app, each))[0] for each in paths]
    app.state.reads = reads = Watched()

    together = asyncio.run(ask(app, *paths * 20))

    assert together == alone * 20
    assert len(set(alone)) >= len(paths) - 1, "they are different, but for two that find nothing"
    assert len(reads.reads) == len(paths)
    assert sum(reads.reads.values()) < len(paths) * 20
    assert reads.is_idle


def test_who_has_seen_a_change_is_not_answered_by_a_read_that_has_not(app, world):
    world.submit(heavy(1))
    path, reads = f"{EXECUTIONS}?fields=executions/name", app.state.reads

    async def run():
        reads.may_end.clear()
        before = asyncio.create_task(ask(app, path))
        await asyncio.to_thread(reads.has_read.wait, 10)
        await asyncio.to_thread(world.submit, heavy(1))
        after = asyncio.create_task(ask(app, path))
        while reads.asked < 2:
            await asyncio.sleep(0)
        reads.may_end.set()
        return *await before, *await after

    (_, before), (_, after) = asyncio.run(run())

    assert world.id not in before
    assert world.id in after
