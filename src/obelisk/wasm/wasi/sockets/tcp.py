"""wasi:sockets/tcp: connections that a guest opens. It cannot listen.

Reading and writing are tried at once, on the guest's thread; what would block is waited for on the I/O loop. Only there are a
socket's readiness and what is still to be sent looked after.
"""

from __future__ import annotations

import asyncio
import select
import socket
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from enum import Enum
from functools import wraps
from typing import Any, Final

from obelisk.wasm.wasi.host import Answer, GuestTrap, Subscription, WasiFunction
from obelisk.wasm.wasi.io import CLOSED, IoError, failed
from obelisk.wasm.wasi.sockets.addresses import Family, endpoint, remote, socket_address
from obelisk.wasm.wasi.sockets.errors import ErrorCode, Refused, code_of, refusal
from obelisk.wasm.wasi.sockets.network import Network
from obelisk.wit.types import Value

CHUNK_MAX: Final = 64 << 10
"""Bytes that are read or written at once; a guest that wants more asks again."""
_SECOND_NS: Final = 1_000_000_000
_KEEP_ALIVE_S_MAX: Final = 32_767
_KEEP_ALIVE_COUNT_MAX: Final = 127
_BUFFER_MAX: Final = 2**30
_BUFFER_DOUBLED: Final = 2 if sys.platform == "linux" else 1
"""Linux tells twice the size that was asked for."""


class _State(Enum):
    NEW = "new"
    CONNECTING = "connecting"
    CONNECTED = "connected"
    CLOSED = "closed"


class _Side:
    """Readiness of one direction of a socket."""

    def __init__(
        self, system: socket.socket, loop: asyncio.AbstractEventLoop, event: int, watch: Any, unwatch: Any
    ) -> None:
        self._fd = system.fileno()
        self._loop = loop
        self._watch: Callable[..., None] = watch
        self._unwatch: Callable[[int], bool] = unwatch
        self._waiting: set[asyncio.Future[None]] = set()
        self._poll = select.poll()
        self._poll.register(self._fd, event)
        self._stopped = False

    def ready(self) -> bool:
        """Whether something can be done, if it is only to hear of an error."""
        return self._stopped or bool(self._poll.poll(0))

    async def wait(self) -> None:
        """Until it is ready; on the loop."""
        if self.ready():
            return
        future = self._loop.create_future()
        if not self._waiting:
            self._watch(self._fd, self._fire)
        self._waiting.add(future)
        try:
            await future
        finally:
            self._waiting.discard(future)
            if not self._waiting and not self._stopped:
                self._unwatch(self._fd)

    def stop(self) -> None:
        """The socket is about to be closed; on the loop if something waits."""
        if not self._stopped:
            self._stopped = True
            if self._waiting:
                self._unwatch(self._fd)
                self._fire()

    def _fire(self) -> None:
        for future in self._waiting:
            if not future.done():
                future.set_result(None)


class TcpSocket:
    """`tcp-socket`."""

    def __init__(self, network: Network, family: Family) -> None:
        """`Refused`, or `OSError`."""
        self.network = network
        self.family = family
        self.state = _State.NEW
        network.add(self)
        try:
            self.system = socket.socket(family.system, socket.SOCK_STREAM)
        except BaseException:
            network.discard(self)
            raise
        self.system.setblocking(False)
        if family is Family.IPV6:
            self.system.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        loop = network.loop
        self.incoming = _Side(self.system, loop, select.POLLIN, loop.add_reader, loop.remove_reader)
        self.outgoing = _Side(self.system, loop, select.POLLOUT, loop.add_writer, loop.remove_writer)
        self.input: TcpInput | None = None
        self.output: TcpOutput | None = None

    def ready(self) -> bool:
        """See `Pollable`: whether there is nothing that `finish-connect` would have to wait for."""
        return self.state is not _State.CONNECTING or self.outgoing.ready()

    async def wait(self) -> None:
        """See `Pollable`."""
        while not self.ready():
            await self.outgoing.wait()

    def close(self) -> None:
        """The guest has dropped it. What it wrote is still sent."""
        if self.output is not None and self.output.is_sending:
            self.network.spawn(self._close_later(self.output))
        else:
            self.close_now()

    def close_now(self) -> None:
        """Closes it; also more than once."""
        if self.state is not _State.CLOSED or self.system.fileno() >= 0:
            self.state = _State.CLOSED
            self.incoming.stop()
            self.outgoing.stop()
            self.system.close()
            self.network.discard(self)

    async def _close_later(self, output: TcpOutput) -> None:
        await output.wait()
        self.close_now()


