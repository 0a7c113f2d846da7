"""C values ⇄ Python values, compiled once per WIT type.

Decides how each WIT value type is laid out in wasmtime's `wasmtime_component_val_t` and who frees what. Must not know what
a value means. A *lift* reads the C value at an address and gives the Python value of `obelisk.wit.types`; a *lower*
writes one. Both are closures over the type: nothing about a type is looked up while a guest runs.

Ownership:

* Arguments of a host call and its results belong to wasmtime: it drops the arguments when the call is over, and takes
  what was lowered into the results. Handles are the exception: they are consumed when lifted.
* Arguments and result of an export belong to us: `free` each after its future was deleted.
* A value under construction is always a valid tree: children are zeroed (a zero is `false`) before they are written, so
  that whatever fails half way, `free` of the root frees all of it.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from struct import Struct
from struct import error as struct_error
from typing import Any, Final, Protocol

from obelisk.wasm import capi
from obelisk.wit.types import (
    Borrow,
    Enum,
    Flags,
    List,
    Option,
    Own,
    Prim,
    Record,
    Result,
    Signature,
    Tuple,
    Type,
    Value,
    Variant,
)

_MEMORY: Final = capi.MEMORY
_VAL: Final = capi.VAL_SIZE
_ENTRY: Final = capi.ENTRY_SIZE
_VEC: Final = capi.VEC_SIZE

_KIND: Final = {
    Prim.BOOL: (0, "?"),
    Prim.S8: (1, "b"),
    Prim.U8: (2, "B"),
    Prim.S16: (3, "h"),
    Prim.U16: (4, "H"),
    Prim.S32: (5, "i"),
    Prim.U32: (6, "I"),
    Prim.S64: (7, "q"),
    Prim.U64: (8, "Q"),
    Prim.F32: (9, "f"),
    Prim.F64: (10, "d"),
}
_CHAR: Final = 11
_STRING: Final = 12
_LIST: Final = 13
_RECORD: Final = 14
_TUPLE: Final = 15
_VARIANT: Final = 16
_ENUM: Final = 17
_OPTION: Final = 18
_RESULT: Final = 19
_FLAGS: Final = 20
_RESOURCE: Final = 21

# Each starts with the kind and its seven bytes of padding; the vectors are size and pointer.
_char: Final = Struct("B7xI")
_vec: Final = Struct("B7xQQ")
_variant: Final = Struct("B7xQQQ")
_option: Final = Struct("B7xQ")
_result: Final = Struct("B7xB7xQ")
_bare_vec: Final = Struct("QQ")
_pointer: Final = Struct("Q")

_false_storage: Final = ctypes.create_string_buffer(_VAL)
_FALSE: Final = ctypes.addressof(_false_storage)
"""A C value that is `false`; `val_new` takes it and leaves `false` in its place."""


class CodecError(ValueError):
    """A Python value does not fit its WIT type, or a C value is not of the type that was compiled. Ours to fix: values
    that come from outside are checked against their type before they get here.
    """


class Handles(Protocol):
    """Turns resource handles into the values that the host keeps for them. Only ever used by the owner of the store."""

    def lift(self, resource_any: int, owned: bool) -> Value:
        """Takes the handle at that pointer: consumes an own, ends a borrow."""
        ...

    def lower(self, value: Value, resource: int) -> int:
        """A new own handle of that resource type for `value`, as a pointer that the call's result takes."""
        ...


Lift = Callable[[int, Handles], Value]
Lower = Callable[[int, Value, Handles], None]


def _mismatch(wanted: str, found: int) -> CodecError:
    return CodecError(f"wasmtime passed a value of kind {found} where the component's WIT has {wanted}")


def _unfit(value: Value, wanted: str) -> CodecError:
    return CodecError(f"{value!r:.200} is not a value of WIT type {wanted}")


_resource_numbers: dict[str, int] = {}


def resource_number(resource: str) -> int:
    """The number that wasmtime knows a host's resource type by: one for all versions of `ns:pkg/ifc@version.name`."""
    interface, _, name = resource.rpartition(".")
    return _resource_numbers.setdefault(f"{interface.partition('@')[0]}.{name}", len(_resource_numbers) + 1)


