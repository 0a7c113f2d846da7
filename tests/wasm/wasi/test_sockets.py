"""wasi:sockets as its functions are called, against servers on this machine."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import struct
import threading
import time
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest

from obelisk.core.tcp import parse_target
from obelisk.wasm.wasi.host import GuestTrap, is_later
from obelisk.wasm.wasi.room import Room
from obelisk.wasm.wasi.sockets import FUNCTIONS, ErrorCode, Network
from obelisk.wasm.wasi.sockets.network import EVENTS_MAX, LOOKUPS_MAX, SOCKETS_MAX

V4, V6 = 0, 1
CLOSED = (False, (1, None))
NETWORK = SimpleNamespace()
"""What a guest shows for its network."""


class Refused(AssertionError):
    def __init__(self, code: int) -> None:
        super().__init__(ErrorCode(code).name)


def refuses(code: ErrorCode) -> Any:
    return pytest.raises(Refused, match=f"^{code.name}$")


class Guest:
    """Calls functions as a guest does: on a thread that is not the loop's. A result that is an error is raised."""

    check: Any = None

    def __init__(self, loop: asyncio.AbstractEventLoop, *allowed: str, names: dict[str, Any] | None = None) -> None:
        self.loop = loop
        self.events: list[str] = []
        self.names = names or {}
        self.asked: list[str] = []
        self.room = Room(1_000)
        targets = [parse_target(text) for text in allowed]
        self.network = Network(targets, self.events.append, loop, self.spawn, self.room, self.resolve)
        self.host = SimpleNamespace(network=self.network)

    def spawn(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop)

    async def resolve(self, name: str) -> Sequence[str]:
        self.asked.append(name)
        found = self.names[name]
        if isinstance(found, BaseException):
            raise found
        if isinstance(found, asyncio.Event):
            await found.wait()
            return []
        return list(found)

    def wait(self, answer: Any) -> Any:
        return self.spawn(answer).result(60) if is_later(answer) else answer

    def value(self, answer: Any) -> Any:
        ok, value = self.wait(answer)
        if not ok:
            raise Refused(value)
        return value

    def function(self, interface: str, function: str, *arguments: Any) -> Any:
        answer = FUNCTIONS[f"wasi:sockets/{interface}"][function](self.host, *arguments)
        if self.check is not None:
            self.check(f"wasi:sockets/{interface}", function, arguments, answer)
        return answer

    def __call__(self, method: str, this: Any, *arguments: Any) -> Any:
        answer = self.function("tcp", f"[method]tcp-socket.{method}", this, *arguments)
        return self.value(answer) if isinstance(answer, tuple) else answer

    def socket(self, family: int = V4) -> Any:
        return self.value(self.function("tcp-create-socket", "create-tcp-socket", family))

    def connect(self, port: int, family: int = V4) -> Any:
        made = self.socket(family)
        self("start-connect", made, NETWORK, loopback(port, family))
        self.wait(self("subscribe", made).wait())
        return made, *self("finish-connect", made)

    def look_up(self, name: str) -> Any:
        return self.value(self.function("ip-name-lookup", "resolve-addresses", NETWORK, name))

    def next_address(self, stream: Any) -> Any:
        return self.value(
            self.function("ip-name-lookup", "[method]resolve-address-stream.resolve-next-address", stream)
        )

    def addresses(self, name: str) -> list[Any]:
        stream = self.look_up(name)
        self.wait(self.function("ip-name-lookup", "[method]resolve-address-stream.subscribe", stream).wait())
        found = []
        while (address := self.next_address(stream)) is not None:
            found.append(address[0])
        return found

    def close(self) -> None:
        done = threading.Event()
        self.loop.call_soon_threadsafe(lambda: (self.network.close(), done.set()))
        assert done.wait(60)
        assert self.room.count == 0


