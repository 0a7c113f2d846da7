"""A fiber: one call of one exported function, run step by step and freed in the right order.

Decides when wasmtime's asynchronous C API may be called. Each step runs the guest until it calls a host function, uses up
its slice, returns or traps; the owner answers a host call between two steps. Must not know what a host call means.

The C API ends the process when it is misused. What must hold, and where it is kept:

1. Everything that is passed by pointer (function, arguments, result, error, instance) lives until the future is deleted,
   and the future is deleted before the store: `_Store`, and one block of memory for each fiber.
2. A callback that raises aborts: `_host_callback` catches everything. An error is only heard inside the callback, later
   it is written to dead memory: a host call that was taken is answered, or its fiber closed.
3. One call at a time for each store; no polling, closing or deleting from inside a callback; one thread at a time on a
   future: the owner's lock, and `_forbid_callback`. The one exception is a function of a core module of the same store that
   calls nothing: it may be called, polled to its end and deleted inside a callback (`stacks`).
4. The epoch deadline is set before every poll; "not done" means waiting for the host, or out of its slice.
5. Every handle is lifted before the callback returns, also when it fails: `codec`, and `_refuse`.
6. Destructors are synchronous: they only queue what was dropped (`dropped`). They do not run on a trap or on `close`.
7. After a trap the instance is dead: the state says so.
"""

from __future__ import annotations

import ctypes
import threading
import warnings
from collections import deque
from collections.abc import Callable, Sequence
from enum import Enum
from struct import Struct
from typing import Any, Final

from obelisk.wasm import capi
from obelisk.wasm.codec import CodecError, FunctionCodec, free, handles_in
from obelisk.wasm.engine import Compiler
from obelisk.wit.types import Value

_MEMORY: Final = capi.MEMORY
_VAL: Final = capi.VAL_SIZE
_pointer: Final = Struct("Q")

# The block of a fiber: everything that C writes to or reads from while a call lasts.
_ERROR: Final = 0
_FLAG: Final = 8
_SCRATCH: Final = 16
_INSTANCE: Final = 32
_FUNCTION: Final = _INSTANCE + capi.INSTANCE_SIZE
_RESULT: Final = _FUNCTION + capi.FUNC_SIZE
_ARGUMENTS: Final = _RESULT + _VAL
_FALSE: Final = bytes(_VAL)
"""What is lowered over."""

SLICE_EPOCHS: Final = 2
"""Epochs in a slice. The first one may be about to end, so where they have a period a slice is between one and two of these long."""
_TABLE_ELEMENTS_MAX: Final = 1_000_000


HANDLES_MAX: Final = 50_000
"""Handles that one guest may hold at once: each is an object of the host, which the guest's memory limit does not count."""


class TooManyHandles(CodecError):
    """The guest holds `HANDLES_MAX` handles and was to get one more. Its fault; it cannot be answered."""

    def __init__(self) -> None:
        super().__init__(f"the guest holds {HANDLES_MAX} handles already, the most that it may; drop some")


class FiberMisuse(RuntimeError):
    """The owner of a fiber did what would have ended the process. A bug of the caller; the fiber is as it was before."""


class CallbackFailed(RuntimeError):
    """A host function could not take its arguments. Ours, not the guest's; the guest is dead. `__cause__` says why."""


class State(Enum):
    """Where a fiber stands between two steps."""

    NEW = "new"
    RUNNABLE = "runnable"
    """It used up its slice: `resume`."""
    WAITING = "waiting"
    """It called a host function (`call`, `arguments`): `answer`."""
    RETURNED = "returned"
    """`result` holds what it returned."""
    TRAPPED = "trapped"
    """`trap` holds wasmtime's text; `instantiated` says whether the function was reached at all."""
    CLOSED = "closed"


class HostFunction:
    """A function that guests may call. `meaning` is the business of whoever drives the fiber."""

    __slots__ = ("callback", "codec", "meaning", "name")

    def __init__(self, name: str, codec: FunctionCodec, meaning: Any) -> None:
        self.name = name
        self.codec = codec
        self.meaning = meaning
        self.callback = _host_callback(self)


class Program:
    """A function that is ready to be called: everything that its calls share. Addresses belong to `owner`, which lives
    as long as the program.
    """

    __slots__ = ("codec", "compiler", "component", "engine", "export", "linker", "owner")

    def __init__(
        self, owner: object, compiler: Compiler, component: int, linker: int, export: int, codec: FunctionCodec
    ) -> None:
        self.owner = owner
        self.compiler = compiler
        self.engine = compiler.native_address
        self.component = component
        self.linker = linker
        self.export = export
        self.codec = codec


