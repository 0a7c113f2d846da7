"""Requests and responses over loopback: what is sent, what is read, and what becomes of servers that misbehave."""

import asyncio
import tracemalloc

import pytest
from obelisk_tests_web import Peer, Server, Web, entry, fields_of, on_a_loop, read, serving, write

from obelisk.wasm.wasi.http.body import RequestBody
from obelisk.wasm.wasi.http.connecting import Connections
from obelisk.wasm.wasi.http.failures import Code, HttpFailure, internal
from obelisk.wasm.wasi.http.limits import HEADER_BYTES_MAX, HELD_BODY_BYTES_MAX, INFORMATIONAL_MAX, OPEN_MAX

OK = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


async def hello(peer: Peer) -> None:
    while True:
        try:
            await peer.request()
        except (asyncio.IncompleteReadError, ConnectionError):
            return
        await peer.send(OK)


def says(text: str | bytes, *, closes: bool = False):
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(text)
        if not closes:
            assert await peer.closed()

    return script


async def failure_of(server, web, *args, **more) -> HttpFailure:
    with pytest.raises(HttpFailure) as raised:
        await web.get(server, *args, **more)
    return raised.value


# --- requests --------------------------------------------------------------------------------------------------------


@on_a_loop
async def test_a_request_and_its_response():
    heads = []

    async def script(peer: Peer) -> None:
        heads.append(await peer.head())
        await peer.send("HTTP/1.1 201 Created\r\nX-One: 1\r\nX-Two: 2\r\nx-one: 3\r\nContent-Length: 5\r\n\r\nhello")
        assert await peer.closed()

    async with serving(script) as (server, web):
        exchange = await web.respond(server, "/a?b=c", headers={"Accept": " text/plain "})
        assert exchange.status == 201
        assert [field for field in exchange.headers if field[0] != "content-length"] == [
            ("x-one", b"1"),
            ("x-two", b"2"),
            ("x-one", b"3"),
        ]
        assert await read(exchange) == b"hello"
        assert await exchange.fetch(10) == b""
    assert heads == [f"GET /a?b=c HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\nAccept: text/plain\r\n\r\n"]


@pytest.mark.parametrize(("method", "length"), [("GET", None), ("DELETE", None), ("POST", "0"), ("PATCH", "0")])
def test_an_empty_body_is_framed_as_its_method_needs_it(method, length):
    @on_a_loop
    async def run():
        heads = []

        async def script(peer: Peer) -> None:
            for _ in range(2):
                heads.append(fields_of((await peer.request())[0]))
                await peer.send(OK)
            assert await peer.closed()

        async with serving(script) as (server, web):
            await web.get(server, method=method)
            body = RequestBody()
            body.finish([])
            await web.get(server, method=method, body=body)
        for fields in heads:
            assert (fields.get("content-length"), fields.get("transfer-encoding")) == (length, None)

    run()


@on_a_loop
async def test_a_body_of_known_length():
    async def script(peer: Peer) -> None:
        head, body = await peer.request()
        assert (fields_of(head)["content-length"], body) == ("6", b"abcdef")
        await peer.send(OK)

    async with serving(script) as (server, web):
        body = RequestBody(declared=6)
        sent, _ = await asyncio.gather(web.get(server, method="POST", body=body), write(body, b"abc", b"def"))
        assert sent == b"ok"


@on_a_loop
async def test_a_body_of_unknown_length_and_its_trailers():
    async def script(peer: Peer) -> None:
        head, body = await peer.request()
        assert (fields_of(head)["transfer-encoding"], body) == ("chunked", b"abcdef[X-Sum: 7]")
        await peer.send(OK)

    async with serving(script) as (server, web):
        body = RequestBody()
        pieces = write(body, b"abc", b"def", trailers=[("X-Sum", b"7")])
        assert (await asyncio.gather(web.get(server, method="POST", body=body), pieces))[0] == b"ok"


