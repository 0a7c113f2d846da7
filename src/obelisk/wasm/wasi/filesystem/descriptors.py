"""The functions of `wasi:filesystem/types` on descriptors.

Decides which rights each one needs, and what of a system's files a guest may reach: regular files, directories and links.
Devices, pipes and sockets that a mapped directory has can be seen, and not opened: opening one can block, or do something.

Everything is done at once, on the guest's thread; `sync` alone, which waits for a disk, waits on the I/O loop.
"""

from __future__ import annotations

import asyncio
import os
import stat
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import wraps
from typing import Any, Final

from obelisk.wasm.wasi.filesystem import metadata
from obelisk.wasm.wasi.filesystem.errors import ErrorCode, Refused, refusal
from obelisk.wasm.wasi.filesystem.files import Files, OpenFile
from obelisk.wasm.wasi.filesystem.metadata import DescriptorType
from obelisk.wasm.wasi.filesystem.paths import Place, resolved
from obelisk.wasm.wasi.filesystem.quota import Quota
from obelisk.wasm.wasi.filesystem.streams import CHUNK_MAX, FileInput, FileOutput, Listing
from obelisk.wasm.wasi.host import Answer, GuestTrap, WasiFunction
from obelisk.wit.types import Value

_READ: Final = 1 << 0
_WRITE: Final = 1 << 1
_SYNC_FILE: Final = 1 << 2
_SYNC_DATA: Final = 1 << 3
_SYNC_READ: Final = 1 << 4
_MUTATE: Final = 1 << 5
"""`descriptor-flags`."""
_CREATE: Final = 1 << 0
_DIRECTORY: Final = 1 << 1
_EXCLUSIVE: Final = 1 << 2
_TRUNCATE: Final = 1 << 3
"""`open-flags`."""
_FOLLOW: Final = 1 << 0
"""`path-flags`."""

_ALWAYS: Final = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
"""Nothing that is opened may be a link, block, or become a terminal."""
_REACHED: Final = frozenset({DescriptorType.REGULAR_FILE, DescriptorType.DIRECTORY})


class Descriptor:
    """`descriptor`: a handle of the guest on an open file or directory."""

    def __init__(self, files: Files, file: OpenFile, flags: int, *, is_directory: bool) -> None:
        """Takes over one handle of `file`, for which `files.handle` made room."""
        self.files = files
        self.file = file
        self.flags = flags
        self.is_directory = is_directory
        self._dropped = False

    def close(self) -> None:
        """The guest has dropped it."""
        if not self._dropped:
            self._dropped = True
            self.file.let_go()
            self.files.dropped()

    @contextmanager
    def as_file(self, flag: int = 0) -> Iterator[int]:
        """The descriptor of a file that is open with `flag`."""
        if self.is_directory:
            raise Refused(ErrorCode.IS_DIRECTORY if flag & _WRITE else ErrorCode.BAD_DESCRIPTOR)
        if flag & ~self.flags:
            raise Refused(ErrorCode.BAD_DESCRIPTOR)
        with self.file.held() as fd:
            yield fd

    @contextmanager
    def as_directory(self) -> Iterator[int]:
        """The descriptor of a directory."""
        if not self.is_directory:
            raise Refused(ErrorCode.NOT_DIRECTORY)
        with self.file.held() as fd:
            yield fd

    @contextmanager
    def at(self, path: str, *, follow: bool = False, change: bool = False) -> Iterator[Place]:
        """The place of a path. `follow`: what the last name means if it is a link; else the link itself. `change`: the
        directory must not be read-only.
        """
        with self.as_directory() as base:
            if change and not self.flags & _MUTATE:
                where = self.file.root.preopen
                raise Refused(ErrorCode.READ_ONLY, f"{where.guest} may only be read (read_only), and {path!r} is in it")
            with resolved(base, path, follow=follow) as place:
                yield place


# --- how functions answer --------------------------------------------------------------------------------------------


def _function(act: Callable[..., Value]) -> WasiFunction:
    """The function that answers with what `act` returns, or with the code of what it raises."""
    name = act.__name__.strip("_").replace("_", "-").replace("-at-path", "-at")

    @wraps(act)
    def answer(host: Any, this: Descriptor, *arguments: Value) -> Answer:
        try:
            return True, act(this, *arguments)
        except Refused as refused:
            return _told(this, name, refused)
        except OSError as error:
            return _told(this, name, refusal(error))

    return answer


def _told(this: Descriptor, function: str, refused: Refused) -> Value:
    this.files.tell(refused, function)
    return False, int(refused.code)


def _stat_at(place: Place) -> os.stat_result:
    found = os.stat(place.name, dir_fd=place.directory, follow_symlinks=False)
    if place.must_be_directory and not stat.S_ISDIR(found.st_mode):
        raise Refused(ErrorCode.NOT_DIRECTORY)
    return found