def free(address: int) -> None:
    """Frees what the C value at `address` owns, and leaves `false` there."""
    capi.val_delete(address)
    _MEMORY[address : address + _VAL] = bytes(_VAL)


# --- lifting ---------------------------------------------------------------------------------------------------------


def lift(type_: Type) -> Lift:
    """The function that reads a C value of `type_`."""
    match type_:
        case Prim.CHAR:
            return _lift_char
        case Prim.STRING:
            return _lift_string
        case Prim():
            return _lift_prim(type_)
        case List(element):
            return _lift_list(element)
        case Tuple(items):
            return _lift_tuple(items)
        case Record(fields):
            return _lift_record(tuple(field for _, field in fields))
        case Variant(cases):
            return _lift_variant(cases)
        case Enum(names):
            return _lift_enum(names)
        case Flags(names):
            return _lift_flags(names)
        case Option(some):
            return _lift_option(some)
        case Result(ok, err):
            return _lift_result(ok, err)
        case Own():
            return _lift_handle(True)
        case Borrow():
            return _lift_handle(False)


def _text(size: int, data: int) -> bytes:
    return _MEMORY[data : data + size].tobytes()


def _lift_char(address: int, _handles: Handles) -> Value:
    kind, code = _char.unpack_from(_MEMORY, address)
    if kind != _CHAR:
        raise _mismatch("char", kind)
    return chr(code)


def _lift_string(address: int, _handles: Handles) -> Value:
    kind, size, data = _vec.unpack_from(_MEMORY, address)
    if kind != _STRING:
        raise _mismatch("string", kind)
    return _text(size, data).decode()


def _lift_prim(type_: Prim) -> Lift:
    wanted, letter = _KIND[type_]
    unpack = Struct("B7x" + letter).unpack_from

    def lift_prim(address: int, _handles: Handles) -> Value:
        kind, value = unpack(_MEMORY, address)
        if kind != wanted:
            raise _mismatch(type_, kind)
        return value

    return lift_prim


def _lift_list(element: Type) -> Lift:
    if element is Prim.U8:
        return _lift_bytes
    item = lift(element)

    def lift_list(address: int, handles: Handles) -> Value:
        kind, size, data = _vec.unpack_from(_MEMORY, address)
        if kind != _LIST:
            raise _mismatch("list", kind)
        return [item(at, handles) for at in range(data, data + size * _VAL, _VAL)]

    return lift_list


def _lift_bytes(address: int, _handles: Handles) -> Value:
    kind, size, data = _vec.unpack_from(_MEMORY, address)
    if kind != _LIST or (size and _MEMORY[data] != _KIND[Prim.U8][0]):
        raise _mismatch("list<u8>", kind)
    return _MEMORY[data + 8 : data + size * _VAL : _VAL].tolist()


def _lift_tuple(items: Sequence[Type]) -> Lift:
    lifts = tuple((index * _VAL, lift(item)) for index, item in enumerate(items))

    def lift_tuple(address: int, handles: Handles) -> Value:
        kind, size, data = _vec.unpack_from(_MEMORY, address)
        if kind != _TUPLE or size != len(lifts):
            raise _mismatch("tuple", kind)
        return tuple([item(data + offset, handles) for offset, item in lifts])

    return lift_tuple


def _lift_record(fields: Sequence[Type]) -> Lift:
    lifts = tuple((index * _ENTRY + _VEC, lift(field)) for index, field in enumerate(fields))

    def lift_record(address: int, handles: Handles) -> Value:
        kind, size, data = _vec.unpack_from(_MEMORY, address)
        if kind != _RECORD or size != len(lifts):
            raise _mismatch("record", kind)
        return tuple([field(data + offset, handles) for offset, field in lifts])

    return lift_record


def _lift_variant(cases: Sequence[tuple[str, Type | None]]) -> Lift:
    by_name = {
        name.encode(): (index, None if payload is None else lift(payload))
        for index, (name, payload) in enumerate(cases)
    }

    def lift_variant(address: int, handles: Handles) -> Value:
        kind, size, data, payload = _variant.unpack_from(_MEMORY, address)
        if kind != _VARIANT:
            raise _mismatch("variant", kind)
        index, inner = by_name[_text(size, data)]
        return index, None if inner is None else inner(payload, handles)

    return lift_variant