@on_a_loop
async def test_who_waits_for_the_response_before_it_writes_gets_it():
    async def script(peer: Peer) -> None:
        await peer.head()
        await peer.send("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        assert await peer.reader.readexactly(8) == b"3\r\nabc\r\n"
        await peer.send("2\r\nok\r\n0\r\n\r\n")

    async with serving(script) as (server, web):
        body = RequestBody()
        exchange = await web.respond(server, method="POST", body=body)
        writing = asyncio.create_task(write(body, b"abc"))
        assert await read(exchange) == b"ok"
        await writing


@on_a_loop
async def test_a_server_that_answers_early_is_heard():
    async def script(peer: Peer) -> None:
        await peer.head()
        await peer.send("HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\nConnection: close\r\n\r\nbig")
        peer.writer.write_eof()
        assert await peer.closed()

    async with serving(script) as (server, web):
        body = RequestBody()
        exchange = await web.respond(server, method="POST", body=body)
        assert (exchange.status, await read(exchange)) == (413, b"big")
        with pytest.raises(HttpFailure) as raised:
            await write(body, *[b"x" * 65536] * 50)
        assert raised.value.code is Code.CONNECTION_TERMINATED


@on_a_loop
async def test_a_body_that_is_given_up_ends_the_request():
    async def script(peer: Peer) -> None:
        await peer.head()
        assert await peer.closed()

    async with serving(script) as (server, web):
        body = RequestBody(declared=10)
        asking = asyncio.create_task(failure_of(server, web, method="POST", body=body))
        await body.write(b"abc")
        body.abort(internal("the body was dropped"))
        assert (await asking).code is Code.INTERNAL_ERROR


@on_a_loop
async def test_a_body_shorter_than_it_was_said_to_be_is_not_completed():
    async def script(peer: Peer) -> None:
        await peer.head()
        assert await peer.closed()

    async with serving(script) as (server, web):
        body = RequestBody(declared=10)
        asking = asyncio.create_task(failure_of(server, web, method="POST", body=body))
        await write(body, b"abc")
        assert "Too little data" in str(await asking)


# --- responses -------------------------------------------------------------------------------------------------------


@on_a_loop
async def test_a_chunked_response_and_its_trailers():
    text = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\nX-Sum: 7\r\n\r\n"
    async with serving(says(text)) as (server, web):
        exchange = await web.respond(server)
        assert exchange.trailers == []
        assert await read(exchange) == b"abcde"
        assert exchange.trailers == [("x-sum", b"7")]


@on_a_loop
async def test_a_response_that_ends_with_the_connection():
    async with serving(says("HTTP/1.1 200 OK\r\n\r\nall of it", closes=True)) as (server, web):
        assert await web.get(server) == b"all of it"


@on_a_loop
async def test_no_more_than_was_asked_for_is_given():
    async with serving(says("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello")) as (server, web):
        exchange = await web.respond(server)
        assert [await exchange.fetch(2) for _ in range(4)] == [b"he", b"ll", b"o", b""]


@pytest.mark.parametrize(
    ("method", "head"), [("HEAD", "200 OK\r\nContent-Length: 99"), ("GET", "204 x"), ("GET", "304 x")]
)
def test_a_response_without_a_body_has_ended(method, head):
    @on_a_loop
    async def run():
        async with serving(says(f"HTTP/1.1 {head}\r\n\r\n")) as (server, web):
            exchange = await web.respond(server, method=method)
            assert exchange.has_ended
            assert await exchange.fetch(10) == b""

    run()


@on_a_loop
async def test_informational_responses_are_passed_over():
    early = "HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n" * 3
    async with serving(says(early + OK)) as (server, web):
        assert await web.get(server) == b"ok"


@on_a_loop
async def test_informational_responses_have_an_end():
    async with serving(says("HTTP/1.1 103 Early Hints\r\n\r\n" * (INFORMATIONAL_MAX + 1) + OK)) as (server, web):
        assert (await failure_of(server, web)).code is Code.HTTP_PROTOCOL_ERROR


@on_a_loop
async def test_redirects_are_not_followed():
    text = "HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n"
    async with serving(says(text)) as (server, web):
        exchange = await web.respond(server)
        assert (exchange.status, dict(exchange.headers)["location"]) == (302, b"http://127.0.0.1:1/")
        assert server.connections == 1


CHUNKED = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    ("text", "closes", "code"),
    [
        ("", True, Code.CONNECTION_TERMINATED),
        ("HTTP/1.1 200", True, Code.HTTP_RESPONSE_INCOMPLETE),
        ("nonsense\r\n\r\n", False, Code.HTTP_PROTOCOL_ERROR),
        ("\x16\x03\x01\x02\x00", True, Code.HTTP_PROTOCOL_ERROR),
        ("HTTP/1.1 200 OK\r\nA b: 1\r\n\r\n", False, Code.HTTP_PROTOCOL_ERROR),
        ("HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", False, Code.HTTP_PROTOCOL_ERROR),
        ("HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", False, Code.HTTP_PROTOCOL_ERROR),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", False, Code.HTTP_RESPONSE_TRANSFER_CODING),
        ("HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n", False, Code.HTTP_PROTOCOL_ERROR),
        ("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc", True, Code.HTTP_RESPONSE_INCOMPLETE),
        (CHUNKED + "3\r\nabc", True, Code.HTTP_RESPONSE_INCOMPLETE),
        (CHUNKED + "zz\r\nabc\r\n", False, Code.HTTP_PROTOCOL_ERROR),
        (CHUNKED + "3\r\nabcd\r\n", False, Code.HTTP_PROTOCOL_ERROR),
        (CHUNKED + "-3\r\nabc\r\n", False, Code.HTTP_PROTOCOL_ERROR),
        (CHUNKED + "f" * 100 + "\r\n", False, Code.HTTP_PROTOCOL_ERROR),
        ("HTTP/1.1 200 OK\r\nX: " + "x" * (HEADER_BYTES_MAX + 1), False, Code.HTTP_RESPONSE_HEADER_SECTION_SIZE),
        ("HTTP/1.1 200 OK\r\n" + "X: y\r\n" * HEADER_BYTES_MAX, False, Code.HTTP_RESPONSE_HEADER_SECTION_SIZE),
        (CHUNKED + "0\r\n" + "X: y\r\n" * HEADER_BYTES_MAX, False, Code.HTTP_RESPONSE_TRAILER_SECTION_SIZE),
    ],
)
def test_a_response_that_does_not_keep_to_the_protocol(text, closes, code):
    async def script(peer: Peer) -> None:
        await peer.request()
        try:
            await peer.send(text)
        except ConnectionError:
            return
        if not closes:
            assert await peer.closed()

    @on_a_loop
    async def run():
        async with serving(script) as (server, web):
            assert (await failure_of(server, web)).code is code
            [trace] = web.client.traces
            assert trace.error.startswith(code.title)
            assert trace.finished_at is not None

    run()


