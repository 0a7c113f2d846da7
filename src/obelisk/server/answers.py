"""From errors of use cases to gRPC status codes, and lists to messages of a bounded size.

Decides which code and text a client gets. What is nobody's fault but ours goes to the log, and to the client without its
inner details.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import Any, Final, TypeVar

import grpc
from google.protobuf.message import Message

from obelisk.api import errors
from obelisk.core.batch import StoreFailed

LIST_BYTES_MAX: Final = 3 << 20
"""Of the items of one list: clients refuse messages above 4 MiB."""
DETAILS_BYTES_MAX: Final = 7_000
"""Of an error's text as it is sent, percent-encoded, in a header: clients refuse headers above 8 KiB, saying that the
stream was removed, and not what it was that we said."""

_log: Final = logging.getLogger(__name__)
_CODES: Final[dict[type[errors.ApiError], grpc.StatusCode]] = {
    errors.InvalidArgument: grpc.StatusCode.INVALID_ARGUMENT,
    errors.HasFinished: grpc.StatusCode.INVALID_ARGUMENT,
    errors.NotFound: grpc.StatusCode.NOT_FOUND,
    errors.Conflict: grpc.StatusCode.ALREADY_EXISTS,
    errors.NotReady: grpc.StatusCode.FAILED_PRECONDITION,
    errors.ReplayFailed: grpc.StatusCode.INTERNAL,  # as the original answers, though it is nobody's bug but the component's
    errors.NotAvailable: grpc.StatusCode.UNIMPLEMENTED,
    errors.Overloaded: grpc.StatusCode.RESOURCE_EXHAUSTED,
    errors.Moved: grpc.StatusCode.ABORTED,
    errors.Stopping: grpc.StatusCode.UNAVAILABLE,
}

M = TypeVar("M", bound=Message)


class _Answering:
    """A class rather than a generator: there is one for each call, and most have nothing to do."""

    __slots__ = ("_context", "_streaming")

    def __init__(self, context: Any, streaming: bool) -> None:
        self._context = context
        self._streaming = streaming

    async def __aenter__(self) -> None:
        pass

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if error is None or not isinstance(error, Exception) or isinstance(error, grpc.aio.AbortError):
            return
        code, text = self._status(error)
        await self._context.abort(code, text)

    def _status(self, error: Exception) -> tuple[grpc.StatusCode, str]:
        if isinstance(error, errors.ApiError):
            if self._streaming and isinstance(error, errors.Stopping):
                return grpc.StatusCode.ABORTED, told(str(error))
            return _CODES[type(error)], told(str(error))
        if isinstance(error, StoreFailed):
            _log.error("a read of the database failed", exc_info=error)
            return grpc.StatusCode.INTERNAL, "database error"
        # Whatever it is, the client gets an answer.
        _log.error("a call failed", exc_info=error)
        return grpc.StatusCode.INTERNAL, "internal error of the server; its log says more"


def answering(context: Any, *, streaming: bool = False) -> AbstractAsyncContextManager[None]:
    """Ends the call with the status that an error within means. An open stream of a stopping server is ABORTED."""
    return _Answering(context, streaming)


def told(text: str, bytes_max: int = DETAILS_BYTES_MAX) -> str:
    """As much of a text as may be sent as details."""
    size = 0
    for at, character in enumerate(text):
        size += 1 if " " <= character <= "~" and character != "%" else 3 * len(character.encode(errors="replace"))
        if size > bytes_max:
            return text[:at] + "…"
    return text


def fitting(items: Iterable[M], bytes_max: int = LIST_BYTES_MAX) -> list[M]:
    """The first items that together stay below `bytes_max`, at least one if there is one."""
    found: list[M] = []
    size = 0
    for item in items:
        size += item.ByteSize()
        if found and size > bytes_max:
            break
        found.append(item)
    return found