def _lift_enum(names: Sequence[str]) -> Lift:
    by_name = {name.encode(): index for index, name in enumerate(names)}

    def lift_enum(address: int, _handles: Handles) -> Value:
        kind, size, data = _vec.unpack_from(_MEMORY, address)
        if kind != _ENUM:
            raise _mismatch("enum", kind)
        return by_name[_text(size, data)]

    return lift_enum


def _lift_flags(names: Sequence[str]) -> Lift:
    by_name = {name.encode(): 1 << index for index, name in enumerate(names)}

    def lift_flags(address: int, _handles: Handles) -> Value:
        kind, size, data = _vec.unpack_from(_MEMORY, address)
        if kind != _FLAGS:
            raise _mismatch("flags", kind)
        mask = 0
        for at in range(data, data + size * _VEC, _VEC):
            mask |= by_name[_text(*_bare_vec.unpack_from(_MEMORY, at))]
        return mask

    return lift_flags


def _lift_option(some: Type) -> Lift:
    inner = lift(some)

    def lift_option(address: int, handles: Handles) -> Value:
        kind, payload = _option.unpack_from(_MEMORY, address)
        if kind != _OPTION:
            raise _mismatch("option", kind)
        return (inner(payload, handles),) if payload else None

    return lift_option


def _lift_result(ok: Type | None, err: Type | None) -> Lift:
    sides = tuple(None if side is None else lift(side) for side in (err, ok))

    def lift_result(address: int, handles: Handles) -> Value:
        kind, is_ok, payload = _result.unpack_from(_MEMORY, address)
        if kind != _RESULT:
            raise _mismatch("result", kind)
        inner = sides[is_ok]
        return is_ok == 1, None if inner is None else inner(payload, handles)

    return lift_result


def _lift_handle(owned: bool) -> Lift:
    def lift_handle(address: int, handles: Handles) -> Value:
        kind, resource = _option.unpack_from(_MEMORY, address)
        if kind != _RESOURCE:
            raise _mismatch("a handle", kind)
        return handles.lift(resource, owned)

    return lift_handle


def handles_in(address: int) -> list[int]:
    """The resource handles in the C value at `address`, whatever its type is: what has to be given back when lifting it
    by its type failed.
    """
    kind, first, second, third = _variant.unpack_from(_MEMORY, address)
    children: Sequence[int] = ()
    if kind == _RESOURCE:
        return [first]
    if kind in (_LIST, _TUPLE):
        children = range(second, second + first * _VAL, _VAL)
    elif kind == _RECORD:
        children = range(second + _VEC, second + first * _ENTRY, _ENTRY)
    elif kind in (_VARIANT, _OPTION, _RESULT):
        payload = {_VARIANT: third, _OPTION: first, _RESULT: second}[kind]
        children = (payload,) if payload else ()
    return [handle for child in children for handle in handles_in(child)]


# --- lowering --------------------------------------------------------------------------------------------------------


def lower(type_: Type) -> Lower:
    """The function that writes a C value of `type_` where a `false` is. It raises `CodecError` for a value that does not
    fit; the C value is then half written, and must be freed.
    """
    match type_:
        case Prim.BOOL:
            return _lower_bool
        case Prim.CHAR:
            return _lower_char
        case Prim.STRING:
            return _lower_string
        case Prim():
            return _lower_prim(type_)
        case List(element):
            return _lower_list(element)
        case Tuple(items):
            return _lower_tuple(items)
        case Record(fields):
            return _lower_record(fields)
        case Variant(cases):
            return _lower_variant(cases)
        case Enum(names):
            return _lower_enum(names)
        case Flags(names):
            return _lower_flags(names)
        case Option(some):
            return _lower_option(some)
        case Result(ok, err):
            return _lower_result(ok, err)
        case Own(resource):
            return _lower_handle(resource)
        case Borrow():
            raise CodecError("a function cannot return a borrowed handle")


def _lower_bool(address: int, value: Value, _handles: Handles) -> None:
    if value is not True and value is not False:
        raise _unfit(value, "bool")
    _MEMORY[address + 8] = value


def _lower_char(address: int, value: Value, _handles: Handles) -> None:
    if type(value) is not str or len(value) != 1 or "\ud800" <= value <= "\udfff":
        raise _unfit(value, "char")
    _char.pack_into(_MEMORY, address, _CHAR, ord(value))


