"""What one run may do over HTTP, and what it did.

Decides whether a request that a guest made goes out, before anything is opened, and what is sent along with it. One for each
run; the connections are those of the process.
"""

from __future__ import annotations

import logging
import re
import secrets
from collections.abc import Callable, Mapping
from typing import Final

from obelisk.core.egress import PORTS, Denial, EgressPolicy, Outgoing, Permission, Place, decide, normal_host
from obelisk.core.http_traces import HttpTrace
from obelisk.core.instants import Instant
from obelisk.core.spans import Traceparent, parse_traceparent
from obelisk.wasm.wasi.http.body import Fields, RequestBody
from obelisk.wasm.wasi.http.connecting import Connections
from obelisk.wasm.wasi.http.exchange import Exchange
from obelisk.wasm.wasi.http.failures import Code, HttpFailure
from obelisk.wasm.wasi.http.held import Held
from obelisk.wasm.wasi.http.limits import HEADER_BYTES_MAX, OPEN_MAX, URI_BYTES_MAX
from obelisk.wasm.wasi.http.placeholders import Placeholders, basic_credentials
from obelisk.wasm.wasi.http.records import Now, Record, Records
from obelisk.wasm.wasi.http.sending import Request, Timeouts

_log: Final = logging.getLogger(__name__)
_NOT_COMPRESSED: Final = ("accept-encoding", b"identity")
"""Sent to where secrets may go, unless the guest says what it wants: a secret is not found in what is compressed."""
_METHOD: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_AUTHORITY: Final = re.compile(r"(?P<host>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::(?P<port>[0-9]{1,5}))?")
_PATH: Final = re.compile(r"[/?][!\"$-~]*|\*")


class HttpClient:
    """`secret_values`: those that the policy's entries name. `trace_context`: `traceparent` and `tracestate` of the
    execution, where it has them.
    """

    def __init__(
        self,
        connections: Connections,
        policy: EgressPolicy,
        now: Now,
        secret_values: Mapping[str, bytes] | None = None,
        trace_context: Mapping[str, str] | None = None,
        random_text: Callable[[], str] = lambda: secrets.token_hex(16),
    ) -> None:
        self._connections = connections
        self._policy = policy
        self._placeholders = Placeholders(secret_values or {}, random_text)
        self._trace_context = trace_context or {}
        self._parent = parse_traceparent(self._trace_context.get("traceparent", ""))
        self._records = Records(now)
        self._open: set[Exchange] = set()
        self.held = Held()
        """What is kept of headers."""
        self.bodies: set[RequestBody] = set()
        """Of requests that are not over, sent or not."""
        self.tell: Callable[[str], None] = _log.warning
        """Where a request that was denied is told; whoever uses it may say. From any thread."""
        self.is_used = False
        """Whether `close` is to be called; by whoever uses it."""

    @property
    def environment(self) -> Mapping[str, str]:
        """Variables that the guest is to see: a placeholder for each secret."""
        return self._placeholders.environment

    @property
    def traces(self) -> tuple[HttpTrace, ...]:
        """What was sent by now. On any thread."""
        return self._records.traces

    def exchange(
        self,
        method: str,
        scheme: str,
        authority: str,
        path_with_query: str,
        headers: Fields,
        body: RequestBody | None,
        timeouts: Timeouts,
    ) -> Exchange:
        """A request that may go out; nothing was opened yet. On any thread. `HttpFailure` when it may not."""
        record = self._records.add(method, self._placeholders.shown(f"{scheme}://{authority}{path_with_query}"))
        try:
            return self._exchange(method, scheme, authority, path_with_query, headers, body, timeouts, record)
        except HttpFailure as failure:
            record.fail(self._placeholders.shown(failure.text))
            self._tell(failure)
            raise

    def close(self) -> None:
        """The run is over: what is open is closed. On the loop."""
        for exchange in tuple(self._open):
            exchange.close()

    async def respond(self, exchange: Exchange) -> Exchange:
        """Sends the request and waits for the head of its response. On the loop. `HttpFailure`."""
        if len(self._open) >= OPEN_MAX:
            failure = HttpFailure(Code.CONNECTION_LIMIT_REACHED, f"{OPEN_MAX} requests of this run are under way")
            exchange.fail(failure)
            raise failure
        self._open.add(exchange)
        exchange.on_end = self._open.discard
        try:
            return await exchange.respond()
        except HttpFailure as failure:
            self._tell(failure)
            raise

    def _tell(self, failure: HttpFailure) -> None:
        """What is kept from going out is told with what is missing: the guest's own error has no room for it."""
        if failure.code in {Code.HTTP_REQUEST_DENIED, Code.DESTINATION_IP_PROHIBITED}:
            self.tell(self._placeholders.shown(str(failure)))

    def _exchange(
        self,
        method: str,
        scheme: str,
        authority: str,
        path: str,
        headers: Fields,
        body: RequestBody | None,
        timeouts: Timeouts,
        record: Record,
    ) -> Exchange:
        outgoing = outgoing_request(method, scheme, authority, path)
        size = sum(len(name) + len(value) + 4 for name, value in headers)
        if size > HEADER_BYTES_MAX:
            raise HttpFailure(
                Code.HTTP_REQUEST_HEADER_SECTION_SIZE,
                f"the headers have {size} bytes; {HEADER_BYTES_MAX} are allowed",
                (HEADER_BYTES_MAX,),
            )
        decision = decide(self._policy, outgoing)
        if isinstance(decision, Denial):
            raise HttpFailure(Code.HTTP_REQUEST_DENIED, decision.message)
        if self._placeholders:
            self._check_secrets(decision, headers)
        given = {name.lower() for name, _ in headers}
        fields = [*headers, *self._tracing(given, record)]
        if self._placeholders and "accept-encoding" not in given and decision.may_carry_any():
            fields.append(_NOT_COMPRESSED)
        return Exchange(self._connections, Request(decision, fields, body, timeouts), self._placeholders, record)

    def _check_secrets(self, permission: Permission, headers: Fields) -> None:
        """Placeholders are only where their values may go."""
        path, _, query = permission.request.path_with_query.encode().partition(b"?")
        in_headers: set[str] = set()
        for name, value in headers:
            in_headers |= self._placeholders.names_in(value)
            if name.lower() == "authorization":
                in_headers |= self._placeholders.names_in(basic_credentials(value.strip(b" \t")) or b"")
        for secret in sorted(self._placeholders.names_in(path)):
            raise HttpFailure(
                Code.HTTP_REQUEST_DENIED,
                f"secret {secret} stands in the path of a URL; it can be in headers, in the query or in the body",
            )
        for place, names in ((Place.PARAMS, self._placeholders.names_in(query)), (Place.HEADERS, in_headers)):
            for secret in sorted(names):
                if not permission.may_carry(secret, place):
                    raise HttpFailure(Code.HTTP_REQUEST_DENIED, permission.withheld(secret, place))

    def _tracing(self, given: set[str], record: Record) -> Fields:
        """Headers that connect the request with the execution's trace: a span of its own, which is recorded. A guest's own
        ones stay.
        """
        parent = self._parent
        if parent is None or "traceparent" in given:
            return []
        record.span_id = secrets.token_hex(8)
        fields = [("traceparent", str(Traceparent(parent.trace_id, record.span_id, parent.flags)).encode())]
        state = self._trace_context.get("tracestate", "")
        if state and state.isascii() and state.isprintable() and "tracestate" not in given:
            fields.append(("tracestate", state.encode()))
        return fields


