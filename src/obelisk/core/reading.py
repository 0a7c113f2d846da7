"""What doors may ask of durable memory: the read side of a store.

Reads never touch the engine's memory and never wait for its writes. A reader may be used by several threads.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Protocol

import msgspec

from obelisk.core.backtraces import Backtrace
from obelisk.core.batch import Snapshot
from obelisk.core.events import Created, LogEntry
from obelisk.core.ids import DeploymentId, Digest, ExecutionId
from obelisk.core.instants import Instant
from obelisk.core.lines import LineFilter, LinePage, StoredLogLine
from obelisk.core.responses import Response
from obelisk.core.state import ExecutionState
from obelisk.core.values import Outcome


class StateFilter(StrEnum):
    """States by which lists are narrowed; several are or-ed."""

    PENDING = "pending"
    """Pending and due."""
    SCHEDULED = "scheduled"
    """Pending, but not before an instant in the future."""
    LOCKED = "locked"
    BLOCKED = "blocked"
    PAUSED = "paused"
    CANCELLING = "cancelling"
    PARKED = "parked"
    FINISHED = "finished"
    FINISHED_OK = "finished_ok"
    FINISHED_ERR = "finished_err"
    FINISHED_FAILURE = "finished_failure"


class ExecutionFilter(msgspec.Struct, frozen=True):
    """All conditions must hold; the default is every top-level execution."""

    top_level_only: bool = True
    root: ExecutionId | None = None
    """Only this execution's tree (with `top_level_only` false: itself and all that derive from it)."""
    id_prefix: str | None = None
    ffqn_prefix: str | None = None
    ffqn: str | None = None
    hide_finished: bool = False
    states: tuple[StateFilter, ...] = ()
    components: tuple[Digest, ...] = ()
    """Only executions of one of these; none given: of any."""
    deployment: DeploymentId | None = None


class Page(msgspec.Struct, frozen=True):
    """A page of a list that is sorted by (created_at, id), newest first."""

    length: int = 20
    cursor: tuple[Instant, ExecutionId | None] | ExecutionId | None = None
    """Where to begin: an execution, or an instant with an optional id to break ties; None is the newest (older pages)
    or the oldest (newer pages)."""
    newer: bool = False
    """Whether to go from the cursor towards newer executions. The result is newest first all the same."""
    including_cursor: bool = False


class FinalResult(msgspec.Struct, frozen=True):
    """How an execution ended, with its times."""

    created_at: Instant
    scheduled_at: Instant
    finished_at: Instant
    outcome: Outcome


class Change(msgspec.Struct, frozen=True):
    """A state row as it was just committed."""

    state: ExecutionState
    outcome: Outcome | None = None
    """How the execution ended, where it has and the commit says so."""

    @property
    def final(self) -> FinalResult | None:
        """How it ended, with its times."""
        state = self.state
        if self.outcome is None or state.finished_at is None:
            return None
        return FinalResult(state.created_at, state.first_scheduled_at, state.finished_at, self.outcome)


class Reader(Protocol):
    """Reads of one store. Times are instants; lists have at most `length` items."""

    def state(self, execution_id: ExecutionId) -> ExecutionState | None:
        """The state row."""
        ...

    def states(self, execution_ids: list[ExecutionId]) -> list[ExecutionState]:
        """State rows of those that exist, in the order asked for."""
        ...

    def executions(self, where: ExecutionFilter, page: Page, now: Instant) -> list[ExecutionState]:
        """A page of state rows, newest first."""
        ...

    def created(self, execution_id: ExecutionId) -> Created | None:
        """Version 0 of the log."""
        ...

    def events(self, execution_id: ExecutionId, version_from: int, length: int) -> list[LogEntry]:
        """Entries with version >= `version_from`, ascending; empty for an unknown execution."""
        ...

    def responses(self, execution_id: ExecutionId, seq_from: int, length: int) -> list[Response]:
        """Responses with seq >= `seq_from`, ascending; empty for an unknown execution."""
        ...

    def snapshot(self, execution_id: ExecutionId) -> Snapshot | None:
        """All of the execution as it is at one moment."""
        ...

    def backtrace(self, execution_id: ExecutionId, version: int) -> Backtrace | None:
        """The kept backtrace of the host call that left event `version`; None when nobody has looked at it yet."""
        ...

    def backtraces(self, execution_id: ExecutionId, version_from: int, version_to: int) -> list[tuple[int, int]]:
        """Which backtraces are kept of host calls that left events from `version_from` up to but not including `version_to`: the
        first event of each, and the one after its last, ascending.
        """
        ...

    def result(self, execution_id: ExecutionId) -> FinalResult | None:
        """How it ended; None when it is unknown or has not ended."""
        ...

    def lines(self, where: LineFilter, page: LinePage) -> list[StoredLogLine]:
        """A page of what was logged, the oldest first; empty for an unknown execution. Lines become visible in the order of
        their cursors: what is read after the last cursor of a page is all that was stored since.
        """
        ...

    def close(self) -> None:
        """Frees connections."""
        ...
