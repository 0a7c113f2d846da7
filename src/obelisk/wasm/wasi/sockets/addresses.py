"""Addresses between the interface's records and the system's."""

from __future__ import annotations

import socket
from enum import IntEnum
from ipaddress import IPv4Address, IPv6Address
from typing import Any, Final

import msgspec

from obelisk.core.egress import Address
from obelisk.core.tcp import written
from obelisk.wasm.wasi.sockets.errors import ErrorCode, Refused
from obelisk.wit.types import Value


class Family(IntEnum):
    """`ip-address-family`."""

    IPV4 = 0
    IPV6 = 1

    @property
    def system(self) -> int:
        """The system's number."""
        return int(_FAMILIES[self])


_FAMILIES: Final = {Family.IPV4: socket.AF_INET, Family.IPV6: socket.AF_INET6}


class Endpoint(msgspec.Struct, frozen=True):
    """An address and a port."""

    address: Address
    port: int
    flow_info: int = 0

    @property
    def family(self) -> Family:
        """Of the address."""
        return Family.IPV4 if isinstance(self.address, IPv4Address) else Family.IPV6

    @property
    def system(self) -> tuple[Any, ...]:
        """As the system takes it. A scope cannot be chosen by a guest: it would be a network card of the machine."""
        if self.family is Family.IPV4:
            return str(self.address), self.port
        return str(self.address), self.port, self.flow_info & 0xFFFFF, 0

    def __str__(self) -> str:
        return written(str(self.address), self.port)


def endpoint(value: Value) -> Endpoint:
    """Of an `ip-socket-address`."""
    case, payload = value
    if case == Family.IPV4:
        port, parts = payload
        return Endpoint(IPv4Address(bytes(parts)), port)
    port, flow_info, parts, _scope = payload
    return Endpoint(IPv6Address(b"".join(part.to_bytes(2) for part in parts)), port, flow_info)


def socket_address(system: tuple[Any, ...], family: Family) -> Value:
    """`ip-socket-address` of what the system says."""
    if family is Family.IPV4:
        return int(family), (system[1], ip_address_parts(IPv4Address(system[0])))
    address = IPv6Address(str(system[0]).partition("%")[0])
    return int(family), (system[1], system[2], ip_address_parts(address), system[3])


def ip_address(address: Address) -> Value:
    """`ip-address`."""
    family = Family.IPV4 if isinstance(address, IPv4Address) else Family.IPV6
    return int(family), ip_address_parts(address)


def ip_address_parts(address: Address) -> tuple[int, ...]:
    """The numbers of `ipv4-address`, or of `ipv6-address`."""
    packed = address.packed
    if isinstance(address, IPv4Address):
        return tuple(packed)
    return tuple(int.from_bytes(packed[at : at + 2]) for at in range(0, len(packed), 2))


def remote(value: Value, family: Family) -> Endpoint:
    """Where a guest wants to connect to. `Refused` where nobody can be."""
    there = endpoint(value)
    address = there.address
    mapped = isinstance(address, IPv6Address) and address.ipv4_mapped is not None
    if there.family is not family or mapped or there.port == 0 or address.is_unspecified or address.is_multicast:
        raise Refused(ErrorCode.INVALID_ARGUMENT)
    return there
