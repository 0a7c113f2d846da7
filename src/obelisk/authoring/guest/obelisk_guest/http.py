"""HTTP, for activities: a request over wasi:http, and its response, read in pieces.

Decides how a request is made of a URL, and how one that failed is told: by `HttpError`, with the code of wasi:http and, where the
operator's configuration did not allow it, what would. Whether it is allowed, the server decides.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from json import loads
from re import findall
from types import TracebackType
from typing import Any, Final, Self
from urllib.parse import urlsplit

from obelisk_guest.world import Err, imported

BODY_MAX: Final = 10_000_000
"""Bytes of a body that is read as a whole, unless it is said otherwise."""
CHUNK: Final = 64 << 10
"""Bytes that one read gives at most."""
_UPPER: Final = ("Dns", "Ip", "Tls", "Http", "Uri")
_DENIED: Final = "HTTP-request-denied"


class HttpError(Exception):
    """A request that got no response, or not all of one. `code` is that of wasi:http: `HTTP-request-denied`."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code: Final = code


class Response:
    """The response to a request: to be read once, from its beginning, and closed: `with request(…) as response`."""

    def __init__(self, raw: Any, what: str) -> None:
        self.status: Final[int] = raw.status()
        with raw.headers() as fields:
            self.headers: Final = [(name, value.decode("latin-1")) for name, value in fields.entries()]
            """In their order."""
        self._what = what
        self._body = raw.consume()
        self._stream = self._body.stream()
        self._open = [self._stream, self._body, raw]
        """Handles, children before their parents."""

    def header(self, name: str) -> str | None:
        """The first header of that name, in any case of letters."""
        return next((value for each, value in self.headers if each.lower() == name.lower()), None)

    def read(self, size: int = CHUNK) -> bytes:
        """The next bytes, `size` of them or fewer; none at the end. `HttpError`."""
        streams = imported("streams", "Response")
        while self._open:
            try:
                data: bytes = self._stream.blocking_read(min(size, CHUNK))
            except Err as failed:
                if isinstance(failed.value, streams.StreamError_Closed):
                    return b""
                raise _broken(self._what, failed.value.value) from None
            if data or not size:
                return data
        return b""

    def __iter__(self) -> Iterator[bytes]:
        """The body in pieces."""
        while data := self.read():
            yield data

    def content(self, limit: int = BODY_MAX) -> bytes:
        """What is left of the body. `ValueError` when that is more than `limit` bytes; `HttpError`."""
        parts, size = [], 0
        for part in self:
            size += len(part)
            if size > limit:
                raise ValueError(f"{self._what}: the body has more than {limit} bytes")
            parts.append(part)
        return b"".join(parts)

    def text(self, limit: int = BODY_MAX) -> str:
        """The same as text: UTF-8, and signs of replacement for what is not."""
        return self.content(limit).decode("utf-8", "replace")

    def json(self, limit: int = BODY_MAX) -> Any:
        """The same as JSON. `ValueError` when it is not."""
        return loads(self.content(limit))

    def close(self) -> None:
        """Nothing more is read; also more than once."""
        handles, self._open = self._open, []
        for handle in handles:
            handle.__exit__(None, None, None)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


def request(
    method: str,
    url: str,
    *,
    headers: Mapping[str, str] | Iterable[tuple[str, str]] = (),
    body: bytes | str | None = None,
    connect_timeout: float | None = None,
    first_byte_timeout: float | None = None,
    between_bytes_timeout: float | None = None,
) -> Response:
    """Sends a request, and waits for the head of the response; whatever its status is. Timeouts are in seconds; without one the
    server's count. `HttpError`; `ValueError` for what is no request.
    """
    types, handler = imported("http_types", "request"), imported("outgoing_handler", "request")
    what = f"{method} {url}"
    data = body.encode() if isinstance(body, str) else body
    given = list(headers.items() if isinstance(headers, Mapping) else headers)
    if data is not None and not any(name.lower() == "content-length" for name, _ in given):
        given.append(("content-length", str(len(data))))
    outgoing = _outgoing(types, method, url, given)
    sink = outgoing.body() if data is not None else None
    options = types.RequestOptions()
    for name, seconds in (
        ("connect_timeout", connect_timeout),
        ("first_byte_timeout", first_byte_timeout),
        ("between_bytes_timeout", between_bytes_timeout),
    ):
        if seconds is not None:
            getattr(options, f"set_{name}")(round(seconds * 1e9))
    try:
        future = handler.handle(outgoing, options)
    except Err as failed:
        raise _failed(what, failed.value) from None
    with future:
        if sink is not None:
            _write(types, sink, data or b"")
        with future.subscribe() as arrived:
            arrived.block()
        outcome = future.get().value  # it is there, and was not taken before
    if isinstance(outcome, Err):
        raise _failed(what, outcome.value)
    return Response(outcome.value, what)


def _outgoing(types: Any, method: str, url: str, headers: list[tuple[str, str]]) -> Any:
    parts = urlsplit(url)
    schemes = {"http": types.Scheme_Http, "https": types.Scheme_Https}
    if parts.scheme not in schemes or not parts.netloc:
        raise ValueError(f"{url!r} is not an address of http or https")
    try:
        fields = types.Fields.from_list([(name, value.encode("latin-1")) for name, value in headers])
    except Err as refused:
        raise ValueError(f"the headers cannot be sent: {_name(refused.value)}") from None
    known = getattr(types, f"Method_{method.capitalize()}", None)
    outgoing = types.OutgoingRequest(fields)
    try:
        outgoing.set_method(types.Method_Other(method) if known is None or known is types.Method_Other else known())
        outgoing.set_scheme(schemes[parts.scheme]())
        outgoing.set_authority(parts.netloc)
        outgoing.set_path_with_query((parts.path or "/") + (f"?{parts.query}" if parts.query else ""))
    except Err:
        raise ValueError(f"{method} {url!r} is not a request") from None
    return outgoing


def _write(types: Any, sink: Any, data: bytes) -> None:
    """Writes a body. Where that fails, the response, or that there is none, tells why."""
    with sink.write() as stream, stream.subscribe() as ready:
        try:
            while data:
                ready.block()
                permitted = stream.check_write()
                stream.write(data[:permitted])
                data = data[permitted:]
            stream.blocking_flush()
        except Err:
            pass
    with suppress(Err):
        types.OutgoingBody.finish(sink, None)


def _failed(what: str, code: Any) -> HttpError:
    """An `error-code`."""
    name = _name(code)
    said = f": {code.value}" if isinstance(getattr(code, "value", None), str) else ""
    if name == _DENIED:
        said = ": no [[activity_wasm.allowed_host]] of the server's configuration allows it; `obelisk execution events` has the entry"
    return HttpError(name, f"{what}: {name}{said}")


def _broken(what: str, error: Any) -> HttpError:
    """An error of a stream."""
    types = imported("http_types", "Response")
    code = types.http_error_code(error)
    return HttpError("internal-error", f"{what}: {error.to_debug_string()}") if code is None else _failed(what, code)


def _name(case: Any) -> str:
    """A case of a variant as WIT writes it."""
    words = findall("[A-Z][a-z0-9]*", type(case).__name__.partition("_")[2])
    return "-".join(word.upper() if word in _UPPER else word.lower() for word in words)
