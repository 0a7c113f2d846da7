"""Canonical JSON: a bijection between values and texts, exact at the edges, liberal towards users."""

import json
import math
import struct
from decimal import ROUND_DOWN, ROUND_UP, Context, Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from obelisk.core.values import Json
from obelisk.wit.codec import ParamsCodec, encoder, normal_json, normal_params, normal_result, value_codec
from obelisk.wit.floats import f32_text, to_f32
from obelisk.wit.reader import INTEGER_RANGES, InvalidJson, ValueMismatch
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
    Variant,
)
from obelisk.wit.writer import UnsupportedType

NAMES = ("a", "b-c", "d-e-f", "ok", "some", "x1")
names = st.lists(st.sampled_from(NAMES), min_size=1, max_size=4, unique=True).map(tuple)
scalars = st.characters(exclude_categories=["Cs"])
f32s = st.floats(width=32)


def _members(member):
    return names.flatmap(lambda ns: st.tuples(*[st.tuples(st.just(n), member) for n in ns]))


def _containers(inner):
    maybe = st.none() | inner
    return (
        inner.map(List)
        | st.lists(inner, max_size=3).map(lambda items: Tuple(tuple(items)))
        | _members(inner).map(Record)
        | _members(maybe).map(Variant)
        | inner.map(Option)
        | inner.map(lambda some: Option(Option(some)))
        | st.builds(Result, maybe, maybe)
    )


types = st.recursive(st.sampled_from(list(Prim)) | names.map(Enum) | names.map(Flags), _containers, max_leaves=8)


def values(type_):
    match type_:
        case None:
            return st.none()
        case Prim.BOOL:
            return st.booleans()
        case Prim.F32:
            return f32s
        case Prim.F64:
            return st.floats()
        case Prim.CHAR:
            return scalars
        case Prim.STRING:
            return st.text(scalars, max_size=8)
        case Prim():
            return st.integers(*INTEGER_RANGES[type_])
        case List(element):
            return st.lists(values(element), max_size=4)
        case Tuple(items):
            return st.tuples(*map(values, items))
        case Record(fields):
            return st.tuples(*[values(field) for _, field in fields])
        case Variant(cases):
            return st.one_of([st.tuples(st.just(i), values(case)) for i, (_, case) in enumerate(cases)])
        case Enum(ns):
            return st.integers(0, len(ns) - 1)
        case Flags(ns):
            return st.integers(0, 2 ** len(ns) - 1)
        case Option(some):
            return st.none() | st.tuples(values(some))
        case Result(ok, err):
            return st.tuples(st.just(True), values(ok)) | st.tuples(st.just(False), values(err))
    raise AssertionError(type_)


def typed(count=1):
    return types.flatmap(lambda type_: st.tuples(st.just(type_), *[values(type_)] * count))


def same(left, right):
    # `repr` tells 0.0 from -0.0, True from 1, and finds one NaN equal to another.
    return repr(left) == repr(right)


@given(typed())
def test_every_value_survives_the_way_there_and_back(case):
    type_, value = case
    codec = value_codec(type_)
    text = codec.encode(value)
    assert same(codec.load(text), value)
    assert same(codec.decode(text), value)
    assert same(codec.load(Json(text)), value)


@given(typed())
def test_the_canonical_form_is_a_fixed_point_and_plain_json(case):
    type_, value = case
    codec = value_codec(type_)
    text = codec.encode(value)
    assert codec.canonical(text) == text
    parsed = json.loads(text)
    assert codec.canonical(json.dumps(parsed, indent=1)) == text


@given(typed(2))
def test_two_values_are_equal_exactly_when_their_bytes_are(case):
    type_, left, right = case
    encode = encoder(type_)
    assert (encode(left) == encode(right)) == same(left, right)


@given(typed())
def test_kebab_names_in_any_order_mean_the_same(case):
    type_, value = case
    kebab = {name.replace("-", "_"): name for name in NAMES}

    def respell(parsed):
        if isinstance(parsed, dict):
            return {kebab.get(key, key): respell(member) for key, member in reversed(parsed.items())}
        if isinstance(parsed, list):
            return [respell(member) for member in parsed]
        return parsed

    codec = value_codec(type_)
    text = codec.encode(value)
    assert codec.canonical(json.dumps(respell(json.loads(text)))) == text


def _reads_as(decimal, number):
    try:
        return to_f32(float(decimal)) == number
    except OverflowError:
        return False