def _lower_string(address: int, value: Value, _handles: Handles) -> None:
    try:
        data = value.encode()
    except (AttributeError, UnicodeEncodeError):
        raise _unfit(value, "string") from None
    capi.bytes_new(address + 8, len(data), data)
    _MEMORY[address] = _STRING


def _lower_prim(type_: Prim) -> Lower:
    kind, letter = _KIND[type_]
    pack = Struct("B7x" + letter).pack_into

    def lower_prim(address: int, value: Value, _handles: Handles) -> None:
        try:
            pack(_MEMORY, address, kind, value)
        except (struct_error, OverflowError):
            # pack_into may have written the kind before it refused the value; no such kind owns anything.
            raise _unfit(value, type_) from None

    return lower_prim


def _children(address: int, kind: int, allocate: capi.Foreign, count: int, size: int) -> int:
    """Allocates `count` zeroed children of `size` bytes for the value at `address`; gives the address of the first."""
    allocate(address + 8, count)
    (data,) = _pointer.unpack_from(_MEMORY, address + 16)
    _MEMORY[data : data + count * size] = bytes(count * size)
    _MEMORY[address] = kind
    return int(data)


def _payload() -> int:
    return int(capi.val_new(_FALSE))


def _lower_list(element: Type) -> Lower:
    if element is Prim.U8:
        return _lower_bytes
    item = lower(element)

    def lower_list(address: int, value: Value, handles: Handles) -> None:
        if not isinstance(value, list):
            raise _unfit(value, "list")
        at = _children(address, _LIST, capi.list_new_uninit, len(value), _VAL)
        for each in value:
            item(at, each, handles)
            at += _VAL

    return lower_list


def _lower_bytes(address: int, value: Value, _handles: Handles) -> None:
    if type(value) is bytes:
        data = value
    else:
        try:
            data = bytes(value)
            if not isinstance(value, list):
                raise TypeError
        except (TypeError, ValueError):
            raise _unfit(value, "list<u8>") from None
    at = _children(address, _LIST, capi.list_new_uninit, len(data), _VAL)
    end = at + len(data) * _VAL
    _MEMORY[at:end:_VAL] = bytes([_KIND[Prim.U8][0]]) * len(data)
    _MEMORY[at + 8 : end : _VAL] = data


def _lift_raw(address: int, _handles: Handles) -> Value:
    """A `list<u8>` as `bytes`: what a host function works with, without an object for each byte."""
    kind, size, data = _vec.unpack_from(_MEMORY, address)
    if kind != _LIST or (size and _MEMORY[data] != _KIND[Prim.U8][0]):
        raise _mismatch("list<u8>", kind)
    return _MEMORY[data + 8 : data + size * _VAL : _VAL].tobytes()


def _sequence(value: Value, count: int, wanted: str) -> None:
    if not isinstance(value, tuple) or len(value) != count:
        raise _unfit(value, f"{wanted} of {count}")


def _lower_tuple(items: Sequence[Type]) -> Lower:
    lowers = tuple(lower(item) for item in items)

    def lower_tuple(address: int, value: Value, handles: Handles) -> None:
        _sequence(value, len(lowers), "tuple")
        at = _children(address, _TUPLE, capi.tuple_new_uninit, len(lowers), _VAL)
        for item, each in zip(lowers, value, strict=True):
            item(at, each, handles)
            at += _VAL

    return lower_tuple


def _lower_record(fields: Sequence[tuple[str, Type]]) -> Lower:
    lowers = tuple((name.encode(), lower(field)) for name, field in fields)

    def lower_record(address: int, value: Value, handles: Handles) -> None:
        _sequence(value, len(lowers), "record")
        at = _children(address, _RECORD, capi.record_new_uninit, len(lowers), _ENTRY)
        for (name, field), each in zip(lowers, value, strict=True):
            capi.bytes_new(at, len(name), name)
            field(at + _VEC, each, handles)
            at += _ENTRY

    return lower_record


def _pair(value: Value, wanted: str) -> tuple[Any, Any]:
    if not isinstance(value, tuple) or len(value) != 2:
        raise _unfit(value, wanted)
    return value


