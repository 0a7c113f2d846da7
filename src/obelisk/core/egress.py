"""The egress policy: which HTTP requests the functions of a component may send, and where secrets may go.

Decides, of one request, whether it may go out; when not, what is missing, spelled out as TOML. Denied is what nothing
allows. Pure: looks up no name, opens nothing, knows no secret.

A request passes two tests. Before anything is looked up, its method and URL must fit an entry (`decide`). Then each address
that its host's name has must be one that the entry lets it reach (`Permission.reaches`): a public one, unless the entry
says otherwise. So a name that is allowed cannot be pointed at the machine's own network.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from enum import StrEnum
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final

import msgspec

PORTS: Final = {"http": 80, "https": 443}
"""The schemes there are, and their ports."""
ANY: Final = "*"

_PATTERN: Final = re.compile(
    r"(?:(?P<scheme>https?)://)?"
    r"(?:\[(?P<v6>[0-9A-Fa-f:.]+)\]|(?P<host>[A-Za-z0-9._*-]+))"
    r"(?::(?P<port>[0-9]{1,5}|\*))?/?",
    re.ASCII,
)
_LABELS: Final = re.compile(r"[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?)*", re.ASCII)
_SLASH: Final = r"(?:/|\\|%2f|%5c)"
_DOTS: Final = re.compile(rf"(?:^|{_SLASH})(?:\.|%2e){{1,2}}(?:;|%3b|{_SLASH}|$)", re.IGNORECASE)
"""A segment `.` or `..` as any server reads it: some take `%2f` or a backslash for a slash, some leave out what follows a `;`."""
_SHOWN_MAX: Final = 300
_NAT64: Final = IPv6Network("64:ff9b::/96")

Address = IPv4Address | IPv6Address


class InvalidPattern(ValueError):
    """A text is not the pattern of a host; the message says what is wrong."""


class Place(StrEnum):
    """Where in a request a secret may stand."""

    HEADERS = "headers"
    PARAMS = "params"
    """The query of the URL."""
    BODY = "body"


class HostPattern(msgspec.Struct, frozen=True):
    """Which servers an entry is about."""

    host: str
    """A name in lower case, `*.` and a name for all below it, `*` for all, or an address without brackets."""
    scheme: str | None = None
    """None: both."""
    port: int | None = None
    """None: that of the scheme; 0: any."""

    def matches(self, scheme: str, host: str, port: int) -> bool:
        """Whether a request to `host`, as `normal_host` gives it, is meant."""
        ports = PORTS[scheme] if self.port is None else self.port
        if self.scheme not in {None, scheme} or ports not in {0, port}:
            return False
        if self.host.startswith("*."):
            return host.endswith(self.host[1:]) and address_of(host) is None
        return self.host in {ANY, host}

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        port = "" if self.port is None else ":*" if self.port == 0 else f":{self.port}"
        return f"{self.scheme}://{host}{port}" if self.scheme else f"{host}{port}"


class AllowedHost(msgspec.Struct, frozen=True):
    """One `allowed_host`: requests that may go out."""

    pattern: HostPattern
    methods: tuple[str, ...] = ()
    """In upper case, or `("*",)`. Empty: none, so the entry allows nothing."""
    request_url_regex: str | None = None
    """What the whole URL must match; None: anything."""
    addresses: tuple[str, ...] = ()
    """Networks that the host's name may lead to besides public addresses."""
    secrets: dict[str, str] = {}
    """Secrets that may be sent there: by name, the variable of the server's environment that has the value."""
    replace_in: tuple[Place, ...] = (Place.HEADERS,)

    def allows_method(self, method: str) -> bool:
        """Whether requests with that method are meant."""
        return ANY in self.methods or method in self.methods

    def allows_url(self, url: str) -> bool:
        """Whether the expression, if there is one, matches the whole URL. A path with `.` or `..` as a segment never
        does: the server would see another path than the one that was looked at.
        """
        if self.request_url_regex is None:
            return True
        path = url.partition("://")[2].partition("?")[0].partition("/")[2]
        return not _DOTS.search(path) and re.fullmatch(self.request_url_regex, url) is not None

    def reaches(self, host: str, address: Address) -> bool:
        """Whether a request to `host` may be sent to that address."""
        if address_of(self.pattern.host) == address == address_of(host):
            return True
        if _is_localhost(self.pattern.host) and address.is_loopback:
            return True
        return is_public(address) or any(address in network for network in _networks(self.addresses))


