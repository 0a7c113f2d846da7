"""The request's half of an exchange: framed, secrets put in, written as fast as the server takes it.

Decides how the length of a body is told, where values stand for placeholders, and when a request can be sent once more. Used
on the loop only.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Final

import h11
import msgspec

from obelisk.core.egress import Permission, Place
from obelisk.wasm.wasi.http.body import Fields, RequestBody
from obelisk.wasm.wasi.http.connecting import Connection
from obelisk.wasm.wasi.http.failures import Code, HttpFailure, internal
from obelisk.wasm.wasi.http.limits import (
    BETWEEN_BYTES_TIMEOUT_S,
    CONNECT_TIMEOUT_S,
    FIRST_BYTE_TIMEOUT_S,
    FRAMING_WAIT_S,
    HELD_BODY_BYTES_MAX,
)
from obelisk.wasm.wasi.http.placeholders import (
    Placeholders,
    Replacer,
    basic_authorization,
    basic_credentials,
    encoder_of,
    in_url,
)

_log: Final = logging.getLogger(__name__)
_REPEATABLE: Final = frozenset({"GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"})
_WITH_BODY: Final = frozenset({"POST", "PUT", "PATCH"})


class Timeouts(msgspec.Struct, frozen=True):
    """How long each part may take, in seconds."""

    connect_s: float = CONNECT_TIMEOUT_S
    first_byte_s: float = FIRST_BYTE_TIMEOUT_S
    between_bytes_s: float = BETWEEN_BYTES_TIMEOUT_S


class Request(msgspec.Struct, frozen=True):
    """A request that may go out, as the guest made it: with placeholders, which may all be where they are."""

    permission: Permission
    headers: Fields
    """Without `Host` and those that frame the body."""
    body: RequestBody | None
    timeouts: Timeouts


class Sending:
    """Sends one request; once more on another connection as long as `may_repeat`."""

    def __init__(self, request: Request, placeholders: Placeholders) -> None:
        self._request = request
        self._placeholders = placeholders
        self._pieces = _Pieces(request.body, self._replacer())
        self._has_sent_body = False
        self.progress_at = 0.0
        """When the server last took a part of it, on the loop's clock."""
        self.is_complete = False

    @property
    def may_repeat(self) -> bool:
        """Whether nothing is lost, and nothing done twice, when it is sent again."""
        return not self._has_sent_body and self._request.permission.request.method in _REPEATABLE

    async def send(self, connection: Connection) -> None:
        """Sends all of it. A failure is told to the guest that writes the body; one of the connection itself is left to
        who reads from it: the server may have said why.
        """
        try:
            await self._send(connection)
            self.is_complete = True
        except HttpFailure as failure:
            if failure.code is not Code.CONNECTION_TERMINATED:
                connection.wire.abort(failure)
            elif not self.may_repeat and self._request.body is not None:
                self._request.body.abort(failure)
        except Exception:  # noqa: BLE001 - who reads must hear of it
            _log.exception("a request was ended by an error of the host")
            connection.wire.abort(internal("an error of the host"))

    async def _send(self, connection: Connection) -> None:
        http, body = connection.http, self._request.body
        headers, has_body = await self._framed()
        try:
            method = self._request.permission.request.method
            await self._write(connection, http.send(h11.Request(method=method, target=self._target(), headers=headers)))
            while has_body and (piece := await self._pieces.next()):
                self._has_sent_body = True
                await self._write(connection, http.send(h11.Data(data=piece)))
            trailers = self._resolved(body.trailers) if has_body and body is not None else []
            await self._write(connection, http.send(h11.EndOfMessage(headers=trailers)))
        except h11.LocalProtocolError as error:
            # What h11 quotes may have secrets in it.
            raise internal(f"the request is not HTTP: {str(error).partition(':')[0]}") from None

    async def _write(self, connection: Connection, data: bytes | None) -> None:
        timeout_s = self._request.timeouts.between_bytes_s
        try:
            async with asyncio.timeout(timeout_s):
                await connection.wire.write(data or b"")
        except TimeoutError:
            raise HttpFailure(
                Code.CONNECTION_WRITE_TIMEOUT, f"the server took nothing of the request for {timeout_s:g} s"
            ) from None
        self.progress_at = asyncio.get_running_loop().time()

    async def _framed(self) -> tuple[list[tuple[bytes, bytes]], bool]:
        """The headers as they are sent, and whether a body follows."""
        body = self._request.body
        request = self._request.permission.request
        headers = [(b"Host", request.authority.encode()), *self._resolved(self._request.headers)]
        length = 0 if body is None else body.declared
        is_empty = body is None
        if body is not None and length is not None and self._pieces.replaces:
            length = await self._pieces.hold() if length <= HELD_BODY_BYTES_MAX else None
        elif body is not None and length is None:
            is_empty = await self._pieces.first_within(FRAMING_WAIT_S) == b"" and not body.trailers
        if not is_empty:
            headers.append(_framing(length))
        elif request.method in _WITH_BODY:
            headers.append(_framing(0))
        return headers, not is_empty

    def _target(self) -> bytes:
        path, question, query = self._request.permission.request.path_with_query.encode().partition(b"?")
        return path + question + self._placeholders.resolve(query, in_url)

    def _resolved(self, fields: Fields) -> list[tuple[bytes, bytes]]:
        if not self._placeholders:
            return [(name.encode(), value.strip(b" \t")) for name, value in fields]
        return [(name.encode(), self._value(name, value.strip(b" \t"))) for name, value in fields]

    def _value(self, name: str, value: bytes) -> bytes:
        credentials = basic_credentials(value) if name.lower() == "authorization" else None
        if credentials is not None and self._placeholders.names_in(credentials):
            return basic_authorization(self._placeholders.resolve(credentials))
        return self._placeholders.resolve(value)

    def _replacer(self) -> Replacer | None:
        """What puts secrets into the body; None: nothing does."""
        permission = self._request.permission
        names = {name for name in self._placeholders.environment if permission.may_carry(name, Place.BODY)}
        if not names:
            return None
        kinds = [value for name, value in self._request.headers if name.lower() == "content-type"]
        return self._placeholders.on_the_way_out(names, encoder_of(kinds[0] if kinds else b""))