def loopback(port: int, family: int = V4) -> Any:
    return (0, (port, (127, 0, 0, 1))) if family == V4 else (1, (port, 0, (0,) * 7 + (1,), 0))


@pytest.fixture(autouse=True)
def checked(fixture_module: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    fixture_module("components")
    monkeypatch.setattr(Guest, "check", staticmethod(fixture_module("signatures").check_call))


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    yield loop
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


@pytest.fixture
def make(loop: asyncio.AbstractEventLoop) -> Iterator[Callable[..., Guest]]:
    made: list[Guest] = []

    def make(*allowed: str, **options: Any) -> Guest:
        made.append(Guest(loop, *allowed, **options))
        return made[-1]

    yield make
    for each in made:
        each.close()


@contextmanager
def listening(serve: Callable[[socket.socket], None], family: int = socket.AF_INET) -> Iterator[int]:
    """A server that serves one connection on a thread of its own; its port."""
    with socket.socket(family) as server:
        server.bind(("127.0.0.1" if family == socket.AF_INET else "::1", 0))
        server.listen()

        def run() -> None:
            connection, _ = server.accept()
            with connection:
                serve(connection)

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        yield server.getsockname()[1]
        thread.join(60)


def echo(connection: socket.socket) -> None:
    while data := connection.recv(1 << 16):
        connection.sendall(data)


# --- without a network -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("host", [SimpleNamespace(), SimpleNamespace(network=None)])
def test_a_run_without_a_network_is_denied_everything(host: Any) -> None:
    denied = (False, ErrorCode.ACCESS_DENIED)
    assert FUNCTIONS["wasi:sockets/instance-network"]["instance-network"](host) is not None
    assert FUNCTIONS["wasi:sockets/tcp-create-socket"]["create-tcp-socket"](host, V4) == denied
    assert FUNCTIONS["wasi:sockets/udp-create-socket"]["create-udp-socket"](host, V4) == denied
    assert FUNCTIONS["wasi:sockets/ip-name-lookup"]["resolve-addresses"](host, None, "127.0.0.1") == denied


def test_there_is_no_udp(make: Any) -> None:
    with refuses(ErrorCode.NOT_SUPPORTED):
        make("*:*").value(make().function("udp-create-socket", "create-udp-socket", V4))
    with pytest.raises(GuestTrap, match="no UDP socket"):
        make().function("udp", "[method]udp-socket.subscribe", NETWORK)


# --- policy ----------------------------------------------------------------------------------------------------------


def test_what_is_not_allowed_is_told_with_the_entry_that_is_missing(make: Any) -> None:
    guest = make("db.example.com:1", names={"db.example.com": ["93.184.215.14", "10.0.0.1"]})
    with refuses(ErrorCode.ACCESS_DENIED):
        guest("start-connect", guest.socket(), NETWORK, (0, (5432, (10, 1, 2, 3))))
    with refuses(ErrorCode.ACCESS_DENIED):
        guest("start-connect", guest.socket(V6), NETWORK, loopback(80, V6))
    with refuses(ErrorCode.ACCESS_DENIED):
        guest.look_up("Other.example.com.")
    assert guest.addresses("db.example.com") == [(0, (93, 184, 215, 14)), (0, (10, 0, 0, 1))]
    with refuses(ErrorCode.ACCESS_DENIED):
        guest("start-connect", guest.socket(), NETWORK, (0, (443, (93, 184, 215, 14))))
    with refuses(ErrorCode.ACCESS_DENIED):
        guest("start-connect", guest.socket(), NETWORK, (0, (1, (10, 0, 0, 1))))
    assert guest.asked == ["db.example.com"]
    one, six, name, port, private = guest.events
    assert one == (
        "wasi:sockets start-connect: a connection to 10.1.2.3:5432 is not allowed: no entry of allowed_tcp has 10.1.2.3:5432;"
        ' if one should, add "10.1.2.3:5432": access-denied'
    )
    assert 'add "[::1]:80"' in six
    assert name == (
        "wasi:sockets resolve-addresses: the name other.example.com may not be looked up: no entry of allowed_tcp is about it;"
        ' if it should be, add "other.example.com:PORT": access-denied'
    )
    assert 'add "db.example.com:443"' in port
    assert "db.example.com leads there, which is not a public address, and" in private
    assert 'add "10.0.0.1:1"' in private


def test_a_flood_of_refusals_is_not_a_flood_of_lines(make: Any) -> None:
    guest = make()
    made = guest.socket()
    for _ in range(EVENTS_MAX + 10):
        with refuses(ErrorCode.ACCESS_DENIED):
            guest("start-connect", made, NETWORK, loopback(1))
    assert len(guest.events) == EVENTS_MAX + 1


def test_nobody_can_be_at_such_an_address(make: Any) -> None:
    guest = make("*:*", "0.0.0.0/0:*", "[::]/0:*")
    four, six = guest.socket(V4), guest.socket(V6)
    for made, address in (
        (four, (0, (80, (0, 0, 0, 0)))),
        (four, (0, (0, (127, 0, 0, 1)))),
        (four, (0, (80, (224, 0, 0, 1)))),
        (four, loopback(80, V6)),
        (six, loopback(80, V4)),
        (six, (1, (80, 0, (0,) * 8, 0))),
        (six, (1, (80, 0, (0, 0, 0, 0, 0, 0xFFFF, 0x7F00, 1), 0))),
        (six, (1, (80, 0, (0xFF02, 0, 0, 0, 0, 0, 0, 1), 0))),
    ):
        with refuses(ErrorCode.INVALID_ARGUMENT):
            guest("start-connect", made, NETWORK, address)


def test_guests_do_not_listen(make: Any) -> None:
    guest = make("*:*")
    made = guest.socket()
    for method, *arguments in (("start-bind", NETWORK, loopback(0)), ("start-listen",)):
        with refuses(ErrorCode.ACCESS_DENIED):
            guest(method, made, *arguments)
    for method in ("finish-bind", "finish-listen", "finish-connect"):
        with refuses(ErrorCode.NOT_IN_PROGRESS):
            guest(method, made)
    for method in ("accept", "local-address", "remote-address"):
        with refuses(ErrorCode.INVALID_STATE):
            guest(method, made)
    with refuses(ErrorCode.INVALID_STATE):
        guest("shutdown", made, 2)
    assert guest("is-listening", made) is False
    assert len(guest.events) == 2


def test_what_is_wrong_in_any_case_is_told_before_what_is_not_allowed(make: Any) -> None:
    guest = make("*:*", "127.0.0.1:*")
    made = guest.socket()
    with refuses(ErrorCode.INVALID_ARGUMENT):
        guest("start-bind", made, NETWORK, (1, (80, 0, (0, 0, 0, 0, 0, 0, 0, 1), 0)))
    with socket.create_server(("127.0.0.1", 0)) as listening:
        guest("start-connect", made, NETWORK, loopback(listening.getsockname()[1]))
        for method, *arguments in (("start-bind", NETWORK, loopback(0)), ("start-listen",)):
            with refuses(ErrorCode.CONCURRENCY_CONFLICT):
                guest(method, made, *arguments)
        guest.wait(guest("subscribe", made).wait())
        guest("finish-connect", made)
        for method, *arguments in (("start-bind", NETWORK, loopback(0)), ("start-listen",)):
            with refuses(ErrorCode.INVALID_STATE):
                guest(method, made, *arguments)
    assert guest.events == []


# --- names -----------------------------------------------------------------------------------------------------------


def test_an_address_is_not_looked_up(make: Any) -> None:
    guest = make()
    assert guest.addresses("127.0.0.1") == [(0, (127, 0, 0, 1))]
    assert guest.addresses("2001:db8::7") == [(1, (0x2001, 0xDB8, 0, 0, 0, 0, 0, 7))]
    assert guest.asked == guest.events == []


def test_what_is_no_name(make: Any) -> None:
    guest = make("*:*")
    for text in ("", "a b", "[::1]", "fe80::1%eth0", "a..b", "x" * 300, "a\0b", "a/b", "\ud7ff" * 70):
        with refuses(ErrorCode.INVALID_ARGUMENT):
            guest.look_up(text)
    assert guest.asked == []


def test_names_are_looked_up_in_ascii(make: Any) -> None:
    guest = make("*:*", names={"xn--bcher-kva.example": ["93.184.215.14"]})
    assert guest.addresses("Bücher.example") == [(0, (93, 184, 215, 14))]


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (socket.gaierror(socket.EAI_NONAME, "x"), ErrorCode.NAME_UNRESOLVABLE),
        (socket.gaierror(socket.EAI_AGAIN, "x"), ErrorCode.TEMPORARY_RESOLVER_FAILURE),
        (socket.gaierror(socket.EAI_FAIL, "x"), ErrorCode.PERMANENT_RESOLVER_FAILURE),
        (socket.gaierror(socket.EAI_SYSTEM, "x"), ErrorCode.PERMANENT_RESOLVER_FAILURE),
        (UnicodeError("x"), ErrorCode.INVALID_ARGUMENT),
        ([], ErrorCode.NAME_UNRESOLVABLE),
    ],
)
def test_a_lookup_that_fails(make: Any, answer: Any, code: ErrorCode) -> None:
    guest = make("*:*", names={"a.example": answer})
    with refuses(code):
        guest.addresses("a.example")


