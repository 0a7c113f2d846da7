"""wasmtime's C API as plain functions over integers and bytes.

Decides how each function of the shared library is called: with the GIL held (everything that takes about a microsecond)
or released (polling a guest, compiling, making an engine). Knows the layout of the C structures, and refuses to be
imported when the installed wasmtime has another one. Must not decide when anything is called: the facts that abort the
process when forgotten are kept by `fiber` and `codec`.

Pointers are `int`; structures are read and written in place, through `MEMORY` and `struct`: building ctypes objects for
each value costs ten times as much. wasmtime-py's own classes are used where speed does not matter (`Engine`, `Config`);
its component `Func` and `add_func` must not be: they rebuild every type on each call and keep exceptions in a global.
"""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Callable
from ctypes import CFUNCTYPE, PYFUNCTYPE, c_bool, c_char_p, c_int64, c_size_t, c_uint32, c_uint64, c_void_p
from typing import Any, Final

from wasmtime import _bindings, _ffi

Foreign = Callable[..., Any]
"""A C function: ctypes gives it no useful type."""

_dll: Final = _ffi.dll
_libc: Final = ctypes.CDLL(None)

VAL_SIZE: Final = 32
"""`wasmtime_component_val_t`: kind (u8) at 0, union at 8."""
ENTRY_SIZE: Final = 48
"""`wasmtime_component_valrecord_entry_t`: name (16 bytes), value (32 bytes)."""
FUNC_SIZE: Final = 32
INSTANCE_SIZE: Final = 16
CORE_FUNC_SIZE: Final = 16
"""`wasmtime_func_t`, of a core module; `wasmtime_instance_t` is as long."""
EXTERN_SIZE: Final = 32
"""`wasmtime_extern_t`: kind (u8) at 0, union at 8."""
VEC_SIZE: Final = 16
"""Every vector: size, then pointer to the data."""


def _check_layout() -> None:
    sizes = {
        "wasmtime_component_val": VAL_SIZE,
        "wasmtime_component_valrecord_entry": ENTRY_SIZE,
        "wasmtime_component_func": FUNC_SIZE,
        "wasmtime_component_instance": INSTANCE_SIZE,
        "wasmtime_instance": CORE_FUNC_SIZE,
        "wasmtime_func": CORE_FUNC_SIZE,
        "wasmtime_extern": EXTERN_SIZE,
        "wasm_byte_vec_t": VEC_SIZE,
        "wasmtime_async_continuation_t": 24,
    }
    for name, size in sizes.items():
        actual = ctypes.sizeof(getattr(_bindings, name))
        if actual != size:
            raise ImportError(f"wasmtime's {name} has {actual} bytes, expected {size}; install wasmtime>=50,<51")
    val = _bindings.wasmtime_component_val
    extern = _bindings.wasmtime_extern
    if (val.kind.offset, val.of.offset, extern.of.offset) != (0, 8, 8):
        raise ImportError("wasmtime's values have an unknown layout; install wasmtime>=50,<51")


_check_layout()


def _quick(name: str, result: Any, *arguments: Any) -> Foreign:
    """A function that keeps the GIL: releasing it costs more than the call, and far more beside a busy thread."""
    return PYFUNCTYPE(result, *arguments)((name, _dll))


def _long(name: str, result: Any, *arguments: Any) -> Foreign:
    """A function that releases the GIL: it may run for long, or run a guest."""
    return CFUNCTYPE(result, *arguments)((name, _dll))


# --- memory ----------------------------------------------------------------------------------------------------------

MEMORY: Final[memoryview] = memoryview((ctypes.c_char * (1 << 62)).from_address(0)).cast("B")
"""The address space of this process: `unpack_from(MEMORY, address)` reads and `pack_into(MEMORY, address, …)` writes C
structures at 0.1 µs each. Like every pointer of C, an address that is not owned must not be touched.
"""
# --- callbacks -------------------------------------------------------------------------------------------------------

HostCallback: Final = CFUNCTYPE(
    None, c_void_p, c_void_p, c_void_p, c_void_p, c_size_t, c_void_p, c_size_t, c_void_p, c_void_p
)
"""data, context, function type, args, nargs, results, nresults, error out, continuation out. Must not raise."""
Destructor: Final = CFUNCTYPE(c_size_t, c_void_p, c_void_p, c_uint32)
"""data, context, rep -> error or 0. Synchronous; must not raise."""

