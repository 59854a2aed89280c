"""One request to an app, without a socket."""

from __future__ import annotations

import asyncio

import httpx
from starlette.types import ASGIApp


def ask(app: ASGIApp, method: str, path: str, **more) -> httpx.Response:
    """What the app answers; ``path`` is sent as it is written, encoded or not."""

    async def send() -> httpx.Response:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://x") as client:
            return await client.request(method, path, **more)

    return asyncio.run(send())
