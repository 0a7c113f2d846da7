"""wasi:sockets 0.2: names are looked up and TCP connections opened, where the component's policy allows it.

Guests do not listen, and there is no UDP. A run without a network can call all of it; everything is denied.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from obelisk.wasm.wasi.host import Answer, GuestTrap, WasiFunction
from obelisk.wasm.wasi.io import IoError
from obelisk.wasm.wasi.sockets import lookup, tcp
from obelisk.wasm.wasi.sockets.errors import ErrorCode
from obelisk.wasm.wasi.sockets.network import Network

__all__ = ["FUNCTIONS", "ErrorCode", "Network"]


class NetworkHandle:
    """`network`: a guest must show it; what it may do, its run decides."""


def _instance_network(host: Any) -> Answer:
    return NetworkHandle()


def _error_code(host: Any, error: IoError) -> Answer:
    return (int(error.cause),) if isinstance(error.cause, ErrorCode) else None


def _create_udp_socket(host: Any, family: int) -> Answer:
    if getattr(host, "network", None) is None:
        return False, int(ErrorCode.ACCESS_DENIED)
    return False, int(ErrorCode.NOT_SUPPORTED)


def _unreachable(host: Any, *arguments: Any) -> Answer:
    raise GuestTrap("there is no UDP socket that this could be called with")


_UDP: Final = {
    "udp-socket": (
        "start-bind",
        "finish-bind",
        "stream",
        "local-address",
        "remote-address",
        "address-family",
        "unicast-hop-limit",
        "set-unicast-hop-limit",
        "receive-buffer-size",
        "set-receive-buffer-size",
        "send-buffer-size",
        "set-send-buffer-size",
        "subscribe",
    ),
    "incoming-datagram-stream": ("receive", "subscribe"),
    "outgoing-datagram-stream": ("check-send", "send", "subscribe"),
}

FUNCTIONS: Final[Mapping[str, Mapping[str, WasiFunction]]] = {
    "wasi:sockets/network": {"network-error-code": _error_code},
    "wasi:sockets/instance-network": {"instance-network": _instance_network},
    "wasi:sockets/ip-name-lookup": {
        "resolve-addresses": lookup.resolve_addresses,
        **{f"[method]resolve-address-stream.{name}": function for name, function in lookup.METHODS.items()},
    },
    "wasi:sockets/tcp-create-socket": {"create-tcp-socket": tcp.create},
    "wasi:sockets/tcp": {f"[method]tcp-socket.{name}": function for name, function in tcp.METHODS.items()},
    "wasi:sockets/udp-create-socket": {"create-udp-socket": _create_udp_socket},
    "wasi:sockets/udp": {
        f"[method]{resource}.{name}": _unreachable for resource, names in _UDP.items() for name in names
    },
}
