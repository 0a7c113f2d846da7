"""What a run may send, what is put into it, and what is recorded: over loopback, with a resolver of the test's own."""

import asyncio
import base64
import json
import logging
import socket
import time
from urllib.parse import quote

import msgspec
import pytest
from obelisk_tests_web import (
    TOKEN,
    Peer,
    Web,
    entry,
    fields_of,
    on_a_loop,
    read,
    secret_entry,
    serving,
    write,
)

from obelisk.core.egress import AllowedHost, Place
from obelisk.core.http_traces import HttpTrace
from obelisk.wasm.wasi.http.body import RequestBody
from obelisk.wasm.wasi.http.connecting import Connections, SystemResolver
from obelisk.wasm.wasi.http.failures import Code, HttpFailure
from obelisk.wasm.wasi.http.limits import (
    HEADER_BYTES_MAX,
    HELD_BODY_BYTES_MAX,
    TRACE_URI_MAX,
    TRACES_MAX,
    URI_BYTES_MAX,
)
from obelisk.wasm.wasi.http.placeholders import unfit_value

SECRET = b's3cret "/+\xc3\xa9 value'
KEY = f"obelisk-secret-KEY-{TOKEN}"
OK = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class Echo:
    """Says back what it was sent; keeps it too."""

    def __init__(self) -> None:
        self.heads: list[str] = []
        self.bodies: list[bytes] = []

    async def __call__(self, peer: Peer) -> None:
        while True:
            try:
                head, body = await peer.request()
            except asyncio.IncompleteReadError:
                return
            self.heads.append(head)
            self.bodies.append(body)
            said = head.encode("latin-1") + body
            first = fields_of(head).get("x", "").encode("latin-1")
            await peer.send(b"HTTP/1.1 200 OK\r\nX: %b\r\nContent-Length: %d\r\n\r\n%b" % (first, len(said), said))


class Names:
    """A resolver whose answers may change with each question."""

    def __init__(self, **answers: list[str]) -> None:
        self._answers = answers
        self.asked = 0

    async def resolve(self, host: str) -> list[str]:
        self.asked += 1
        answers = self._answers[host.partition(".")[0]]
        return answers.pop(0).split() if len(answers) > 1 else answers[0].split()


def refused(web: Web, *args, **more) -> HttpFailure:
    with pytest.raises(HttpFailure) as raised:
        web.ask(*args, **more)
    return raised.value


# --- the policy ------------------------------------------------------------------------------------------------------


def test_what_no_entry_allows_is_denied_and_recorded_with_what_is_missing(caplog):
    web = Web(entry("http://a.example", "GET"))
    failure = refused(web, "b.example", "/x?q=1", "POST")
    assert failure.value == (int(Code.HTTP_REQUEST_DENIED), None)
    [trace] = web.client.traces
    assert (trace.method, trace.uri, trace.status) == ("POST", "http://b.example/x?q=1", None)
    assert trace.finished_at is not None
    assert trace.error.startswith("HTTP-request-denied: POST http://b.example/x is not allowed")
    for told in (trace.error, caplog.text):
        assert '[[activity_wasm.allowed_host]]\npattern = "http://b.example"\nmethods = ["POST"]' in told


@on_a_loop
async def test_a_redirect_is_a_request_of_its_own():
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send("HTTP/1.1 302 Found\r\nLocation: http://169.254.169.254/latest\r\nContent-Length: 0\r\n\r\n")
        assert await peer.closed()

    async with serving(script) as (server, web):
        exchange = await web.respond(server)
        location = dict(exchange.headers)["location"].decode()
        failure = refused(web, location.removeprefix("http://").partition("/")[0], "/latest")
        assert failure.code is Code.HTTP_REQUEST_DENIED