class TcpInput:
    """`input-stream` of a connection."""

    def __init__(self, tcp: TcpSocket) -> None:
        self._tcp = tcp
        self._ended = False

    def read(self, length: int) -> Value:
        """What has come, perhaps nothing."""
        if self._ended:
            return CLOSED
        if length == 0:
            return True, b""
        try:
            data = self._tcp.system.recv(min(length, CHUNK_MAX))
        except BlockingIOError:
            return True, b""
        except OSError as error:
            self._ended = True
            return _failed(error)
        if not data:
            self._ended = True
            return CLOSED
        return True, data

    def blocking_read(self, length: int) -> Answer:
        """What has come, once something has."""
        return self.read(length) if length == 0 or self.ready() else self._read_later(length)

    def skip(self, length: int) -> Answer:
        """Reads without giving."""
        return _counted(self.read(length))

    def blocking_skip(self, length: int) -> Answer:
        """Reads without giving, once something has come."""
        return self.skip(length) if length == 0 or self.ready() else self._skip_later(length)

    def subscribe(self) -> Subscription:
        """Ready when something has come, or the end."""
        return Subscription(self)

    def ready(self) -> bool:
        """See `Pollable`."""
        return self._ended or self._tcp.incoming.ready()

    async def wait(self) -> None:
        """See `Pollable`."""
        while not self.ready():
            await self._tcp.incoming.wait()

    def end(self) -> None:
        """Nothing more is to be read."""
        self._ended = True

    async def _read_later(self, length: int) -> Value:
        await self.wait()
        return self.read(length)

    async def _skip_later(self, length: int) -> Value:
        await self.wait()
        return _counted(self.read(length))


def _counted(read: Value) -> Value:
    return (True, len(read[1])) if read[0] else read


class TcpOutput:
    """`output-stream` of a connection: takes a chunk at a time, the next one when that is with the system."""

    def __init__(self, tcp: TcpSocket) -> None:
        self._tcp = tcp
        self._left = memoryview(b"")
        self._ended = False
        self._shut_down = False
        self._error: OSError | None = None
        self._sent = asyncio.Event()
        self._sent.set()

    @property
    def is_sending(self) -> bool:
        """Whether there is something that the system has not taken."""
        return bool(self._left)

    def check_write(self) -> Value:
        """How much may be written."""
        if self._error is not None:
            error, self._error, self._ended = self._error, None, True
            return _failed(error)
        if self._ended:
            return CLOSED
        return True, 0 if self._left else CHUNK_MAX

    def write(self, data: bytes) -> Value:
        """Sends, as far as the system takes it at once; the rest is sent by the loop."""
        permit = self.check_write()
        if not permit[0]:
            return permit
        if len(data) > permit[1]:
            raise GuestTrap(f"{len(data)} bytes were written where {permit[1]} were permitted")
        if data:
            self._send(memoryview(data))
        return True, None

    def blocking_write(self, data: bytes) -> Answer:
        """Sends all of it."""
        if not self._left:
            written = self.write(data)
            if not written[0] or not self._left:
                return written
            return self._flush_later()
        return self._write_later(data)

    def flush(self) -> Value:
        """Nothing is kept that could be sent earlier; nothing may be written until it is sent."""
        permit = self.check_write()
        return (True, None) if permit[0] else permit

    def blocking_flush(self) -> Answer:
        """Until it is sent."""
        return self._flush_later() if self._left else self.flush()

    def subscribe(self) -> Subscription:
        """Ready when something may be written."""
        return Subscription(self)

    def ready(self) -> bool:
        """See `Pollable`."""
        return not self._left

    async def wait(self) -> None:
        """See `Pollable`."""
        while self._left:
            await self._sent.wait()

    def end(self) -> None:
        """Nothing more is to be written; the other side is told once all is sent."""
        self._ended = True
        self._shut_down = True
        if not self._left:
            self._tell_end()

    def _send(self, data: memoryview) -> None:
        try:
            sent = self._tcp.system.send(data)
        except BlockingIOError:
            sent = 0
        except OSError as error:
            self._error = error
            return
        if sent < len(data):
            self._sent.clear()
            self._left = data[sent:]
            self._tcp.network.spawn(self._send_rest())

    async def _send_rest(self) -> None:
        left = self._left
        try:
            while left:
                await self._tcp.outgoing.wait()
                try:
                    left = left[self._tcp.system.send(left) :]
                except BlockingIOError:
                    continue
        except OSError as error:
            self._error = error
        finally:
            self._left = memoryview(b"")
            self._sent.set()
        if self._shut_down:
            self._tell_end()

    def _tell_end(self) -> None:
        with suppress(OSError):  # it may be over anyway
            self._tcp.system.shutdown(socket.SHUT_WR)

    async def _write_later(self, data: bytes) -> Value:
        await self.wait()
        written = self.write(data)
        return await self._flush_later() if written[0] else written

    async def _flush_later(self) -> Value:
        await self.wait()
        return self.flush()


