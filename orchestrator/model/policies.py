"""What happens after a task has failed: which retry strategies there are, and how long each one waits.

This module knows the arithmetic only. Who counts the attempts, where a wait is kept and when it is over is decided
elsewhere; the clock stays outside, and so does chance: the jitter is handed in.

Waiting before retry ``n`` (from 1), with interval ``i``::

    FIXED_INTERVAL                      i
    LINEAR_BACKOFF                      i * n            + jitter
    EXPONENTIAL_BACKOFF                 i * 2 ** (n - 1) + jitter
    RESTART_INTEGRATION_WITH_BACKOFF    i * 2 ** (n - 1) + jitter

The product's text doubles and its example squares; we double. It adds 1 to 5 s of jitter; we add up to 5 s and never
more than half of the delay, because a full second on top of an interval of 100 ms would be the whole wait.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

MAX_DELAY_S: Final = 86_400.0  # one day: a retry further away is a mistake in the definition, or an overflow
MAX_JITTER_S: Final = 5.0
JITTER_SHARE: Final = 0.5
_MAX_DOUBLINGS: Final = 64  # 2 ** 64 times the smallest useful interval is far past a day already


class RetryStrategy(StrEnum):
    """What a failed attempt leads to."""

    NONE = "NONE"
    IGNORE = "IGNORE"
    FATAL = "FATAL"
    FIXED_INTERVAL = "FIXED_INTERVAL"
    LINEAR_BACKOFF = "LINEAR_BACKOFF"
    EXPONENTIAL_BACKOFF = "EXPONENTIAL_BACKOFF"
    RESTART_INTEGRATION_WITH_BACKOFF = "RESTART_INTEGRATION_WITH_BACKOFF"

    @property
    def is_retrying(self) -> bool:
        """Whether it tries again, and so needs a number of retries and an interval."""
        return self not in _FINAL_STRATEGIES


_FINAL_STRATEGIES: Final = frozenset({RetryStrategy.NONE, RetryStrategy.IGNORE, RetryStrategy.FATAL})


@dataclass(frozen=True, kw_only=True, slots=True)
class FailurePolicy:
    """One policy. ``condition`` (empty: always) says for which errors it counts; it sees ``ErrorInfo``."""

    strategy: RetryStrategy = RetryStrategy.NONE
    max_retries: int = 0
    interval_s: float = 0.0
    condition: str = ""

    def delay_s(self, attempt: int, jitter: float) -> float:
        """How long to wait after the failed attempt ``attempt`` (from 1).

        Args:
            attempt: 1 after the first try failed, and so on; any size.
            jitter: a random number from 0 up to, but not including, 1.

        Returns:
            Seconds, from 0 to ``MAX_DELAY_S``.
        """
        retry = max(attempt, 1)
        match self.strategy:
            case RetryStrategy.NONE | RetryStrategy.IGNORE | RetryStrategy.FATAL:
                return 0.0
            case RetryStrategy.FIXED_INTERVAL:
                return _capped(self.interval_s)
            case RetryStrategy.LINEAR_BACKOFF:
                return _jittered(_multiple(self.interval_s, retry), jitter)
            case RetryStrategy.EXPONENTIAL_BACKOFF | RetryStrategy.RESTART_INTEGRATION_WITH_BACKOFF:
                return _jittered(_doubled(self.interval_s, retry - 1), jitter)


@dataclass(frozen=True, kw_only=True, slots=True)
class ConditionalFailurePolicies:
    """Policies in order: the first whose condition is true counts, else the default one, else NONE."""

    policies: tuple[FailurePolicy, ...] = ()
    default: FailurePolicy | None = None


def _capped(delay_s: float) -> float:
    return min(max(delay_s, 0.0), MAX_DELAY_S)


def _multiple(interval_s: float, times: int) -> float:
    # The count is capped first: an int of any size times a float would overflow.
    return _capped(interval_s * min(times, 10**12))


def _doubled(interval_s: float, doublings: int) -> float:
    return _capped(interval_s * 2.0 ** min(doublings, _MAX_DOUBLINGS))


def _jittered(delay_s: float, jitter: float) -> float:
    return _capped(delay_s + jitter * min(MAX_JITTER_S, JITTER_SHARE * delay_s))