@pytest.mark.parametrize(
    "addresses", ["127.0.0.1", "169.254.169.254 10.0.0.1", "::1", "::ffff:127.0.0.1", "not-an-address"]
)
def test_an_allowed_name_that_leads_inside_is_not_connected_to(addresses):
    @on_a_loop
    async def run():
        async with serving(Echo()) as (server, _):
            web = Web(entry("http://api.example:*"), connections=Connections(Names(api=[addresses])))
            with pytest.raises(HttpFailure) as raised:
                await web.get(f"api.example:{server.port}")
            assert raised.value.code is Code.DESTINATION_IP_PROHIBITED
            assert "addresses = [" in str(raised.value)
            assert server.connections == 0

    run()


@on_a_loop
async def test_a_name_is_looked_up_once_for_a_request_so_that_it_cannot_change():
    names = Names(api=["127.0.0.1", "127.0.0.2", "127.0.0.2"])  # only the first address is one that may be reached
    connections = Connections(names)
    async with serving(Echo(), connections=connections) as (server, web):
        web = Web(entry("http://api.example:*", addresses=("127.0.0.1/32",)), connections=connections)
        where = f"api.example:{server.port}"
        assert b"Host: api.example" in await web.get(where)
        assert names.asked == 1
        assert b"Host: api.example" in await web.get(where)
        assert (names.asked, server.connections) == (1, 1), "the connection that is used again goes to what was checked"
        connections.close()
        with pytest.raises(HttpFailure) as raised:
            await web.get(where)
        assert raised.value.code is Code.DESTINATION_IP_PROHIBITED
        assert (names.asked, server.connections) == (2, 1)


@on_a_loop
async def test_addresses_that_may_not_be_reached_are_passed_over():
    async with serving(Echo()) as (server, _):
        connections = Connections(Names(api=["10.0.0.1 127.0.0.1"]))
        web = Web(entry("http://api.example:*", addresses=("127.0.0.0/8",)), connections=connections)
        await web.get(f"api.example:{server.port}")
        connections.close()


@on_a_loop
async def test_a_connection_of_one_component_is_not_used_by_one_that_may_not_reach_its_address():
    connections = Connections(Names(api=["127.0.0.1"]))
    async with serving(Echo(), connections=connections) as (server, _):
        inside = Web(entry("http://api.example:*", addresses=("127.0.0.1",)), connections=connections)
        outside = Web(entry("http://api.example:*"), connections=connections)
        await inside.get(f"api.example:{server.port}")
        with pytest.raises(HttpFailure) as raised:
            await outside.get(f"api.example:{server.port}")
        assert raised.value.code is Code.DESTINATION_IP_PROHIBITED


@on_a_loop
async def test_the_next_address_is_tried_when_one_does_not_answer():
    async with serving(Echo()) as (server, _):
        connections = Connections(Names(api=["127.0.0.2 127.0.0.1"]))  # the server listens on the second one only
        web = Web(entry("http://api.example:*", addresses=("127.0.0.0/8",)), connections=connections)
        await web.get(f"api.example:{server.port}")
        connections.close()


@on_a_loop
async def test_a_name_that_does_not_exist():
    web = Web(entry("http://nobody.invalid"))
    with pytest.raises(HttpFailure) as raised:
        await web.get("nobody.invalid")
    assert raised.value.code is Code.DNS_ERROR


@on_a_loop
async def test_a_look_up_that_takes_too_long():
    class Slow:
        async def resolve(self, host: str) -> list[str]:
            await asyncio.sleep(30)
            return []

    web = Web(entry("http://api.example"), connections=Connections(Slow()))
    with pytest.raises(HttpFailure) as raised:
        await web.get("api.example", connect_s=0.05)
    assert raised.value.code is Code.DNS_TIMEOUT


