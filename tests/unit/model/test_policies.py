from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.model.policies import MAX_DELAY_S, FailurePolicy, RetryStrategy

BACKOFFS = [
    RetryStrategy.LINEAR_BACKOFF,
    RetryStrategy.EXPONENTIAL_BACKOFF,
    RetryStrategy.RESTART_INTEGRATION_WITH_BACKOFF,
]


def policy(strategy: RetryStrategy, interval_s: float = 3.0) -> FailurePolicy:
    return FailurePolicy(strategy=strategy, max_retries=5, interval_s=interval_s)


@pytest.mark.parametrize(
    ("strategy", "expected"),
    [
        (RetryStrategy.FIXED_INTERVAL, [3, 3, 3, 3]),
        (RetryStrategy.LINEAR_BACKOFF, [3, 6, 9, 12]),
        (RetryStrategy.EXPONENTIAL_BACKOFF, [3, 6, 12, 24]),
        (RetryStrategy.RESTART_INTEGRATION_WITH_BACKOFF, [3, 6, 12, 24]),
        (RetryStrategy.NONE, [0, 0, 0, 0]),
        (RetryStrategy.IGNORE, [0, 0, 0, 0]),
        (RetryStrategy.FATAL, [0, 0, 0, 0]),
    ],
)
def test_each_strategy_waits_as_its_name_says(strategy, expected):
    assert [policy(strategy).delay_s(n, 0.0) for n in (1, 2, 3, 4)] == expected


def test_a_fixed_interval_has_no_jitter():
    assert policy(RetryStrategy.FIXED_INTERVAL).delay_s(1, 0.99) == 3.0


@pytest.mark.parametrize("strategy", BACKOFFS)
def test_jitter_is_at_most_five_seconds(strategy):
    assert 1000 < policy(strategy, 1000.0).delay_s(1, 0.999) < 1005


@pytest.mark.parametrize("strategy", BACKOFFS)
def test_jitter_is_at_most_half_of_a_short_delay(strategy):
    assert 0.1 < policy(strategy, 0.1).delay_s(1, 0.999) < 0.15


@given(
    strategy=st.sampled_from(RetryStrategy),
    interval_s=st.floats(0, MAX_DELAY_S),
    attempt=st.integers(-5, 10) | st.integers(10**3, 10**400),
    jitter=st.floats(0, 1, exclude_max=True),
)
def test_a_delay_is_finite_and_at_most_a_day_however_late_the_attempt(strategy, interval_s, attempt, jitter):
    delay = policy(strategy, interval_s).delay_s(attempt, jitter)

    assert math.isfinite(delay)
    assert 0 <= delay <= MAX_DELAY_S


@given(strategy=st.sampled_from(BACKOFFS), attempt=st.integers(1, 200))
def test_a_later_retry_never_waits_less(strategy, attempt):
    assert policy(strategy).delay_s(attempt, 0.5) <= policy(strategy).delay_s(attempt + 1, 0.5)


def test_only_strategies_that_try_again_are_retrying():
    assert {each for each in RetryStrategy if not each.is_retrying} == {"NONE", "IGNORE", "FATAL"}
