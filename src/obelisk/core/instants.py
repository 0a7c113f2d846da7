"""Points in time and when something should happen.

An instant is an int: **microseconds since 1970-01-01 UTC**. Names end in `_at`; durations are microseconds too and end
in `_us`. Nothing here reads a clock.
"""

from __future__ import annotations

from typing import Final, NewType

import msgspec

Instant = NewType("Instant", int)
"""Microseconds since 1970-01-01T00:00:00 UTC."""

INSTANT_MAX: Final = Instant(253_402_300_799_999_999)
"""The last microsecond of the year 9999: the last that RFC 3339 and protobuf can write."""

MILLISECOND_US: Final = 1_000
SECOND_US: Final = 1_000_000


class Now(msgspec.Struct, frozen=True, tag="now"):
    """At once."""


class At(msgspec.Struct, frozen=True, tag="at"):
    """At a given instant; in the past means at once."""

    at: Instant


class In(msgspec.Struct, frozen=True, tag="in"):
    """After a duration in microseconds, counted from the moment of the call."""

    us: int


ScheduleAt = Now | At | In
"""What the guest asked for; kept in the log beside the instant that it led to."""


class InstantOutOfRange(ValueError):
    """A schedule that lies beyond the year 9999."""


def due_at(schedule: ScheduleAt, now: Instant) -> Instant:
    """The instant that `schedule` means when asked for at `now`; `InstantOutOfRange` beyond the year 9999."""
    match schedule:
        case Now():
            return now
        case At(at):
            due = at
        case In(us):
            due = Instant(now + us)
    if not 0 <= due <= INSTANT_MAX:
        raise InstantOutOfRange("the schedule lies beyond the year 9999")
    return due