@on_a_loop
async def test_those_who_look_up_the_same_name_at_once_share_the_answer(monkeypatch):
    asked = []

    def getaddrinfo(host, *args, **kwargs):
        asked.append(host)
        time.sleep(0.05)
        return [
            (2, 1, 6, "", ("192.0.2.7", 0)),
            (2, 2, 17, "", ("192.0.2.7", 0)),
            (10, 1, 6, "", ("2001:db8::1", 0, 0, 0)),
        ]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    resolver = SystemResolver()
    first = asyncio.create_task(resolver.resolve("api.example"))
    answers = await asyncio.gather(*(resolver.resolve("api.example") for _ in range(5)))
    assert {*answers, await first} == {("192.0.2.7", "2001:db8::1")}
    await resolver.resolve("api.example")
    assert asked == ["api.example"] * 2


# --- what is no request ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("authority", "path", "method", "code"),
    [
        ("a.example", "/", "CONNECT", Code.HTTP_REQUEST_METHOD_INVALID),
        ("a.example", "/", "G ET", Code.HTTP_REQUEST_METHOD_INVALID),
        ("a.example", "/", "GET\r\nX: y", Code.HTTP_REQUEST_METHOD_INVALID),
        ("a.example\r\nX: y", "/", "GET", Code.HTTP_REQUEST_URI_INVALID),
        ("user:password@a.example", "/", "GET", Code.HTTP_REQUEST_URI_INVALID),
        ("a.example:99999", "/", "GET", Code.HTTP_REQUEST_URI_INVALID),
        ("a.example:0", "/", "GET", Code.HTTP_REQUEST_URI_INVALID),
        ("", "/", "GET", Code.HTTP_REQUEST_URI_INVALID),
        ("a.example", "", "GET", Code.HTTP_REQUEST_URI_INVALID),
        ("a.example", "x", "GET", Code.HTTP_REQUEST_URI_INVALID),
        ("a.example", "/ HTTP/1.1\r\nX: y", "GET", Code.HTTP_REQUEST_URI_INVALID),
        ("a.example", "/a b", "GET", Code.HTTP_REQUEST_URI_INVALID),
        ("a.example", "/#x", "GET", Code.HTTP_REQUEST_URI_INVALID),
        ("a.example", "/ä", "GET", Code.HTTP_REQUEST_URI_INVALID),
        ("a.example", "/" + "x" * URI_BYTES_MAX, "GET", Code.HTTP_REQUEST_URI_TOO_LONG),
    ],
)
def test_what_is_no_request_is_not_sent(authority, path, method, code):
    assert refused(Web(entry("*")), authority, path, method).code is code


def test_headers_have_a_limit():
    failure = refused(Web(entry("*")), "a.example", headers={"X": "x" * HEADER_BYTES_MAX})
    assert failure.value == (int(Code.HTTP_REQUEST_HEADER_SECTION_SIZE), (HEADER_BYTES_MAX,))


@on_a_loop
async def test_headers_that_would_be_others_are_not_sent():
    # `fields` refuses them before; this is the last line.
    async with serving(Echo()) as (server, web):
        for name, value in (("X", "a\r\nY: b"), ("X\r\nY", "b"), ("X", "a\0b"), ("Content-Length", "7")):
            with pytest.raises(HttpFailure):
                await web.get(server, headers={name: value})
        assert not any("Y:" in head for head in server_heads(server))


def server_heads(server) -> list[str]:
    return server._script.heads


# --- secrets ---------------------------------------------------------------------------------------------------------


def secretive(*places: Place) -> dict:
    return {"secrets": {"KEY": SECRET}, "entries": (secret_entry("http://127.0.0.1:*", *places),)}


def web_with_secret(*entries: AllowedHost, connections: Connections | None = None) -> Web:
    return Web(*entries, secrets={"KEY": SECRET}, connections=connections)


def test_the_guest_sees_a_placeholder():
    web = web_with_secret(secret_entry("*"))
    assert web.client.environment == {"KEY": KEY}
    assert SECRET.decode() not in repr(web.client._placeholders)


