"""Connections to servers: names are looked up, addresses held against the policy, sockets opened, kept and used again.

Decides to which address a request goes. A name is looked up once for a request, and the connection is made to an address
that was looked at: there is no second look-up that could tell something else. A connection that is used again goes to an
address that was looked at once more, for the request that uses it. Used on the loop only.
"""

from __future__ import annotations

import asyncio
import errno
import resource
import socket
import ssl
from collections.abc import Sequence
from typing import Final, Protocol

import h11

from obelisk.core.egress import Permission, address_of
from obelisk.wasm.wasi.http.failures import Code, HttpFailure
from obelisk.wasm.wasi.http.limits import CONNECTIONS_RESERVE, HEADER_BYTES_MAX, IDLE_MAX, IDLE_S
from obelisk.wasm.wasi.http.wire import Wire
from obelisk.wasm.wasi.lookups import PROCESS

_NOT_FOUND: Final = (socket.EAI_NONAME, socket.EAI_NODATA)
_UNROUTABLE: Final = (errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)
_NO_ROOM: Final = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)

Key = tuple[str, str, int]
"""Scheme, host and port."""


class Resolver(Protocol):
    """Looks names up."""

    async def resolve(self, host: str) -> Sequence[str]:
        """The addresses of a name, at least one. `HttpFailure`."""
        ...


class SystemResolver:
    """The system's. Those who ask for the same name at the same time get one answer."""

    def __init__(self) -> None:
        self._asked: dict[str, asyncio.Task[tuple[str, ...] | HttpFailure]] = {}

    async def resolve(self, host: str) -> Sequence[str]:
        """The addresses, in the system's order."""
        task = self._asked.get(host)
        if task is None:
            task = self._asked[host] = asyncio.create_task(self._ask(host))
        answer = await asyncio.shield(task)
        if isinstance(answer, HttpFailure):
            raise HttpFailure(answer.code, str(answer), answer.payload)
        return answer

    async def _ask(self, host: str) -> tuple[str, ...] | HttpFailure:
        try:
            return await asyncio.wrap_future(PROCESS.ask(host))
        except OSError as error:
            is_unknown = isinstance(error, socket.gaierror) and error.errno in _NOT_FOUND
            rcode = "NXDOMAIN" if is_unknown else "SERVFAIL"
            return HttpFailure(Code.DNS_ERROR, f"{host} cannot be looked up: {error.strerror}", ((rcode,), None))
        except UnicodeError as error:
            return HttpFailure(Code.DNS_ERROR, f"{host} cannot be looked up: {error}", (("NXDOMAIN",), None))
        finally:
            del self._asked[host]


class Connection:
    """An open connection: to whom, and where its HTTP is. At most one exchange uses it."""

    __slots__ = ("_connections", "_is_open", "address", "http", "key", "wire")

    def __init__(self, connections: Connections, key: Key, address: str, wire: Wire) -> None:
        self._connections = connections
        self._is_open = True
        self.key = key
        self.address = address
        self.wire = wire
        self.http = h11.Connection(h11.CLIENT, max_incomplete_event_size=HEADER_BYTES_MAX)

    def release(self) -> None:
        """The exchange is over: kept for another one where both sides can go on, else closed."""
        http = self.http
        if http.our_state is h11.DONE and http.their_state is h11.DONE and not http.trailing_data[0] and self._is_open:
            http.start_next_cycle()
            if self.wire.is_quiet and self._connections.keep(self):
                return
        self.close()

    def close(self, failure: HttpFailure | None = None) -> None:
        """Closes the socket at once. Also more than once."""
        self.wire.abort(failure)
        if self._is_open:
            self._is_open = False
            self._connections.closed()


