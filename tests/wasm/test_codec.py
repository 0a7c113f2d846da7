"""Every WIT value type through a real component: lowered into it, lifted out of it, on both sides of a call."""

import gc
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from obelisk.wasm.codec import CodecError
from obelisk.wasm.fiber import Fiber, State
from obelisk.wasm.link import LinkedComponent
from obelisk.wit.codec import value_codec
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
    Variant,
)

TYPES = (
    *("bool", "u8", "u16", "u32", "u64", "s8", "s16", "s32", "s64", "f32", "f64", "char", "string"),
    *("list<u8>", "list<bool>", "list<u64>", "list<string>", "list<list<u8>>"),
    *("tuple<u8>", "tuple<u8, string, f64>", "tuple<bool, tuple<char, s64>>"),
    *("point", "person", "lonely", "shape", "color", "few", "many"),
    *("option<u8>", "option<option<string>>", "option<person>"),
    *("result", "result<u64>", "result<_, string>", "result<person, shape>", "result<option<u8>, list<color>>"),
    "list<tuple<shape, option<many>, result<list<person>, few>>>",
)
# echo(list<T>) -> list<T> through the host: the guest copies nothing, so that one core function does for each type.
CORE = """(module
  {imports}
  (memory (export "memory") 1)
  (global $heap (mut i32) (i32.const 1024))
  (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
    (local $at i32)
    (local.set $at (i32.and (i32.add (global.get $heap) (i32.const 15)) (i32.const -16)))
    (global.set $heap (i32.add (local.get $at) (local.get 3)))
    (if (i32.gt_u (global.get $heap) (i32.shl (memory.size) (i32.const 16)))
      (then (drop (memory.grow (i32.add (i32.const 1) (i32.shr_u (local.get 3) (i32.const 16)))))))
    (local.get $at))
  {exports}
)"""
FIXTURES = Path(__file__).parent / "fixtures"


@pytest.fixture(scope="module")
def echoes(build, loader):
    """One entry point `e<i>(list<TYPES[i]>) -> list<TYPES[i]>` for each type, and the type as data."""
    functions = "\n".join(f"e{i}: func(x: list<{name}>) -> list<{name}>;" for i, name in enumerate(TYPES))
    wit = (FIXTURES / "echo.wit").read_text().replace("FUNCTIONS", functions)
    numbers = range(len(TYPES))
    core = CORE.format(
        imports="\n".join(f'(import "testing:echo/host" "e{i}" (func $e{i} (param i32 i32 i32)))' for i in numbers),
        exports="\n".join(
            f'(func (export "testing:echo/guest#e{i}") (param i32 i32) (result i32)'
            f" (call $e{i} (local.get 0) (local.get 1) (i32.const 64)) (i32.const 64))"
            for i in numbers
        ),
    )
    component = loader.load(build(wit, "echo", core))
    linked = LinkedComponent(component, lambda interface, function: function.name)
    signatures = {function.name: function.signature for function in component.wit.exports[0].functions}
    return [(linked.program("testing:echo/guest", f"e{i}"), signatures[f"e{i}"].result.element) for i in numbers]


def f32():
    return st.floats(width=32, allow_nan=False)


def values(type_):
    """All values of a WIT type."""
    match type_:
        case Prim.BOOL:
            return st.booleans()
        case Prim.F32:
            return f32()
        case Prim.F64:
            return st.floats(allow_nan=False)
        case Prim.CHAR:
            return st.characters(codec="utf-8")
        case Prim.STRING:
            return st.text(st.characters(codec="utf-8"), max_size=20)
        case Prim():
            bits = int(type_[1:])
            low, high = (0, 2**bits - 1) if type_[0] == "u" else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
            return st.integers(low, high)
        case List(element):
            return st.lists(values(element), max_size=4)
        case Tuple(items):
            return st.tuples(*map(values, items))
        case Record(fields):
            return st.tuples(*(values(field) for _, field in fields))
        case Variant(cases):
            return st.one_of(
                st.tuples(st.just(i), st.none() if payload is None else values(payload))
                for i, (_, payload) in enumerate(cases)
            )
        case Enum(names):
            return st.integers(0, len(names) - 1)
        case Flags(names):
            return st.integers(0, 2 ** len(names) - 1)
        case Option(some):
            return st.none() | st.tuples(values(some))
        case Result(ok, err):
            return st.one_of(
                st.tuples(st.just(good), st.none() if side is None else values(side))
                for good, side in ((True, ok), (False, err))
            )
        case Own() | Borrow():
            raise AssertionError("no handles here")


def through(program, value, answer=None):
    """What the host is called with, and what the export returns when the host answers `answer` (default: the same)."""
    fiber = Fiber(program)
    try:
        assert fiber.start((value,)) is State.WAITING
        (asked,) = fiber.arguments
        assert fiber.answer(asked if answer is None else answer) is State.RETURNED
        return asked, fiber.result
    finally:
        fiber.close()