def _failed(error: OSError) -> Value:
    code = code_of(error)
    return failed(IoError(f"{code.name.lower().replace('_', '-')}: {error.strerror or error}", code))


# --- functions -------------------------------------------------------------------------------------------------------


def _function(act: Callable[..., Value]) -> WasiFunction:
    """The function that answers with what `act` returns, or with the code of what it raises."""
    name = act.__name__.strip("_").replace("_", "-")

    @wraps(act)
    def answer(host: Any, this: TcpSocket, *arguments: Value) -> Answer:
        try:
            return True, act(this, *arguments)
        except Refused as refused:
            this.network.tell(refused, name)
            return False, int(refused.code)
        except OSError as error:
            return False, int(code_of(error))

    return answer


def create(host: Any, family: int) -> Answer:
    """`create-tcp-socket`."""
    network: Network | None = getattr(host, "network", None)
    if network is None:
        return False, int(ErrorCode.ACCESS_DENIED)
    try:
        return True, TcpSocket(network, Family(family))
    except Refused as caught:
        refused = caught
    except OSError as error:
        refused = refusal(error)
    network.tell(refused, "create-tcp-socket")
    return False, int(refused.code)


def _must_be_new(this: TcpSocket) -> None:
    """`Refused` once it was used; before anything else is: what is wrong in any case is no matter of what is allowed."""
    match this.state:
        case _State.CONNECTING:
            raise Refused(ErrorCode.CONCURRENCY_CONFLICT)
        case _State.CONNECTED | _State.CLOSED:
            raise Refused(ErrorCode.INVALID_STATE)


def _start_connect(this: TcpSocket, network: Any, address: Value) -> Value:
    _must_be_new(this)
    there = remote(address, this.family)
    this.network.allow_connection(there)
    try:
        this.system.connect(there.system)
    except BlockingIOError:
        pass
    except OSError:
        this.state = _State.CLOSED
        raise
    this.state = _State.CONNECTING


def _finish_connect(this: TcpSocket) -> Value:
    if this.state is not _State.CONNECTING:
        raise Refused(ErrorCode.NOT_IN_PROGRESS)
    if not this.ready():
        raise Refused(ErrorCode.WOULD_BLOCK)
    problem = this.system.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    if problem:
        this.state = _State.CLOSED
        raise Refused(code_of(OSError(problem, "")))
    this.state = _State.CONNECTED
    this.input, this.output = TcpInput(this), TcpOutput(this)
    return this.input, this.output


def _start_bind(this: TcpSocket, network: Any, address: Value) -> Value:
    _must_be_new(this)
    if endpoint(address).family is not this.family:
        raise Refused(ErrorCode.INVALID_ARGUMENT)
    raise Refused(ErrorCode.ACCESS_DENIED, "an address cannot be chosen: guests only open connections")


def _start_listen(this: TcpSocket) -> Value:
    _must_be_new(this)
    raise Refused(ErrorCode.ACCESS_DENIED, "guests only open connections, they accept none")


def _not_in_progress(this: TcpSocket) -> Value:
    raise Refused(ErrorCode.NOT_IN_PROGRESS)


def _accept(this: TcpSocket) -> Value:
    raise Refused(ErrorCode.INVALID_STATE)


def _local_address(this: TcpSocket) -> Value:
    if this.state is _State.NEW:
        raise Refused(ErrorCode.INVALID_STATE)
    return socket_address(this.system.getsockname(), this.family)


def _remote_address(this: TcpSocket) -> Value:
    if this.state is not _State.CONNECTED:
        raise Refused(ErrorCode.INVALID_STATE)
    return socket_address(this.system.getpeername(), this.family)


