"""`@permanent` in the WIT of a project: it gets into the component that is built, and what means nothing is told with its place."""

from __future__ import annotations

import pytest

from obelisk.authoring import build
from obelisk.authoring.manifest import read_manifest
from obelisk.wasm.binary import custom_sections

DEMO = """
package demo:demo;
interface things {
  variant trouble {
    /// It is over.
    /// @permanent
    over(string),
    busy,
    execution-failed,
  }
  count: func(of: string) -> result<u64, trouble>;
}
"""
DUMMY = "package any:any; world any { export demo:demo/things; } " + DEMO.strip().replace(";", " {", 1) + "}"


@pytest.fixture
def building(component, tool, toolbox, dummy_component):
    """A function: builds a component whose package `demo:demo` is in that text."""
    made = dummy_component(DUMMY)

    def make(demo, folder="component"):
        manifest = read_manifest(component(folder, demo=demo))
        tool("componentize-py", gives=made)
        return build(manifest, toolbox)

    return make


def told(built):
    return [str(warned).removeprefix(f"{built.manifest.wit}/") for warned in built.warnings]


def permanent(built):
    return {function.name: function.permanent for each in built.wit.exports for function in each.functions}


def test_what_the_wit_says_gets_into_the_component(building):
    built = building(DEMO)
    content = built.manifest.output.read_bytes()
    assert custom_sections(content, "obelisk:annotations") == [
        b'{"permanent":{"demo:demo/things":{"trouble":["over"]}},"version":1}'
    ]
    assert permanent(built) == {"count": ("over",)}
    assert built.size == len(content)
    assert told(built) == []
    again = building(DEMO, "again")
    assert again.digest == built.digest
    assert building(DEMO.replace("@permanent", ""), "plain").digest != built.digest


def test_a_component_without_annotations_is_what_the_tool_made(building, dummy_component):
    built = building(DEMO.replace("@permanent", ""))
    assert built.manifest.output.read_bytes() == dummy_component(DUMMY).read_bytes()


@pytest.mark.parametrize(
    ("changed", "warning"),
    [
        (
            ("package", "/// @permanent\npackage"),
            "2: @permanent means nothing for the package demo:demo; it is for the cases of a variant",
        ),
        (("  count:", "  // @permanent\n  count:"), "11: @permanent means nothing for the function demo:demo/things.count; "),
        (
            ("  count:", "  enum trouble2 {\n    a,\n    /* @permanent */ b-c,\n  }\n  count:"),
            "13: @permanent means nothing for the case b-c of the enum demo:demo/things.trouble2; ",
        ),
        (
            ("  count:", "  /// @permanent\n  variant %record { a }\n  count:"),
            "11: @permanent means nothing for the variant demo:demo/things.record, which no function returns as its error; ",
        ),
        (("busy,", "busy, // @permanent"), "8: a comment belongs to what comes after it; write @permanent above the case"),
        (("execution-failed,", "execution-failed // @permanent"), "9: a comment belongs to what comes after it; "),
        (
            ("execution-failed,", "execution-failed,\n    /// @permanent"),
            "10: there is nothing below that @permanent could belong to",
        ),
    ],
)  # fmt: skip
def test_where_it_means_nothing_is_told_with_file_and_line(building, changed, warning):
    (found,) = told(building(DEMO.replace(*changed, 1)))
    assert found.startswith(f"deps/demo/demo.wit:{warning}")


@pytest.mark.parametrize(
    "changed",
    [
        ("variant trouble {", "variant trouble { // @permanent"),
        ("busy,", "busy, /** @permanent */ lost,"),
        ("busy,", "/** It is\n  * @permanent\n */\n  busy,"),
        ("variant trouble", "/// @permanent\nvariant trouble"),
        ("package", "/// See `@permanent`.\npackage"),
    ],
)
def test_where_it_means_something_nothing_is_told(building, changed):
    assert told(building(DEMO.replace(*changed, 1))) == []


def test_when_two_places_would_do_the_folder_is_told(building):
    again = "  /// @permanent\n  record busy { a: u8 }\n"
    demo = DEMO.replace("    busy,", "    /// @permanent\n    busy,").replace("  count:", f"{again}  count:")
    built = building(demo)
    (warned,) = built.warnings
    assert str(warned) == (
        f"{built.manifest.wit}: @permanent means nothing for the record demo:demo/things.busy; it is for the cases of a variant"
        " that a function returns as its error, and for such a variant as a whole"
    )
