"""Interfaces as text again: parsed, the text says what it was made from."""

import re
from pathlib import Path

import pytest

from obelisk.core.names import InterfaceName
from obelisk.wit.component import read_interface
from obelisk.wit.document import Docs, UnreadableWit, read_document
from obelisk.wit.packages import PACKAGES
from obelisk.wit.printer import ConflictingParts, InterfaceText, Printer, package_text

ROOT = """
package my:pkg@1.0.0;
/// Types, for all.
interface shared {
    type score = u64;
    /// A user.
    ///
    /// Of the system.
    record user {
        /// Not unique.
        name: string,
        %type: option<score>,
    }
    variant e {
        execution-failed,
        /// With a reason.
        other(string),
        gone(user),
    }
    flags fl { a-b, %list }
    enum en { x, y-z }
    record nothing-of { f: bool }
}
/// Handles.
interface things {
    use shared.{score};
    resource thing {
        constructor(a: score);
        /// Its id.
        id: func() -> string;
        async-id: async func() -> string;
        make: static func(other: borrow<thing>) -> thing;
    }
    resource empty;
    type mine = own<thing>;
    type yours = borrow<thing>;
}
interface %record {
    use shared.{user, score as points, e};
    use things.{thing as object};
    use far:away/%interface@2.0.0-rc.1.{%variant};
    type many = list<list<points>>;
    type other-name = many;
    type pair = tuple<user, option<option<char>>>;
    type outcome = result<_, e>;
    type nobody = result;
    /// What it does.
    f: func(n: u8, %result: user, p: points, v: %variant) -> result<pair, e>;
    g: func(t: borrow<object>, o: object) -> outcome;
    h: func() -> result;
    %func: func(%use: bool) -> result<_, string>;
    i: func(x: stream<u8>, y: stream, z: future<many>, e: error-context) -> future;
    j: async func(l: list<f32, 4>) -> result<s64>;
    k: func();
}
world w { export %record; }
"""
FAR = "package far:%away@2.0.0-rc.1; interface %interface { enum %variant { %enum, b } }"


@pytest.fixture
def printed(tmp_path):
    """All packages of a document as a folder of WIT that depends on nothing else; `root` is the one in front."""

    def make(document, root):
        printer = Printer(document)
        folder = tmp_path / f"printed{len(list(tmp_path.iterdir()))}"
        (folder / "deps").mkdir(parents=True)
        for index, package in enumerate(document.packages):
            texts = [printer.interface(each) for each, item in enumerate(document.interfaces) if item.package == index]
            if texts:
                path = folder / ("root.wit" if package.name == root else f"deps/{index}.wit")
                path.write_text(package_text(texts, package.docs))
        return folder

    return make


def interfaces(document):
    """What a document says of its interfaces: by structure, and by their texts."""
    printer = Printer(document)
    numbered = [(index, each) for index, each in enumerate(document.interfaces) if each.name is not None]
    return {
        text.name: (read_interface(document, index), text)
        for index, text in ((index, printer.interface(index)) for index, _ in numbered)
    }


def test_the_text_says_the_same(wasm_tools, described, printed):
    document = described(ROOT, far=FAR)
    again = read_document(wasm_tools("component", "wit", "--json", str(printed(document, "my:pkg@1.0.0"))))
    assert interfaces(again) == interfaces(document)
    assert len(interfaces(document)) == 4 + sum(len(described_in(each)) for each in PACKAGES)


def described_in(package):
    """The interfaces in a package of ours."""
    folder = Path(__file__).parents[2] / "src/obelisk/wit/packages" / package
    return re.findall(r"^interface ", "".join(file.read_text() for file in folder.glob("*.wit")), re.MULTILINE)


def test_the_tool_itself_prints_it_so(wasm_tools, described, wit_dir):
    """Comments, `use`s, names: all but the order of the interfaces, which is the document's."""
    document = described(ROOT, far=FAR)
    printer = Printer(document)
    texts = [
        printer.interface(each)
        for each, item in enumerate(document.interfaces)
        if document.packages[item.package].name == "my:pkg@1.0.0"
    ]
    ours = package_text(texts)
    its = wasm_tools("component", "wit", str(wit_dir(ROOT, far=FAR))).decode()
    its = its[: its.index("world w")]
    assert sorted(filter(None, ours.splitlines())) == sorted(filter(None, its.splitlines()))


def test_a_form_of_type_that_is_not_known_is_told(described):
    document = described("package a:b; interface i { f: func() -> list<u8>; }")
    document.types[-1].kind = {"matrix": "u8"}
    with pytest.raises(UnreadableWit, match="matrix"):
        Printer(document).interface(len(document.interfaces) - 1)


# --- two texts of one interface ---------------------------------------------------------------------------------------

NAME = InterfaceName("a:b/c@1.0.0")


def test_what_two_components_know_of_an_interface_is_put_together(described):
    """Each component carries those types only that it uses."""

    def text(types):
        document = described(f"package a:b@1.0.0; interface c {{ {types} }}")
        return Printer(document).interface([each.name for each in document.interfaces].index("c"))

    one = text("record r { a: u8 } /// Of one.\nenum e { x }")
    two = text("type s = string; record r { a: u8 }")
    both = one.merged(two)
    assert set(both.types) == {"r", "e", "s"}
    assert both == two.merged(one)
    with pytest.raises(ConflictingParts) as caught:
        one.merged(text("record r { a: u16 }"))
    assert str(caught.value) == (
        "a:b/c@1.0.0.r is described in two ways:\n  record r { a: u8, }\n  record r { a: u16, }"
    )


def test_comments_do_not_make_two_texts_different():
    one = InterfaceText(NAME, Docs("One."), types={"e": "  /// Of one.\n  enum e {\n    x,\n  }\n"})
    two = InterfaceText(NAME, Docs(), types={"e": "  enum e {\n    /// Of two.\n    x,\n  }\n"})
    assert one.merged(two) == one
    assert two.merged(one).docs == Docs("One.")


def test_one_name_for_types_of_two_interfaces_is_a_conflict():
    one = InterfaceText(NAME, uses={"e": "a:b/d@1.0.0.e"})
    assert one.needs() == {"a:b/d@1.0.0"}
    with pytest.raises(ConflictingParts, match=r"a:b/f\.e"):
        one.merged(InterfaceText(NAME, uses={"e": "a:b/f.e"}))


def test_packages_have_versions_or_none():
    assert [InterfaceText(InterfaceName(name)).package for name in ("a:b/c@1.0.0", "a:b/c")] == ["a:b@1.0.0", "a:b"]
    assert package_text([InterfaceText(InterfaceName("a:b/c"))], Docs("All.\n\nOf it.")) == (
        "/// All.\n///\n/// Of it.\npackage a:b;\n\ninterface c {\n}\n"
    )
