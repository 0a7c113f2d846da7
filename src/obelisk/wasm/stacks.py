"""The stack of a guest, taken while it stands in a host call; it goes on afterwards.

Decides how. wasmtime gives a stack only as the text of a trap, and a trap is the end of whoever called. So a function of ours
is called that does nothing but trap: it is in the same store and is called from inside the callback, so the stack in the
text of its trap goes on with what the guest was doing. It costs the guest nothing, not even fuel. Must not know what the text says.
"""

from __future__ import annotations

import ctypes
from struct import Struct
from typing import Any, Final
from weakref import WeakKeyDictionary

import wasmtime

from obelisk.wasm import capi
from obelisk.wasm.engine import Compiler
from obelisk.wasm.frames import ASKING

_CODE: Final = f'(module ${ASKING} (func $stack (export "stack") unreachable))'
_EXPORT: Final = b"stack"
_pointer: Final = Struct("Q")
_two: Final = Struct("QQ")
# What C writes to.
_TRAP: Final = 0
_ERROR: Final = 8  # right behind: they are read together
_FUEL: Final = 16
_EXTERN: Final = 32
_INSTANCE: Final = _EXTERN + capi.EXTERN_SIZE
_SIZE: Final = _INSTANCE + capi.CORE_FUNC_SIZE


class NoStack(RuntimeError):
    """wasmtime's text says why there is none: there is no room for another instance, for example."""


class _Asking:
    """The module, compiled for one engine."""

    def __init__(self, native: wasmtime.Engine) -> None:
        self._module = wasmtime.Module(native, bytes(wasmtime.wat2wasm(_CODE)))
        self.module = capi.address_of(self._module.ptr())
        self.linker: int = capi.core_linker_new(capi.address_of(native.ptr()))

    def __del__(self) -> None:
        capi.core_linker_delete(self.linker)


_asking: Final[WeakKeyDictionary[wasmtime.Engine, _Asking]] = WeakKeyDictionary()


class Stacks:
    """Of one store."""

    def __init__(self, compiler: Compiler) -> None:
        self._counts_fuel = compiler.fuel is not None
        native: Any = compiler.native
        asking = _asking.get(native)
        if asking is None:
            asking = _asking[native] = _Asking(native)
        self._asking = asking
        self._block = (ctypes.c_char * _SIZE)()
        self._base = ctypes.addressof(self._block)
        self._is_ready = False

    def take(self, context: int) -> str:
        """Now, inside a callback of the store with this context: a text as of a trap. `NoStack`."""
        base = self._base
        if self._counts_fuel:
            capi.context_get_fuel(context, base + _FUEL)
        if not self._is_ready:
            self._instantiate(context)
        _run(capi.core_call_async(context, base + _EXTERN + 8, 0, 0, 0, 0, base + _TRAP, base + _ERROR))
        text = self._end()
        if self._counts_fuel:
            capi.context_set_fuel(context, _pointer.unpack_from(self._block, _FUEL)[0])
        if text is None:
            raise NoStack("the function that traps did not")
        return text

    def _instantiate(self, context: int) -> None:
        base, asking = self._base, self._asking
        _run(
            capi.core_instantiate_async(
                asking.linker, context, asking.module, base + _INSTANCE, base + _TRAP, base + _ERROR
            )
        )
        problem = self._end()
        if problem is not None:
            raise NoStack(problem)
        self._is_ready = capi.core_export_get(context, base + _INSTANCE, _EXPORT, len(_EXPORT), base + _EXTERN)

    def _end(self) -> str | None:
        """How the call ended; None: well."""
        trap, error = _two.unpack_from(self._block, _TRAP)
        _two.pack_into(self._block, _TRAP, 0, 0)
        if error:
            text = capi.take_error(error)
            assert not trap
            raise NoStack(text)
        return capi.take_trap(trap) if trap else None


def _run(future: int) -> None:
    """To its end: what it runs waits for nothing, but its slice may be over."""
    while not capi.future_poll(future):
        pass
    capi.future_delete(future)
