"""WIT types as data, and how a value of each looks in Python.

A type is structural: names of records, variants and so on are dropped, so two types are equal exactly when their values
are interchangeable. Parameter names and docs live elsewhere.

| WIT | Python value |
|---|---|
| bool, integers, char, string | `bool`, `int`, one-character `str`, `str` |
| f32, f64 | `float` (an f32 is already rounded to f32) |
| list<T> | `list` |
| tuple, record | `tuple` in declared order |
| variant | `(case index, payload or None)` |
| enum | case index, `int` |
| flags | bit mask, `int`; bit i is the i-th declared flag |
| option<T> | `None`, or `(value,)` |
| result<T, E> | `(True, ok payload or None)`, or `(False, err payload or None)` |
| own<R>, borrow<R> | whatever the host keeps for the handle (a join set: its `JoinSetId`) |
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any

import msgspec

Value = Any
"""A WIT value in Python, as the table above says."""


class Prim(StrEnum):
    """The primitive types, by their WIT names."""

    BOOL = "bool"
    U8 = "u8"
    U16 = "u16"
    U32 = "u32"
    U64 = "u64"
    S8 = "s8"
    S16 = "s16"
    S32 = "s32"
    S64 = "s64"
    F32 = "f32"
    F64 = "f64"
    CHAR = "char"
    STRING = "string"


class List(msgspec.Struct, frozen=True, tag="list"):
    """`list<element>`."""

    element: Type


class Tuple(msgspec.Struct, frozen=True, tag="tuple"):
    """`tuple<items...>`."""

    items: tuple[Type, ...]


class Record(msgspec.Struct, frozen=True, tag="record"):
    """`record`; fields as (kebab-case name, type), in declared order."""

    fields: tuple[tuple[str, Type], ...]


class Variant(msgspec.Struct, frozen=True, tag="variant"):
    """`variant`; cases as (kebab-case name, payload type or None), in declared order."""

    cases: tuple[tuple[str, Type | None], ...]


class Enum(msgspec.Struct, frozen=True, tag="enum"):
    """`enum`; kebab-case names in declared order."""

    names: tuple[str, ...]


class Flags(msgspec.Struct, frozen=True, tag="flags"):
    """`flags`; kebab-case names in declared order."""

    names: tuple[str, ...]


class Option(msgspec.Struct, frozen=True, tag="option"):
    """`option<some>`."""

    some: Type


class Result(msgspec.Struct, frozen=True, tag="result"):
    """`result<ok, err>`; either side may have no payload."""

    ok: Type | None
    err: Type | None


class Own(msgspec.Struct, frozen=True, tag="own"):
    """`own<resource>`; `resource` is `ns:pkg/ifc@ver.name`."""

    resource: str


class Borrow(msgspec.Struct, frozen=True, tag="borrow"):
    """`borrow<resource>`."""

    resource: str


Type = Prim | List | Tuple | Record | Variant | Enum | Flags | Option | Result | Own | Borrow


class Signature(msgspec.Struct, frozen=True):
    """A function's parameters as (kebab-case name, type), and its result type, if any."""

    params: tuple[tuple[str, Type], ...]
    result: Type | None
