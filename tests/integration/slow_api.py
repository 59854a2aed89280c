"""A small app behind our server, whose requests last until the test wants: ``python -m ... PORT DRAIN_S FOLDER``.

Each request says that it has begun by a line in the pipe ``begun`` of the folder. Ends as ``orchestrator api`` does.
"""

import asyncio
import sys
from collections.abc import AsyncIterator
from pathlib import Path

from fastapi import FastAPI, Request
from fastapi.responses import StreamingResponse
from starlette.middleware import Middleware

from orchestrator.errors import CutOff
from orchestrator.web import server
from orchestrator.web.access_log import AccessLog
from orchestrator.web.log_lines import log_as_lines
from orchestrator.web.request_ids import RequestIds
from orchestrator.web.server import bound, leave_now, serve
from orchestrator.web.unhandled import Unhandled
from orchestrator.wire.asking import closes_within, is_closing

FOLDER = Path(sys.argv[3])
app = FastAPI(middleware=[Middleware(RequestIds), Middleware(AccessLog), Middleware(Unhandled)])
app.state.closing = asyncio.Event()


def begin() -> None:
    with (FOLDER / "begun").open("w") as pipe:
        pipe.write("begun\n")


@app.get("/thread")
def thread() -> dict[str, str]:
    """In a thread, until somebody writes into the pipe ``release``."""
    begin()
    with (FOLDER / "release").open() as pipe:
        return {"released": pipe.readline()}


@app.get("/poll")
async def poll(request: Request) -> dict[str, bool]:
    begin()
    while not await closes_within(request, 0.05):
        pass
    return {"closing": is_closing(request)}


@app.get("/stream")
async def stream(request: Request) -> StreamingResponse:
    async def lines() -> AsyncIterator[str]:
        yield "first\n"
        begin()
        await closes_within(request, 600)
        yield "last\n"

    return StreamingResponse(lines(), media_type="text/plain")


@app.get("/never")
async def never() -> None:
    begin()
    await asyncio.Event().wait()


@app.get("/fail")
def fail() -> None:
    raise RuntimeError("the reason")


@app.get("/quick")
def quick() -> str:
    return "quick"


if __name__ == "__main__":
    log_as_lines()
    server.NEWCOMERS_S = 60.0  # a busy machine may take more than a second from the signal to the test's next step
    try:
        with bound("127.0.0.1", int(sys.argv[1])) as listener:
            serve(app, listener, drain_s=float(sys.argv[2]))
    except CutOff:
        leave_now(1)