def _is_listening(host: Any, this: TcpSocket) -> Answer:
    return False


def _address_family(host: Any, this: TcpSocket) -> Answer:
    return int(this.family)


def _subscribe(host: Any, this: TcpSocket) -> Answer:
    return Subscription(this)


def _shutdown(this: TcpSocket, how: int) -> Value:
    if this.input is None or this.output is None:
        raise Refused(ErrorCode.INVALID_STATE)
    receive, send, both = range(3)
    if how in {receive, both}:
        this.input.end()
    if how in {send, both}:
        this.output.end()


def _set_listen_backlog_size(this: TcpSocket, value: int) -> Value:
    raise Refused(ErrorCode.NOT_SUPPORTED if value else ErrorCode.INVALID_ARGUMENT)


def _reader(level: int, option: int, make: Callable[[int], Value]) -> WasiFunction:
    def option_value(this: TcpSocket) -> Value:
        return make(this.system.getsockopt(level, option))

    return _function(option_value)


def _writer(level: int, option: int, make: Callable[[Any], int]) -> WasiFunction:
    def set_option(this: TcpSocket, value: Any) -> Value:
        if value == 0 and value is not False:
            raise Refused(ErrorCode.INVALID_ARGUMENT)
        this.system.setsockopt(level, option, make(value))

    return _function(set_option)


def _hop_limit(this: TcpSocket) -> Value:
    return this.system.getsockopt(*_HOPS[this.family])


def _set_hop_limit(this: TcpSocket, value: int) -> Value:
    if value == 0:
        raise Refused(ErrorCode.INVALID_ARGUMENT)
    this.system.setsockopt(*_HOPS[this.family], value)


_HOPS: Final = {
    Family.IPV4: (socket.IPPROTO_IP, socket.IP_TTL),
    Family.IPV6: (socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS),
}
_IDLE: Final[int] = getattr(socket, "TCP_KEEPIDLE", getattr(socket, "TCP_KEEPALIVE", 0))


def _seconds(ns: int) -> int:
    return min(max(1, -(-ns // _SECOND_NS)), _KEEP_ALIVE_S_MAX)


def _nanoseconds(seconds: int) -> int:
    return seconds * _SECOND_NS


def _options() -> Mapping[str, WasiFunction]:
    functions: dict[str, WasiFunction] = {}
    for name, level, option, read, write in (
        ("keep-alive-enabled", socket.SOL_SOCKET, socket.SO_KEEPALIVE, bool, int),
        ("keep-alive-idle-time", socket.IPPROTO_TCP, _IDLE, _nanoseconds, _seconds),
        ("keep-alive-interval", socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, _nanoseconds, _seconds),
        ("keep-alive-count", socket.IPPROTO_TCP, socket.TCP_KEEPCNT, int, _keep_alive_count),
        ("receive-buffer-size", socket.SOL_SOCKET, socket.SO_RCVBUF, _told_size, _buffer_size),
        ("send-buffer-size", socket.SOL_SOCKET, socket.SO_SNDBUF, _told_size, _buffer_size),
    ):
        functions[name] = _reader(level, option, read)
        functions[f"set-{name}"] = _writer(level, option, write)
    return functions


def _keep_alive_count(value: int) -> int:
    return min(value, _KEEP_ALIVE_COUNT_MAX)


def _told_size(value: int) -> int:
    return value // _BUFFER_DOUBLED


def _buffer_size(value: int) -> int:
    return min(value, _BUFFER_MAX)


METHODS: Final[Mapping[str, WasiFunction]] = {
    "start-bind": _function(_start_bind),
    "finish-bind": _function(_not_in_progress),
    "start-connect": _function(_start_connect),
    "finish-connect": _function(_finish_connect),
    "start-listen": _function(_start_listen),
    "finish-listen": _function(_not_in_progress),
    "accept": _function(_accept),
    "local-address": _function(_local_address),
    "remote-address": _function(_remote_address),
    "is-listening": _is_listening,
    "address-family": _address_family,
    "set-listen-backlog-size": _function(_set_listen_backlog_size),
    **_options(),
    "hop-limit": _function(_hop_limit),
    "set-hop-limit": _function(_set_hop_limit),
    "subscribe": _subscribe,
    "shutdown": _function(_shutdown),
}
"""The methods of `tcp-socket`."""