@on_a_loop
async def test_a_server_that_resets_the_connection():
    async def before(peer: Peer) -> None:
        await peer.head()
        peer.reset()

    async def within(peer: Peer) -> None:
        await peer.head()
        await peer.send("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc")
        await asyncio.sleep(0.05)
        peer.reset()

    async with serving(before) as (server, web):
        assert (await failure_of(server, web)).code is Code.CONNECTION_TERMINATED
    async with serving(within) as (server, web):
        exchange = await web.respond(server)
        assert await exchange.fetch(9) == b"abc"
        with pytest.raises(HttpFailure) as raised:
            await exchange.fetch(9)
        assert raised.value.code in {Code.CONNECTION_TERMINATED, Code.HTTP_RESPONSE_INCOMPLETE}
        [trace] = web.client.traces
        assert trace.status == 200 and trace.error is not None


# --- time ------------------------------------------------------------------------------------------------------------


@on_a_loop
async def test_a_server_that_never_answers():
    async def script(peer: Peer) -> None:
        await peer.head()
        assert await peer.closed()

    async with serving(script) as (server, web):
        failure = await failure_of(server, web, first_byte_s=0.05)
        assert failure.code is Code.CONNECTION_READ_TIMEOUT


@on_a_loop
async def test_a_server_that_answers_and_stalls():
    async with serving(says("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc")) as (server, web):
        exchange = await web.respond(server, between_bytes_s=0.05)
        assert await exchange.fetch(9) == b"abc"
        with pytest.raises(HttpFailure) as raised:
            await exchange.fetch(9)
        assert raised.value.code is Code.CONNECTION_READ_TIMEOUT


@on_a_loop
async def test_a_server_that_takes_nothing_of_a_body():
    async def script(peer: Peer) -> None:
        await peer.head()
        await asyncio.sleep(30)

    async with serving(script) as (server, web):
        body = RequestBody()
        asking = asyncio.create_task(failure_of(server, web, method="POST", body=body, between_bytes_s=0.1))
        with pytest.raises(HttpFailure) as raised:
            await write(body, *[b"x" * 65536] * 1000)
        assert raised.value.code is Code.CONNECTION_WRITE_TIMEOUT
        assert (await asking).code is Code.CONNECTION_WRITE_TIMEOUT


@on_a_loop
async def test_a_slow_body_does_not_count_as_a_slow_server():
    async def script(peer: Peer) -> None:
        _, body = await peer.request()
        await peer.send(f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)

    async def slowly(body: RequestBody) -> None:
        for _ in range(6):
            await body.write(b"x")
            await asyncio.sleep(0.25)
        body.finish([])

    async with serving(script) as (server, web):
        body = RequestBody()
        got, _ = await asyncio.gather(web.get(server, method="POST", body=body, first_byte_s=1), slowly(body))
        assert got == b"xxxxxx"


