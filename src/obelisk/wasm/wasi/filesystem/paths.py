"""Where a guest's path leads, without ever leaving the directory that it starts from.

The kernel is never given more than one name at a time, never `..`, and never a link to follow: each directory on the way is
opened by its name, relative to the one before, and the way back is the descriptors that are still open. So it does not matter
what is renamed or replaced meanwhile: whatever is opened was below the starting directory when it was opened. A link is read
and its text resolved in the same way; one that is absolute, and a `..` above the start, lead nowhere.

The last name is left to the caller, who gives it to the kernel with the descriptor of its directory, and never follows a
link there either.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import msgspec

from obelisk.wasm.wasi.filesystem.errors import ErrorCode, Refused

PATH_MAX: Final = 4_096
"""Bytes of a path, and of the text of a link."""
DEPTH_MAX: Final = 128
"""Directories that one path may go down: each is a descriptor of the process while the path is resolved."""
LINKS_MAX: Final = 40
"""Links that one path may lead through."""

_ON_THE_WAY: Final = getattr(os, "O_PATH", os.O_RDONLY) | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_NO_LINK: Final = frozenset({errno.EINVAL, errno.ENOENT, errno.ENOTDIR})


class Place(msgspec.Struct, frozen=True):
    """Something by its name in an open directory; there need not be anything. Good while the path's context lasts."""

    directory: int
    """Descriptor."""
    name: bytes
    """One name without `/`; `.` for the directory itself. Never `..`."""
    must_be_directory: bool
    """The path ends like one of a directory: `a/`, `a/.`, `a/..`."""


@contextmanager
def resolved(base: int, path: str, *, follow: bool) -> Iterator[Place]:
    """The place that `path` leads to from the directory `base`. `follow`: also through a link that the last name is.

    `Refused`, or `OSError` of the system.
    """
    way = _Way(base, path)
    try:
        yield way.walk(follow)
    finally:
        way.close()


class _Way:
    """One walk. `_stack` are the directories from the start to here, `_ahead` the names that are left, the next one last."""

    __slots__ = ("_ahead", "_links", "_must_be_directory", "_path", "_stack")

    def __init__(self, base: int, path: str) -> None:
        self._path = path
        self._stack = [base]
        self._links = 0
        self._must_be_directory = False
        if not path:
            raise Refused(ErrorCode.NO_ENTRY)
        try:
            self._ahead: list[bytes] = []
            self._prepend(path.encode())
        except UnicodeEncodeError:
            raise Refused(ErrorCode.ILLEGAL_BYTE_SEQUENCE) from None

    def walk(self, follow: bool) -> Place:
        while self._ahead:
            name = self._ahead.pop()
            if name == b"..":
                self._up()
            elif self._ahead:
                self._down(name)
            elif not (follow and self._expand(name)):
                return Place(self._stack[-1], name, self._must_be_directory)
        return Place(self._stack[-1], b".", must_be_directory=True)

    def close(self) -> None:
        while len(self._stack) > 1:
            os.close(self._stack.pop())

    def _prepend(self, text: bytes) -> None:
        """Puts the names of a path, or of a link's text, before those that are left."""
        if len(text) > PATH_MAX:
            raise Refused(ErrorCode.NAME_TOO_LONG)
        if b"\0" in text:
            raise Refused(ErrorCode.INVALID)
        if text.startswith(b"/"):
            raise self._leads_out()
        names = text.split(b"/")
        if not self._ahead and names[-1] in {b"", b".", b".."}:
            self._must_be_directory = True
        self._ahead += [name for name in reversed(names) if name not in {b"", b"."}]

    def _up(self) -> None:
        if len(self._stack) == 1:
            raise self._leads_out()
        os.close(self._stack.pop())

    def _down(self, name: bytes) -> None:
        if len(self._stack) > DEPTH_MAX:
            raise Refused(
                ErrorCode.NAME_TOO_LONG, f"the path {_shown(self._path)} goes down more than {DEPTH_MAX} directories"
            )
        try:
            self._stack.append(os.open(name, _ON_THE_WAY, dir_fd=self._stack[-1]))
        except OSError as error:
            # Systems differ in what they call a link that must not be followed.
            if error.errno not in {errno.ENOTDIR, errno.ELOOP, errno.EMLINK} or not self._expand(name):
                raise

    def _expand(self, name: bytes) -> bool:
        """Goes on with the text of the link `name`; whether it is one."""
        try:
            text = os.readlink(name, dir_fd=self._stack[-1])
        except OSError as error:
            if error.errno in _NO_LINK:
                return False
            raise
        self._links += 1
        if self._links > LINKS_MAX:
            raise Refused(ErrorCode.LOOP)
        if not text:
            raise Refused(ErrorCode.NO_ENTRY)
        self._prepend(text)
        return True

    def _leads_out(self) -> Refused:
        return Refused(ErrorCode.NOT_PERMITTED, f"the path {_shown(self._path)} leads out of its directory")


def _shown(path: str) -> str:
    return repr(path if len(path) <= 200 else f"{path[:200]}…")
