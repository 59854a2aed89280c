"""What only a worker has, beside the app that it shares with clients: a client imports nothing of this.

The boot steps that keep its row new, look after what is due and stop it in order; a better Redis transport; and memory
that its processes share.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

from orchestrator.runtime import redis_broker
from orchestrator.runtime.drain import drain_step
from orchestrator.runtime.event_flow import EventFlow
from orchestrator.runtime.heartbeat import heartbeat_step
from orchestrator.runtime.parcels import Parcels
from orchestrator.runtime.sharing import share_memory
from orchestrator.runtime.upkeep import upkeep_step

if TYPE_CHECKING:
    from orchestrator.runtime.app import Runtime

_CHATTY: Final = ("celery.app.trace", "celery.worker.strategy")  # two lines for each message; the history says more


def equip(runtime: Runtime) -> None:
    """Make the app that of a worker."""
    services, identity = runtime.services, runtime.identity
    runtime.app.steps["worker"].update(
        (heartbeat_step(services, identity), drain_step(runtime.settings.drain_s), upkeep_step(services, identity))
    )
    runtime.app.steps["consumer"].update((EventFlow, Parcels))
    redis_broker.improve()
    share_memory()
    for name in _CHATTY:
        logging.getLogger(name).setLevel(logging.WARNING)