@on_a_loop
async def test_a_secret_is_put_into_headers_and_query():
    async with serving(Echo(), secret_entry("http://127.0.0.1:*"), secrets={"KEY": SECRET}) as (server, web):
        basic = base64.b64encode(f"user:{KEY}".encode()).decode()
        said = await web.get(
            server, f"/p?k={KEY}&k={KEY}", headers={"X": f"Bearer {KEY}", "Authorization": f"Basic {basic}"}
        )
        [head] = server_heads(server)
        assert "/p?k=s3cret%20%22%2F%2B%C3%A9%20value&k=s3cret%20" in head
        assert f"X: Bearer {SECRET.decode('latin-1')}\r\n" in head
        sent = base64.b64decode(fields_of(head)["authorization"].removeprefix("Basic "))
        assert sent == b"user:" + SECRET
        assert SECRET not in said
        assert f"X: Bearer {KEY}".encode() in said
        assert f"Authorization: Basic {basic}".encode() in said  # neither is what it is in Base64


@on_a_loop
async def test_a_secret_in_base64_that_a_server_sends_back_in_a_header_is_hidden():
    async def echo(peer: Peer) -> None:
        sent = fields_of(await peer.head())["authorization"]
        await peer.send(f"HTTP/1.1 200 OK\r\nX-Sent: {sent}\r\nContent-Length: 0\r\n\r\n")

    async with serving(echo, secret_entry("http://127.0.0.1:*"), secrets={"KEY": SECRET}) as (server, web):
        basic = "Basic " + base64.b64encode(f"user:{KEY}".encode()).decode()
        exchange = await web.respond(server, headers={"Authorization": basic})
        assert dict(exchange.headers)["x-sent"] == basic.encode()


@pytest.mark.parametrize(
    ("host", "headers", "expected"),
    [
        ("http://127.0.0.1:*", {}, "identity"),
        ("http://127.0.0.1:*", {"Accept-Encoding": "gzip"}, "gzip"),
        ("http://other.example", {}, None),
    ],
)
def test_where_secrets_may_go_nothing_is_to_be_compressed(host, headers, expected):
    @on_a_loop
    async def scenario():
        async with serving(Echo(), secret_entry(host), entry("http://127.0.0.1:*"), secrets={"KEY": SECRET}) as (
            server,
            web,
        ):
            await web.get(server, headers=headers)
            [head] = server_heads(server)
            assert fields_of(head).get("accept-encoding") == expected

    scenario()


@pytest.mark.parametrize(
    ("content_type", "expected"),
    [
        ("text/plain", SECRET),
        ("application/json; charset=utf-8", json.dumps(SECRET.decode(), ensure_ascii=False)[1:-1].encode()),
        ("application/x-www-form-urlencoded", b"s3cret%20%22%2F%2B%C3%A9%20value"),
    ],
)
@pytest.mark.parametrize("declared", [True, False])
def test_a_secret_is_put_into_a_body_that_comes_in_pieces(content_type, expected, declared):
    @on_a_loop
    async def run():
        async with serving(Echo(), secret_entry("http://127.0.0.1:*"), secrets={"KEY": SECRET}) as (server, web):
            text = f"a={KEY}&b={KEY}x".encode()
            pieces = [text[at : at + 7] for at in range(0, len(text), 7)]
            body = RequestBody(len(text) if declared else None)
            headers = {"Content-Type": content_type}
            said, _ = await asyncio.gather(
                web.get(server, method="POST", headers=headers, body=body), write(body, *pieces)
            )
            assert server._script.bodies == [b"a=" + expected + b"&b=" + expected + b"x"]
            assert ("content-length" in fields_of(server_heads(server)[0])) == declared
            assert expected not in said and KEY.encode() in said

    run()


@on_a_loop
async def test_a_long_body_into_which_a_secret_may_be_put_is_sent_in_chunks():
    async with serving(Echo(), secret_entry("http://127.0.0.1:*"), secrets={"KEY": SECRET}) as (server, web):
        pieces = [b"x" * HELD_BODY_BYTES_MAX, KEY.encode()]
        body = RequestBody(sum(map(len, pieces)))
        await asyncio.gather(web.get(server, method="POST", body=body), write(body, *pieces))
        assert server._script.bodies == [pieces[0] + SECRET]


