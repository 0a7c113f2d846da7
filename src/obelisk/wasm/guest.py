"""A workflow's run as a `Guest`: a coroutine with data on both sides.

Decides the order in which the owner hears of things: join sets that were dropped come before the next host call or the
return, output that is left over after it. A WASI function is a coroutine that is driven here: each call it asks is a host
call. Must not decide what a call is answered.
"""

from __future__ import annotations

import logging
from collections.abc import Generator
from contextlib import suppress
from typing import Any

from obelisk.core.backtraces import Frame
from obelisk.core.calls import Call, Done, JoinSetClose, Output, Reply
from obelisk.core.ids import JoinSetId
from obelisk.core.ports import Called, FunctionKind, Returned, Step, Trapped, Yielded
from obelisk.core.values import Json
from obelisk.wasm import trap
from obelisk.wasm.calls import Immediate, Meaning
from obelisk.wasm.codec import CodecError
from obelisk.wasm.engine import Placement
from obelisk.wasm.fiber import CallbackFailed, Fiber, FiberMisuse, State, TooManyHandles
from obelisk.wasm.link import EntryPoint
from obelisk.wasm.peek import Peek
from obelisk.wasm.seen import Seen
from obelisk.wasm.stacks import NoStack, Stacks
from obelisk.wasm.wasi.host import GuestTrap, is_later
from obelisk.wasm.wasi.workflow import WorkflowHost
from obelisk.wit.reader import InvalidJson, ValueMismatch

_log = logging.getLogger(__name__)
_YIELDED = Yielded()
_KIND = FunctionKind.WORKFLOW


class PoolIsFull(RuntimeError):
    """There is no room for another instance now; nothing was started, try again later."""


