"""Waiting for what only a look can tell: a deadline, and no pause longer than needed."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def until(look: Callable[[], T | None], *, within_s: float = 60.0, what: str = "it") -> T:
    """The first truthy thing that ``look`` finds; AssertionError after the time."""
    deadline = time.monotonic() + within_s
    while True:
        found = look()
        if found:
            return found
        assert time.monotonic() < deadline, f"{what} did not happen within {within_s:g} s"
        time.sleep(0.05)
