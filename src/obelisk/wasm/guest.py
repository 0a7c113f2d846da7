"""A workflow's run as a `Guest`: a coroutine with data on both sides.

Decides the order in which the owner hears of things: handles that were dropped come before the next host call or the
return. Must not decide what a call is answered.
"""

from __future__ import annotations

import logging

from obelisk.core.calls import Done, JoinSetClose, Reply
from obelisk.core.ports import Called, FunctionKind, Returned, Step, Trapped, Yielded
from obelisk.core.values import Json
from obelisk.wasm import trap
from obelisk.wasm.calls import Immediate, Meaning
from obelisk.wasm.codec import CodecError
from obelisk.wasm.fiber import CallbackFailed, Fiber, FiberMisuse, State
from obelisk.wasm.link import EntryPoint
from obelisk.wit.reader import InvalidJson, ValueMismatch

_log = logging.getLogger(__name__)
_YIELDED = Yielded()
_KIND = FunctionKind.WORKFLOW


class PoolIsFull(RuntimeError):
    """There is no room for another instance now; nothing was started, try again later."""


class WorkflowGuest:
    """Implements `obelisk.core.ports.Guest` over a fiber. `memory_max`: bytes of each linear memory. `start` raises
    `PoolIsFull` when there is no room.
    """

    __slots__ = ("_closing", "_entry", "_fiber", "_meaning")

    def __init__(self, entry: EntryPoint, *, memory_max: int | None = None) -> None:
        self._entry = entry
        compiler = entry.program.compiler
        self._fiber = Fiber(entry.program, memory_max=memory_max or compiler.memory_max, fuel=compiler.fuel)
        self._meaning: Meaning | None = None
        self._closing = False

    def start(self, params: Json) -> Step:
        """Instantiates the component and calls the function with `params`, a canonical JSON array."""
        try:
            arguments = self._entry.function.params.load(params)
        except (InvalidJson, ValueMismatch, CodecError) as problem:
            return Trapped(trap.bad_params(_KIND, problem))
        try:
            return self._step(self._fiber.start(arguments))
        except CallbackFailed as fault:
            return _host_failed(fault)

    def send(self, reply: Reply) -> Step:
        """Answers the pending call and runs on."""
        try:
            if self._closing:
                if not isinstance(reply, Done):
                    raise FiberMisuse(f"the close of a dropped handle was answered {reply!r:.200}; expected Done")
                self._closing = False
                return self._step(self._fiber.state)
            meaning = self._meaning
            if meaning is None:
                raise FiberMisuse("a guest was sent a reply without having called; resume or close it")
            state = self._fiber.answer(meaning.result(reply))
            self._meaning = None
            return self._step(state)
        except CallbackFailed as fault:
            return _host_failed(fault)

    def resume(self) -> Step:
        """Runs on after `Yielded`."""
        try:
            return self._step(self._fiber.resume())
        except CallbackFailed as fault:
            return _host_failed(fault)

    def close(self) -> None:
        """Frees everything; in any state, also more than once."""
        self._fiber.close()

    def _step(self, state: State) -> Step:
        fiber = self._fiber
        while True:
            if state is State.RUNNABLE:
                return _YIELDED
            if state is State.TRAPPED:
                return self._trapped(fiber.trap)
            if fiber.dropped:
                self._closing = True
                return Called(JoinSetClose(fiber.dropped.pop(0)))
            if state is State.RETURNED:
                return Returned(self._entry.function.outcomes.outcome(fiber.result))
            called = fiber.call
            assert called is not None
            meaning = called.meaning
            call = meaning.call(fiber.arguments)
            if isinstance(call, Immediate):
                state = fiber.answer(call.value)
                continue
            self._meaning = meaning
            return Called(call)

    def _trapped(self, text: str) -> Step:
        if self._fiber.instantiated:
            return Trapped(trap.trapped(_KIND, text))
        if trap.says_pool_is_full(text):
            raise PoolIsFull(text)
        return Trapped(trap.not_instantiated(_KIND, text))


def _host_failed(fault: CallbackFailed) -> Trapped:
    _log.error("a workflow was ended by an error of the host", exc_info=fault)
    return Trapped(trap.host_failed(_KIND, fault))
