"""Values of one type, and parameters of one signature, to and from JSON bytes: the entrance to `reader` and `writer`.

Decides nothing about the form; compiles each type once and puts the pieces together for the hot path.

`decode` reads what a user wrote; `load` reads canonical JSON that this ring wrote itself, and is faster for objects.

JSON whose type is not known yet is brought into a *normal form*, so that what a guest wrote can be compared byte by byte:
no spaces, strings escaped only where they must be; members stay in the order, and numbers in the spelling, in which they
were written, since the type decides what a number means. It is not canonical: `1.0` and `1` stay different.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import msgspec

from obelisk.wit.reader import (
    Convert,
    InvalidJson,
    ValueMismatch,
    converter,
    parse_canonical,
    parse_user_json,
    read_each,
    shown,
)
from obelisk.wit.text import type_text
from obelisk.wit.types import Signature, Tuple, Type, Value
from obelisk.wit.writer import shaper, write

UserJson = bytes | str | msgspec.Raw
"""JSON text as it came from outside."""
CanonicalJson = bytes | msgspec.Raw
"""JSON that `encode` or `canonical` returned."""


class ValueCodec:
    """Values of `type` as JSON. `UnsupportedType` for types that contain handles."""

    __slots__ = ("_convert", "encode", "type")

    encode: Callable[[Value], bytes]
    """A value as canonical JSON; the value is trusted to be of the type."""

    def __init__(self, type_: Type) -> None:
        self.type = type_
        self.encode = encoder(type_)
        self._convert = converter(type_)

    def decode(self, data: UserJson) -> Value:
        """What a user wrote. `InvalidJson` or `ValueMismatch`."""
        return _rooted("value", self._convert, parse_user_json(data))

    def load(self, data: CanonicalJson) -> Value:
        """What `encode` wrote."""
        return _rooted("value", self._convert, parse_canonical(data))

    def canonical(self, data: UserJson) -> bytes:
        """What a user wrote, in canonical form. Errors as `decode`."""
        return self.encode(self.decode(data))


class ParamsCodec:
    """The parameters of a function as one JSON array. `UnsupportedType` when a parameter contains a handle."""

    __slots__ = ("_items", "encode", "signature")

    encode: Callable[[Sequence[Value]], bytes]
    """Values, one per parameter, as a canonical JSON array; they are trusted to be of their types."""

    def __init__(self, signature: Signature) -> None:
        self.signature = signature
        types = tuple(type_ for _, type_ in signature.params)
        self.encode = encoder(Tuple(types))
        self._items = [converter(type_) for type_ in types]

    def decode(self, data: UserJson) -> tuple[Value, ...]:
        """What a user wrote: as many values as the function has parameters. `InvalidJson` or `ValueMismatch`."""
        return self._values(parse_user_json(data))

    def load(self, data: CanonicalJson) -> tuple[Value, ...]:
        """What `encode` wrote."""
        return self._values(parse_canonical(data))

    def canonical(self, data: UserJson) -> bytes:
        """What a user wrote, in canonical form. Errors as `decode`."""
        return self.encode(self.decode(data))

    def _values(self, parsed: object) -> tuple[Value, ...]:
        if type(parsed) is not list:
            raise ValueMismatch("params", f"an array of {self._wanted()}", shown(parsed))
        if len(parsed) != len(self._items):
            raise ValueMismatch("params", self._wanted(), f"{len(parsed)}")
        try:
            return read_each(self._items, parsed)
        except ValueMismatch as error:
            raise error.under("params") from None

    def _wanted(self) -> str:
        params = self.signature.params
        if not params:
            return "no parameters"
        names = ", ".join(f"{name}: {type_text(type_)}" for name, type_ in params)
        return f"{len(params)} parameter{'s' if len(params) > 1 else ''} ({names})"


def normal_json(data: UserJson) -> bytes:
    """What a user wrote, of any type, in normal form. `InvalidJson`, also for an object that names a key twice."""
    octets = data.encode() if isinstance(data, str) else bytes(data)
    try:
        msgspec.json.decode(octets)  # stricter than the standard parser, which is the one that can keep numbers
        parsed = json.loads(octets, parse_int=_verbatim, parse_float=_verbatim, object_pairs_hook=_members)
        return write(parsed)
    except RecursionError:
        raise InvalidJson("the JSON is nested too deeply") from None
    except InvalidJson:
        raise
    except (msgspec.MsgspecError, ValueError) as error:
        raise InvalidJson(f"not valid JSON: {error}") from None


def normal_params(data: UserJson) -> bytes:
    """Parameters of any function, in normal form. `InvalidJson`, or `ValueMismatch` when they are no array."""
    normal = normal_json(data)
    if not normal.startswith(b"["):
        raise ValueMismatch("params", "an array", shown(parse_canonical(normal)))
    return normal


def normal_result(data: UserJson) -> bytes:
    """A result of any function, in normal form. `InvalidJson`, or `ValueMismatch` when it is not `{"ok": …}` or
    `{"err": …}`.
    """
    normal = normal_json(data)
    parsed = parse_canonical(normal)
    if type(parsed) is not dict or len(parsed) != 1 or not parsed.keys() <= {"ok", "err"}:
        raise ValueMismatch("result", '{"ok": …} or {"err": …}', shown(parsed))
    return normal


def _verbatim(number: str) -> msgspec.Raw:
    return msgspec.Raw(number.encode())


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise InvalidJson(f"an object has the key {json.dumps(twice, ensure_ascii=False)} twice")
    return members


@cache
def value_codec(type_: Type) -> ValueCodec:
    """The codec of `type_`, compiled once."""
    return ValueCodec(type_)


@cache
def encoder(type_: Type) -> Callable[[Value], bytes]:
    """The function that writes values of `type_` as canonical JSON."""
    shape = shaper(type_)
    if shape is None:
        return write
    return lambda value: write(shape(value))


def _rooted(root: str, convert: Convert, parsed: object) -> Value:
    try:
        return convert(parsed)
    except ValueMismatch as error:
        raise error.under(root) from None