class Connections:
    """All connections of a process. `tls`: None: the system's trust. `connections_max`: None: as many as there are file
    descriptors for.
    """

    def __init__(
        self,
        resolver: Resolver | None = None,
        tls: ssl.SSLContext | None = None,
        connections_max: int | None = None,
    ) -> None:
        self._resolver = resolver or SystemResolver()
        self._tls = tls
        self._room = asyncio.Semaphore(_connections_max() if connections_max is None else connections_max)
        self._idle: dict[Connection, asyncio.TimerHandle] = {}

    def take(self, permission: Permission) -> Connection | None:
        """A connection that was kept, to a server that the request may go to."""
        request = permission.request
        key = (request.scheme, request.host, request.port)
        for connection in reversed(self._idle):
            if connection.key == key and permission.reaches(connection.address):
                self._idle.pop(connection).cancel()
                if connection.wire.is_quiet:
                    return connection
                connection.close()
                return self.take(permission)
        return None

    def keep(self, connection: Connection) -> bool:
        """Keeps a connection for a while; False: there is no room."""
        if self._room.locked():
            return False  # others wait for room
        if len(self._idle) >= IDLE_MAX:
            self._forget(next(iter(self._idle)))
        loop = asyncio.get_running_loop()
        self._idle[connection] = loop.call_later(IDLE_S, self._forget, connection)
        return True

    def closed(self) -> None:
        """A connection was closed."""
        self._room.release()

    def close(self) -> None:
        """Closes those that were kept."""
        for connection in list(self._idle):
            self._forget(connection)

    def _forget(self, connection: Connection) -> None:
        self._idle.pop(connection).cancel()
        connection.close()

    async def connect(self, permission: Permission, timeout_s: float) -> Connection:
        """A new connection to one of the addresses of the request's host that it may go to. `HttpFailure`."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout_s
        host = permission.request.host
        try:
            async with asyncio.timeout_at(deadline):
                found = [host] if address_of(host) else await self._resolver.resolve(host)
        except TimeoutError:
            raise HttpFailure(Code.DNS_TIMEOUT, f"{host} was not looked up within {timeout_s:g} s") from None
        addresses = [address for address in found if permission.reaches(address)]
        if not addresses:
            raise HttpFailure(Code.DESTINATION_IP_PROHIBITED, permission.unreachable(found))
        failure: HttpFailure | None = None
        for index, address in enumerate(addresses):
            left = deadline - loop.time()
            try:
                async with asyncio.timeout(left / (len(addresses) - index)):
                    return await self._open(permission, address)
            except TimeoutError:
                failure = HttpFailure(Code.CONNECTION_TIMEOUT, f"{address} did not answer within {timeout_s:g} s")
            except HttpFailure as problem:
                failure = problem
        assert failure is not None
        raise failure

    async def _open(self, permission: Permission, address: str) -> Connection:
        if self._room.locked() and self._idle:
            self._forget(next(iter(self._idle)))
        await self._room.acquire()
        try:
            return await self._opened(permission, address)
        except BaseException:
            self._room.release()
            raise

    async def _opened(self, permission: Permission, address: str) -> Connection:
        request = permission.request
        wire = Wire()
        secure = request.scheme == "https"
        try:
            await asyncio.get_running_loop().create_connection(
                lambda: wire,
                address,
                request.port,
                ssl=self._context() if secure else None,
                server_hostname=request.host if secure else None,
            )
        except ssl.SSLCertVerificationError as error:
            raise HttpFailure(Code.TLS_CERTIFICATE_ERROR, f"{request.authority}: {error.verify_message}") from None
        except ssl.SSLError as error:
            raise HttpFailure(Code.TLS_PROTOCOL_ERROR, f"{request.authority}: {error.reason}") from None
        except OSError as error:
            raise _not_connected(error, f"{request.authority} ({address})") from None
        except BaseException:
            wire.abort()
            raise
        return Connection(self, (request.scheme, request.host, request.port), address, wire)

    def _context(self) -> ssl.SSLContext:
        if self._tls is None:
            self._tls = ssl.create_default_context()
            self._tls.set_alpn_protocols(["http/1.1"])
        return self._tls


def _not_connected(error: OSError, where: str) -> HttpFailure:
    what = f"{where}: {error.strerror or error}"
    if isinstance(error, ConnectionRefusedError):
        return HttpFailure(Code.CONNECTION_REFUSED, what)
    if isinstance(error, ConnectionError):
        return HttpFailure(Code.CONNECTION_TERMINATED, what)
    if error.errno in _UNROUTABLE:
        return HttpFailure(Code.DESTINATION_IP_UNROUTABLE, what)
    if error.errno in _NO_ROOM:
        return HttpFailure(Code.CONNECTION_LIMIT_REACHED, what)
    return HttpFailure(Code.DESTINATION_UNAVAILABLE, what)


def _connections_max() -> int:
    soft, _hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    return max(soft - CONNECTIONS_RESERVE, CONNECTIONS_RESERVE)
