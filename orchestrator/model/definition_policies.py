"""Failure policies as a definition writes them.

``intervalTime`` is typed as a timestamp and described as seconds, and no public sample has one; so every form that can
be meant is taken: ``5``, ``"5"``, ``"5s"``, ``"1.5s"``, and the timestamp of that many seconds after the epoch
(``"1970-01-01T00:00:05Z"``).
"""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime
from typing import Final

from orchestrator.model.fields import Fields, shown
from orchestrator.model.policies import MAX_DELAY_S, ConditionalFailurePolicies, FailurePolicy, RetryStrategy

_SECONDS: Final = re.compile(r"([0-9]{1,15}(?:\.[0-9]{1,15})?)s?", re.ASCII)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def parse_policy(fields: Fields | None) -> FailurePolicy | None:
    """Read one ``FailurePolicy``; None if there is none."""
    if fields is None:
        return None
    max_retries = fields.whole("maxRetries") or 0
    if max_retries < 0:
        fields.refuse("maxRetries", str(max_retries), "0 or more")
    return FailurePolicy(
        strategy=fields.choice("retryStrategy", RetryStrategy.NONE),
        max_retries=max(max_retries, 0),
        interval_s=_parse_interval(fields),
        condition=fields.text("condition"),
    )


def parse_conditional_policies(fields: Fields | None) -> ConditionalFailurePolicies | None:
    """Read ``ConditionalFailurePolicies``; None if there are none."""
    if fields is None:
        return None
    policies = [parse_policy(each) for each in fields.objects("failurePolicies")]
    return ConditionalFailurePolicies(
        policies=tuple(policy for policy in policies if policy is not None),
        default=parse_policy(fields.nested("defaultFailurePolicy")),
    )


def _parse_interval(fields: Fields) -> float:
    found = fields.get("intervalTime")
    if found is None:
        return 0.0
    seconds = _seconds(found)
    if seconds is None or not 0 <= seconds <= MAX_DELAY_S:
        fields.refuse("intervalTime", shown(found), f'seconds up to {MAX_DELAY_S:.0f}, such as 5, "5s" or a timestamp')
        return 0.0
    return seconds


def _seconds(found: object) -> float | None:
    if isinstance(found, bool):
        return None
    if isinstance(found, int | float):
        return float(found) if found <= MAX_DELAY_S else math.inf  # an int of any size fits into no float
    if not isinstance(found, str):
        return None
    digits = _SECONDS.fullmatch(found.strip())
    if digits:
        return float(digits[1])
    try:
        moment = datetime.fromisoformat(found.strip())
    except ValueError:
        return None
    return ((moment if moment.tzinfo else moment.replace(tzinfo=UTC)) - _EPOCH).total_seconds()