def test_lookups_are_limited_while_they_last(make: Any) -> None:
    event = asyncio.Event()
    guest = make("*:*", names={"a.example": event})
    streams = [guest.look_up("a.example") for _ in range(LOOKUPS_MAX)]
    with refuses(ErrorCode.WOULD_BLOCK):
        guest.next_address(streams[0])
    with refuses(ErrorCode.TEMPORARY_RESOLVER_FAILURE):
        guest.look_up("a.example")
    assert f"{LOOKUPS_MAX} names" in guest.events[0]
    guest.loop.call_soon_threadsafe(event.set)
    for stream in streams:
        guest.wait(stream.wait())
        stream.close()
    assert guest.network.lookups == 0


def test_localhost_is_found_by_the_system(loop: asyncio.AbstractEventLoop) -> None:
    guest = Guest(loop, "localhost:*")
    guest.network.resolve = Network((), print, loop, guest.spawn, guest.room).resolve
    with listening(echo) as port:
        addresses = guest.addresses("localhost")
        assert (0, (127, 0, 0, 1)) in addresses
        _, _, output = guest.connect(port)
        output.end()
    guest.close()


# --- connections -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", [V4, V6])
def test_a_conversation(make: Any, fixture_module: Any, family: int) -> None:
    if family == V6:
        fixture_module("loopback").need_six()
    guest = make("127.0.0.1:*", "[::1]:*")
    with listening(echo, socket.AF_INET if family == V4 else socket.AF_INET6) as port:
        made, incoming, outgoing = guest.connect(port, family)
        assert guest("address-family", made) == family
        assert guest("remote-address", made)[0] == family
        assert guest("remote-address", made)[1][:1] == (port,)
        assert guest("local-address", made)[1][0] > 0
        assert incoming.read(10) == (True, b"")
        assert guest.wait(outgoing.blocking_write(b"hello")) == (True, None)
        assert guest.wait(incoming.blocking_read(4)) == (True, b"hell")
        assert guest.wait(incoming.blocking_skip(100)) == (True, 1)
        assert incoming.read(0) == (True, b"")
        assert not incoming.ready()
        assert outgoing.ready()
        guest("shutdown", made, 1)
        assert outgoing.write(b"x") == outgoing.check_write() == outgoing.flush() == CLOSED
        assert guest.wait(incoming.blocking_read(1)) == CLOSED
        assert incoming.read(1) == CLOSED
        with refuses(ErrorCode.INVALID_STATE):
            guest("start-connect", made, NETWORK, loopback(port, family))
        made.close()
        made.close()
        assert guest.room.count == 0


