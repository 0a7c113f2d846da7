"""The files of one run: which directories it is given, and what it has open.

Decides how many descriptors a run and the whole process may have open for guests, and what is told of a refusal. Whatever
is open is closed when the guest drops the last handle on it, or at the end of the run.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Protocol

import msgspec

from obelisk.wasm.wasi.filesystem.errors import ErrorCode, Refused
from obelisk.wasm.wasi.filesystem.quota import Quota
from obelisk.wasm.wasi.host import GuestTrap
from obelisk.wasm.wasi.room import PROCESS, NoRoom, Room

HANDLES_MAX: Final = 256
"""What one run may have open: files, directories, their streams and listings."""
EVENTS_MAX: Final = 20
"""Refusals of one run that are told in its log."""
_ROOT: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


class Preopen(msgspec.Struct, frozen=True):
    """A directory that a run is given."""

    host: Path
    guest: str
    """What the guest calls it: `.`, or an absolute path."""
    read_only: bool = False
    bytes_max: int | None = None
    entries_max: int | None = None
    is_used: bool = False
    """Whether something may be in it already that counts."""


class Root:
    """A directory that the guest was given. Nothing is linked or moved from one to another."""

    def __init__(self, preopen: Preopen) -> None:
        self.preopen = preopen
        self.quota = Quota(preopen.bytes_max, preopen.entries_max)


class OpenFile:
    """A descriptor of the process, shared by the handles that the guest has on it. `file` counts against the quota."""

    def __init__(self, files: Files, root: Root, fd: int, *, is_file: bool) -> None:
        """Takes over `fd`, for which `files.opening` made room."""
        self.root = root
        self.files = files
        self._fd = fd
        self._is_file = is_file
        self._handles = 1
        self._lock = threading.RLock()
        if is_file:
            root.quota.opened(fd)
        files.open_files.add(self)

    @contextmanager
    def held(self) -> Iterator[int]:
        """The descriptor; it stays open meanwhile. `Refused` once it is closed."""
        with self._lock:
            if self._fd < 0:
                raise Refused(ErrorCode.BAD_DESCRIPTOR)
            yield self._fd

    def share(self) -> None:
        """One more handle."""
        with self._lock:
            self._handles += 1

    def let_go(self) -> None:
        """One handle less; the last one closes it."""
        with self._lock:
            self._handles -= 1
            if self._handles > 0:
                return
        self.close()

    def close(self) -> None:
        """Closes it, whatever handles there are; also more than once."""
        with self._lock:
            if self._fd < 0:
                return
            if self._is_file:
                self.root.quota.closing(self._fd)
            os.close(self._fd)
            self._fd = -1
        self.files.open_files.discard(self)
        self.files.room.give_back()


class Closable(Protocol):
    """Something that is open."""

    def close(self) -> None:
        """Closes it; also more than once."""
        ...


class Files:
    """What a run may touch of the file system. Handles are made and dropped on the guest's thread; `close` is for any."""

    def __init__(
        self,
        preopens: Sequence[Preopen],
        event: Callable[[str], None],
        now: Callable[[], int],
        room: Room = PROCESS,
    ) -> None:
        """`event` takes a line for the log of the execution; `now` is the time in nanoseconds since 1970."""
        self.now = now
        self.preopens = tuple(preopens)
        self.room = room
        self.open_files: set[Closable] = set()
        self._roots: list[OpenFile] | None = None
        self._event = event
        self._events = 0
        self._handles = 0

    def roots(self) -> list[OpenFile]:
        """The directories that the run is given, in order, with one more handle on each."""
        if self._roots is None:
            self._roots = []
            for preopen in self.preopens:
                self._roots.append(self._open_root(preopen))
        for root in self._roots:
            root.share()
        return self._roots

    def _open_root(self, preopen: Preopen) -> OpenFile:
        root = Root(preopen)
        try:
            with self.opening():
                fd = os.open(preopen.host, _ROOT)
        except (OSError, Refused) as error:
            raise GuestTrap(
                f"the directory {preopen.host}, {preopen.guest} of the guest, cannot be opened: {error}"
            ) from None
        if preopen.is_used:
            root.quota.count(fd)
        return OpenFile(self, root, fd, is_file=False)

    @contextmanager
    def opening(self) -> Iterator[None]:
        """Around what opens a descriptor. `Refused` when there is no room."""
        try:
            self.room.take()
        except NoRoom as full:
            raise Refused(ErrorCode.INSUFFICIENT_MEMORY, str(full)) from None
        try:
            yield
        except BaseException:
            self.room.give_back()
            raise

    def handle(self) -> None:
        """The guest gets one more handle. `Refused`."""
        if self._handles >= HANDLES_MAX:
            raise Refused(
                ErrorCode.INSUFFICIENT_MEMORY,
                f"a run may have {HANDLES_MAX} files, directories and streams of them open",
            )
        self._handles += 1

    def dropped(self) -> None:
        """The guest dropped a handle."""
        self._handles -= 1

    def tell(self, refused: Refused, function: str) -> None:
        """Puts a refusal into the log of the execution, if it belongs there."""
        if refused.event is None or self._events > EVENTS_MAX:
            return
        self._events += 1
        if self._events > EVENTS_MAX:
            self._event("wasi:filesystem: further refusals of this run are not told")
        else:
            self._event(f"wasi:filesystem {function}: {refused.event}: {refused.code.name.lower().replace('_', '-')}")

    def close(self) -> None:
        """The run is over."""
        for file in tuple(self.open_files):
            file.close()
