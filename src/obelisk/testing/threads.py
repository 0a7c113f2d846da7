"""Guests that are plain functions: each runs on a thread of its own, and only ever one of all threads runs.

Decides how the turn is handed over: the owner of the guest waits while the function runs, the function waits at its host
call while anybody else does. So a function that blocks is a coroutine for the engine, and a run in the simulator stays
deterministic. Closing a guest raises `GuestClosed` at the pending call, and waits for the thread's end.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Final, TypeVar

from obelisk.core.calls import Reply
from obelisk.core.ids import ExecutionId
from obelisk.core.ports import Called, Returned, Step, Trapped, Yielded
from obelisk.core.values import Err, Json, Ok
from obelisk.testing.context import Ask, Perform
from obelisk.testing.guests import Burn, PortMisused, StrictGuest, Trap

PATIENCE: Final = 1_000
"""Host calls that a function may try after its guest was closed, in its `finally` clauses."""

Body = Callable[[Perform, Json], Ok | Err]
"""Runs a function: how it makes a host call, and its parameters. Raises `Trap` to die."""


T = TypeVar("T")


class GuestClosed(BaseException):
    """The run is over: its execution was unloaded, or its process died. Do not catch it."""


class ThreadGuest(StrictGuest):
    """One run of a function on its own thread."""

    def __init__(self, execution_id: ExecutionId, body: Body, live: set[StrictGuest] | None = None) -> None:
        super().__init__(execution_id, live)
        self._body = body
        self._thread: threading.Thread | None = None
        self._guests_turn = threading.Semaphore(0)
        self._owners_turn = threading.Semaphore(0)
        self._runs = False
        """Whether it is the function's turn."""
        self._waits = False
        """Whether it waits at a call; otherwise it has not begun, runs, or is over."""
        self._step: Step | BaseException | None = None
        self._reply: Reply | None = None
        self._closing = False
        self._refused = 0

    # --- the owner's side --------------------------------------------------------------------------------------------

    def _start(self, params: Json) -> Step:
        name = f"guest {self.execution_id}"
        self._thread = threading.Thread(target=self._main, args=(params,), name=name, daemon=True)
        self._thread.start()
        return self._next()

    def _send(self, reply: Reply) -> Step:
        self._reply = reply
        return self._next()

    def _resume(self) -> Step:
        self._reply = None
        return self._next()

    def _next(self) -> Step:
        """Hands the turn to the function, and waits until it comes back."""
        self._runs = True
        self._guests_turn.release()
        self._owners_turn.acquire()
        self._runs = False
        step, self._step = self._step, None
        self._waits = isinstance(step, Called | Yielded)
        if isinstance(step, BaseException):
            raise step
        assert step is not None
        return step

    def _close(self) -> None:
        thread = self._thread
        if thread is None or self._closing:
            return
        self._closing = True
        if self._runs:  # the owner was interrupted while it waited: the thread ends at its next call
            return
        if self._waits:
            self._guests_turn.release()
            self._owners_turn.acquire()
        if self._refused > PATIENCE:
            raise PortMisused(
                f"the workflow of {self.execution_id} makes host calls although its run is over: it must not catch"
                " BaseException"
            )
        thread.join()

    # --- the function's side -----------------------------------------------------------------------------------------

    def _main(self, params: Json) -> None:
        self._guests_turn.acquire()
        try:
            self._step = Returned(self._body(self._perform, params))
        except Trap as trap:
            self._step = Trapped(trap.failure)
        except GuestClosed:
            pass
        except BaseException as error:  # noqa: BLE001 - it is the owner's
            self._step = error
        self._owners_turn.release()

    def _perform(self, ask: Ask[T], /) -> T:
        """A host call."""
        if threading.current_thread() is not self._thread:
            raise RuntimeError("host calls are made on the workflow's own thread only")
        if self._closing:
            self._refused += 1
            if self._refused > PATIENCE:
                self._owners_turn.release()
                threading.Event().wait()  # it would go on for ever; the owner says what is wrong
            raise GuestClosed
        self._step = Yielded() if isinstance(ask.call, Burn) else Called(ask.call)
        self._owners_turn.release()
        self._guests_turn.acquire()
        if self._closing:
            raise GuestClosed
        return ask.take(self._reply)