_strlen: Final = ctypes.cast(_libc.strlen, c_void_p).value


def continuation(flag: int) -> bytes:
    """The `wasmtime_async_continuation_t` of a host call that goes on once the byte at address `flag` is 1.

    A continuation is `bool (*)(void *env)`, asked once after the callback and once at each poll. `strlen` of a flag byte
    that is 0 or 1 and followed by a zero byte is exactly that function, without entering Python (and waiting for the GIL)
    twice more for each host call. No finalizer: nothing is owned.
    """
    return struct.pack("QQQ", _strlen, flag, 0)


# --- engine, component, linker ---------------------------------------------------------------------------------------

component_new = _long("wasmtime_component_new", c_void_p, c_void_p, c_char_p, c_size_t, c_void_p)
component_serialize = _long("wasmtime_component_serialize", c_void_p, c_void_p, c_void_p)
component_deserialize_file = _long("wasmtime_component_deserialize_file", c_void_p, c_void_p, c_char_p, c_void_p)
component_delete = _long("wasmtime_component_delete", None, c_void_p)


def trim_memory() -> None:
    """Gives memory that was freed back to the system. Takes a tenth of a second after much was, without the GIL; does nothing
    where the C library has no `malloc_trim`.
    """
    trim = getattr(_libc, "malloc_trim", None)
    if trim is not None:
        trim(c_size_t(0))


component_get_export_index = _quick(
    "wasmtime_component_get_export_index", c_void_p, c_void_p, c_void_p, c_char_p, c_size_t
)
export_index_delete = _quick("wasmtime_component_export_index_delete", None, c_void_p)

linker_new = _quick("wasmtime_component_linker_new", c_void_p, c_void_p)
linker_delete = _quick("wasmtime_component_linker_delete", None, c_void_p)
linker_root = _quick("wasmtime_component_linker_root", c_void_p, c_void_p)
linker_instance_delete = _quick("wasmtime_component_linker_instance_delete", None, c_void_p)
linker_instance_add_instance = _quick(
    "wasmtime_component_linker_instance_add_instance", c_void_p, c_void_p, c_char_p, c_size_t, c_void_p
)
linker_instance_add_func_async = _quick(
    "wasmtime_component_linker_instance_add_func_async",
    c_void_p,
    c_void_p,
    c_char_p,
    c_size_t,
    HostCallback,
    c_void_p,
    c_void_p,
)
linker_instance_add_resource = _quick(
    "wasmtime_component_linker_instance_add_resource",
    c_void_p,
    c_void_p,
    c_char_p,
    c_size_t,
    c_void_p,
    Destructor,
    c_void_p,
    c_void_p,
)
resource_type_new_host = _quick("wasmtime_component_resource_type_new_host", c_void_p, c_uint32)
resource_type_delete = _quick("wasmtime_component_resource_type_delete", None, c_void_p)

# --- store and calls -------------------------------------------------------------------------------------------------

store_new = _quick("wasmtime_store_new", c_void_p, c_void_p, c_void_p, c_void_p)
store_context = _quick("wasmtime_store_context", c_void_p, c_void_p)
store_delete = _quick("wasmtime_store_delete", None, c_void_p)
store_limiter = _quick("wasmtime_store_limiter", None, c_void_p, c_int64, c_int64, c_int64, c_int64, c_int64)
context_set_fuel = _quick("wasmtime_context_set_fuel", c_void_p, c_void_p, c_uint64)
context_set_epoch_deadline = _quick("wasmtime_context_set_epoch_deadline", None, c_void_p, c_uint64)
context_epoch_yield = _quick("wasmtime_context_epoch_deadline_async_yield_and_update", c_void_p, c_void_p, c_uint64)