@on_a_loop
async def test_a_body_is_left_alone_where_no_secret_may_be():
    entry_ = secret_entry("http://127.0.0.1:*", Place.HEADERS)
    async with serving(Echo(), entry_, secrets={"KEY": SECRET}) as (server, web):
        body = RequestBody()
        await asyncio.gather(web.get(server, method="POST", body=body), write(body, KEY.encode()))
        assert server._script.bodies == [KEY.encode()]


@on_a_loop
async def test_a_body_with_secrets_is_whole_also_when_its_connection_dies_under_it():
    bodies = []

    async def script(peer: Peer) -> None:
        bodies.append((await peer.request())[1])
        await peer.send(OK)
        if peer.number == 1:
            await asyncio.sleep(0.05)  # until the next one's body has begun

    async def slowly(body: RequestBody) -> None:
        await body.write(b"abc")
        await asyncio.sleep(0.15)
        await write(body, KEY.encode())

    async with serving(script, secret_entry("http://127.0.0.1:*"), secrets={"KEY": SECRET}) as (server, web):
        await web.get(server)
        body = RequestBody(3 + len(KEY))
        assert (await asyncio.gather(web.get(server, method="PUT", body=body), slowly(body)))[0] == b"ok"
        assert server.connections == 2
    assert bodies == [b"", b"abc" + SECRET]


def test_a_secret_is_not_sent_elsewhere():
    web = web_with_secret(secret_entry("https://a.example"), entry("*"))
    for more in (
        {"headers": {"X": KEY}},
        {"path": f"/?{KEY}"},
        {"headers": {"Authorization": "Basic " + base64.b64encode(KEY.encode()).decode()}},
    ):
        failure = refused(web, "b.example", **more)
        assert failure.code is Code.HTTP_REQUEST_DENIED
        assert "secret KEY may not be sent to b.example" in str(failure)
    assert "in the path" in str(refused(web, "a.example", f"/{KEY}"))
    for trace in web.client.traces:
        assert KEY not in str(trace)


def test_a_secret_is_not_sent_where_in_a_request_it_may_not_stand():
    web = web_with_secret(secret_entry("http://a.example", Place.PARAMS))
    assert 'replace_in = ["headers"]' in str(refused(web, "a.example", headers={"X": KEY}))
    web.ask("a.example", f"/?{KEY}")


@on_a_loop
async def test_a_secret_that_comes_back_is_hidden_wherever_it_was_split():
    async def script(peer: Peer) -> None:
        await peer.request()
        head = b"HTTP/1.1 302 Found\r\nLocation: /next?k=%b\r\nTransfer-Encoding: chunked\r\n\r\n" % SECRET.replace(
            b" ", b"%20"
        )
        await peer.send(head.replace(b's3cret%20"/+\xc3\xa9%20value', b"s3cret%20%22%2F%2B%C3%A9%20value"))
        text = b"<" + SECRET + b">" + SECRET[:5]
        for at in range(len(text)):
            await peer.send(b"1\r\n" + text[at : at + 1] + b"\r\n")
        await peer.send(b"0\r\nX-Echo: " + SECRET + b"\r\n\r\n")

    async with serving(script, secret_entry("http://127.0.0.1:*"), secrets={"KEY": SECRET}) as (server, web):
        exchange = await web.respond(server)
        assert dict(exchange.headers)["location"] == f"/next?k={KEY}".encode()
        assert await read(exchange) == f"<{KEY}>".encode() + SECRET[:5]
        assert exchange.trailers == [("x-echo", KEY.encode())]


