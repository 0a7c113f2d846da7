"""Ends: an execution finishes, and those who wait for it hear of it in the same unit.

Decides what a response does to the execution that it is for, and that an execution which cannot go on is parked. Whoever
holds the parent delivers to it; otherwise the response is posted, and the parent's holder takes it in.
"""

from __future__ import annotations

from obelisk.core import ids
from obelisk.core.events import Finished, Parked, Resumed
from obelisk.core.http_traces import HttpTrace
from obelisk.core.ports import FunctionKind
from obelisk.core.responses import ChildFinished, Response
from obelisk.core.state import Lifecycle
from obelisk.core.values import Outcome
from obelisk.engine.books import Books
from obelisk.engine.effects import Load, WakeOthers
from obelisk.engine.held import Held, Phase
from obelisk.engine.tick import Draft, OpenUnit


class Ends:
    """Finishing, responding, parking."""

    def __init__(self, books: Books) -> None:
        self._books = books

    def finish(self, held: Held, outcome: Outcome, unit: OpenUnit, http_traces: tuple[HttpTrace, ...] = ()) -> None:
        """Appends `finished` to an execution of `unit` and tells the parent in the same unit. `http_traces`: of the last
        attempt at an activity.
        """
        version = unit.append(held, Finished(outcome, http_traces))
        state = held.state
        if held.delays:
            unit.unit.delays_done += [(held.execution_id, delay) for delay in held.delays]
            held.delays.clear()
        if state.join_set is None:
            return
        child = ids.relative(held.execution_id)
        response = Response(0, unit.draft.now, state.join_set, ChildFinished(child, version, outcome))
        parent = self._books.parent_of(held)
        if parent is not None:
            unit.touch(parent)
            self.deliver(parent, unit.respond(parent, response), unit)
            return
        parent_id = ids.parent_of(held.execution_id)
        assert parent_id is not None
        unit.post(parent_id, response)
        unit.effect(WakeOthers(parent_id))

    def give_result(self, held: Held, outcome: Outcome, unit: OpenUnit) -> None:
        """Ends an execution of a stub activity. One that is parked does not need its component for that."""
        if held.state.lifecycle is Lifecycle.PARKED:
            unit.append(held, Resumed())
        self.finish(held, outcome, unit)

    def deliver(self, held: Held, response: Response, unit: OpenUnit | None) -> None:
        """Gives a response to an execution that `unit` touches, and wakes it if it was waiting for it."""
        if held.machine is not None:
            held.machine.deliver(response)
        elif held.phase is Phase.LOADING or held.snapshot is not None:
            held.late.append(response)
        if not self._books.may_run(held):
            return
        if held.phase is Phase.BLOCKED:
            self._books.make_runnable(held)
        elif held.phase is Phase.COLD and held.kind is FunctionKind.WORKFLOW and unit is not None:
            held.phase = Phase.LOADING
            unit.effect(Load(held.execution_id))

    def park(self, held: Held, why: Parked, draft: Draft) -> None:
        """Parks an execution: visible, not finished, and not run until it is resumed."""
        unit = draft.unit([held], [])
        unit.append(held, why)
        unit.close()
        held.unload()
