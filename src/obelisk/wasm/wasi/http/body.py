"""A request's body on its way from the guest to the connection, one piece at a time. Used on the loop only.

Decides nothing of HTTP: the side that writes waits until its piece was sent, so that a guest is never further ahead than
that.
"""

from __future__ import annotations

import asyncio

from obelisk.wasm.wasi.http.failures import HttpFailure

Fields = list[tuple[str, bytes]]
"""Headers or trailers, in order."""


class RequestBody:
    """`declared`: its length, if the request's headers told it."""

    def __init__(self, declared: int | None = None) -> None:
        self.declared = declared
        self.trailers: Fields = []
        self._piece = b""
        self._sent: asyncio.Future[None] | None = None
        self._wanted: asyncio.Future[None] | None = None
        self._is_finished = False
        self._failure: HttpFailure | None = None

    # --- the guest's side ---

    async def write(self, data: bytes) -> None:
        """Hands over a piece, and returns when it was sent. `HttpFailure` when nothing more will be."""
        if self._failure is not None:
            raise self._failure
        if not data:
            return
        self._piece = data
        self._sent = asyncio.get_running_loop().create_future()
        self._wake()
        try:
            await self._sent
        finally:
            self._sent = None
        if self._failure is not None:
            raise self._failure

    def finish(self, trailers: Fields) -> None:
        """That was all."""
        self.trailers = trailers
        self._is_finished = True
        self._wake()

    # --- the connection's side ---

    async def next(self) -> bytes:
        """The next piece, or empty at the end; the one before was sent. `HttpFailure` when the guest gave up."""
        if not self._piece and self._sent is not None and not self._sent.done():
            self._sent.set_result(None)
        while not self._piece and not self._is_finished and self._failure is None:
            self._wanted = asyncio.get_running_loop().create_future()
            try:
                await self._wanted
            finally:
                self._wanted = None
        if self._failure is not None:
            raise self._failure
        piece, self._piece = self._piece, b""
        return piece

    # --- both ---

    def abort(self, failure: HttpFailure) -> None:
        """Nothing more will be sent; both sides are told why. The first reason counts."""
        if self._failure is None:
            self._failure = failure
        if self._sent is not None and not self._sent.done():
            self._sent.set_result(None)
        self._wake()

    def _wake(self) -> None:
        if self._wanted is not None and not self._wanted.done():
            self._wanted.set_result(None)