def _follows(path_flags: int, path: str) -> bool:
    return bool(path_flags & _FOLLOW) or path.endswith("/")


# --- files -----------------------------------------------------------------------------------------------------------


def _read(this: Descriptor, length: int, offset: int) -> Value:
    with this.as_file(_READ) as fd:
        wanted = min(length, CHUNK_MAX)
        data = os.pread(fd, wanted, _offset(offset))
        return data, not data and wanted > 0


def _write(this: Descriptor, data: bytes, offset: int) -> Value:
    data = data[:CHUNK_MAX]
    with this.as_file(_WRITE) as fd:
        end = _offset(offset) + len(data)
        if end > metadata.SIZE_MAX:
            raise Refused(ErrorCode.FILE_TOO_LARGE)
        return this.file.root.quota.resize(fd, end, lambda: os.pwrite(fd, data, offset))


def _set_size(this: Descriptor, size: int) -> Value:
    with this.as_file(_WRITE) as fd:
        if size > metadata.SIZE_MAX:
            raise Refused(ErrorCode.FILE_TOO_LARGE)
        this.file.root.quota.resize(fd, size, lambda: os.ftruncate(fd, size))


def _offset(offset: int) -> int:
    if offset > metadata.SIZE_MAX:
        raise Refused(ErrorCode.INVALID)
    return offset


def _read_via_stream(this: Descriptor, offset: int) -> Value:
    with this.as_file(_READ):
        pass
    this.files.handle()
    this.file.share()
    return FileInput(this.files, this.file, _offset(offset))


def _write_via_stream(this: Descriptor, offset: int) -> Value:
    return _output(this, _offset(offset))


def _append_via_stream(this: Descriptor) -> Value:
    return _output(this, None)


def _output(this: Descriptor, offset: int | None) -> FileOutput:
    with this.as_file(_WRITE):
        pass
    this.files.handle()
    this.file.share()
    return FileOutput(this.files, this.file, offset)


def _advise(this: Descriptor, offset: int, length: int, advice: int) -> Value:
    with this.as_file() as fd:
        if max(offset, length) > metadata.SIZE_MAX:
            raise Refused(ErrorCode.INVALID)
        if hasattr(os, "posix_fadvise"):
            os.posix_fadvise(fd, offset, length, _ADVICE[advice])


_ADVICE: Final = [
    getattr(os, f"POSIX_FADV_{name}", 0)
    for name in ("NORMAL", "SEQUENTIAL", "RANDOM", "WILLNEED", "DONTNEED", "NOREUSE")
]


def _sync(host: Any, this: Descriptor) -> Answer:
    return _synced(this, "sync", os.fsync)


def _sync_data(host: Any, this: Descriptor) -> Answer:
    return _synced(this, "sync-data", getattr(os, "fdatasync", os.fsync))


async def _synced(this: Descriptor, function: str, sync: Callable[[int], None]) -> Value:
    def sync_and_close(fd: int) -> None:
        try:
            sync(fd)
        finally:
            os.close(fd)
            this.files.room.give_back()

    try:
        # A descriptor of its own: what waits for the disk must not keep the guest's end waiting.
        with this.files.opening(), this.file.held() as held:
            fd = os.dup(held)
        await asyncio.shield(asyncio.to_thread(sync_and_close, fd))
    except Refused as refused:
        return _told(this, function, refused)
    except OSError as error:
        return _told(this, function, refusal(error))
    return True, None


# --- any descriptor --------------------------------------------------------------------------------------------------


def _get_flags(this: Descriptor) -> Value:
    return this.flags


def _get_type(this: Descriptor) -> Value:
    return int(DescriptorType.DIRECTORY if this.is_directory else DescriptorType.REGULAR_FILE)


def _stat(this: Descriptor) -> Value:
    with this.file.held() as fd:
        return metadata.descriptor_stat(os.fstat(fd))


def _set_times(this: Descriptor, access: Value, modification: Value) -> Value:
    if not this.flags & (_WRITE | _MUTATE):
        raise Refused(ErrorCode.NOT_PERMITTED)
    with this.file.held() as fd:
        os.utime(fd, ns=metadata.new_times(os.fstat(fd), access, modification, this.files.now()))


def _metadata_hash(this: Descriptor) -> Value:
    with this.file.held() as fd:
        return metadata.metadata_hash(os.fstat(fd))


def _is_same_object(host: Any, this: Descriptor, other: Descriptor) -> Answer:
    if this.file is other.file:
        return True
    with this.file.held() as one, other.file.held() as another:
        return metadata.is_same(os.fstat(one), os.fstat(another))


# --- directories -----------------------------------------------------------------------------------------------------