def _lower_variant(cases: Sequence[tuple[str, Type | None]]) -> Lower:
    lowers = tuple((name.encode(), None if payload is None else lower(payload)) for name, payload in cases)

    def lower_variant(address: int, value: Value, handles: Handles) -> None:
        index, payload = _pair(value, "variant")
        if type(index) is not int or not 0 <= index < len(lowers):
            raise _unfit(value, f"variant of {len(lowers)} cases")
        name, inner = lowers[index]
        if inner is None and payload is not None:
            raise _unfit(value, f"variant case {name.decode()} without payload")
        capi.bytes_new(address + 8, len(name), name)
        at = 0 if inner is None else _payload()
        _pointer.pack_into(_MEMORY, address + 24, at)
        _MEMORY[address] = _VARIANT
        if inner is not None:
            inner(at, payload, handles)

    return lower_variant


def _lower_enum(names: Sequence[str]) -> Lower:
    encoded = tuple(name.encode() for name in names)

    def lower_enum(address: int, value: Value, _handles: Handles) -> None:
        if type(value) is not int or not 0 <= value < len(encoded):
            raise _unfit(value, f"enum of {len(encoded)} cases")
        name = encoded[value]
        capi.bytes_new(address + 8, len(name), name)
        _MEMORY[address] = _ENUM

    return lower_enum


def _lower_flags(names: Sequence[str]) -> Lower:
    encoded = tuple((1 << index, name.encode()) for index, name in enumerate(names))

    def lower_flags(address: int, value: Value, _handles: Handles) -> None:
        if type(value) is not int or value < 0 or value >> len(encoded):
            raise _unfit(value, f"flags of {len(encoded)} bits")
        at = _children(address, _FLAGS, capi.flags_new_uninit, value.bit_count(), _VEC)
        for bit, name in encoded:
            if value & bit:
                capi.bytes_new(at, len(name), name)
                at += _VEC

    return lower_flags


def _lower_option(some: Type) -> Lower:
    inner = lower(some)

    def lower_option(address: int, value: Value, handles: Handles) -> None:
        if value is None:
            _option.pack_into(_MEMORY, address, _OPTION, 0)
            return
        _sequence(value, 1, "option")
        at = _payload()
        _option.pack_into(_MEMORY, address, _OPTION, at)
        inner(at, value[0], handles)

    return lower_option


def _lower_result(ok: Type | None, err: Type | None) -> Lower:
    sides = tuple(None if side is None else lower(side) for side in (err, ok))

    def lower_result(address: int, value: Value, handles: Handles) -> None:
        is_ok, payload = _pair(value, "result")
        if is_ok is not True and is_ok is not False:
            raise _unfit(value, "result")
        inner = sides[is_ok]
        if inner is None:
            if payload is not None:
                raise _unfit(value, "result without payload on that side")
            _result.pack_into(_MEMORY, address, _RESULT, is_ok, 0)
            return
        at = _payload()
        _result.pack_into(_MEMORY, address, _RESULT, is_ok, at)
        inner(at, payload, handles)

    return lower_result


def _lower_handle(resource: str) -> Lower:
    number = resource_number(resource)

    def lower_handle(address: int, value: Value, handles: Handles) -> None:
        _option.pack_into(_MEMORY, address, _RESOURCE, handles.lower(value, number))

    return lower_handle


# --- functions -------------------------------------------------------------------------------------------------------


_BYTES: Final = List(Prim.U8)


class FunctionCodec:
    """Both directions of one function: an import lifts its arguments and lowers its result, an export the reverse."""

    __slots__ = ("arity", "lift_params", "lift_result", "lower_params", "lower_result")

    def __init__(self, signature: Signature, *, exported: bool, raw: bool = False) -> None:
        """`raw`: a parameter of type `list<u8>` is lifted as `bytes`. Wherever one is lowered, `bytes` will do."""
        self.arity = len(signature.params)
        types = [type_ for _, type_ in signature.params]
        result = signature.result
        self.lift_params = (
            () if exported else tuple(_lift_raw if raw and type_ == _BYTES else lift(type_) for type_ in types)
        )
        self.lower_params = tuple(lower(type_) for type_ in types) if exported else ()
        self.lift_result = lift(result) if exported and result is not None else None
        self.lower_result = lower(result) if not exported and result is not None else None
