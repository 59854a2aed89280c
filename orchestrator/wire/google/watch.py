"""Being told of an execution instead of asking again and again; the API has nothing of the kind. docs/watching.md.

``GET .../executions/ID:watch`` streams server-sent events:

    event: change      one entry of the history; its ``id`` is the entry's revision
    event: standing    how the execution stands now: its state, and what runs; it has no ``id``
    event: end         the execution is over, and so is the stream

A client that reconnects with ``Last-Event-ID`` gets every change once, because changes are read from the history by
their numbers. One that comes back after the end is answered 204, which tells an ``EventSource`` to stop.

``polling`` is for clients that want one answer at a time.

Decisions:

- Parameters are no part of an event: they may be large, and ``executions.get`` has them.
- A sub-execution has a stream of its own. Here is told that some began, how many are over, and what came of them.
- A stream whose execution was deleted, or whose database is away, ends without ``end``. The client comes again, and is
  answered by an error if that is still so.
- Whatever many watchers of one execution read at the same moment is read once (``service.waiting``).
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import suppress
from functools import partial
from typing import Annotated, Final

from fastapi import APIRouter, Header, Request, Response
from fastapi.responses import StreamingResponse

from orchestrator.errors import ExecutionNotFound, InvalidValue, Unreachable
from orchestrator.model.history import Entry
from orchestrator.model.json_text import Json, shown, to_json_text
from orchestrator.service.services import Services
from orchestrator.service.watching import News, read_news
from orchestrator.store.glances import Glance
from orchestrator.store.rows import LiveAttempt
from orchestrator.wire.asking import Asked, Reader
from orchestrator.wire.google.envelope import GoogleRoute
from orchestrator.wire.google.fields import timestamp
from orchestrator.wire.google.known import known
from orchestrator.wire.google.names import OfExecution
from orchestrator.wire.google.queries import NO_QUERY
from orchestrator.wire.waiting import is_to_end, news

router = APIRouter(route_class=GoogleRoute)

HEARTBEAT_S: Final = 15.0  # proxies close what is silent for longer, often after 30 s
_END: Final = "-end"
_HEADERS: Final = {"cache-control": "no-store", "x-accel-buffering": "no"}  # a proxy is to hand on each event at once


# -- streaming -----------------------------------------------------------------------------------------------------


@router.get(
    "/v1/projects/{project}/locations/{location}/integrations/{integration}/executions/{execution}:watch",
    dependencies=[NO_QUERY],
)
async def watch_execution(
    *,
    request: Request,
    name: OfExecution,
    services: Asked,
    caller: Reader,  # noqa: ARG001 - that they may read
    last_event_id: Annotated[str, Header()] = "",
) -> Response:
    """What happens to an execution, as it happens, until it is over."""
    after, execution_id = _parse_id(last_event_id), await known(name, services)
    if last_event_id.strip().endswith(_END):
        return Response(status_code=204)
    events = _events(request, execution_id, services, after=after)
    return StreamingResponse(events, media_type="text/event-stream", headers=_HEADERS)


def _parse_id(found: str) -> int:
    number = found.strip().removesuffix(_END)
    if number and not (number.isascii() and number.isdecimal() and len(number) < 10):
        raise InvalidValue("Last-Event-ID", shown(found), "the id of an event of this stream, or none")
    return int(number or 0)


async def _events(request: Request, execution_id: str, services: Services, *, after: int) -> AsyncIterator[str]:
    with services.waiting.watch(execution_id) as watch, suppress(ExecutionNotFound, Unreachable):
        seen: Glance | None = None
        while True:
            glance = await news(request, watch, seen, wait_s=HEARTBEAT_S)
            if glance is None or await is_to_end(request):
                return
            if glance == seen:
                yield ": still here\n\n"
                continue
            seen = glance
            read = partial(read_news, execution_id, services, after=after)
            found = await services.waiting.shared((execution_id, after, glance), read)
            for number, entry in enumerate(found.entries, found.revision - len(found.entries) + 1):
                yield _event("change", _to_change(number, entry), event_id=str(number))
            after = found.revision
            yield _event("standing", _to_standing(found, glance))
            if found.stored.state.is_final:
                yield _event("end", _to_end(found), event_id=f"{after}{_END}")
                return


def _event(kind: str, data: dict[str, Json], *, event_id: str = "") -> str:
    number = f"id: {event_id}\n" if event_id else ""
    return f"event: {kind}\n{number}data: {to_json_text(data)}\n\n"  # which has no line break in it


# -- what is told --------------------------------------------------------------------------------------------------


def _to_change(number: int, entry: Entry) -> dict[str, Json]:
    document: dict[str, Json] = {
        "revision": str(number),
        "kind": entry.kind.value,
        "startTime": timestamp(entry.started_at),
        "endTime": timestamp(entry.ended_at),
        "taskExecutionDetails": [
            {"taskNumber": str(task), "taskExecutionState": state.value} for task, state in entry.states.items()
        ],
    }
    if entry.task_number:
        document |= {"taskNumber": str(entry.task_number), "taskAttempt": entry.attempt}
    if entry.actor:
        document["actor"] = entry.actor
    if entry.error is not None:
        document["error"] = {"message": entry.error.message, "code": entry.error.code}
    return document


def _to_standing(found: News, glance: Glance) -> dict[str, Json]:
    return {
        "state": found.stored.state.value,
        "revision": str(found.revision),
        "running": [_to_running(each) for each in found.running],
        "endedSubExecutions": glance.arrived,
    }


def _to_running(live: LiveAttempt) -> dict[str, Json]:
    return {
        "taskNumber": str(live.key.number),
        "taskAttempt": live.key.attempt,
        "startTime": timestamp(live.started_at),
    }


def _to_end(found: News) -> dict[str, Json]:
    stored = found.stored
    document: dict[str, Json] = {"state": stored.state.value, "endTime": timestamp(stored.ended_at)}
    if stored.error is not None:
        document["error"] = {"message": stored.error.message, "code": stored.error.code}
    return document