def test_more_than_the_system_takes_at_once(make: Any) -> None:
    """Megabytes, against a reader that begins late; what is written before the end of the writing side arrives."""
    go = threading.Event()
    received = bytearray()

    def serve(connection: socket.socket) -> None:
        go.wait(60)
        while data := connection.recv(1 << 16):
            received.extend(data)

    guest = make("127.0.0.1:*")
    sent = b""
    with listening(serve) as port:
        made, _, outgoing = guest.connect(port)
        guest("set-send-buffer-size", made, 4_096)
        while True:
            chunk = os.urandom(1 << 16)
            assert outgoing.write(chunk) == (True, None)
            sent += chunk
            if outgoing.check_write() == (True, 0):
                break
        assert not outgoing.ready()
        with pytest.raises(GuestTrap, match="1 bytes were written where 0 were permitted"):
            outgoing.write(b"x")
        go.set()
        assert guest.wait(outgoing.blocking_write(b"last")) == (True, None)
        assert guest.wait(outgoing.blocking_flush()) == (True, None)
        go.clear()
        outgoing.write(b"z" * (1 << 16))
        guest("shutdown", made, 1)
        made.close()  # what was written still goes out
    assert received == sent + b"last" + b"z" * (1 << 16)


def test_the_other_side_resets(make: Any) -> None:
    connected = threading.Event()

    def serve(connection: socket.socket) -> None:
        connected.wait(60)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    guest = make("127.0.0.1:*")
    with listening(serve) as port:
        _, incoming, outgoing = guest.connect(port)
        connected.set()
    failed, (case, error) = guest.wait(incoming.blocking_read(1))
    assert (failed, case, error.cause) == (False, 0, ErrorCode.CONNECTION_RESET)
    code_of = FUNCTIONS["wasi:sockets/network"]["network-error-code"]
    assert code_of(guest.host, error) == (ErrorCode.CONNECTION_RESET,)
    assert code_of(guest.host, SimpleNamespace(cause=None)) is None
    assert incoming.read(1) == CLOSED
    outgoing.write(b"x")
    assert outgoing.write(b"x")[1][0] == 0
    assert outgoing.write(b"x") == CLOSED


