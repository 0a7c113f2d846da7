"""One attempt at an activity: instantiate, call, free.

Decides how the function's end is reported: what it returned, or why it failed and whether trying again can help. Must not
decide whether it is tried again, nor how long it may run: the owner closes it at its deadline.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

import msgspec

from obelisk.core.calls import Log, LogLine
from obelisk.core.ports import FunctionKind, Yielded
from obelisk.core.values import Json, Outcome
from obelisk.wasm import trap
from obelisk.wasm.codec import CodecError
from obelisk.wasm.fiber import CallbackFailed, Fiber, State
from obelisk.wasm.guest import PoolIsFull
from obelisk.wasm.link import EntryPoint
from obelisk.wit.reader import InvalidJson, ValueMismatch

_log = logging.getLogger(__name__)
_YIELDED = Yielded()
_KIND = FunctionKind.ACTIVITY

LogSink = Callable[[LogLine], None]
"""Takes a line that the activity logs; called between two slices, on the thread that runs them."""


class Finished(msgspec.Struct, frozen=True):
    """The attempt is over. `permanent`: another attempt would end in the same way (bad parameters, a component that
    cannot be instantiated); an `Err` says the same of itself in its own field.
    """

    outcome: Outcome
    permanent: bool = False


ActivityStep = Finished | Yielded


class ActivityRun:
    """One attempt. After `Yielded` its owner, on any thread, resumes or closes it; after `Finished` it closes it.

    `memory_max`: bytes of each linear memory. `start` raises `PoolIsFull` when there is no room.
    """

    __slots__ = ("_entry", "_fiber", "_log_line")

    def __init__(self, entry: EntryPoint, log_line: LogSink, *, memory_max: int | None = None) -> None:
        self._entry = entry
        self._log_line = log_line
        compiler = entry.program.compiler
        self._fiber = Fiber(entry.program, memory_max=memory_max or compiler.memory_max, fuel=compiler.fuel)

    def start(self, params: Json) -> ActivityStep:
        """Runs the first slice; `params` is a canonical JSON array."""
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

    def close(self) -> None:
        """Frees everything; in any state, also more than once."""
        self._fiber.close()

    def _step(self, state: State) -> ActivityStep:
        fiber = self._fiber
        while state is State.WAITING:
            called = fiber.call
            assert called is not None
            self._log_line(Log(called.meaning, fiber.arguments[0]))
            state = fiber.answer()
        if state is State.RUNNABLE:
            return _YIELDED
        if state is State.RETURNED:
            return Finished(self._entry.function.outcomes.outcome(fiber.result))
        if fiber.instantiated:
            return Finished(trap.trapped(_KIND, fiber.trap))
        if trap.says_pool_is_full(fiber.trap):
            raise PoolIsFull(fiber.trap)
        return Finished(trap.not_instantiated(_KIND, fiber.trap), permanent=True)


def _host_failed(fault: CallbackFailed) -> Finished:
    _log.error("an activity was ended by an error of the host", exc_info=fault)
    return Finished(trap.host_failed(_KIND, fault))
