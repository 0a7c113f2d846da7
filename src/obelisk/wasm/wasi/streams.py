"""Streams of activities: between a guest that reads and writes in steps, and a source or sink on the I/O loop.

Decides how far either side may run ahead of the other: one chunk that is read before the guest asks for it, and
`AHEAD_MAX` bytes that the guest writes before they are taken. Must not know what is read or written.

The guest's thread and the loop's thread may be in here at once. Each field is written by one side at a time: `_chunk` by
the loop while a fetch is under way, by the guest otherwise; counters by one side only.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import Future
from typing import Any, Final, Protocol

from obelisk.wasm.wasi.host import Answer, GuestTrap, Subscription
from obelisk.wasm.wasi.io import CLOSED, READ_MAX, IoError, Ready, StreamFailed, failed
from obelisk.wit.types import Value

AHEAD_MAX: Final = 64 << 10
"""Bytes that a guest may write before the sink has taken them."""

Spawn = Callable[[Coroutine[Any, Any, Any]], "Future[Any]"]
"""Starts a task on the I/O loop; it is cancelled when the run ends."""


class Source(Protocol):
    """Where an input stream's bytes come from."""

    async def fetch(self, limit: int) -> bytes:
        """The next 1 to `limit` bytes, or `b""` at the end. `StreamFailed`."""
        ...


class Sink(Protocol):
    """Where an output stream's bytes go."""

    async def drain(self, data: bytes) -> None:
        """Takes all of `data`. `StreamFailed`."""
        ...

    async def flush(self) -> None:
        """Sends on whatever is kept. `StreamFailed`."""
        ...


class EmptyInput:
    """An input stream that is at its end."""

    def read(self, length: int) -> Answer:
        """Closed."""
        return CLOSED

    blocking_read = skip = blocking_skip = read

    def subscribe(self) -> Ready:
        """Always ready."""
        return Ready()


class InputStream:
    """`wasi:io/streams.input-stream` over a source."""

    def __init__(self, source: Source, spawn: Spawn) -> None:
        self._source = source
        self._spawn = spawn
        self._chunk = b""
        self._ended = False
        self._error: IoError | None = None
        self._fetching: Future[None] | None = None

    # --- the guest's thread ------------------------------------------------------------------------------------------

    def read(self, length: int) -> Value:
        """What is there, perhaps nothing."""
        if length == 0 and not (self._ended or self._error):
            return True, b""
        if self._chunk:
            data, self._chunk = self._chunk[:length], self._chunk[length:]
            return True, data
        if self._error is not None:
            error, self._error, self._ended = self._error, None, True
            return failed(error)
        if self._ended:
            return CLOSED
        self._fetch()
        return True, b""

    def blocking_read(self, length: int) -> Answer:
        """What is there, once there is something."""
        return self.read(length) if self.ready() or length == 0 else self._read_later(length)

    def skip(self, length: int) -> Answer:
        """Reads without giving."""
        return _counted(self.read(length))

    def blocking_skip(self, length: int) -> Answer:
        """Reads without giving, once there is something."""
        return self.skip(length) if self.ready() or length == 0 else self._skip_later(length)

    def subscribe(self) -> Subscription:
        """Ready when there is something to read, or the end."""
        return Subscription(self)

    def ready(self) -> bool:
        """See `Pollable`."""
        return bool(self._chunk) or self._ended or self._error is not None

    # --- the loop's thread -------------------------------------------------------------------------------------------

    async def wait(self) -> None:
        """See `Pollable`. A fetch that nobody waits for any longer goes on: its chunk is kept."""
        while not self.ready():
            await asyncio.shield(asyncio.wrap_future(self._fetch()))

    async def _read_later(self, length: int) -> Value:
        await self.wait()
        return self.read(length)

    async def _skip_later(self, length: int) -> Value:
        await self.wait()
        return self.skip(length)

    def _fetch(self) -> Future[None]:
        if self._fetching is None or self._fetching.done():
            self._fetching = self._spawn(self._fetch_one())
        return self._fetching

    async def _fetch_one(self) -> None:
        if self.ready():
            return  # the one before was quicker than whoever asked for this one
        try:
            chunk = await self._source.fetch(READ_MAX)
        except StreamFailed as failure:
            self._error = failure.error
            return
        if chunk:
            self._chunk = chunk
        else:
            self._ended = True


