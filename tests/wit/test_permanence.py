"""`@permanent` in comments of WIT: what it is said of, and the section that carries it into a component."""

from __future__ import annotations

import json

import pytest

from obelisk.wit.annotations import (
    Annotations,
    InvalidAnnotations,
    annotated,
    annotated_text,
    annotations_for,
    decode,
    encode,
)
from obelisk.wit.component import read_component_wit, read_package_wit
from obelisk.wit.document import read_document
from obelisk.wit.permanence import says_permanent
from obelisk.wit.printer import Printer, package_text
from obelisk.wit.strays import strays

PAY = """
package demo:impl;
world w { export demo:acts/pay@1.2.3; export demo:acts/refund@1.2.3; }
package demo:acts@1.2.3 {
  interface types {
    variant shared {
      // It is over. @permanent
      over,
      execution-failed,
    }
  }
  interface pay {
    use types.{shared as other};
    variant pay-error {
      /// The card is invalid. @permanent
      card-declined(string),
      network,
      /** @permanent */
      %variant,
      execution-failed,
    }
    type same = pay-error;
    type charged = result<u8, same>;
    charge: func(n: u8) -> charged;
    share: func() -> result<_, other>;
    plain: func() -> result<u8, string>;
    none: func() -> result;
  }
  /// Nothing here is said to be `@permanent`.
  interface refund {
    /// Whatever it is. @permanent
    variant refund-error { late, execution-failed }
    refund: func() -> result<u8, refund-error>;
  }
}
"""
PERMANENT = {
    "demo:acts/pay@1.2.3": {"pay-error": ("card-declined", "variant")},
    "demo:acts/refund@1.2.3": {"refund-error": ("late", "execution-failed")},
    "demo:acts/types@1.2.3": {"shared": ("over",)},
}


@pytest.fixture
def source(tmp_path, wasm_tools):
    """The document of the text."""
    (tmp_path / "pay.wit").write_text(PAY)
    return wasm_tools("component", "wit", "--json", str(tmp_path / "pay.wit"))


def cases(wit):
    return {function.name: function.permanent for each in wit.exports for function in each.functions}


@pytest.mark.parametrize(
    ("comment", "says"),
    [
        ("@permanent", True),
        ("It is @permanent.", True),
        ("First line\n  @permanent\nlast", True),
        ("(@permanent)", True),
        ("", False),
        (None, False),
        ("permanent", False),
        ("@permanently", False),
        ("@permanent-not", False),
        ("me@permanent", False),
        ("Add `@permanent` when it is", False),
    ],
)
def test_what_a_comment_says(comment, says):
    assert says_permanent(comment) is says


def test_cases_of_wit_as_text(source):
    assert cases(read_package_wit(source, "demo:impl")) == {
        "charge": ("card-declined", "variant"),
        "share": ("over",),
        "plain": (),
        "none": (),
        "refund": ("late", "execution-failed"),
    }


def test_a_component_has_lost_them_and_gets_them_back(source, component_json):
    component = component_json(PAY)
    assert set(cases(read_component_wit(component)).values()) == {()}
    found = annotations_for(read_document(component), read_document(source))
    assert found == Annotations(PERMANENT)
    again = read_component_wit(annotated(component, found))
    assert cases(again) == cases(read_package_wit(source, "demo:impl"))
    assert [(each.name, each.functions[0].signature) for each in again.exports] == [
        (each.name, each.functions[0].signature) for each in read_component_wit(component).exports
    ]


def test_what_a_component_says_is_found_again_in_it(source, component_json):
    component = annotated(component_json(PAY), Annotations(PERMANENT))
    assert annotations_for(read_document(component), read_document(component)) == Annotations(PERMANENT)


def test_of_what_is_only_imported_nothing_is_kept(source, component_json):
    component = read_document(component_json(PAY.replace("export demo:acts/pay", "import demo:acts/pay")))
    assert list(annotations_for(component, read_document(source)).permanent) == ["demo:acts/refund@1.2.3"]


def test_another_type_of_the_same_name_is_not_meant(component_json, source):
    text = PAY.replace("demo:acts", "demo:others")
    assert not annotations_for(read_document(component_json(text)), read_document(source))


def test_the_section_is_the_same_for_the_same_annotations():
    mixed = Annotations({name: PERMANENT[name] for name in reversed(PERMANENT)})
    assert encode(mixed) == encode(Annotations(PERMANENT))
    assert json.loads(encode(mixed)) == {
        "version": 1,
        "permanent": {interface: {name: list(cases) for name, cases in types.items()} for interface, types in PERMANENT.items()},
    }  # fmt: skip
    assert decode(encode(mixed)) == mixed


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "it is not what obelisk build writes"),
        (b"\xff", "it is not what obelisk build writes"),
        (b"[]", "it is not what obelisk build writes"),
        (b"{}", "missing required field `version`"),
        (b'{"version":1}', "missing required field `permanent`"),
        (b'{"version":1,"permanent":{},"retries":3}', "unknown field `retries`"),
        (b'{"version":1,"permanent":{"a:b/c":{"d":"e"}}}', "Expected `array`"),
        (b'{"version":1,"permanent":{}}{"version":1,"permanent":{}}', "it is not what obelisk build writes"),
        (b'{"version":2,"cases":[]}', "it is of version 2, and this Obelisk reads version 1"),
    ],
)
def test_another_section_is_refused(content, reason):
    with pytest.raises(InvalidAnnotations, match=reason):
        decode(content)


