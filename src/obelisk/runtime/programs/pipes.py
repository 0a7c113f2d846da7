"""Pipes to and from programs, on the I/O loop.

Decides nothing about what goes through them. Both ends of a guest's streams: see `Source` and `Sink` of
`obelisk.wasm.wasi.streams`.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from typing import Final

from obelisk.wasm.wasi.io import IoError, StreamFailed

READ_MAX: Final = 64 << 10
"""Bytes of one read: what a pipe holds."""

UNSLOWED_MAX: Final = 1 << 20
"""Bytes that a program may write to one stream as fast as it can …"""
SLOW_S: Final = 0.005
"""… then this passes between two reads of it, so that one that writes without end does not keep the loop."""
DRAIN_S: Final = 1.0
"""How long it is read on when the program is gone. Nothing but bytes that are there already can come."""


class _End:
    """Our end of a pipe."""

    def __init__(self, fd: int) -> None:
        os.set_blocking(fd, False)
        self._fd = fd
        self._waiting: asyncio.Future[None] | None = None

    def close(self) -> None:
        """Closes it; on the loop, also more than once. Who waits is told that it is over."""
        if self._fd >= 0:
            fd, self._fd = self._fd, -1
            self._forget(fd)
            os.close(fd)
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)

    def _forget(self, fd: int) -> None:
        raise NotImplementedError


class PipeSource(_End):
    """What a program writes."""

    async def fetch(self, limit: int) -> bytes:
        """The next 1 to `limit` bytes, or `b""` at the end."""
        while self._fd >= 0:
            try:
                return os.read(self._fd, min(limit, READ_MAX))
            except BlockingIOError:
                pass
            loop = asyncio.get_running_loop()
            self._waiting = waiting = loop.create_future()
            loop.add_reader(self._fd, _wake, waiting)
            try:
                await waiting
            finally:
                self._waiting = None
                if self._fd >= 0:
                    loop.remove_reader(self._fd)
        return b""

    def _forget(self, fd: int) -> None:
        asyncio.get_running_loop().remove_reader(fd)


class PipeSink(_End):
    """What a program reads."""

    async def drain(self, data: bytes) -> None:
        """Writes all of it. `StreamFailed` when the program reads no more."""
        left = memoryview(data)
        while left:
            if self._fd < 0:
                raise StreamFailed(IoError("the program's input is closed"))
            try:
                left = left[os.write(self._fd, left) :]
                continue
            except BlockingIOError:
                pass
            except BrokenPipeError:
                raise StreamFailed(IoError("the program has closed its input")) from None
            loop = asyncio.get_running_loop()
            self._waiting = waiting = loop.create_future()
            loop.add_writer(self._fd, _wake, waiting)
            try:
                await waiting
            finally:
                self._waiting = None
                if self._fd >= 0:
                    loop.remove_writer(self._fd)

    async def flush(self) -> None:
        """A pipe keeps nothing back."""

    def _forget(self, fd: int) -> None:
        asyncio.get_running_loop().remove_writer(fd)


def _wake(waiting: asyncio.Future[None]) -> None:
    if not waiting.done():
        waiting.set_result(None)


async def read(source: PipeSource) -> AsyncIterator[bytes]:
    """All that a program writes, as fast as it may."""
    count = 0
    while data := await source.fetch(READ_MAX):
        yield data
        count += len(data)
        await asyncio.sleep(SLOW_S if count > UNSLOWED_MAX else 0)
