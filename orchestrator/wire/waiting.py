"""Handlers that wait for an execution: ``service.waiting`` for a request over HTTP.

A request whose client has gone is waited for no longer, nor is any when the server is told to end; that is asked once a
second.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Final

from fastapi import Request
from fastapi.concurrency import run_in_threadpool

from orchestrator.service.at_rest import is_at_rest
from orchestrator.service.services import Services
from orchestrator.service.waiting import Watch
from orchestrator.store.glances import Glance
from orchestrator.wire.asking import is_closing

_ASK_EVERY_S: Final = 1.0


async def is_to_end(request: Request) -> bool:
    """Whether a wait is to be over before its time: nobody is there any more to be answered, or the server ends."""
    return is_closing(request) or await request.is_disconnected()


async def news(request: Request, watch: Watch, seen: Glance | None, *, wait_s: float) -> Glance | None:
    """How an execution stands once that is not what was seen; what was seen if the time is up, or ``is_to_end``.

    Raises:
        ExecutionNotFound: there is none, or none any more.
    """
    time = asyncio.get_running_loop().time
    deadline = time() + wait_s
    while True:
        left_s = deadline - time()
        glance = await watch.after(seen, wait_s=min(max(left_s, 0.0), _ASK_EVERY_S))
        if glance != seen or left_s <= _ASK_EVERY_S or await is_to_end(request):
            return glance


async def until_changed(request: Request, watch: Watch, since: str | None, *, wait_s: float) -> Glance | None:
    """How an execution stands once it is over, or not as it was.

    Args:
        request: of the client that waits.
        watch: of the execution.
        since: how it was: its ``mark_of``, or its revision alone; None for as it is now.
        wait_s: after so many seconds it is as it was.

    Returns:
        How it stands; None if the database did not answer all the time.

    Raises:
        ExecutionNotFound: there is none.
    """
    time = asyncio.get_running_loop().time
    deadline = time() + wait_s
    glance = await watch.after(None, wait_s=max(wait_s, _ASK_EVERY_S))
    since = mark_of(glance) if since is None and glance is not None else since
    while glance is not None and not glance.state.is_final and since in (mark_of(glance), str(glance.revision)):
        seen, left_s = glance, deadline - time()
        glance = await news(request, watch, seen, wait_s=left_s)
        if glance == seen:
            break
    return glance


async def until_at_rest(request: Request, services: Services, execution_ids: Sequence[str], *, wait_s: float) -> None:
    """Until nothing happens to some executions by itself any more (``service.at_rest``), or the time is up.

    Raises:
        ExecutionNotFound: one is not there.
    """
    time = asyncio.get_running_loop().time
    deadline = time() + wait_s
    with ExitStack() as stack:
        for watch in [stack.enter_context(services.waiting.watch(each)) for each in execution_ids]:
            seen: Glance | None = None
            while (left_s := deadline - time()) > 0:
                glance = await news(request, watch, seen, wait_s=left_s)
                if glance is None or glance == seen:
                    return
                seen = glance
                if await run_in_threadpool(is_at_rest, watch.execution_id, glance.state, services):
                    break


def mark_of(glance: Glance) -> str:
    """A text that is another one whenever an execution stands otherwise; it begins with the revision."""
    began = "" if glance.begun_at is None else f"{glance.begun_at.timestamp():.6f}"
    return f"{glance.revision}-{glance.state}-{glance.arrived}-{began}"