class _Store:
    """A wasmtime store and the one future that may use it."""

    __slots__ = ("address", "context", "future")

    def __init__(self, program: Program, memory_max: int | None, fuel: int | None) -> None:
        self.future = 0
        self.address: int = capi.store_new(program.engine, None, None)
        self.context: int = capi.store_context(self.address)
        capi.context_epoch_yield(self.context, SLICE_EPOCHS)
        if memory_max is not None:
            capi.store_limiter(self.address, memory_max, _TABLE_ELEMENTS_MAX, -1, -1, -1)
        if fuel is not None:
            error = capi.context_set_fuel(self.context, fuel)
            if error:
                self.delete()
                raise FiberMisuse(f"fuel for an engine that does not count it: {capi.take_error(error)}")

    def delete_future(self) -> None:
        if self.future:
            capi.future_delete(self.future)
            self.future = 0

    def delete(self) -> None:
        if self.future:
            raise FiberMisuse("a store was deleted before its future; delete the future first")
        if self.address:
            capi.store_delete(self.address)
            self.address = self.context = 0


_polled: Final[dict[int, Fiber]] = {}
"""The fibers that are being polled right now, by the address of their store's context: how a callback finds its fiber."""
_orphans: Final[deque[Fiber]] = deque()
"""Fibers that were forgotten instead of closed. The garbage collector may run inside a callback, where nothing may be
freed, so the next fiber to start frees them.
"""

_always: Final = ctypes.create_string_buffer(b"\x01")
_ALWAYS_READY: Final = capi.continuation(ctypes.addressof(_always))


