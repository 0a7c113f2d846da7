"""Tracing: where a workflow was when it left an event of its log, found by replaying.

Decides which host call an event belongs to. That is known only when the call has been made, and a guest can be asked for its
stack only while it makes one: so the log is replayed twice, unless the guest told of itself. It does not know where log and
guests come from, and nothing is written.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from obelisk.core.backtraces import Frame
from obelisk.core.batch import Snapshot
from obelisk.core.events import ComponentUpgraded, Created, Locked, LogEntry
from obelisk.core.ids import Digest
from obelisk.core.instants import Instant
from obelisk.core.machine import Typing, no_typing
from obelisk.core.ports import Guest, Inside
from obelisk.core.replay import Replayed, replay, replayable

LAST: Final = -1
"""As a version: the last call that left an event."""
FIRST: Final = -2
"""As a version: the first one."""


class HostCall(msgspec.Struct, frozen=True):
    """A host call that left the events from `first` up to but not including `end`."""

    first: int
    end: int
    number: int
    """As the guest counts; see `Inside`."""
    told: tuple[Frame, ...] | None = None
    """The frames that the guest gave with it."""


class Found(msgspec.Struct, frozen=True):
    """What a search came to. Without a `call`, `replayed` says how far the log replays."""

    replayed: Replayed
    call: HostCall | None = None
    nearest: int | None = None
    """Without a call: an event that does belong to one, the nearest to the wanted one."""
    closing: bool = False
    """Without a call: the wanted event is one of those that close join sets once the function has returned."""


def recorded_by_calls(log: Sequence[LogEntry]) -> list[int]:
    """The versions of events that host calls left, or the closing of join sets at the end."""
    return [entry.version for entry in replayable(log) if entry.event.history]


def written_on(log: Sequence[LogEntry], version: int) -> Digest:
    """The component that the execution ran on when it left event `version`."""
    created = log[0].event
    assert isinstance(created, Created)
    component = created.component
    for entry in log[:version]:
        event = entry.event
        if isinstance(event, Locked | ComponentUpgraded):
            component = event.component or component
    return component


class _Search:
    """Looks on while a log is replayed, until the call that `version` belongs to."""

    def __init__(self, log: Sequence[LogEntry], version: int, inside: Inside) -> None:
        self._versions = recorded_by_calls(log)
        self._version = self._versions[0] if version == FIRST and self._versions else version
        self._inside = inside
        self._met = 0
        self._found = False
        self._last: HostCall | None = None
        """The call, or the last one before."""
        self._following: int | None = None
        """The first event of the call after the wanted event."""
        self.closing = False

    def __call__(self, events: int) -> bool:
        """After each step, with the number of events that were met by then; True: it is found, or cannot be any more."""
        versions, self._met = self._versions[self._met : events], events
        if not versions:
            return False
        number = self._inside.call_number
        if number is None:
            self.closing = self._version in versions
            return self.closing
        if self._version != LAST and versions[0] > self._version:
            self._following = versions[0]
            return True
        self._last = HostCall(versions[0], versions[-1] + 1, number, self._inside.told())
        if self._version == LAST or self._version >= self._last.end:
            return False
        self._found = True
        return True

    def result(self, replayed: Replayed) -> Found:
        """When the replay is over."""
        strayed = replayed.divergence is not None or replayed.gave_up
        if self._found or (self._version == LAST and not strayed):
            return Found(replayed, self._last)
        return Found(replayed, nearest=self._nearest(), closing=self.closing)

    def _nearest(self) -> int | None:
        before = None if self._last is None else self._last.end - 1
        after = self._following
        if before is None or after is None:
            return after if before is None else before
        return before if self._version - before <= after - self._version else after


def find_call(
    snapshot: Snapshot,
    version: int,
    guest: Guest,
    inside: Inside,
    now: Instant,
    *,
    typing: Typing = no_typing,
    may_go_on: Callable[[], bool] = lambda: True,
) -> Found:
    """Finds the call that left event `version`; `LAST`: the last one that left any, `FIRST`: the first. The guest was not started, and is closed;
    the rest is as for `replay`.
    """
    search = _Search(snapshot.log, version, inside)
    execution_id = snapshot.state.execution_id
    replayed = replay(
        execution_id, snapshot.log, snapshot.responses, guest, now, typing=typing, may_go_on=may_go_on, watch=search
    )
    return search.result(replayed)


def stack_in(
    snapshot: Snapshot,
    call: HostCall,
    guest: Guest,
    inside: Inside,
    now: Instant,
    *,
    typing: Typing = no_typing,
    may_go_on: Callable[[], bool] = lambda: True,
) -> tuple[Frame, ...]:
    """Where a guest is when it makes a call that was found on another guest of the same function; see `find_call`."""
    inside.stop_in(call.number)
    replay(
        snapshot.state.execution_id,
        snapshot.log,
        snapshot.responses,
        guest,
        now,
        typing=typing,
        may_go_on=may_go_on,
    )
    return inside.stack()