@pytest.mark.parametrize("index", range(len(TYPES)), ids=TYPES)
@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(data=st.data())
def test_a_value_survives_the_way_in_and_out(echoes, index, data):
    program, type_ = echoes[index]
    sent, answered = data.draw(st.lists(values(type_), max_size=5)), data.draw(st.lists(values(type_), max_size=5))
    assert through(program, sent, answered) == (sent, answered)


@pytest.mark.parametrize("index", range(len(TYPES)), ids=TYPES)
@settings(max_examples=10, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(data=st.data())
def test_json_survives_a_guest(echoes, index, data):
    """As parameters and results go: canonical JSON, values of a guest, canonical JSON."""
    program, type_ = echoes[index]
    codec = value_codec(List(type_))
    text = codec.encode(data.draw(st.lists(values(type_), max_size=4)))
    assert codec.encode(through(program, codec.decode(text))[1]) == text


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("f32", b'["NaN","Infinity","-Infinity",0.1,-0.0,3.4028235e+38]'),
        ("f64", b'["NaN","Infinity","-Infinity",0.1,-0.0,5e-324]'),
        ("char", '["\u00e9","\U0001f600","\\u0000","\\""]'.encode()),
        ("option<option<string>>", b'[null,{"some":null},{"some":"a"}]'),
        ("result<option<u8>, list<color>>", b'[{"ok":null},{"ok":1},{"err":[]}]'),
        ("u64", b"[18446744073709551615]"),
    ],
)
def test_json_that_is_easily_lost_survives_a_guest(echoes, name, text):
    program, type_ = echoes[TYPES.index(name)]
    codec = value_codec(List(type_))
    assert codec.encode(through(program, codec.load(text))[1]) == text


def test_a_nan_stays_a_nan(echoes):
    for name in ("f32", "f64"):
        program, _ = echoes[TYPES.index(name)]
        asked, returned = through(program, [float("nan")])
        assert asked[0] != asked[0] and returned[0] != returned[0]


WRONG: dict[str, list[object]] = {
    "bool": [0, None, "true"],
    "u8": [-1, 256, 1.0, "1", None],
    "s64": [2**63, -(2**63) - 1],
    "f32": ["1", None],
    "char": ["", "ab", 97, "\ud800"],
    "string": [b"bytes", 1, None, "\udfff"],
    "list<u8>": [[256], [-1], 3, None, ["a"]],
    "list<u64>": [(1, 2), None, [1, None]],
    "tuple<u8, string, f64>": [(1, "a"), [1, "a", 1.0], (1, "a", 1.0, 2), (1, 2, 1.0)],
    "person": [("a", ["b"], None), ("a", ["b", 1], None, 1.0), ("a", [], (1,), 1.0)],
    "shape": [(5, None), (-1, None), (0, 1), (1, None), (1,), "circle", (True, 1.0)],
    "color": [3, -1, "red", True],
    "few": [8, -1, None],
    "option<u8>": [1, (1, 2), (None,)],
    "result": [(True, 1), None, (1, None)],
    "result<u64>": [(True, None), (False, 1), True],
}


@pytest.mark.parametrize(("name", "wrong"), [(name, each) for name, wrong in WRONG.items() for each in wrong])
def test_a_value_that_does_not_fit_is_refused_on_both_sides(echoes, name, wrong):
    program, _ = echoes[TYPES.index(name)]
    fiber = Fiber(program)
    with pytest.raises(CodecError):
        fiber.start(([wrong],))
    assert fiber.state is State.NEW
    assert fiber.start(([],)) is State.WAITING
    with pytest.raises(CodecError):
        fiber.answer([wrong])
    assert fiber.state is State.WAITING  # and it may be answered better
    assert fiber.answer([]) is State.RETURNED
    fiber.close()


def resident_kb():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4


def growth_kb(action, rounds, warm_up):
    for _ in range(warm_up):
        action()
    gc.collect()
    before = resident_kb()
    for _ in range(rounds):
        action()
    gc.collect()
    return resident_kb() - before


def test_nothing_leaks(echoes):
    """10,000 rounds of 1.5 kB or more in each of four places, failures on both sides included."""
    program, _ = echoes[-1]
    person = ("p" * 500, ["t" * 500], ((1, 2),), 1.5)
    value = [[((3, person), (7,), (True, [person]))]]
    broken = [[((3, person), (7,), (True, [person, ("q" * 500, ["u" * 500, None], None, 1.5)]))]]

    def once():
        fiber = Fiber(program)
        with pytest.raises(CodecError):
            fiber.start((broken,))
        fiber.start((value,))
        with pytest.raises(CodecError):
            fiber.answer(broken)
        fiber.answer(value)
        fiber.close()

    assert growth_kb(once, 10_000, 500) < 2_000
