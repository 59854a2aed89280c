"""Making sure that what a path names is there, before anything is done to it."""

from __future__ import annotations

from typing import Final

from fastapi.concurrency import run_in_threadpool

from orchestrator.service.looking import Depth
from orchestrator.service.services import Services
from orchestrator.wire.google.executions import find
from orchestrator.wire.google.names import ExecutionName

_ROW: Final = Depth(with_history=False, with_snapshots=False, with_parameters=False, with_children=False)


def check_known(name: ExecutionName, services: Services) -> None:
    """Go on only if there is an execution of this name.

    Raises:
        ExecutionNotFound: there is none.
    """
    find(name, services, depth=_ROW)


async def known(name: ExecutionName, services: Services) -> str:
    """The id of the execution of this name, for handlers that must not block.

    Raises:
        ExecutionNotFound: there is none.
    """
    await run_in_threadpool(check_known, name, services)
    return name.execution
