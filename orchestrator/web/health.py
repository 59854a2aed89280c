"""Whether this process is alive, and whether it can do its work: ``/healthz`` and ``/readyz``.

``/healthz`` touches nothing: who restarts a process that does not answer must not do so because the database is away.
``/readyz`` asks broker, database and schema, all at the same time, for at most ``READY_LIMIT_S``, outside of the event
loop and of the threads of handlers, so that it answers however busy those are. Whoever asks meanwhile gets the same
answer: a thousand who ask make one look.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, Final

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse

from orchestrator.runtime.doctor import Check, Finding
from orchestrator.wire.asking import is_closing

READY_LIMIT_S: Final = 2.0

router = APIRouter(tags=["health"])


@router.get("/healthz")
async def healthz() -> dict[str, str]:
    """Whether the process answers: ``{"status": "alive"}``."""
    return {"status": "alive"}


@router.get("/readyz", responses={503: {"description": "Something is broken, or the server is ending."}})
async def readyz(request: Request) -> JSONResponse:
    """Whether requests can be served now, and what to do if not.

    ``{"ready": bool, "checks": {NAME: {"state": "ok" or "broken", "message": str, "remedy": str}}}``; the names are
    ``server``, ``broker``, ``database`` and ``schema``. The status is 200 if all are ok, else 503.
    """
    readiness: Readiness = request.app.state.readiness
    findings = [_server(is_closing=is_closing(request)), *await readiness.findings()]
    is_ready = all(each.ok for each in findings)
    document = {"ready": is_ready, "checks": {each.name: _to_document(each) for each in findings}}
    return JSONResponse(document, status_code=200 if is_ready else 503)


class Readiness:
    """Asks the services. One a server."""

    def __init__(self, checks: Sequence[Check]) -> None:
        self._checks = checks
        self._look: asyncio.Task[list[Finding]] | None = None

    async def findings(self) -> list[Finding]:
        """What each check finds, within the limit."""
        if self._look is None or self._look.done():
            self._look = asyncio.create_task(asyncio.to_thread(self._ask))
        return await asyncio.shield(self._look)  # whoever asked first may go away before the others have an answer

    def _ask(self) -> list[Finding]:
        for check in self._checks:
            check.begin()
        return [check.finding(READY_LIMIT_S) for check in self._checks]


def _server(*, is_closing: bool) -> Finding:
    if is_closing:
        return Finding(name="server", ok=False, message="it is ending", remedy="ask another one, or this one later")
    return Finding(name="server", ok=True, message="it takes requests")


def _to_document(finding: Finding) -> dict[str, Any]:
    state = "broken" if finding.ok is False else "ok"
    return {"state": state, "message": finding.message, "remedy": finding.remedy}
