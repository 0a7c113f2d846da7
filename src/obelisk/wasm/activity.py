"""One attempt at an activity: instantiate, call, free.

Decides how the function's end is reported: what it returned, or why it failed and whether trying again can help. What the
guest waits for is handed to the owner as a coroutine. Must not decide whether the attempt is tried again, nor how long it
may run: the owner closes it at its deadline.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Coroutine
from typing import Any, Protocol

import msgspec

from obelisk.core.ports import FunctionKind, Yielded
from obelisk.core.values import Json, Outcome
from obelisk.wasm import trap
from obelisk.wasm.codec import CodecError
from obelisk.wasm.fiber import CallbackFailed, Fiber, State, TooManyHandles
from obelisk.wasm.guest import PoolIsFull
from obelisk.wasm.link import EntryPoint
from obelisk.wasm.wasi.host import GuestTrap, is_later
from obelisk.wit.reader import InvalidJson, ValueMismatch
from obelisk.wit.types import Value

_log = logging.getLogger(__name__)
_YIELDED = Yielded()
_KIND = FunctionKind.ACTIVITY


class Finished(msgspec.Struct, frozen=True):
    """The attempt is over. `permanent`: another attempt would end in the same way (bad parameters, a component that
    cannot be instantiated); an `Err` says the same of itself in its own field.
    """

    outcome: Outcome
    permanent: bool = False


class Waiting(msgspec.Struct, frozen=True):
    """The guest waits for what `coroutine` comes to: to be awaited on the I/O loop, then `answer` or `fail`. Whoever drops
    it closes it. `queues`: it waits for its turn, which is not held against its deadline.
    """

    coroutine: Coroutine[Any, Any, Value]
    queues: bool = False


ActivityStep = Finished | Yielded | Waiting


Hold = Callable[[], None]
"""Returns when what a guest asks for may be done."""


class RunHost(Protocol):
    """The host of a run, which ends with it; what else it must have follows from what the component imports."""

    def close(self) -> None:
        """The run is over; from any thread, also more than once."""
        ...


class ActivityRun:
    """One attempt. After `Yielded` its owner, on any thread, resumes or closes it; after `Waiting` it answers, fails or
    closes it; after `Finished` it closes it. The host is closed with it.

    `memory_max`: bytes of each linear memory. `start` raises `PoolIsFull` when there is no room.
    """

    __slots__ = ("_entry", "_fiber", "_hold", "_host")

    def __init__(self, entry: EntryPoint, host: RunHost, *, memory_max: int | None = None) -> None:
        self._entry = entry
        self._host = host
        self._hold: Hold | None = None
        compiler = entry.program.compiler
        self._fiber = Fiber(entry.program, memory_max=memory_max or compiler.memory_max, fuel=compiler.fuel)

    def start(self, params: Json, hold: Hold | None = None) -> ActivityStep:
        """Runs the first slice; `params` is a canonical JSON array. `hold` returns when the host may do something for it: it is
        called before the first host call is answered. What it raises ends the run.
        """
        self._hold = hold
        try:
            arguments = self._entry.function.params.load(params)
        except (InvalidJson, ValueMismatch, CodecError) as problem:
            return Finished(trap.bad_params(_KIND, problem), permanent=True)
        try:
            return self._step(self._fiber.start(arguments))
        except CallbackFailed as fault:
            return _host_failed(fault)

    def resume(self) -> ActivityStep:
        """Runs the next slice."""
        try:
            return self._step(self._fiber.resume())
        except CallbackFailed as fault:
            return _host_failed(fault)

    def answer(self, value: Value) -> ActivityStep:
        """Runs on with what the guest waited for."""
        try:
            return self._step(self._fiber.answer(value))
        except (CallbackFailed, TooManyHandles) as fault:
            return self.fail(fault)

    def fail(self, error: Exception) -> ActivityStep:
        """What the guest waited for ended in `error`, which is the end of the run too: a pending call cannot be answered with
        one.
        """
        if isinstance(error, (GuestTrap, TooManyHandles)):
            return Finished(trap.trapped(_KIND, str(error)))
        return _host_failed(error)

    def close(self) -> None:
        """Frees everything; in any state, also more than once."""
        self._fiber.close()
        self._host.close()

    def _step(self, state: State) -> ActivityStep:
        fiber = self._fiber
        while state is State.WAITING:
            called = fiber.call
            assert called is not None
            if fiber.dropped:
                self._drop()
            if self._hold is not None:
                self._hold()
                self._hold = None
            try:
                answer = called.meaning(self._host, *fiber.arguments)
                if is_later(answer):
                    return Waiting(answer)
                state = fiber.answer(answer)
            except CallbackFailed:
                raise
            except Exception as error:  # noqa: BLE001 - a guest's mistake, or ours: the run ends, the process must not
                return self.fail(error)
        if state is State.RUNNABLE:
            return _YIELDED
        if state is State.RETURNED:
            return Finished(self._entry.function.outcomes.outcome(fiber.result))
        if fiber.instantiated:
            return Finished(trap.trapped(_KIND, fiber.trap))
        if trap.says_pool_is_full(fiber.trap):
            raise PoolIsFull(fiber.trap)
        return Finished(trap.not_instantiated(_KIND, fiber.trap), permanent=True)

    def _drop(self) -> None:
        """The guest has dropped handles: frees what they stood for."""
        dropped, self._fiber.dropped = self._fiber.dropped, []
        for value in dropped:
            close = getattr(value, "close", None)
            if close is not None:
                close()


def _host_failed(fault: Exception) -> Finished:
    _log.error("an activity was ended by an error of the host", exc_info=fault)
    return Finished(trap.host_failed(_KIND, fault))
