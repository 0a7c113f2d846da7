"""Secrets, and what a guest sees in their place.

Decides what a placeholder looks like, and puts values in for placeholders on the way out and placeholders for values on the
way in. Where a secret may go is decided elsewhere. A placeholder is made of characters that stand for themselves in URLs,
in JSON and in forms, and has a random part, so that no text from elsewhere contains one.
"""

from __future__ import annotations

import binascii
import json
import re
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from types import MappingProxyType
from typing import Final
from urllib.parse import quote_from_bytes

from obelisk.wasm.wasi.http.written import Written, any_of, as_it_is, in_a_json_string, in_a_url

SECRET_BYTES_MIN: Final = 8
"""A shorter value could not be told from other text."""

Encode = Callable[[bytes], bytes]
_BASIC: Final = re.compile(rb"(?i:basic)[ ]+([A-Za-z0-9+/]+={0,2})[ ]*")


def unfit_value(value: bytes) -> str | None:
    """Why that cannot be a secret's value; None: it can."""
    if len(value) < SECRET_BYTES_MIN:
        return f"it has {len(value)} bytes; expected {SECRET_BYTES_MIN} or more"
    if value != value.strip():
        return "it begins or ends with a blank"
    if any(byte < 0x20 or byte == 0x7F for byte in value):
        return "it has control characters (a line break at its end?)"
    return None


class Placeholders:
    """The secrets of one run. `random_text` makes a text of letters and digits that cannot be guessed."""

    def __init__(self, values: Mapping[str, bytes], random_text: Callable[[], str]) -> None:
        self._values = dict(values)
        token = random_text() if values else ""
        self.environment = {name: f"obelisk-secret-{name}-{token}" for name in values}
        """What the guest sees: placeholders by name."""
        self._names = {text.encode(): name for name, text in self.environment.items()}
        self._placeholder = re.compile(b"|".join(map(re.escape, self._names)) or rb"(?!)")
        shown = {value: f"{{{name}}}" for name, value in self._values.items()}
        written = {form: text for value, text in shown.items() for form in (value, in_url(value), in_json(value))}
        self._shown = {form.decode(errors="surrogateescape"): text for form, text in written.items()}
        self._shown |= {text: f"{{{name}}}" for name, text in self.environment.items()}

    def __bool__(self) -> bool:
        return bool(self._values)

    def __repr__(self) -> str:
        return f"Placeholders({', '.join(self._values)})"

    def names_in(self, data: bytes) -> set[str]:
        """The secrets whose placeholders are in `data`."""
        return {self._names[found] for found in self._placeholder.findall(data)}

    def resolve(self, data: bytes, encode: Encode = bytes) -> bytes:
        """`data` with values in the place of placeholders."""
        return self._placeholder.sub(lambda found: encode(self._values[self._names[found[0]]]), data)

    def on_the_way_out(self, names: set[str], encode: Encode) -> Replacer:
        """Puts in the values of those secrets, in a stream."""
        return Replacer((as_it_is(self.environment[name].encode()), encode(self._values[name])) for name in names)

    def basic_in(self, headers: Iterable[tuple[str, bytes]]) -> dict[bytes, bytes]:
        """What stands behind `Basic` when those headers are sent, and what the guest wrote there: a server that sends it back
        sends the value too, in Base64.
        """
        pairs: dict[bytes, bytes] = {}
        for name, value in headers:
            credentials = basic_credentials(value.strip(b" \t")) if name.lower() == "authorization" else None
            if credentials is not None and self.names_in(credentials):
                pairs[b64encode(self.resolve(credentials))] = b64encode(credentials)
        return pairs

    def on_the_way_in(self, more: Mapping[bytes, bytes] = MappingProxyType({})) -> Replacer:
        """Puts placeholders in the place of values, in a stream; `more`: what else is replaced by what."""
        pairs = [(as_it_is(text), by) for text, by in more.items()]
        for name, value in self._values.items():
            by = self.environment[name].encode()
            pairs += ((as_it_is(value), by), (in_a_url(value), by))
            with suppress(UnicodeDecodeError):  # such a value is in no JSON
                pairs.append((in_a_json_string(value.decode()), by))
        return Replacer(pairs)

    def hide(self, data: bytes, more: Mapping[bytes, bytes] = MappingProxyType({})) -> bytes:
        """`data` with placeholders in the place of values."""
        replacer = self.on_the_way_in(more)
        return replacer.feed(data) + replacer.end()

    def shown(self, text: str) -> str:
        """A text for traces and logs: `{NAME}` stands for values and for placeholders."""
        for form, name in self._shown.items():
            text = text.replace(form, name)
        return text