class WorkflowGuest:
    """Implements `obelisk.core.ports.Guest` and `Inside` over a fiber. `memory_max`: bytes of each linear memory. `start`
    raises `PoolIsFull` when there is no room.
    """

    __slots__ = (
        "_closing",
        "_end",
        "_entry",
        "_fiber",
        "_host",
        "_meaning",
        "_memory_max",
        "_peek",
        "_rest",
        "_seen",
        "_wasi",
    )

    def __init__(self, entry: EntryPoint, *, memory_max: int | None = None) -> None:
        self._entry = entry
        self._memory_max = memory_max
        self._fiber = self._new_fiber()
        self._meaning: Meaning | None = None
        self._closing = False
        self._host = WorkflowHost()
        self._wasi: Generator[Call, Reply | None, Any] | None = None
        """The WASI function that waits for a reply."""
        self._rest: list[Output] = []
        self._end: Step | None = None
        """How the run has ended, while output that was left over is handed out."""
        self._peek: Peek | None = None
        self._seen: Seen | None = None

    def _new_fiber(self) -> Fiber:
        program = self._entry.program
        compiler = program.compiler
        return Fiber(program, memory_max=self._memory_max or compiler.memory_max, fuel=compiler.fuel)

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
            if self._end is not None:
                return self._wind_up(self._end)
            if self._wasi is not None:
                return self._drive(self._wasi, reply)
            meaning = self._meaning
            if meaning is None:
                raise FiberMisuse("a guest was sent a reply without having called; resume or close it")
            try:
                state = self._fiber.answer(meaning.result(reply))
            except TooManyHandles as mistake:
                return self._wasi_failed(mistake)
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
        if self._wasi is not None:
            self._wasi.close()
            self._wasi = None
        self._fiber.close()

    # --- where it is -------------------------------------------------------------------------------------------------

    def look(self) -> None:
        """See `Inside`."""
        if self._entry.program.compiler.placement is Placement.ON_DEMAND:  # where interpreters are
            with suppress(OSError):
                self._entry, code = self._entry.apart()
                self._peek = Peek(code)
                self._fiber = self._new_fiber()
        self._seen = Seen(Stacks(self._entry.program.compiler), self._peek)
        self._fiber.look = self._look

    def _look(self, context: int) -> None:
        fiber = self._fiber
        assert self._seen is not None
        self._seen.look(fiber.made, context, others_wait=bool(fiber.dropped))

    def stack(self) -> tuple[Frame, ...] | None:
        """See `Inside`. `PoolIsFull` when there was no room to look."""
        number = self._call_number()
        if number is None:
            return None
        meaning = self._meaning
        if not self._closing and meaning is not None and meaning.told is not None:
            told = meaning.told(self._fiber.arguments)
            if told is not None:
                return told
        assert self._seen is not None, "it was not told to look"
        try:
            return self._seen.frames(number)
        except NoStack as problem:
            if trap.says_pool_is_full(str(problem)):
                raise PoolIsFull(str(problem)) from None
            raise

    def _call_number(self) -> int | None:
        """Which of its calls and drops, as the fiber counts them, it waits in."""
        fiber = self._fiber
        if self._closing:  # the drop that was heard of, before those that still wait, and the call that follows them
            return fiber.made - len(fiber.dropped) - (fiber.call is not None)
        waits = self._meaning is not None or self._wasi is not None
        return fiber.made if waits and self._end is None else None

    def _step(self, state: State) -> Step:
        fiber = self._fiber
        while True:
            if state is State.RUNNABLE:
                return _YIELDED
            if state is State.TRAPPED:
                return self._wind_up(self._trapped(fiber.trap))
            while fiber.dropped:
                dropped = fiber.dropped.pop(0)
                if isinstance(dropped, str):  # anything else is WASI's, and has nothing to close
                    self._closing = True
                    return Called(JoinSetClose(JoinSetId(dropped)))
            if state is State.RETURNED:
                return self._wind_up(Returned(self._entry.function.outcomes.outcome(fiber.result)))
            called = fiber.call
            assert called is not None
            meaning = called.meaning
            if not isinstance(meaning, Meaning):
                try:
                    answer = meaning(self._host, *fiber.arguments)
                    if is_later(answer):
                        return self._drive(answer, None)
                    state = fiber.answer(answer)
                except Exception as error:  # noqa: BLE001 - the guest's mistake, or ours: the run ends, the engine must not
                    return self._wasi_failed(error)
                continue
            call = meaning.call(fiber.arguments)
            if isinstance(call, Immediate):
                state = fiber.answer(call.value)
                continue
            self._meaning = meaning
            return Called(call)

    def _drive(self, wasi: Generator[Call, Reply | None, Any], reply: Reply | None) -> Step:
        """Runs a WASI function on to its next host call, or to its end, and then the guest."""
        self._wasi = wasi
        try:
            return Called(wasi.send(reply))
        except StopIteration as end:
            self._wasi = None
            value = end.value
        except Exception as error:  # noqa: BLE001 - as above
            self._wasi = None
            return self._wasi_failed(error)
        try:
            state = self._fiber.answer(value)
        except CodecError as error:
            return self._wasi_failed(error)
        return self._step(state)

    def _wasi_failed(self, error: Exception) -> Step:
        """A pending call cannot be answered with an error, so that is the end of the run."""
        if isinstance(error, CallbackFailed):
            raise error
        if isinstance(error, (GuestTrap, TooManyHandles)):
            return self._wind_up(Trapped(trap.trapped(_KIND, str(error))))
        return self._wind_up(_host_failed(error))

    def _wind_up(self, end: Step) -> Step:
        """`end`, once all output is handed out."""
        if self._end is None:
            self._rest = self._host.rest()
        self._end = end if self._rest else None
        return Called(self._rest.pop(0)) if self._rest else end

    def _trapped(self, text: str) -> Step:
        if self._fiber.instantiated:
            return Trapped(trap.trapped(_KIND, text))
        if trap.says_pool_is_full(text):
            raise PoolIsFull(text)
        return Trapped(trap.not_instantiated(_KIND, text))


def _host_failed(fault: Exception) -> Trapped:
    _log.error("a workflow was ended by an error of the host", exc_info=fault)
    return Trapped(trap.host_failed(_KIND, fault))
