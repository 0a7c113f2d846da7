"""The resources of wasi:http, as a guest handles them."""

import asyncio
import itertools
from typing import Any

import pytest
from obelisk_tests_web import ANYWHERE, TOKEN, Peer, Server, fields_of, on_a_loop, secret_entry

from obelisk.core.calls import Log, LogLevel, LogLine
from obelisk.core.egress import EgressPolicy
from obelisk.core.instants import Instant
from obelisk.core.policy import Sandbox
from obelisk.wasm.wasi.activity import ActivityHost
from obelisk.wasm.wasi.host import GuestTrap, value_of
from obelisk.wasm.wasi.http.client import HttpClient
from obelisk.wasm.wasi.http.connecting import Connections
from obelisk.wasm.wasi.http.failures import Code, HttpFailure
from obelisk.wasm.wasi.http.fields import FIELDS_BYTES_MAX, FORBIDDEN, IMMUTABLE, INVALID_SYNTAX, HttpFields
from obelisk.wasm.wasi.http.functions import FUNCTIONS
from obelisk.wasm.wasi.http.limits import FIELDS_OF_A_RUN_BYTES_MAX, UNSENT_MAX
from obelisk.wasm.wasi.http.resources import ERROR, METHODS, OK, OutgoingRequest, RequestOptions
from obelisk.wasm.wasi.io import FUNCTIONS as IO
from obelisk.wasm.wasi.io import IoError

TYPES = FUNCTIONS["wasi:http/types"]
GET, HEAD, POST = (METHODS.index(name) for name in ("GET", "HEAD", "POST"))


class Guest:
    """A run, whose guest calls functions on the loop itself."""

    def __init__(self, *entries: Any, secrets: dict[str, bytes] | None = None) -> None:
        self.connections = Connections()
        self.lines: list[LogLine] = []
        ticks = itertools.count()
        policy = EgressPolicy(entries or ANYWHERE, None, "fetch")
        client = HttpClient(self.connections, policy, lambda: Instant(next(ticks)), secrets, None, lambda: TOKEN)
        self.host = ActivityHost(Sandbox(http=policy), asyncio.get_running_loop(), self.lines.append, lambda: client)

    async def call(self, name: str, *arguments: Any) -> Any:
        kind, _, rest = name.rpartition("]")
        full = name if kind else f"[method]{rest}"
        table = TYPES if full in TYPES or name in TYPES else IO["wasi:io/streams"]
        return await value_of(table[name if name in table else full](self.host, *arguments))

    async def request(self, server: Server, method: int = GET, *headers: tuple[str, bytes], path: str = "/") -> Any:
        fields = HttpFields()
        for header in headers:
            assert fields.append(*header) == OK
        request = OutgoingRequest(fields)
        assert request.set_method((method, None)) == OK
        assert request.set_scheme(((0, None),)) == OK
        assert request.set_authority((server.authority,)) == OK
        assert request.set_path_with_query((path,)) == OK
        return request

    def handle(self, request: Any, options: Any = None) -> Any:
        return FUNCTIONS["wasi:http/outgoing-handler"]["handle"](self.host, request, options)

    async def response(self, request: Any, options: Any = None) -> Any:
        """The result of the future: (True, response) or (False, code)."""
        fine, future = self.handle(request, options)
        assert fine, future
        await future.subscribe().wait()
        got = future.get()
        assert future.get() == (ERROR,)
        future.close()
        return got[0][1]

    async def body(self, response: Any) -> bytes:
        _, body = response.consume()
        _, stream = body.stream()
        data = b""
        while (read := await value_of(stream.blocking_read(1 << 16)))[0]:
            data += read[1]
        assert read == (False, (1, None)), read
        return data

    async def close(self) -> None:
        self.host.close()
        await asyncio.sleep(0.01)
        self.connections.close()
        await asyncio.sleep(0)


def with_server(script: Any, *entries: Any, **more: Any) -> Any:
    """Runs `scenario(guest, server)`."""

    def decorate(scenario: Any) -> Any:
        @on_a_loop
        async def run() -> None:
            async with Server(script) as server:
                guest = Guest(*entries, **more)
                try:
                    await scenario(guest, server)
                finally:
                    await guest.close()

        run.__name__ = scenario.__name__
        del run.__wrapped__
        return run

    return decorate


