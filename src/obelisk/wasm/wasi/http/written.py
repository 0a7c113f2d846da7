"""Ways of writing a text that is looked for in a stream: as it is, in JSON, in a URL.

Decides which escapes stand for a character. Writers differ: PHP escapes a slash, Go what means something in HTML, others all that is
not ASCII, in small or capital digits. No way of writing one character begins with another way of writing it, so a text is
followed from left to right.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from itertools import product
from typing import Final

Unit = tuple[bytes, ...]
"""What may stand for one character, or for one byte."""

_BEGINNING: Final = 2
"""Units."""


class Written:
    """All texts that are one unit behind the other."""

    def __init__(self, units: Iterable[Unit]) -> None:
        self._units = tuple(units)
        self.pattern = b"".join(any_of(unit) for unit in self._units)
        self.longest = sum(max(map(len, unit)) for unit in self._units)
        self.beginnings = frozenset(map(b"".join, product(*self._units[:_BEGINNING])))
        """With one of these each of the texts begins."""

    def begins_with(self, data: bytes) -> bool:
        """Whether one of the texts begins with `data`, and goes on behind it."""
        at = 0
        for unit in self._units:
            for form in unit:
                if data.startswith(form, at):
                    at += len(form)
                    break
            else:
                rest = data[at:]
                return any(form.startswith(rest) for form in unit)
        return False


def as_it_is(text: bytes) -> Written:
    """Byte for byte."""
    return Written([(text,)])


def in_a_url(value: bytes) -> Written:
    """In a query or a form, with any byte escaped or not."""
    return Written(map(_in_a_url, value))


def in_a_json_string(value: str) -> Written:
    """In a string of JSON, with any character escaped or not."""
    return Written(map(_in_a_json_string, value))


def _in_a_url(byte: int) -> Unit:
    forms = {f"%{byte:02X}".encode(), f"%{byte:02x}".encode()}
    if byte == ord(" "):
        forms.add(b"+")
    if byte != ord("%"):
        forms.add(bytes([byte]))
    return tuple(sorted(forms))


def _in_a_json_string(character: str) -> Unit:
    halves = character.encode("utf-16-be")
    codes = [halves[at : at + 2].hex() for at in range(0, len(halves), 2)]
    forms = {"".join(f"\\u{code}" for code in codes), "".join(f"\\u{code.upper()}" for code in codes)}
    if character in '"\\/':
        forms.add(f"\\{character}")
    if character not in '"\\':
        forms.add(character)
    return tuple(sorted(form.encode() for form in forms))


def any_of(texts: Iterable[bytes]) -> bytes:
    """A pattern for any of those. What they begin with stands there once: each is not tried for itself at every place."""
    followed: dict[bytes, set[bytes]] = {}
    for text in texts:
        followed.setdefault(text[:1], set()).add(text[1:])
    if not followed or b"" in followed:  # whatever follows a text that is over does not matter
        return b""
    single = sorted(first for first, rest in followed.items() if b"" in rest)
    branches = [re.escape(first) + any_of(rest) for first, rest in sorted(followed.items()) if b"" not in rest]
    if single:
        branches.append(b"[" + b"".join(map(re.escape, single)) + b"]")
    return branches[0] if len(branches) == 1 else b"(?:" + b"|".join(branches) + b")"
