"""Retry arithmetic: whether a failed attempt is tried again, and when."""

from __future__ import annotations

from typing import Final

from obelisk.core.instants import INSTANT_MAX, Instant
from obelisk.core.policy import RetryPolicy
from obelisk.core.values import Err, Failure, Ok

_SHIFT_MAX: Final = 62  # doubling further is beyond every instant


def retry_at(policy: RetryPolicy, failures_before: int, now: Instant) -> Instant | None:
    """When the attempt that just failed is tried again; None when its retries are used up.

    `failures_before`: temporary failures and timeouts before this one.
    """
    if failures_before >= policy.max_retries:
        return None
    backoff = policy.exp_backoff_us << min(failures_before, _SHIFT_MAX)
    return Instant(min(now + backoff, INSTANT_MAX))


def is_retryable(policy: RetryPolicy, result: Ok | Err | Failure) -> bool:
    """Whether a result is of a kind that is tried again at all."""
    match result:
        case Ok():
            return False
        case Err(permanent=permanent):
            return policy.retry_on_err and not permanent
        case Failure():
            return True
