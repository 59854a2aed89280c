"""Patience: a worker whose database is away waits until it is back. Nothing it holds is lost meanwhile.

What must not happen: a task that FAILED because the database did not answer, or a result that is thrown away for it.
Whoever waits too long for others is taken over by them (``recovery``), and learns it when the database answers again.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Final, TypeVar

from orchestrator.errors import Unreachable

log = logging.getLogger(__name__)

T = TypeVar("T")

_FIRST_PAUSE_S: Final = 0.05
_LONGEST_PAUSE_S: Final = 1.0


def patiently(do: Callable[[bool], T]) -> T:
    """Do it until the database answers.

    Args:
        do: called with False the first time and with True from then on: what it wrote before may have been kept.
    """
    is_again, pause_s = False, _FIRST_PAUSE_S
    while True:
        try:
            return do(is_again)
        except Unreachable as error:
            log.warning("waiting: %s", error)
            time.sleep(pause_s)
            is_again, pause_s = True, min(2 * pause_s, _LONGEST_PAUSE_S)
