"""Encounters: host calls whose answer depends on another execution than the one that calls.

Decides what becomes of a result for an execution of a stub activity, and whether an execution that a workflow schedules
under an id of its own choice is there already. What this engine holds is looked up in memory (what follows from that rests
on the unit that touched it last); of anything else the store is asked, and the workflow waits for that.

An execution of a stub activity is nobody's work: whoever has its result may write it, whether it holds the lease or not.
The unit expects it to be as it was seen, so that of two results only one counts.
"""

from __future__ import annotations

import msgspec

from obelisk.core.batch import Snapshot
from obelisk.core.calls import ScheduleJson, Stub, StubJson
from obelisk.core.events import Created, Finished, StubResult
from obelisk.core.ids import ExecutionId, is_top_level
from obelisk.core.names import FunctionName
from obelisk.core.ports import FunctionInfo, FunctionKind, Rejection
from obelisk.core.state import ExecutionState, Lifecycle, Status
from obelisk.core.values import Err, Json, Ok, Outcome
from obelisk.engine.books import Books
from obelisk.engine.effects import Look
from obelisk.engine.held import Held, Phase, Seen
from obelisk.engine.tick import Draft


class Wait(msgspec.Struct, frozen=True):
    """Not known yet. `again`: ask in the next turn; otherwise the store is being asked."""

    again: bool


class ElsewhereResult(msgspec.Struct, frozen=True):
    """What became of a result; with `target` and `outcome`: end that execution in the unit that says so."""

    result: StubResult
    message: str = ""
    target: Held | None = None
    outcome: Ok | Err | None = None


class Existence(msgspec.Struct, frozen=True):
    """Whether an execution exists; `conflict`: it does, but is something else."""

    exists: bool
    conflict: str | None = None


class Undecidable(msgspec.Struct, frozen=True):
    """It cannot be found out with what is deployed: the workflow is parked."""

    reason: str


Encounter = Wait | ElsewhereResult | Existence | Undecidable


