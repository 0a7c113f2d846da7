"""The functions of `wasi:http/types` and `wasi:http/outgoing-handler`.

Decides nothing: each is a method of its resource. Those for requests that come in are there so that components link which
import them and do not use them; they trap.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from obelisk.wasm.wasi.host import Answer, GuestTrap, Host, WasiFunction, method
from obelisk.wasm.wasi.http.failures import HttpFailure
from obelisk.wasm.wasi.http.fields import HttpFields
from obelisk.wasm.wasi.http.resources import OK, HttpHost, IncomingBody, OutgoingBody, OutgoingRequest, RequestOptions
from obelisk.wit.types import Value


def _http_error_code(_host: Host, error: Any) -> Answer:
    return (error.cause.value,) if isinstance(error.cause, HttpFailure) else None


def _handle(host: HttpHost, request: OutgoingRequest, options: Value) -> Answer:
    return request.send(host, None if options is None else options[0])


def _body(host: HttpHost, request: OutgoingRequest) -> Answer:
    return request.body(host)


def _finish_outgoing(_host: Host, body: OutgoingBody, trailers: Value) -> Answer:
    return body.finish(None if trailers is None else trailers[0])


def _finish_incoming(_host: Host, body: IncomingBody) -> Answer:
    return body.finish()


def _option(name: str) -> WasiFunction:
    def get(_host: Host, options: RequestOptions) -> Answer:
        return getattr(options, name)

    return get


def _set_option(name: str) -> WasiFunction:
    def set_(_host: Host, options: RequestOptions, duration: Value) -> Answer:
        setattr(options, name, duration)
        return OK

    return set_


def _for_webhooks(name: str) -> WasiFunction:
    def trap(_host: Host, *_arguments: Value) -> Answer:
        raise GuestTrap(f"wasi:http/types.{name} is for components that handle requests; an activity sends them")

    return trap


_INCOMING: Final = (
    *(f"[method]incoming-request.{name}" for name in ("method", "path-with-query", "scheme", "authority")),
    *(f"[method]incoming-request.{name}" for name in ("headers", "consume")),
    "[method]response-outparam.send-informational",
    "[static]response-outparam.set",
    "[constructor]outgoing-response",
    *(f"[method]outgoing-response.{name}" for name in ("status-code", "set-status-code", "headers", "body")),
)

FUNCTIONS: Final[Mapping[str, Mapping[str, WasiFunction]]] = {
    "wasi:http/outgoing-handler": {"handle": _handle},
    "wasi:http/types": {
        "http-error-code": _http_error_code,
        "[constructor]fields": lambda host: HttpFields((), host.http.held),
        "[static]fields.from-list": lambda host, entries: HttpFields.from_list(entries, host.http.held),
        "[method]fields.get": method("get"),
        "[method]fields.has": method("has"),
        "[method]fields.set": method("set"),
        "[method]fields.delete": method("delete"),
        "[method]fields.append": method("append"),
        "[method]fields.entries": method("all_entries"),
        "[method]fields.clone": method("clone"),
        "[constructor]request-options": lambda _host: RequestOptions(),
        **{
            f"[method]request-options.{verb}{name}-timeout": make(name.replace("-", "_"))
            for name in ("connect", "first-byte", "between-bytes")
            for verb, make in (("", _option), ("set-", _set_option))
        },
        "[constructor]outgoing-request": lambda _host, headers: OutgoingRequest(headers),
        "[method]outgoing-request.body": _body,
        "[method]outgoing-request.method": method("method"),
        "[method]outgoing-request.set-method": method("set_method"),
        "[method]outgoing-request.path-with-query": method("path_with_query"),
        "[method]outgoing-request.set-path-with-query": method("set_path_with_query"),
        "[method]outgoing-request.scheme": method("scheme"),
        "[method]outgoing-request.set-scheme": method("set_scheme"),
        "[method]outgoing-request.authority": method("authority"),
        "[method]outgoing-request.set-authority": method("set_authority"),
        "[method]outgoing-request.headers": method("headers"),
        "[method]outgoing-body.write": method("write"),
        "[static]outgoing-body.finish": _finish_outgoing,
        "[method]future-incoming-response.subscribe": method("subscribe"),
        "[method]future-incoming-response.get": method("get"),
        "[method]incoming-response.status": method("status"),
        "[method]incoming-response.headers": method("headers"),
        "[method]incoming-response.consume": method("consume"),
        "[method]incoming-body.stream": method("stream"),
        "[static]incoming-body.finish": _finish_incoming,
        "[method]future-trailers.subscribe": method("subscribe"),
        "[method]future-trailers.get": method("get"),
        **{name: _for_webhooks(name) for name in _INCOMING},
    },
}