class Fiber:
    """One call of an exported function. Exactly one thread at a time may use it; which one does not matter.

    `memory_max`: bytes that each linear memory may grow to. `fuel`: instructions, for an engine that counts them.
    """

    __slots__ = (
        "_arity",
        "_base",
        "_block",
        "_continuation",
        "_fault",
        "_handles",
        "_in_callback",
        "_lock",
        "_next_rep",
        "_program",
        "_results",
        "_store",
        "_thread",
        "arguments",
        "call",
        "dropped",
        "fuel",
        "instantiated",
        "look",
        "made",
        "memory_max",
        "result",
        "state",
        "trap",
    )

    def __init__(self, program: Program, *, memory_max: int | None = None, fuel: int | None = None) -> None:
        self._program = program
        self.memory_max = memory_max
        self.fuel = fuel
        self.state = State.NEW
        self.instantiated = False
        self.call: HostFunction | None = None
        self.arguments: tuple[Value, ...] = ()
        self.result: Value = None
        self.trap = ""
        self.dropped: list[Value] = []
        """What the guest dropped since the owner last looked, in order; the owner empties it."""
        self.made = 0
        """How many host calls and drops there were."""
        self.look: Callable[[int], None] | None = None
        """Called with the store's context inside the callback of each host call and drop, when `made` has counted it and the
        guest stands in it. It must not touch the fiber. Set it before the start.
        """
        self._lock = threading.Lock()
        self._thread = 0
        self._in_callback = False
        self._fault: BaseException | None = None
        self._handles: dict[int, Value] = {}
        self._next_rep = 1
        self._results = 0

    # --- steps -------------------------------------------------------------------------------------------------------

    def start(self, arguments: Sequence[Value]) -> State:
        """Instantiates the component and calls the function. `CodecError` when the arguments do not fit its type: the
        fiber is then still new.
        """
        self._enter(State.NEW, "started")
        try:
            if _orphans:
                _bury()
            self._allocate(arguments)
            self.state = State.RUNNABLE
            return self._run()
        finally:
            self._lock.release()

    def answer(self, value: Value = None) -> State:
        """Gives the pending host call its result (None for a function without one), and runs on. `CodecError` when the
        value does not fit: the call is then still pending.
        """
        self._enter(State.WAITING, "answered")
        try:
            assert self.call is not None
            lower = self.call.codec.lower_result
            if lower is not None:
                results = self._results
                _MEMORY[results : results + _VAL] = _FALSE
                try:
                    lower(results, value, self)
                except BaseException:
                    free(results)
                    raise
            elif value is not None:
                raise CodecError(f"{self.call.name} has no result, but was answered {value!r:.200}")
            self.call = None
            _MEMORY[self._base + _FLAG] = 1
            return self._run()
        finally:
            self._lock.release()

    def resume(self) -> State:
        """Runs on after the fiber used up its slice."""
        self._enter(State.RUNNABLE, "resumed")
        try:
            return self._run()
        finally:
            self._lock.release()

    def close(self) -> None:
        """Frees everything, in any state; also more than once. Takes microseconds, even from an endless loop."""
        self._enter(None, "closed")
        try:
            self._free()
        finally:
            self._lock.release()

    def __del__(self) -> None:
        if self.state not in (State.NEW, State.CLOSED):
            _orphans.append(self)
            warnings.warn(f"a fiber was forgotten while {self.state.value}; close it", ResourceWarning, stacklevel=1)

    # --- the inside --------------------------------------------------------------------------------------------------

    def _enter(self, wanted: State | None, deed: str) -> None:
        """Makes this thread the owner, or says whose step is under way."""
        if _polled:
            _forbid_callback(deed)
        if not self._lock.acquire(blocking=False):
            where = "its own step" if self._thread == threading.get_ident() else "a step on another thread"
            raise FiberMisuse(f"a fiber was {deed} during {where}; wait until the step is over")
        state = self.state
        if wanted is not None and state is not wanted:
            self._lock.release()
            raise FiberMisuse(f"a fiber was {deed} while {state.value}; expected a fiber that is {wanted.value}")

    def _allocate(self, arguments: Sequence[Value]) -> None:
        program = self._program
        lowers = program.codec.lower_params
        if len(arguments) != len(lowers):
            raise CodecError(f"the function takes {len(lowers)} arguments, got {len(arguments)}")
        self._arity = len(lowers)
        self._block = (ctypes.c_char * (_ARGUMENTS + _VAL * self._arity))()
        self._base = base = ctypes.addressof(self._block)
        try:
            for index, lower in enumerate(lowers):
                lower(base + _ARGUMENTS + index * _VAL, arguments[index], self)
            self._continuation = capi.continuation(base + _FLAG)
            self._store = store = _Store(program, self.memory_max, self.fuel)
        except BaseException:
            self._free_arguments()
            raise
        store.future = capi.instantiate_async(
            program.linker, store.context, program.component, base + _INSTANCE, base + _ERROR
        )

    def _run(self) -> State:
        """Polls until the guest stops for one of the reasons of `State`."""
        store = self._store
        context = store.context
        self._thread = threading.get_ident()
        # Anew for each step: epochs that went by while the fiber waited are not of its slice.
        capi.context_set_epoch_deadline(context, SLICE_EPOCHS)
        _polled[context] = self
        try:
            while capi.future_poll(store.future):
                if self._done():
                    break
            else:
                self.state = State.RUNNABLE if self.call is None else State.WAITING
        finally:
            del _polled[context]
        if self._fault is not None:
            fault, self._fault = self._fault, None
            raise CallbackFailed(f"a host call failed: {fault}") from fault
        return self.state

    def _done(self) -> bool:
        """A future is done: instantiation goes over into the call, the call is the end."""
        store = self._store
        base = self._base
        store.delete_future()
        (error,) = _pointer.unpack_from(_MEMORY, base + _ERROR)
        if error:
            _pointer.pack_into(_MEMORY, base + _ERROR, 0)
            self.trap = capi.take_error(error)
            self.state = State.TRAPPED
            return True
        codec = self._program.codec
        if self.instantiated:
            self.state = State.RETURNED
            if codec.lift_result is not None:
                self.result = codec.lift_result(base + _RESULT, self)
            return True
        self.instantiated = True
        if not capi.instance_get_func(base + _INSTANCE, store.context, self._program.export, base + _FUNCTION):
            self.trap = "the component does not export the function"
            self.state = State.TRAPPED
            return True
        store.future = capi.func_call_async(
            base + _FUNCTION,
            store.context,
            base + _ARGUMENTS,
            self._arity,
            base + _RESULT,
            0 if codec.lift_result is None else 1,
            base + _ERROR,
        )
        return False

    def _free(self) -> None:
        state, self.state = self.state, State.CLOSED
        self.look = None  # whoever looks knows the fiber's owner: nothing is to wait for the garbage collector
        if state in (State.NEW, State.CLOSED):
            return
        self.call = None
        store = self._store
        store.delete_future()
        (error,) = _pointer.unpack_from(_MEMORY, self._base + _ERROR)
        if error:
            capi.take_error(error)
        capi.val_delete(self._base + _RESULT)
        self._free_arguments()
        store.delete()

    def _free_arguments(self) -> None:
        """What they own; nobody looks at this block again."""
        first = self._base + _ARGUMENTS
        for at in range(first, first + self._arity * _VAL, _VAL):
            capi.val_delete(at)

    # --- handles -----------------------------------------------------------------------------------------------------

    def lift(self, resource_any: int, owned: bool) -> Value:
        """For the codec: takes a handle out of the guest."""
        scratch = self._base + _SCRATCH
        error = capi.resource_any_to_host(self._store.context, resource_any, scratch)
        if error:
            raise CodecError(f"a handle could not be taken: {capi.take_error(error)}")
        (host,) = _pointer.unpack_from(_MEMORY, scratch)
        rep = capi.resource_host_rep(host)
        capi.resource_host_delete(host)
        return self._handles.pop(rep) if owned else self._handles[rep]

    def lower(self, value: Value, resource: int) -> int:
        """For the codec: gives the guest a handle for `value`."""
        if len(self._handles) >= HANDLES_MAX:
            raise TooManyHandles
        rep = self._next_rep
        scratch = self._base + _SCRATCH
        host = capi.resource_host_new(True, rep, resource)
        error = capi.resource_host_to_any(self._store.context, host, scratch)
        capi.resource_host_delete(host)
        if error:
            raise CodecError(f"a handle could not be made: {capi.take_error(error)}")
        self._next_rep = rep + 1
        self._handles[rep] = value
        return int(_pointer.unpack_from(_MEMORY, scratch)[0])


