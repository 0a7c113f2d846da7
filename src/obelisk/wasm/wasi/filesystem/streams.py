"""Streams of files, and listings of directories.

A file is always ready: its streams read and write at once, on the guest's thread, a chunk at a time. A listing is read from
the system as the guest asks for it, so that a directory of any size costs the same.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Final

from obelisk.wasm.wasi.filesystem import metadata
from obelisk.wasm.wasi.filesystem.errors import ErrorCode, Refused, refusal
from obelisk.wasm.wasi.filesystem.files import Files, OpenFile
from obelisk.wasm.wasi.filesystem.metadata import DescriptorType
from obelisk.wasm.wasi.host import GuestTrap
from obelisk.wasm.wasi.io import CLOSED, IoError, Ready, failed
from obelisk.wit.types import Value

CHUNK_MAX: Final = 64 << 10
"""Bytes that are read or written at once; a guest that wants more asks again."""

_LISTED: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_RWF_APPEND: Final[int] = getattr(os, "RWF_APPEND", 0)


class _FileStream:
    """What both directions share. Takes over a handle of `file`, for which `files.handle` made room."""

    def __init__(self, files: Files, file: OpenFile) -> None:
        self._files = files
        self._file = file
        self._ended = False
        self._dropped = False

    def subscribe(self) -> Ready:
        """Always ready."""
        return Ready()

    def close(self) -> None:
        """The guest has dropped it."""
        if not self._dropped:
            self._dropped = True
            self._file.let_go()
            self._files.dropped()

    def _guarded(self, function: str, act: Callable[[], Value]) -> Value:
        """What `act` returns; the stream fails, and has ended, with what it raises."""
        if self._ended:
            return CLOSED
        try:
            return act()
        except Refused as caught:
            refused = caught
        except OSError as error:
            refused = refusal(error)
        self._ended = True
        self._files.tell(refused, function)
        return failed(IoError(refused.event or refused.code.name.lower().replace("_", "-"), refused.code))


class FileInput(_FileStream):
    """`input-stream` of a file, from an offset to its end."""

    def __init__(self, files: Files, file: OpenFile, offset: int) -> None:
        super().__init__(files, file)
        self._offset = offset

    def read(self, length: int) -> Value:
        """The next bytes."""
        return self._guarded("read", lambda: self._read(length))

    blocking_read = read

    def skip(self, length: int) -> Value:
        """Reads without giving."""
        read = self.read(length)
        return (True, len(read[1])) if read[0] else read

    blocking_skip = skip

    def _read(self, length: int) -> Value:
        with self._file.held() as fd:
            data = os.pread(fd, min(length, CHUNK_MAX), self._offset)
        if not data and length > 0:
            self._ended = True
            return CLOSED
        self._offset += len(data)
        return True, data


class FileOutput(_FileStream):
    """`output-stream` of a file, from an offset on, or at the end of the file, wherever that is by then (None)."""

    def __init__(self, files: Files, file: OpenFile, offset: int | None) -> None:
        super().__init__(files, file)
        self._offset = offset

    def check_write(self) -> Value:
        """A chunk may always be written."""
        return CLOSED if self._ended else (True, CHUNK_MAX)

    def write(self, data: bytes) -> Value:
        """Writes."""
        if len(data) > CHUNK_MAX:
            raise GuestTrap(f"{len(data)} bytes were written where {CHUNK_MAX} were permitted")
        return self._guarded("write", lambda: self._write(data))

    blocking_write = write

    def flush(self) -> Value:
        """There is nothing to flush."""
        return CLOSED if self._ended else (True, None)

    blocking_flush = flush

    def _write(self, data: bytes) -> Value:
        left = memoryview(data)
        with self._file.held() as fd:
            while left:
                at = os.fstat(fd).st_size if self._offset is None else self._offset
                if at + len(left) > metadata.SIZE_MAX:
                    raise Refused(ErrorCode.FILE_TOO_LARGE)
                written = self._file.root.quota.resize(fd, at + len(left), self._writing(fd, left, at))
                left = left[written:]
                if self._offset is not None:
                    self._offset += written
        return True, None

    def _writing(self, fd: int, data: memoryview, at: int) -> Callable[[], int]:
        if self._offset is None and _RWF_APPEND:  # where others append too, the system finds the end
            return lambda: os.pwritev(fd, [data], 0, _RWF_APPEND)
        return lambda: os.pwrite(fd, data, at)


class Listing:
    """`directory-entry-stream`."""

    def __init__(self, files: Files, directory: int) -> None:
        """Of the open directory `directory`. `Refused`, or `OSError`."""
        self._files = files
        self._dropped = False
        files.handle()
        try:
            # Two descriptors: the listing has one of its own, and asks the first one what an entry is.
            with files.opening(), files.opening():
                self._fd = os.open(b".", _LISTED, dir_fd=directory)
                try:
                    self._entries = os.scandir(self._fd)
                except BaseException:
                    os.close(self._fd)
                    raise
        except BaseException:
            files.dropped()
            raise
        files.open_files.add(self)

    def next_entry(self) -> Value:
        """`option<directory-entry>`. `Refused`, or `OSError`."""
        if self._fd < 0:
            raise Refused(ErrorCode.BAD_DESCRIPTOR)
        entry = next(self._entries, None)
        if entry is None:
            return None
        try:
            name = os.fsencode(entry.name).decode()
        except UnicodeDecodeError:
            raise Refused(ErrorCode.ILLEGAL_BYTE_SEQUENCE) from None
        return ((int(_kind(entry)), name),)

    def close(self) -> None:
        """The guest has dropped it, or the run is over."""
        if not self._dropped:
            self._dropped = True
            self._files.dropped()
        if self._fd >= 0:
            self._entries.close()
            os.close(self._fd)
            self._fd = -1
            self._files.open_files.discard(self)
            self._files.room.give_back()
            self._files.room.give_back()

    def tell(self, refused: Refused) -> None:
        """See `Files.tell`."""
        self._files.tell(refused, "read-directory-entry")


def _kind(entry: os.DirEntry[str]) -> DescriptorType:
    if entry.is_symlink():
        return DescriptorType.SYMBOLIC_LINK
    if entry.is_dir(follow_symlinks=False):
        return DescriptorType.DIRECTORY
    if entry.is_file(follow_symlinks=False):
        return DescriptorType.REGULAR_FILE
    try:
        return metadata.type_of(entry.stat(follow_symlinks=False))
    except OSError:
        return DescriptorType.UNKNOWN  # it is gone
