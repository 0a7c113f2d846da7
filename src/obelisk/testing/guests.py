"""Python guests: workflows written as generators, for tests and the simulator.

A flow is a generator that yields host calls (`core/calls.py`) and is sent their replies; it returns an `Ok` or `Err`,
raises `Trap` to die, and yields `BURN` to use up its slice of CPU. `PythonGuest` makes it a `Guest` of the engine.
Guests here are strict about the port: whoever uses one against its rules fails at once. Nothing here runs an activity.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
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

    def __init__(self, reason: str, kind: FailureKind = FailureKind.UNCATEGORIZED, detail: str = "") -> None:
        super().__init__(reason)
        self.failure: Final = Failure(kind, f"workflow trap: {reason}", detail)


class PortMisused(AssertionError):
    """The engine broke a rule of the guest port."""


class _State(Enum):
    NEW = "new"
    CALLED = "called"
    YIELDED = "yielded"
    OVER = "over"
    CLOSED = "closed"


class StrictGuest(ABC):
    """A guest that watches over the port: each subclass only says how to run on to the next step.

    `live` counts the guests of a process that were started and not closed: a leak shows there.
    """

    def __init__(self, execution_id: ExecutionId, live: set[StrictGuest] | None = None) -> None:
        self.execution_id: Final = execution_id
        self._state = _State.NEW
        self._live: Final = set() if live is None else live

    def start(self, params: Json) -> Step:
        """Makes it and runs it to its first step."""
        self._must_be(_State.NEW)
        self._live.add(self)
        return self._after(self._start(params))

    def send(self, reply: Reply) -> Step:
        """Answers the pending call."""
        self._must_be(_State.CALLED)
        return self._after(self._send(reply))

    def resume(self) -> Step:
        """Goes on after a slice was used up."""
        self._must_be(_State.YIELDED)
        return self._after(self._resume())

    def close(self) -> None:
        """Drops it; in any state, also more than once."""
        self._state = _State.CLOSED
        self._live.discard(self)
        self._close()

    def _must_be(self, state: _State) -> None:
        if self._state is not state:
            raise PortMisused(f"the guest of {self.execution_id} is {self._state.value}, not {state.value}")

    def _after(self, step: Step) -> Step:
        match step:
            case Called():
                self._state = _State.CALLED
            case Yielded():
                self._state = _State.YIELDED
            case Returned() | Trapped():
                self._state = _State.OVER
        return step

    @abstractmethod
    def _start(self, params: Json) -> Step:
        """The first step."""

    @abstractmethod
    def _send(self, reply: Reply) -> Step:
        """The step after a call."""

    @abstractmethod
    def _resume(self) -> Step:
        """The step after a yield."""

    @abstractmethod
    def _close(self) -> None:
        """Frees everything; in any state, also more than once."""


class PythonGuest(StrictGuest):
    """One run of a flow."""

    def __init__(self, execution_id: ExecutionId, function: FlowFunction, live: set[StrictGuest] | None = None) -> None:
        super().__init__(execution_id, live)
        self._function = function
        self._flow: Flow | None = None

    def _start(self, params: Json) -> Step:
        self._flow = self._function(self.execution_id, params)
        return self._run(None)

    def _send(self, reply: Reply) -> Step:
        return self._run(reply)

    def _resume(self) -> Step:
        return self._run(None)

    def _close(self) -> None:
        if self._flow is not None:
            self._flow.close()

    def _run(self, reply: Reply | None) -> Step:
        assert self._flow is not None
        try:
            wanted = self._flow.send(reply)
        except StopIteration as stop:
            outcome: Ok | Err = stop.value
            return Returned(outcome)
        except Trap as trap:
            return Trapped(trap.failure)
        return Yielded() if isinstance(wanted, Burn) else Called(wanted)
