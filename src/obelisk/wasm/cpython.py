"""CPython inside of a guest: in which functions and lines its interpreter is, read from the guest's memory.

Decides what of that memory means what. CPython says so itself, for debuggers: a table of offsets that begins with a cookie. Only
the table of 3.14 is known, and only with pointers of 32 bits; anything else has no frames. Pure: how memory is read is somebody
else's affair, and so is whose it is. Nothing that is read is trusted: a guest may have written it.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Iterator
from typing import Final

from obelisk.core.backtraces import FRAMES_MAX, NAME_LENGTH_MAX, Frame, Symbol, bounded

Read = Callable[[int, int], bytes]
"""(address in the guest, size in bytes) -> the bytes, fewer where there are none."""

COOKIE: Final = b"xdebugpy"
"""Where CPython's state begins, with the table."""
_VERSION: Final = 0x030E
_TABLE: Final = struct.Struct("<80Q")
_INTERPRETERS_HEAD: Final = 4
_THREADS_HEAD: Final = 8
_CURRENT_FRAME: Final = 25
_FRAME: Final = (30, 31, 32, 33, 35)
"""Size, and previous, executable, instr_ptr, owner."""
_CODE: Final = (38, 39, 41, 42, 43, 47)
"""Size, and filename, qualname, linetable, firstlineno, co_code_adaptive."""
_BYTES: Final = (74, 75)
"""Size, data."""
_TEXT: Final = (77, 78, 79)
"""State, length, the size of the head of one that is ASCII."""
_OFFSET_MAX: Final = 1 << 20
_TABLE_LENGTH_MAX: Final = 1 << 20
"""Bytes of a table of lines."""

_OWNED_BY_INTERPRETER: Final = 3
"""From here on a frame is not one of Python."""
_TAGS: Final = 3
"""Bits of a reference that are no part of the address."""
_NOT_ASCII: Final = 8
"""What the head is longer by."""
_ROOT: Final = re.compile(r"/(?:\d+|world)/")
"""The folders that componentize-py puts sources into, in the order of its `--python-path`, and its own."""


class NotCPython(ValueError):
    """There is no CPython of a known version, or its state makes no sense."""


def frames_at(read: Read, state: int) -> tuple[Frame, ...]:
    """The frames of the interpreter whose state is at address `state`, where the cookie is; the innermost first.
    `NotCPython`.
    """
    return bounded(_Interpreter(read, state).frames())


class _Interpreter:
    def __init__(self, read: Read, state: int) -> None:
        self._read = read
        self._state = state
        table = self._bytes(state + len(COOKIE), _TABLE.size)
        self._table = _TABLE.unpack(table)
        if self._bytes(state, len(COOKIE)) != COOKIE or self._table[0] >> 16 != _VERSION or self._table[1]:
            raise NotCPython("not the state of CPython 3.14")
        if max(self._table[2:]) > _OFFSET_MAX:
            raise NotCPython("an offset is too large")

    def frames(self) -> Iterator[Frame]:
        table = self._table
        interpreter = self._pointer(self._state + table[_INTERPRETERS_HEAD])
        thread = self._pointer(interpreter + table[_THREADS_HEAD])
        frame = self._pointer(thread + table[_CURRENT_FRAME])
        _, previous, executable, instruction, owner = (table[index] for index in _FRAME)
        found = seen = 0
        while frame and found < FRAMES_MAX and seen < 2 * FRAMES_MAX:
            seen += 1
            if self._bytes(frame + owner, 1)[0] < _OWNED_BY_INTERPRETER:
                found += 1
                code = self._pointer(frame + executable) & ~_TAGS
                yield self._frame(code, self._pointer(frame + instruction))
            frame = self._pointer(frame + previous)

    def _frame(self, code: int, instruction: int) -> Frame:
        _, filename, qualname, linetable, firstlineno, first = (self._table[index] for index in _CODE)
        name = self._text(self._pointer(code + qualname))
        file = _ROOT.sub("", self._text(self._pointer(code + filename)), count=1)
        lines = self._bytes_object(self._pointer(code + linetable))
        line, column = place(lines, self._pointer(code + firstlineno), (instruction - code - first) // 2)
        return Frame(file.removesuffix(".py").replace("/", "."), name, (Symbol(name, file, line, column),))

    def _pointer(self, address: int) -> int:
        return int.from_bytes(self._bytes(address, 4), "little")

    def _bytes(self, address: int, size: int) -> bytes:
        found = self._read(address, size)
        if len(found) != size:
            raise NotCPython(f"nothing is at {address:#x}")
        return found

    def _bytes_object(self, address: int) -> bytes:
        size, data = (self._table[index] for index in _BYTES)
        length = self._pointer(address + size)
        if length > _TABLE_LENGTH_MAX:
            raise NotCPython("a table of lines is too long")
        return self._bytes(address + data, length)

    def _text(self, address: int) -> str:
        state, length, head = (self._table[index] for index in _TEXT)
        flags = self._bytes(address + state, 1)[0]
        kind, compact, ascii_ = flags >> 2 & 7, flags >> 5 & 1, flags >> 6 & 1
        if not compact or kind not in (1, 2, 4):
            raise NotCPython("a name is no text")
        characters = min(self._pointer(address + length), NAME_LENGTH_MAX)
        data = self._bytes(address + head + (0 if ascii_ else _NOT_ASCII), characters * kind)
        return data.decode({1: "latin-1", 2: "utf-16-le", 4: "utf-32-le"}[kind], "replace")


_SHORT_MAX: Final = 9
_LINE_DELTAS: Final = range(10, 13)
_NO_COLUMN: Final = 13
_LONG: Final = 14


def place(table: bytes, first_line: int, unit: int) -> tuple[int | None, int | None]:
    """The line and the column, both from 1 on, of a code unit, as `co_linetable` has them since CPython 3.11."""
    line, end, at = first_line, 0, 0
    try:
        while at < len(table):
            kind, end = table[at] >> 3 & 15, end + (table[at] & 7) + 1
            at += 1
            column: int | None = None
            if kind <= _SHORT_MAX:
                column = kind << 3 | table[at] >> 4 & 7
                at += 1
            elif kind in _LINE_DELTAS:
                line += kind - _LINE_DELTAS.start
                column = table[at]
                at += 2
            elif kind in (_NO_COLUMN, _LONG):
                delta, at = _varint(table, at)
                line += -(delta >> 1) if delta & 1 else delta >> 1
                if kind == _LONG:
                    _, at = _varint(table, at)
                    column, at = _varint(table, at)
                    _, at = _varint(table, at)
                    column -= 1
            if unit < end:
                known = kind <= _LONG
                return (line if known else None), (None if column is None or column < 0 else column + 1)
    except IndexError:
        raise NotCPython("a table of lines ends early") from None
    return None, None


def _varint(table: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = table[at]
        at += 1
        value |= (byte & 63) << shift
        shift += 6
        if not byte & 64:
            return value, at
