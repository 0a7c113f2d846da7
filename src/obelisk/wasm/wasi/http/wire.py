"""Bytes to and from one server, with back-pressure both ways. Used on the loop only.

Decides how much is kept in memory: while nobody reads, the socket is not read; while the socket takes nothing, the writer
waits. Must not know HTTP.
"""

from __future__ import annotations

import asyncio

from obelisk.wasm.wasi.http.failures import Code, HttpFailure
from obelisk.wasm.wasi.http.limits import PIECE_BYTES


class Wire(asyncio.Protocol):
    """An open connection, once `connection_made` was called."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._received = bytearray()
        self._is_over = False
        """Nothing more will be received."""
        self._failure: HttpFailure | None = None
        self._is_full = False
        self._reading: asyncio.Future[None] | None = None
        self._writing: asyncio.Future[None] | None = None

    # --- called by asyncio ---

    def connection_made(self, transport: asyncio.BaseTransport) -> None:  # noqa: D102
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        transport.set_write_buffer_limits(high=PIECE_BYTES)

    def data_received(self, data: bytes) -> None:  # noqa: D102
        self._received += data
        if len(self._received) >= PIECE_BYTES and self._transport is not None:
            self._transport.pause_reading()
        _wake(self._reading)

    def eof_received(self) -> bool:  # noqa: D102
        self._is_over = True
        _wake(self._reading)
        return False  # closes; nobody speaks to a server that has hung up

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: D102
        if exc is not None and self._failure is None:
            self._failure = HttpFailure(Code.CONNECTION_TERMINATED, f"the connection broke: {exc}")
        self._is_over = True
        _wake(self._reading)
        _wake(self._writing)

    def pause_writing(self) -> None:  # noqa: D102
        self._is_full = True

    def resume_writing(self) -> None:  # noqa: D102
        self._is_full = False
        _wake(self._writing)

    # --- called by us ---

    @property
    def is_quiet(self) -> bool:
        """Whether it is open, and nothing came that nobody asked for."""
        return not self._is_over and not self._received and self._failure is None

    async def read(self) -> bytes:
        """What has come, at least a byte; empty at the end. `HttpFailure` when the connection broke."""
        while not self._received and not self._is_over and self._failure is None:
            self._reading = asyncio.get_running_loop().create_future()
            try:
                await self._reading
            finally:
                self._reading = None
        if self._received:
            data = bytes(self._received)
            self._received.clear()
            if self._transport is not None and not self._is_over:
                self._transport.resume_reading()
            return data
        if self._failure is not None:
            raise self._failure
        return b""

    async def write(self, data: bytes) -> None:
        """Returns when there is room for more. `HttpFailure` when the connection broke."""
        if self._transport is not None and not self._is_over:
            self._transport.write(data)
        while self._is_full and not self._is_over and self._failure is None:
            self._writing = asyncio.get_running_loop().create_future()
            try:
                await self._writing
            finally:
                self._writing = None
        if self._failure is not None:
            raise self._failure
        if self._is_over:
            raise HttpFailure(Code.CONNECTION_TERMINATED, "the server closed the connection")

    def abort(self, failure: HttpFailure | None = None) -> None:
        """Closes the socket at once, whatever was still to be sent. `failure`: what whoever waits for it is told."""
        if failure is not None and self._failure is None:
            self._failure = failure
        self._is_over = True
        if self._transport is not None:
            self._transport.abort()
        _wake(self._reading)
        _wake(self._writing)


def _wake(waiting: asyncio.Future[None] | None) -> None:
    if waiting is not None and not waiting.done():
        waiting.set_result(None)