def _open_at(this: Descriptor, path_flags: int, path: str, open_flags: int, flags: int) -> Value:
    create, exclusive = bool(open_flags & _CREATE), open_flags & _EXCLUSIVE
    if (create and open_flags & _DIRECTORY) or (open_flags & _TRUNCATE and not flags & _WRITE):
        raise Refused(ErrorCode.INVALID)
    change = bool(open_flags & (_CREATE | _TRUNCATE) or flags & (_WRITE | _MUTATE))
    follow = _follows(path_flags, path) and not (create and exclusive)
    mode = _ALWAYS | _MODES[flags & (_READ | _WRITE)]
    files, root = this.files, this.file.root
    with this.at(path, follow=follow, change=change) as place:
        if open_flags & _DIRECTORY or place.must_be_directory:
            mode |= os.O_DIRECTORY
        files.handle()
        try:
            with files.opening():
                if not create:
                    fd = _open_existing(place, mode, path)
                elif place.must_be_directory:
                    raise Refused(ErrorCode.IS_DIRECTORY)
                else:
                    fd = _open_or_create(place, mode, path, root.quota, exclusive=bool(exclusive))
                found = _checked(fd, path)
            is_directory = stat.S_ISDIR(found.st_mode)
            file = OpenFile(files, root, fd, is_file=not is_directory)
        except BaseException:
            files.dropped()
            raise
    # A directory has the rights of the one that it was opened in, whatever was asked for: the libraries of guests open one to
    # read, and write in it.
    rights = _READ | this.flags & _MUTATE if is_directory else flags & ~_MUTATE
    opened = Descriptor(files, file, rights, is_directory=is_directory)
    if open_flags & _TRUNCATE:
        try:
            _set_size(opened, 0)
        except BaseException:
            opened.close()
            raise
    return opened


_MODES: Final = {0: os.O_RDONLY, _READ: os.O_RDONLY, _WRITE: os.O_WRONLY, _READ | _WRITE: os.O_RDWR}
"""The wish for synchronised writes is heard and not granted: they would keep the guest's thread. `sync` does it."""


def _open_existing(place: Place, mode: int, path: str) -> int:
    _reached(_stat_at(place), path)
    return os.open(place.name, mode, dir_fd=place.directory)


def _open_or_create(place: Place, mode: int, path: str, quota: Quota, *, exclusive: bool) -> int:
    if not exclusive:
        with suppress(FileNotFoundError):
            return _open_existing(place, mode, path)
    with quota.adding():
        return os.open(place.name, mode | os.O_CREAT | os.O_EXCL, 0o666, dir_fd=place.directory)


def _checked(fd: int, path: str) -> os.stat_result:
    """What was opened: it may have taken the place of what was looked at."""
    try:
        found = os.fstat(fd)
        _reached(found, path)
    except BaseException:
        os.close(fd)
        raise
    return found


def _reached(found: os.stat_result, path: str) -> None:
    kind = metadata.type_of(found)
    if kind is DescriptorType.SYMBOLIC_LINK:
        raise Refused(ErrorCode.LOOP)
    if kind not in _REACHED:
        name = kind.name.lower().replace("_", " ")
        raise Refused(ErrorCode.NOT_PERMITTED, f"{path!r} is a {name}, which cannot be opened")


def _stat_path(this: Descriptor, path_flags: int, path: str) -> os.stat_result:
    with this.at(path, follow=_follows(path_flags, path)) as place:
        return _stat_at(place)


def _stat_at_path(this: Descriptor, path_flags: int, path: str) -> Value:
    return metadata.descriptor_stat(_stat_path(this, path_flags, path))


def _metadata_hash_at(this: Descriptor, path_flags: int, path: str) -> Value:
    return metadata.metadata_hash(_stat_path(this, path_flags, path))


def _set_times_at(this: Descriptor, path_flags: int, path: str, access: Value, modification: Value) -> Value:
    with this.at(path, follow=_follows(path_flags, path), change=True) as place:
        times = metadata.new_times(_stat_at(place), access, modification, this.files.now())
        os.utime(place.name, ns=times, dir_fd=place.directory, follow_symlinks=False)


def _read_directory(this: Descriptor) -> Value:
    with this.as_directory() as fd:
        return Listing(this.files, fd)


def _create_directory_at(this: Descriptor, path: str) -> Value:
    with this.at(path, change=True) as place, this.file.root.quota.adding():
        os.mkdir(place.name, 0o777, dir_fd=place.directory)


def _remove_directory_at(this: Descriptor, path: str) -> Value:
    with this.at(path, change=True) as place, this.file.root.quota.removing(place.directory, place.name):
        os.rmdir(place.name, dir_fd=place.directory)


def _unlink_file_at(this: Descriptor, path: str) -> Value:
    with this.at(path, change=True) as place:
        if stat.S_ISDIR(_stat_at(place).st_mode):
            raise Refused(ErrorCode.IS_DIRECTORY)
        with this.file.root.quota.removing(place.directory, place.name):
            os.unlink(place.name, dir_fd=place.directory)