def _assert_shortest(number):
    text = f32_text(number)
    assert repr(to_f32(float(text))) == repr(number)
    digits = len(Decimal(text).normalize().as_tuple().digits)
    if digits > 1:
        for rounding in (ROUND_DOWN, ROUND_UP):
            shorter = Context(prec=digits - 1, rounding=rounding).create_decimal(number)
            assert not _reads_as(shorter, number)


@given(f32s.filter(math.isfinite))
def test_an_f32_reads_back_and_no_shorter_text_does(number):
    _assert_shortest(number)


def test_powers_of_two_are_shortest_too():
    for exponent in range(-149, 128):
        _assert_shortest(2.0**exponent)
        _assert_shortest(-(2.0**exponent))


@pytest.mark.parametrize(
    ("bits", "text"),
    [
        (0x3DCCCCCD, "0.1"),
        (0x4B800000, "16777216.0"),
        (0x7F7FFFFF, "3.4028235e+38"),
        (0x00000001, "1e-45"),
        (0x00800000, "1.1754944e-38"),
        (0x0C000000, "9.8607613e-32"),
        (0x80000000, "-0.0"),
        (0x3EAAAAAB, "0.33333334"),
    ],
)
def test_f32_texts(bits, text):
    number = struct.unpack("<f", struct.pack("<I", bits))[0]
    assert f32_text(number) == text


USER = Record((("name", Prim.STRING), ("tags", List(Prim.U32)), ("age-limit", Option(Prim.U8))))
SHAPE = Variant((("none-at-all", None), ("circle", Prim.F64), ("maybe", Option(Prim.U8))))


# These texts are stored and compared for ever: a change here breaks every running workflow.
@pytest.mark.parametrize(
    ("type_", "value", "text"),
    [
        (Prim.BOOL, True, b"true"),
        (Prim.U64, 2**64 - 1, b"18446744073709551615"),
        (Prim.S64, -(2**63), b"-9223372036854775808"),
        (Prim.F64, 1.0, b"1.0"),
        (Prim.F64, -0.0, b"-0.0"),
        (Prim.F64, 1e16, b"1e+16"),
        (Prim.F64, 1e-7, b"1e-07"),
        (Prim.F64, 0.1 + 0.2, b"0.30000000000000004"),
        (Prim.F64, math.nan, b'"NaN"'),
        (Prim.F32, math.inf, b'"Infinity"'),
        (Prim.F32, -math.inf, b'"-Infinity"'),
        (Prim.F32, to_f32(0.1), b"0.1"),
        (Prim.CHAR, "\U0001f600", '"\U0001f600"'.encode()),
        (Prim.STRING, 'a"\\/\n\t\x01\x7f\u00e9\u2028', '"a\\"\\\\/\\n\\t\\u0001\x7f\u00e9\u2028"'.encode()),
        (Tuple(()), (), b"[]"),
        (Tuple((Prim.U8, Prim.STRING)), (1, "x"), b'[1,"x"]'),
        (USER, ("joe", [1, 2], None), b'{"name":"joe","tags":[1,2],"age_limit":null}'),
        (SHAPE, (0, None), b'"none_at_all"'),
        (SHAPE, (1, 0.5), b'{"circle":0.5}'),
        (SHAPE, (2, None), b'{"maybe":null}'),
        (Enum(("x", "y-z")), 1, b'"y_z"'),
        (Flags(("a", "b-c", "d")), 0b110, b'["b_c","d"]'),
        (Option(Option(Prim.U8)), None, b"null"),
        (Option(Option(Prim.U8)), (None,), b'{"some":null}'),
        (Option(Option(Prim.U8)), ((5,),), b'{"some":5}'),
        (Option(Option(Option(Prim.U8))), ((None,),), b'{"some":{"some":null}}'),
        (Result(Prim.U8, None), (True, 5), b'{"ok":5}'),
        (Result(Prim.U8, None), (False, None), b'{"err":null}'),
        (Result(None, None), (True, None), b'{"ok":null}'),
        (List(Option(Result(None, Prim.CHAR))), [None, ((False, "c"),)], b'[null,{"err":"c"}]'),
    ],
)
def test_the_canonical_form_of(type_, value, text):
    assert encoder(type_)(value) == text
    assert same(value_codec(type_).decode(text), value)


