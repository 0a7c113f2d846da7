"""Marks: what is being run at this very moment, readable after the process has died.

A run that takes the whole process down must not be started for ever; so somebody has to remember what was running. The
marks are slots in a file that is mapped into memory: setting one costs a microsecond and no system call, and the pages
outlive the process, however it dies. They do not outlive the machine, which is right: a power cut is no run's fault.

Decides what counts as running: an attempt from its first slice to its end but for the time in which it waits for something outside, a workflow while its guest is being polled. A
clean stop leaves no marks. Ids longer than a slot are not marked.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from obelisk.core.ids import ExecutionId

_SLOT: Final = 1024
_SLOTS: Final = 1 << 14
_ID_MAX: Final = _SLOT - 2
_NEVER_USED: Final = 256
"""Slots in a row that were never used, after which none was: they are taken from the front, but by several threads, and one may
have been about to write into the first of them.
"""
_EMPTY: Final = b"\0\0"
"""The length of no id. A slot is named after where it begins: with the length of the id in it."""


class Marks:
    """The slots of one process. Setting and clearing are atomic enough for any number of threads: a slot has one user."""

    def __init__(self, path: Path) -> None:
        """Opens `path`, or makes it (16 MiB, of which only used pages take space)."""
        fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            os.ftruncate(fd, _SLOT * _SLOTS)
            self._map = mmap.mmap(fd, _SLOT * _SLOTS)
        finally:
            os.close(fd)
        self._free = list(range((_SLOTS - 1) * _SLOT, -1, -_SLOT))
        self._suspects: frozenset[ExecutionId] = frozenset()
        self._settle: Callable[[], None] | None = None

    def left_over(self) -> frozenset[ExecutionId]:
        """What a process before this one was running when it died. Call before the first `set`."""
        found: set[ExecutionId] = set()
        for slot in self._used():
            length = int.from_bytes(self._map[slot : slot + 2])
            if length:
                found.add(ExecutionId(self._map[slot + 2 : slot + 2 + length].decode("ascii", "replace")))
        return frozenset(found)

    def blank_all(self) -> None:
        """Empties every slot: what was left over has been dealt with, or the stop is a clean one."""
        for slot in self._used():
            if self._map[slot] or self._map[slot + 1]:
                self.lift(slot)

    def _used(self) -> Iterator[int]:
        """The slots that ever had an id: it stays when the slot is emptied. To look at one takes its page into memory, so the others
        are left alone.
        """
        never_used = 0
        for slot in range(0, _SLOTS * _SLOT, _SLOT):
            if self._map[slot + 2]:
                never_used = 0
                yield slot
            elif (never_used := never_used + 1) == _NEVER_USED:
                return

    def beware(self, suspects: frozenset[ExecutionId], settle: Callable[[], None]) -> None:
        """From now on `settle` is called before one of `suspects` is marked, and may raise. They were running when the process
        died, but that was not to be seen in the store: `settle` sees to it that it will be.
        """
        self._suspects = suspects
        self._settle = settle

    def set(self, execution_id: ExecutionId) -> int:
        """Marks an execution as running; returns the slot to clear. -1: none was free, or the id is too long."""
        if execution_id in self._suspects:
            assert self._settle is not None
            self._settle()
        if len(execution_id) > _ID_MAX:
            return -1
        try:
            slot = self._free.pop()
        except IndexError:
            return -1
        self.put_back(slot, execution_id)
        return slot

    def lift(self, slot: int) -> None:
        """Empties a slot for a while; what was in it waits, and takes no process down."""
        if slot >= 0:
            self._map[slot : slot + 2] = _EMPTY

    def put_back(self, slot: int, execution_id: ExecutionId) -> None:
        """Ends `lift`."""
        if slot >= 0:
            text = execution_id.encode()
            begin, length = slot + 2, len(text)
            self._map[begin : begin + length] = text
            self._map[slot:begin] = length.to_bytes(2)  # last: who reads it finds a whole id, or none

    def clear(self, slot: int) -> None:
        """Empties a slot and gives it back."""
        if slot >= 0:
            self._map[slot : slot + 2] = _EMPTY
            self._free.append(slot)

    def close(self) -> None:
        """Unmaps the file."""
        self._map.close()
