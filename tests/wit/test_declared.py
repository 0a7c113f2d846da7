"""A function that a configuration describes, as WIT text and back to the keys that it came from."""

from obelisk.core.names import FunctionName
from obelisk.wit.component import read_package_wit
from obelisk.wit.declared import Declared
from obelisk.wit.executable import executables

FULL = Declared(FunctionName("a:b/c@1.2.3.list"), (("n", "u8"), ("type", "list<string>")), "result<u64, string>")
BARE = Declared(FunctionName("a:b/c.d"), (), "result")


def test_the_text_is_a_package_with_the_one_function(wasm_tools, tmp_path):
    for declared, package, text in (
        (FULL, "a:b@1.2.3", "func(n: u8, type: list<string>) -> result<u64, string>"),
        (BARE, "a:b", "func() -> result"),
    ):
        path = tmp_path / "declared.wit"
        path.write_text(declared.text)
        wit = read_package_wit(wasm_tools("component", "wit", "--json", str(path)), package)
        assert list(executables(wit)) == [declared.ffqn]
        assert wit.exports[0].functions[0].text == text
        assert (wit.imports, wit.root_imports) == ((), ())


def test_every_line_comes_from_a_key():
    lines = FULL.text.splitlines()
    assert [(FULL.part(number)[0], line.strip()) for number, line in enumerate(lines, 1)] == [
        ("ffqn", "package %a:%b@1.2.3;"),
        ("ffqn", "interface %c {"),
        ("ffqn", "%list: func("),
        ("params[0].type", "%n: u8,"),
        ("params[1].type", "%type: list<string>,"),
        ("return_type", ") -> result<u64, string>;"),
        ("return_type", "}"),
    ]
    assert [FULL.part(number)[1] for number in (1, 5, 6)] == ["a:b/c@1.2.3.list", "list<string>", "result<u64, string>"]
    assert BARE.part(4) == ("return_type", "result")
