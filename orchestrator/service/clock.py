"""The database's clock where nobody asks the database."""

from __future__ import annotations

import time
from datetime import datetime, timedelta


class CarriedClock:
    """Gives the database's time: what it was at a claim, carried on by this machine's monotonic clock."""

    def __init__(self, now: datetime) -> None:
        self._zero, self._monotonic_zero = now, time.monotonic()

    def __call__(self) -> datetime:
        """The time now."""
        return self._zero + timedelta(seconds=time.monotonic() - self._monotonic_zero)