def _readlink_at(this: Descriptor, path: str) -> Value:
    with this.at(path) as place:
        if place.must_be_directory:
            raise Refused(ErrorCode.INVALID)
        text = os.readlink(place.name, dir_fd=place.directory)
    if text.startswith(b"/"):
        raise Refused(ErrorCode.NOT_PERMITTED, f"the link {path!r} leads out of its directory")
    try:
        return text.decode()
    except UnicodeDecodeError:
        raise Refused(ErrorCode.ILLEGAL_BYTE_SEQUENCE) from None


def _symlink_at(this: Descriptor, text: str, path: str) -> Value:
    if text.startswith("/"):
        raise Refused(ErrorCode.NOT_PERMITTED, f"a link to {text[:200]!r} would lead out of its directory")
    if "\0" in text:
        raise Refused(ErrorCode.INVALID)
    with this.at(path, change=True) as place, this.file.root.quota.adding():
        _no_directory(place)
        os.symlink(text.encode(), place.name, dir_fd=place.directory)


def _link_at(this: Descriptor, path_flags: int, old_path: str, there: Descriptor, new_path: str) -> Value:
    _same_root(this, there)
    with (
        this.at(old_path, follow=_follows(path_flags, old_path), change=True) as old,
        there.at(new_path, change=True) as new,
        this.file.root.quota.adding(),
    ):
        _no_directory(old)
        _no_directory(new)
        os.link(old.name, new.name, src_dir_fd=old.directory, dst_dir_fd=new.directory, follow_symlinks=False)


def _rename_at(this: Descriptor, old_path: str, there: Descriptor, new_path: str) -> Value:
    _same_root(this, there)
    with this.at(old_path, change=True) as old, there.at(new_path, change=True) as new:
        found = _stat_at(old)
        if new.must_be_directory and not stat.S_ISDIR(found.st_mode):
            raise Refused(ErrorCode.NOT_DIRECTORY)
        if _is(found, new):
            return  # two names of one file: both stay
        with this.file.root.quota.removing(new.directory, new.name):
            os.rename(old.name, new.name, src_dir_fd=old.directory, dst_dir_fd=new.directory)


def _is(found: os.stat_result, place: Place) -> bool:
    try:
        return metadata.is_same(found, os.stat(place.name, dir_fd=place.directory, follow_symlinks=False))
    except FileNotFoundError:
        return False


def _same_root(this: Descriptor, there: Descriptor) -> None:
    """Nothing goes from one directory of the guest to another: one of them may be read-only, or have a quota."""
    if this.file.root is not there.file.root:
        raise Refused(ErrorCode.CROSS_DEVICE)


def _no_directory(place: Place) -> None:
    """The path must not be written like one of a directory."""
    if place.must_be_directory:
        found = os.stat(place.name, dir_fd=place.directory, follow_symlinks=False)
        raise Refused(ErrorCode.EXIST if stat.S_ISDIR(found.st_mode) else ErrorCode.NOT_DIRECTORY)


METHODS: Final[Mapping[str, WasiFunction]] = {
    "read-via-stream": _function(_read_via_stream),
    "write-via-stream": _function(_write_via_stream),
    "append-via-stream": _function(_append_via_stream),
    "advise": _function(_advise),
    "sync-data": _sync_data,
    "get-flags": _function(_get_flags),
    "get-type": _function(_get_type),
    "set-size": _function(_set_size),
    "set-times": _function(_set_times),
    "read": _function(_read),
    "write": _function(_write),
    "read-directory": _function(_read_directory),
    "sync": _sync,
    "create-directory-at": _function(_create_directory_at),
    "stat": _function(_stat),
    "stat-at": _function(_stat_at_path),
    "set-times-at": _function(_set_times_at),
    "link-at": _function(_link_at),
    "open-at": _function(_open_at),
    "readlink-at": _function(_readlink_at),
    "remove-directory-at": _function(_remove_directory_at),
    "rename-at": _function(_rename_at),
    "symlink-at": _function(_symlink_at),
    "unlink-file-at": _function(_unlink_file_at),
    "is-same-object": _is_same_object,
    "metadata-hash": _function(_metadata_hash),
    "metadata-hash-at": _function(_metadata_hash_at),
}
"""The methods of `descriptor`."""


def preopens(files: Files | None) -> list[tuple[Descriptor, str]]:
    """The directories that a run is given, each with a handle of its own."""
    given = []
    for root in () if files is None else files.roots():
        try:
            root.files.handle()
        except Refused as refused:
            raise GuestTrap(str(refused)) from None
        preopen = root.root.preopen
        flags = _READ if preopen.read_only else _READ | _MUTATE
        given.append((Descriptor(root.files, root, flags, is_directory=True), preopen.guest))
    return given
