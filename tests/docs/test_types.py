"""The reference of types: what it says of each is so."""

import re
from pathlib import Path

import pytest

from obelisk.wasm import tools
from obelisk.wit.codec import value_codec
from obelisk.wit.component import read_package_wit
from obelisk.wit.reader import InvalidJson, ValueMismatch

PAGE = (Path(__file__).parents[2] / "docs" / "reference" / "types.md").read_text()
ROWS = [
    [cell.strip() for cell in line.strip("|").split(" | ")]
    for line in re.search(r"^\|---\|---\|---\|---\|\n(.*?)\n\n", PAGE, re.MULTILINE | re.DOTALL)[1].splitlines()
]
CODE = re.compile(r"`([^`]+)`")


def declared(text):
    """The type that a cell names."""
    (name,) = CODE.findall(text)
    definition = f"{name.partition(' ')[0]} named {name.partition(' ')[2]}" if "{" in name else f"type named = {name};"
    package, document = tools.package_wit({"t.wit": f"package a:b; interface i {{ {definition} f: func(x: named); }}"})
    return read_package_wit(document, package).exports[0].functions[0].signature.params[0][1]


@pytest.mark.parametrize("row", ROWS, ids=[row[0] for row in ROWS])
def test_values_are_written_read_and_refused_as_it_says(row):
    type_, canonical, accepted, refused = row
    codec = value_codec(declared(type_))
    examples = CODE.findall(canonical)
    assert examples
    for example in examples:
        assert codec.canonical(example.encode()).decode() == example
    for written, meant in re.findall(r"`([^`]+)` for `([^`]+)`", accepted):
        assert codec.canonical(written.encode()).decode() == meant
    assert CODE.findall(refused)
    for wrong in CODE.findall(refused):
        with pytest.raises((InvalidJson, ValueMismatch)):
            codec.canonical(wrong.encode())


def test_every_kind_of_type_is_there():
    named = " ".join(row[0] for row in ROWS)
    for kind in ("bool", "u8", "u64", "s8", "s64", "f32", "f64", "char", "string", "list", "tuple", "option", "result"):
        assert f"`{kind}" in named
    for kind in ("record", "variant", "enum", "flags"):
        assert f"`{kind} {{" in named