@on_a_loop
async def test_nobody_listens():
    async with Server(hello) as server:
        authority = server.authority
    web = Web()
    with pytest.raises(HttpFailure) as raised:
        await web.get(authority)
    assert raised.value.code is Code.CONNECTION_REFUSED


@on_a_loop
async def test_a_server_that_does_not_take_the_connection():
    web = Web(entry("http://192.0.2.1"))  # an address of documentation: nobody is there

    class Nowhere(Connections):
        async def _opened(self, permission, address):
            await asyncio.sleep(30)

    web.client._connections = Nowhere()
    with pytest.raises(HttpFailure) as raised:
        await web.get("192.0.2.1", connect_s=0.05)
    assert raised.value.code is Code.CONNECTION_TIMEOUT


# --- closing ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["", "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc"])
def test_who_gives_up_closes_the_socket(text):
    @on_a_loop
    async def run():
        hung_up = asyncio.Event()

        async def script(peer: Peer) -> None:
            await peer.head()
            await peer.send(text)
            assert await peer.closed()
            hung_up.set()

        async with serving(script) as (server, web):
            if text:
                exchange = await web.respond(server)
                exchange.close()
            else:
                asking = asyncio.create_task(web.respond(server))
                while not server.connections:
                    await asyncio.sleep(0.01)
                asking.cancel()
            await hung_up.wait()
            [trace] = web.client.traces
            assert trace.finished_at is not None

    run()


@on_a_loop
async def test_the_end_of_a_run_closes_everything():
    hung_up = []

    async def script(peer: Peer) -> None:
        await peer.head()
        await peer.send("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc")
        hung_up.append(await peer.closed())

    async with serving(script) as (server, web):
        exchanges = [await web.respond(server) for _ in range(3)]
        web.client.close()
        while len(hung_up) < 3:
            await asyncio.sleep(0.01)
        with pytest.raises(HttpFailure):
            [await read(exchange) for exchange in exchanges]


# --- connections are used again --------------------------------------------------------------------------------------


@on_a_loop
async def test_a_connection_is_used_again():
    async with serving(hello) as (server, web):
        assert [await web.get(server) for _ in range(5)] == [b"ok"] * 5
        assert server.connections == 1


@on_a_loop
async def test_a_connection_with_an_unread_rest_is_not():
    async def script(peer: Peer) -> None:
        await peer.head()
        await peer.send("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc")
        assert await peer.closed()

    async with serving(script) as (server, web):
        for _ in range(2):
            (await web.respond(server)).close()
        while server.connections < 2:
            await asyncio.sleep(0.01)


@on_a_loop
async def test_a_response_that_nobody_asked_for_is_given_to_nobody():
    async def script(peer: Peer) -> None:
        await peer.head()
        await peer.send(OK + "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil")
        assert await peer.closed()

    async with serving(script) as (server, web):
        assert [await web.get(server) for _ in range(2)] == [b"ok"] * 2
        assert server.connections == 2


@on_a_loop
async def test_a_late_response_that_nobody_asked_for_is_given_to_nobody():
    async def script(peer: Peer) -> None:
        await peer.head()
        await peer.send(OK)
        await asyncio.sleep(0.01)
        await peer.send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil")
        assert await peer.closed()

    async with serving(script) as (server, web):
        assert await web.get(server) == b"ok"
        await asyncio.sleep(0.1)
        assert await web.get(server) == b"ok"
        assert server.connections == 2


@pytest.mark.parametrize(("method", "tries"), [("GET", 2), ("DELETE", 2), ("POST", 1)])
def test_a_connection_that_dies_under_a_request_is_replaced_where_that_is_safe(method, tries):
    @on_a_loop
    async def run():
        asked = []

        async def script(peer: Peer) -> None:
            await peer.request()
            await peer.send(OK)
            if peer.number == 1:
                await peer.request()  # as if it had closed just before
                asked.append(peer.number)
                peer.reset()
                return
            asked.append(peer.number)
            assert await peer.closed()

        async with serving(script) as (server, web):
            await web.get(server)
            if tries == 2:
                assert await web.get(server, method=method) == b"ok"
            else:
                assert (await failure_of(server, web, method=method)).code is Code.CONNECTION_TERMINATED
        assert asked == [1, 2][:tries]

    run()


