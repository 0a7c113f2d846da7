"""Python guests: workflows written as generators, for tests and the simulator.

A flow is a generator that yields host calls (`core/calls.py`) and is sent their replies; it returns an `Ok` or `Err`,
raises `Trap` to die, and yields `BURN` to use up its slice of CPU. `PythonGuest` makes it a `Guest` of the engine and is
strict about the port: whoever uses it against its rules fails at once. Nothing here runs an activity.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from enum import Enum
from typing import Final

from obelisk.core.calls import Call, Reply
from obelisk.core.ids import ExecutionId
from obelisk.core.ports import Called, Returned, Step, Trapped, Yielded
from obelisk.core.values import Err, Failure, FailureKind, Json, Ok


class Burn(Enum):
    """What a flow yields to use up its slice of CPU; it is sent None."""

    BURN = "burn"


BURN: Final = Burn.BURN

Flow = Generator[Call | Burn, Reply | None, Ok | Err]
"""A running workflow."""
FlowFunction = Callable[[ExecutionId, Json], Flow]
"""A workflow function: its own execution id, its parameters (a canonical JSON array)."""


class Trap(Exception):
    """Raised by a flow that dies; `kind` says as what."""

    def __init__(self, reason: str, kind: FailureKind = FailureKind.UNCATEGORIZED) -> None:
        super().__init__(reason)
        self.failure: Final = Failure(kind, f"workflow trap: {reason}")


class PortMisused(AssertionError):
    """The engine broke a rule of the guest port."""


class _State(Enum):
    NEW = "new"
    CALLED = "called"
    YIELDED = "yielded"
    OVER = "over"
    CLOSED = "closed"


class PythonGuest:
    """One run of a flow. `live` counts the guests of a process that were started and not closed: a leak shows there."""

    def __init__(self, execution_id: ExecutionId, function: FlowFunction, live: set[PythonGuest] | None = None) -> None:
        self.execution_id: Final = execution_id
        self._function = function
        self._flow: Flow | None = None
        self._state = _State.NEW
        self._live: Final = set() if live is None else live

    def start(self, params: Json) -> Step:
        """Makes the generator and runs it to its first step."""
        self._must_be(_State.NEW)
        self._live.add(self)
        self._flow = self._function(self.execution_id, params)
        return self._run(None)

    def send(self, reply: Reply) -> Step:
        """Answers the pending call."""
        self._must_be(_State.CALLED)
        return self._run(reply)

    def resume(self) -> Step:
        """Goes on after `BURN`."""
        self._must_be(_State.YIELDED)
        return self._run(None)

    def close(self) -> None:
        """Drops the generator; in any state, also more than once."""
        if self._flow is not None:
            self._flow.close()
        self._state = _State.CLOSED
        self._live.discard(self)

    def _must_be(self, state: _State) -> None:
        if self._state is not state:
            raise PortMisused(f"the guest of {self.execution_id} is {self._state.value}, not {state.value}")

    def _run(self, reply: Reply | None) -> Step:
        assert self._flow is not None
        try:
            wanted = self._flow.send(reply)
        except StopIteration as stop:
            self._state = _State.OVER
            outcome: Ok | Err = stop.value
            return Returned(outcome)
        except Trap as trap:
            self._state = _State.OVER
            return Trapped(trap.failure)
        if isinstance(wanted, Burn):
            self._state = _State.YIELDED
            return Yielded()
        self._state = _State.CALLED
        return Called(wanted)