def _counted(read: Value) -> Value:
    return (True, len(read[1])) if read[0] else read


class OutputStream:
    """`wasi:io/streams.output-stream` over a sink. `on_close`: called when the guest drops it, after what it wrote was
    taken.
    """

    def __init__(self, sink: Sink, spawn: Spawn, on_close: Callable[[], Awaitable[None]] | None = None) -> None:
        self._sink = sink
        self._spawn = spawn
        self._on_close = on_close
        self._pending: deque[bytes] = deque()
        self._written = 0
        self._taken = 0
        self._must_flush = False
        self._must_close = False
        self._error: IoError | None = None
        self._closed = False
        self._lock = threading.Lock()
        self._draining: Future[None] | None = None

    # --- the guest's thread ------------------------------------------------------------------------------------------

    def check_write(self) -> Value:
        """How many bytes may be written now."""
        if self._error is not None:
            error, self._error, self._closed = self._error, None, True
            return failed(error)
        if self._closed:
            return CLOSED
        return True, 0 if self._must_flush else AHEAD_MAX - (self._written - self._taken)

    def write(self, data: bytes) -> Answer:
        """Takes bytes, as many as were permitted at most."""
        permit = self.check_write()
        if not permit[0]:
            return permit
        if len(data) > permit[1]:
            raise GuestTrap(f"{len(data)} bytes were written where {permit[1]} were permitted")
        if data:
            self._put(data)
        return True, None

    def flush(self) -> Value:
        """Begins to flush; nothing may be written until that is done."""
        permit = self.check_write()
        if not permit[0]:
            return permit
        with self._lock:
            self._must_flush = True
            self._drain()
        return True, None

    def blocking_flush(self) -> Answer:
        """Flushes."""
        begun = self.flush()
        return self._flush_later() if begun[0] else begun

    async def blocking_write(self, data: bytes) -> Value:
        """Waits for room, writes, and flushes."""
        while True:
            permit = self.check_write()
            if not permit[0]:
                return permit
            if permit[1] >= len(data):
                break
            await self._wait_for_drain()
        if data:
            self._put(data)
        return await self._flushed()

    def subscribe(self) -> Subscription:
        """Ready when something may be written."""
        return Subscription(self)

    def ready(self) -> bool:
        """See `Pollable`."""
        return (
            self._error is not None
            or self._closed
            or (not self._must_flush and self._written - self._taken <= AHEAD_MAX // 2)
        )

    def close(self) -> None:
        """The guest has dropped it: what was written still goes out."""
        if self._on_close is not None:
            with self._lock:
                self._must_close = True
                self._drain()

    def _put(self, data: bytes) -> None:
        self._written += len(data)
        with self._lock:
            self._pending.append(data)
            self._drain()

    def _drain(self) -> None:
        """Sees to it that somebody drains; the lock is held."""
        if self._draining is None:
            self._draining = self._spawn(self._drain_all())

    # --- the loop's thread -------------------------------------------------------------------------------------------

    async def wait(self) -> None:
        """See `Pollable`."""
        while not self.ready():
            await self._wait_for_drain()

    async def _wait_for_drain(self) -> None:
        draining = self._draining
        if draining is not None:
            await asyncio.shield(asyncio.wrap_future(draining))
        else:
            await asyncio.sleep(0)

    async def _flush_later(self) -> Value:
        while self._must_flush and self._error is None and not self._closed:
            await self._wait_for_drain()
        permit = self.check_write()
        return (True, None) if permit[0] else permit

    async def _flushed(self) -> Value:
        begun = self.flush()
        return await self._flush_later() if begun[0] else begun

    async def _drain_all(self) -> None:
        while True:
            with self._lock:
                if self._error is not None:
                    self._pending.clear()
                batch = b"".join(self._pending)
                self._pending.clear()
                if not (batch or self._must_flush or self._must_close):
                    self._draining = None
                    return
                flush, close = self._must_flush, self._must_close
            try:
                if batch:
                    await self._sink.drain(batch)
                if flush and self._error is None:
                    await self._sink.flush()
            except StreamFailed as failure:
                self._error = failure.error
            self._taken += len(batch)
            if flush:
                self._must_flush = False
            if close:
                self._must_close = False
                if self._on_close is not None:
                    await self._on_close()
