"""Retry arithmetic: whether a failed attempt is tried again, and when."""

from __future__ import annotations

from typing import Final

from obelisk.core import prng
from obelisk.core.ids import ExecutionId
from obelisk.core.instants import INSTANT_MAX, Instant
from obelisk.core.policy import RetryPolicy
from obelisk.core.values import Err, Failure, Ok

_SHIFT_MAX: Final = 62  # doubling further is beyond every instant


def retry_at(policy: RetryPolicy, execution_id: ExecutionId, failures_before: int, now: Instant) -> Instant | None:
    """When the attempt that just failed is tried again; None when its retries are used up.

    `failures_before`: temporary failures and timeouts before this one. The jitter is drawn from the execution's id, so it
    differs between executions and not between two looks at one.
    """
    if failures_before >= policy.max_retries:
        return None
    backoff = policy.exp_backoff_us << min(failures_before, _SHIFT_MAX)
    longest = INSTANT_MAX if policy.backoff_max_us is None else policy.backoff_max_us
    backoff = min(backoff, longest)
    if policy.jitter:
        shift = int(backoff * policy.jitter)
        backoff = prng.random_between(execution_id, failures_before, backoff - shift, min(backoff + shift, longest))
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
