"""Error codes of wasi:sockets, and how an error of the system becomes one."""

from __future__ import annotations

import errno
import socket
from enum import IntEnum
from typing import Final


class ErrorCode(IntEnum):
    """`error-code` of wasi:sockets/network, in the interface's order."""

    UNKNOWN = 0
    ACCESS_DENIED = 1
    NOT_SUPPORTED = 2
    INVALID_ARGUMENT = 3
    OUT_OF_MEMORY = 4
    TIMEOUT = 5
    CONCURRENCY_CONFLICT = 6
    NOT_IN_PROGRESS = 7
    WOULD_BLOCK = 8
    INVALID_STATE = 9
    NEW_SOCKET_LIMIT = 10
    ADDRESS_NOT_BINDABLE = 11
    ADDRESS_IN_USE = 12
    REMOTE_UNREACHABLE = 13
    CONNECTION_REFUSED = 14
    CONNECTION_RESET = 15
    CONNECTION_ABORTED = 16
    DATAGRAM_TOO_LARGE = 17
    NAME_UNRESOLVABLE = 18
    TEMPORARY_RESOLVER_FAILURE = 19
    PERMANENT_RESOLVER_FAILURE = 20


class Refused(Exception):
    """What the guest asked for is not done. `event`: where it ran into what contains it, a line for the log of its execution;
    None for the everyday.
    """

    def __init__(self, code: ErrorCode, event: str | None = None) -> None:
        super().__init__(event or code.name)
        self.code = code
        self.event = event


_CODES: Final = {
    errno.EACCES: ErrorCode.ACCESS_DENIED,
    errno.EPERM: ErrorCode.ACCESS_DENIED,
    errno.EOPNOTSUPP: ErrorCode.NOT_SUPPORTED,
    errno.EAFNOSUPPORT: ErrorCode.NOT_SUPPORTED,
    errno.EPROTONOSUPPORT: ErrorCode.NOT_SUPPORTED,
    errno.ENOPROTOOPT: ErrorCode.NOT_SUPPORTED,
    errno.EINVAL: ErrorCode.INVALID_ARGUMENT,
    errno.ENOMEM: ErrorCode.OUT_OF_MEMORY,
    errno.ENOBUFS: ErrorCode.OUT_OF_MEMORY,
    errno.ETIMEDOUT: ErrorCode.TIMEOUT,
    errno.EALREADY: ErrorCode.CONCURRENCY_CONFLICT,
    errno.EWOULDBLOCK: ErrorCode.WOULD_BLOCK,
    errno.ENOTCONN: ErrorCode.INVALID_STATE,
    errno.EISCONN: ErrorCode.INVALID_STATE,
    errno.EMFILE: ErrorCode.NEW_SOCKET_LIMIT,
    errno.ENFILE: ErrorCode.NEW_SOCKET_LIMIT,
    errno.EADDRNOTAVAIL: ErrorCode.ADDRESS_NOT_BINDABLE,
    errno.EADDRINUSE: ErrorCode.ADDRESS_IN_USE,
    errno.EHOSTUNREACH: ErrorCode.REMOTE_UNREACHABLE,
    errno.EHOSTDOWN: ErrorCode.REMOTE_UNREACHABLE,
    errno.ENETUNREACH: ErrorCode.REMOTE_UNREACHABLE,
    errno.ENETDOWN: ErrorCode.REMOTE_UNREACHABLE,
    errno.ECONNREFUSED: ErrorCode.CONNECTION_REFUSED,
    errno.ECONNRESET: ErrorCode.CONNECTION_RESET,
    errno.EPIPE: ErrorCode.CONNECTION_RESET,
    errno.ECONNABORTED: ErrorCode.CONNECTION_ABORTED,
}
_LOOKUPS: Final = {
    socket.EAI_NONAME: ErrorCode.NAME_UNRESOLVABLE,
    getattr(socket, "EAI_NODATA", socket.EAI_NONAME): ErrorCode.NAME_UNRESOLVABLE,
    socket.EAI_AGAIN: ErrorCode.TEMPORARY_RESOLVER_FAILURE,
    socket.EAI_FAIL: ErrorCode.PERMANENT_RESOLVER_FAILURE,
}


def code_of(error: OSError) -> ErrorCode:
    """What the guest is told of an error of the system."""
    if isinstance(error, socket.gaierror):
        return _LOOKUPS.get(error.errno or 0, ErrorCode.PERMANENT_RESOLVER_FAILURE)
    return _CODES.get(error.errno or 0, ErrorCode.UNKNOWN)


def refusal(error: OSError) -> Refused:
    """The same, and what of it is for the log."""
    if error.errno in {errno.EMFILE, errno.ENFILE} and not isinstance(error, socket.gaierror):
        return Refused(ErrorCode.NEW_SOCKET_LIMIT, "the server has no file descriptors left (ulimit -n)")
    return Refused(code_of(error))
