"""Reading what wasm-tools says about a component, and writing it for people."""

import json

import pytest

from obelisk.wit.component import Function, NoOneWorld, read_component_wit, read_package_wit
from obelisk.wit.document import UnreadableWit
from obelisk.wit.host import (
    HOST_INTERFACES,
    WASM_BACKTRACE,
    WORKFLOW_SUPPORT,
    WORKFLOW_SUPPORT_6,
    WORKFLOW_SUPPORT_BACKTRACE_6,
)
from obelisk.wit.text import signature_text, type_text
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

EVERYTHING = """
package my:pkg@1.0.0;
interface ext {
    type score = u64;
    record user { name: string, score: option<score> }
    resource thing { id: func() -> string; constructor(a: u8); make: static func() -> thing; }
}
interface ifc {
    use ext.{user, score as points, thing as object};
    variant e { execution-failed, other(string), gone(user) }
    flags fl { a-b, c }
    enum en { x, y-z }
    f: func(n: u8, u: user, p: points, fl: fl, t: tuple<en, list<f32>>) -> result<option<option<char>>, e>;
    g: func(t: borrow<object>, o: object);
    h: func() -> result;
    i: func() -> result<_, string>;
    j: func(x: stream<u8>);
    k: async func();
}
world w {
    use ext.{score};
    import bare: func(s: score);
    import inline: interface { z: func(); }
    export plain: func() -> u8;
    export ifc;
}
"""


def test_everything_is_flattened(component_wit):
    wit = component_wit(EVERYTHING)
    user = Record((("name", Prim.STRING), ("score", Option(Prim.U64))))
    error = Variant((("execution-failed", None), ("other", Prim.STRING), ("gone", user)))
    thing = "my:pkg/ext@1.0.0.thing"
    (exported,) = wit.exports
    assert exported.name == "my:pkg/ifc@1.0.0"
    assert exported.functions == (
        Function(
            "f",
            Signature(
                (
                    ("n", Prim.U8),
                    ("u", user),
                    ("p", Prim.U64),
                    ("fl", Flags(("a-b", "c"))),
                    ("t", Tuple((Enum(("x", "y-z")), List(Prim.F32)))),
                ),
                Result(Option(Option(Prim.CHAR)), error),
            ),
        ),
        Function("g", Signature((("t", Borrow(thing)), ("o", Own(thing))), None)),
        Function("h", Signature((), Result(None, None))),
        Function("i", Signature((), Result(None, Prim.STRING))),
    )
    assert exported.unsupported == (("j", "it uses a stream"), ("k", "it is an async function"))
    assert exported.resources == ()
    (imported,) = wit.imports
    assert imported.name == "my:pkg/ext@1.0.0" and imported.resources == ("thing",)
    assert {function.name: function.text for function in imported.functions} == {
        "[method]thing.id": "func(self: borrow<thing>) -> string",
        "[constructor]thing": "func(a: u8) -> thing",
        "[static]thing.make": "func() -> thing",
    }
    assert sorted(wit.root_imports) == ["bare", "inline"]


def test_functions_are_found_and_named(component_wit):
    (ifc,) = component_wit(
        "package a:b; interface i { f: func(n: u8, iterations: u32) -> result<u64>; } world w { export i; }"
    ).exports
    f = ifc.function("f")
    assert f is not None and f.text == "func(n: u8, iterations: u32) -> result<u64>"
    assert ifc.ffqn(f) == "a:b/i.f"
    assert ifc.function("g") is None


@pytest.mark.parametrize(
    ("type_", "text"),
    [
        (Prim.S8, "s8"),
        (List(Option(Prim.CHAR)), "list<option<char>>"),
        (Tuple((Prim.U8, Prim.BOOL)), "tuple<u8, bool>"),
        (Record((("a", Prim.U8), ("b-c", Prim.F64))), "record { a: u8, b-c: f64 }"),
        (Record(()), "record {}"),
        (Variant((("a", None), ("b", Prim.STRING))), "variant { a, b(string) }"),
        (Enum(("a", "b")), "enum { a, b }"),
        (Flags(("a",)), "flags { a }"),
        (Result(None, None), "result"),
        (Result(Prim.U8, None), "result<u8>"),
        (Result(None, Prim.U8), "result<_, u8>"),
        (Result(Prim.U8, Prim.STRING), "result<u8, string>"),
        (Own("a:b/c@1.0.0.d"), "d"),
        (Borrow("a:b/c@1.0.0.d"), "borrow<d>"),
    ],
)
def test_types_as_text(type_, text):
    assert type_text(type_) == text


def test_resources_of_one_name_can_be_told_apart():
    signature = Signature((("x", Borrow("a:b/c@1.0.0.d")),), Own("e:f/g.d"))
    assert signature_text(signature) == "func(x: borrow<d>) -> d"
    assert signature_text(signature, qualified=True) == "func(x: borrow<a:b/c@1.0.0.d>) -> e:f/g.d"