@on_a_loop
async def test_a_body_that_was_begun_is_not_sent_again():
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(OK)
        await peer.head()
        peer.reset()

    async with serving(script) as (server, web):
        await web.get(server)
        body = RequestBody()
        asking = asyncio.create_task(failure_of(server, web, method="PUT", body=body))
        with pytest.raises(HttpFailure):
            await write(body, *[b"x" * 65536] * 100)
        assert (await asking).code is Code.CONNECTION_TERMINATED
        assert server.connections == 1


@on_a_loop
async def test_a_fresh_connection_that_breaks_is_not_replaced():
    async def script(peer: Peer) -> None:
        await peer.head()

    async with serving(script) as (server, web):
        assert (await failure_of(server, web)).code is Code.CONNECTION_TERMINATED
        assert server.connections == 1


# --- limits ----------------------------------------------------------------------------------------------------------


@on_a_loop
async def test_connections_wait_for_room():
    most = now = 0

    async def script(peer: Peer) -> None:
        nonlocal most, now
        now += 1
        most = max(most, now)
        await peer.head()
        await asyncio.sleep(0.01)
        await peer.send("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok")
        now -= 1

    async with serving(script, connections=Connections(connections_max=3)) as (server, web):
        assert await asyncio.gather(*(web.get(server) for _ in range(12))) == [b"ok"] * 12
        assert most <= 3


@on_a_loop
async def test_kept_connections_make_room_for_others():
    connections = Connections(connections_max=1)
    async with serving(hello, connections=connections) as (one, web), Server(hello) as other:
        for _ in range(3):
            assert (await web.get(one), await web.get(other)) == (b"ok", b"ok")


@on_a_loop
async def test_a_run_has_only_so_many_requests_under_way():
    async def script(peer: Peer) -> None:
        await peer.head()
        assert await peer.closed()

    async with serving(script) as (server, web):
        web.client._open = {web.ask(server) for _ in range(OPEN_MAX)}
        assert (await failure_of(server, web)).code is Code.CONNECTION_LIMIT_REACHED


@on_a_loop
async def test_many_requests_wait_at_once():
    count, arrived = 400, 0
    everybody = asyncio.Event()

    async def script(peer: Peer) -> None:
        nonlocal arrived
        await peer.head()
        arrived += 1
        if arrived == count:
            everybody.set()
        await everybody.wait()
        await peer.send("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok")

    async with serving(script) as (server, web):
        assert await asyncio.gather(*(web.get(server) for _ in range(count))) == [b"ok"] * count


@on_a_loop
async def test_a_large_response_is_read_no_faster_than_it_is_taken():
    sent = 0
    block = b"x" * 65536

    async def script(peer: Peer) -> None:
        nonlocal sent
        await peer.head()
        await peer.send(f"HTTP/1.1 200 OK\r\nContent-Length: {1600 * len(block)}\r\n\r\n")
        for _ in range(1600):
            await peer.send(block)
            sent += len(block)

    async with serving(script) as (server, web):
        exchange = await web.respond(server)
        await exchange.fetch(1)
        await asyncio.sleep(0.2)
        assert sent < 16 << 20  # what the system buffers on both sides
        tracemalloc.start()
        got = 1
        while piece := await exchange.fetch(65536):
            got += len(piece)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert got == 1600 * len(block)
        assert peak < 4 << 20


@on_a_loop
async def test_a_large_request_is_written_no_faster_than_it_is_taken():
    taken = asyncio.Event()
    block = b"x" * 65536

    async def script(peer: Peer) -> None:
        await peer.head()
        await taken.wait()
        left = 1600 * len(block)
        while left:
            left -= len(await peer.reader.read(1 << 20))
        await peer.send(OK)

    async with serving(script) as (server, web):
        body = RequestBody(declared=1600 * len(block))
        written = 0

        async def writing() -> None:
            nonlocal written
            for _ in range(1600):
                await body.write(block)
                written += len(block)
            body.finish([])

        asking = asyncio.create_task(web.get(server, method="POST", body=body))
        task = asyncio.create_task(writing())
        await asyncio.sleep(0.2)
        assert written < 16 << 20
        tracemalloc.start()
        taken.set()
        assert await asking == b"ok"
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        await task
        assert peak < 8 << 20


def test_a_body_into_which_secrets_are_put_fits_into_memory():
    assert HELD_BODY_BYTES_MAX <= 1 << 20