@pytest.mark.parametrize(
    ("type_", "text", "value"),
    [
        (Prim.U8, "10.0", 10),
        (Prim.S8, "-1.28e2", -128),
        (Prim.U64, "9007199254740991.0", 2**53 - 1),
        (Prim.F64, "3", 3.0),
        (Prim.F64, "590295810358705700000", 2.0**69),
        (Prim.F32, "16777216", 16777216.0),
        (Prim.F32, "0.1", to_f32(0.1)),
        (Prim.F32, "3.40282350000001e38", to_f32(3.4028235e38)),
        (Prim.CHAR, r'"\ud83d\ude00"', "\U0001f600"),
        (USER, '{"tags":[],"name":"x"}', ("x", [], None)),
        (USER, '{"tags":[3.0],"name":"x","age-limit":7}', ("x", [3], (7,))),
        (SHAPE, '"none-at-all"', (0, None)),
        (Flags(("a", "b-c")), '["b-c","a"]', 3),
        (Result(None, Enum(("p-q",))), '{"err":"p-q"}', (False, 0)),
    ],
)
def test_users_may_also_write(type_, text, value):
    assert same(value_codec(type_).decode(text), value)


@pytest.mark.parametrize(
    ("type_", "text", "message"),
    [
        (Prim.BOOL, "1", "value: expected bool, got 1"),
        (Prim.U8, "256", "value: expected u8, got 256"),
        (Prim.U8, "-1", "value: expected u8, got -1"),
        (Prim.U8, "true", "value: expected u8, got true"),
        (Prim.U8, "1.5", "value: expected u8, got 1.5"),
        (Prim.U64, "18446744073709551616", "value: expected u64, got 18446744073709551616"),
        (Prim.U64, "9007199254740992.0", "value: expected u64, got 9007199254740992.0"),
        (Prim.F64, "9007199254740993", "value: expected f64, got 9007199254740993"),
        (Prim.F64, "1" + "0" * 400, "value: expected f64, got 1" + "0" * 58 + "…"),
        (Prim.F64, '"nan"', 'value: expected f64, got "nan"'),
        (Prim.F32, "16777217", "value: expected f32, got 16777217"),
        (Prim.F32, "1e39", "value: expected f32, got 1e+39"),
        (Prim.CHAR, '"ab"', 'value: expected char (a string of one character), got "ab"'),
        (Prim.STRING, "null", "value: expected string, got null"),
        (List(Prim.U8), "[1,2,300]", "value[2]: expected u8, got 300"),
        (List(List(Prim.STRING)), '[["a"],["b",3]]', "value[1][1]: expected string, got 3"),
        (Tuple((Prim.U8, Prim.U8)), "[1]", "value: expected tuple<u8, u8>, got an array of 1"),
        (USER, '{"name":"x"}', "value.tags: expected list<u32>, got nothing"),
        (USER, '{"name":"x","tags":[],"age_limit":1,"age-limit":1}', "it twice, in two spellings"),
        (USER, '{"name":"x","tags":[],"tags":[]}', 'got an object with the key "tags" twice'),
        (USER, '{"name":"x","tags":[],"z":1}', 'only the fields name, tags, age_limit, got the unknown key "z"'),
        (SHAPE, '{"none_at_all":null}', "value: expected variant { none-at-all, circle(f64), maybe(option<u8>) }"),
        (SHAPE, '"circle"', "value: expected variant"),
        (SHAPE, '{"circle":"x"}', 'value.circle: expected f64, got "x"'),
        (SHAPE, '{"circle":1,"maybe":2}', "value: expected variant"),
        (Enum(("x",)), '"y"', 'value: expected enum { x }, got "y"'),
        (Flags(("a", "b")), '["a","a"]', 'value[1]: expected each flag once, got "a" again'),
        (Flags(("a", "b")), '["c"]', 'value[0]: expected one of a, b, got "c"'),
        (Option(Option(Prim.U8)), "5", 'null or {"some": …} for option<option<u8>>, got 5'),
        (Option(Option(Prim.U8)), '{"some":"x"}', 'value.some: expected u8, got "x"'),
        (Result(None, None), '{"ok":1}', "value.ok: expected null, got 1"),
        (Result(None, None), '"ok"', 'expected {"ok": …} or {"err": …} for result, got "ok"'),
    ],
)
def test_what_does_not_fit_is_named(type_, text, message):
    with pytest.raises(ValueMismatch) as caught:
        value_codec(type_).decode(text)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    "text", ["", "[", "NaN", "[1e400]", '["\\ud800"]', '{"a":"\\udc00"}', "[1] 2", "[" * 5000, b"\xff"]
)
def test_what_is_not_json_is_told_apart(text):
    with pytest.raises(InvalidJson):
        ParamsCodec(Signature((("a", Prim.STRING),), None)).decode(text)