async def echo(peer: Peer) -> None:
    while True:
        head, body = await peer.request()
        fields = fields_of(head)
        await peer.send(
            f"HTTP/1.1 200 OK\r\nX-Framing: {fields.get('content-length', fields.get('transfer-encoding', 'none'))}\r\n"
            f"Connection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n{len(body) + 1:x}\r\n".encode()
            + body
            + b".\r\n0\r\nX-Sum: 7\r\nKeep-Alive: x\r\n\r\n"
        )


async def silent(peer: Peer) -> None:
    await peer.head()
    assert await peer.closed()


# --- fields ----------------------------------------------------------------------------------------------------------


def test_fields_are_found_whatever_their_case():
    fields = HttpFields()
    assert fields.append("X-One", b"1") == OK
    assert fields.append("x-two", b"2") == OK
    assert fields.append("x-ONE", b"3") == OK
    assert (fields.get("X-one"), fields.has("X-TWO"), fields.has("x")) == ([b"1", b"3"], True, False)
    assert fields.all_entries() == [("X-One", b"1"), ("x-two", b"2"), ("x-ONE", b"3")]
    copy = fields.clone()
    assert fields.set("x-one", [[52], [53]]) == OK
    assert fields.all_entries() == [("x-two", b"2"), ("x-one", b"4"), ("x-one", b"5")]
    assert fields.delete("X-TWO") == OK
    assert fields.get("x-two") == []
    assert copy.get("x-one") == [b"1", b"3"]


@pytest.mark.parametrize("name", ["", "a b", "a:", "a\r\nb", "ä", "a\0"])
def test_names_that_are_none(name: str):
    fields = HttpFields()
    assert fields.append(name, b"x") == INVALID_SYNTAX
    assert fields.set(name, [[120]]) == INVALID_SYNTAX
    assert fields.delete(name) == INVALID_SYNTAX
    assert HttpFields.from_list([("x", [120]), (name, [120])]) == INVALID_SYNTAX
    assert fields.get(name) == [] and not fields.has(name)


@pytest.mark.parametrize("value", [b"a\r\nb: c", b"a\nb", b"a\rb", b"a\0b", b"\x7f", b"\x1b[0m"])
def test_values_that_are_none(value: bytes):
    fields = HttpFields()
    assert fields.append("x", value) == INVALID_SYNTAX
    assert fields.set("x", [list(value)]) == INVALID_SYNTAX
    assert HttpFields.from_list([("x", list(value))]) == INVALID_SYNTAX
    assert fields.all_entries() == []


@pytest.mark.parametrize(
    "name",
    ["Host", "connection", "Keep-Alive", "TRANSFER-ENCODING", "upgrade", "http2-settings", "Proxy-Authorization"],
)
def test_what_belongs_to_the_connection_is_not_the_guest_s(name: str):
    fields = HttpFields()
    assert fields.append(name, b"x") == FORBIDDEN
    assert fields.set(name, [[120]]) == FORBIDDEN
    assert HttpFields.from_list([(name, [120])]) == FORBIDDEN


def test_fields_of_a_request_or_a_response_cannot_be_changed():
    _, fields = HttpFields.from_list([("x", [49])])
    for frozen in (fields.frozen(), HttpFields.received([("x", b"1"), ("connection", b"close")])):
        assert frozen.append("y", b"2") == frozen.set("x", []) == frozen.delete("x") == IMMUTABLE
        assert frozen.all_entries() == [("x", b"1")]
        assert frozen.clone().append("y", b"2") == OK


