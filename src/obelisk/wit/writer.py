r"""Values to canonical JSON: one text per value and type, so that comparing values is comparing bytes.

Decides the canonical form; it is part of the durable format, and golden tests pin it:

- driven by the type, in declared order, without spaces; strings in UTF-8, only `"`, `\` and control characters escaped;
- names of fields, cases and flags in snake_case;
- floats by `obelisk.wit.floats`; `"NaN"` (there is one), `"Infinity"`, `"-Infinity"`;
- `option<T>`: null or the value; `option<option<T>>`: null or `{"some": x}`, so that `some(none)` is not lost;
- variant: `"case"` or `{"case": payload}`; enum: `"case"`; flags: array of names in declared order;
- `result`: `{"ok": x}` or `{"err": x}`, null for a side without payload;
- char: a string of one character; tuple: array; record: object.

A writer is compiled once per type. It trusts its value, which comes from a guest or from `obelisk.wit.reader`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from math import isfinite, isnan
from typing import Any

import msgspec

from obelisk.wit.floats import f32_text, f64_text
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
    Tuple,
    Type,
    Value,
    Variant,
)

Shape = Callable[[Value], Any]
"""Turns a value into what msgspec writes as its canonical JSON."""

write = msgspec.json.Encoder().encode
"""Writes a shaped value; containers keep their order and no spaces are put in."""


class UnsupportedType(TypeError):
    """A type that JSON cannot carry: a handle."""


def json_name(kebab: str) -> str:
    """The name of a field, case or flag in canonical JSON."""
    return kebab.replace("-", "_")


@cache
def shaper(type_: Type) -> Shape | None:
    """How values of `type_` are shaped; None when they already are (integers, strings, lists of those, …).

    `UnsupportedType` for handles, at any depth.
    """
    match type_:
        case Prim.F32:
            return _shape_f32
        case Prim.F64:
            return _shape_f64
        case Prim():
            return None
        case List(element):
            return _list_shape(shaper(element))
        case Tuple(items):
            return _tuple_shape([shaper(item) for item in items])
        case Record(fields):
            return _record_shape([json_name(name) for name, _ in fields], [shaper(field) for _, field in fields])
        case Variant(cases):
            return _variant_shape([(json_name(name), None if case is None else _side(case)) for name, case in cases])
        case Enum(names):
            return [json_name(name) for name in names].__getitem__
        case Flags(names):
            return _flags_shape([json_name(name) for name in names])
        case Option(some):
            return _option_shape(shaper(some), nested=isinstance(some, Option))
        case Result(ok, err):
            return _result_shape(_side(ok), _side(err))
        case Own() | Borrow():
            raise UnsupportedType(f"{type(type_).__name__.lower()}<{type_.resource}> cannot be written as JSON")
    raise AssertionError(f"not a WIT type: {type_!r}")


def _same(value: Value) -> Any:
    return value


def _side(type_: Type | None) -> Shape:
    # A side without payload has the value None, which is written as null.
    return _same if type_ is None else shaper(type_) or _same


def _shape_f64(value: Value) -> Any:
    return msgspec.Raw(f64_text(value).encode()) if isfinite(value) else _not_finite(value)


def _shape_f32(value: Value) -> Any:
    return msgspec.Raw(f32_text(value).encode()) if isfinite(value) else _not_finite(value)


def _not_finite(value: float) -> str:
    return "NaN" if isnan(value) else "Infinity" if value > 0 else "-Infinity"


def _list_shape(element: Shape | None) -> Shape | None:
    if element is None:
        return None
    return lambda value: [element(item) for item in value]


def _tuple_shape(items: list[Shape | None]) -> Shape | None:
    if not any(items):
        return None
    shapes = [item or _same for item in items]
    return lambda value: [shape(item) for shape, item in zip(shapes, value, strict=True)]


def _record_shape(names: list[str], fields: list[Shape | None]) -> Shape:
    if not any(fields):
        return lambda value: dict(zip(names, value, strict=True))
    members = [(name, field or _same) for name, field in zip(names, fields, strict=True)]
    return lambda value: {name: field(item) for (name, field), item in zip(members, value, strict=True)}


def _variant_shape(cases: list[tuple[str, Shape | None]]) -> Shape:
    def shape(value: Value) -> Any:
        index, payload = value
        name, case = cases[index]
        return name if case is None else {name: case(payload)}

    return shape


def _flags_shape(names: list[str]) -> Shape:
    bits = [(1 << index, name) for index, name in enumerate(names)]
    return lambda value: [name for bit, name in bits if value & bit]


def _option_shape(some: Shape | None, *, nested: bool) -> Shape:
    inner = some or _same
    if nested:
        return lambda value: None if value is None else {"some": inner(value[0])}
    return lambda value: None if value is None else inner(value[0])


def _result_shape(ok: Shape, err: Shape) -> Shape:
    return lambda value: {"ok": ok(value[1])} if value[0] else {"err": err(value[1])}
