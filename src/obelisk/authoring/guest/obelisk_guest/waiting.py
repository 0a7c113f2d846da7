"""Time, for workflows: waiting, and what time it is.

Both are in the log, and are the same when the workflow is replayed. Moments are `datetime`s with a time zone; what comes from
Obelisk is in UTC. No clock is read here.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, Final

from obelisk_guest.world import Err, imported

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND: Final = timedelta(milliseconds=1)
_MICROSECOND: Final = timedelta(microseconds=1)


class DelayCancelled(Exception):
    """The delay that a workflow slept for was cancelled from outside."""


def sleep(
    *, days: float = 0, hours: float = 0, minutes: float = 0, seconds: float = 0, milliseconds: float = 0
) -> datetime:
    """Waits for so long, durably, however often the server is restarted. The moment at which it was over; `DelayCancelled`."""
    return _slept(after(days=days, hours=hours, minutes=minutes, seconds=seconds, milliseconds=milliseconds))


def sleep_until(moment: datetime) -> datetime:
    """Waits until a moment; not at all when that has passed. The moment at which it was over; `DelayCancelled`."""
    return _slept(at(moment))


def now() -> datetime:
    """What time it is. The first time, that is: a replay is told the same."""
    return _slept(imported("time", "now").ScheduleAt_Now())


def after(*, days: float = 0, hours: float = 0, minutes: float = 0, seconds: float = 0, milliseconds: float = 0) -> Any:
    """So long from now, to the millisecond, as a `schedule-at`: for `…_schedule` functions and delays of join sets."""
    time = imported("time", "after")
    span = timedelta(days=days, hours=hours, minutes=minutes, seconds=seconds, milliseconds=milliseconds)
    if span < timedelta():
        raise ValueError(f"{span / timedelta(seconds=1):g} seconds from now is in the past")
    return time.ScheduleAt_In(time.Duration_Milliseconds(span // _MILLISECOND))


def at(moment: datetime) -> Any:
    """A moment as a `schedule-at`, as `after` gives one."""
    time = imported("time", "at")
    if moment.utcoffset() is None:
        raise ValueError(f"{moment.isoformat()} has no time zone, so which moment it is cannot be said")
    since = moment - _EPOCH
    if since < timedelta():
        raise ValueError(f"{moment.isoformat()} is before 1970")
    seconds, rest = divmod(since, timedelta(seconds=1))
    return time.ScheduleAt_At(time.Datetime(seconds, rest // _MICROSECOND * 1_000))


def _slept(schedule_at: Any) -> datetime:
    support = imported("workflow_support", "sleep")
    unnamed = (None,) if hasattr(support, "last_oneoff_id") else ()  # workflow@6.0.0: a sleep may have a name
    try:
        woken = support.sleep(schedule_at, *unnamed)
    except Err:
        raise DelayCancelled("the delay was cancelled") from None
    return _EPOCH + timedelta(seconds=woken.seconds, microseconds=woken.nanoseconds // 1_000)