def test_fields_have_a_limit():
    fields = HttpFields()
    with pytest.raises(GuestTrap, match="more than"):
        for _ in range(10):
            fields.append("x", b"y" * (FIELDS_BYTES_MAX // 5))


# --- requests --------------------------------------------------------------------------------------------------------


@on_a_loop
async def test_all_fields_of_a_run_have_a_limit():
    guest = Guest()
    value = b"x" * 60_000
    many = FIELDS_OF_A_RUN_BYTES_MAX // 60_005
    kept = [await guest.call("[constructor]fields") for _ in range(many)]
    for fields in kept:
        assert fields.append("x", value) == OK
    with pytest.raises(GuestTrap, match="all headers that the guest holds"):
        await guest.call("[method]fields.clone", kept[0])
    assert kept[0].delete("x") == OK
    more = await guest.call("[method]fields.clone", kept[1])
    assert more.has("x")
    request = OutgoingRequest(kept[0])
    del kept, more, fields, request
    assert guest.host.http.held.size == 0


@on_a_loop
async def test_bodies_that_are_not_sent_have_a_limit():
    guest = Guest()

    async def make() -> tuple[Any, Any]:
        request = OutgoingRequest(HttpFields())
        return request, (await guest.call("[method]outgoing-request.body", request))[1]

    made = [await make() for _ in range(UNSENT_MAX)]
    with pytest.raises(GuestTrap, match="1024 requests"):
        await make()
    made[0][0].close()  # the request
    made[1][1].close()  # the body
    await asyncio.sleep(0)
    assert [await make(), await make()]
    with pytest.raises(GuestTrap, match="1024 requests"):
        await make()


@on_a_loop
async def test_a_body_that_was_sent_or_refused_counts_no_more():
    async def answer(peer: Peer) -> None:
        await peer.request()
        await peer.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    async with Server(answer) as server:
        guest = Guest()
        for authority in (server.authority, "elsewhere.test"):
            request = await guest.request(server, POST)
            assert request.set_authority((authority,)) == OK
            _, body = await guest.call("[method]outgoing-request.body", request)
            assert len(guest.host.http.bodies) == 1
            assert body.finish(None) == OK
            if authority == server.authority:
                assert (await guest.response(request))[0]
            else:
                guest.host.http._policy = EgressPolicy()
                assert not guest.handle(request)[0]
            await asyncio.sleep(0)
            assert not guest.host.http.bodies


def test_the_parts_of_a_request():
    request = OutgoingRequest(HttpFields())
    assert (request.method(), request.scheme(), request.authority(), request.path_with_query()) == (
        (0, None),
        None,
        None,
        None,
    )
    for index, name in enumerate(METHODS):
        assert (request.set_method((index, None)), request.method()) == (OK, (index, None)), name
    assert (request.set_method((9, "PURGE")), request.method()) == (OK, (9, "PURGE"))
    assert (request.set_method((9, "PUT")), request.method()) == (OK, (3, None))
    assert (request.set_method((9, "A B")), request.method()) == (ERROR, (3, None))
    for scheme in (((0, None),), ((1, None),), ((2, "ws"),), None):
        assert (request.set_scheme(scheme), request.scheme()) == (OK, scheme)
    assert request.set_scheme(((2, "a b"),)) == ERROR
    for authority in ("a.example", "a.example:80", "[::1]:80", "127.0.0.1"):
        assert (request.set_authority((authority,)), request.authority()) == (OK, (authority,))
    for authority in ("", "a b", "user@a", "a/b", "a\r\n", "a:b"):
        assert request.set_authority((authority,)) == ERROR
    assert (request.set_authority(None), request.authority()) == (OK, None)
    for path in ("/", "/a?b=c", "?x", "*", ""):
        assert (request.set_path_with_query((path,)), request.path_with_query()) == (OK, (path,))
    for path in ("a", "/ ", "/\r\n", "/#x", "/ä"):
        assert request.set_path_with_query((path,)) == ERROR
    assert request.headers().append("x", b"1") == IMMUTABLE


@on_a_loop
async def test_options_are_durations_in_nanoseconds():
    guest = Guest()
    options = RequestOptions()
    for name in ("connect", "first-byte", "between-bytes"):
        assert await guest.call(f"request-options.{name}-timeout", options) is None
        assert await guest.call(f"request-options.set-{name}-timeout", options, (1_500_000_000,)) == OK
        assert await guest.call(f"request-options.{name}-timeout", options) == (1_500_000_000,)
    timeouts = options.timeouts
    assert (timeouts.connect_s, timeouts.first_byte_s, timeouts.between_bytes_s) == (1.5, 1.5, 1.5)


@on_a_loop
async def test_what_only_handlers_of_requests_use_traps():
    guest = Guest()
    names = [name for name in TYPES if "incoming-request" in name or "outparam" in name or "outgoing-response" in name]
    assert len(names) == 13
    for name in names:
        with pytest.raises(GuestTrap, match="an activity sends them"):
            await guest.call(name)


@with_server(silent)
async def test_a_request_that_may_not_go_out(guest: Guest, server: Server):
    request = await guest.request(server)
    request.set_authority(("other.example",))
    assert guest.handle(request) == (False, (int(Code.HTTP_REQUEST_DENIED), None))
    (told,) = guest.lines
    assert isinstance(told, Log) and told.level is LogLevel.WARN
    assert "other.example" in told.message and "[[activity_wasm.allowed_host]]" in told.message
    request = await guest.request(server, POST, ("Content-Length", b"7"))
    assert guest.handle(request) == (False, (int(Code.HTTP_REQUEST_BODY_SIZE), (0,)))
    request = await guest.request(server)
    request.set_scheme(((2, "ftp"),))
    assert guest.handle(request) == (False, (int(Code.HTTP_REQUEST_URI_INVALID), None))


# --- bodies ----------------------------------------------------------------------------------------------------------


@with_server(echo)
async def test_a_body_and_its_response(guest: Guest, server: Server):
    request = await guest.request(server, POST)
    _, body = request.body(guest.host)
    assert request.body(guest.host) == ERROR
    _, stream = body.write()
    assert body.write() == ERROR
    assert await value_of(stream.blocking_write(b"hello")) == (True, None), "before it is sent, what fits is taken"
    stream.close()
    assert body.finish(None) == OK
    fine, response = await guest.response(request)
    assert fine
    assert response.status() == 200
    assert response.headers().get("x-framing") == [b"chunked"]
    assert not response.headers().has("connection") and not response.headers().has("transfer-encoding")
    assert await guest.body(response) == b"hello."
    assert response.consume() == ERROR


@with_server(echo)
async def test_trailers_both_ways(guest: Guest, server: Server):
    request = await guest.request(server, POST)
    _, body = request.body(guest.host)
    _, stream = body.write()
    fine, future = guest.handle(request)
    assert fine
    assert await value_of(stream.blocking_write(b"x")) == (True, None)
    _, trailers = HttpFields.from_list([("X-End", [49])])
    assert body.finish(trailers) == OK, "also while its stream is still there"
    await future.subscribe().wait()
    _, response = future.get()[0][1]
    _, incoming = response.consume()
    later = incoming.finish()
    assert later.get() is None
    await later.subscribe().wait()
    fine, found = later.get()[0][1]
    assert fine
    assert found[0].all_entries() == [("x-sum", b"7")]
    assert found[0].append("x", b"1") == IMMUTABLE


@with_server(echo)
async def test_a_body_of_announced_length(guest: Guest, server: Server):
    for length, written, trailers, code in (
        (b"5", b"hello", None, None),
        (b"5", b"hell", None, Code.HTTP_REQUEST_BODY_SIZE),
        (b"4", b"hello", None, Code.HTTP_REQUEST_BODY_SIZE),
        (b"5", b"hello", HttpFields([("x", b"1")]), Code.INTERNAL_ERROR),
    ):
        request = await guest.request(server, POST, ("Content-Length", length))
        _, body = request.body(guest.host)
        _, stream = body.write()
        await value_of(stream.blocking_write(written))
        stream.close()
        done = body.finish(trailers)
        fine, answer = await guest.response(request)
        if code is None:
            assert done == OK
            assert answer.headers().get("x-framing") == [length]
            assert await guest.body(answer) == b"hello."
        else:
            assert (done[0], done[1][0]) == (False, code)
            assert (fine, answer[0]) == (False, code), "and the request fails for the same reason"


@with_server(silent)
async def test_a_body_that_is_dropped_before_it_is_finished_ends_the_request(guest: Guest, server: Server):
    request = await guest.request(server, POST)
    _, body = request.body(guest.host)
    _, stream = body.write()
    await value_of(stream.blocking_write(b"half"))
    fine, future = guest.handle(request)
    stream.close()
    body.close()
    await future.subscribe().wait()
    fine, code = future.get()[0][1]
    assert (fine, code[0]) == (False, Code.INTERNAL_ERROR)
    assert "dropped before it was finished" in code[1][0]


@with_server(silent)
async def test_a_body_whose_request_failed_says_why(guest: Guest, server: Server):
    request = await guest.request(server, POST)
    request.set_authority(("other.example",))
    _, body = request.body(guest.host)
    _, stream = body.write()
    assert not guest.handle(request)[0]
    await asyncio.sleep(0)
    fine, error = await value_of(stream.blocking_write(b"x"))
    assert not fine
    found = TYPES["http-error-code"](guest.host, error[1])
    assert found == ((int(Code.HTTP_REQUEST_DENIED), None),)
    assert "HTTP-request-denied" in error[1].to_debug_string()
    assert TYPES["http-error-code"](guest.host, IoError("no")) is None
    assert TYPES["http-error-code"](guest.host, IoError("no", OSError())) is None


# --- what is dropped is closed ---------------------------------------------------------------------------------------


def hanging(text: str) -> tuple[list[bool], Any]:
    hung_up: list[bool] = []

    async def script(peer: Peer) -> None:
        await peer.head()
        await peer.send(text)
        hung_up.append(await peer.closed())

    return hung_up, script


HALF = "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc"


@pytest.mark.parametrize("what", ["future", "response", "body", "trailers", "run", "run while it reads"])
def test_who_drops_it_closes_the_socket(what: str):
    hung_up, script = hanging("" if what == "future" else HALF)

    @with_server(script)
    async def run(guest: Guest, server: Server):
        request = await guest.request(server)
        if what == "future":
            _, future = guest.handle(request)
            while not server.connections:
                await asyncio.sleep(0.01)
            pollable = future.subscribe()
            assert not pollable.ready() and future.get() is None
            future.close()
        else:
            _, response = await guest.response(request)
            if what == "response":
                response.close()
            elif what == "run":
                guest.host.close()
            else:
                _, body = response.consume()
                response.close()
                _, stream = body.stream()
                assert await value_of(stream.blocking_read(9)) == (True, b"abc")
                assert not hung_up
                if what == "body":
                    body.close()
                elif what == "trailers":
                    body.finish().close()
                else:
                    reading = asyncio.ensure_future(stream.blocking_read(9))
                    await asyncio.sleep(0.01)
                    guest.host.close()
                    with pytest.raises(asyncio.CancelledError):
                        await reading
        while not hung_up:
            await asyncio.sleep(0.01)
        assert hung_up == [True]

    run()


@with_server(silent)
async def test_a_failed_response_is_told_by_the_future(guest: Guest, server: Server):
    options = RequestOptions()
    options.first_byte = (50_000_000,)
    fine, code = await guest.response(await guest.request(server), (options,))
    assert (fine, code) == (False, (int(Code.CONNECTION_READ_TIMEOUT), None))


@with_server(hanging(HALF)[1])
async def test_a_body_that_breaks_off_is_told_by_the_stream(guest: Guest, server: Server):
    options = RequestOptions()
    options.between_bytes = (50_000_000,)
    _, response = await guest.response(await guest.request(server), (options,))
    _, body = response.consume()
    _, stream = body.stream()
    assert body.stream() == ERROR
    assert await value_of(stream.blocking_read(9)) == (True, b"abc")
    fine, error = await value_of(stream.blocking_read(9))
    assert not fine
    assert TYPES["http-error-code"](guest.host, error[1]) == ((int(Code.CONNECTION_READ_TIMEOUT), None),)
    later = body.finish()
    await later.subscribe().wait()
    assert later.get() == ((True, (False, (int(Code.CONNECTION_READ_TIMEOUT), None))),)


@with_server(echo, secret_entry("http://127.0.0.1:*"), secrets={"KEY": b"a secret value"})
async def test_a_guest_has_placeholders_in_its_environment(guest: Guest, server: Server):
    assert dict(guest.host.environment) == {"KEY": f"obelisk-secret-KEY-{TOKEN}"}


def test_every_error_has_the_name_of_its_case():
    titles = {code: code.title for code in Code}
    assert titles[Code.DNS_ERROR] == "DNS-error"
    assert titles[Code.DESTINATION_IP_PROHIBITED] == "destination-IP-prohibited"
    assert titles[Code.HTTP_REQUEST_URI_TOO_LONG] == "HTTP-request-URI-too-long"
    assert (len(titles), HttpFailure(Code.INTERNAL_ERROR, "x", ("x",)).value) == (39, (38, ("x",)))
