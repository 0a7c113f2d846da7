"""One request and its response.

Decides when a connection that was used before is replaced by a new one, how long the server may take, and as what a response
that does not keep to the protocol fails. Follows no redirects. Used on the loop only.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Final

import h11

from obelisk.wasm.wasi.http.body import Fields
from obelisk.wasm.wasi.http.connecting import Connection, Connections
from obelisk.wasm.wasi.http.failures import Code, HttpFailure
from obelisk.wasm.wasi.http.limits import HEADER_BYTES_MAX, INFORMATIONAL_MAX, PIECE_BYTES
from obelisk.wasm.wasi.http.placeholders import Placeholders
from obelisk.wasm.wasi.http.records import Record
from obelisk.wasm.wasi.http.sending import Request, Sending

_SWITCHING_PROTOCOLS: Final = 101
_Message = h11.InformationalResponse | h11.Response | h11.Data | h11.EndOfMessage


class Exchange:
    """`respond` once, then the response's body; `close` at the end, or at any time."""

    def __init__(self, connections: Connections, request: Request, placeholders: Placeholders, record: Record) -> None:
        self._connections = connections
        self._request = request
        self._placeholders = placeholders
        self._record = record
        self._basic = placeholders.basic_in(request.headers)
        self._incoming = placeholders.on_the_way_in(self._basic)
        self._sending = Sending(request, placeholders)
        self._sender: asyncio.Task[None] | None = None
        self._connection: Connection | None = None
        self._has_heard = False
        self._is_at_eof = False
        self._ahead = b""
        self._is_over = False
        self._failure: HttpFailure | None = None
        self.on_end: Callable[[Exchange], None] = _nothing
        """Called once it needs no connection any more."""
        self.status = 0
        self.headers: Fields = []
        """Of the response, with placeholders where the server sent values back."""
        self.trailers: Fields = []
        """What followed the response's body, once that has ended."""
        self.has_ended = False
        """Whether the response's body has come to its end."""

    async def respond(self) -> Exchange:
        """Sends the request and waits for the head of the response. `HttpFailure`."""
        try:
            head = await self._first_head()
            self.status = self._record.status = head.status_code
            self.headers = self._fields(head.headers)
            if self._has_no_body(head):
                await self._next_piece()
        except HttpFailure as failure:
            self.fail(failure)
            raise
        except BaseException:
            self.close()
            raise
        return self

    async def fetch(self, limit: int) -> bytes:
        """The next bytes of the response's body, at most `limit`; empty at the end. `HttpFailure`."""
        try:
            while not self._ahead and not self.has_ended:
                if self._failure is not None:
                    raise self._failure
                self._ahead = await self._next_piece()
        except HttpFailure as failure:
            self.fail(failure)
            raise
        except BaseException:
            self.close()
            raise
        data, self._ahead = self._ahead[:limit], self._ahead[limit:]
        return data

    async def rest(self) -> Fields:
        """Lets go of what is left of the body, and waits for the trailers. `HttpFailure`."""
        while await self.fetch(PIECE_BYTES):
            pass
        return self.trailers

    def close(self, failure: HttpFailure | None = None) -> None:
        """Nobody wants the rest: the socket is closed, unless all has come. Also more than once."""
        if self._is_over:
            return
        self._is_over = True
        why = self._failure = failure or HttpFailure(Code.CONNECTION_TERMINATED, "the request was given up")
        if self._request.body is not None:
            self._request.body.abort(why)
        if self._sender is not None:
            self._sender.cancel()
        if self._connection is not None:
            self._connection.close(why)
        self._record.close()
        self.on_end(self)

    def fail(self, failure: HttpFailure) -> None:
        """Ends it, and records why."""
        self._record.fail(self._placeholders.shown(failure.text))
        self.close(failure)

    # --- the head ----------------------------------------------------------------------------------------------------

    async def _first_head(self) -> h11.Response:
        permission = self._request.permission
        kept = self._connections.take(permission)
        if kept is not None:
            try:
                return await self._head_on(kept)
            except HttpFailure as failure:
                # Servers close connections that are idle, sometimes just when a request is on its way.
                if failure.code is not Code.CONNECTION_TERMINATED or self._has_heard or not self._sending.may_repeat:
                    raise
                kept.close()
                self._is_at_eof = False
        return await self._head_on(await self._connections.connect(permission, self._request.timeouts.connect_s))

    async def _head_on(self, connection: Connection) -> h11.Response:
        self._connection = connection
        self._sending.progress_at = asyncio.get_running_loop().time()
        self._sender = asyncio.create_task(self._sending.send(connection))
        try:
            for _ in range(INFORMATIONAL_MAX + 1):
                event = await self._event(connection, self._first_byte_left)
                if isinstance(event, h11.Response):
                    return event
                if event.status_code == _SWITCHING_PROTOCOLS:  # type: ignore[union-attr]
                    break
        except BaseException:
            self._sender.cancel()
            raise
        raise HttpFailure(
            Code.HTTP_PROTOCOL_ERROR, f"the server sent more than {INFORMATIONAL_MAX} responses 1xx, or 101"
        )

    def _first_byte_left(self) -> float:
        elapsed = asyncio.get_running_loop().time() - self._sending.progress_at
        return self._request.timeouts.first_byte_s - elapsed

    def _has_no_body(self, head: h11.Response) -> bool:
        if self._request.permission.request.method == "HEAD" or head.status_code in {204, 304}:
            return True
        return any(name == b"content-length" and value == b"0" for name, value in head.headers)

    # --- the body ----------------------------------------------------------------------------------------------------

    async def _next_piece(self) -> bytes:
        """What comes next; empty at the end, and where a piece is held back."""
        connection = self._connection
        assert connection is not None
        left = self._request.timeouts.between_bytes_s
        event = await self._event(connection, _counting_down(left))
        if isinstance(event, h11.Data):
            return self._incoming.feed(bytes(event.data))
        if isinstance(event, h11.EndOfMessage):
            self.trailers = self._fields(event.headers)
            self._end(connection)
        return self._incoming.end()

    def _end(self, connection: Connection) -> None:
        self.has_ended = self._is_over = True
        self._record.close()
        self.on_end(self)
        if self._sending.is_complete:
            connection.release()
            return
        assert self._sender is not None
        self._sender.cancel()
        why = HttpFailure(Code.CONNECTION_TERMINATED, "the server answered before it had all of the request")
        if self._request.body is not None:
            self._request.body.abort(why)
        connection.close(why)

    def _fields(self, headers: Iterable[tuple[bytes, bytes]]) -> Fields:
        hide, basic = self._placeholders.hide, self._basic
        return [(name.decode("ascii"), hide(value, basic) if self._placeholders else value) for name, value in headers]

    # --- events ------------------------------------------------------------------------------------------------------

    async def _event(self, connection: Connection, left: Callable[[], float]) -> _Message:
        http = connection.http
        while True:
            try:
                event = http.next_event()
            except h11.RemoteProtocolError as error:
                raise self._malformed(error, http.their_state) from None
            if event is h11.NEED_DATA:
                data = await self._read(connection, left)
                self._has_heard = self._has_heard or bool(data)
                self._is_at_eof = not data
                http.receive_data(data)
            elif isinstance(event, _Message):
                return event
            else:  # before all of the request was sent
                code = Code.HTTP_RESPONSE_INCOMPLETE if self._has_heard else Code.CONNECTION_TERMINATED
                raise HttpFailure(code, "the server closed the connection")

    async def _read(self, connection: Connection, left: Callable[[], float]) -> bytes:
        while (seconds := left()) > 0:
            try:
                async with asyncio.timeout(seconds):
                    return await connection.wire.read()
            except TimeoutError:
                continue  # the request may have got on in the meantime
        raise HttpFailure(Code.CONNECTION_READ_TIMEOUT, "nothing came from the server within the time for it")

    def _malformed(self, error: h11.RemoteProtocolError, state: object) -> HttpFailure:
        """What a response that cannot be read fails as."""
        if self._is_at_eof and not self._has_heard:
            return HttpFailure(Code.CONNECTION_TERMINATED, "the server closed the connection without a response")
        if self._is_at_eof:
            return HttpFailure(Code.HTTP_RESPONSE_INCOMPLETE, _told(error))
        if error.error_status_hint == 431:
            if self.status:
                return HttpFailure(
                    Code.HTTP_RESPONSE_TRAILER_SECTION_SIZE,
                    f"the trailers are longer than {HEADER_BYTES_MAX} bytes",
                    (HEADER_BYTES_MAX,),
                )
            return HttpFailure(
                Code.HTTP_RESPONSE_HEADER_SECTION_SIZE,
                f"the headers are longer than {HEADER_BYTES_MAX} bytes",
                (HEADER_BYTES_MAX,),
            )
        if error.error_status_hint == 501:
            return HttpFailure(Code.HTTP_RESPONSE_TRANSFER_CODING, _told(error))
        return HttpFailure(Code.HTTP_PROTOCOL_ERROR, f"the response is not HTTP: {_told(error)}")


def _told(error: h11.RemoteProtocolError) -> str:
    """Without what it quotes: a server may have sent a secret back, and in a quotation it would not be found."""
    return str(error).partition(":")[0]


def _nothing(_exchange: Exchange) -> None:
    pass


def _counting_down(seconds: float) -> Callable[[], float]:
    loop = asyncio.get_running_loop()
    end = loop.time() + seconds
    return lambda: end - loop.time()
