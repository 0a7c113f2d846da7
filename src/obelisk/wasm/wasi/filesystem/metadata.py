"""What a guest is told of a file: its kind, its sizes and times, and a number that stands for its identity."""

from __future__ import annotations

import hashlib
import os
import secrets
import stat
from enum import IntEnum
from typing import Final

from obelisk.wasm.wasi.filesystem.errors import ErrorCode, Refused
from obelisk.wit.types import Value

SIZE_MAX: Final = 2**63 - 1
"""Bytes that any file can have."""

_SECOND_NS: Final = 1_000_000_000
_SECONDS_MAX: Final = 2**63 // _SECOND_NS
_SECRET: Final = secrets.token_bytes(16)
_HALF: Final = 8


class DescriptorType(IntEnum):
    """`descriptor-type`, in the interface's order."""

    UNKNOWN = 0
    BLOCK_DEVICE = 1
    CHARACTER_DEVICE = 2
    DIRECTORY = 3
    FIFO = 4
    SYMBOLIC_LINK = 5
    REGULAR_FILE = 6
    SOCKET = 7


_TYPES: Final = {
    stat.S_IFBLK: DescriptorType.BLOCK_DEVICE,
    stat.S_IFCHR: DescriptorType.CHARACTER_DEVICE,
    stat.S_IFDIR: DescriptorType.DIRECTORY,
    stat.S_IFIFO: DescriptorType.FIFO,
    stat.S_IFLNK: DescriptorType.SYMBOLIC_LINK,
    stat.S_IFREG: DescriptorType.REGULAR_FILE,
    stat.S_IFSOCK: DescriptorType.SOCKET,
}


def type_of(found: os.stat_result) -> DescriptorType:
    """The kind of a file."""
    return _TYPES.get(stat.S_IFMT(found.st_mode), DescriptorType.UNKNOWN)


def descriptor_stat(found: os.stat_result) -> Value:
    """`descriptor-stat`."""
    times = (found.st_atime_ns, found.st_mtime_ns, found.st_ctime_ns)
    return int(type_of(found)), found.st_nlink, found.st_size, *map(_datetime, times)


def _datetime(ns: int) -> Value:
    """`option<datetime>`; a time before 1970 cannot be told."""
    return (divmod(ns, _SECOND_NS),) if ns >= 0 else None


def metadata_hash(found: os.stat_result) -> Value:
    """`metadata-hash-value`: of the file's identity and nothing else, since the libraries of guests take it for the numbers of
    device and inode; these do not follow from it.
    """
    identity = b"%d %d" % (found.st_dev, found.st_ino)
    digest = hashlib.blake2b(identity, digest_size=2 * _HALF, key=_SECRET).digest()
    return int.from_bytes(digest[:_HALF]), int.from_bytes(digest[_HALF:])


def is_same(one: os.stat_result, other: os.stat_result) -> bool:
    """Whether both are one file."""
    return os.path.samestat(one, other)


def new_times(found: os.stat_result, access: Value, modification: Value, now: int) -> tuple[int, int]:
    """The times that a file gets, in nanoseconds, from two `new-timestamp`. `Refused` where one cannot be written."""
    return _new_time(access, found.st_atime_ns, now), _new_time(modification, found.st_mtime_ns, now)


def _new_time(wanted: Value, before: int, now: int) -> int:
    case, given = wanted
    if case == 0:
        return before
    if case == 1:
        return now
    seconds, nanoseconds = given
    if seconds > _SECONDS_MAX or nanoseconds >= _SECOND_NS:
        raise Refused(ErrorCode.INVALID)
    ns: int = seconds * _SECOND_NS + nanoseconds
    return ns
