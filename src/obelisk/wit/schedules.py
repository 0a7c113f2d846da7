"""`schedule-at` and `duration` of `obelisk:types`, as values of WIT, and what the core makes of them.

Decides how long each case of a `duration` is. Whether a schedule lies beyond what an instant can be is not looked at here.
"""

from __future__ import annotations

from typing import Final

from obelisk.core.instants import MILLISECOND_US, SECOND_US, At, In, Instant, Now, ScheduleAt
from obelisk.wit.types import Value

_UNITS_US: Final = (MILLISECOND_US, SECOND_US, 60 * SECOND_US, 3_600 * SECOND_US, 86_400 * SECOND_US)
"""milliseconds, seconds, minutes, hours, days: the cases of `duration`, in their order (`host.DURATION`)."""
_NOW: Final = 0
_AT: Final = 1


def duration_us(duration: Value) -> int:
    """A `duration` in microseconds."""
    unit, count = duration
    us: int = count * _UNITS_US[unit]
    return us


def schedule_at(value: Value) -> ScheduleAt:
    """A `schedule-at` (`host.SCHEDULE_AT`)."""
    case, payload = value
    if case == _NOW:
        return Now()
    if case == _AT:
        seconds, nanoseconds = payload
        return At(Instant(seconds * SECOND_US + nanoseconds // 1_000))
    return In(duration_us(payload))
