"""HTTP for components in Python, beside stand-ins for the bindings of wasi:http."""

from __future__ import annotations

import importlib
import sys
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import pytest

from obelisk.authoring.languages.python import GUEST


@dataclass
class Ok:
    value: Any


@dataclass
class Err(Exception):
    value: Any


class Case:
    """A case of a variant, with what it carries if it carries something."""

    def __init__(self, *values: Any) -> None:
        if values:
            (self.value,) = values


def case(name: str) -> type[Case]:
    return type(name, (Case,), {})


class Handle:
    """A resource; those that are open are counted."""

    open = 0

    def __init__(self) -> None:
        Handle.open += 1
        self.dropped = False

    def __enter__(self) -> Any:
        return self

    def __exit__(self, *_: object) -> None:
        assert not self.dropped
        self.dropped = True
        Handle.open -= 1

    consumed = __exit__


class Pollable(Handle):
    def block(self) -> None:
        pass


class Fields(Handle):
    def __init__(self, entries: list[tuple[str, bytes]]) -> None:
        super().__init__()
        self._entries = entries

    @classmethod
    def from_list(cls, entries: list[tuple[str, bytes]]) -> Fields:
        if any(name == "host" for name, _ in entries):
            raise Err(case("HeaderError_Forbidden")())
        return cls(entries)

    def entries(self) -> list[tuple[str, bytes]]:
        return self._entries


class Input(Handle):
    """`streams.InputStream` that has pieces, and then an end: a `StreamError`."""

    def __init__(self, pieces: list[bytes], end: Case) -> None:
        super().__init__()
        self.pieces, self.end = [*pieces], end

    def blocking_read(self, size: int) -> bytes:
        if not self.pieces:
            raise Err(self.end)
        piece = self.pieces.pop(0)
        if len(piece) > size:
            self.pieces.insert(0, piece[size:])
        return piece[:size]


class Output(Handle):
    def __init__(self, web: Web) -> None:
        super().__init__()
        self._web = web

    def subscribe(self) -> Pollable:
        return Pollable()

    def check_write(self) -> int:
        if self._web.breaks:
            raise Err(case("StreamError_Closed")())
        return 3

    def write(self, data: bytes) -> None:
        assert 0 < len(data) <= 3
        self._web.body += data

    def blocking_flush(self) -> None:
        pass


class Web:
    """What answers; and the bindings."""

    def __init__(self) -> None:
        self.outcome: Any = Ok(None)
        self.refused: Any = None
        self.pieces: list[bytes] = [b"hello"]
        self.end: Case = case("StreamError_Closed")()
        self.breaks = False
        self.sent: dict[str, Any] = {}
        self.body = b""
        self.timeouts: dict[str, int] = {}

    def modules(self) -> dict[str, dict[str, Any]]:
        web = self

        class OutgoingBody(Handle):
            def write(self) -> Output:
                return Output(web)

            @classmethod
            def finish(cls, body: OutgoingBody, trailers: None) -> None:
                body.consumed()
                if web.breaks:
                    raise Err(case("ErrorCode_HttpRequestBodySize")(3))

        class OutgoingRequest(Handle):
            def __init__(self, headers: Fields) -> None:
                super().__init__()
                headers.consumed()
                web.sent["headers"] = headers.entries()

            def set_method(self, method: Case) -> None:
                web.sent["method"] = getattr(method, "value", type(method).__name__)

            def set_scheme(self, scheme: Case) -> None:
                web.sent["scheme"] = type(scheme).__name__

            def set_authority(self, authority: str) -> None:
                if " " in authority:
                    raise Err(None)
                web.sent["authority"] = authority

            def set_path_with_query(self, path: str) -> None:
                web.sent["path"] = path

            def body(self) -> OutgoingBody:
                return OutgoingBody()

        class RequestOptions(Handle):
            def __getattr__(self, name: str) -> Any:
                assert name.startswith("set_")
                return lambda ns: web.timeouts.update({name[4:]: ns})

        class IncomingBody(Handle):
            def stream(self) -> Input:
                return Input(web.pieces, web.end)

        class IncomingResponse(Handle):
            def status(self) -> int:
                return 201

            def headers(self) -> Fields:
                return Fields([("Content-Type", b"text/plain"), ("x", b"\xe9"), ("x", b"2")])

            def consume(self) -> IncomingBody:
                return IncomingBody()

        class Future(Handle):
            def subscribe(self) -> Pollable:
                return Pollable()

            def get(self) -> Any:
                return Ok(Ok(IncomingResponse()) if isinstance(web.outcome, Ok) else web.outcome)

        def handle(request: OutgoingRequest, options: RequestOptions) -> Future:
            request.consumed()
            options.consumed()
            if web.refused is not None:
                raise Err(web.refused)
            return Future()

        cases = ["Method_Get", "Method_Post", "Method_Other", "Scheme_Http", "Scheme_Https"]
        return {
            "types": {
                **{name: case(name) for name in cases},
                **{each.__name__: each for each in (Fields, OutgoingBody, OutgoingRequest, RequestOptions)},
                "http_error_code": lambda error: error.code,
            },
            "outgoing_handler": {"handle": handle},
            "streams": {"StreamError_Closed": type(self.end)},
        }


