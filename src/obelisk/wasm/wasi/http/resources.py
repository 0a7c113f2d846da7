"""The resources of `wasi:http/types`, as a guest that sends requests has them.

Decides what happens when one is dropped: whatever still runs for it ends. Each is used on the guest's thread; what it does on
the loop, it starts there.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Coroutine
from concurrent.futures import CancelledError, Future
from typing import Any, Final, Protocol

from obelisk.core.egress import PORTS
from obelisk.wasm.wasi.host import GuestTrap, Subscription
from obelisk.wasm.wasi.http.body import RequestBody
from obelisk.wasm.wasi.http.client import HttpClient, is_authority, is_method, is_path
from obelisk.wasm.wasi.http.exchange import Exchange
from obelisk.wasm.wasi.http.failures import Code, HttpFailure, internal
from obelisk.wasm.wasi.http.fields import HttpFields
from obelisk.wasm.wasi.http.limits import BETWEEN_BYTES_TIMEOUT_S, CONNECT_TIMEOUT_S, FIRST_BYTE_TIMEOUT_S, UNSENT_MAX
from obelisk.wasm.wasi.http.sending import Timeouts
from obelisk.wasm.wasi.io import IoError, StreamFailed
from obelisk.wasm.wasi.streams import InputStream, OutputStream
from obelisk.wit.types import Value

METHODS: Final = ("GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH")
"""In the order of the interface; one more case is for all others."""
_SCHEMES: Final = tuple(PORTS)
_SCHEME: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*")
_LENGTH: Final = re.compile(rb"[0-9]{1,18}")
OK: Final[Value] = (True, None)
ERROR: Final[Value] = (False, None)


class HttpHost(Protocol):
    """What these need of the run's host."""

    @property
    def http(self) -> HttpClient:
        """What the run may do."""
        ...

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The I/O loop."""
        ...

    def spawn(self, coroutine: Coroutine[Any, Any, Any]) -> Future[Any]:
        """Starts a task on the I/O loop, which ends with the run."""
        ...

    def on_close(self, callback: Callable[[], None]) -> None:
        """Has the loop call something when the run ends."""
        ...


def failed_stream(failure: HttpFailure) -> StreamFailed:
    """The same, as streams tell it."""
    return StreamFailed(IoError(failure.text, failure))


# --- requests --------------------------------------------------------------------------------------------------------


class RequestOptions:
    """`request-options`: durations in nanoseconds; None: ours."""

    def __init__(self) -> None:
        self.connect: Value = None
        self.first_byte: Value = None
        self.between_bytes: Value = None

    @property
    def timeouts(self) -> Timeouts:
        """As they are used."""

        def seconds(given: Value, default: float) -> float:
            return default if given is None else float(given[0]) / 1e9

        return Timeouts(
            seconds(self.connect, CONNECT_TIMEOUT_S),
            seconds(self.first_byte, FIRST_BYTE_TIMEOUT_S),
            seconds(self.between_bytes, BETWEEN_BYTES_TIMEOUT_S),
        )


class OutgoingRequest:
    """`outgoing-request`."""

    def __init__(self, headers: HttpFields) -> None:
        self._headers = headers.frozen()
        self._method = "GET"
        self._scheme: str | None = None
        self._authority: str | None = None
        self._path: str | None = None
        self._body: RequestBody | None = None
        self._host: HttpHost | None = None

    def body(self, host: HttpHost) -> Value:
        """Its body, once."""
        if self._body is not None:
            return ERROR
        bodies = host.http.bodies
        if len(bodies) >= UNSENT_MAX:
            raise GuestTrap(f"{UNSENT_MAX} requests with a body are made and not over")
        self._host = host
        self._body = RequestBody(self._declared(), bodies.discard)
        bodies.add(self._body)
        return True, OutgoingBody(host, self._body)

    def close(self) -> None:
        """Dropped, and so never sent."""
        if self._body is not None and self._host is not None:
            failure = internal("the request was dropped before it was sent")
            self._host.loop.call_soon_threadsafe(self._body.abort, failure)

    def method(self) -> Value:
        """As a variant."""
        if self._method in METHODS:
            return METHODS.index(self._method), None
        return len(METHODS), self._method

    def set_method(self, method: Value) -> Value:
        """Fails when it is none."""
        index, other = method
        text = other if index == len(METHODS) else METHODS[index]
        if not is_method(text):
            return ERROR
        self._method = text
        return OK

    def path_with_query(self) -> Value:
        """As an option."""
        return None if self._path is None else (self._path,)

    def set_path_with_query(self, path: Value) -> Value:
        """Fails when it is none."""
        if path is not None and path[0] and not is_path(path[0]):
            return ERROR
        self._path = None if path is None else path[0]
        return OK

    def scheme(self) -> Value:
        """As an option of a variant."""
        if self._scheme is None:
            return None
        if self._scheme in _SCHEMES:
            return ((_SCHEMES.index(self._scheme), None),)
        return ((len(_SCHEMES), self._scheme),)

    def set_scheme(self, scheme: Value) -> Value:
        """Fails when it is none."""
        if scheme is None:
            self._scheme = None
            return OK
        index, other = scheme[0]
        text = other if index == len(_SCHEMES) else _SCHEMES[index]
        if not _SCHEME.fullmatch(text):
            return ERROR
        self._scheme = text
        return OK

    def authority(self) -> Value:
        """As an option."""
        return None if self._authority is None else (self._authority,)

    def set_authority(self, authority: Value) -> Value:
        """Fails when it is none."""
        if authority is not None and not is_authority(authority[0]):
            return ERROR
        self._authority = None if authority is None else authority[0]
        return OK

    def headers(self) -> HttpFields:
        """Immutable."""
        return self._headers

    def send(self, host: HttpHost, options: RequestOptions | None) -> Value:
        """`outgoing-handler.handle`: the response to come, or why there will be none."""
        try:
            exchange = self._exchange(host.http, (options or RequestOptions()).timeouts)
        except HttpFailure as failure:
            if self._body is not None:
                host.loop.call_soon_threadsafe(self._body.abort, failure)
            return False, failure.value
        if not host.http.is_used:
            host.http.is_used = True
            host.on_close(host.http.close)
        return True, FutureResponse(host, exchange)

    def _exchange(self, client: HttpClient, timeouts: Timeouts) -> Exchange:
        declared = self._declared()
        if self._body is None and declared:
            raise HttpFailure(
                Code.HTTP_REQUEST_BODY_SIZE, f"a body of {declared} bytes was announced, and there is none", (0,)
            )
        headers = [(name, value) for name, value in self._headers.entries if name.lower() != "content-length"]
        return client.exchange(
            self._method,
            (self._scheme or "https").lower(),
            self._authority or "",
            self._path or "/",
            headers,
            self._body,
            timeouts,
        )

    def _declared(self) -> int | None:
        """The length of the body that the headers tell; None: none that is one."""
        found = self._headers.get("content-length")
        return int(found[0]) if len(found) == 1 and _LENGTH.fullmatch(found[0].strip()) else None


class OutgoingBody:
    """`outgoing-body`."""

    def __init__(self, host: HttpHost, body: RequestBody) -> None:
        self._host = host
        self._body = body
        self._stream: _BodyStream | None = None
        self._trailers: list[tuple[str, bytes]] | None = None

    def write(self) -> Value:
        """What its bytes are written to, once."""
        if self._stream is not None:
            return ERROR
        self._stream = _BodyStream(self._body, self._host, self._end)
        return True, self._stream

    def finish(self, trailers: HttpFields | None) -> Value:
        """That was all."""
        written = 0 if self._stream is None else self._stream.size
        declared = self._body.declared
        if declared is not None and written != declared:
            return self._fail(
                HttpFailure(
                    Code.HTTP_REQUEST_BODY_SIZE,
                    f"the body has {written} bytes, not {declared} as announced",
                    (written,),
                )
            )
        if trailers is not None and trailers.entries and declared is not None:
            return self._fail(internal("trailers cannot follow a body whose length was announced"))
        self._trailers = [] if trailers is None else trailers.entries
        if self._stream is None:
            self._host.loop.call_soon_threadsafe(self._body.finish, self._trailers)
        else:
            self._stream.close()  # once more, for those who finish before they drop it
        return OK

    def close(self) -> None:
        """Dropped without `finish`: what was sent of it is not all."""
        self._fail(internal("the body of the request was dropped before it was finished"))

    def _fail(self, failure: HttpFailure) -> Value:
        self._host.loop.call_soon_threadsafe(self._body.abort, failure)
        return False, failure.value

    async def _end(self) -> None:
        """Everything that was written has been taken."""
        if self._trailers is not None:
            self._body.finish(self._trailers)


class _BodySink:
    def __init__(self, body: RequestBody) -> None:
        self._body = body

    async def drain(self, data: bytes) -> None:
        try:
            await self._body.write(data)
        except HttpFailure as failure:
            raise failed_stream(failure) from None

    async def flush(self) -> None:
        pass  # nothing is kept


class _BodyStream(OutputStream):
    def __init__(self, body: RequestBody, host: HttpHost, on_close: Any) -> None:
        super().__init__(_BodySink(body), host.spawn, on_close)

    @property
    def size(self) -> int:
        """Bytes that the guest has written."""
        return self._written


# --- responses -------------------------------------------------------------------------------------------------------


class _Later:
    """A value that comes once, and is taken once."""

    def __init__(self, future: Future[Any]) -> None:
        self._future = future
        self._is_taken = False

    def subscribe(self) -> Subscription:
        """Ready when it has come."""
        return Subscription(self)

    def ready(self) -> bool:
        """See `Pollable`."""
        return self._future.done()

    async def wait(self) -> None:
        """See `Pollable`."""
        future = asyncio.wrap_future(self._future)
        future.add_done_callback(_looked_at)
        await asyncio.wait([future])

    def get(self) -> Value:
        """`option<result<result<T, error-code>>>`."""
        if not self._future.done():
            return None
        if self._is_taken:
            return (ERROR,)
        self._is_taken = True
        try:
            return ((True, (True, self._made(self._future.result()))),)
        except HttpFailure as failure:
            return ((True, (False, failure.value)),)
        except (CancelledError, asyncio.CancelledError):
            return ((True, (False, internal("it was cancelled").value)),)

    def _made(self, value: Any) -> Value:
        return value


def _looked_at(future: asyncio.Future[Any]) -> None:
    if not future.cancelled():
        future.exception()  # `get` tells it


class FutureResponse(_Later):
    """`future-incoming-response`."""

    def __init__(self, host: HttpHost, exchange: Exchange) -> None:
        super().__init__(host.spawn(host.http.respond(exchange)))
        self._host = host
        self._exchange = exchange

    def close(self) -> None:
        """Nobody waits for it any more."""
        if not self._is_taken:
            self._future.cancel()
            self._host.loop.call_soon_threadsafe(self._exchange.close)

    def _made(self, value: Exchange) -> Value:
        return IncomingResponse(self._host, value)


class IncomingResponse:
    """`incoming-response`."""

    def __init__(self, host: HttpHost, exchange: Exchange) -> None:
        self._host = host
        self._exchange = exchange
        self._headers = HttpFields.received(exchange.headers, host.http.held)
        self._is_consumed = False

    def status(self) -> Value:
        """Its number."""
        return self._exchange.status

    def headers(self) -> HttpFields:
        """Immutable."""
        return self._headers

    def consume(self) -> Value:
        """Its body, once."""
        if self._is_consumed:
            return ERROR
        self._is_consumed = True
        return True, IncomingBody(self._host, self._exchange)

    def close(self) -> None:
        """Dropped; the body, where it was taken, stays."""
        if not self._is_consumed:
            self._host.loop.call_soon_threadsafe(self._exchange.close)


class IncomingBody:
    """`incoming-body`."""

    def __init__(self, host: HttpHost, exchange: Exchange) -> None:
        self._host = host
        self._exchange = exchange
        self._is_read = False

    def stream(self) -> Value:
        """Where its bytes are read from, once."""
        if self._is_read:
            return ERROR
        self._is_read = True
        return True, InputStream(self, self._host.spawn)

    async def fetch(self, limit: int) -> bytes:
        """See `Source`."""
        try:
            return await self._exchange.fetch(limit)
        except HttpFailure as failure:
            raise failed_stream(failure) from None

    def finish(self) -> FutureTrailers:
        """The trailers, once the rest has come."""
        return FutureTrailers(self._host, self._exchange)

    def close(self) -> None:
        """Nobody wants the rest."""
        self._host.loop.call_soon_threadsafe(self._exchange.close)


class FutureTrailers(_Later):
    """`future-trailers`."""

    def __init__(self, host: HttpHost, exchange: Exchange) -> None:
        super().__init__(host.spawn(exchange.rest()))
        self._host = host
        self._exchange = exchange

    def close(self) -> None:
        """Nobody waits for them any more."""
        self._future.cancel()
        self._host.loop.call_soon_threadsafe(self._exchange.close)

    def _made(self, value: list[tuple[str, bytes]]) -> Value:
        return (HttpFields.received(value, self._host.http.held),) if value else None
