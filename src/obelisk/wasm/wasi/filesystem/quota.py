"""How much a run may keep in the directory of its execution: bytes of files, and entries.

Exact as long as nothing else writes there: what is made is added, what is removed is taken off, and a file that is removed
while it is open counts until it is closed. Bytes are counted by the sizes of files, whatever the disk makes of them.
"""

from __future__ import annotations

import os
import stat
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Final, TypeVar

from obelisk.wasm.wasi.filesystem.errors import ErrorCode, Refused

T = TypeVar("T")
_Inode = tuple[int, int]
_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class Quota:
    """Of one directory and what is below it. Called from the guest's thread and the I/O loop's."""

    def __init__(self, bytes_max: int | None, entries_max: int | None) -> None:
        """None: unlimited."""
        self.bytes_max = bytes_max
        self.entries_max = entries_max
        self.bytes = 0
        self.entries = 0
        self._open: dict[_Inode, int] = {}
        self._removed: set[_Inode] = set()
        self._lock = threading.RLock()

    def count(self, directory: int) -> None:
        """Counts what there is already."""
        self.bytes, self.entries = sizes(directory)

    def resize(self, fd: int, end: int, act: Callable[[], T]) -> T:
        """Does what makes a file at most `end` bytes long, or leaves it as long as it is."""
        with self._lock:
            before = os.fstat(fd).st_size
            if self.bytes_max is not None and self.bytes + max(0, end - before) > self.bytes_max:
                raise Refused(
                    ErrorCode.QUOTA,
                    f"the directory of the execution may hold {self.bytes_max} bytes (activities.directories.bytes_max)",
                )
            try:
                return act()
            finally:
                self.bytes += os.fstat(fd).st_size - before

    @contextmanager
    def adding(self) -> Iterator[None]:
        """Around what makes one entry; it must raise when it makes none."""
        with self._lock:
            if self.entries_max is not None and self.entries >= self.entries_max:
                raise Refused(
                    ErrorCode.QUOTA,
                    f"the directory of the execution may have {self.entries_max} entries"
                    " (activities.directories.entries_max)",
                )
            yield
            self.entries += 1

    @contextmanager
    def removing(self, directory: int, name: bytes) -> Iterator[None]:
        """Around what removes the entry `name`, if there is one; it must raise when it does not."""
        with self._lock:
            found = None
            with suppress(OSError):
                found = os.stat(name, dir_fd=directory, follow_symlinks=False)
            yield
            if found is None:
                return
            self.entries -= 1
            if stat.S_ISREG(found.st_mode) and found.st_nlink == 1:
                inode = (found.st_dev, found.st_ino)
                if inode in self._open:
                    self._removed.add(inode)
                else:
                    self.bytes -= found.st_size

    def opened(self, fd: int) -> None:
        """A file is open."""
        with self._lock:
            inode = _inode(os.fstat(fd))
            self._open[inode] = self._open.get(inode, 0) + 1

    def closing(self, fd: int) -> None:
        """A file that is open is about to be closed."""
        with self._lock:
            found = os.fstat(fd)
            inode = _inode(found)
            self._open[inode] -= 1
            if not self._open[inode]:
                del self._open[inode]
                if inode in self._removed:
                    self._removed.discard(inode)
                    self.bytes -= found.st_size


def _inode(found: os.stat_result) -> _Inode:
    return found.st_dev, found.st_ino


def sizes(directory: int) -> tuple[int, int]:
    """Bytes of files (each once, however many names it has) and entries, below an open directory; links are not followed.

    Goes up by `..`, since a tree may be deeper than there are descriptors: only for a directory in which nobody moves
    anything meanwhile.
    """
    total, entries = 0, 0
    seen: set[_Inode] = set()
    fd = os.open(b".", _DIRECTORY, dir_fd=directory)
    try:
        levels: list[list[str] | None] = [None]
        while levels:
            below = levels[-1]
            if below is None:
                below = levels[-1] = []
                with os.scandir(fd) as listing:
                    for entry in listing:
                        found = entry.stat(follow_symlinks=False)
                        entries += 1
                        if stat.S_ISDIR(found.st_mode):
                            below.append(entry.name)
                        elif stat.S_ISREG(found.st_mode) and _inode(found) not in seen:
                            seen.add(_inode(found))
                            total += found.st_size
            if below:
                fd = _moved(fd, below.pop())
                levels.append(None)
            else:
                levels.pop()
                if levels:
                    fd = _moved(fd, "..")
    finally:
        os.close(fd)
    return total, entries


def _moved(fd: int, name: str) -> int:
    """The directory `name` of an open one, which is closed."""
    there = os.open(name, _DIRECTORY, dir_fd=fd)
    os.close(fd)
    return there