@pytest.fixture
def web():
    return Web()


@pytest.fixture
def load(web, monkeypatch):
    """A function: imports the module into a world with `types` of that name."""
    monkeypatch.syspath_prepend(str(GUEST))
    for name in [*sys.modules]:
        if name.partition(".")[0] in {"obelisk_guest", "wit_world", "componentize_py_types"}:
            monkeypatch.delitem(sys.modules, name)

    def module(name: str, **contents: Any) -> None:
        made = ModuleType(name)
        vars(made).update(contents)
        monkeypatch.setitem(sys.modules, name, made)

    def make(types: str | None = "types") -> Any:
        module("componentize_py_types", Ok=Ok, Err=Err)
        module("wit_world", __path__=[])
        module("wit_world.imports", __path__=[])
        if types is not None:
            for name, contents in web.modules().items():
                module(f"wit_world.imports.{types if name == 'types' else name}", **contents)
            if types != "types":
                module("wit_world.imports.types")  # of another interface
        return importlib.import_module("obelisk_guest.http")

    yield make
    for name in [*sys.modules]:
        if name.partition(".")[0] == "obelisk_guest":
            del sys.modules[name]


@pytest.fixture
def http(load):
    """The module; at the end, every handle has been dropped."""
    Handle.open = 0
    yield load()
    assert Handle.open == 0


def test_a_response_is_read_in_pieces(http, web):
    web.pieces = [b"hell", b"o", b"!"]
    with http.request("GET", "https://user.example:8443/a/b?c=d#e", headers={"accept": "*/*"}) as response:
        assert (response.status, response.header("content-type"), response.header("y")) == (201, "text/plain", None)
        assert response.headers == [("Content-Type", "text/plain"), ("x", "é"), ("x", "2")]
        assert [response.read(2), *response] == [b"he", b"ll", b"o", b"!"]
        assert response.read() == b""
    assert response.read() == b""
    response.close()
    assert web.sent == {
        "headers": [("accept", b"*/*")],
        "method": "Method_Get",
        "scheme": "Scheme_Https",
        "authority": "user.example:8443",
        "path": "/a/b?c=d",
    }


@pytest.mark.parametrize(("method", "expected"), [("POST", "Method_Post"), ("OTHER", "OTHER"), ("purge", "purge")])
def test_a_body_is_written_as_it_is_taken(http, web, method, expected):
    http.request(method, "http://a", body="añ" * 3, connect_timeout=0.5, between_bytes_timeout=2).close()
    assert web.body == ("añ" * 3).encode()
    assert (web.sent["method"], web.sent["path"], web.sent["headers"]) == (expected, "/", [("content-length", b"9")])
    assert web.timeouts == {"connect_timeout": 500_000_000, "between_bytes_timeout": 2_000_000_000}


