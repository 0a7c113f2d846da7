"""Endings: what is closed has been told to end.

Looks at what is written, as it is written: a log alone does not say whether a member ended by itself.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from obelisk.core import ids
from obelisk.core.batch import CancelRequest, Refused, Unit, UnitOutcome
from obelisk.core.events import CancellationRequested, ChildRequested, Created, JoinNext
from obelisk.core.ids import ExecutionId, JoinSetId
from obelisk.core.ports import FunctionKind
from obelisk.core.state import ExecutionState, Lifecycle, Status
from obelisk.testing.invariants import Loads, Violation, snapshot_of


class Endings:
    """Looks at everything that is committed to one store."""

    def __init__(self, store: Loads, kind_of: Callable[[ExecutionState], FunctionKind | None]) -> None:
        self._store: Final = store
        self._kind_of: Final = kind_of
        self._told: Final[set[ExecutionId]] = set()
        """Whose inbox somebody has put a cancellation into."""

    def see(self, units: list[Unit], outcomes: list[UnitOutcome]) -> None:
        """A batch was committed."""
        closing: dict[tuple[ExecutionId, JoinSetId], None] = {}
        for unit, outcome in zip(units, outcomes, strict=True):
            if isinstance(outcome, Refused):
                continue
            self._told.update(
                request.execution_id for request in unit.requests if isinstance(request.body, CancelRequest)
            )
            if any(isinstance(new.event, Created) and new.event.forked_from is not None for new in unit.events):
                continue  # its history was written elsewhere
            for new in unit.events:
                if isinstance(new.event, JoinNext) and new.event.closing:
                    closing[new.execution_id, new.event.join_set] = None
        for execution_id, join_set in closing:
            self._members_were_told(execution_id, join_set)

    def _members_were_told(self, execution_id: ExecutionId, join_set: JoinSetId) -> None:
        """The members of a join set that is being closed were cancelled: delays, activities, stubs; and workflows, if the
        execution was cancelled itself.
        """
        snapshot = snapshot_of(self._store, execution_id)
        for delay in snapshot.delays:
            if ids.join_set_of(delay.delay) == join_set:
                raise Violation(
                    f"{execution_id} closes {join_set}, but waits for its delay {delay.delay}", execution_id
                )
        is_cancelled = any(isinstance(entry.event, CancellationRequested) for entry in snapshot.log)
        for entry in snapshot.log:
            if isinstance(entry.event, ChildRequested) and ids.join_set_of(entry.event.child) == join_set:
                child = snapshot_of(self._store, ids.absolute(execution_id, entry.event.child)).state
                if child.status is Status.FINISHED or child.lifecycle is Lifecycle.CANCELLING:
                    continue
                must = is_cancelled or self._kind_of(child) in {FunctionKind.ACTIVITY, FunctionKind.STUB}
                if must and child.execution_id not in self._told:
                    raise Violation(f"{execution_id} closes {join_set}, but {child.execution_id} was not cancelled")
