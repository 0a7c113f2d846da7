"""Which TCP connections the functions of a component may open, as data.

Decides, of a name or of an address and port, whether an entry allows it. Denied is what nothing allows. Pure: looks up
nothing, connects to nothing.

An entry is `HOST:PORT`. One with a name lets the guest look the name up, and connect to the public addresses that it leads to;
an address that is not public needs an entry of its own. So a name that is allowed cannot be pointed at the machine's own
network.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from ipaddress import ip_network
from typing import Final

import msgspec

from obelisk.core.egress import Address, address_of, is_public

ANY: Final = "*"
_TARGET: Final = re.compile(
    r"(?:\[(?P<v6>[0-9A-Fa-f:.]+)\](?P<v6bits>/[0-9]{1,3})?|(?P<host>[A-Za-z0-9._*-]+)(?P<bits>/[0-9]{1,2})?)"
    r":(?P<port>[0-9]{1,5}|\*)",
    re.ASCII,
)
_NAME: Final = re.compile(r"[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?)*", re.ASCII)


class InvalidTarget(ValueError):
    """A text is not an entry; the message says what is expected."""


class TcpTarget(msgspec.Struct, frozen=True):
    """One entry."""

    host: str
    """A name in lower case, `*.` and a name for all below it, `*`, or a network (`10.0.0.0/8`, `::1/128`)."""
    port: int | None
    """None: any."""

    def is_about(self, name: str) -> bool:
        """Whether a name, as `normal_name` gives it, may be looked up."""
        if self.host.startswith("*."):
            return name.endswith(self.host[1:])
        return self.host in {ANY, name}

    def covers(self, address: Address) -> bool:
        """Whether it is an entry of addresses, and that is one of them."""
        return "/" in self.host and address in ip_network(self.host)


def may_look_up(targets: Iterable[TcpTarget], name: str) -> bool:
    """Whether the addresses of a name may be asked for."""
    return any(target.is_about(name) for target in targets)


def may_connect(targets: Iterable[TcpTarget], names: Iterable[str], address: Address, port: int) -> bool:
    """Whether a connection may be opened. `names`: those that were found to lead to the address."""
    address = _plain(address)
    about = [target for target in targets if target.port in {None, port}]
    if any(target.covers(address) for target in about):
        return True
    named = [target for target in about if target.host == ANY or any(map(target.is_about, names))]
    if not named:
        return False
    return is_public(address) or (address.is_loopback and any(target.host == "localhost" for target in named))


def normal_name(text: str) -> str | None:
    """A name as it is compared: in lower case, without a last dot. None: it is none."""
    name = text.lower().removesuffix(".")
    if len(name) > 253 or not _NAME.fullmatch(name) or any(len(label) > 63 for label in name.split(".")):
        return None
    return name


def written(host: str, port: int | str) -> str:
    """An entry as it is written."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def parse_target(text: str) -> TcpTarget:
    """`db.example.com:5432`, `*.example.com:443`, `10.1.0.0/16:5432`, `[::1]:5432`, `[fd00::]/8:*`, `*:443`.

    `InvalidTarget` for everything else.
    """
    found = _TARGET.fullmatch(text)
    if found is None:
        raise InvalidTarget('"HOST:PORT", with * for any port')
    port = None if found["port"] == ANY else int(found["port"])
    if port is not None and not 1 <= port <= 65_535:
        raise InvalidTarget("a port between 1 and 65535, or *")
    host, bits = found["v6"] or found["host"], found["v6bits"] or found["bits"] or ""
    if bits or address_of(host) is not None:
        try:
            return TcpTarget(str(ip_network(host + bits)), port)
        except ValueError:
            raise InvalidTarget("an address, or a network such as 10.1.0.0/16, whose other bits are 0") from None
    if host == ANY:
        return TcpTarget(ANY, port)
    name = normal_name(host.removeprefix("*."))
    if name is None or found["v6"] or _looks_like_an_address(name):
        raise InvalidTarget("a name, *. and a name, an address, or a network")
    return TcpTarget(f"*.{name}" if host.startswith("*.") else name, port)


def _plain(address: Address) -> Address:
    return getattr(address, "ipv4_mapped", None) or address


def _looks_like_an_address(name: str) -> bool:
    """What a resolver might take for an address in one of its older spellings: 127.1, 0x7f.1, 2130706433."""
    return re.fullmatch(r"(0x[0-9a-f]*|[0-9]+)", name.rpartition(".")[2]) is not None