def being_polled() -> set[Fiber]:
    """The fibers that are being polled at this moment, by any thread. For whoever wants to know how long that takes."""
    return set(_polled.values())


def _forbid_callback(deed: str) -> None:
    me = threading.get_ident()
    if any(fiber._in_callback and fiber._thread == me for fiber in list(_polled.values())):
        raise FiberMisuse(f"a fiber was {deed} from inside a callback; do it when the step is over")


def _bury() -> None:
    while _orphans:
        try:
            _orphans.popleft().close()
        except IndexError:  # another thread was faster
            return


# --- callbacks -------------------------------------------------------------------------------------------------------


def _host_callback(function: HostFunction) -> Any:
    """The C callback of an import: it notes who called with which arguments, and leaves. The answer comes later."""
    lifts = tuple((index * _VAL, lift) for index, lift in enumerate(function.codec.lift_params))
    result_count = 0 if function.codec.lower_result is None else 1

    def callback(
        _data: int,
        context: int,
        _type: int,
        args: int,
        args_count: int,
        results: int,
        results_count: int,
        error_out: int,
        continuation_out: int,
    ) -> None:
        fiber = None
        try:
            fiber = _polled[context]
            fiber._in_callback = True
            fiber.made += 1
            if fiber.look is not None:
                fiber.look(context)
            if args_count != len(lifts) or results_count != result_count:
                raise CodecError(f"{function.name} was called with {args_count} arguments, {results_count} results")
            fiber.arguments = tuple([lift(args + offset, fiber) for offset, lift in lifts])
            fiber.call = function
            fiber._results = results
            _MEMORY[fiber._base + _FLAG] = 0
            _MEMORY[continuation_out : continuation_out + 24] = fiber._continuation
            fiber._in_callback = False
        except BaseException as fault:  # noqa: BLE001 - an exception that leaves a callback ends the process
            _refuse(fiber, fault, args, args_count, error_out, continuation_out)

    return capi.HostCallback(callback)


def _refuse(
    fiber: Fiber | None, fault: BaseException, args: int, args_count: int, error_out: int, continuation_out: int
) -> None:
    """Ends a host call with an error, from inside its callback: gives back every handle, then lets the guest trap."""
    message = str(fault) or type(fault).__name__
    _pointer.pack_into(_MEMORY, error_out, capi.error_new(message.encode("utf-8", "replace").replace(b"\0", b"?")))
    _MEMORY[continuation_out : continuation_out + 24] = _ALWAYS_READY
    if fiber is None:
        return
    fiber._fault = fault
    fiber.call = None
    for at in range(args, args + args_count * _VAL, _VAL):
        for resource in handles_in(at):
            _give_back(fiber, resource)
    fiber._in_callback = False


def _give_back(fiber: Fiber, resource: int) -> None:
    scratch = fiber._base + _SCRATCH
    error = capi.resource_any_to_host(fiber._store.context, resource, scratch)
    if error:
        capi.take_error(error)  # it was lifted before the failure
    else:
        capi.resource_host_delete(_pointer.unpack_from(_MEMORY, scratch)[0])


def destructor() -> Any:
    """The C callback for dropped handles of host resources: the drop is queued, its meaning comes later. Keep a
    reference to it for as long as a linker uses it.
    """

    def destroy(_data: int, context: int, rep: int) -> int:
        try:
            fiber = _polled[context]
            fiber.made += 1
            if fiber.look is not None:
                fiber._in_callback = True
                fiber.look(context)
                fiber._in_callback = False
            fiber.dropped.append(fiber._handles.pop(rep))
        except BaseException as fault:  # noqa: BLE001 - as above
            return int(capi.error_new(f"a handle could not be dropped: {fault!r}".encode()))
        return 0

    return capi.Destructor(destroy)
