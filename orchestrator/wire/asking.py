"""What every handler of every wire needs of its request: the services, and who asks.

``web`` puts both there: ``app.state.services`` when the server starts, ``request.state.caller`` once it knows the key.

A handler that waits long must not hold up a server that is told to end. ``app.state.closing`` is an ``asyncio.Event``
that the server sets as soon as it takes no new connection; what waits or streams then ends with what it has. A handler
asks ``is_closing(request)`` (in any thread), and pauses with ``await closes_within(request, seconds)``.

A handler whose answer many may want at the same time reads through ``app.state.reads`` (``shared_reads``).

What is here is ``async`` because it never waits: a plain function would go through a thread, twice a request.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Annotated

from fastapi import Depends, Request

from orchestrator.errors import NotAllowed
from orchestrator.model.keys import Caller, Scope
from orchestrator.service.services import Services
from orchestrator.wire.shared_reads import SharedReads


async def services_of(request: Request) -> Services:
    """The services of this server."""
    services: Services = request.app.state.services
    return services


async def reads_of(request: Request) -> SharedReads:
    """The reads that requests to this server share."""
    reads: SharedReads = request.app.state.reads
    return reads


def requires(scope: Scope) -> Callable[[Request], Awaitable[Caller]]:
    """What a handler depends on that only callers with this scope may use: it gives the caller.

    Raises:
        NotAllowed: when a request comes of someone who may not.
    """

    async def caller_with_scope(request: Request) -> Caller:
        caller: Caller | None = getattr(request.state, "caller", None)
        if caller is None or not caller.may(scope):
            raise NotAllowed("whoever shows no key" if caller is None else caller.actor, scope.value)
        return caller

    return caller_with_scope


def is_closing(request: Request) -> bool:
    """Whether the server is told to end, so that whoever waits is to be answered now."""
    closing: asyncio.Event = request.app.state.closing
    return closing.is_set()


async def closes_within(request: Request, pause_s: float) -> bool:
    """A pause between two looks, which is over at once if the server is told to end; whether it is."""
    closing: asyncio.Event = request.app.state.closing
    try:
        async with asyncio.timeout(pause_s):
            await closing.wait()
    except TimeoutError:
        return False
    return True


Asked = Annotated[Services, Depends(services_of)]
"""How a handler names the services among its arguments."""
Shared = Annotated[SharedReads, Depends(reads_of)]
"""Likewise, the reads that it shares with others."""
Reader = Annotated[Caller, Depends(requires(Scope.READ))]
Runner = Annotated[Caller, Depends(requires(Scope.RUN))]
Controller = Annotated[Caller, Depends(requires(Scope.CONTROL))]
Definer = Annotated[Caller, Depends(requires(Scope.DEFINE))]
