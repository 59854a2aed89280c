"""The upkeep that every worker does beside its tasks: what is due, and what a crash has left.

One thread of the main process, with connections of its own. All workers do it, and any number of them at once: what is
taken is taken by a commit that only one can win.

A timer that the last look has seen fires when it is due. One that was set since is found by the next look; it is set by
a process that runs something, so the worker that this belongs to looks nearly twice as often as one that has nothing to
do.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from celery import bootsteps
from celery.worker import state as worker_state

from orchestrator.artifacts import Artifacts
from orchestrator.engine.canvas import executor_of
from orchestrator.errors import OrchestratorError
from orchestrator.processes.sweep import sweep_folders, sweep_orphans
from orchestrator.runtime.identity import Identity, is_gone
from orchestrator.runtime.requests import obey_revokes, take_back_what_is_left
from orchestrator.service.apply import start_held
from orchestrator.service.limits import look_at_limits
from orchestrator.service.pursue import pursue_marked
from orchestrator.service.recovery import Republisher, take_over
from orchestrator.service.repeats import forget_repeats
from orchestrator.service.schedules import fire_due_schedules, next_schedule_in_s
from orchestrator.service.services import Services
from orchestrator.service.timers import fire_due_timers

log = logging.getLogger(__name__)

LOOK_EVERY_S: Final = 0.5
IDLE_LOOK_EVERY_S: Final = 0.9  # a connection that was not used for 1 s costs a round trip more (store.database)
AT_WORK_S: Final = 5.0  # since it last had a message, or ran one
RECOVER_EVERY_S: Final = 2.0
SWEEP_EVERY_S: Final = 10.0
LOST_AFTER_S: Final = 1.0
"""How long billiard waits for the result of a process that is gone. Its 10 s suit results that are nowhere else."""


@dataclass(slots=True)
class _Job:
    """Something to look after. ``look`` returns in how many seconds it has to look again, or None for as usual."""

    look: Callable[[Services], float | None]
    every_s: float
    next_at: float = 0.0  # of the monotonic clock

    def run(self, services: Services) -> None:
        pause_s = self.every_s
        try:
            wanted_s = self.look(services)
            pause_s = self.every_s if wanted_s is None else min(wanted_s, self.every_s)
        except OrchestratorError as error:
            log.warning("not looked after: %s", error, extra={"job": self.look.__name__})
        except Exception:  # the thread must outlive whatever a database driver raises
            log.exception("not looked after", extra={"job": self.look.__name__})
        self.next_at = time.monotonic() + pause_s


class _Work:
    """Whether this worker is at work, as Celery counts."""

    def __init__(self) -> None:
        self._count, self._until = 0, 0.0

    def goes_on(self) -> bool:
        """Whether it runs something, or did so within the last ``AT_WORK_S`` seconds."""
        count = worker_state.all_total_count[0]
        if count != self._count or worker_state.active_requests:
            self._count, self._until = count, time.monotonic() + AT_WORK_S
        return time.monotonic() < self._until


def _jobs(parent: Any, identity: Identity) -> list[_Job]:
    boot = identity.boot
    assert boot is not None, "the worker has taken its identity"
    republisher, work = Republisher(boot.id), _Work()

    def fire_timers(services: Services) -> float:
        next_in_s = fire_due_timers(services)
        every_s = LOOK_EVERY_S if work.goes_on() else IDLE_LOOK_EVERY_S
        return every_s if next_in_s is None else min(next_in_s, every_s)

    def take_over_lost(services: Services) -> None:
        take_back_what_is_left(services)
        take_over(services, boot, is_gone=is_gone)

    def republish(services: Services) -> None:
        republisher.look(services, filter(None, map(executor_of, parent.app.amqp.queues.consume_from)))

    return [
        _Job(fire_timers, every_s=IDLE_LOOK_EVERY_S),
        _Job(obey_revokes, every_s=LOOK_EVERY_S),
        _Job(take_over_lost, every_s=RECOVER_EVERY_S),
        _Job(republish, every_s=RECOVER_EVERY_S),
        _Job(_fire_schedules, every_s=5.0),  # one that was published since may be due
        _Job(_look_at_limits, every_s=5.0),
        _Job(_end_stops, every_s=5.0),  # whoever stops something ends it, too: this is for what a crash has left
        _Job(_sweep, every_s=SWEEP_EVERY_S),
        _Job(forget_repeats, every_s=60.0),
    ]


def _fire_schedules(services: Services) -> float | None:
    next_in_s = next_schedule_in_s(services)
    if next_in_s == 0:
        fire_due_schedules(services)
    return next_in_s


def _look_at_limits(services: Services) -> float | None:
    return look_at_limits(services, start=start_held)


def _sweep(services: Services) -> None:
    """End what has outlived its worker and its shim, both killed in the same instant; keep what it said."""
    sweep_orphans()
    runs = services.surroundings.runs
    if runs.is_dir() and any(runs.iterdir()):  # the store of artifacts takes 1 MB to load
        sweep_folders(runs, Artifacts(services.surroundings.artifacts_url))


def _end_stops(services: Services) -> None:
    pursue_marked(services, start=start_held)


def upkeep_step(services: Services, identity: Identity) -> type[bootsteps.StartStopStep]:
    """The worker's boot step for these services."""

    class Upkeep(bootsteps.StartStopStep):
        """Starts the thread once the pool is up, so that no connection of it is forked."""

        requires = ("celery.worker.components:Pool",)

        def __init__(self, parent: Any, **options: Any) -> None:
            super().__init__(parent, **options)
            self._stopped = threading.Event()

        def start(self, parent: Any) -> None:
            parent.pool._pool.lost_worker_timeout = LOST_AFTER_S
            arguments = (_jobs(parent, identity), services, self._stopped)
            threading.Thread(target=_look, args=arguments, name="upkeep", daemon=True).start()

        def stop(self, parent: Any) -> None:  # noqa: ARG002 - Celery's signature
            self._stopped.set()

    return Upkeep


def _look(jobs: Sequence[_Job], services: Services, stopped: threading.Event) -> None:
    while not stopped.wait(max(0.0, min(job.next_at for job in jobs) - time.monotonic())):
        for job in jobs:
            if job.next_at <= time.monotonic() and not stopped.is_set():
                job.run(services)