def test_parameters_of_a_function():
    codec = ParamsCodec(Signature((("n", Prim.U8), ("user", USER)), None))
    assert codec.decode('[10, {"name": "x", "tags": []}]') == (10, ("x", [], None))
    assert codec.canonical('[ 10.0, {"tags": [1], "name": "x"}]') == b'[10,{"name":"x","tags":[1],"age_limit":null}]'
    assert codec.load(codec.encode((10, ("x", [1], (3,))))) == (10, ("x", [1], (3,)))
    with pytest.raises(ValueMismatch) as caught:
        codec.decode('[10, {"name": "x", "tags": [1, 2, 3, "x"]}]')
    assert str(caught.value) == 'params[1].tags[3]: expected u32, got "x"'
    assert (caught.value.path, caught.value.expected, caught.value.got) == ("params[1].tags[3]", "u32", '"x"')


def test_a_wrong_number_of_parameters_names_both_counts():
    codec = ParamsCodec(Signature((("n", Prim.U8), ("iterations", Prim.U32)), None))
    with pytest.raises(ValueMismatch, match=r"^params: expected 2 parameters \(n: u8, iterations: u32\), got 1$"):
        codec.decode("[1]")
    with pytest.raises(ValueMismatch, match=r"^params: expected an array of 2 parameters .*, got \{\"n\": 1\}$"):
        codec.decode('{"n":1}')
    nullary = ParamsCodec(Signature((), None))
    assert nullary.decode("[]") == () and nullary.encode(()) == b"[]"
    with pytest.raises(ValueMismatch, match=r"^params: expected no parameters, got 1$"):
        nullary.decode("[1]")


@pytest.mark.parametrize("handle", [Own("ns:pkg/ifc.thing"), Borrow("ns:pkg/ifc.thing")])
def test_handles_are_not_json(handle):
    for compile_ in (encoder, value_codec):
        with pytest.raises(UnsupportedType, match=r"ns:pkg/ifc\.thing"):
            compile_(List(Tuple((Prim.U8, handle))))


# --- JSON of any type, in normal form --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        (' [ 1 , "a b" ,\n{ "b" : null , "a" : [ ] } ] ', '[1,"a b",{"b":null,"a":[]}]'),
        ("[1, 1.0, 1.50, 1E2, -0, -0.0, 1e-7]", "[1,1.0,1.50,1E2,-0,-0.0,1e-7]"),
        ("[18446744073709551616]", "[18446744073709551616]"),
        ("0.1000000000000000055511151231257827021181583404541015625",) * 2,
        (r'"\u0041\u00e9\ud83d\ude00\/\n\u0001"', '"A\u00e9\U0001f600/\\n\\u0001"'),
        ("true", "true"),
        ('""', '""'),
    ],
)
def test_the_normal_form_keeps_what_matters(text, normal):
    assert normal_json(text) == normal.encode()
    assert normal_json(Json(text.encode())) == normal.encode()
    assert normal_json(normal) == normal.encode()


@given(data=st.data(), type_=types)
def test_the_normal_form_means_the_same_to_every_type(data, type_):
    codec = value_codec(type_)
    text = json.dumps(json.loads(codec.encode(data.draw(values(type_)))), indent=1)
    assert codec.canonical(normal_json(text)) == codec.canonical(text)
    assert normal_json(normal_json(text)) == normal_json(text)


@pytest.mark.parametrize("text", ["", "[", "NaN", "[1e400]", '["\\ud800"]', "[1] 2", "[" * 100_000, b"\xff", "[1,]"])
def test_what_is_not_json_has_no_normal_form(text):
    with pytest.raises(InvalidJson):
        normal_json(text)


def test_a_key_named_twice_has_no_normal_form():
    with pytest.raises(InvalidJson, match='an object has the key "a" twice'):
        normal_json('[{"b":{"a":1,"c":2,"a":1}}]')


def test_parameters_and_results_of_any_function():
    assert normal_params(" [ ] ") == b"[]"
    assert normal_params('[ {"a" : 1} ]') == b'[{"a":1}]'
    for text, got in (('{"n": 1}', '{"n": 1}'), ("7", "7"), ("null", "null"), ('"[1]"', '"[1]"')):
        with pytest.raises(ValueMismatch) as caught:
            normal_params(text)
        assert str(caught.value) == f"params: expected an array, got {got}"
    assert normal_result('{ "ok" : null }') == b'{"ok":null}'
    assert normal_result('{"err": [1, 2.0]}') == b'{"err":[1,2.0]}'
    for text in ('"ok"', "[]", "{}", '{"ok":1,"err":2}', '{"Ok":1}', "null"):
        with pytest.raises(ValueMismatch, match=r'^result: expected \{"ok": …\} or \{"err": …\}, got '):
            normal_result(text)
