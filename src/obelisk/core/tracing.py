"""Tracing: where a workflow was when it left an event of its log, found by replaying.

Decides which host call an event belongs to. That is known only when the call has been made, so the guest looks where it is in each
of its calls. It does not know where log and guests come from, and nothing is written.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
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
    """A host call that left the events from `first` up to but not including `end`. `frames`: the innermost first."""

    first: int
    end: int
    frames: tuple[Frame, ...]


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
    return components_of(log)[version]


def components_of(log: Sequence[LogEntry]) -> list[Digest]:
    """For each event, the component that the execution ran on when it was left."""
    created = log[0].event
    assert isinstance(created, Created)
    component = created.component
    found: list[Digest] = []
    for entry in log:
        found.append(component)
        event = entry.event
        if isinstance(event, Locked | ComponentUpgraded):
            component = event.component or component
    return found


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
        frames = self._inside.stack()
        if frames is None:
            self.closing = self._version in versions
            return self.closing
        if self._version != LAST and versions[0] > self._version:
            self._following = versions[0]
            return True
        self._last = HostCall(versions[0], versions[-1] + 1, frames)
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
    inside.look()
    search = _Search(snapshot.log, version, inside)
    execution_id = snapshot.state.execution_id
    replayed = replay(
        execution_id, snapshot.log, snapshot.responses, guest, now, typing=typing, may_go_on=may_go_on, watch=search
    )
    return search.result(replayed)


def trace_calls(
    snapshot: Snapshot,
    versions: Collection[int],
    guest: Guest,
    inside: Inside,
    now: Instant,
    heard: Callable[[HostCall], None],
    *,
    typing: Typing = no_typing,
    may_go_on: Callable[[], bool] = lambda: True,
) -> Replayed:
    """One replay, up to the last of `versions`: `heard` gets each call that left any of them, in order; not what closes join sets
    once the function has returned. The rest is as for `find_call`.
    """
    left = recorded_by_calls(snapshot.log)
    last = max(versions)
    met = 0

    def watch(events: int) -> bool:
        nonlocal met
        of_call, met = left[met:events], events
        if any(version in versions for version in of_call):
            frames = inside.stack()
            if frames is None:
                return True
            heard(HostCall(of_call[0], of_call[-1] + 1, frames))
        return bool(of_call) and of_call[-1] >= last

    inside.look()
    return replay(
        snapshot.state.execution_id,
        snapshot.log,
        snapshot.responses,
        guest,
        now,
        typing=typing,
        may_go_on=may_go_on,
        watch=watch,
    )
