"""Ways of writing a secret that a server sends back: found however it is escaped, and wherever the stream is cut."""

import json
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from obelisk.wasm.wasi.http.placeholders import Placeholders
from obelisk.wasm.wasi.http.written import as_it_is, in_a_json_string, in_a_url

VALUE = 'a/b"c\\é<&+𝄞 %z'
HIDDEN = b"obelisk-secret-KEY-x"
ESCAPED = [
    VALUE,
    json.dumps(VALUE)[1:-1],
    json.dumps(VALUE, ensure_ascii=False)[1:-1],
    json.dumps(VALUE)[1:-1].replace("/", "\\/"),  # PHP
    json.dumps(VALUE, ensure_ascii=False)[1:-1].replace("<", "\\u003c").replace("&", "\\u0026"),  # Go
    r"a/b\u0022c\\\u00E9\u003C\u0026\u002B\uD834\uDD1E %z",  # .NET
    "".join(f"\\u{unit:04x}" for unit in memoryview(VALUE.encode("utf-16-le")).cast("H")),
    quote(VALUE),
    quote(VALUE, safe=""),
    quote(VALUE).lower(),
    quote_plus(VALUE),
    "".join(f"%{byte:02x}" for byte in VALUE.encode()),
]


def placeholders(*values):
    return Placeholders({f"KEY{number or ''}": value for number, value in enumerate(values)}, lambda: "x")


@pytest.mark.parametrize("text", ESCAPED)
def test_it_is_found_however_it_is_escaped_and_cut(text):
    hides = placeholders(VALUE.encode())
    data = b'{"said": "' + text.encode() + b'", "a\\/b": "a%2f"}'
    expected = b'{"said": "' + HIDDEN + b'", "a\\/b": "a%2f"}'
    assert hides.hide(data) == expected
    for at in range(len(data)):
        replacer = hides.on_the_way_in()
        assert replacer.feed(data[:at]) + replacer.feed(data[at:]) + replacer.end() == expected
    replacer = hides.on_the_way_in()
    assert b"".join(replacer.feed(bytes([byte])) for byte in data) + replacer.end() == expected


def test_another_text_is_left_alone():
    hides = placeholders(VALUE.encode())
    for text in (VALUE[:-1], json.dumps(VALUE)[1:-2], quote(VALUE)[:-1], VALUE.replace("/", "\\\\/"), VALUE.upper()):
        assert hides.hide(text.encode()) == text.encode()


def test_a_value_that_is_no_text_is_found_as_it_is_and_in_urls():
    value = b"\xff\xfe/secret"
    assert placeholders(value).hide(b"<" + value + b"> %ff%fe%2Fsecret") == b"<" + HIDDEN + b"> " + HIDDEN


def test_the_longer_of_two_is_meant():
    assert (
        placeholders(b"secret/1", b"secret/1/2").hide(b"secret\\/1\\/2 secret/1")
        == HIDDEN.replace(b"KEY", b"KEY1") + b" " + HIDDEN
    )


@settings(deadline=None)
@given(st.text(st.characters(codec="utf-8"), min_size=8), st.data())
def test_no_way_of_writing_a_character_begins_with_another(text, data):
    for written in (in_a_json_string(text), in_a_url(text.encode()), as_it_is(text.encode())):
        for unit in written._units:
            assert not any(one != other and other.startswith(one) for one in unit for other in unit)
        drawn = b"".join(data.draw(st.sampled_from(unit)) for unit in written._units)
        assert len(drawn) <= written.longest and any(map(drawn.startswith, written.beginnings))
        cut = data.draw(st.integers(0, len(drawn) - 1))
        assert written.begins_with(drawn[:cut])
        assert not written.begins_with(drawn)