@on_a_loop
async def test_secrets_are_in_no_record_error_or_log(caplog):
    caplog.set_level(logging.DEBUG)

    async def script(peer: Peer) -> None:
        head, _ = await peer.request()
        await peer.send(f"HTTP/1.1 200 OK\r\nbad header {head!r}\r\n\r\n".encode("latin-1"))
        assert await peer.closed()

    plain = "plain-\"'é-value".encode()
    async with serving(script, secret_entry("http://127.0.0.1:*"), secrets={"KEY": plain}) as (server, web):
        with pytest.raises(HttpFailure) as raised:
            await web.get(server, f"/?k={KEY}", headers={"X": KEY})
        refused(web, "b.example", f"/?k={quote(plain)}")
        traces = web.client.traces
    assert raised.value.code is Code.HTTP_PROTOCOL_ERROR
    seen = msgspec.json.encode(traces).decode() + str(raised.value.value) + caplog.text
    assert "plain-" not in seen
    assert TOKEN not in seen
    assert [trace.uri for trace in traces] == [
        f"http://127.0.0.1:{server.port}/?k={{KEY}}",
        "http://b.example/?k={KEY}",
    ]


@pytest.mark.parametrize(
    "value",
    [b"", b"short", b"line\nbreak!", b" leading blank", b"trailing blank ", b"trailing-newline\n", b"nul\0inside"],
)
def test_values_that_cannot_be_secrets(value):
    assert unfit_value(value) is not None


def test_a_value_that_can_be_a_secret():
    assert unfit_value(SECRET) is None


# --- tracing ---------------------------------------------------------------------------------------------------------

TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = f"00-{TRACE}-b7ad6b7169203331-01"


@on_a_loop
async def test_each_request_is_a_span_of_the_execution_s_trace():
    context = {"traceparent": PARENT, "tracestate": "a=b"}
    async with serving(Echo(), context=context) as (server, web):
        for _ in range(2):
            await web.get(server)
        await web.get(server, headers={"TraceParent": "mine"})
        one, two, three = map(fields_of, server_heads(server))
        version, trace, span, flags = one["traceparent"].split("-")
        assert (version, trace, flags, len(span)) == ("00", TRACE, "01", 16)
        assert span not in {"b7ad6b7169203331", two["traceparent"].split("-")[2]}
        assert one["tracestate"] == "a=b"
        assert (three["traceparent"], "tracestate" in three) == ("mine", False)


@pytest.mark.parametrize("parent", ["", "junk", PARENT + "\r\nX: y", PARENT.upper()])
def test_without_a_trace_nothing_is_sent_of_one(parent):
    @on_a_loop
    async def run():
        async with serving(Echo(), context={"traceparent": parent, "tracestate": "a=b"}) as (server, web):
            await web.get(server)
            assert not {"traceparent", "tracestate", "x"} & set(fields_of(server_heads(server)[0]))

    run()


# --- records ---------------------------------------------------------------------------------------------------------


@on_a_loop
async def test_what_is_recorded_of_a_request():
    async with serving(Echo()) as (server, web):
        exchange = await web.respond(server, "/x?q=1", "PUT")
        uri = f"http://127.0.0.1:{server.port}/x?q=1"
        assert web.client.traces == (HttpTrace("PUT", uri, 1, None, 200, None),)
        await read(exchange)
        assert web.client.traces == (HttpTrace("PUT", uri, 1, 2, 200, None),)


def test_of_many_requests_the_first_and_the_last_are_recorded():
    web = Web(entry("*"))
    for number in range(3 * TRACES_MAX):
        refused(web, "a.example", f"bad{number}")
    numbers = [int(trace.uri.removeprefix("http://a.examplebad")) for trace in web.client.traces]
    half = TRACES_MAX // 2
    assert numbers == [*range(half), *range(3 * TRACES_MAX - half, 3 * TRACES_MAX)]


def test_a_record_has_a_limit():
    web = Web(entry("*"))
    web.ask("a.example", "/" + "x" * (URI_BYTES_MAX - 100))
    [trace] = web.client.traces
    assert len(trace.uri) == TRACE_URI_MAX