def sends_nothing() -> HttpClient:
    """A client that denies every request."""
    return HttpClient(Connections(), EgressPolicy(), lambda: Instant(0))


def outgoing_request(method: str, scheme: str, authority: str, path_with_query: str) -> Outgoing:
    """The parts of a request, checked. `HttpFailure` when they are none of HTTP's."""
    if not is_method(method) or method.upper() == "CONNECT":
        raise HttpFailure(Code.HTTP_REQUEST_METHOD_INVALID, "the method is none that can be sent")
    if len(authority) + len(path_with_query) > URI_BYTES_MAX:
        raise HttpFailure(Code.HTTP_REQUEST_URI_TOO_LONG, f"the URL is longer than {URI_BYTES_MAX} bytes")
    found = _AUTHORITY.fullmatch(authority)
    host = None if found is None else normal_host(found["host"])
    if scheme not in PORTS or found is None or host is None or not is_path(path_with_query):
        raise HttpFailure(Code.HTTP_REQUEST_URI_INVALID, "the URL is none of http or https")
    port = int(found["port"]) if found["port"] else PORTS[scheme]
    if not 1 <= port <= 65_535:
        raise HttpFailure(Code.HTTP_REQUEST_URI_INVALID, f"{port} is not a port")
    path = f"/{path_with_query}" if path_with_query.startswith("?") else path_with_query
    return Outgoing(method, scheme, host, port, path)


def is_method(text: str) -> bool:
    """Whether it is written like a method."""
    return _METHOD.fullmatch(text) is not None


def is_authority(text: str) -> bool:
    """Whether it is a host, perhaps with a port."""
    found = _AUTHORITY.fullmatch(text)
    return found is not None and normal_host(found["host"]) is not None


def is_path(text: str) -> bool:
    """Whether it is a path, perhaps with a query, as it is sent."""
    return _PATH.fullmatch(text) is not None
