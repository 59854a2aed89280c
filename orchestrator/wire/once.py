"""Handlers that a repeated request must not run twice: ``service.repeats`` for a request over HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Final

from fastapi import Request
from fastapi.concurrency import run_in_threadpool

from orchestrator.model.json_text import Json
from orchestrator.model.keys import Caller
from orchestrator.service.repeats import digest_of, do_once
from orchestrator.service.services import Services

_PAUSE_S: Final = (0.02, 0.5)  # the first pause between two looks for the other copy's answer, and the longest


async def once(
    request: Request, services: Services, caller: Caller, act: Callable[[str], Mapping[str, Json]]
) -> dict[str, Json]:
    """Act on a request; if the same caller sends the same one again within a minute, answer as then.

    Args:
        request: its method, path, query and body are what is compared.
        services: the stores.
        caller: who asks.
        act: what to do, in a thread; it gets an id that is the same for all copies of the request, and gives the answer
            to be sent. What it raises is not kept.
    """
    path, query = request.scope.get("raw_path") or request.url.path, request.scope.get("query_string", b"")
    digest = digest_of(caller.actor, request.method, path, query, await request.body())
    pause_s = _PAUSE_S[0]
    while (answer := await run_in_threadpool(do_once, digest, act, services)) is None:
        await asyncio.sleep(pause_s)
        pause_s = min(2 * pause_s, _PAUSE_S[1])
    return dict(answer)
