"""The section `obelisk:annotations` of component files: written, read, refused; and what an activity's end is because of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from obelisk.core.values import Err, Json
from obelisk.testing.hosts import LoggingHost
from obelisk.wasm import tools
from obelisk.wasm.activity import ActivityRun
from obelisk.wasm.binary import custom_sections, with_custom_section
from obelisk.wasm.cache import ComponentCache
from obelisk.wasm.component import ComponentLoader
from obelisk.wasm.description import Descriptions, annotate
from obelisk.wasm.link import link_activity
from obelisk.wasm.source import ComponentError, WitText
from obelisk.wit.annotations import SECTION

WIT = """package any:any;
world pay { export demo:acts/pay; }
package demo:acts { interface pay {
  variant pay-error {
    /// @permanent
    card-declined(string),
    network,
    permanently-gone,
    execution-failed,
  }
  charge: func(n: u8) -> result<u8, pay-error>;
} }"""
WAT = """(module (memory (export "memory") 1) (data (i32.const 64) "no")
  ;; err(case n)
  (func (export "demo:acts/pay#charge") (param $n i32) (result i32)
    (i32.store8 (i32.const 16) (i32.const 1))
    (i32.store8 (i32.const 20) (local.get $n))
    (i32.store (i32.const 24) (i32.const 64))
    (i32.store (i32.const 28) (i32.const 2))
    (i32.const 16)))"""
CHARGE = "demo:acts/pay.charge"
CONTENT = b'{"permanent":{"demo:acts/pay":{"pay-error":["card-declined"]}},"version":1}'


def descriptions() -> Descriptions:
    return Descriptions(ComponentCache(None))


def annotated(path: Path, wit: str = WIT) -> bytes:
    """The component at the path, with what that WIT says."""
    return annotate(path.read_bytes(), descriptions().read(path), descriptions().read(WitText(wit), "pay"))


def permanent(wit):
    return {function.name: function.permanent for each in wit.exports for function in each.functions}


@pytest.fixture(scope="module")
def plain(build) -> Path:
    return build(WIT, "pay", WAT)


@pytest.fixture
def paying(plain, tmp_path) -> Path:
    path = tmp_path / "paying.wasm"
    path.write_bytes(annotated(plain))
    return path


def test_comments_of_wit_do_not_get_into_a_component_by_themselves(plain):
    assert permanent(descriptions().read(plain).wit) == {"charge": ()}
    assert "permanent\n" not in descriptions().text(plain)
    assert custom_sections(plain.read_bytes(), SECTION) == []


def test_what_wit_says_is_added_at_the_end_and_nothing_else_changes(plain, paying, wasm_tools):
    before, after = plain.read_bytes(), paying.read_bytes()
    assert after.startswith(before)
    assert custom_sections(after, SECTION) == [CONTENT]
    wasm_tools("validate", paying)
    assert custom_sections(after, SECTION[:-1]) == []


def test_it_is_added_once(plain, paying, tmp_path):
    assert annotated(paying) == paying.read_bytes()
    other = annotated(paying, WIT.replace("network,", "/// @permanent\nnetwork,"))
    assert custom_sections(other, SECTION) == [CONTENT.replace(b'"]', b'","network"]')]
    assert annotated(paying, WIT.replace("@permanent", "over")) == plain.read_bytes()


@pytest.mark.parametrize(
    ("case", "outcome"),
    [
        (0, Err(Json(b'{"card_declined":"no"}'), permanent=True)),
        (1, Err(Json(b'"network"'))),
        (2, Err(Json(b'"permanently_gone"'), permanent=True)),
    ],
)
def test_an_annotated_error_of_an_attempt_is_permanent_as_a_named_one_is(loader, plain, paying, case, outcome):
    def end(path):
        run = ActivityRun(link_activity(loader.load(path)).entries[CHARGE], LoggingHost())
        try:
            return run.start(Json(b"[%d]" % case)).outcome
        finally:
            run.close()

    assert end(paying) == outcome
    assert end(plain) == (outcome if case else Err(outcome.value))


def test_the_wit_of_the_component_shows_it(paying):
    text = descriptions().text(paying)
    assert "      /// @permanent\n      card-declined(string),\n      network,\n" in text
    assert text.count("@permanent") == 1
    assert b"@permanent" in descriptions().read(paying).document


def test_a_core_module_may_have_the_section_too(core_module, tmp_path, loader):
    path = tmp_path / "core.wasm"
    path.write_bytes(with_custom_section(core_module(WIT, "pay", WAT), SECTION, CONTENT))
    assert permanent(loader.load(path).wit) == {"charge": ("card-declined",)}
    assert "/// @permanent" in descriptions().text(path)


def test_what_a_cache_has_is_without_it(engines, plain, paying, tmp_path):
    """The cache of an older Obelisk, which did not know of the section."""
    cache = tmp_path / "cache"
    digest = descriptions().read(paying).digest
    ComponentCache(cache).keep_wit(digest, descriptions().read(plain).document)
    ComponentCache(cache).keep_wit_text(digest, descriptions().text(plain))
    loader = ComponentLoader(engines, cache)
    assert permanent(loader.load(paying).wit) == {"charge": ("card-declined",)}
    assert "/// @permanent" in loader.descriptions.text(paying)


def test_the_second_load_runs_no_tool(engines, paying, tmp_path, monkeypatch):
    ComponentLoader(engines, tmp_path).load(paying)

    def never(*args, **options):
        raise AssertionError("not needed")

    monkeypatch.setattr(tools, "_run", never)
    assert permanent(ComponentLoader(engines, tmp_path).load(paying).wit) == {"charge": ("card-declined",)}


@pytest.mark.parametrize(
    ("contents", "reason"),
    [
        ((b"nonsense",), "it is not what obelisk build writes: "),
        ((CONTENT.replace(b"1}", b"2}"),), "it is of version 2, and this Obelisk reads version 1"),
        ((CONTENT.replace(b"card-", b"cart-"),), "it speaks of the case cart-declined of demo:acts/pay.pay-error, which has"),
        ((CONTENT, CONTENT), "there are 2 of them"),
    ],
)  # fmt: skip
def test_a_section_that_cannot_be_used_is_told_of_the_file(loader, plain, tmp_path, contents, reason):
    path = tmp_path / "broken.wasm"
    binary = plain.read_bytes()
    for content in contents:
        added = with_custom_section(plain.read_bytes(), SECTION, content)
        binary += added[len(plain.read_bytes()) :]
    path.write_bytes(binary)
    with pytest.raises(ComponentError) as refused:
        loader.load(path)
    assert str(refused.value).startswith(f"{path}: its section obelisk:annotations cannot be used: {reason}")


def test_a_file_that_ends_in_the_middle_of_the_section_is_no_component(loader, paying):
    content = paying.read_bytes()
    for left in (1, 10, len(CONTENT) + 3):
        paying.write_bytes(content[:-left])
        with pytest.raises(ComponentError, match="not a valid component"):
            loader.load(paying)


def test_sections_are_replaced_wherever_they_stand_and_other_bytes_stay():
    head, padded = b"\0asm\x0d\x00\x01\x00", b"\x00\x86\x80\x00\x01xabcd"  # a size may be written longer than it needs
    ours = b"\x00\x04\x02meA"
    other = b"\x00\x04\x02noB"
    binary = head + ours + padded + ours + other
    assert custom_sections(binary, "me") == [b"A", b"A"]
    assert with_custom_section(binary, "me", None) == head + padded + other
    assert with_custom_section(binary, "me", b"") == head + padded + other + b"\x00\x03\x02me"
    long = with_custom_section(head, "me", b"x" * 300)
    assert long[len(head) :] == b"\x00\xaf\x02\x02me" + b"x" * 300
    assert custom_sections(long, "me") == [b"x" * 300]


def test_wit_that_is_text_says_it_itself():
    """As that of a stub activity."""
    assert permanent(descriptions().read(WitText(WIT), "pay").wit) == {"charge": ("card-declined",)}
