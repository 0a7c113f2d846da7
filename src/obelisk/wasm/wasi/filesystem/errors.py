"""Error codes of wasi:filesystem, and how an error of the system becomes one."""

from __future__ import annotations

import errno
from enum import IntEnum
from typing import Final


class ErrorCode(IntEnum):
    """`error-code`, in the interface's order."""

    ACCESS = 0
    WOULD_BLOCK = 1
    ALREADY = 2
    BAD_DESCRIPTOR = 3
    BUSY = 4
    DEADLOCK = 5
    QUOTA = 6
    EXIST = 7
    FILE_TOO_LARGE = 8
    ILLEGAL_BYTE_SEQUENCE = 9
    IN_PROGRESS = 10
    INTERRUPTED = 11
    INVALID = 12
    IO = 13
    IS_DIRECTORY = 14
    LOOP = 15
    TOO_MANY_LINKS = 16
    MESSAGE_SIZE = 17
    NAME_TOO_LONG = 18
    NO_DEVICE = 19
    NO_ENTRY = 20
    NO_LOCK = 21
    INSUFFICIENT_MEMORY = 22
    INSUFFICIENT_SPACE = 23
    NOT_DIRECTORY = 24
    NOT_EMPTY = 25
    NOT_RECOVERABLE = 26
    UNSUPPORTED = 27
    NO_TTY = 28
    NO_SUCH_DEVICE = 29
    OVERFLOW = 30
    NOT_PERMITTED = 31
    PIPE = 32
    READ_ONLY = 33
    INVALID_SEEK = 34
    TEXT_FILE_BUSY = 35
    CROSS_DEVICE = 36


class Refused(Exception):
    """What the guest asked for is not done. `event`: where it ran into what contains it, a line for the log of its execution;
    None for the everyday (there is no such file).
    """

    def __init__(self, code: ErrorCode, event: str | None = None) -> None:
        super().__init__(event or code.name)
        self.code = code
        self.event = event


_CODES: Final = {
    errno.EACCES: ErrorCode.ACCESS,
    errno.EAGAIN: ErrorCode.WOULD_BLOCK,
    errno.EALREADY: ErrorCode.ALREADY,
    errno.EBADF: ErrorCode.BAD_DESCRIPTOR,
    errno.EBUSY: ErrorCode.BUSY,
    errno.EDEADLK: ErrorCode.DEADLOCK,
    errno.EDQUOT: ErrorCode.QUOTA,
    errno.EEXIST: ErrorCode.EXIST,
    errno.EFBIG: ErrorCode.FILE_TOO_LARGE,
    errno.EILSEQ: ErrorCode.ILLEGAL_BYTE_SEQUENCE,
    errno.EINPROGRESS: ErrorCode.IN_PROGRESS,
    errno.EINTR: ErrorCode.INTERRUPTED,
    errno.EINVAL: ErrorCode.INVALID,
    errno.EIO: ErrorCode.IO,
    errno.EISDIR: ErrorCode.IS_DIRECTORY,
    errno.ELOOP: ErrorCode.LOOP,
    errno.EMLINK: ErrorCode.TOO_MANY_LINKS,
    errno.EMSGSIZE: ErrorCode.MESSAGE_SIZE,
    errno.ENAMETOOLONG: ErrorCode.NAME_TOO_LONG,
    errno.ENODEV: ErrorCode.NO_DEVICE,
    errno.ENOENT: ErrorCode.NO_ENTRY,
    errno.ENOLCK: ErrorCode.NO_LOCK,
    errno.ENOMEM: ErrorCode.INSUFFICIENT_MEMORY,
    errno.ENOSPC: ErrorCode.INSUFFICIENT_SPACE,
    errno.ENOTDIR: ErrorCode.NOT_DIRECTORY,
    errno.ENOTEMPTY: ErrorCode.NOT_EMPTY,
    errno.ENOTRECOVERABLE: ErrorCode.NOT_RECOVERABLE,
    errno.ENOTSUP: ErrorCode.UNSUPPORTED,
    errno.ENOSYS: ErrorCode.UNSUPPORTED,
    errno.ENOTTY: ErrorCode.NO_TTY,
    errno.ENXIO: ErrorCode.NO_SUCH_DEVICE,
    errno.EOVERFLOW: ErrorCode.OVERFLOW,
    errno.EPERM: ErrorCode.NOT_PERMITTED,
    errno.EPIPE: ErrorCode.PIPE,
    errno.EROFS: ErrorCode.READ_ONLY,
    errno.ESPIPE: ErrorCode.INVALID_SEEK,
    errno.ETXTBSY: ErrorCode.TEXT_FILE_BUSY,
    errno.EXDEV: ErrorCode.CROSS_DEVICE,
}


def refusal(error: OSError) -> Refused:
    """What the guest is told of an error of the system."""
    if error.errno in {errno.EMFILE, errno.ENFILE}:
        return Refused(ErrorCode.INSUFFICIENT_MEMORY, "the server has no file descriptors left (ulimit -n)")
    return Refused(_CODES.get(error.errno or 0, ErrorCode.IO))
