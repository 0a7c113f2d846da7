"""Headers and trailers as a guest handles them.

Decides what a guest may write into them: names and values that HTTP can carry, and none of those that belong to the
connection, which is the host's.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from obelisk.wasm.wasi.host import GuestTrap
from obelisk.wasm.wasi.http.body import Fields as Entries
from obelisk.wasm.wasi.http.held import Held
from obelisk.wasm.wasi.http.limits import HEADER_BYTES_MAX
from obelisk.wit.types import Value

FIELDS_BYTES_MAX: Final = 2 * HEADER_BYTES_MAX
"""Bytes that one `fields` may have; a guest that writes more traps."""

INVALID_SYNTAX: Final[Value] = (False, (0, None))
FORBIDDEN: Final[Value] = (False, (1, None))
IMMUTABLE: Final[Value] = (False, (2, None))
_DONE: Final[Value] = (True, None)

_NAME: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_VALUE: Final = re.compile(rb"[\t\x20-\x7e\x80-\xff]*")
_FORBIDDEN: Final = frozenset({"connection", "host", "http2-settings", "keep-alive", "transfer-encoding", "upgrade"})


def is_forbidden(name: str) -> bool:
    """Whether that is the host's own affair."""
    lower = name.lower()
    return lower in _FORBIDDEN or lower.startswith("proxy-")


class HttpFields:
    """`wasi:http/types.fields`."""

    __slots__ = ("_held", "_is_mutable", "_size", "entries")

    def __init__(
        self, entries: Iterable[tuple[str, bytes]] = (), held: Held | None = None, *, is_mutable: bool = True
    ) -> None:
        """`held`: of the run; None: of nobody. `GuestTrap` where that is too much."""
        self._held = held or Held()
        self._size = 0
        self._is_mutable = is_mutable
        self.entries: Entries = list(entries)
        self._resize(_size(self.entries))

    def __del__(self) -> None:
        self._held.give_back(self._size)

    @classmethod
    def from_list(cls, entries: list[tuple[str, list[int]]], held: Held | None = None) -> Value:
        """New ones, mutable; or the error of the first that cannot be."""
        fields = cls((), held)
        for name, value in entries:
            done = fields.append(name, bytes(value))
            if not done[0]:
                return done
        return True, fields

    @classmethod
    def received(cls, entries: Entries, held: Held | None = None) -> HttpFields:
        """Those of a response: without what belongs to the connection."""
        return cls([entry for entry in entries if not is_forbidden(entry[0])], held, is_mutable=False)

    def get(self, name: str) -> Value:
        """The values of a name."""
        lower = name.lower()
        return [value for other, value in self.entries if other.lower() == lower]

    def has(self, name: str) -> Value:
        """Whether there is one."""
        lower = name.lower()
        return any(other.lower() == lower for other, _ in self.entries)

    def set(self, name: str, values: list[list[int]]) -> Value:
        """Puts values in the place of those there are."""
        written = [bytes(value) for value in values]
        refusal = self._refusal(name, written)
        if refusal is None:
            self.delete(name)
            self._add([(name, value) for value in written])
        return refusal or _DONE

    def delete(self, name: str) -> Value:
        """Removes the values of a name."""
        refusal = self._refusal(name, ())
        if refusal is None:
            lower = name.lower()
            self.entries[:] = [entry for entry in self.entries if entry[0].lower() != lower]
            self._resize(_size(self.entries))
        return refusal or _DONE

    def append(self, name: str, value: bytes) -> Value:
        """Adds a value."""
        refusal = self._refusal(name, (value,))
        if refusal is None:
            self._add([(name, value)])
        return refusal or _DONE

    def all_entries(self) -> Value:
        """Names and values, in order."""
        return list(self.entries)

    def clone(self) -> HttpFields:
        """A mutable copy."""
        return HttpFields(self.entries, self._held)

    def frozen(self) -> HttpFields:
        """The same, immutable."""
        return HttpFields(self.entries, self._held, is_mutable=False)

    def _refusal(self, name: str, values: Iterable[bytes]) -> Value:
        if not self._is_mutable:
            return IMMUTABLE
        if not _NAME.fullmatch(name) or not all(map(_VALUE.fullmatch, values)):
            return INVALID_SYNTAX
        return FORBIDDEN if is_forbidden(name) else None

    def _add(self, entries: Entries) -> None:
        size = self._size + _size(entries)
        if size > FIELDS_BYTES_MAX:
            raise GuestTrap(f"headers of more than {FIELDS_BYTES_MAX} bytes were made")
        self._resize(size)
        self.entries += entries

    def _resize(self, size: int) -> None:
        self._held.take(size - self._size)
        self._size = size


def _size(entries: Entries) -> int:
    return sum(len(name) + len(value) + 4 for name, value in entries)
