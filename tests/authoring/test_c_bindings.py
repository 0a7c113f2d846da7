"""The header that a world becomes: what things are called, and what crosses the border as which numbers."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from obelisk.authoring.languages.c_bindings import MARK, header
from obelisk.authoring.languages.c_types import NotInC
from obelisk.authoring.manifest import Language, read_manifest
from obelisk.authoring.projects import TEMPLATES, create_project
from obelisk.wasm import tools
from obelisk.wasm.source import read_source, wit_files
from obelisk.wit.document import read_document

ECHO = Path(__file__).resolve().parents[1] / "fixtures" / "c" / "wit"
_IMPORTED = re.compile(
    r'import_module\("(?P<module>[^"]+)"\), import_name\("(?P<name>[^"]+)"\)\)\)\n(?P<returns>\w+) \w+\((?P<params>[^)]*)\);'
)
_EXPORTED = re.compile(r'export_name\("(?P<name>[^"]+#[^"]+)"\)\)\)\n(?P<returns>\w+) \w+\((?P<params>[^)]*)\) \{')
_CORE = {"int32_t": "i32", "int64_t": "i64", "float": "f32", "double": "f64"}
ASKED = "world any {{ import one; export two; }} interface one {{ {one} }} interface two {{ {two} }}"


def made(files, world):
    package, text = tools.package_wit(files)
    document = read_document(text)
    number = document.package_index(package)
    return header(document, next(each for each in document.worlds if (each.package, each.name) == (number, world)))


def made_of(one, two=""):
    """The header of a world that imports `one` and exports `two`."""
    return made({"any.wit": f"package a:a; {ASKED.format(one=one, two=two)}"}, "any")


def functions(text):
    """What an author sees: the functions to be called, and those to be written."""
    called = re.findall(r"^static inline (.*) \{$", text.partition("// What may be called")[2], re.MULTILINE)
    written = re.findall(r"^(?:bool|void|\w+_t) .*\);$", text.partition("// What is to be written")[2], re.MULTILINE)
    return called, [line.removesuffix(";") for line in written]


def numbers(found):
    """A core signature, as the header has it."""
    params = [] if found["params"] == "void" else [each.split()[0] for each in found["params"].split(", ")]
    returns = [] if found["returns"] == "void" else [found["returns"]]
    return [_CORE[each] for each in params], [_CORE[each] for each in returns]


def expected(wit, world, tmp_path):
    """The same, as wasm-tools says."""
    dummy = tmp_path / "dummy.wasm"
    command = [
        tools.executable(),
        "component",
        "embed",
        "--dummy-names",
        "legacy",
        "--world",
        world,
        str(wit),
        "-o",
        str(dummy),
    ]
    subprocess.run(command, check=True)
    text = subprocess.run([tools.executable(), "print", dummy], check=True, capture_output=True, text=True).stdout
    types = {}
    for index, params, results in re.findall(
        r"\(type \(;(\d+);\) \(func(?: \(param ([^)]*)\))?(?: \(result ([^)]*)\))?", text
    ):
        types[index] = (params.split(), results.split())
    imports = re.findall(r'\(import "([^"]+)" "([^"]+)" \(func .*\(type (\d+)\)', text)
    functions = dict(re.findall(r"^  \(func \(;(\d+);\) \(type (\d+)\)", text, re.MULTILINE))
    exports = re.findall(r'\(export "([^"]+#[^"]+)" \(func (\d+)\)\)', text)
    return (
        {(module, name): types[index] for module, name, index in imports},
        {name: types[functions[index]] for name, index in exports if not name.startswith("cabi_post_")},
    )


@pytest.mark.parametrize("world", ["echo", "workflow", "activity"])
def test_every_function_has_the_numbers_that_it_has_for_others(tmp_path, world):
    if world == "echo":
        wit = ECHO
    else:
        create_project(TEMPLATES[f"fibo-{world}"], Language.C, tmp_path / "project")
        wit = read_manifest(tmp_path / "project" / "component.toml").wit
    text = made(wit_files(wit, read_source(wit)), world)
    imports, exports = expected(wit, world, tmp_path)
    assert imports
    assert {(each["module"], each["name"]): numbers(each) for each in _IMPORTED.finditer(text)} == imports
    assert {each["name"]: numbers(each) for each in _EXPORTED.finditer(text)} == exports
    assert "cannot be called" not in text


def test_the_header_says_what_made_it_and_is_the_same_each_time():
    text = made_of("f: func();")
    assert text.startswith(f"{MARK} out of the world any. What is changed here is lost.\n\n#pragma once\n")
    assert made_of("f: func();") == text


def test_a_result_is_whether_it_is_ok_and_a_pointer_for_each_payload():
    called, written = functions(
        made_of(
            "f0: func() -> result; f1: func() -> result<u8>; f2: func() -> result<_, string>; f3: func() -> result<u8, string>;",
            "g: func(n: u8) -> result<u64, list<u8>>;",
        )
    )
    assert called == [
        "bool f0(void)",
        "bool f1(uint8_t *ok)",
        "bool f2(string_t *err)",
        "bool f3(uint8_t *ok, string_t *err)",
    ]
    assert written == ["bool g(uint8_t n, uint64_t *ok, list_u8_t *err)"]


def test_names_that_several_have_are_told_apart_by_their_interfaces_and_exports_keep_theirs():
    called, written = functions(made_of("f: func(); h: func();", "f: func(); g: func();"))
    assert called == ["void one_f(void)", "void h(void)"]
    assert written == ["void f(void)", "void g(void)"]


def test_packages_with_interfaces_of_one_name_are_told_apart():
    texts = (f"package {each} {{ interface c {{ f: func(); }} }}" for each in ("a:b", "a:d"))
    world = "package any:any; world any { import a:b/c; import a:d/c; }"
    called, _ = functions(made({"any.wit": " ".join((world, *texts))}, "any"))
    assert called == ["void b_c_f(void)", "void d_c_f(void)"]


def test_versions_of_one_package_are_told_apart():
    texts = (f"package a:b@{each} {{ interface c {{ f: func(); }} }}" for each in ("1.0.0", "2.0.0"))
    world = "package any:any; world any { import a:b/c@1.0.0; import a:b/c@2.0.0; }"
    called, _ = functions(made({"any.wit": " ".join((world, *texts))}, "any"))
    assert called == ["void a_b_1_0_0_c_f(void)", "void a_b_2_0_0_c_f(void)"]


def test_types_of_one_name_are_told_apart():
    types = "record r { x: u8 } f: func(v: r);", "record r { y: u8 } g: func(v: r);"
    called, written = functions(made_of(*types))
    assert (called, written) == (["void f(one_r_t v)"], ["void g(two_r_t v)"])


def test_words_of_c_are_no_names():
    called, _ = functions(made_of("double: func(int: u8, err: u8, raw0: u8) -> result<u8>; memcpy: func();"))
    assert called == ["bool double_(uint8_t int_, uint8_t err_, uint8_t raw0_, uint8_t *ok)", "void one_memcpy(void)"]


def test_a_resource_is_a_handle_with_methods_and_an_end():
    called, _ = functions(
        made_of("resource r { constructor(n: u8); get: func() -> u8; of: static func(o: borrow<r>) -> r; }")
    )
    assert called == ["r_t r_new(uint8_t n)", "uint8_t r_get(r_t self)", "r_t r_of(r_t o)", "void r_drop(r_t self)"]


def test_types_without_a_name_that_are_alike_are_one_and_others_are_not():
    text = made_of("f: func(a: list<u8>, b: list<u8>, c: tuple<result<u8>, u8>, d: tuple<result<u8, u8>>);")
    called, _ = functions(text)
    assert called == ["void f(list_u8_t a, list_u8_t b, tuple_result_u8_u8_t c, tuple_result_u8_u8__t d)"]
    assert text.count("} list_u8_t;") == 1


def test_what_is_documented_is_documented():
    assert "// Adds.\n// Twice.\nstatic inline void f(void) {" in made_of("/// Adds.\n/// Twice.\nf: func();")


def test_an_import_that_has_no_form_is_left_out_and_told():
    text = made_of("f: func(s: stream<u8>); g: func();")
    assert functions(text)[0] == ["void g(void)"]
    assert "// a:a/one.f cannot be called from C: it uses a stream\n" in text


@pytest.mark.parametrize(
    ("two", "told"),
    [
        ("f: func(s: stream<u8>);", r"^a:a/two\.f: it uses a stream$"),
        ("f: async func();", r"^a:a/two\.f: it is asynchronous$"),
        ("resource r; f: func(v: r);", "^the resource r is exported$"),
    ],
)
def test_an_export_that_has_no_form_is_refused(two, told):
    with pytest.raises(NotInC, match=told):
        made_of("", two)


def test_a_function_of_the_world_itself_is_refused():
    with pytest.raises(NotInC, match=r"^the function f of the world belongs to no interface$"):
        made({"any.wit": "package a:a; world any { import f: func(); }"}, "any")
