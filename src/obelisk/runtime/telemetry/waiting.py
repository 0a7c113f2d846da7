"""Facts that wait to be exported: as many as there is room for.

Decides what is dropped: whatever comes while there is no room. Any thread puts facts in and none ever waits; the exporter's
thread takes them out.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterable
from typing import Final

from obelisk.core.lines import size_of
from obelisk.runtime.telemetry.facts import Ended, Fact, Said

FACTS_MAX: Final = 50_000
"""Facts that wait; an execution of an activity is three."""
BYTES_MAX: Final = 32 << 20
"""Of what they contain, roughly."""
BATCH_FACTS_MAX: Final = 1_000
WAIT_S: Final = 0.5
"""How long a fact waits for others to go with."""
_FACT_COST: Final = 300
_TRACE_COST: Final = 400


class Waiting:
    """A bounded queue."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._facts: deque[Fact] = deque()
        self._bytes = 0
        self._since_s = 0.0
        self._closed = False
        self._dropped = (0, 0)

    def put(self, facts: Iterable[Fact]) -> None:
        """Adds facts, or drops those that find no room."""
        with self._changed:
            was = len(self._facts)
            for fact in facts:
                size = _size_of(fact)
                if self._closed or len(self._facts) >= FACTS_MAX or self._bytes + size > BYTES_MAX:
                    self._drop(fact)
                    continue
                self._facts.append(fact)
                self._bytes += size
            if not was and self._facts:
                self._since_s = time.monotonic()
                self._changed.notify()
            elif was < BATCH_FACTS_MAX <= len(self._facts):
                self._changed.notify()

    def take(self) -> list[Fact] | None:
        """Waits for facts; None when it was closed and there are no more."""
        with self._changed:
            while not self._closed:
                if not self._facts:
                    self._changed.wait()
                elif len(self._facts) < BATCH_FACTS_MAX and (left := self._since_s + WAIT_S - time.monotonic()) > 0:
                    self._changed.wait(left)
                else:
                    break
            if not self._facts:
                return None
            taken = [self._facts.popleft() for _ in range(min(len(self._facts), BATCH_FACTS_MAX))]
            self._bytes -= sum(map(_size_of, taken))
            self._since_s = time.monotonic()
            return taken

    def close(self) -> None:
        """There will be no more facts; those that are there may still be taken."""
        with self._changed:
            self._closed = True
            self._changed.notify()

    @property
    def is_closed(self) -> bool:
        """Whether there will be no more."""
        return self._closed

    def dropped(self) -> tuple[int, int]:
        """Ends of runs, which are spans, and lines that were dropped since it was last asked."""
        with self._changed:
            dropped, self._dropped = self._dropped, (0, 0)
            return dropped

    def _drop(self, fact: Fact) -> None:
        spans, lines = self._dropped
        self._dropped = (spans + isinstance(fact, Ended), lines + isinstance(fact, Said))


def _size_of(fact: Fact) -> int:
    match fact:
        case Said():
            return _FACT_COST + size_of(fact.line)
        case Ended():
            return _FACT_COST + _TRACE_COST * len(fact.http_traces)
        case _:
            return _FACT_COST