@pytest.mark.parametrize(
    ("permanent", "reason"),
    [
        ({"demo:acts/pay": {}}, None),
        ({"demo:acts/pay": {"pay-error": ("network",)}}, "speaks of demo:acts/pay.pay-error, which the component does not"),
        ({"demo:acts/pay@1.2.3": {"pay": ("a",)}}, "speaks of demo:acts/pay@1.2.3.pay, which the component does not have"),
        ({"demo:acts/pay@1.2.3": {"charged": ("a",)}}, "speaks of demo:acts/pay@1.2.3.charged, which is no variant"),
        (
            {"demo:acts/refund@1.2.3": {"refund-error": ("late", "lost")}},
            "speaks of the case lost of demo:acts/refund@1.2.3.refund-error, which has only late, execution-failed",
        ),
    ],
)  # fmt: skip
def test_what_does_not_fit_the_component_is_refused(component_json, permanent, reason):
    component = component_json(PAY)
    if reason is None:
        assert read_component_wit(annotated(component, Annotations(permanent))) == read_component_wit(component)
        return
    with pytest.raises(InvalidAnnotations, match=reason):
        annotated(component, Annotations(permanent))


def test_the_text_of_a_component_shows_them_and_is_read_as_what_it_says(component_json, wasm_tools, tmp_path):
    component_json(PAY)
    text = wasm_tools("component", "wit", str(tmp_path / "component.wasm")).decode()
    shown = annotated_text(text, Annotations(PERMANENT))
    assert (
        "      /// @permanent\n      card-declined(string),\n      network,\n      /// @permanent\n      %variant,\n"
        in shown
    )
    assert [line for line in shown.splitlines() if "///" not in line] == text.splitlines()
    (tmp_path / "shown.wit").write_text(shown)
    again = wasm_tools("component", "wit", "--json", str(tmp_path / "shown.wit"))
    assert cases(read_package_wit(again, "root:component"))["charge"] == ("card-declined", "variant")
    assert annotations_for(read_document(again), read_document(again)) == Annotations(PERMANENT)


def test_what_is_printed_of_an_interface_keeps_them(component_json, wasm_tools, tmp_path):
    document = read_document(annotated(component_json(PAY), Annotations(PERMANENT)))
    names = {each.name: index for index, each in enumerate(document.interfaces)}
    printed = package_text([Printer(document).interface(names["refund"])])
    (tmp_path / "refund.wit").write_text(printed)
    again = wasm_tools("component", "wit", "--json", str(tmp_path / "refund.wit"))
    assert cases(read_package_wit(again, "demo:acts@1.2.3")) == {"refund": ("late", "execution-failed")}


EVERYWHERE = """
/// @permanent
package a:b;
/// @permanent
world w {
  /// @permanent
  import i;
  /// @permanent
  export i;
  /// @permanent
  type t = u8;
  /// @permanent
  import f: func();
}
/// @permanent
interface i {
  /// @permanent
  record r {
    /// @permanent
    a: u8,
  }
  flags g {
    /// @permanent
    b,
  }
  /// @permanent
  enum n {
    /// @permanent
    z,
  }
  variant unused {
    /// @permanent
    x(s),
  }
  /// @permanent
  variant s { y, execution-failed }
  /// @permanent
  type alias = e;
  /// @permanent
  resource q {
    /// @permanent
    m: func();
  }
  /// @permanent
  variant e {
    /// @permanent
    good,
    execution-failed,
  }
  /// @permanent
  h: func() -> result<u8, alias>;
}
"""


def test_where_it_means_nothing_is_told(described):
    assert [(stray.name, stray.what) for stray in strays(described(EVERYWHERE))] == [
        ("a:b", "the package a:b"),
        ("w", "the world w"),
        ("import", "an import of the world w"),
        ("f", "the function f of the world w"),
        ("export", "an export of the world w"),
        ("i", "the interface a:b/i"),
        ("m", "the function a:b/i.[method]q.m"),
        ("h", "the function a:b/i.h"),
        ("r", "the record a:b/i.r"),
        ("a", "the field a of the record a:b/i.r"),
        ("b", "the flag b of the flags a:b/i.g"),
        ("n", "the enum a:b/i.n"),
        ("z", "the case z of the enum a:b/i.n"),
        ("s", "the variant a:b/i.s, which no function returns as its error"),
        ("x", "the case x of the variant a:b/i.unused, which no function returns as its error"),
        ("q", "the resource a:b/i.q"),
        ("alias", "the type a:b/i.alias"),
        ("t", "the type t"),
    ]


def test_where_it_means_something_nothing_is_told(described):
    assert list(strays(described(PAY))) == []