def test_a_package_stands_for_the_component_that_its_world_describes(wasm_tools, wit_dir):
    folder = wit_dir(
        "package a:b@1.0.0; world w { import log: func(); import c:d/e; export i; } interface i { f: func() -> result; }"
        " interface j { g: func() -> result; }",
        cd="package c:d; interface e { h: func() -> result; } world w { export e; }",
    )
    text = wasm_tools("component", "wit", "--json", str(folder))
    wit = read_package_wit(text, "a:b@1.0.0")
    assert [interface.name for interface in wit.exports] == ["a:b/i@1.0.0"]
    assert [interface.name for interface in wit.imports] == ["c:d/e"]
    assert wit.root_imports == ("log",)
    assert [interface.name for interface in read_package_wit(text, "c:d").exports] == ["c:d/e"]
    with pytest.raises(UnreadableWit, match=r"did not describe the package a:b$"):
        read_package_wit(text, "a:b")


def test_a_package_without_a_world_exports_all_its_interfaces(wasm_tools, wit_dir):
    folder = wit_dir(
        "package a:b; interface i { use c:d/e.{r}; f: func(r: r) -> result; } interface j { type t = u8; }",
        cd="package c:d; interface e { record r { a: u8 } h: func() -> result; }",
    )
    wit = read_package_wit(wasm_tools("component", "wit", "--json", str(folder)), "a:b")
    assert [(interface.name, len(interface.functions)) for interface in wit.exports] == [("a:b/i", 1), ("a:b/j", 0)]
    assert wit.exports[0].functions[0].text == "func(r: record { a: u8 }) -> result"
    assert wit.imports == ()


def test_a_package_with_several_worlds_says_nothing(wasm_tools, wit_dir):
    text = wasm_tools("component", "wit", "--json", str(wit_dir("package a:b; world v {} world w {}")))
    with pytest.raises(NoOneWorld, match=r"the package a:b has 2 worlds \(v, w\); expected one, or none"):
        read_package_wit(text, "a:b")


def test_the_packaged_wit_says_what_the_host_supplies(wasm_tools, wit_dir):
    """The texts parse, and hold the same functions with the same types as the tables in Python."""
    imports = "".join(f"import {name};" for name in HOST_INTERFACES)
    described = json.loads(
        wasm_tools("component", "wit", "--json", str(wit_dir(f"package t:t; world w {{ {imports} }}")))
    )
    described["worlds"] = [world for world in described["worlds"] if world["name"] == "w"]
    wit = read_component_wit(json.dumps(described))
    assert {interface.name for interface in wit.imports} == set(HOST_INTERFACES)
    for interface in wit.imports:
        host = HOST_INTERFACES[interface.name]
        assert interface.unsupported == ()
        assert interface.resources == host.resources
        assert sorted(interface.functions, key=lambda f: f.name) == sorted(host.functions, key=lambda f: f.name)


def test_the_two_generations_differ_as_they_are_meant_to():
    """By name; the types are held to the packaged texts above."""

    def names(interface):
        return {function.name for function in HOST_INTERFACES[interface].functions}

    five, six, traced = names(WORKFLOW_SUPPORT), names(WORKFLOW_SUPPORT_6), names(WORKFLOW_SUPPORT_BACKTRACE_6)
    plain = {name for name in five if not name.endswith("-bt")}
    asking = {"execution-id-current", "get-result-json"}
    with_backtrace = {"execution-id-generate", "schedule-json", "call-json", "stub-json"}
    assert five == plain | {f"{name}-bt" for name in plain - with_backtrace - {"execution-id-current"}} | {
        "sleep-named-bt"
    }
    assert six == plain | {"get-execution-failure-kind", "last-direct-call-id", "last-oneoff-id"}
    assert traced == plain - asking
    for interface in HOST_INTERFACES.values():
        for function in interface.functions:
            last = function.signature.params[-1:]
            told = last == (("backtrace", Option(WASM_BACKTRACE)),)
            expected = interface.name == WORKFLOW_SUPPORT_BACKTRACE_6 or (
                interface.name == WORKFLOW_SUPPORT
                and (function.name.endswith("-bt") or function.name in with_backtrace)
            )
            assert told == expected, (interface.name, function.name)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{}",
        '{"worlds":[],"interfaces":[],"types":[],"packages":[]}',
        '{"worlds":[{"imports":{},"exports":{"i":{"interface":{"id":3}}}}],"interfaces":[],"types":[],"packages":[]}',
    ],
)
def test_a_description_that_is_not_known_is_refused(text):
    with pytest.raises(UnreadableWit, match="wasm-tools described"):
        read_component_wit(text)