def test_a_length_that_was_given_and_an_empty_body(http, web):
    http.request("POST", "http://a/?q", headers=[("Content-Length", "0")], body=b"").close()
    assert (web.sent["headers"], web.sent["path"], web.body) == ([("Content-Length", b"0")], "/?q", b"")


def test_whole_bodies_have_a_limit(http, web):
    def response():
        return http.request("GET", "http://a")

    web.pieces = [b'{"a":', b" 1}"]
    with response() as one, response() as two, response() as three:
        assert (one.text(), two.json(), three.content(8)) == ('{"a": 1}', {"a": 1}, b'{"a": 1}')
    with response() as four, pytest.raises(ValueError, match=r"^GET http://a: the body has more than 7 bytes$"):
        four.text(limit=7)
    web.pieces = [b"\xff"]
    with response() as five:
        assert five.text() == "\N{REPLACEMENT CHARACTER}"


def test_what_was_not_allowed_is_told_with_what_would_allow_it(http, web):
    web.refused = case("ErrorCode_HttpRequestDenied")()
    with pytest.raises(http.HttpError, match=r"^GET http://a: HTTP-request-denied: no \[\[activity_wasm") as raised:
        http.request("GET", "http://a")
    assert raised.value.code == "HTTP-request-denied"


@pytest.mark.parametrize(
    ("code", "told"),
    [
        (case("ErrorCode_DnsTimeout")(), "DNS-timeout"),
        (case("ErrorCode_DestinationIpProhibited")(), "destination-IP-prohibited"),
        (case("ErrorCode_HttpRequestUriTooLong")(), "HTTP-request-URI-too-long"),
        (case("ErrorCode_InternalError")("why"), "internal-error: why"),
        (case("ErrorCode_InternalError")(None), "internal-error"),
    ],
)
def test_a_failure_is_told_as_wit_names_it(http, web, code, told):
    web.outcome = Err(code)
    with pytest.raises(http.HttpError) as raised:
        http.request("GET", "http://a")
    assert (str(raised.value), raised.value.code) == (f"GET http://a: {told}", told.partition(":")[0])


def test_a_body_that_cannot_be_written_does_not_hide_the_response(http, web):
    web.breaks = True
    with http.request("POST", "http://a", body=b"xyz") as response:
        assert response.status == 201


def test_a_body_that_breaks_off_is_an_error(http, web):
    class Broken(Handle):
        code = case("ErrorCode_HttpResponseIncomplete")()

        def to_debug_string(self):
            return "gone"

    with Broken() as error:
        web.end = case("StreamError_LastOperationFailed")(error)
        with http.request("GET", "http://a") as response:
            assert response.read() == b"hello"
            with pytest.raises(http.HttpError, match=r"^GET http://a: HTTP-response-incomplete$"):
                response.read()
            error.code = None
            with pytest.raises(http.HttpError, match=r"^GET http://a: gone$"):
                response.read()


@pytest.mark.parametrize("url", ["nowhere", "ftp://a/", "http:///a", "http://a b/"])
def test_what_is_no_request_is_refused(http, url):
    Handle.open = 0
    with pytest.raises(ValueError, match="is not a"):
        http.request("GET", url)
    Handle.open = 0  # a request that was not sent goes with the instance


def test_headers_that_are_the_servers_are_refused(http):
    with pytest.raises(ValueError, match=r"^the headers cannot be sent: forbidden$"):
        http.request("GET", "http://a", headers={"host": "b"})


def test_a_world_with_several_interfaces_of_that_name_has_it_under_a_longer_one(load):
    load("wasi_http_types").request("GET", "http://a").close()


def test_a_world_without_http_says_so(load):
    http = load(None)
    with pytest.raises(ImportError, match=r"^request needs wasi:http/types; the component's world must import it"):
        http.request("GET", "http://a")
