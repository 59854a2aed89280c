"""Long polling: ``GET .../executions/ID?wait=SECONDS&revision=MARK`` answers once the execution has changed.

It is answered at once if the execution is over, or is not as it was at ``revision``, which is the ``ETag`` of an answer
before; the ``id`` of a watched change will do as well. Without ``revision`` the wait is for the next change. After
``wait`` seconds, 60 at most, the answer is the unchanged document. docs/watching.md.
"""

from __future__ import annotations

from typing import Annotated, Final

from fastapi import Depends, Query, Request

from orchestrator.wire.asking import Asked
from orchestrator.wire.google.names import OfExecution
from orchestrator.wire.waiting import mark_of, until_changed

MAX_WAIT_S: Final = 60.0


async def long_poll(
    *,
    request: Request,
    name: OfExecution,
    services: Asked,
    wait: Annotated[float | None, Query(ge=0, le=MAX_WAIT_S)] = None,
    revision: Annotated[str | None, Query(max_length=100)] = None,
) -> dict[str, str]:
    """With ``wait`` in the query, the handler that depends on this is called once the execution has changed.

    Returns:
        The headers of the answer: an ``ETag``, which is never newer than the document that is read after it. The next
        request has it as its ``revision``.
    """
    if wait is None:
        return {}
    with services.waiting.watch(name.execution) as watch:
        since = None if revision is None else revision.removeprefix("W/").strip('"')
        glance = await until_changed(request, watch, since, wait_s=wait)
    return {} if glance is None else {"etag": f'"{mark_of(glance)}"'}


Polled = Annotated[dict[str, str], Depends(long_poll)]
"""How a handler says that it can be asked to wait; it gets the headers of its answer."""
POLL: Final = ("wait", "revision")  # of the query