instantiate_async = _quick(
    "wasmtime_component_linker_instantiate_async", c_void_p, c_void_p, c_void_p, c_void_p, c_void_p, c_void_p
)
instance_get_func = _quick("wasmtime_component_instance_get_func", c_bool, c_void_p, c_void_p, c_void_p, c_void_p)
func_call_async = _quick(
    "wasmtime_component_func_call_async",
    c_void_p,
    c_void_p,
    c_void_p,
    c_void_p,
    c_size_t,
    c_void_p,
    c_size_t,
    c_void_p,
)
future_poll = _long("wasmtime_call_future_poll", c_bool, c_void_p)
future_delete = _quick("wasmtime_call_future_delete", None, c_void_p)

# --- core modules ----------------------------------------------------------------------------------------------------

core_linker_new = _quick("wasmtime_linker_new", c_void_p, c_void_p)
core_linker_delete = _quick("wasmtime_linker_delete", None, c_void_p)
core_instantiate_async = _quick(
    "wasmtime_linker_instantiate_async", c_void_p, c_void_p, c_void_p, c_void_p, c_void_p, c_void_p, c_void_p
)
core_export_get = _quick("wasmtime_instance_export_get", c_bool, c_void_p, c_void_p, c_char_p, c_size_t, c_void_p)
core_call_async = _quick(
    "wasmtime_func_call_async",
    c_void_p,
    c_void_p,
    c_void_p,
    c_void_p,
    c_size_t,
    c_void_p,
    c_size_t,
    c_void_p,
    c_void_p,
)
context_get_fuel = _quick("wasmtime_context_get_fuel", c_void_p, c_void_p, c_void_p)

# --- values ----------------------------------------------------------------------------------------------------------

bytes_new = _quick("wasm_byte_vec_new", None, c_void_p, c_size_t, c_char_p)
bytes_delete = _quick("wasm_byte_vec_delete", None, c_void_p)
val_new = _quick("wasmtime_component_val_new", c_void_p, c_void_p)
val_delete = _quick("wasmtime_component_val_delete", None, c_void_p)
list_new_uninit = _quick("wasmtime_component_vallist_new_uninit", None, c_void_p, c_size_t)
tuple_new_uninit = _quick("wasmtime_component_valtuple_new_uninit", None, c_void_p, c_size_t)
record_new_uninit = _quick("wasmtime_component_valrecord_new_uninit", None, c_void_p, c_size_t)
flags_new_uninit = _quick("wasmtime_component_valflags_new_uninit", None, c_void_p, c_size_t)

resource_any_to_host = _quick("wasmtime_component_resource_any_to_host", c_void_p, c_void_p, c_void_p, c_void_p)
resource_host_to_any = _quick("wasmtime_component_resource_host_to_any", c_void_p, c_void_p, c_void_p, c_void_p)
resource_host_new = _quick("wasmtime_component_resource_host_new", c_void_p, c_bool, c_uint32, c_uint32)
resource_host_rep = _quick("wasmtime_component_resource_host_rep", c_uint32, c_void_p)
resource_host_delete = _quick("wasmtime_component_resource_host_delete", None, c_void_p)

# --- errors ----------------------------------------------------------------------------------------------------------

error_new = _quick("wasmtime_error_new", c_void_p, c_char_p)
_error_message = _quick("wasmtime_error_message", None, c_void_p, c_void_p)
_error_delete = _quick("wasmtime_error_delete", None, c_void_p)
_trap_message = _quick("wasm_trap_message", None, c_void_p, c_void_p)
_trap_delete = _quick("wasm_trap_delete", None, c_void_p)


def take_trap(trap: int) -> str:
    """The text of a `wasm_trap_t`, which is freed."""
    return _take(trap, _trap_message, _trap_delete)


def take_error(error: int) -> str:
    """The text of a `wasmtime_error_t`, which is freed."""
    return _take(error, _error_message, _error_delete)


def _take(thing: int, message_of: Foreign, delete: Foreign) -> str:
    text = ctypes.create_string_buffer(VEC_SIZE)
    message_of(thing, text)
    size, data = struct.unpack("QQ", text.raw)
    message = MEMORY[data : data + size].tobytes().decode("utf-8", "replace")
    bytes_delete(text)
    delete(thing)
    return message


def address_of(pointer: Any) -> int:
    """The address that a ctypes pointer holds; it must not be null."""
    address = ctypes.cast(pointer, c_void_p).value
    assert address is not None
    return address