class Encounters:
    """Finds out about other executions."""

    def __init__(self, books: Books) -> None:
        self._books = books
        self._registry = books.registry
        self._lookers: dict[ExecutionId, dict[ExecutionId, Held]] = {}
        """Who waits for what the store has of an execution; the answer always comes, so that nobody stays in here."""

    def resolve(self, held: Held, call: Stub | StubJson | ScheduleJson, draft: Draft) -> Encounter:
        """What a new call of `held`, all of whose writes are in units, comes to."""
        seen, held.seen = held.seen, None
        if seen is not None and seen.execution_id != call.execution_id:
            seen = None
        found = self._schedule(call, seen) if isinstance(call, ScheduleJson) else self._stub(call, seen)
        if found is None:
            self._look(held, call, draft)
            return Wait(again=False)
        if isinstance(found, Wait):
            held.asks = call
        return found

    def _look(self, held: Held, call: Stub | StubJson | ScheduleJson, draft: Draft) -> None:
        held.asks = call
        held.phase = Phase.LOOKING
        self._lookers.setdefault(call.execution_id, {})[held.execution_id] = held
        draft.effects.append(Look(call.execution_id))

    def looked(self, execution_id: ExecutionId, snapshot: Snapshot | None) -> list[Held]:
        """Takes in what the store has; returns the workflows that waited for it."""
        waiting = [
            held
            for held in self._lookers.pop(execution_id, {}).values()
            if held.phase is Phase.LOOKING and held.asks is not None and held.asks.execution_id == execution_id
        ]
        for held in waiting:
            held.seen = Seen(execution_id, snapshot)
        return waiting

    # --- schedules ---------------------------------------------------------------------------------------------------

    def _schedule(self, call: ScheduleJson, seen: Seen | None) -> Encounter | None:
        there = self._books.find(call.execution_id)
        if there is not None:
            if not there.is_trusted:
                return Wait(again=True)
            if there.params is not None:
                return self._compared(call, there.state.ffqn, there.params)
        if seen is None:
            return None
        if seen.snapshot is None:
            return Existence(exists=False)
        created = seen.snapshot.log[0].event
        assert isinstance(created, Created)
        return self._compared(call, created.ffqn, created.params)

    def _compared(self, call: ScheduleJson, ffqn: FunctionName, params: Json) -> Existence:
        typed = self._registry.typed_params(call.ffqn, call.params)
        if ffqn == call.ffqn and not isinstance(typed, Rejection) and typed.params == params:
            return Existence(exists=True)
        what = "with other parameters" if ffqn == call.ffqn else f"of {ffqn}"
        return Existence(exists=True, conflict=f"{call.execution_id} exists already, as an execution {what}")

    # --- results -----------------------------------------------------------------------------------------------------

    def _stub(self, call: Stub | StubJson, seen: Seen | None) -> Encounter | None:
        if is_top_level(call.execution_id):
            return ElsewhereResult(StubResult.EXECUTION_NOT_FOUND)
        there = self._books.find(call.execution_id)
        if there is None:
            if seen is None:
                return None
            return self._seen(call, seen.snapshot)
        ends = there.state.status is Status.FINISHED or there.state.lifecycle is Lifecycle.CANCELLING
        if not there.is_trusted or ends or not self._books.can_finish(there):
            return Wait(again=True)  # once its end is durable it is not held any more, and is looked at
        outcome = self._checked(call, there.state)
        if isinstance(outcome, ElsewhereResult | Undecidable):
            return outcome
        return ElsewhereResult(StubResult.OK, target=there, outcome=outcome)

    def _seen(self, call: Stub | StubJson, snapshot: Snapshot | None) -> Encounter:
        if snapshot is None:
            return ElsewhereResult(StubResult.EXECUTION_NOT_FOUND)
        outcome = self._checked(call, snapshot.state)
        if isinstance(outcome, ElsewhereResult | Undecidable):
            return outcome
        last = snapshot.log[-1].event
        if isinstance(last, Finished):
            return ElsewhereResult(StubResult.OK if same_result(last.outcome, outcome) else StubResult.CONFLICT)
        target = unheld_stub(snapshot)
        if not self._books.can_finish(target):
            return Wait(again=True)
        return ElsewhereResult(StubResult.OK, target=target, outcome=outcome)

    def is_stub(self, state: ExecutionState) -> bool:
        """Whether an execution is one of a stub activity, as far as it is known."""
        info = self._info(state)
        return info is not None and info.kind is FunctionKind.STUB

    def _info(self, state: ExecutionState) -> FunctionInfo | None:
        """The function of an execution; as it is deployed now, if the component that it began on is not loaded any more."""
        return self._registry.pinned(state.component, state.ffqn) or self._registry.active(state.ffqn)

    def _checked(self, call: Stub | StubJson, state: ExecutionState) -> Ok | Err | ElsewhereResult | Undecidable:
        """The result, if it is one for this execution."""
        info = self._info(state)
        if info is None:
            return Undecidable(f"no loaded component exports {state.ffqn}, to whose execution it gives a result")
        if info.kind is not FunctionKind.STUB:
            return _unfit(f"{state.execution_id} is an execution of {state.ffqn}, which is no stub activity")
        if isinstance(call, Stub):
            if call.ffqn != state.ffqn:
                return _unfit(f"{state.execution_id} is an execution of {state.ffqn}, not of {call.ffqn}")
            return call.outcome
        typed = self._registry.typed_result(info.component, state.ffqn, call.result)
        return _unfit(typed.message) if isinstance(typed, Rejection) else typed


def unheld_stub(snapshot: Snapshot) -> Held:
    """An execution of a stub activity as it was read, for a unit that ends it."""
    return Held(snapshot.state, snapshot.state.execution_id, FunctionKind.STUB)


def same_result(one: Outcome, other: Outcome) -> bool:
    """Whether two results are the same to whoever gets them."""
    if isinstance(one, Ok) and isinstance(other, Ok):
        return one.value == other.value
    return isinstance(one, Err) and isinstance(other, Err) and one.value == other.value


def _unfit(message: str) -> ElsewhereResult:
    return ElsewhereResult(StubResult.TYPE_CHECK_ERROR, message)