class EgressPolicy(msgspec.Struct, frozen=True):
    """What the functions of one component may send."""

    allowed: tuple[AllowedHost, ...] = ()
    operator: tuple[AllowedHost, ...] | None = None
    """What the server allows any component; None: whatever the component's own entries say. Both must allow a request."""
    component: str = ""
    """What it is called, for messages."""
    table: str = "activity_wasm"
    """Where its own entries are written."""


class Outgoing(msgspec.Struct, frozen=True):
    """A request that wants to go out. `host` as `normal_host` gives it."""

    method: str
    scheme: str
    host: str
    port: int
    path_with_query: str = "/"

    @property
    def authority(self) -> str:
        """Host and, where it is not that of the scheme, port: as a `Host` header has it."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == PORTS.get(self.scheme) else f"{host}:{self.port}"

    @property
    def url(self) -> str:
        """The whole of it."""
        return f"{self.scheme}://{self.authority}{self.path_with_query}"

    @property
    def place(self) -> str:
        """The URL without its query, for messages."""
        return self.url.partition("?")[0][:_SHOWN_MAX]


class Denial(msgspec.Struct, frozen=True):
    """A request must not go out."""

    message: str
    """What is missing, and the TOML to write."""


class Permission(msgspec.Struct, frozen=True):
    """A request may go out, to addresses that `reaches` approves of."""

    request: Outgoing
    allowed: tuple[AllowedHost, ...]
    operator: tuple[AllowedHost, ...] | None

    def reaches(self, address: str) -> bool:
        """Whether the request may be sent to that address, a numeric one."""
        parsed = address_of(address)
        if parsed is None:
            return False
        sides = [self.allowed] if self.operator is None else [self.allowed, self.operator]
        return all(any(entry.reaches(self.request.host, parsed) for entry in side) for side in sides)

    def may_carry(self, secret: str, place: Place) -> bool:
        """Whether the secret may be put into that part of the request. One never goes over plain HTTP, unless the
        pattern says `http://`.
        """
        return any(
            secret in entry.secrets
            and place in entry.replace_in
            and (self.request.scheme == "https" or entry.pattern.scheme == "http")
            for entry in self.allowed
        )

    def may_carry_any(self) -> bool:
        """Whether there are secrets that may be put into it."""
        return any(
            self.may_carry(secret, place) for entry in self.allowed for secret in entry.secrets for place in Place
        )

    def unreachable(self, addresses: Iterable[str]) -> str:
        """Why none of the addresses of its host may be reached."""
        found = tuple(addresses)
        wanted = f"addresses = [{', '.join(map(_quoted, found))}]"
        return (
            f"{self.request.host} leads to {', '.join(found)}, not a public address; if that is meant, add to the"
            f" allowed_host entries for it: {wanted}"
        )

    def withheld(self, secret: str, place: Place) -> str:
        """Why a secret may not be put into that part of the request."""
        if any(secret in entry.secrets and place in entry.replace_in for entry in self.allowed):
            return (
                f"secret {secret} does not go to {self.request.authority} without TLS; if it should, begin the"
                " pattern with http://"
            )
        return (
            f"secret {secret} may not be sent to {self.request.authority} in its {place}; if it should, add to the"
            f" allowed_host entry for it: secrets = [{_quoted(secret)}], replace_in = [{_quoted(place)}]"
        )


def decide(policy: EgressPolicy, request: Outgoing) -> Permission | Denial:
    """Whether the request may be sent; the addresses of its host are still to be looked at."""
    allowed = _matching(policy.allowed, request)
    if not allowed:
        return Denial(
            _missing(
                policy.allowed, request, policy.table, f" of {policy.component or 'the component'}", policy.component
            )
        )
    operator = None
    if policy.operator is not None:
        operator = _matching(policy.operator, request)
        if not operator:
            return Denial(_missing(policy.operator, request, "outbound_http", " of the server", ""))
    return Permission(request, allowed, operator)


def parse_host_pattern(text: str) -> HostPattern:
    """`api.example.com`, `*.example.com`, `https://example.com:8443`, `http://127.0.0.1:8081`, `[::1]:*`, `*`.

    `InvalidPattern` for everything else.
    """
    found = _PATTERN.fullmatch(text)
    if found is None:
        raise InvalidPattern("a host, with a scheme before it and a port after it where needed, and no path")
    host = normal_host(f"[{found['v6']}]" if found["v6"] else found["host"].removeprefix("*."))
    below = bool(found["host"]) and found["host"].startswith("*.")
    if found["host"] == ANY:
        host = ANY
    if host is None or (below and address_of(host) is not None):
        raise InvalidPattern("a name, an address, or *. and a name")
    port = None if found["port"] is None else 0 if found["port"] == ANY else int(found["port"])
    if found["port"] not in {None, ANY} and not 1 <= (port or 0) <= 65_535:
        raise InvalidPattern("a port between 1 and 65535, or *")
    return HostPattern(f"*.{host}" if below else host, found["scheme"], port)


def parse_network(text: str) -> str:
    """An address or a network, `10.1.0.0/16`, in normal form. `ValueError`."""
    return str(ip_network(text))


def normal_host(text: str) -> str | None:
    """A host as it is compared: in lower case, without a last dot, an address without brackets and in its short form.
    None: it is neither a name nor an address.
    """
    if text.startswith("["):
        address = address_of(text[1:-1]) if text.endswith("]") else None
        return str(address) if isinstance(address, IPv6Address) and address.scope_id is None else None
    host = text.lower().removesuffix(".")
    if len(host) > 253 or not _LABELS.fullmatch(host) or any(len(label) > 63 for label in host.split(".")):
        return None
    return host


def address_of(text: str) -> Address | None:
    """The address that the text writes; None: it writes none."""
    try:
        return ip_address(text)
    except ValueError:
        return None


def is_public(address: Address) -> bool:
    """Whether it is one of the whole Internet: not of this machine, of a private network, of a link, of a group. One that
    carries another (IPv4 in IPv6) is what that one is.
    """
    if isinstance(address, IPv6Address):
        inner = _carried(address)
        if inner is not None:
            return is_public(inner)
        if address.is_site_local:
            return False
    return address.is_global and not address.is_multicast and not address.is_reserved and not address.is_unspecified


def _carried(address: IPv6Address) -> IPv4Address | None:
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    if address.sixtofour is not None:
        return address.sixtofour
    if address in _NAT64:
        return IPv4Address(int(address) & 0xFFFF_FFFF)
    return None


@lru_cache(maxsize=256)
def _networks(texts: tuple[str, ...]) -> tuple[IPv4Network | IPv6Network, ...]:
    return tuple(ip_network(text) for text in texts)


def _is_localhost(host: str) -> bool:
    return host == "localhost" or host.endswith(".localhost")


def _matching(entries: Iterable[AllowedHost], request: Outgoing) -> tuple[AllowedHost, ...]:
    return tuple(
        entry
        for entry in _of_host(entries, request)
        if entry.allows_method(request.method) and entry.allows_url(request.url)
    )


def _of_host(entries: Iterable[AllowedHost], request: Outgoing) -> Iterator[AllowedHost]:
    return (entry for entry in entries if entry.pattern.matches(request.scheme, request.host, request.port))


def _missing(entries: Iterable[AllowedHost], request: Outgoing, table: str, whose: str, component: str) -> str:
    """What keeps a request from going out, and what to write so that it may."""
    about = tuple(_of_host(entries, request))
    what = f"{request.method} {request.place} is not allowed: "
    if not about:
        host = f"[{request.host}]" if ":" in request.host else request.host
        port = "" if request.port == PORTS[request.scheme] else f":{request.port}"
        below = f', below the [[{table}]] with name = "{component}"' if component else ""
        return (
            f"{what}no allowed_host{whose} is about {request.scheme}://{request.authority}; if it should be,"
            f" add{below}:\n[[{table}.allowed_host]]\npattern = {_quoted(f'{request.scheme}://{host}{port}')}\n"
            f"methods = [{_quoted(request.method)}]"
        )
    patterns = " and ".join(_quoted(str(entry.pattern)) for entry in about)
    if not any(entry.allows_method(request.method) for entry in about):
        methods = sorted({method for entry in about for method in entry.methods} | {request.method})
        return (
            f"{what}the allowed_host{whose} with pattern {patterns} is not for {request.method}; if it should be,"
            f" set there:\nmethods = [{', '.join(map(_quoted, methods))}]"
        )
    regexes = " or ".join(repr(entry.request_url_regex) for entry in about if entry.request_url_regex is not None)
    return (
        f"{what}its URL does not match request_url_regex {regexes} of the allowed_host{whose} with pattern {patterns}"
    )


def _quoted(text: str) -> str:
    return f'"{text}"'
