"""JSON from users to values: liberal in what it takes, exact in what it says when it does not fit.

Decides what is accepted beyond the canonical form: names in kebab-case or snake_case, missing fields of option type, whole
floats for integers up to 2**53 - 1, decimals for f32 (rounded to the nearest), integers for floats when nothing is lost.
Unknown and repeated keys, wrong lengths, numbers out of range and lone surrogates are refused.

A reader is compiled once per type. Errors are `InvalidJson` (the text is not JSON) and `ValueMismatch` (it is, but of
another type), both the caller's fault.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from decimal import Decimal
from functools import cache
from math import isnan
from typing import Any, Final

import msgspec

from obelisk.wit.floats import to_f32
from obelisk.wit.text import type_text
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
from obelisk.wit.writer import UnsupportedType, json_name

Convert = Callable[[Any], Value]
"""Turns parsed JSON into a value, or raises `ValueMismatch`."""

INTEGER_RANGES: Final = {
    Prim.U8: (0, 2**8 - 1),
    Prim.U16: (0, 2**16 - 1),
    Prim.U32: (0, 2**32 - 1),
    Prim.U64: (0, 2**64 - 1),
    Prim.S8: (-(2**7), 2**7 - 1),
    Prim.S16: (-(2**15), 2**15 - 1),
    Prim.S32: (-(2**31), 2**31 - 1),
    Prim.S64: (-(2**63), 2**63 - 1),
}
_EXACT_FLOAT: Final = 2**53 - 1
_NOT_FINITE: Final = {"NaN": float("nan"), "Infinity": float("inf"), "-Infinity": float("-inf")}
_SHOWN_EXPECTED: Final = 200
_SHOWN_GOT: Final = 60


class InvalidJson(ValueError):
    """The caller passed a text that is not JSON."""


class ValueMismatch(ValueError):
    """The caller passed JSON that is not a value of the type.

    `path` says where (`params[1].user.tags[3]`, counted from 0), `expected` and `got` are texts.
    """

    def __init__(self, path: str, expected: str, got: str) -> None:
        super().__init__(path, expected, got)
        self.path = path
        self.expected = expected
        self.got = got

    def __str__(self) -> str:
        return f"{self.path}: expected {self.expected}, got {self.got}"

    def under(self, segment: str) -> ValueMismatch:
        """The same mismatch, seen from one level further out."""
        self.path = segment + self.path
        self.args = (self.path, self.expected, self.got)
        return self


class _RepeatedKey(dict[str, Any]):
    """A JSON object that names `key` twice. No reader takes it for a dict."""

    key: str


def parse_user_json(data: bytes | str | msgspec.Raw) -> Any:
    """JSON as plain Python data, objects with repeated keys marked for refusal. `InvalidJson` when it is not JSON."""
    try:
        octets = data.encode() if isinstance(data, str) else bytes(data)
        parsed = msgspec.json.decode(octets)
        if b"{" in octets:
            # msgspec keeps the last of two equal keys without a word; only the standard parser tells.
            parsed = json.loads(octets, object_pairs_hook=_unique)
    except RecursionError:
        raise InvalidJson("the JSON is nested too deeply") from None
    except (msgspec.MsgspecError, ValueError) as error:
        raise InvalidJson(f"not valid JSON: {error}") from None
    return parsed


parse_canonical: Final[Callable[[bytes | msgspec.Raw], Any]] = msgspec.json.decode
"""JSON that `obelisk.wit.writer` wrote, as plain Python data: nothing to guard against."""


def shown(parsed: Any) -> str:
    """Parsed JSON as short text for a message."""
    if isinstance(parsed, _RepeatedKey):
        return f"an object with the key {json.dumps(parsed.key, ensure_ascii=False)} twice"
    text = json.dumps(parsed, ensure_ascii=False)
    return text if len(text) <= _SHOWN_GOT else text[: _SHOWN_GOT - 1] + "…"


@cache
def converter(type_: Type) -> Convert:
    """How parsed JSON becomes a value of `type_`. `UnsupportedType` for handles, at any depth."""
    match type_:
        case Prim.BOOL:
            return _read_bool
        case Prim.F32:
            return _read_f32
        case Prim.F64:
            return _read_f64
        case Prim.CHAR:
            return _read_char
        case Prim.STRING:
            return _read_string
        case Prim():
            return _integer_reader(type_)
        case List(element):
            return _list_reader(type_, element)
        case Tuple(items):
            return _tuple_reader(type_, [converter(item) for item in items])
        case Record(fields):
            return _record_reader(type_, fields)
        case Variant(cases):
            return _variant_reader(type_, cases)
        case Enum(names):
            return _enum_reader(type_, names)
        case Flags(names):
            return _flags_reader(type_, names)
        case Option(some):
            return _option_reader(type_, some)
        case Result(ok, err):
            return _result_reader(type_, ok, err)
        case Own() | Borrow():
            raise UnsupportedType(f"{type(type_).__name__.lower()}<{type_.resource}> cannot be read from JSON")
    raise AssertionError(f"not a WIT type: {type_!r}")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) == len(pairs):
        return members
    repeated = _RepeatedKey(members)
    keys = [key for key, _ in pairs]
    repeated.key = next(key for key in keys if keys.count(key) > 1)
    return repeated


def _expected(type_: Type) -> str:
    text = type_text(type_)
    return text if len(text) <= _SHOWN_EXPECTED else text[: _SHOWN_EXPECTED - 1] + "…"


def _mismatch(type_: Type, parsed: Any) -> ValueMismatch:
    return ValueMismatch("", _expected(type_), shown(parsed))


# --- primitives ------------------------------------------------------------------------------------------------------


def _read_bool(parsed: Any) -> Value:
    if type(parsed) is bool:
        return parsed
    raise _mismatch(Prim.BOOL, parsed)


def _read_string(parsed: Any) -> Value:
    if type(parsed) is str:
        return parsed
    raise _mismatch(Prim.STRING, parsed)


def _read_char(parsed: Any) -> Value:
    if type(parsed) is str and len(parsed) == 1:
        return parsed
    raise ValueMismatch("", "char (a string of one character)", shown(parsed))


def _integer_reader(type_: Prim) -> Convert:
    low, high = INTEGER_RANGES[type_]

    def read(parsed: Any) -> Value:
        if type(parsed) is int and low <= parsed <= high:
            return parsed
        if type(parsed) is float and parsed.is_integer() and abs(parsed) <= _EXACT_FLOAT and low <= parsed <= high:
            return int(parsed)
        raise _mismatch(type_, parsed)

    return read


def _read_f64(parsed: Any) -> Value:
    if type(parsed) is float:
        return parsed
    return _float_of(Prim.F64, parsed)


def _read_f32(parsed: Any) -> Value:
    try:
        if type(parsed) is float:
            return to_f32(parsed)
        number = _float_of(Prim.F32, parsed)
        rounded = to_f32(number)
    except OverflowError:
        raise _mismatch(Prim.F32, parsed) from None
    if rounded != number and not isnan(number):
        raise _mismatch(Prim.F32, parsed)
    return rounded


def _float_of(type_: Prim, parsed: Any) -> float:
    """A float that was spelled as an integer or as a name."""
    if type(parsed) is int:
        try:
            number = float(parsed)
        except OverflowError:
            raise _mismatch(type_, parsed) from None
        # JavaScript writes 2**69 as 590295810358705700000: not its value, but the shortest digits that mean it.
        if int(number) == parsed or int(Decimal(repr(number))) == parsed:
            return number
    elif type(parsed) is str and parsed in _NOT_FINITE:
        return _NOT_FINITE[parsed]
    raise _mismatch(type_, parsed)


# --- containers ------------------------------------------------------------------------------------------------------


def _list_reader(type_: List, element: Type) -> Convert:
    item = converter(element)
    # Long lists of numbers and strings are checked at the speed of C; anything unusual takes the careful way.
    bounds = INTEGER_RANGES.get(element) if isinstance(element, Prim) else None
    strings = element is Prim.STRING

    def read(parsed: Any) -> Value:
        if type(parsed) is not list:
            raise _mismatch(type_, parsed)
        if bounds is not None:
            if set(map(type, parsed)) == {int} and min(parsed) >= bounds[0] and max(parsed) <= bounds[1]:
                return parsed
        elif strings and set(map(type, parsed)) == {str}:
            return parsed
        values: list[Value] = []
        try:
            for member in parsed:
                values.append(item(member))  # noqa: PERF401 (its length is the position of the mismatch)
        except ValueMismatch as error:
            raise error.under(f"[{len(values)}]") from None
        return values

    return read


def _tuple_reader(type_: Tuple, items: list[Convert]) -> Convert:
    def read(parsed: Any) -> Value:
        if type(parsed) is not list:
            raise _mismatch(type_, parsed)
        if len(parsed) != len(items):
            raise ValueMismatch("", _expected(type_), f"an array of {len(parsed)}")
        return read_each(items, parsed)

    return read


def read_each(items: list[Convert], parsed: list[Any]) -> tuple[Value, ...]:
    """One value for each of `items`; as many as are parsed. Mismatches name the position."""
    values: list[Value] = []
    try:
        for item, member in zip(items, parsed, strict=True):
            values.append(item(member))
    except ValueMismatch as error:
        raise error.under(f"[{len(values)}]") from None
    return tuple(values)


def _record_reader(type_: Record, fields: tuple[tuple[str, Type], ...]) -> Convert:
    members = [(json_name(name), converter(field)) for name, field in fields]
    keys = {spelling: json_name(name) for name, _ in fields for spelling in (name, json_name(name))}
    optional = {json_name(name) for name, field in fields if isinstance(field, Option)}
    types = {json_name(name): field for name, field in fields}

    def regular(parsed: dict[str, Any]) -> dict[str, Any]:
        """The same object with canonical keys, options filled in."""
        result: dict[str, Any] = {}
        for spelling, member in parsed.items():
            key = keys.get(spelling)
            if key is None:
                known = ", ".join(types) or "none"
                raise ValueMismatch("", f"only the fields {known}", f"the unknown key {json.dumps(spelling)}")
            if key in result:
                raise ValueMismatch("", f"the field {key} once", "it twice, in two spellings")
            result[key] = member
        for key, field in types.items():
            if key not in result:
                if key not in optional:
                    raise ValueMismatch(f".{key}", _expected(field), "nothing")
                result[key] = None
        return result

    def read(parsed: Any) -> Value:
        if type(parsed) is not dict:
            raise _mismatch(type_, parsed)
        if parsed.keys() != types.keys():
            parsed = regular(parsed)
        values: list[Value] = []
        try:
            for key, member in members:
                values.append(member(parsed[key]))
        except ValueMismatch as error:
            raise error.under(f".{members[len(values)][0]}") from None
        return tuple(values)

    return read


def _spellings(names: list[str]) -> dict[str, int]:
    return {spelling: index for index, name in enumerate(names) for spelling in (name, json_name(name))}


def _variant_reader(type_: Variant, cases: tuple[tuple[str, Type | None], ...]) -> Convert:
    index_of = _spellings([name for name, _ in cases])
    payloads = [None if case is None else converter(case) for _, case in cases]

    def read(parsed: Any) -> Value:
        if type(parsed) is str:
            index = index_of.get(parsed)
            if index is not None and payloads[index] is None:
                return (index, None)
        elif type(parsed) is dict and len(parsed) == 1:
            ((name, member),) = parsed.items()
            index = index_of.get(name)
            payload = None if index is None else payloads[index]
            if payload is not None:
                try:
                    return (index, payload(member))
                except ValueMismatch as error:
                    raise error.under(f".{json_name(name)}") from None
        raise _mismatch(type_, parsed)

    return read


def _enum_reader(type_: Enum, names: tuple[str, ...]) -> Convert:
    index_of = _spellings(list(names))

    def read(parsed: Any) -> Value:
        index = index_of.get(parsed) if type(parsed) is str else None
        if index is None:
            raise _mismatch(type_, parsed)
        return index

    return read


def _flags_reader(type_: Flags, names: tuple[str, ...]) -> Convert:
    index_of = _spellings(list(names))

    def read(parsed: Any) -> Value:
        if type(parsed) is not list:
            raise _mismatch(type_, parsed)
        mask = 0
        for position, name in enumerate(parsed):
            index = index_of.get(name) if type(name) is str else None
            if index is None:
                raise ValueMismatch(f"[{position}]", f"one of {', '.join(map(json_name, names))}", shown(name))
            if mask >> index & 1:
                raise ValueMismatch(f"[{position}]", "each flag once", f"{shown(name)} again")
            mask |= 1 << index
        return mask

    return read


def _option_reader(type_: Option, some: Type) -> Convert:
    inner = converter(some)

    def read(parsed: Any) -> Value:
        return None if parsed is None else (inner(parsed),)

    def read_nested(parsed: Any) -> Value:
        if parsed is None:
            return None
        if type(parsed) is not dict or parsed.keys() != {"some"}:
            raise ValueMismatch("", f'null or {{"some": …}} for {_expected(type_)}', shown(parsed))
        try:
            return (inner(parsed["some"]),)
        except ValueMismatch as error:
            raise error.under(".some") from None

    return read_nested if isinstance(some, Option) else read


def _result_reader(type_: Result, ok: Type | None, err: Type | None) -> Convert:
    sides = {
        "ok": (True, _read_null if ok is None else converter(ok)),
        "err": (False, _read_null if err is None else converter(err)),
    }

    def read(parsed: Any) -> Value:
        if type(parsed) is dict and len(parsed) == 1:
            ((side, member),) = parsed.items()
            if side in sides:
                flag, convert = sides[side]
                try:
                    return (flag, convert(member))
                except ValueMismatch as error:
                    raise error.under(f".{side}") from None
        raise ValueMismatch("", f'{{"ok": …}} or {{"err": …}} for {_expected(type_)}', shown(parsed))

    return read


def _read_null(parsed: Any) -> Value:
    if parsed is None:
        return None
    raise ValueMismatch("", "null", shown(parsed))