def test_a_pollable_that_is_dropped_leaves_what_it_was_of(make: Any) -> None:
    guest = make("127.0.0.1:*")
    with listening(echo) as port:
        made = guest.socket()
        guest("start-connect", made, NETWORK, loopback(port))
        for resource in (guest("subscribe", made), guest("subscribe", made)):
            guest.wait(resource.wait())
            assert resource.ready()
            assert not hasattr(resource, "close")
        incoming, outgoing = guest("finish-connect", made)
        for stream in (incoming, outgoing):
            assert not hasattr(stream.subscribe(), "close")
        guest("shutdown", made, 1)


def test_nobody_listens(make: Any) -> None:
    guest = make("127.0.0.1:*")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        made = guest.socket()
        with refuses(ErrorCode.CONNECTION_REFUSED):
            guest("start-connect", made, NETWORK, loopback(taken.getsockname()[1]))
            guest.wait(made.wait())
            guest("finish-connect", made)
    with refuses(ErrorCode.INVALID_STATE):
        guest("start-connect", made, NETWORK, loopback(1))


def test_a_connection_that_is_being_opened(make: Any) -> None:
    """A server whose queue is full answers nobody."""
    guest = make("127.0.0.1:*")
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen(0)
        port = server.getsockname()[1]
        waiting = [guest.socket() for _ in range(4)]
        for each in waiting:
            guest("start-connect", each, NETWORK, loopback(port))
        last = waiting[-1]
        assert not guest("subscribe", last).ready()
        with refuses(ErrorCode.WOULD_BLOCK):
            guest("finish-connect", last)
        with refuses(ErrorCode.CONCURRENCY_CONFLICT):
            guest("start-connect", last, NETWORK, loopback(port))
        future = guest.spawn(last.wait())
        time.sleep(0.02)
        guest.close()  # the run ends while something waits
        future.result(60)


