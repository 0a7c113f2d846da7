"""History: what the exporter knows of executions that have not ended.

Decides what is remembered: how each was born and when its last run began, of so many. The rest, and whatever began before
this process did, is read from the store.
"""

from __future__ import annotations

from typing import Final, TypeVar

from obelisk.core.events import Locked
from obelisk.core.ids import ExecutionId, RunId
from obelisk.core.instants import Instant
from obelisk.core.reading import Reader
from obelisk.runtime.telemetry.facts import ENDS, Began, Born, born

KNOWN_MAX: Final = 20_000
"""Executions that are remembered."""
_BACK: Final = 8
"""So many events before the end of a run, its beginning is looked for: what can stand between is a request to cancel."""

_Fact = TypeVar("_Fact", Born, Began)


class History:
    """Used by the exporter's thread only."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._born: dict[ExecutionId, Born] = {}
        self._began: dict[ExecutionId, Began] = {}

    def add(self, fact: Born | Began) -> None:
        """Remembers it."""
        if isinstance(fact, Born):
            _remember(self._born, fact)
        else:
            _remember(self._began, fact)

    def born(self, execution_id: ExecutionId) -> Born | None:
        """How the execution began; None: there is no such any more."""
        known = self._born.get(execution_id)
        if known is not None:
            return known
        first = self._reader.events(execution_id, 0, 1)
        if not first:
            return None
        found = born(execution_id, first[0].created_at, first[0].event)  # type: ignore[arg-type]
        _remember(self._born, found)
        return found

    def run(self, execution_id: ExecutionId, version: int) -> tuple[RunId, Instant] | None:
        """The run that event `version` ended, and when it began; None: there was none."""
        known = self._began.pop(execution_id, None)
        if known is not None:
            return known.run, known.at
        start = max(0, version - _BACK)
        for entry in reversed(self._reader.events(execution_id, start, version - start)):
            if isinstance(entry.event, Locked):
                return entry.event.run, entry.created_at
            if isinstance(entry.event, ENDS):
                break  # it ended while it waited for its next run
        return None

    def forget(self, execution_id: ExecutionId) -> None:
        """It has ended."""
        self._born.pop(execution_id, None)
        self._began.pop(execution_id, None)


def _remember(known: dict[ExecutionId, _Fact], fact: _Fact) -> None:
    known.pop(fact.execution_id, None)  # what is remembered last goes last
    known[fact.execution_id] = fact
    if len(known) > KNOWN_MAX:
        del known[next(iter(known))]
