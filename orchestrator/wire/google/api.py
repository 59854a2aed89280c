"""All routes of this wire together; each module of a resource has a router of its own."""

from __future__ import annotations

from fastapi import APIRouter

from orchestrator.wire.google import (
    batch,
    control,
    executions,
    integrations,
    runs,
    suspensions,
    trials,
    unanswered,
    versions,
    watch,
)
from orchestrator.wire.google.envelope import GoogleRoute


def google_router() -> APIRouter:
    """The routes under ``/v1``."""
    router = APIRouter(route_class=GoogleRoute)
    for each in (
        executions,  # the first, because routes are tried in their order, and these are asked for most
        batch,
        control,
        integrations,
        runs,
        suspensions,
        trials,
        versions,
        watch,
        unanswered,
    ):  # the last takes what is left
        router.routes.extend(each.router.routes)  # not included: each level of that is looked through again
    return router
