"""The text of the case ``payload``: what every task gets and hands on. Both sides' workers import this, and no more."""

from __future__ import annotations

import base64
import random
from functools import cache
from typing import Final

SIZE_BYTES: Final = 1_000_000


@cache  # made once, before the first round: no time has it in it
def text() -> str:
    """A megabyte that does not compress well, and the same each time."""
    return base64.b64encode(random.Random(1).randbytes(SIZE_BYTES * 3 // 4)).decode()


def turned(found: str) -> str:
    """Another text of the same length, so that it has to be passed on and kept anew."""
    return found[1:] + found[:1]
