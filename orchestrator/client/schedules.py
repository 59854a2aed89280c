"""The part of the Python API that is about schedules: what starts by itself, when, and how to hold it.

    with Orchestrator() as orchestrator:
        for schedule in orchestrator.schedules.list():
            print(schedule.integration, schedule.cron, schedule.time_zone, schedule.next_at)
        orchestrator.schedules.pause("nightly-report", "nightly")

There is no way to add one here: publishing an integration with a cron trigger does.
"""

from __future__ import annotations

from collections.abc import Callable

from orchestrator.service.schedules import list_schedules, pause_schedule, resume_schedule
from orchestrator.service.services import Services
from orchestrator.service.submit import Place
from orchestrator.store.schedules import Schedule


class Schedules:
    """The cron triggers of the integrations that are published in a place.

    Args:
        services: asked for when first used.
        place: project and location.
    """

    def __init__(self, services: Callable[[], Services], *, place: Place) -> None:
        self._services, self._place = services, place

    def pause(self, integration: str, trigger: str) -> Schedule:
        """Let a schedule start nothing until it is resumed. What it has started goes on.

        Raises:
            ScheduleNotFound: there is none; the message names those that are.
        """
        return pause_schedule(integration, trigger, self._services(), place=self._place)

    def resume(self, integration: str, trigger: str) -> Schedule:
        """Let a paused schedule go on with its next time; what it missed is not caught up.

        Raises:
            ScheduleNotFound: there is none; the message names those that are.
        """
        return resume_schedule(integration, trigger, self._services(), place=self._place)

    def list(self, integration: str | None = None) -> list[Schedule]:
        """The schedules, or those of one integration, by name."""
        return list_schedules(self._services(), place=self._place, integration=integration)