def test_options(make: Any) -> None:
    guest = make()
    made = guest.socket()
    second = 1_000_000_000
    assert guest("keep-alive-enabled", made) is False
    guest("set-keep-alive-enabled", made, True)
    assert guest("keep-alive-enabled", made) is True
    guest("set-keep-alive-enabled", made, False)
    assert guest("keep-alive-enabled", made) is False
    for name, value, expected in (
        ("keep-alive-idle-time", 1, second),
        ("keep-alive-idle-time", 7 * second, 7 * second),
        ("keep-alive-interval", 2**63, 32_767 * second),
        ("keep-alive-count", 3, 3),
        ("keep-alive-count", 2**31, 127),
        ("hop-limit", 9, 9),
        ("receive-buffer-size", 10_000, 10_000),
        ("send-buffer-size", 10_000, 10_000),
    ):
        guest(f"set-{name}", made, value)
        assert guest(name, made) == expected
        with refuses(ErrorCode.INVALID_ARGUMENT):
            guest(f"set-{name}", made, 0)
    guest("set-receive-buffer-size", made, 2**63)
    assert guest("hop-limit", guest.socket(V6)) > 0
    guest("set-hop-limit", guest.socket(V6), 3)
    with refuses(ErrorCode.INVALID_ARGUMENT):
        guest("set-listen-backlog-size", made, 0)
    with refuses(ErrorCode.NOT_SUPPORTED):
        guest("set-listen-backlog-size", made, 1)


# --- limits ----------------------------------------------------------------------------------------------------------


def test_sockets_are_limited(make: Any) -> None:
    guest = make()
    made = [guest.socket() for _ in range(SOCKETS_MAX)]
    with refuses(ErrorCode.NEW_SOCKET_LIMIT):
        guest.socket()
    assert f"a run may have {SOCKETS_MAX} sockets" in guest.events[0]
    made[0].close()
    guest.socket()


def test_the_process_keeps_descriptors_for_itself(make: Any) -> None:
    guest = make()
    guest.network.room = guest.room = Room(1)
    guest.socket()
    with refuses(ErrorCode.NEW_SOCKET_LIMIT):
        guest.socket()
    assert "half of its limit of open files" in guest.events[0]


def test_that_the_process_has_none_left_is_told(make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuses_all(*_: Any) -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    guest = make()
    with monkeypatch.context() as patch:
        patch.setattr(socket, "socket", refuses_all)
        for _ in range(100):  # one that was not made does not count
            with refuses(ErrorCode.NEW_SOCKET_LIMIT):
                guest.socket()
    event = "create-tcp-socket: the server has no file descriptors left (ulimit -n): new-socket-limit"
    assert guest.events[0] == f"wasi:sockets {event}"
    guest.socket()


def test_everything_is_closed_at_the_end(make: Any) -> None:
    before = len(os.listdir("/proc/self/fd"))
    guest = make("127.0.0.1:*")
    with listening(echo) as port:
        _, incoming, outgoing = guest.connect(port)
        pending = [guest.spawn(incoming.wait()), guest.spawn(incoming.wait())]
        time.sleep(0.02)
        guest.close()
        for each in pending:
            each.result(60)
        assert incoming.read(1)[0] is False
        assert outgoing.write(b"x")[0] is True
        assert outgoing.write(b"x")[0] is False
    assert len(os.listdir("/proc/self/fd")) == before