class _Pieces:
    """A body as it is sent. What was looked at ahead is still there when the request is sent again."""

    def __init__(self, body: RequestBody | None, replacer: Replacer | None) -> None:
        self._body = body
        self._replacer = replacer
        self._ahead: bytes | None = None
        self._held: list[bytes] = []
        self._is_at_end = body is None

    @property
    def replaces(self) -> bool:
        return self._replacer is not None

    async def next(self) -> bytes:
        """The next piece; empty at the end."""
        piece, self._ahead = await self._peek(), None
        return piece

    async def first_within(self, seconds: float) -> bytes | None:
        """The piece that comes next, if it is there in time."""
        try:
            async with asyncio.timeout(seconds):
                return await self._peek()
        except TimeoutError:
            return None

    async def hold(self) -> int:
        """Takes all of it ahead; its length. Goes on where it was when it was cut off."""
        while piece := await self._take():
            self._held.append(piece)
        self._ahead = b"".join(self._held)
        return len(self._ahead)

    async def _peek(self) -> bytes:
        if self._ahead is None:
            self._ahead = await self._take()
        return self._ahead

    async def _take(self) -> bytes:
        while not self._is_at_end:
            assert self._body is not None
            piece = await self._body.next()
            self._is_at_end = not piece
            if self._replacer is None:
                return piece
            piece = self._replacer.feed(piece) if piece else self._replacer.end()
            if piece:
                return piece
        return b""


def _framing(length: int | None) -> tuple[bytes, bytes]:
    if length is None:
        return b"Transfer-Encoding", b"chunked"
    return b"Content-Length", str(length).encode()
