"""A request's body on its way from the guest to the connection. Used on the loop only.

Decides how far the guest may be ahead: a piece that is to be sent, and before the request was sent at all as much as fits
into a buffer, because guests write first and send then. Must not know HTTP.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

from obelisk.wasm.wasi.http.failures import HttpFailure
from obelisk.wasm.wasi.http.limits import PIECE_BYTES

Fields = list[tuple[str, bytes]]
"""Headers or trailers, in order."""


class RequestBody:
    """`declared`: its length, if the request's headers told it. `on_end`: called once nothing more is kept of it."""

    def __init__(self, declared: int | None = None, on_end: Callable[[RequestBody], None] | None = None) -> None:
        self.declared = declared
        self._on_end = on_end
        self.trailers: Fields = []
        self._pieces: deque[bytes] = deque()
        self._sending = 0
        """Bytes of the piece that is being sent."""
        self._size = 0
        """Bytes that are to be sent, that piece included."""
        self._is_read = False
        self._is_finished = False
        self._failure: HttpFailure | None = None
        self._writer: asyncio.Future[None] | None = None
        self._reader: asyncio.Future[None] | None = None

    # --- the guest's side ---

    async def write(self, data: bytes) -> None:
        """Hands over a piece, and returns when it was sent, or is kept for a request that was not sent yet. `HttpFailure`
        when nothing more will be sent.
        """
        if data and self._failure is None:
            self._pieces.append(data)
            self._size += len(data)
            _wake(self._reader)
        while self._size > (0 if self._is_read else PIECE_BYTES) and self._failure is None:
            self._writer = asyncio.get_running_loop().create_future()
            try:
                await self._writer
            finally:
                self._writer = None
        if self._failure is not None:
            raise self._failure

    def finish(self, trailers: Fields) -> None:
        """That was all."""
        self.trailers = trailers
        self._is_finished = True
        _wake(self._reader)

    # --- the connection's side ---

    async def next(self) -> bytes:
        """The next piece, or empty at the end; the one before was sent. `HttpFailure` when the guest gave up."""
        self._is_read = True
        self._size -= self._sending
        self._sending = 0
        if self._size == 0:
            _wake(self._writer)
        while not self._pieces and not self._is_finished and self._failure is None:
            self._reader = asyncio.get_running_loop().create_future()
            try:
                await self._reader
            finally:
                self._reader = None
        if self._failure is not None:
            raise self._failure
        if not self._pieces:
            self._end()
            return b""
        piece = self._pieces.popleft()
        self._sending = len(piece)
        return piece

    # --- both ---

    def abort(self, failure: HttpFailure) -> None:
        """Nothing more will be sent; both sides are told why. The first reason counts."""
        if self._failure is None:
            self._failure = failure
        self._pieces.clear()
        self._end()
        _wake(self._writer)
        _wake(self._reader)

    def _end(self) -> None:
        if self._on_end is not None:
            self._on_end(self)


def _wake(waiting: asyncio.Future[None] | None) -> None:
    if waiting is not None and not waiting.done():
        waiting.set_result(None)
