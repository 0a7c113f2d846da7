"""A look into the memory of a guest that stands in a host call: the frames of its interpreter.

Decides where that memory is. wasmtime's C API does not give the memories of a component; but they begin as mappings of the file
with its code, the kernel tells which file is mapped where, and the component of a guest that is looked into has a file of its own
(`EntryPoint.apart`). Memory is read through /proc: an address that is wrong is an error then, not the end of the process. Whatever is
not there or not understood means no frames.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from obelisk.core.backtraces import Frame
from obelisk.wasm.cpython import COOKIE, NotCPython, frames_at

_MAPS: Final = "/proc/self/maps"
_MEMORY: Final = "/proc/self/mem"
_GONE: Final = " (deleted)"
_SEARCHED: Final = 64 << 20
"""Bytes of a memory that are searched for the state of an interpreter."""


class Peek:
    """For one guest, whose memory begins as a mapping of `code`. An interpreter that is not there at the first look is not looked
    for again: those that can be read are in the component.
    """

    def __init__(self, code: Path) -> None:
        self._code = str(code)
        self._interpreters: list[tuple[int, int, int]] | None = None
        """Where memories begin and end, as they were when they were last asked for, and where the interpreter's state is."""

    def look(self) -> tuple[Frame, ...]:
        """The frames now, while the guest stands in a host call, the innermost first; none when there is no interpreter that is
        known. Does not fail.
        """
        if self._interpreters is None:
            self._interpreters = [
                (base, end, state) for base, end in memories(self._code) if (state := _state(base, end)) >= 0
            ]
        elif found := self._frames():
            return found
        elif self._interpreters:
            ends = dict(memories(self._code))
            self._interpreters = [(base, ends.get(base, end), state) for base, end, state in self._interpreters]
        return self._frames()

    def _frames(self) -> tuple[Frame, ...]:
        assert self._interpreters is not None
        return next(filter(None, (_frames(*each) for each in self._interpreters)), ())


def memories(code: str) -> list[tuple[int, int]]:
    """Where linear memories begin and end that were made from the file `code`, also when it is gone from its folder: a mapping of it
    that may be written to, with what may be written right before and behind. None where the system does not tell.
    """
    found: dict[int, int] = {}
    base = end = 0
    try:
        with open(_MAPS, encoding="utf-8", errors="surrogateescape") as lines:
            for line in lines:
                where, access, rest = line.split(" ", 2)
                if access != "rw-p":
                    continue
                first, last = (int(part, 16) for part in where.split("-"))
                base, end = (base if first == end else first), last
                if base in found or rest.rstrip("\n").removesuffix(_GONE).endswith(f" {code}"):
                    found[base] = end
    except OSError:
        return []
    return list(found.items())


def _state(base: int, end: int) -> int:
    """Where the state of an interpreter is in a memory; -1: nowhere."""
    with suppress(OSError), _memory() as memory:
        return os.pread(memory, min(end - base, _SEARCHED), base).find(COOKIE)
    return -1


def _frames(base: int, end: int, state: int) -> tuple[Frame, ...]:
    with suppress(OSError, NotCPython), _memory() as memory:
        return frames_at(_reading(memory, base, end), state)
    return ()


@contextmanager
def _memory() -> Iterator[int]:
    memory = os.open(_MEMORY, os.O_RDONLY)
    try:
        yield memory
    finally:
        os.close(memory)


def _reading(memory: int, base: int, end: int) -> Callable[[int, int], bytes]:
    def read(address: int, size: int) -> bytes:
        return os.pread(memory, max(0, min(size, end - base - address)), base + address)

    return read