class Replacer:
    """Replaces texts in a stream, the longest that is there. Holds back what may be the beginning of one."""

    def __init__(self, pairs: Iterable[tuple[Written, bytes]]) -> None:
        found = sorted(pairs, key=lambda pair: pair[0].longest, reverse=True)
        self._texts = [text for text, _ in found]
        self._by_group = [by for _, by in found]
        self._any = re.compile(b"|".join(b"(%s)" % text.pattern for text in self._texts) or rb"(?!)")
        beginnings = {start for text in self._texts for start in text.beginnings}
        self._beginning = re.compile(any_of(beginnings) or rb"(?!)")
        self._longest = max((text.longest for text in self._texts), default=0) - 1
        firsts = sorted({start[:1] for start in beginnings})
        self._first = re.compile(b"|".join(map(re.escape, firsts)) or rb"(?!)")
        self._held = b""

    def feed(self, data: bytes) -> bytes:
        """What of the stream so far is certain, and was not given yet."""
        if self._longest <= 0:
            return data
        data = self._held + data
        done: list[bytes] = []
        at = 0
        for found in self._found(data):
            assert found.lastindex is not None
            done += (data[at : found.start()], self._by_group[found.lastindex - 1])
            at = found.end()
        end = len(data)
        firsts = self._first.finditer(data, max(at, end - self._longest))
        held = next((first.start() for first in firsts if self._may_begin(data[first.start() :])), end)
        self._held = data[held:]
        return b"".join((*done, data[at:held]))

    def _found(self, data: bytes) -> Iterator[re.Match[bytes]]:
        """Looks for beginnings first, which is many times as fast."""
        at = 0
        while (beginning := self._beginning.search(data, at)) is not None:
            found = self._any.match(data, beginning.start())
            at = beginning.start() + 1 if found is None else found.end()
            if found is not None:
                yield found

    def _may_begin(self, data: bytes) -> bool:
        return any(text.begins_with(data) for text in self._texts)

    def end(self) -> bytes:
        """What was held back: the stream is over."""
        held, self._held = self._held, b""
        return held


def in_url(value: bytes) -> bytes:
    """A value as it is written in a query or a form."""
    return quote_from_bytes(value, safe="").encode()


def in_json(value: bytes) -> bytes:
    """A value as it is written in a string of JSON."""
    return json.dumps(value.decode(errors="replace"), ensure_ascii=False)[1:-1].encode()


def encoder_of(content_type: bytes) -> Encode:
    """How a value is written in a body of that type."""
    kind = content_type.partition(b";")[0].strip().lower()
    if kind == b"application/x-www-form-urlencoded":
        return in_url
    if kind == b"application/json" or kind.endswith(b"+json"):
        return in_json
    return bytes


def basic_credentials(value: bytes) -> bytes | None:
    """`user:password` of an `Authorization: Basic …`; None: it is not one."""
    found = _BASIC.fullmatch(value)
    try:
        return None if found is None else b64decode(found[1], validate=True)
    except binascii.Error:
        return None


def basic_authorization(credentials: bytes) -> bytes:
    """The other way round."""
    return b"Basic " + b64encode(credentials)
